//! The settings of a mask, and the rules for labels that follow from them for a model.

use super::Outputs;
use crate::{Error, MAX_SIDE, Result, Size, palette::UNKNOWN};

/// The settings of a [`Mask`](super::Mask); its setters document them.
#[derive(Debug, Clone)]
pub(crate) struct MaskSettings {
    pub(super) outputs: Outputs,
    /// Columns and rows; 0 means the frame's.
    size: Size,
    threshold: f32,
    /// Ascending; empty means all.
    classes: Vec<u8>,
    /// Empty means none.
    remap: Vec<u8>,
    /// Regions of fewer pixels are removed.
    pub(super) min_region: u32,
    smoothing: f32,
}

impl Default for MaskSettings {
    fn default() -> Self {
        MaskSettings {
            outputs: Outputs::default(),
            size: Size::default(),
            threshold: 0.0,
            classes: Vec::new(),
            remap: Vec::new(),
            min_region: 0,
            smoothing: 1.0,
        }
    }
}

impl MaskSettings {
    pub(super) fn set_size(&mut self, width: u32, height: u32) -> Result<()> {
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::InvalidArgument(format!(
                "a mask of {width} x {height} pixels is asked for; at most {MAX_SIDE} a side are possible"
            )));
        }
        self.size = Size::new(width as usize, height as usize);
        Ok(())
    }

    pub(super) fn set_threshold(&mut self, confidence: f32) -> Result<()> {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(Error::InvalidArgument(format!("the threshold is {confidence}; it must be between 0 and 1")));
        }
        self.threshold = confidence;
        Ok(())
    }

    pub(super) fn set_classes(&mut self, classes: &[u8]) {
        self.classes = (0..=255).filter(|class| classes.contains(class)).collect();
    }

    pub(super) fn set_remap(&mut self, labels: Option<&[u8]>) -> Result<()> {
        let labels = labels.map_or(Ok(&[][..]), |labels| match labels.len() {
            1..=256 => Ok(labels),
            count => {
                Err(Error::InvalidArgument(format!("{count} labels are given for classes; 1 to 256 are possible")))
            }
        })?;
        self.remap = labels.to_vec();
        Ok(())
    }

    pub(super) fn set_smoothing(&mut self, share: f32) -> Result<()> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::InvalidArgument(format!(
                "the newest frame's share is {share}; it must be greater than 0 and at most 1, which means no smoothing"
            )));
        }
        self.smoothing = share;
        Ok(())
    }

    pub(crate) fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// The size of the mask for a frame of this size.
    pub(crate) fn size(&self, frame: Size) -> Size {
        let pick = |asked: usize, own: usize| if asked == 0 { own } else { asked };
        Size::new(pick(self.size.width, frame.width), pick(self.size.height, frame.height))
    }

    /// The weight of the newest frame, if frames are averaged.
    pub(crate) fn smoothing(&self) -> Option<f32> {
        (self.smoothing < 1.0).then_some(self.smoothing)
    }

    /// The minimum size of a region, if specks are removed.
    pub(crate) fn min_region(&self) -> Option<u32> {
        (self.min_region > 1).then_some(self.min_region)
    }

    /// Whether the settings need scores, which some models do not output.
    pub(crate) fn needs_scores(&self) -> bool {
        self.threshold > 0.0 || !self.classes.is_empty() || self.smoothing().is_some()
    }

    /// The rules for a model with this many classes.
    pub(crate) fn rules(&self, classes: usize) -> Result<Rules> {
        if let Some(class) = self.classes.iter().find(|&&class| usize::from(class) >= classes) {
            return Err(Error::InvalidArgument(format!(
                "class {class} is to compete, but the model has only {classes} classes"
            )));
        }
        if !self.remap.is_empty() && self.remap.len() < classes {
            return Err(Error::InvalidArgument(format!(
                "{} labels are given for classes, but the model has {classes}; there must be one for each",
                self.remap.len()
            )));
        }
        let mut rules = Rules {
            competing: std::array::from_fn(|index| index as u8),
            count: classes,
            all: self.classes.is_empty(),
            labels: None,
            threshold: self.threshold,
            labels_only: self.threshold == 0.0 && self.outputs == Outputs::default(),
            checks_scores: true,
            smoothing: self.smoothing(),
            sharpness: 1.0,
        };
        if !rules.all {
            rules.count = self.classes.len();
            rules.competing[..rules.count].copy_from_slice(&self.classes);
        }
        if !rules.all || !self.remap.is_empty() {
            let label = |class: u8| self.remap.get(usize::from(class)).copied().unwrap_or(class);
            rules.labels = Some(rules.competing.map(label));
        }
        Ok(rules)
    }
}

/// How scores become labels.
pub(crate) struct Rules {
    competing: [u8; 256],
    count: usize,
    /// Whether every class competes.
    pub(crate) all: bool,
    /// The label of each competing class by its place among them; `None` if they are equal.
    labels: Option<[u8; 256]>,
    threshold: f32,
    /// Whether only labels are needed, so neither the softmax nor the scores.
    pub(crate) labels_only: bool,
    /// Whether scores may be infinite or NaN; such pixels are unknown.
    pub(crate) checks_scores: bool,
    /// The weight of the newest frame, if frames are averaged.
    pub(crate) smoothing: Option<f32>,
    /// The factor on scores in the softmax: 1 divided by the model's temperature.
    pub(crate) sharpness: f32,
}

impl Rules {
    /// The competing classes, ascending.
    pub(crate) fn competing(&self) -> &[u8] {
        &self.competing[..self.count]
    }

    /// Whether the network's labels are the mask's.
    pub(crate) fn plain(&self) -> bool {
        self.labels_only && self.labels.is_none() && self.smoothing.is_none()
    }

    /// The label for the competing class at `place`.
    #[inline(always)]
    pub(crate) fn label(&self, place: u8) -> u8 {
        self.labels.as_ref().map_or(place, |labels| labels[usize::from(place)])
    }

    /// The labels for the competing classes at these places.
    #[inline(always)]
    pub(crate) fn labels<const N: usize>(&self, places: [u8; N]) -> [u8; N] {
        match &self.labels {
            None => places,
            Some(labels) => places.map(|place| labels[usize::from(place)]),
        }
    }

    /// The labels of all places.
    pub(crate) fn table(&self) -> [u8; 256] {
        self.labels(std::array::from_fn(|place| place as u8))
    }

    /// The label of a pixel with this confidence.
    #[inline(always)]
    pub(crate) fn known(&self, label: u8, confidence: f32) -> u8 {
        if confidence < self.threshold { UNKNOWN } else { label }
    }
}
