//! MobileNetV4-Conv-S and M (Qin et al. 2024, tables in the appendix "Model Details") without
//! pooling, the 1 x 1 convolution after it and classifier, with the parameter names of timm's
//! `mobilenetv4_conv_small` and `mobilenetv4_conv_medium`. As in timm, the features of stride 32
//! are those of the last stage, a 1 x 1 convolution to 960 channels.

use super::build::{Builder, ConvolutionShape, Feature, Features};
use super::graph::Value;

/// A block of the architecture's tables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block {
    /// A convolution.
    Conv { kernel: i64, stride: i64, output: i64 },
    /// Fused inverted bottleneck: a 3 x 3 convolution that expands, and a 1 x 1 that projects.
    Fused { stride: i64, expanded: i64, output: i64 },
    /// Universal inverted bottleneck (Qin et al. 2024, "Universal Inverted Bottlenecks"): 1 x 1
    /// convolutions that expand and project, and optional depthwise ones before and between them,
    /// whose kernels are 0 if missing.
    Universal { start: i64, middle: i64, stride: i64, expanded: i64, output: i64 },
}

const fn conv(kernel: i64, stride: i64, output: i64) -> Block {
    Block::Conv { kernel, stride, output }
}

const fn fused(stride: i64, expanded: i64, output: i64) -> Block {
    Block::Fused { stride, expanded, output }
}

/// A universal inverted bottleneck with kernels `[start, middle]`.
const fn universal([start, middle]: [i64; 2], stride: i64, expanded: i64, output: i64) -> Block {
    Block::Universal { start, middle, stride, expanded, output }
}

/// Stages of strides 4, 8, 16 and 32, and the last convolution, after the stem.
pub(super) type Stages = [&'static [Block]; 5];

pub(super) const SMALL: Stages = [
    &[conv(3, 2, 32), conv(1, 1, 32)],
    &[conv(3, 2, 96), conv(1, 1, 64)],
    &[
        universal([5, 5], 2, 192, 96),
        universal([0, 3], 1, 192, 96),
        universal([0, 3], 1, 192, 96),
        universal([0, 3], 1, 192, 96),
        universal([0, 3], 1, 192, 96),
        universal([3, 0], 1, 384, 96),
    ],
    &[
        universal([3, 3], 2, 576, 128),
        universal([5, 5], 1, 512, 128),
        universal([0, 5], 1, 512, 128),
        universal([0, 5], 1, 384, 128),
        universal([0, 3], 1, 512, 128),
        universal([0, 3], 1, 512, 128),
    ],
    &[conv(1, 1, 960)],
];

pub(super) const MEDIUM: Stages = [
    &[fused(2, 128, 48)],
    &[universal([3, 5], 2, 192, 80), universal([3, 3], 1, 160, 80)],
    &[
        universal([3, 5], 2, 480, 160),
        universal([3, 3], 1, 640, 160),
        universal([3, 3], 1, 640, 160),
        universal([3, 5], 1, 640, 160),
        universal([3, 3], 1, 640, 160),
        universal([3, 0], 1, 640, 160),
        universal([0, 0], 1, 320, 160),
        universal([3, 0], 1, 640, 160),
    ],
    &[
        universal([5, 5], 2, 960, 256),
        universal([5, 5], 1, 1024, 256),
        universal([3, 5], 1, 1024, 256),
        universal([3, 5], 1, 1024, 256),
        universal([0, 0], 1, 1024, 256),
        universal([3, 0], 1, 1024, 256),
        universal([3, 5], 1, 512, 256),
        universal([5, 5], 1, 1024, 256),
        universal([0, 0], 1, 1024, 256),
        universal([0, 0], 1, 1024, 256),
        universal([5, 0], 1, 512, 256),
    ],
    &[conv(1, 1, 960)],
];

pub(super) fn build(b: &mut Builder, stages: Stages) -> Features {
    let x = b.conv_norm(Builder::IMAGE, ["conv_stem", "bn1"], ConvolutionShape::even(3, 32, 3, 2, 1));
    let mut feature = Feature { value: b.relu(x), channels: 32 };
    let mut index = 0;
    let [stride4, stride8, stride16, _, stride32] = stages.map(|blocks| {
        for (place, block) in blocks.iter().enumerate() {
            feature = build_block(b, *block, &format!("blocks.{index}.{place}"), feature);
        }
        index += 1;
        feature
    });
    Features { stride4, stride8, stride16, stride32 }
}

fn build_block(b: &mut Builder, block: Block, name: &str, input: Feature) -> Feature {
    let even = ConvolutionShape::even;
    let Feature { value: mut x, channels } = input;
    match block {
        Block::Conv { kernel, stride, output } => {
            let names = [&*format!("{name}.conv"), &*format!("{name}.bn1")];
            x = b.conv_norm(x, names, even(channels, output, kernel, stride, 1));
            Feature { value: b.relu(x), channels: output }
        }
        Block::Fused { stride, expanded, output } => {
            let names = [&*format!("{name}.conv_exp"), &*format!("{name}.bn1")];
            x = b.conv_norm(x, names, even(channels, expanded, 3, stride, 1));
            x = b.relu(x);
            let names = [&*format!("{name}.conv_pwl"), &*format!("{name}.bn2")];
            x = b.conv_norm(x, names, even(expanded, output, 1, 1, 1));
            Feature { value: x, channels: output }
        }
        Block::Universal { start, middle, stride, expanded, output } => {
            // Every block of stride 2 has a depthwise convolution in the middle.
            if start > 0 {
                x = layer(b, x, name, "dw_start", even(channels, channels, start, 1, channels));
            }
            x = layer(b, x, name, "pw_exp", even(channels, expanded, 1, 1, 1));
            x = b.relu(x);
            if middle > 0 {
                x = layer(b, x, name, "dw_mid", even(expanded, expanded, middle, stride, expanded));
                x = b.relu(x);
            }
            x = layer(b, x, name, "pw_proj", even(expanded, output, 1, 1, 1));
            if stride == 1 && channels == output {
                x = b.add(x, input.value);
            }
            Feature { value: x, channels: output }
        }
    }
}

/// A convolution of a universal inverted bottleneck and its batch normalisation.
fn layer(b: &mut Builder, input: Value, block: &str, name: &str, shape: ConvolutionShape) -> Value {
    b.conv_norm(input, [&format!("{block}.{name}.conv"), &format!("{block}.{name}.bn")], shape)
}
