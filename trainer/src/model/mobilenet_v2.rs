//! MobileNetV2 (Sandler et al. 2018, table 2) without its last 1 x 1 convolution, pooling and
//! classifier, with the parameter names of timm's `mobilenetv2_100`.

use std::collections::BTreeMap;

use tch::Tensor;

use super::build::{Builder, ConvolutionShape, Feature, Features};
use super::graph::Value;

/// A row of the architecture's table; all kernels have side 3.
#[derive(Debug, Clone, Copy)]
struct Stage {
    repeats: usize,
    stride: i64,
    expand: i64,
    output: i64,
}

const fn stage(repeats: usize, stride: i64, expand: i64, output: i64) -> Stage {
    Stage { repeats, stride, expand, output }
}

const STAGES: [Stage; 7] = [
    stage(1, 1, 1, 16),
    stage(2, 2, 6, 24),
    stage(3, 2, 6, 32),
    stage(4, 2, 6, 64),
    stage(3, 1, 6, 96),
    stage(3, 2, 6, 160),
    stage(1, 1, 6, 320),
];

pub(super) fn build(b: &mut Builder) -> Features {
    let mut x = b.conv_norm(Builder::IMAGE, ["conv_stem", "bn1"], ConvolutionShape::even(3, 32, 3, 2, 1));
    x = b.relu6(x);
    let mut channels = 32;
    let mut index = 0;
    let stages = STAGES.map(|stage| {
        for repeat in 0..stage.repeats {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            x = inverted_residual(b, x, &format!("blocks.{index}.{repeat}"), channels, stage, stride);
            channels = stage.output;
        }
        index += 1;
        Feature { value: x, channels }
    });
    Features { stride4: stages[1], stride8: stages[2], stride16: stages[4], stride32: stages[6] }
}

/// Expand, filter each channel, project without activation (Sandler et al. 2018, figure 3b).
fn inverted_residual(b: &mut Builder, input: Value, name: &str, channels: i64, stage: Stage, stride: i64) -> Value {
    let wide = channels * stage.expand;
    let expand = ConvolutionShape::even(channels, wide, 1, 1, 1);
    let filter = ConvolutionShape::even(wide, wide, 3, stride, wide);
    let project = ConvolutionShape::even(wide, stage.output, 1, 1, 1);
    let shapes = if stage.expand > 1 { vec![expand, filter, project] } else { vec![filter, project] };
    let last = shapes.len() - 1;
    let mut x = input;
    for (index, ([conv, norm], shape)) in layers(stage).iter().zip(shapes).enumerate() {
        x = b.conv_norm(x, [&format!("{name}.{conv}"), &format!("{name}.{norm}")], shape);
        if index < last {
            x = b.relu6(x);
        }
    }
    if stride == 1 && channels == stage.output { b.add(x, input) } else { x }
}

/// The names of a block's convolutions and of their batch normalisations. The first stage does not
/// expand.
fn layers(stage: Stage) -> &'static [[&'static str; 2]] {
    if stage.expand > 1 {
        &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]]
    } else {
        &[["conv_dw", "bn1"], ["conv_pw", "bn2"]]
    }
}

/// The layers of a file with torchvision's names, by timm's names; empty for any other file.
/// Torchvision's own files group a block's layers by convolution (`features.2.conv.1.0`), older
/// ones count them through (`features.2.conv.3`).
pub(super) fn torchvision_layers(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, String> {
    let grouped = tensors.contains_key("features.17.conv.0.0.weight");
    if !grouped && !tensors.contains_key("features.17.conv.0.weight") {
        return BTreeMap::new();
    }
    let mut names = BTreeMap::from(
        [("conv_stem", "features.0.0"), ("bn1", "features.0.1")]
            .map(|(timm, torchvision)| (timm.to_owned(), torchvision.to_owned())),
    );
    let mut feature = 1;
    for (index, stage) in STAGES.into_iter().enumerate() {
        for repeat in 0..stage.repeats {
            let layers = layers(stage);
            for (place, pair) in layers.iter().enumerate() {
                for (part, layer) in pair.iter().enumerate() {
                    let at = match (grouped, place + 1 < layers.len()) {
                        (true, true) => format!("{place}.{part}"),
                        // The last convolution has no activation, and no group.
                        (true, false) => format!("{}", place + part),
                        // Convolution, batch normalisation, activation.
                        (false, _) => format!("{}", 3 * place + part),
                    };
                    names.insert(format!("blocks.{index}.{repeat}.{layer}"), format!("features.{feature}.conv.{at}"));
                }
            }
            feature += 1;
        }
    }
    names
}
