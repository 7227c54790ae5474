//! Training as a library: what is learned, what stays, and what random numbers decide.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use data::{Folder, alone, differences, tensors};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use trainer::augment::Jitter;
use trainer::checkpoint::{Checkpoint, best, last};
use trainer::config::Config;
use trainer::data::of_run::Photos;
use trainer::execution::Execution;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining, is_head, weights};
use trainer::optimizer::Method;
use trainer::recipe::Recipe;
use trainer::schedule::Schedule;
use trainer::train::{End, Run};

mod data;

/// Two steps with everything small and plain.
fn config(folder: &Folder) -> Config {
    Config {
        data: folder.root().to_owned(),
        epochs: 1,
        batch: 2,
        crop: (64, 64),
        norm_crops: 4,
        max_class_share: 1.0,
        jitter: Jitter::default(),
        optimizer: Method::Sgd,
        lr: 0.02,
        weight_decay: 1e-4,
        head_lr_factor: 1.0,
        warmup: 0,
        ema: None,
        ..Config::standard()
    }
}

fn execution(out: &Path, workers: usize, stop: bool) -> Execution {
    Execution { workers, ..data::execution(out, &Arc::new(AtomicBool::new(stop))) }
}

/// Trains to the end.
fn train(config: Config, workers: usize) -> (TempDir, String) {
    let (out, mut lines) = (tempfile::tempdir().unwrap(), Vec::new());
    let mut run = Run::start(config, Device::Cpu).unwrap();
    assert_eq!(run.train(&execution(out.path(), workers, false), &mut lines).unwrap(), End::Complete);
    (out, String::from_utf8(lines).unwrap())
}

fn weights_of(config: Config, workers: usize) -> BTreeMap<String, Vec<u8>> {
    tensors(&last(train(config, workers).0.path()))
}

/// The parameters that a run with this configuration starts from.
fn start_of(config: &Config) -> BTreeMap<String, Vec<u8>> {
    let network = Network::new(spec(config), config.seed, Device::Cpu);
    let bytes = |tensor: &Tensor| {
        let values: Vec<f32> = tensor.detach().contiguous().view([-1]).try_into().unwrap();
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    };
    network.graph.parameters().iter().map(|p| (p.name.clone(), bytes(&p.tensor))).collect()
}

fn spec(config: &Config) -> Spec {
    let Config { arch: architecture, backbone, upsample, init, .. } = *config;
    Spec { architecture, backbone, classes: 3, upsample, init }
}

/// Whether training changed each of these parameters.
fn changed(config: Config, names: &[&str]) -> Vec<bool> {
    let start = start_of(&config);
    let mut end = weights_of(config, 1);
    end.retain(|name, _| !name.starts_with("momentum/"));
    let differences = differences(&start, &end);
    names.iter().map(|name| differences.contains(name)).collect()
}

#[test]
fn frozen_upsampling_stays_and_learned_changes() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let names = [
        "upsample.weight",
        "upsample.bias",
        "score32.weight",
        "up2_32.weight",
        "_conv_stem.weight",
        "_bn0.running_mean",
    ];
    for (upsample, learned) in [(UpsampleTraining::Frozen, false), (UpsampleTraining::Learned, true)] {
        let config = Config { upsample, ..config(&folder) };
        assert_eq!(changed(config, &names), [learned, learned, true, true, true, true], "{upsample:?}");
    }
}

#[test]
fn statistics_are_fitted_before_the_validation() {
    let (_alone, folder) = (alone(), Folder::new(4));
    // Without a rate the weights stay, and so do the running statistics of those who keep theirs.
    let best = |norm_crops, ema, freeze_norm| {
        let config = Config { lr: 0.0, norm_crops, ema, freeze_norm, ..config(&folder) };
        let (out, _) = train(config, 1);
        weights::read(&trainer::checkpoint::best(out.path())).unwrap()
    };
    let [mean, weight] = ["_bn0.running_mean", "_bn0.weight"];
    let (kept, fitted) = (best(0, None, false), best(8, None, false));
    assert!(kept[mean] != fitted[mean] && kept[weight] == fitted[weight]);
    // The average of weights is what is measured; its weights are the same here.
    assert_eq!(best(8, Some(0.9), false)[mean], fitted[mean]);
    // As many batches as hold so many crops, whole ones.
    assert_eq!(best(7, None, false)[mean], fitted[mean]);
    assert!(best(6, None, false)[mean] != fitted[mean]);
    assert_eq!(best(8, None, true)[mean], best(0, None, true)[mean], "frozen ones stay");
}

#[test]
fn head_lr_factor_is_the_heads_alone() {
    let (_alone, folder) = (alone(), Folder::new(4));
    // One step from the same start: with plain gradient descent each parameter moves by rate x factor x gradient.
    let one_step = |head_lr_factor| {
        let config = Config {
            batch: 4,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            head_lr_factor,
            ..config(&folder)
        };
        weights::read(&last(train(config, 1).0.path())).unwrap()
    };
    let (zero, one, three) = (one_step(0.0), one_step(1.0), one_step(3.0));
    let mut heads = 0;
    for (name, start) in &zero {
        if is_head(name) {
            let (single, triple) = (&one[name] - start, &three[name] - start);
            let error = (&triple - &single * 3).abs().max().double_value(&[]);
            assert!(error <= 1e-6 + 1e-4 * triple.abs().max().double_value(&[]), "{name}: {error}");
            heads += usize::from(single.abs().max().double_value(&[]) > 0.0);
        } else {
            assert!(one[name] == *start && three[name] == *start, "{name}");
        }
    }
    assert!(heads >= 5, "{heads} parameters of the head moved");
    assert!(start_of(&config(&folder))["_conv_stem.weight"] != bytes(&zero["_conv_stem.weight"]), "the backbone moved");
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    Vec::<f32>::try_from(tensor.contiguous().view([-1])).unwrap().into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn the_seed_decides_and_workers_do_not() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let seeded = |seed, workers| weights_of(Config { seed, ..config(&folder) }, workers);
    let first = seeded(1, 1);
    assert_eq!(differences(&first, &seeded(1, 3)), [""; 0]);
    let other = seeded(2, 1);
    let differences = differences(&first, &other);
    for name in ["_conv_stem.weight", "score32.weight", "_bn0.running_mean"] {
        assert!(differences.contains(&name), "{name}");
    }
}

#[test]
fn upsampling_may_start_from_xaviers_numbers() {
    let _alone = alone();
    for (architecture, kernel) in [(Architecture::Fcn32s, 64), (Architecture::Fcn8s, 16)] {
        let spec = Spec {
            architecture,
            backbone: Backbone::ResNet18,
            classes: 3,
            upsample: UpsampleTraining::Learned,
            init: Init::Xavier,
        };
        let network = Network::new(spec, 1, Device::Cpu);
        let weight = network.graph.parameters().into_iter().find(|p| p.name == "upsample.weight").unwrap().tensor;
        assert_eq!(weight.size(), [3, 3, kernel, kernel]);
        // torch.nn.init.xavier_uniform_: uniform within the root of 6 / (fan in + fan out), 3 k k each.
        let bound = (6.0 / f64::from(6 * kernel as i32 * kernel as i32)).sqrt();
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
        let deviation = weight.std(true).double_value(&[]);
        assert!((deviation / (bound / 3f64.sqrt()) - 1.0).abs() < 0.05, "{deviation}");
        let between_classes = weight.get(0).get(1).abs().mean(Kind::Float).double_value(&[]);
        assert!((between_classes / (bound / 2.0) - 1.0).abs() < 0.1, "{between_classes}");
    }
}

#[test]
fn a_run_stopped_in_its_validation_goes_on_there() {
    let (_alone, folder) = (alone(), Folder::new(2));
    let config = Config { epochs: 2, ..config(&folder) };
    let (whole, lines) = train(config.clone(), 1);

    let out = tempfile::tempdir().unwrap();
    let mut run = Run::start(config, Device::Cpu).unwrap();
    let resume =
        || Run::resume(Checkpoint::read(out.path()).unwrap(), Photos::read(out.path()).unwrap(), Device::Cpu).unwrap();
    // An epoch has one step, so the first stop comes right after it, and the second within the validation.
    for _ in 0..2 {
        assert_eq!(run.train(&execution(out.path(), 1, true), &mut Vec::new()).unwrap(), End::Stopped);
        run = resume();
        let progress = Checkpoint::read(out.path()).unwrap().state.progress;
        assert_eq!((progress.epoch, progress.step, progress.running.crops), (0, 1, 2));
        assert!(!best(out.path()).exists());
    }
    let mut rest = Vec::new();
    assert_eq!(run.train(&execution(out.path(), 1, false), &mut rest).unwrap(), End::Complete);
    for file in [last, best] {
        assert_eq!(differences(&tensors(&file(whole.path())), &tensors(&file(out.path()))), [""; 0]);
    }
    let numbers = |lines: &str| lines.lines().map(|l| l.rsplit_once(", ").unwrap().0.to_owned()).collect::<Vec<_>>();
    assert_eq!(numbers(&String::from_utf8(rest).unwrap()), numbers(&lines));
    assert_eq!(numbers(&lines).len(), 2);
}

#[test]
fn photos_of_void_teach_nothing() {
    let (_alone, folder) = (alone(), Folder::new(2));
    for (number, id) in (0..).zip(["p0", "p1"]) {
        folder.mask(id, 90 + number, 80 + number, |_, _| 255);
    }
    // Statistics that are fitted are the photos', whatever their masks say.
    let config = Config { norm_crops: 0, ..config(&folder) };
    assert_eq!(changed(config.clone(), &["score32.bias", "_conv_stem.weight", "_bn0.running_mean"]), [false; 3]);
    let (_, lines) = train(config, 1);
    assert!(lines.starts_with("epoch 1/1, loss -, train acc - (every pixel was void), val acc 0."), "{lines}");
}

#[test]
fn weights_are_loaded_by_name() {
    let _alone = alone();
    let folder = Folder::new(2);
    let spec = Spec { backbone: Backbone::ResNet18, ..spec(&config(&folder)) };
    let network = Network::new(spec, 1, Device::Cpu);
    let file = BTreeMap::from([
        ("conv1.weight".to_owned(), Tensor::ones([64, 3, 7, 7], (Kind::Double, Device::Cpu))),
        ("bn1.running_var".to_owned(), Tensor::full([64], 2.5, (Kind::Half, Device::Cpu))),
        ("bn1.num_batches_tracked".to_owned(), Tensor::from(5i64)),
        ("fc.weight".to_owned(), Tensor::zeros([1000, 512], (Kind::Float, Device::Cpu))),
    ]);
    let report = weights::load(&network.graph, &file).unwrap();
    assert_eq!(report.matched, ["conv1.weight", "bn1.running_var"]);
    assert_eq!(report.unused, ["fc.weight"]);
    assert_eq!(report.missing.len(), network.graph.parameters().len() - 2);
    let text = report.to_string();
    assert!(text.starts_with("2 tensors loaded\n"), "{text}");
    assert!(
        text.contains(" not in the file, start fresh: bn1.weight, bn1.bias, bn1.running_mean, layer1.0."),
        "{text}"
    );
    assert!(text.ends_with("\n1 in the file, unused: fc.weight"), "{text}");
    for parameter in network.graph.parameters() {
        let constant = match parameter.name.as_str() {
            "conv1.weight" => 1.0,
            "bn1.running_var" => 2.5,
            _ => continue,
        };
        assert_eq!(parameter.tensor.kind(), Kind::Float);
        assert!(parameter.tensor.eq(constant).all().int64_value(&[]) == 1, "{}", parameter.name);
    }
}

#[test]
fn recipes_have_the_documented_numbers() {
    // Dive into Deep Learning, section 13.11: batch_size, crop_size = 32, (320, 480); num_epochs, lr, wd = 5, 0.001,
    // 1e-3; optim.SGD without momentum; ResNet-18; a transposed convolution from `bilinear_kernel` that is trained.
    let d2l = Recipe::D2l.config(3, None, None);
    assert_eq!((d2l.batch, d2l.crop, d2l.epochs), (32, (320, 480), 5));
    assert_eq!((d2l.lr, d2l.weight_decay, d2l.momentum, d2l.head_lr_factor), (0.001, 0.001, 0.0, 1.0));
    assert_eq!((d2l.arch, d2l.backbone), (Architecture::Fcn32s, Backbone::ResNet18));
    assert_eq!((d2l.upsample, d2l.init, d2l.schedule), (UpsampleTraining::Learned, Init::Bilinear, Schedule::Constant));
    assert_eq!((d2l.scale, d2l.flip), ((1.0, 1.0), false));
    assert!(d2l.drop_small && d2l.void_is_background && d2l.sum_over_batch && d2l.norm_crops == 0);

    let standard = Config::standard();
    assert_eq!((standard.momentum, standard.schedule), (0.9, Schedule::Poly));
    assert_eq!((standard.scale, standard.flip), ((0.5, 2.0), true));
    assert_eq!((standard.optimizer, standard.lr, standard.weight_decay), (Method::AdamW, 5e-4, 0.02));
    assert_eq!((standard.head_lr_factor, standard.ema, standard.max_class_share), (2.0, Some(0.998), 0.75));
    assert!(!standard.drop_small && !standard.void_is_background && !standard.sum_over_batch);
}
