//! Networks and optimizer against PyTorch's and OpenCV's numbers; tests/reference/network.py made them.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};
use trainer::augment::{Normalisation, normalise_whole};
use trainer::distributed::Ranks;
use trainer::model::graph::{BatchNorm, Conv, Graph, Node, Op, Padding, Value as At};
use trainer::model::{Architecture, Backbone, FlatParameters, Init, Network, Spec, UpsampleTraining, init, weights};
use trainer::optimizer::{Method, Optimizer, OptimizerSettings};

#[path = "../../tests/common/mod.rs"]
mod common;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/network.json")).expect("the reference is JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn spec(architecture: Architecture, backbone: Backbone) -> Spec {
    Spec { architecture, backbone, classes: 21, upsample: UpsampleTraining::Learned, init: Init::Bilinear }
}

/// EfficientNet-Lite0's ImageNet weights below `.deps`.
const WEIGHTS: &str = "weights/efficientnet-lite0-57934424.pth";

/// A file below `.deps`.
fn deps(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps").join(name)
}

#[test]
fn shapes_are_those_of_the_chapter() {
    let network = Network::new(spec(Architecture::Fcn32s, Backbone::ResNet18), 1, Device::Cpu);
    let image = Tensor::rand([1, 3, 320, 480], (Kind::Float, Device::Cpu));
    let wanted = [network.features.stride32.value, network.graph.output];
    let values = no_grad(|| network.graph.evaluate(&image, false, &wanted)).expect("the network computes");
    assert_eq!(values[0].size(), [1, 512, 10, 15]);
    assert_eq!(values[1].size(), [1, 21, 320, 480]);
    let upsample = network.graph.parameters().into_iter().find(|p| p.name == "upsample.weight").expect("it upsamples");
    assert_eq!(upsample.tensor.size(), [21, 21, 64, 64]);
}

#[test]
fn every_network_scores_every_pixel() {
    let image = Tensor::rand([1, 3, 64, 96], (Kind::Float, Device::Cpu));
    assert_eq!(Backbone::value_variants().len(), 10);
    for &backbone in Backbone::value_variants() {
        for &architecture in Architecture::value_variants() {
            let network = Network::new(spec(architecture, backbone), 1, Device::Cpu);
            let scores = no_grad(|| network.graph.forward(&image, false)).expect("the network computes");
            assert_eq!(scores.size(), [1, 21, 64, 96], "{}", network.spec.name());
        }
    }
}

#[test]
fn fitted_statistics_are_the_mean_over_the_batches() {
    let mut network = Network::new(spec(Architecture::Fcn32s, Backbone::ResNet18), 1, Device::Cpu);
    let batches = [3, 2, 4].map(|n| Tensor::rand([n, 3, 64, 96], (Kind::Float, Device::Cpu)) * 3 - 1);
    let value = |network: &Network, name: &str| {
        network.graph.parameters().into_iter().find(|p| p.name == name).expect("a parameter").tensor.copy()
    };
    network.graph.fit_norms(batches.iter().map(|batch| Ok(batch.shallow_clone()))).expect("the network computes");
    // The first normalisation follows the first convolution: its statistics can be computed by hand.
    let weight = value(&network, "conv1.weight");
    let (mut mean, mut variance) =
        (Tensor::zeros([64], (Kind::Float, Device::Cpu)), Tensor::zeros([64], (Kind::Float, Device::Cpu)));
    for batch in &batches {
        let values = batch.conv2d(&weight, None::<Tensor>, [2, 2], [3, 3], [1, 1], 1).transpose(0, 1).reshape([64, -1]);
        mean += values.mean_dim([1i64].as_slice(), false, Kind::Float) / 3;
        variance += values.var_dim([1i64].as_slice(), true, false) / 3;
    }
    assert!(value(&network, "bn1.running_mean").allclose(&mean, 1e-4, 1e-5, false));
    assert!(value(&network, "bn1.running_var").allclose(&variance, 1e-4, 1e-5, false));
    // Training goes on as before: a tenth of the newest batch.
    let before = value(&network, "bn1.running_mean");
    let _ = no_grad(|| network.graph.forward(&batches[0], true)).expect("the network computes");
    let first = batches[0].conv2d(&weight, None::<Tensor>, [2, 2], [3, 3], [1, 1], 1).mean_dim(
        [0i64, 2, 3].as_slice(),
        false,
        Kind::Float,
    );
    assert!(value(&network, "bn1.running_mean").allclose(&(before * 0.9 + first * 0.1), 1e-4, 1e-5, false));
    // Those that are frozen stay.
    network.graph.freeze_norms();
    let frozen = value(&network, "bn1.running_mean");
    network.graph.fit_norms(batches.iter().map(|batch| Ok(batch.shallow_clone()))).expect("the network computes");
    assert_eq!(value(&network, "bn1.running_mean"), frozen);
}

#[test]
fn statistics_over_ranks_are_those_of_batch_normalisation() {
    let options = (Kind::Float, Device::Cpu);
    let (image, factors) = (Tensor::rand([3, 4, 6, 10], options) * 3 + 5, Tensor::rand([3, 4, 6, 10], options));
    let start = Tensor::rand([4, 4], options);
    let run = |sync: Option<Ranks>| {
        let part = |row: i64, learned: bool| start.get(row).copy().set_requires_grad(learned);
        let norm = BatchNorm {
            name: "norm".into(),
            weight: part(0, true),
            bias: part(1, true),
            running_mean: part(2, false),
            running_var: part(3, false),
            eps: 1e-3,
            momentum: 0.1,
            learned: true,
        };
        let nodes = vec![Node { op: Op::BatchNorm(norm), inputs: vec![At(0)] }];
        let graph = Graph { nodes, output: At(1), device: Device::Cpu, sync };
        let input = image.copy().set_requires_grad(true);
        let output = graph.forward(&input, true).expect("it computes");
        (&output * &output * &factors).sum(Kind::Float).backward();
        let mut all = vec![output.detach(), input.grad()];
        for parameter in graph.parameters() {
            all.push(parameter.tensor.detach());
            if parameter.learned {
                all.push(parameter.tensor.grad());
            }
        }
        all
    };
    let (plain, synchronised) = (run(None), run(Some(Ranks::alone())));
    assert_eq!(plain.len(), 8);
    for (index, (one, other)) in plain.iter().zip(&synchronised).enumerate() {
        assert!(one.allclose(other, 1e-4, 1e-4, false), "value {index}: {one} and {other}");
    }
}

#[test]
fn parameters_of_resnets_are_as_many_as_torchvisions() {
    // torchvision 0.28's resnet18, 34 and 50: learned parameters without fc.
    for (backbone, count) in
        [(Backbone::ResNet18, 11_176_512), (Backbone::ResNet34, 21_284_672), (Backbone::ResNet50, 23_508_032)]
    {
        let network = Network::new(spec(Architecture::Fcn32s, backbone), 1, Device::Cpu);
        let learned = network.graph.parameters().into_iter().filter(|p| p.learned && !trainer::model::is_head(&p.name));
        assert_eq!(learned.map(|p| p.tensor.numel()).sum::<usize>(), count, "{backbone:?}");
    }
}

#[test]
fn parameters_of_efficientnets_are_all_those_of_their_files() {
    // The sizes in the files, counted with Python's pickle module: learned parameters without _conv_head, _bn1 and _fc.
    for (backbone, count, file) in [
        (Backbone::EfficientNetLite0, 2_958_848, "efficientnet-lite0-57934424.pth"),
        (Backbone::EfficientNetLite1, 3_723_520, "efficientnet-lite1-77cc7160.pth"),
        (Backbone::EfficientNetLite2, 4_357_952, "efficientnet-lite2-9656183e.pth"),
    ] {
        let network = Network::new(spec(Architecture::Fcn8s, backbone), 1, Device::Cpu);
        let learned = network.graph.parameters().into_iter().filter(|p| p.learned && !trainer::model::is_head(&p.name));
        assert_eq!(learned.map(|p| p.tensor.numel()).sum::<usize>(), count, "{backbone:?}");
        let path = deps("weights").join(file);
        if !path.is_file() {
            common::skip(file, "it is missing in .deps/weights; make weights fetches it");
            continue;
        }
        let tensors = weights::read(&path).expect("weights");
        let report = weights::load(&network.graph, &tensors).expect("they fit");
        assert!(report.missing.iter().all(|name| trainer::model::is_head(name)), "{file}: {report}");
        let unused = ["_bn1", "_conv_head", "_fc"];
        assert!(
            report.unused.iter().all(|name| unused.iter().any(|layer| name.starts_with(layer))),
            "{file}: {report}"
        );
        if let Some(image) = chelsea(&backbone.normalise()) {
            // Their own classifier sees a cat in the photo of one: ImageNet's tabby, tiger cat or Egyptian cat.
            let [features] = &no_grad(|| network.graph.evaluate(&image, false, &[network.features.stride32.value]))
                .expect("the network computes")[..]
            else {
                panic!("one value")
            };
            let of = |name: &str| Some(&tensors[name]);
            let scores = features
                .conv2d::<&Tensor>(&tensors["_conv_head.weight"], None, [1, 1], [0, 0], [1, 1], 1)
                .batch_norm(
                    of("_bn1.weight"),
                    of("_bn1.bias"),
                    of("_bn1.running_mean"),
                    of("_bn1.running_var"),
                    false,
                    0.0,
                    1e-3,
                    false,
                )
                .clamp(0, 6)
                .mean_dim([2i64, 3].as_slice(), false, Kind::Float)
                .linear(&tensors["_fc.weight"], of("_fc.bias"));
            let class = scores.argmax(1, false).int64_value(&[0]);
            assert!([281, 282, 285].contains(&class), "{backbone:?}: class {class}");
        }
    }
}

/// The photo's top left 288 x 448 pixels as a network's input, where the photo is there.
fn chelsea(normalise: &Normalisation) -> Option<Tensor> {
    let photo = image::open(deps("photos/chelsea.png")).ok()?.into_rgb8();
    let photo = image::imageops::crop_imm(&photo, 0, 0, 448, 288).to_image();
    let mut pixels = vec![0.0; 3 * 288 * 448];
    normalise_whole(photo.as_raw(), 448, 288, normalise, 288, 448, &mut pixels);
    Some(Tensor::from_slice(&pixels).view([1, 3, 288, 448]))
}

#[test]
fn efficientnet_computes_what_pytorch_computes() {
    let weights_file = deps(WEIGHTS);
    let (Some(image), true) = (chelsea(&Backbone::EfficientNetLite0.normalise()), weights_file.is_file()) else {
        common::skip("EfficientNet-Lite0 against PyTorch", "the photo or the weights are missing in .deps");
        return;
    };
    let network = Network::new(spec(Architecture::Fcn8s, Backbone::EfficientNetLite0), 1, Device::Cpu);
    let report = weights::load(&network.graph, &weights::read(&weights_file).expect("weights")).expect("they fit");
    assert!(report.missing.iter().all(|name| trainer::model::is_head(name)), "{report}");

    let features = network.features;
    let wanted = [features.stride8.value, features.stride16.value, features.stride32.value];
    let values = no_grad(|| network.graph.evaluate(&image, false, &wanted)).expect("the network computes");
    for (stride, value) in ["8", "16", "32"].iter().zip(values) {
        let expected = &reference()["backbone"][stride];
        assert_eq!(value.size().iter().map(|side| *side as f64).collect::<Vec<_>>(), numbers(&expected["shape"]));
        let flat: Vec<f32> = value.contiguous().view([-1]).try_into().expect("floats");
        let magnitude = expected["mean_magnitude"].as_f64().expect("a number");
        for (index, (got, want)) in flat.iter().step_by(997).zip(numbers(&expected["every_997th"])).enumerate() {
            let error = (f64::from(*got) - want).abs();
            assert!(error < 1e-3 * magnitude, "stride {stride}, sample {index}: {got}, not {want}");
        }
    }
}

#[test]
fn real_weights_are_read_as_pytorch_reads_them() {
    // The same tensors, which PyTorch read and safetensors' Python package wrote.
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("FCN_SHARED").map_or(beside, PathBuf::from);
    let expected = shared.join("weights/efficientnet_lite0_imagenet.safetensors");
    if !expected.is_file() || !deps(WEIGHTS).is_file() {
        common::skip_data("a real .pth file against PyTorch", "FCN_SHARED/weights or .deps/weights is missing");
        return;
    }
    let (expected, got) = (weights::read(&expected).expect("safetensors"), weights::read(&deps(WEIGHTS)).expect("pth"));
    assert_eq!(expected.len(), 296);
    assert!(expected.keys().eq(got.keys()));
    for (name, tensor) in &expected {
        // The copy made lists of one number out of the counters of batches.
        let size = if name.ends_with(".num_batches_tracked") { vec![] } else { tensor.size() };
        assert_eq!((got[name].size(), got[name].kind()), (size, tensor.kind()), "{name}");
        assert!(got[name].view_as(tensor) == *tensor, "{name}");
    }
}

#[test]
fn bilinear_kernel_doubles_a_picture() {
    let picture: Vec<f32> = (0..561 * 728i64)
        .map(|i| (i / 728, i % 728))
        .map(|(r, c)| (r * 37 + c * 101 + r * c) % 256)
        .map(|v| v as f32)
        .collect();
    let kernel = init::bilinear_kernel(1, 4, Device::Cpu);
    let picture = Tensor::from_slice(&picture).view([1, 1, 561, 728]);
    let large = picture.conv_transpose2d::<Tensor>(&kernel, None, [2, 2], [1, 1], [0, 0], 1, [1, 1]);
    assert_eq!(large.size(), [1, 1, 1122, 1456]);
    let places = reference()["doubled"].as_array().expect("places").clone();
    assert_eq!(places.len(), 200);
    for place in places {
        let [row, column, want] = numbers(&place)[..] else { panic!("row, column, value") };
        let got = large.double_value(&[0, 0, row as i64, column as i64]);
        assert!((got - want).abs() < 0.02, "row {row}, column {column}: {got}, not {want}");
    }
}

#[test]
fn sgd_is_that_of_torch_optim() {
    let tensor = |values: &[f32], size: &[i64]| Tensor::from_slice(values).view(size).set_requires_grad(true);
    let conv = |name: &str, weight: Tensor, bias: Option<Tensor>, input: usize| Node {
        op: Op::Conv(Conv { name: name.into(), weight, bias, stride: 1, padding: Padding::even(0), groups: 1 }),
        inputs: vec![At(input)],
    };
    let graph = Graph {
        nodes: vec![
            conv("conv", tensor(&[0.5, -0.3, 0.2, 0.8], &[2, 2, 1, 1]), None, 0),
            conv("score32", tensor(&[0.7, -0.6], &[1, 2, 1, 1]), Some(tensor(&[0.1], &[1])), 1),
        ],
        output: At(2),
        device: Device::Cpu,
        sync: None,
    };
    let rates =
        OptimizerSettings { method: Method::Sgd, momentum: 0.9, beta2: 0.999, weight_decay: 0.01, head_factor: 3.0 };
    let parameters = FlatParameters::new(&graph).expect("there is memory");
    let mut sgd = Optimizer::new(&parameters, rates).expect("there is memory");
    let x = Tensor::from_slice(&[1f32, 2.0]).view([1, 2, 1, 1]);
    for (step, expected) in reference()["sgd"].as_array().expect("steps").iter().enumerate() {
        let loss = graph.forward(&x, true).expect("it computes").square().sum(Kind::Float);
        let gradients = parameters.gradients(&loss).expect("it computes");
        sgd.step(&parameters, &gradients, 0.05, step as u64 + 1).expect("it steps");
        let got = graph
            .parameters()
            .iter()
            .flat_map(|p| Vec::<f32>::try_from(p.tensor.view([-1])).expect("floats"))
            .collect::<Vec<_>>();
        for (got, want) in got.iter().zip(numbers(expected)) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "step {step}: {got}, not {want}");
        }
    }
}
