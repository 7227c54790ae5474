//! The heads: scores from a backbone's features, upsampled to the image's size.

use tch::{Kind, Tensor};

use super::build::{Builder, Enlarge, Feature, Features};
use super::graph::Value;
use super::init::{bilinear_kernel, xavier_uniform};
use super::{Architecture, Init, Spec, UpsampleTraining};

/// The prefixes of the head's layer names.
const PREFIXES: [&str; 3] = ["score", "up2_", "upsample"];

/// Whether a parameter belongs to the head rather than to the backbone.
pub fn is_head(parameter: &str) -> bool {
    PREFIXES.iter().any(|prefix| parameter.starts_with(prefix))
}

/// FCN-32s, 16s and 8s (Long et al. 2015, section 4.2). The first score layer has Xavier
/// initialisation as in d2l 13.11; those of the skips start from zero, so that training begins with
/// the coarse network.
pub(super) fn build(b: &mut Builder, spec: &Spec, features: Features) -> Value {
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
    let weight = match spec.init {
        Init::Bilinear => bilinear_kernel(classes, 2 * stride, b.device()),
        Init::Xavier => xavier_uniform([classes, classes, 2 * stride, 2 * stride], b.device()),
    };
    let learned = spec.upsample == UpsampleTraining::Learned;
    b.enlarge(scores, Enlarge { name: "upsample", weight, bias: true, stride, learned })
}

/// The skips of an architecture: names of the score layer and of the upsampling before the sum, and
/// the features.
fn skips(architecture: Architecture, features: Features) -> Vec<(&'static str, &'static str, Feature)> {
    let skip16 = ("score16", "up2_32", features.stride16);
    let skip8 = ("score8", "up2_16", features.stride8);
    match architecture {
        Architecture::Fcn32s => vec![],
        Architecture::Fcn16s => vec![skip16],
        Architecture::Fcn8s => vec![skip16, skip8],
    }
}
