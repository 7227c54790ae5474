//! EfficientViT-B0 (Cai et al. 2023, section 3.2) without its classifier, with the parameter names
//! of timm's `efficientvit_b0`.

use super::attention::LinearAttention;
use super::build::{Builder, ConvolutionShape, Feature, Features};
use super::graph::Value;

/// A block's first 1 x 1 convolution multiplies channels by this.
const EXPANSION: i64 = 4;

/// Channels of a query, a key and a value.
const WIDTH: i64 = 16;

/// The kernel of the convolution that gathers the second scale's queries, keys and values.
const SCALE: i64 = 5;

/// Blocks and channels of a stage.
const STAGES: [(usize, i64); 4] = [(2, 16), (2, 32), (2, 64), (2, 128)];

/// The first stage with attention. From here on, the first two convolutions of a block have biases
/// instead of batch normalisation.
const FIRST_WITH_ATTENTION: usize = 2;

pub(super) fn build(b: &mut Builder) -> Features {
    let even = ConvolutionShape::even;
    let mut x = layer(b, Builder::IMAGE, "stem.in_conv", even(3, 8, 3, 2, 1));
    x = b.hard_swish(x);
    let filtered = layer(b, x, "stem.res0.main.depth_conv", even(8, 8, 3, 1, 8));
    let filtered = b.hard_swish(filtered);
    let filtered = layer(b, filtered, "stem.res0.main.point_conv", even(8, 8, 1, 1, 1));
    x = b.add(filtered, x);
    let mut channels = 8;
    let mut index = 0;
    let [stride4, stride8, stride16, stride32] = STAGES.map(|(blocks, output)| {
        let attends = index >= FIRST_WITH_ATTENTION;
        let name = format!("stages.{index}.blocks");
        x = inverted_residual(b, x, &format!("{name}.0.main"), [channels, output, 2], attends);
        channels = output;
        // The attention's blocks come after the one that reduces the size.
        for block in 1..blocks + usize::from(attends) {
            let name = format!("{name}.{block}");
            let local = if attends {
                let context = attention(b, x, &format!("{name}.context_module.main"), channels);
                x = b.add(context, x);
                format!("{name}.local_module.main")
            } else {
                format!("{name}.main")
            };
            let change = inverted_residual(b, x, &local, [channels, channels, 1], attends);
            x = b.add(change, x);
        }
        index += 1;
        Feature { value: x, channels }
    });
    Features { stride4, stride8, stride16, stride32 }
}

/// Expand, filter each channel, project. The numbers are input channels, output channels and
/// stride; `biased` blocks have biases instead of the first two batch normalisations.
fn inverted_residual(b: &mut Builder, mut x: Value, name: &str, numbers: [i64; 3], biased: bool) -> Value {
    let [channels, output, stride] = numbers;
    let wide = EXPANSION * channels;
    for (kind, shape) in [
        ("inverted_conv", ConvolutionShape::even(channels, wide, 1, 1, 1)),
        ("depth_conv", ConvolutionShape::even(wide, wide, 3, stride, wide)),
    ] {
        let name = format!("{name}.{kind}");
        x = if biased { b.biased_conv(x, &format!("{name}.conv"), shape) } else { layer(b, x, &name, shape) };
        x = b.hard_swish(x);
    }
    layer(b, x, &format!("{name}.point_conv"), ConvolutionShape::even(wide, output, 1, 1, 1))
}

/// Multi-scale linear attention (Cai et al. 2023, section 3.1): over queries, keys and values of
/// single pixels, and over those of their neighbourhoods.
fn attention(b: &mut Builder, x: Value, name: &str, channels: i64) -> Value {
    let all = 3 * channels;
    let own = b.conv(x, &format!("{name}.qkv.conv"), ConvolutionShape::even(channels, all, 1, 1, 1));
    let near = b.conv(own, &format!("{name}.aggreg.0.0"), ConvolutionShape::even(all, all, SCALE, 1, all));
    let near = b.conv(near, &format!("{name}.aggreg.0.1"), ConvolutionShape::even(all, all, 1, 1, all / WIDTH));
    let both = b.concat(own, near);
    let attended = b.linear_attention(both, LinearAttention { heads: 2 * channels / WIDTH, width: WIDTH });
    layer(b, attended, &format!("{name}.proj"), ConvolutionShape::even(2 * channels, channels, 1, 1, 1))
}

/// A convolution and its batch normalisation.
fn layer(b: &mut Builder, input: Value, name: &str, shape: ConvolutionShape) -> Value {
    b.conv_norm(input, [&format!("{name}.conv"), &format!("{name}.norm")], shape)
}
