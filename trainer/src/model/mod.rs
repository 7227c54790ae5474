//! The networks: a backbone and an FCN head, as one [`Graph`].

pub mod attention;
mod build;
mod efficientnet;
mod efficientvit;
mod fcn;
mod flat;
mod fold;
pub mod graph;
pub mod init;
mod mobilenet_v2;
mod mobilenet_v4;
mod pth;
mod resnet;
pub mod weights;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

pub use build::{Feature, Features};
pub use fcn::{is_head, is_score};
pub use flat::FlatParameters;
pub use graph::Graph;

use crate::augment::Normalisation;
use build::Builder;

/// The features that scores are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Only stride 32; coarse outlines.
    Fcn32s,
    /// Strides 32 and 16.
    Fcn16s,
    /// Strides 32, 16 and 8; finer outlines.
    Fcn8s,
    /// Strides 32, 16, 8 and 4; thin objects.
    Fcn4s,
    /// A light feature pyramid down to stride 4.
    #[value(name = "topdown")]
    TopDown,
}

/// The network that extracts features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// 11 M parameters; the chapter's network.
    #[value(name = "resnet18")]
    #[serde(rename = "resnet18")]
    ResNet18,
    /// 21 M parameters.
    #[value(name = "resnet34")]
    #[serde(rename = "resnet34")]
    ResNet34,
    /// 24 M parameters.
    #[value(name = "resnet50")]
    #[serde(rename = "resnet50")]
    ResNet50,
    /// 3.0 M parameters, a quarter of ResNet-18's work: for robots.
    #[value(name = "efficientnet_lite0")]
    #[serde(rename = "efficientnet_lite0")]
    EfficientNetLite0,
    /// 3.7 M parameters.
    #[value(name = "efficientnet_lite1")]
    #[serde(rename = "efficientnet_lite1")]
    EfficientNetLite1,
    /// 4.4 M parameters.
    #[value(name = "efficientnet_lite2")]
    #[serde(rename = "efficientnet_lite2")]
    EfficientNetLite2,
    /// 1.8 M parameters.
    #[value(name = "mobilenetv2")]
    #[serde(rename = "mobilenetv2")]
    MobileNetV2,
    /// 1.3 M parameters.
    #[value(name = "mobilenetv4_conv_small")]
    #[serde(rename = "mobilenetv4_conv_small")]
    MobileNetV4ConvSmall,
    /// 7.2 M parameters.
    #[value(name = "mobilenetv4_conv_medium")]
    #[serde(rename = "mobilenetv4_conv_medium")]
    MobileNetV4ConvMedium,
    /// 0.7 M parameters; its attention covers the whole image.
    #[value(name = "efficientvit_b0")]
    #[serde(rename = "efficientvit_b0")]
    EfficientViTB0,
}

impl Backbone {
    /// The normalisation that its ImageNet weights expect, in red, green, blue order.
    pub fn normalise(self) -> Normalisation {
        if self.is_efficientnet_lite() {
            Normalisation { mean: [127.0 / 255.0; 3], std: [128.0 / 255.0; 3] }
        } else {
            Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
        }
    }

    /// Whether it follows TensorFlow's conventions; the others follow PyTorch's.
    fn is_efficientnet_lite(self) -> bool {
        matches!(self, Backbone::EfficientNetLite0 | Backbone::EfficientNetLite1 | Backbone::EfficientNetLite2)
    }
}

/// Whether training changes the final transposed convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpsampleTraining {
    /// Trained like every other layer.
    Learned,
    /// Keeps its initial values (Long et al. 2015, section 4.3).
    Frozen,
}

/// The initialisation of the final transposed convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Bilinear interpolation.
    Bilinear,
    /// Xavier initialisation.
    Xavier,
}

/// Everything that determines a network's shape and initialisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The head.
    pub architecture: Architecture,
    /// The backbone.
    pub backbone: Backbone,
    /// The number of classes.
    pub classes: i64,
    /// Whether the final upsampling is trained.
    pub upsample: UpsampleTraining,
    /// The initialisation of the final upsampling.
    pub init: Init,
}

impl Spec {
    /// For example `fcn8s-efficientnet_lite0`.
    pub fn name(&self) -> String {
        let word =
            |value: Option<clap::builder::PossibleValue>| value.map_or(String::new(), |v| v.get_name().to_owned());
        format!("{}-{}", word(self.architecture.to_possible_value()), word(self.backbone.to_possible_value()))
    }
}

/// A network that labels pixels: N x 3 x H x W normalised RGB to N x classes x H x W scores; H and
/// W are multiples of 32.
#[derive(Debug)]
pub struct Network {
    /// Its specification.
    pub spec: Spec,
    /// Its layers and parameters.
    pub graph: Graph,
    /// The backbone's features, for inspection.
    pub features: Features,
}

impl Network {
    /// The stride of the coarsest features: image sides must be multiples of it.
    pub const STRIDE: usize = 32;

    /// Builds a network whose random initialisation depends only on `seed`.
    pub fn new(spec: Spec, seed: u64, device: Device) -> Network {
        tch::manual_seed(seed as i64);
        let norm = if spec.backbone.is_efficientnet_lite() { efficientnet::NORM } else { build::NORM };
        let mut b = Builder::new(device, norm);
        let features = match spec.backbone {
            Backbone::ResNet18 => resnet::build(&mut b, resnet::RESNET18),
            Backbone::ResNet34 => resnet::build(&mut b, resnet::RESNET34),
            Backbone::ResNet50 => resnet::build(&mut b, resnet::RESNET50),
            Backbone::EfficientNetLite0 => efficientnet::build(&mut b, efficientnet::LITE0),
            Backbone::EfficientNetLite1 => efficientnet::build(&mut b, efficientnet::LITE1),
            Backbone::EfficientNetLite2 => efficientnet::build(&mut b, efficientnet::LITE2),
            Backbone::MobileNetV2 => mobilenet_v2::build(&mut b),
            Backbone::MobileNetV4ConvSmall => mobilenet_v4::build(&mut b, mobilenet_v4::SMALL),
            Backbone::MobileNetV4ConvMedium => mobilenet_v4::build(&mut b, mobilenet_v4::MEDIUM),
            Backbone::EfficientViTB0 => efficientvit::build(&mut b),
        };
        let output = fcn::build(&mut b, &spec, features);
        Network { spec, graph: b.finish(output), features }
    }
}

/// Converts N x C x H x W images to channels last in memory, the layout with the fastest
/// convolutions on a CPU.
pub fn channels_last(images: &Tensor) -> Tensor {
    images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
