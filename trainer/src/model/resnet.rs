//! ResNet-18, 34 and 50 (He et al. 2016, table 1) without average pooling and classifier, with
//! torchvision's parameter names. The bottleneck has its stride in the 3 x 3 convolution, as in
//! torchvision.

use super::build::{Builder, ConvolutionShape, Feature, Features};
use super::graph::{Padding, Value};

/// The differences between the three sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    blocks: [usize; 4],
    bottleneck: bool,
}

pub(super) const RESNET18: Depth = Depth { blocks: [2, 2, 2, 2], bottleneck: false };
pub(super) const RESNET34: Depth = Depth { blocks: [3, 4, 6, 3], bottleneck: false };
pub(super) const RESNET50: Depth = Depth { blocks: [3, 4, 6, 3], bottleneck: true };

pub(super) fn build(b: &mut Builder, depth: Depth) -> Features {
    let mut x = b.conv(Builder::IMAGE, "conv1", shape(3, 64, 7, 2));
    x = b.batch_norm(x, "bn1", 64);
    x = b.relu(x);
    x = b.max_pool(x, 3, 2, 1);
    let mut channels = 64;
    let stages: [Feature; 4] = std::array::from_fn(|stage| {
        let width = 64 << stage;
        for block in 0..depth.blocks[stage] {
            let name = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let output = if depth.bottleneck { 4 * width } else { width };
            x = residual(b, x, &name, depth.bottleneck, [channels, width, output, stride]);
            channels = output;
        }
        Feature { value: x, channels }
    });
    Features { stride4: stages[0], stride8: stages[1], stride16: stages[2], stride32: stages[3] }
}

/// One residual block; the numbers are input channels, inner width, output channels and stride.
fn residual(b: &mut Builder, input: Value, name: &str, bottleneck: bool, numbers: [i64; 4]) -> Value {
    let [channels, width, output, stride] = numbers;
    let convs = if bottleneck {
        vec![shape(channels, width, 1, 1), shape(width, width, 3, stride), shape(width, output, 1, 1)]
    } else {
        vec![shape(channels, width, 3, stride), shape(width, output, 3, 1)]
    };
    let mut x = input;
    for (index, conv) in convs.iter().enumerate() {
        if index > 0 {
            x = b.relu(x);
        }
        x = b.conv(x, &format!("{name}.conv{}", index + 1), *conv);
        x = b.batch_norm(x, &format!("{name}.bn{}", index + 1), conv.output);
    }
    let shortcut = if stride > 1 || channels != output {
        let shortcut = b.conv(input, &format!("{name}.downsample.0"), shape(channels, output, 1, stride));
        b.batch_norm(shortcut, &format!("{name}.downsample.1"), output)
    } else {
        input
    };
    let sum = b.add(x, shortcut);
    b.relu(sum)
}

fn shape(input: i64, output: i64, kernel: i64, stride: i64) -> ConvolutionShape {
    ConvolutionShape { input, output, kernel, stride, padding: Padding::even(kernel / 2), groups: 1 }
}
