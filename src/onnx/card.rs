//! The model card: the properties of a network that a program needs to use it, as JSON in the ONNX
//! file.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::types::ModelProto;
use crate::{Error, Result, palette::Class};

/// The range of [`ModelCard::native_side`].
pub const NATIVE_SIDES: RangeInclusive<u32> = 16..=crate::MAX_SIDE;

/// The range of [`ModelCard::temperature`].
pub const TEMPERATURES: RangeInclusive<f32> = 0.05..=20.0;

/// A network's input, classes and quality. Stored as JSON under [`ModelCard::KEY`] in the ONNX
/// file's `metadata_props`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The version of the card's format: 1.
    pub version: u32,
    /// The network, for example `fcn8s-efficientnet_lite0`.
    pub architecture: String,
    /// The classes in index order.
    pub classes: Vec<Class>,
    /// The index of the class that means "nothing of interest". Without it, the class that
    /// [`palette::background`](crate::palette::background) finds by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<u8>,
    /// The mask value that means "no class" in the training data. Pixels with it are never
    /// evaluated.
    pub void_index: u8,
    /// Subtracted from each channel after division by 255, in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides each channel after the subtraction, in the order of `channels`.
    pub std: [f32; 3],
    /// The order of the input's channels: `rgb` or `bgr`.
    pub channels: String,
    /// The input's height and width must be multiples of this.
    pub stride: u32,
    /// Height and width of the training crops, in pixels.
    pub training_crop: [u32; 2],
    /// The image size at which the network performs best, as the side in pixels of a square of the
    /// same area: sqrt(width * height), 16 to 32767. Optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_side: Option<u32>,
    /// Divides the scores before the softmax of confidence and margin, so that a confidence of 0.8
    /// is right for about 80 % of the pixels (temperature scaling, Guo et al. 2017, section 4.2);
    /// 0.05 to 20. It never changes labels. Without it, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// The training data and its licence.
    pub dataset: String,
    /// Results on the validation split, as fractions of 1: `pixel_accuracy`, `miou`, `iou/cat` and
    /// so on.
    pub metrics: BTreeMap<String, f64>,
}

impl ModelCard {
    /// The key in `metadata_props`.
    pub const KEY: &'static str = "fcn.model_card";

    /// The card as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("JSON can represent every card")
    }

    /// Reads and checks the card of a model; `None` if it has none.
    pub fn of(model: &ModelProto) -> Result<Option<ModelCard>> {
        let Some(entry) = model.metadata_props.iter().find(|entry| entry.key() == Self::KEY) else { return Ok(None) };
        let card: ModelCard = serde_json::from_str(entry.value())
            .map_err(|error| Error::Model(format!("the model card is malformed: {error}")))?;
        card.check()?;
        Ok(Some(card))
    }

    /// Checks that each value is in range.
    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Model(format!("the model card {what}")));
        if self.version != 1 {
            return wrong(format!("has version {}; this library reads version 1", self.version));
        }
        if !(2..=255).contains(&self.classes.len()) {
            return wrong(format!(
                "lists {} classes; 2 to 255 are supported, so a single class also needs a background class",
                self.classes.len()
            ));
        }
        if let Some(background) = self.background.filter(|&index| usize::from(index) >= self.classes.len()) {
            return wrong(format!(
                "names class {background} as the background; its classes are 0 to {}",
                self.classes.len() - 1
            ));
        }
        if !(self.mean.iter().all(|mean| mean.is_finite()) && self.std.iter().all(|std| std.is_finite() && *std > 0.0))
        {
            return wrong(format!(
                "has mean {:?} and std {:?}; both must be finite, and std above 0",
                self.mean, self.std
            ));
        }
        if !["rgb", "bgr"].contains(&self.channels.as_str()) {
            return wrong(format!("has the channel order '{}'; 'rgb' and 'bgr' are supported", self.channels));
        }
        if let Some(side) = self.native_side.filter(|side| !NATIVE_SIDES.contains(side)) {
            return wrong(format!("has the native side {side}; 16 to 32767 is supported"));
        }
        if let Some(temperature) = self.temperature.filter(|temperature| !TEMPERATURES.contains(temperature)) {
            return wrong(format!("has the temperature {temperature}; 0.05 to 20 is supported"));
        }
        if let [rows, columns] = self.training_crop
            && ![rows, columns].iter().all(|side| (1..=crate::MAX_SIDE).contains(side))
        {
            return wrong(format!(
                "has training crops of {columns} x {rows} pixels; sides of 1 to {} are supported",
                crate::MAX_SIDE
            ));
        }
        if !(1..=1024).contains(&self.stride) {
            return wrong(format!("has the stride {}; 1 to 1024 is supported", self.stride));
        }
        Ok(())
    }
}
