//! What `trainer export` writes: accepted by the onnx package's checker, computed alike by ONNX Runtime (through its own
//! Python package), by libfcn and by libtorch.

#![expect(clippy::print_stdout, reason = "the versions and the differences belong into the log")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use fcn::{Frame, Mask, Outputs, PixelFormat, Provider, Segmenter};
use tch::{Device, Kind, Tensor};
use trainer::augment::normalise_whole;
use trainer::checkpoint::{self, CheckpointState, Progress};
use trainer::config::Config;
use trainer::data::Dataset;
use trainer::evaluate::{Predictor, input};
use trainer::export::calibrate::Calibration;
use trainer::export::freeze::freeze_upsampling;
use trainer::export::{Precision, card, onnx};
use trainer::model::graph::Op;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining, weights};

const CLASSES: i64 = 21;

fn deps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps")
}

/// A network whose batch normalisations do something, as after training.
fn network(architecture: Architecture, backbone: Backbone, upsample: UpsampleTraining) -> Network {
    let spec = Spec { architecture, backbone, classes: CLASSES, upsample, init: Init::Bilinear };
    // libtorch's random numbers come from one place for the whole process: another test must not draw in between.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let network = Network::new(spec, 3, Device::Cpu);
    if backbone == Backbone::EfficientNetLite0 {
        let file = deps().join("weights/efficientnet-lite0-57934424.pth");
        let report = weights::load(&network.graph, &weights::read(&file).unwrap()).unwrap();
        assert_eq!(report.matched.len(), 240);
    }
    tch::no_grad(|| {
        for node in &network.graph.nodes {
            match &node.op {
                Op::BatchNorm(norm) if backbone != Backbone::EfficientNetLite0 => {
                    let _ = norm.weight.shallow_clone().uniform_(0.7, 1.3);
                    let _ = norm.bias.shallow_clone().uniform_(-0.2, 0.2);
                    let _ = norm.running_mean.shallow_clone().uniform_(-0.2, 0.2);
                    let _ = norm.running_var.shallow_clone().uniform_(0.5, 2.0);
                }
                // Skips start from zero; trained ones are not.
                Op::Conv(conv) if conv.name.starts_with("score") => {
                    let _ = conv.weight.shallow_clone().uniform_(-0.1, 0.1);
                }
                Op::ConvTranspose(up) if up.learned => {
                    let noise = up.weight.rand_like() * 0.02;
                    let _ = up.weight.shallow_clone().g_add_(&noise);
                }
                _ => {}
            }
        }
    });
    network
}

fn state(network: &Network) -> CheckpointState {
    let normalise = network.spec.backbone.normalise();
    CheckpointState {
        config: Config { arch: network.spec.architecture, backbone: network.spec.backbone, ..Config::standard() },
        spec: network.spec,
        classes: fcn::palette::voc_classes(),
        mean: normalise.mean,
        std: normalise.std,
        native_side: None,
        progress: Progress::default(),
    }
}

/// The cat photo: its pixels, normalised and padded to 320 x 480 as well.
struct Photo {
    rgb: Vec<u8>,
    width: usize,
    height: usize,
    image: Vec<f32>,
}

/// The size that the photo is padded to.
const H: usize = 320;
const W: usize = 480;

fn photo(network: &Network) -> Photo {
    let picture = image::open(deps().join("photos/chelsea.png")).unwrap().to_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let rgb = picture.into_raw();
    let mut image = vec![0.0; 3 * H * W];
    normalise_whole(&rgb, width, height, &network.spec.backbone.normalise(), H, W, &mut image);
    Photo { rgb, width, height, image }
}

/// Runs the Python script on a model file; gives the scores and what it printed.
fn python(folder: &Path, model: &[u8], image: &[f32]) -> (Vec<f32>, String) {
    let file = |name: &str| folder.join(name);
    std::fs::write(file("model.onnx"), model).unwrap();
    std::fs::write(file("image"), image.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run_onnx.py");
    let output = Command::new(deps().join("python/bin/python"))
        .arg(script)
        .args([file("model.onnx"), file("image")])
        .args([H.to_string(), W.to_string()])
        .arg(file("scores"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scores = std::fs::read(file("scores")).unwrap();
    let scores = scores.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (scores, String::from_utf8_lossy(&output.stdout).into_owned())
}

fn range(values: &[f32]) -> f32 {
    values.iter().fold(f32::MIN, |a, &b| a.max(b)) - values.iter().fold(f32::MAX, |a, &b| a.min(b))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// The scores of libfcn, at 320 x 480 with the photo at the top left.
fn libfcn(model: &[u8], photo: &Photo) -> Vec<f32> {
    let mut options = fcn::Options::default();
    options.provider = Provider::Cpu;
    let segmenter = Segmenter::from_memory(model, &options).unwrap();
    let frame = Frame::packed(PixelFormat::Rgb8, &photo.rgb, photo.width as u32, photo.height as u32, 0).unwrap();
    let mut mask = Mask::with_outputs(Outputs { scores: true, ..Outputs::default() });
    segmenter.segment(&frame, &mut mask).unwrap();
    mask.scores().unwrap().iter().copied().collect()
}

/// The part of full scores that lies on the photo.
fn cut(scores: &[f32], photo: &Photo) -> Vec<f32> {
    let rows = scores.chunks_exact(H * W).flat_map(|plane| plane.chunks_exact(W).take(photo.height));
    rows.flat_map(|row| row[..photo.width].iter().copied()).collect()
}

/// A split `val` of three parts of the cat photo, of sizes that 32 does not divide; any mask will do.
fn small_dataset(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    for name in ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"] {
        std::fs::create_dir_all(data.join(name)).unwrap();
    }
    let picture = image::open(deps().join("photos/chelsea.png")).unwrap().to_rgb8();
    let mut ids = String::new();
    for (id, x, y, width, height) in [("a", 0, 0, 200, 150), ("b", 130, 40, 97, 211), ("c", 250, 10, 160, 64)] {
        let part = image::imageops::crop_imm(&picture, x, y, width, height).to_image();
        part.save(data.join(format!("JPEGImages/{id}.png"))).unwrap();
        let mask = image::GrayImage::from_fn(width, height, |x, y| image::Luma([((x / 20 + y / 30) % 22) as u8]));
        let mask = image::GrayImage::from_fn(width, height, |x, y| match mask.get_pixel(x, y).0[0] {
            21 => image::Luma([255]),
            class => image::Luma([class]),
        });
        mask.save(data.join(format!("SegmentationClass/{id}.png"))).unwrap();
        ids += &format!("{id}\n");
    }
    std::fs::write(data.join("ImageSets/Segmentation/val.txt"), ids).unwrap();
    data
}

/// How far scores are off, as the root of the mean square, in parts of the range of the exact ones.
fn error(scores: &[f32], exact: &[f32]) -> f64 {
    let squares = scores.iter().zip(exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    (squares / exact.len() as f64).sqrt() / f64::from(range(exact))
}

/// The part of the size of a file with smaller weights that goes into names, scales and biases,
/// beyond that of other networks: they weigh more in the smallest.
fn overhead(backbone: Backbone) -> f64 {
    if backbone == Backbone::EfficientViTB0 { 0.02 } else { 0.0 }
}

#[test]
fn every_form_of_network_is_valid_onnx_with_the_scores_of_libtorch() {
    let folder = tempfile::tempdir().unwrap();
    for (architecture, backbone, upsample) in [
        (Architecture::Fcn32s, Backbone::ResNet18, UpsampleTraining::Learned),
        (Architecture::Fcn32s, Backbone::ResNet18, UpsampleTraining::Frozen),
        (Architecture::Fcn16s, Backbone::ResNet50, UpsampleTraining::Learned),
        (Architecture::Fcn8s, Backbone::ResNet34, UpsampleTraining::Learned),
        (Architecture::Fcn8s, Backbone::EfficientNetLite0, UpsampleTraining::Learned),
        (Architecture::Fcn4s, Backbone::EfficientNetLite0, UpsampleTraining::Frozen),
        (Architecture::TopDown, Backbone::EfficientNetLite0, UpsampleTraining::Frozen),
        (Architecture::Fcn8s, Backbone::MobileNetV2, UpsampleTraining::Learned),
        (Architecture::Fcn8s, Backbone::MobileNetV4ConvSmall, UpsampleTraining::Learned),
        (Architecture::TopDown, Backbone::MobileNetV4ConvMedium, UpsampleTraining::Frozen),
        (Architecture::Fcn8s, Backbone::EfficientViTB0, UpsampleTraining::Learned),
    ] {
        let network = network(architecture, backbone, upsample);
        let name = format!("{} {upsample:?}", network.spec.name());
        let photo = photo(&network);
        let image = Tensor::from_slice(&photo.image).view([1, 3, H as i64, W as i64]);
        let scores = tch::no_grad(|| network.graph.forward(&image, false)).unwrap();
        let truth = Vec::<f32>::try_from(scores.to_kind(Kind::Float).flatten(0, -1)).unwrap();
        let card = card(&state(&network), "test".into(), BTreeMap::new());

        let full = fcn::onnx::encode(&onnx(&network, &Precision::Full, &card).unwrap()).unwrap();
        let (scores, versions) = python(folder.path(), &full, &photo.image);
        let worst = largest_difference(&scores, &truth) / range(&truth);
        println!("{name}: {worst:.1e} of the range, {}", versions.trim());
        assert!(worst < 1e-4, "{name}: ONNX Runtime differs from libtorch by {worst} of the range");
        let exact = libfcn(&full, &photo);
        let worst = largest_difference(&exact, &cut(&truth, &photo)) / range(&truth);
        assert!(worst < 1e-4, "{name}: libfcn differs from libtorch by {worst} of the range");

        let compact = fcn::onnx::encode(&onnx(&network, &Precision::Compact, &card).unwrap()).unwrap();
        let share = compact.len() as f64 / full.len() as f64;
        assert!(share < 0.27 + overhead(backbone), "{name}: the compact file has {share} of the size");
        let (scores, _) = python(folder.path(), &compact, &photo.image);
        let own = libfcn(&compact, &photo);
        let scores = cut(&scores, &photo);
        let worst = largest_difference(&own, &scores) / range(&scores);
        assert!(worst < 1e-4, "{name}: libfcn restores compact weights with an error of {worst} of the range");
        // Labels are no measure here: the classes of a head that was never trained are nearly tied.
        let error = error(&own, &exact);
        assert!(error < 0.02, "{name}: compact weights change scores by {error} of their range (root of mean square)");
    }
}

#[test]
fn integers_and_halves_score_close_to_floats() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::open(&small_dataset(folder.path()), "val").unwrap();
    // All convolutions but those that score, which stay in float32.
    for (architecture, backbone, integer) in [
        (Architecture::Fcn32s, Backbone::ResNet18, 20),
        (Architecture::Fcn8s, Backbone::EfficientNetLite0, 48),
        (Architecture::TopDown, Backbone::EfficientNetLite0, 60),
        (Architecture::Fcn8s, Backbone::MobileNetV2, 51),
        (Architecture::Fcn8s, Backbone::MobileNetV4ConvSmall, 45),
        (Architecture::Fcn8s, Backbone::EfficientViTB0, 49),
    ] {
        let network = network(architecture, backbone, UpsampleTraining::Learned);
        let name = network.spec.name();
        let photo = photo(&network);
        let card = card(&state(&network), "test".into(), BTreeMap::new());
        let full = fcn::onnx::encode(&onnx(&network, &Precision::Full, &card).unwrap()).unwrap();
        let exact = libfcn(&full, &photo);

        let calibration = Calibration::new(&network, None, &dataset, 3, &mut |_| {}).unwrap();
        assert_eq!(
            calibration,
            Calibration::new(&network, None, &dataset, 3, &mut |_| {}).unwrap(),
            "{name}: the same photos, the same ranges"
        );
        let int8 = fcn::onnx::encode(&onnx(&network, &Precision::Int8(calibration), &card).unwrap()).unwrap();
        let share = int8.len() as f64 / full.len() as f64;
        assert!(share < 0.3 + overhead(backbone), "{name}: the int8 file has {share} of the size");
        let (scores, said) = python(folder.path(), &int8, &photo.image);
        assert!(said.contains(&format!(", {integer} integer")), "{name}: {said}");
        let (scores, own) = (cut(&scores, &photo), libfcn(&int8, &photo));
        let worst = largest_difference(&own, &scores) / range(&scores);
        assert!(worst < 1e-4, "{name}: libfcn computes int8 with an error of {worst} of the range");
        let error_int8 = error(&own, &exact);
        // Hard swish and attention round more values between convolutions.
        let most = if backbone == Backbone::EfficientViTB0 { 0.08 } else { 0.05 };
        assert!(error_int8 < most, "{name}: int8 changes scores by {error_int8} of their range");

        let half = fcn::onnx::encode(&onnx(&network, &Precision::Half, &card).unwrap()).unwrap();
        let (scores, _) = python(folder.path(), &half, &photo.image);
        let worst = largest_difference(&cut(&scores, &photo), &exact) / range(&exact);
        assert!(worst < 1e-2, "{name}: float16 changes scores by {worst} of their range");
        let worst = largest_difference(&libfcn(&half, &photo), &exact) / range(&exact);
        assert!(worst < 1e-2, "{name}: libfcn computes float16 with an error of {worst} of the range");
        println!("{name}: int8 {error_int8:.4}, float16 at most {worst:.4} of the range");
    }
}

#[test]
fn every_head_on_every_backbone_runs_in_libfcn_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::open(&small_dataset(folder.path()), "val").unwrap();
    let picture = image::open(deps().join("photos/chelsea.png")).unwrap().to_rgb8();
    let (width, height) = (120, 90);
    let picture = image::imageops::crop_imm(&picture, 150, 60, width as u32, height as u32).to_image();
    for backbone in [
        Backbone::ResNet18,
        Backbone::ResNet34,
        Backbone::ResNet50,
        Backbone::EfficientNetLite0,
        Backbone::MobileNetV2,
        Backbone::MobileNetV4ConvSmall,
        Backbone::MobileNetV4ConvMedium,
        Backbone::EfficientViTB0,
    ] {
        for &architecture in Architecture::value_variants() {
            let network = network(architecture, backbone, UpsampleTraining::Learned);
            let name = network.spec.name();
            let image = input(&network, None, picture.as_raw(), width, height).unwrap();
            let scores = tch::no_grad(|| network.graph.forward(&image, false)).unwrap();
            let scores = scores.narrow(2, 0, height as i64).narrow(3, 0, width as i64).contiguous();
            let truth = Vec::<f32>::try_from(scores.flatten(0, -1)).unwrap();
            let photo = Photo { rgb: picture.to_vec(), width, height, image: vec![] };
            let card = card(&state(&network), "test".into(), BTreeMap::new());
            let scores = |form| libfcn(&fcn::onnx::encode(&onnx(&network, &form, &card).unwrap()).unwrap(), &photo);

            let exact = scores(Precision::Full);
            let worst = largest_difference(&exact, &truth) / range(&truth);
            assert!(worst < 1e-4, "{name}: libfcn differs from libtorch by {worst} of the range");
            let compact = error(&scores(Precision::Compact), &exact);
            let half = error(&scores(Precision::Half), &exact);
            println!("{name}: compact {compact:.4}, float16 {half:.5} of the range");
            assert!(compact < 0.02, "{name}: compact weights change scores by {compact} of their range");
            assert!(half < 2e-3, "{name}: float16 changes scores by {half} of their range");
            // One head is enough for each backbone's rounding, which takes long.
            if architecture == Architecture::Fcn16s {
                let int8 = error(
                    &scores(Precision::Int8(Calibration::new(&network, None, &dataset, 3, &mut |_| {}).unwrap())),
                    &exact,
                );
                println!("{name}: int8 {int8:.4} of the range");
                assert!(int8 < 0.05, "{name}: int8 changes scores by {int8} of their range");
            }
        }
    }
}

#[test]
fn a_learned_upsampling_becomes_bilinear_unless_it_changes_too_many_labels() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::open(&small_dataset(folder.path()), "val").unwrap();
    let learned = || {
        let network = network(Architecture::Fcn8s, Backbone::EfficientNetLite0, UpsampleTraining::Learned);
        // Classes 0 and 1 change places, and some noise frays the kernels.
        tch::no_grad(|| {
            let Some(Op::ConvTranspose(up)) = network.graph.nodes.last().map(|node| &node.op) else {
                panic!("its end")
            };
            let mut weight = up.weight.shallow_clone();
            let order: Vec<i64> = [1, 0].into_iter().chain(2..CLASSES).collect();
            let swapped = weight.index_select(1, &Tensor::from_slice(&order));
            let wave = (Tensor::arange(weight.numel() as i64, (Kind::Float, Device::Cpu)) * 12.9898).sin() * 0.002;
            weight.copy_(&(swapped + wave.view_as(&weight)));
        });
        network
    };
    let photos = std::num::NonZeroUsize::new(3).unwrap();
    let frozen = freeze_upsampling(&learned(), learned(), None, &dataset, photos, 1.0).unwrap();
    assert!(frozen.changed > 0.0 && frozen.changed < 0.2, "{}", frozen.changed);
    let error = freeze_upsampling(&learned(), learned(), None, &dataset, photos, frozen.changed - 1e-9).unwrap_err();
    assert!(error.to_string().contains(&format!("{:.2} %", 100.0 * frozen.changed)), "{error}");
    assert!(freeze_upsampling(&learned(), learned(), None, &dataset, photos, frozen.changed).is_ok());
    let error = freeze_upsampling(&learned(), frozen.network, None, &dataset, photos, 1.0).unwrap_err();
    assert!(error.to_string().contains("is bilinear already"), "{error}");

    // For scores that do not vary, both ends are the same.
    let network = learned();
    let Some(Op::ConvTranspose(up)) = network.graph.nodes.last().map(|node| &node.op) else { panic!("its end") };
    let frozen = freeze_upsampling(&network, learned(), None, &dataset, photos, 1.0).unwrap().network;
    let [.., Op::Conv(mix), Op::ConvTranspose(bilinear)] =
        &frozen.graph.nodes.iter().map(|node| &node.op).collect::<Vec<_>>()[..]
    else {
        panic!("a mix before the end")
    };
    let constant =
        Tensor::arange(CLASSES, (Kind::Float, Device::Cpu)).view([1, CLASSES, 1, 1]).expand([1, CLASSES, 6, 6], true);
    let end =
        |x: &Tensor, weight: &Tensor| x.conv_transpose2d::<Tensor>(weight, None, [8, 8], [4, 4], [0, 0], 1, [1, 1]);
    let inner =
        |x: Tensor| x.detach().narrow(2, 20, 8).narrow(3, 20, 8).mean_dim([2i64, 3].as_slice(), false, Kind::Float);
    let before = inner(end(&constant, &up.weight));
    let mixed = constant.conv2d::<Tensor>(&mix.weight, None, [1, 1], [0, 0], [1, 1], 1);
    let after = inner(end(&mixed, &bilinear.weight));
    let worst = (before - after).abs().max().double_value(&[]);
    assert!(worst < 1e-3, "{worst}");

    let card = card(&state(&frozen), "test".into(), BTreeMap::new());
    let bytes = fcn::onnx::encode(&onnx(&frozen, &Precision::Full, &card).unwrap()).unwrap();
    let photo = photo(&frozen);
    let image = Tensor::from_slice(&photo.image).view([1, 3, H as i64, W as i64]);
    let truth = tch::no_grad(|| frozen.graph.forward(&image, false)).unwrap();
    let truth = Vec::<f32>::try_from(truth.flatten(0, -1)).unwrap();
    let worst = largest_difference(&libfcn(&bytes, &photo), &cut(&truth, &photo)) / range(&truth);
    assert!(worst < 1e-4, "libfcn differs from libtorch by {worst} of the range");
}

#[test]
fn the_card_tells_what_the_checkpoint_knows() {
    let network = network(Architecture::Fcn32s, Backbone::ResNet18, UpsampleTraining::Learned);
    let metrics = BTreeMap::from([("miou".to_owned(), 0.5)]);
    let written = card(&state(&network), "photos of cats, CC0".into(), metrics);
    let model = onnx(&network, &Precision::Full, &written).unwrap();
    let segmenter = Segmenter::from_memory(&fcn::onnx::encode(&model).unwrap(), &fcn::Options::default()).unwrap();
    let card = segmenter.card().unwrap();
    assert_eq!(*card, written);
    assert_eq!((card.architecture.as_str(), card.stride, card.void_index), ("fcn32s-resnet18", 32, 255));
    assert_eq!((card.mean, card.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
    assert_eq!(segmenter.classes()[8].name, "cat");
}

#[test]
fn a_checkpoint_and_its_onnx_file_measure_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = small_dataset(folder.path());
    let network = network(Architecture::Fcn8s, Backbone::EfficientNetLite0, UpsampleTraining::Learned);
    let state = state(&network);
    let path = folder.path().join("best.safetensors");
    checkpoint::save(&path, &network, None, &state).unwrap();
    let file = folder.path().join("model.onnx");
    let trainer = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_trainer")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (run, onnx, data) = (folder.path().to_str().unwrap(), file.to_str().unwrap(), data.to_str().unwrap());
    let said = trainer(&["export", run, "--onnx", onnx, "--measure", data]);
    let from_checkpoint = trainer(&["evaluate", run, "--data", data]);
    let from_onnx = trainer(&["evaluate", onnx, "--data", data]);
    let split = |text: &str| {
        let (table, error) = text.split_once("\ncalibration error ").unwrap();
        (table.to_owned(), error.split(' ').next().unwrap().parse::<f64>().unwrap())
    };
    let (plain, fitted) = (split(&from_checkpoint), split(&from_onnx));
    assert_eq!(plain.0, fitted.0);
    // Any mask will do: an untrained network is far too certain.
    assert!(fitted.1 < 0.03 && fitted.1 < plain.1, "{plain:?} and {fitted:?}");
    let Ok(Predictor::Onnx { segmenter, .. }) = Predictor::open(&file, None, Device::Cpu) else {
        panic!("an ONNX file")
    };
    let metrics = &segmenter.card().unwrap().metrics;
    assert!(from_onnx.contains(&format!("mIoU              {:.4}", metrics["miou"])), "{from_onnx}");
    assert!(said.contains(&format!("mIoU {:.4} on val", metrics["miou"])), "{said}");
    assert!(metrics["pixel_accuracy"] > 0.0 && metrics["iou/cat"] >= 0.0);
    let (temperature, error) = (segmenter.card().unwrap().temperature.unwrap(), metrics["expected_calibration_error"]);
    assert!((error - fitted.1).abs() <= 5e-5, "{error}");

    // The same for a file that was not measured, and again for one that has a temperature.
    let other = folder.path().join("other.onnx");
    let other = other.to_str().unwrap();
    trainer(&["export", run, "--onnx", other]);
    for _ in 0..2 {
        let said = trainer(&["fit-confidence", other, "--data", data]);
        let expected = format!("temperature {temperature:.3}, expected calibration error {error:.4} on val");
        assert!(said.contains(&expected), "{said}, not {expected}");
        assert_eq!(trainer(&["evaluate", other, "--data", data]), from_onnx);
    }
    let said = trainer(&["evaluate", other, "--data", data, "--unknown", "0.01"]);
    assert!(said.contains("threshold         0.") && said.contains("% of those are right"), "{said}");
    let said = trainer(&["evaluate", other, "--data", data, "--unknown", "1", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(object.get("threshold").is_some() && object["expected_calibration_error"].as_f64().unwrap() > 0.0);
}
