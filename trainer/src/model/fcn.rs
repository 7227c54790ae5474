//! The heads: scores from a backbone's features, upsampled to the image's size.

use tch::{Kind, Tensor};

use super::build::{Builder, ConvolutionShape, Enlarge, Feature, Features};
use super::graph::{Padding, Value};
use super::init::{bilinear_kernel, xavier_uniform};
use super::{Architecture, Init, Spec, UpsampleTraining};

/// The prefixes of the head's layer names.
const PREFIXES: [&str; 4] = ["score", "up2_", "upsample", "topdown"];

/// Channels of the top-down head.
const WIDTH: i64 = 64;

/// Whether a parameter belongs to the head rather than to the backbone.
pub fn is_head(parameter: &str) -> bool {
    PREFIXES.iter().any(|prefix| parameter.starts_with(prefix))
}

/// Whether a layer computes scores of classes.
pub fn is_score(layer: &str) -> bool {
    layer.starts_with("score")
}

/// The scores of `spec`'s architecture, in the image's size.
pub(super) fn build(b: &mut Builder, spec: &Spec, features: Features) -> Value {
    let (scores, stride) = match spec.architecture {
        Architecture::TopDown => top_down(b, spec.classes, features),
        Architecture::Fcn32s | Architecture::Fcn16s | Architecture::Fcn8s | Architecture::Fcn4s => {
            skip_scores(b, spec, features)
        }
    };
    let (classes, kernel) = (spec.classes, 2 * stride);
    let weight = match spec.init {
        Init::Bilinear => bilinear_kernel(classes, kernel, b.device()),
        Init::Xavier => xavier_uniform([classes, classes, kernel, kernel], b.device()),
    };
    let learned = spec.upsample == UpsampleTraining::Learned;
    b.enlarge(scores, Enlarge { name: "upsample", weight, bias: true, stride, learned })
}

/// The scores of FCN-32s, 16s and 8s (Long et al. 2015, section 4.2) and of the next step, 4s, and
/// their stride. The first score layer has Xavier initialisation as in d2l 13.11; those of the
/// skips start from zero, so that training begins with the coarse network.
fn skip_scores(b: &mut Builder, spec: &Spec, features: Features) -> (Value, i64) {
    let classes = spec.classes;
    let weight = xavier_uniform([classes, features.stride32.channels, 1, 1], b.device());
    let mut scores = b.score(features.stride32.value, "score32", weight);
    let mut stride = 32;
    for (name, up, feature) in skips(spec.architecture, features) {
        let weight = bilinear_kernel(classes, 4, b.device());
        scores = b.enlarge(scores, Enlarge { name: up, weight, bias: false, stride: 2, learned: true });
        let zeros = Tensor::zeros([classes, feature.channels, 1, 1], (Kind::Float, b.device()));
        let skip = b.score(feature.value, name, zeros);
        scores = b.add(scores, skip);
        stride /= 2;
    }
    (scores, stride)
}

/// The scores of a light feature pyramid (Lin et al. 2017, section 3): at each stride, the coarser
/// features are doubled, the backbone's are added through a 1 x 1 convolution, and a depthwise
/// separable one (Howard et al. 2017, section 3.1) mixes the sum. Also returns their stride.
fn top_down(b: &mut Builder, classes: i64, features: Features) -> (Value, i64) {
    let Features { stride4, stride8, stride16, stride32 } = features;
    let mut x = lateral(b, "topdown32", stride32);
    x = b.relu(x);
    x = mix(b, "topdown32", x);
    for (name, feature) in [("topdown16", stride16), ("topdown8", stride8), ("topdown4", stride4)] {
        let coarse = b.double(x);
        let fine = lateral(b, name, feature);
        x = b.add(coarse, fine);
        x = mix(b, name, x);
    }
    let weight = xavier_uniform([classes, WIDTH, 1, 1], b.device());
    (b.score(x, "score4", weight), 4)
}

/// A 1 x 1 convolution to the top-down head's channels.
fn lateral(b: &mut Builder, name: &str, feature: Feature) -> Value {
    let x = b.conv(feature.value, &format!("{name}.lateral"), shape(feature.channels, 1, 1));
    b.batch_norm(x, &format!("{name}.lateral_norm"), WIDTH)
}

/// A depthwise separable 3 x 3 convolution.
fn mix(b: &mut Builder, name: &str, mut x: Value) -> Value {
    for (kind, shape) in [("depthwise", shape(WIDTH, 3, WIDTH)), ("pointwise", shape(WIDTH, 1, 1))] {
        x = b.conv(x, &format!("{name}.{kind}"), shape);
        x = b.batch_norm(x, &format!("{name}.{kind}_norm"), WIDTH);
        x = b.relu(x);
    }
    x
}

fn shape(input: i64, kernel: i64, groups: i64) -> ConvolutionShape {
    ConvolutionShape { input, output: WIDTH, kernel, stride: 1, padding: Padding::even(kernel / 2), groups }
}

/// The skips of an architecture: names of the score layer and of the upsampling before the sum, and
/// the features.
fn skips(architecture: Architecture, features: Features) -> Vec<(&'static str, &'static str, Feature)> {
    let skip16 = ("score16", "up2_32", features.stride16);
    let skip8 = ("score8", "up2_16", features.stride8);
    let skip4 = ("score4", "up2_8", features.stride4);
    match architecture {
        Architecture::Fcn32s | Architecture::TopDown => vec![],
        Architecture::Fcn16s => vec![skip16],
        Architecture::Fcn8s => vec![skip16, skip8],
        Architecture::Fcn4s => vec![skip16, skip8, skip4],
    }
}
