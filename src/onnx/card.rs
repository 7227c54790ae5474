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

#[cfg(test)]
mod tests {
    use super::*;

    fn card(classes: usize) -> ModelCard {
        let class = |index| Class { name: format!("class {index}"), color: [0; 3] };
        ModelCard {
            version: 1,
            architecture: "fcn8s-resnet18".into(),
            classes: (0..classes).map(class).collect(),
            background: None,
            void_index: 255,
            mean: [0.5; 3],
            std: [0.2; 3],
            channels: "rgb".into(),
            stride: 32,
            training_crop: [320, 480],
            native_side: None,
            temperature: None,
            dataset: "none".into(),
            metrics: BTreeMap::new(),
        }
    }

    #[test]
    fn values_at_their_bounds_and_just_outside() {
        struct Case {
            change: fn(&mut ModelCard),
            rejected: Option<&'static str>,
        }
        let just = |change, rejected| Case { change, rejected };
        let cases = [
            just(|_| (), None),
            just(|card| card.version = 0, Some("has version 0")),
            just(|card| card.version = 2, Some("has version 2")),
            just(|card| card.classes.truncate(1), Some("lists 1 classes")),
            just(|card| card.classes.truncate(2), None),
            just(|card| card.background = Some(3), Some("names class 3 as the background; its classes are 0 to 2")),
            just(|card| card.background = Some(2), None),
            just(|card| card.mean[1] = f32::NAN, Some("both must be finite")),
            just(|card| card.mean[2] = f32::INFINITY, Some("both must be finite")),
            just(|card| card.mean = [-1.0, 0.0, 1.0], None),
            just(|card| card.std[2] = f32::INFINITY, Some("both must be finite")),
            just(|card| card.std[0] = 0.0, Some("std above 0")),
            just(|card| card.std[0] = f32::MIN_POSITIVE, None),
            just(|card| card.channels = "grb".into(), Some("has the channel order 'grb'")),
            just(|card| card.channels = "bgr".into(), None),
            just(|card| card.native_side = Some(15), Some("has the native side 15")),
            just(|card| card.native_side = Some(16), None),
            just(|card| card.native_side = Some(32_767), None),
            just(|card| card.native_side = Some(32_768), Some("has the native side 32768")),
            just(|card| card.temperature = Some(0.049), Some("has the temperature 0.049")),
            just(|card| card.temperature = Some(0.05), None),
            just(|card| card.temperature = Some(20.0), None),
            just(|card| card.temperature = Some(20.01), Some("has the temperature 20.01")),
            just(|card| card.training_crop[0] = 0, Some("has training crops of 480 x 0 pixels")),
            just(|card| card.training_crop = [1, 32_767], None),
            just(|card| card.training_crop[1] = 32_768, Some("has training crops of 32768 x 320 pixels")),
            just(|card| card.stride = 0, Some("has the stride 0")),
            just(|card| card.stride = 1, None),
            just(|card| card.stride = 1024, None),
            just(|card| card.stride = 1025, Some("has the stride 1025")),
        ];
        for (number, Case { change, rejected }) in cases.iter().enumerate() {
            let mut changed = card(3);
            change(&mut changed);
            let error = changed.check().err().map(|error| error.to_string());
            let as_expected = match (rejected, &error) {
                (None, None) => true,
                (Some(expected), Some(error)) => error.contains(expected),
                _ => false,
            };
            assert!(as_expected, "case {number}: {error:?}");
        }
        assert!(card(255).check().is_ok());
        assert!(card(256).check().unwrap_err().to_string().contains("lists 256 classes"));
    }
}
