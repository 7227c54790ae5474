//! The recipe's parts against PyTorch's numbers (tests/reference/recipe.py made them) and plain arithmetic, and whole runs
//! with all of them on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use data::{Folder, StopAfterLine, alone, differences, tensors};
use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};
use trainer::augment::Jitter;
use trainer::checkpoint::{Checkpoint, Progress, best, last};
use trainer::class_weights::{ClassWeights, WeightSource};
use trainer::config::Config;
use trainer::data::of_run::Photos;
use trainer::distributed::Ranks;
use trainer::ema::Ema;
use trainer::execution::Execution;
use trainer::loss::Loss;
use trainer::model::graph::{Conv, Graph, Node, Op, Padding, Value as At};
use trainer::model::{Architecture, Backbone, FlatParameters, Init, Network, Spec, UpsampleTraining, weights};
use trainer::optimizer::{Method, Optimizer, OptimizerSettings, clip_norm};
use trainer::schedule::Schedule;
use trainer::train::{End, Run};

mod data;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/recipe.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.detach().contiguous().view([-1]).try_into().unwrap()
}

fn assert_close(got: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= bound, "{what}, value {place}: {got}, not {expected}");
    }
}

#[test]
fn losses_and_their_gradients_are_those_of_pytorch() {
    let reference = &reference()["losses"];
    let labels: Vec<u8> = numbers(&reference["labels"]).into_iter().map(|label| label as u8).collect();
    let labels = Tensor::from_slice(&labels).view([2, 3, 5]).to_kind(Kind::Int64);
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let what = format!(
            "weights {}, smoothing {}, probability {}, share {}",
            case["weights"], case["smoothing"], case["probability"], case["share"]
        );
        let values: Option<Vec<f64>> = serde_json::from_value(case["weights"].clone()).unwrap();
        let config = Config {
            class_weights: ClassWeights { source: WeightSource::Given, values: values.unwrap_or_default() },
            label_smoothing: case["smoothing"].as_f64().unwrap(),
            ohem_probability: case["probability"].as_f64(),
            ohem_share: case["share"].as_f64(),
            ..Config::standard()
        };
        let scores = Tensor::from_slice(&numbers(&reference["scores"])).view([2, 4, 3, 5]).set_requires_grad(true);
        let loss = Loss::new(&config, Device::Cpu).of(&scores, &labels, &Ranks::alone(), 2).unwrap();
        loss.backward();
        let expected = case["loss"].as_f64().unwrap() as f32;
        assert_close(&floats(&loss), &[expected], 1e-5, &what);
        assert_close(&floats(&scores.grad()), &numbers(&case["gradient"]), 1e-6, &what);
    }
}

fn leaf(values: &[f32], size: &[i64]) -> Tensor {
    Tensor::from_slice(values).view(size).set_requires_grad(true)
}

/// `conv` (2 x 2), `score32` (1 x 2) and its bias.
fn small_graph() -> Graph {
    let conv = |name: &str, weight: Tensor, bias: Option<Tensor>, input: usize| Node {
        op: Op::Conv(Conv { name: name.into(), weight, bias, stride: 1, padding: Padding::even(0), groups: 1 }),
        inputs: vec![At(input)],
    };
    Graph {
        nodes: vec![
            conv("conv", leaf(&[0.5, -0.3, 0.2, 0.8], &[2, 2, 1, 1]), None, 0),
            conv("score32", leaf(&[0.7, -0.6], &[1, 2, 1, 1]), Some(leaf(&[0.1], &[1])), 1),
        ],
        output: At(2),
        device: Device::Cpu,
        sync: None,
    }
}

#[test]
fn adamw_is_that_of_torch_optim() {
    let graph = small_graph();
    let rates =
        OptimizerSettings { method: Method::AdamW, momentum: 0.8, beta2: 0.99, weight_decay: 0.1, head_factor: 3.0 };
    let parameters = FlatParameters::new(&graph).unwrap();
    let mut optimizer = Optimizer::new(&parameters, rates).unwrap();
    let x = Tensor::from_slice(&[1f32, 2.0]).view([1, 2, 1, 1]);
    let steps = reference()["adamw"].as_array().unwrap().clone();
    assert_eq!(steps.len(), 5);
    for (number, expected) in (1..).zip(steps) {
        let loss = graph.forward(&x, true).unwrap().square().sum(Kind::Float);
        optimizer.step(&parameters, &parameters.gradients(&loss).unwrap(), 0.05, number).unwrap();
        let got: Vec<f32> = graph.parameters().iter().flat_map(|p| floats(&p.tensor)).collect();
        assert_close(&got, &numbers(&expected), 2e-6, &format!("step {number}"));
    }
}

#[test]
fn gradients_are_clipped_as_by_pytorch() {
    let reference = &reference()["clipped"];
    let before: Vec<Vec<f32>> = reference["before"].as_array().unwrap().iter().map(numbers).collect();
    let conv = |name: &str, weight: Tensor| Node {
        op: Op::Conv(Conv { name: name.into(), weight, bias: None, stride: 1, padding: Padding::even(0), groups: 1 }),
        inputs: vec![At(0)],
    };
    let tensors = [leaf(&[0.0; 4], &[4]), leaf(&[0.0; 3], &[3])];
    let nodes = tensors.iter().map(|tensor| conv("c", tensor.shallow_clone())).collect();
    let graph = Graph { nodes, output: At(1), device: Device::Cpu, sync: None };
    let parameters = FlatParameters::new(&graph).unwrap();
    // The gradient of a sum of products is the other factor.
    let products = tensors.iter().zip(&before).map(|(tensor, gradient)| tensor * Tensor::from_slice(gradient));
    let mut gradients = parameters.gradients(&Tensor::cat(&products.collect::<Vec<_>>(), 0).sum(Kind::Float)).unwrap();
    let norm = clip_norm(&mut gradients, 1.5).unwrap();
    let expected = reference["norm"].as_f64().unwrap();
    assert!(norm > 1.5 && (norm - expected).abs() < 1e-6, "{norm}, not {expected}");
    let after: Vec<Tensor> = parameters.parts(&gradients).map(|part| part.unwrap().1).collect();
    for (gradient, expected) in after.iter().zip(reference["after"].as_array().unwrap()) {
        assert_close(&floats(gradient), &numbers(expected), 1e-6, "clipped");
    }
    let clipped = clip_norm(&mut gradients, 1.6).unwrap();
    assert!((clipped - 1.5).abs() < 1e-5 && clip_norm(&mut gradients, 1.6).unwrap() == clipped, "{clipped} was enough");
}

fn spec(architecture: Architecture, classes: i64) -> Spec {
    let backbone = Backbone::EfficientNetLite0;
    Spec { architecture, backbone, classes, upsample: UpsampleTraining::Learned, init: Init::Bilinear }
}

#[test]
fn the_average_follows_by_plain_arithmetic() {
    let _alone = alone();
    let network = Network::new(spec(Architecture::Fcn32s, 3), 1, Device::Cpu);
    let parameters = FlatParameters::new(&network.graph).unwrap();
    let average = Ema::new(&network, 0.6).unwrap();
    let places = ["_conv_stem.weight", "_bn0.running_mean", "score32.bias"];
    let value = |network: &Network, name: &str| {
        let parameter = network.graph.parameters().into_iter().find(|p| p.name == name).unwrap();
        f64::from(floats(&parameter.tensor)[0])
    };
    let mut expected = places.map(|name| value(&network, name));
    for updates in 1..=9u64 {
        no_grad(|| {
            for mut parameter in network.graph.parameters() {
                let _ = parameter.tensor.g_add_scalar_(updates as f64);
            }
        });
        // 2/11, 3/12, ... until it is more than 0.6.
        let decay = f64::min(0.6, (1 + updates) as f64 / (10 + updates) as f64);
        for (expected, name) in expected.iter_mut().zip(places) {
            *expected = decay * *expected + (1.0 - decay) * value(&network, name);
        }
        average.follow(&parameters, updates).unwrap();
        for (expected, name) in expected.iter().zip(places) {
            let got = value(&average.network, name);
            assert!((got - expected).abs() < 1e-4, "update {updates}, {name}: {got}, not {expected}");
        }
    }
}

/// Everything that a run may be asked for.
fn everything(folder: &Folder) -> Config {
    Config {
        data: folder.root().to_owned(),
        epochs: 3,
        batch: 2,
        crop: (64, 64),
        max_class_share: 0.75,
        jitter: Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
        blur: 1.5,
        class_weights: ClassWeights { source: WeightSource::MedianFrequency, values: vec![] },
        label_smoothing: 0.1,
        ohem_probability: Some(0.7),
        ohem_share: Some(0.3),
        optimizer: Method::AdamW,
        lr: 1e-3,
        weight_decay: 0.01,
        head_lr_factor: 2.0,
        schedule: Schedule::Cosine,
        warmup: 3,
        accumulate: 3,
        clip: Some(0.5),
        ema: Some(0.9),
        norm_crops: 4,
        ..Config::standard()
    }
}

fn execution(out: &Path, stop: &Arc<AtomicBool>) -> Execution {
    Execution { checkpoint_every: 2, ..data::execution(out, stop) }
}

/// Trains to the end.
fn train(config: Config) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let mut run = Run::start(config, Device::Cpu).unwrap();
    assert_eq!(run.train(&execution(out.path(), &Arc::default()), &mut Vec::new()).unwrap(), End::Complete);
    out
}

#[test]
fn a_run_with_everything_on_resumes_bit_for_bit() {
    let (_alone, folder) = (alone(), Folder::new(8));
    let whole = train(everything(&folder));

    let out = tempfile::tempdir().unwrap();
    let resume =
        || Run::resume(Checkpoint::read(out.path()).unwrap(), Photos::read(out.path()).unwrap(), Device::Cpu).unwrap();
    let progress = || Checkpoint::read(out.path()).unwrap().state.progress;
    let mut run = Run::start(everything(&folder), Device::Cpu).unwrap();
    let stop = Arc::new(AtomicBool::new(true));
    assert_eq!(run.train(&execution(out.path(), &stop), &mut Vec::new()).unwrap(), End::Stopped);
    // Four batches an epoch, of which the optimizer takes three and then one.
    assert_eq!((progress().epoch, progress().step, progress().updates), (0, 3, 1));
    let stop = Arc::new(AtomicBool::new(false));
    let mut line = StopAfterLine(stop.clone());
    assert_eq!(resume().train(&execution(out.path(), &stop), &mut line).unwrap(), End::Stopped);
    assert_eq!((progress().epoch, progress().step, progress().updates), (1, 3, 3));
    assert_eq!(resume().train(&execution(out.path(), &Arc::default()), &mut Vec::new()).unwrap(), End::Complete);
    for file in [last, best] {
        assert_eq!(differences(&tensors(&file(whole.path())), &tensors(&file(out.path()))), [""; 0]);
    }
    let kinds = ["momentum/", "variance/", "average/", "_conv_stem"];
    let names = tensors(&last(out.path()));
    assert!(kinds.iter().all(|kind| names.keys().any(|name| name.starts_with(kind))));
    let config = Checkpoint::read(out.path()).unwrap().state.config;
    assert_eq!(config.class_weights.values.len(), 3, "the counted weights are kept");
}

#[test]
fn measured_and_exported_weights_are_the_averages() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let out = train(Config { epochs: 2, accumulate: 1, ..everything(&folder) });
    let (last, best) = (tensors(&last(out.path())), tensors(&best(out.path())));
    let state = Checkpoint::read(out.path()).unwrap();
    let network = state.network(Device::Cpu).unwrap();
    let mut differ = 0;
    for parameter in network.graph.parameters() {
        let bytes: Vec<u8> = floats(&parameter.tensor).into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(bytes == last[&format!("average/{}", parameter.name)], "{}", parameter.name);
        differ += usize::from(bytes != last[&parameter.name]);
        assert!(best.contains_key(&parameter.name));
    }
    assert!(differ > 200, "{differ} parameters differ from their average");
    assert_eq!(best.len(), network.graph.parameters().len(), "the best checkpoint holds parameters alone");
}

#[test]
fn accumulated_batches_are_one_step() {
    let (_alone, folder) = (alone(), Folder::new(4));
    // With batch normalisation frozen, and all pixels counted, crops do not see each other.
    for number in 0..6 {
        folder.mask(&format!("p{number}"), 90 + number, 80 + number, |x, y| ((x / 8 + y / 9) % 3) as u8);
    }
    let run = |batch, accumulate| {
        let config = Config {
            data: folder.root().to_owned(),
            epochs: 1,
            batch,
            accumulate,
            crop: (64, 64),
            scale: (1.0, 1.0),
            freeze_norm: true,
            momentum: 0.0,
            schedule: Schedule::Constant,
            ..Config::standard()
        };
        weights::read(&last(train(config).path())).unwrap()
    };
    let (once, twice) = (run(4, 1), run(2, 2));
    let mut moved = 0;
    for (name, one) in &once {
        let error = (one - &twice[name]).abs().max().double_value(&[]);
        assert!(error < 1e-5, "{name}: {error}");
        moved += usize::from(error > 0.0);
        if name.contains("_bn") {
            assert_eq!(error, 0.0, "{name} is frozen");
        }
    }
    assert!(moved > 10, "{moved} parameters moved");
}

#[test]
fn classes_without_weight_teach_nothing() {
    let (_alone, folder) = (alone(), Folder::new(2));
    for (number, id) in (0..).zip(["p0", "p1"]) {
        folder.mask(id, 90 + number, 80 + number, |x, _| (x / 9 % 2) as u8);
    }
    let class_weights = ClassWeights { source: WeightSource::Given, values: vec![0.0, 0.0, 1.0] };
    let config = Config { epochs: 1, class_weights, ..everything(&folder) };
    let start = Network::new(spec(config.arch, 3), config.seed, Device::Cpu);
    let end = weights::read(&last(train(config).path())).unwrap();
    for parameter in start.graph.parameters() {
        assert!(floats(&parameter.tensor) == floats(&end[&parameter.name]), "{}", parameter.name);
    }
}

#[test]
fn frozen_norms_stay() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let upsample = UpsampleTraining::Learned;
    let config = Config { upsample, freeze_norm: true, ema: None, ..everything(&folder) };
    let start = Network::new(spec(config.arch, 3), config.seed, Device::Cpu);
    let start: BTreeMap<String, Vec<f32>> =
        start.graph.parameters().iter().map(|p| (p.name.clone(), floats(&p.tensor))).collect();
    let end = weights::read(&last(train(config).path())).unwrap();
    let (mut frozen, mut moved) = (0, 0);
    for (name, start) in &start {
        let stays = floats(&end[name]) == *start;
        if name.contains("_bn") { frozen += usize::from(stays) } else { moved += usize::from(!stays) }
    }
    assert_eq!(frozen, start.keys().filter(|name| name.contains("_bn")).count());
    assert_eq!(moved, start.len() - frozen, "everything else moved");
    assert!(!end.keys().any(|name| name.starts_with("momentum/_bn")));
}

#[test]
fn a_finer_network_starts_from_a_coarser_one() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let config = Config { epochs: 1, arch: Architecture::Fcn32s, ..everything(&folder) };
    let coarse = train(config.clone());
    let mut from = last(coarse.path());
    for (arch, fresh) in [
        (Architecture::Fcn16s, ["score16.weight", "up2_32.weight"]),
        (Architecture::Fcn8s, ["score8.weight", "up2_16.weight"]),
        (Architecture::Fcn4s, ["score4.weight", "up2_8.weight"]),
    ] {
        let mut run = Run::start(Config { arch, ..config.clone() }, Device::Cpu).unwrap();
        let report = run.load_weights(&from).unwrap();
        for name in ["_conv_stem.weight", "_bn0.running_var", "score32.weight", "score32.bias", "upsample.bias"] {
            assert!(report.matched.iter().any(|matched| matched == name), "{name}: {report}");
        }
        assert!(fresh.iter().all(|name| report.missing.iter().any(|missing| missing == name)), "{report}");
        assert_eq!(report.reshaped, ["upsample.weight"], "its kernel depends on the stride");
        assert_eq!(report.unused, [""; 0], "{report}");
        let text = report.to_string();
        assert!(text.contains(" tensors loaded, of the head score32.weight, score32.bias, "), "{text}");
        let out = tempfile::tempdir().unwrap();
        assert_eq!(run.train(&execution(out.path(), &Arc::default()), &mut Vec::new()).unwrap(), End::Complete);
        from = best(out.path());
        // The directory must outlive the next turn.
        let _ = out.keep();
    }

    // The same backbone, other classes.
    std::fs::write(folder.path("labelmap.txt"), "floor:1,2,3::\nwall:2,0,0::\nbox:0,0,250::\nroof:9,9,9::\n").unwrap();
    let mut run = Run::start(Config { arch: Architecture::Fcn4s, ..config }, Device::Cpu).unwrap();
    let report = run.load_weights(&from).unwrap();
    let head = ["score32.weight", "score32.bias", "up2_32.weight", "score16.weight", "score16.bias"];
    assert!(head.iter().all(|name| report.reshaped.iter().any(|reshaped| reshaped == name)), "{report}");
    assert!(report.missing.is_empty() && report.unused.is_empty() && report.matched.len() > 200, "{report}");
}

#[test]
fn checkpoints_from_before_the_options_load() {
    let (_alone, folder) = (alone(), Folder::new(4));
    let data = folder.root().to_owned();
    let plain = Config {
        data,
        epochs: 1,
        batch: 2,
        crop: (64, 64),
        norm_crops: 0,
        max_class_share: 1.0,
        jitter: Jitter::default(),
        optimizer: Method::Sgd,
        warmup: 0,
        ema: None,
        ..Config::standard()
    };
    let mut json = serde_json::to_value(&plain).unwrap();
    let object = json.as_object_mut().unwrap();
    let new = [
        "max_class_share",
        "jitter",
        "blur",
        "class_weights",
        "label_smoothing",
        "ohem_probability",
        "ohem_share",
        "optimizer",
        "beta2",
        "lr_steps",
        "lr_gamma",
        "warmup",
        "freeze_norm",
        "sync_norm",
        "norm_crops",
        "accumulate",
        "clip",
        "ema",
    ];
    for name in new {
        assert!(object.remove(name).is_some(), "{name}");
    }
    assert_eq!(serde_json::from_value::<Config>(json).unwrap(), plain);

    let mut json = serde_json::to_value(Progress::default()).unwrap();
    for name in ["logged", "stale", "updates"] {
        assert!(json.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    assert_eq!(serde_json::from_value::<Progress>(json).unwrap(), Progress::default());
}
