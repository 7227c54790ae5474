//! EfficientNet-Lite0, 1 and 2 (Tan and Le 2019; the "lite" variant uses ReLU6 and no
//! squeeze-and-excitation) without their last 1 x 1 convolution, pooling and classifier, with the
//! parameter names of `efficientnet-lite0-57934424.pth`.

use super::build::{Builder, ConvolutionShape, Feature, Features};
use super::graph::{Padding, Value};

/// TensorFlow's epsilon and momentum of batch normalisation.
pub(super) const NORM: (f64, f64) = (1e-3, 0.01);

/// A row of the architecture's table.
struct Stage {
    repeats: usize,
    kernel: i64,
    stride: i64,
    expand: i64,
    output: i64,
}

const fn stage(repeats: usize, kernel: i64, stride: i64, expand: i64, output: i64) -> Stage {
    Stage { repeats, kernel, stride, expand, output }
}

/// Factors of depth and width (Tan and Le 2019, section 3.3). The lite variant applies neither to
/// the stem, and no depth factor to stages of one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    depth: f64,
    width: f64,
}

pub(super) const LITE0: Scaling = Scaling { depth: 1.0, width: 1.0 };
pub(super) const LITE1: Scaling = Scaling { depth: 1.1, width: 1.0 };
pub(super) const LITE2: Scaling = Scaling { depth: 1.2, width: 1.1 };

impl Scaling {
    fn repeats(self, repeats: usize) -> usize {
        (self.depth * repeats as f64).ceil() as usize
    }

    /// The nearest multiple of 8. The published rule adds 8 if that is below 90 percent, which
    /// never happens at these widths.
    fn channels(self, channels: i64) -> i64 {
        (self.width * channels as f64 / 8.0).round() as i64 * 8
    }
}

/// The stages of Lite0.
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

pub(super) fn build(b: &mut Builder, scaling: Scaling) -> Features {
    let mut x = b.conv(Builder::IMAGE, "_conv_stem", shape(3, 32, 3, 2, 1));
    x = b.batch_norm(x, "_bn0", 32);
    x = b.relu6(x);
    let mut channels = 32;
    let mut block = 0;
    let stages = STAGES.map(|stage| {
        let stage = Stage { output: scaling.channels(stage.output), ..stage };
        let repeats = if stage.repeats == 1 { 1 } else { scaling.repeats(stage.repeats) };
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            x = inverted_residual(b, x, &format!("_blocks.{block}"), channels, &stage, stride);
            channels = stage.output;
            block += 1;
        }
        Feature { value: x, channels }
    });
    Features { stride4: stages[1], stride8: stages[2], stride16: stages[4], stride32: stages[6] }
}

/// Expand, filter each channel, project (Sandler et al. 2018, figure 3b).
fn inverted_residual(b: &mut Builder, input: Value, name: &str, channels: i64, stage: &Stage, stride: i64) -> Value {
    let wide = channels * stage.expand;
    let mut x = input;
    if stage.expand > 1 {
        x = b.conv(x, &format!("{name}._expand_conv"), shape(channels, wide, 1, 1, 1));
        x = b.batch_norm(x, &format!("{name}._bn0"), wide);
        x = b.relu6(x);
    }
    x = b.conv(x, &format!("{name}._depthwise_conv"), shape(wide, wide, stage.kernel, stride, wide));
    x = b.batch_norm(x, &format!("{name}._bn1"), wide);
    x = b.relu6(x);
    x = b.conv(x, &format!("{name}._project_conv"), shape(wide, stage.output, 1, 1, 1));
    x = b.batch_norm(x, &format!("{name}._bn2"), stage.output);
    if stride == 1 && channels == stage.output { b.add(x, input) } else { x }
}

/// TensorFlow's SAME padding for an even side: kernel minus stride, with the odd pixel at the end.
fn shape(input: i64, output: i64, kernel: i64, stride: i64, groups: i64) -> ConvolutionShape {
    let total = kernel - stride;
    let padding = Padding { before: total / 2, after: total - total / 2 };
    ConvolutionShape { input, output, kernel, stride, padding, groups }
}
