//! The model card: what a program must know to use the network, as JSON inside the ONNX file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::palette::Class;

/// What a network expects, what it answers, and how well it does. Stored as JSON under [`ModelCard::KEY`] in the ONNX
/// file's `metadata_props`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The version of this form: 1.
    pub version: u32,
    /// The network, for example `fcn8s-efficientnet_lite0`.
    pub architecture: String,
    /// The classes in index order.
    pub classes: Vec<Class>,
    /// The mask value that means "no class" in the training data; never counted.
    pub void_index: u8,
    /// Subtracted from each channel after division by 255, in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides each channel after the subtraction, in the order of `channels`.
    pub std: [f32; 3],
    /// The order of the input's channels: `rgb` or `bgr`.
    pub channels: String,
    /// The input's height and width must be multiples of this.
    pub stride: u32,
    /// Height and width, in pixels, of the crops it was trained on.
    pub training_crop: [u32; 2],
    /// The data it was trained on, and that data's licence.
    pub dataset: String,
    /// What was measured on the validation split, as fractions of 1: `pixel_accuracy`, `miou`, `iou/cat` and so on.
    pub metrics: BTreeMap<String, f64>,
}

impl ModelCard {
    /// The key in `metadata_props`.
    pub const KEY: &'static str = "fcn.model_card";
}
