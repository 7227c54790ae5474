//! [`Mask`]: the reusable result of [`Segmenter::segment`](crate::Segmenter::segment).

mod components;
mod contours;
mod history;
mod labels;
mod settings;
mod specks;

use std::time::Duration;

use ndarray::ArrayView3;

use crate::{Result, memory::set_length};
pub use contours::Contour;
pub(crate) use history::{History, Source};
pub(crate) use labels::label_stride;
pub use labels::{LabelMap, Region, UNKNOWN};
pub(crate) use settings::{Rules, Settings};
pub(crate) use specks::Specks;

/// What a [`Mask`] holds beside the labels. Each costs time and memory, so each is asked for; all come out of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    /// The highest softmax probability of each pixel.
    pub confidence: bool,
    /// The same in a byte: 255 times the probability, rounded.
    pub confidence_u8: bool,
    /// How far the highest softmax probability of each pixel is above the second highest.
    pub margin: bool,
    /// The scores (logits) of each class at each pixel.
    pub scores: bool,
}

/// How long the steps of a frame took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From the frame to the network's input.
    pub preprocess: Duration,
    /// The network itself, in ONNX Runtime.
    pub inference: Duration,
    /// From the network's answer to labels.
    pub head: Duration,
    /// All of it, and the wait for a free session before.
    pub total: Duration,
}

/// The labels of a frame, and what else was asked for. Make one and use it again for every frame: its memory is kept.
///
/// What the setters choose holds for later calls of [`Segmenter::segment`](crate::Segmenter::segment); what the mask
/// holds now stays. A mask changes only when a call succeeds.
#[derive(Debug, Default)]
pub struct Mask {
    pub(crate) settings: Settings,
    pub(crate) data: MaskData,
    /// Stays with the settings where results change hands.
    pub(crate) history: History,
}

/// What one frame yields.
#[derive(Debug, Default)]
pub(crate) struct MaskData {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) classes: usize,
    /// Columns and rows of the network's input.
    pub(crate) working_size: (usize, usize),
    /// Empty where the labels went to the caller's memory.
    pub(crate) labels: Vec<u8>,
    pub(crate) confidence: Vec<f32>,
    pub(crate) confidence_u8: Vec<u8>,
    pub(crate) margin: Vec<f32>,
    pub(crate) scores: Vec<f32>,
    /// The pixels of each of the 256 labels.
    pub(crate) pixels: Vec<u64>,
    /// Those whose scores are infinite or no numbers.
    pub(crate) not_finite: u64,
    pub(crate) timings: Timings,
}

/// How a frame is labelled, beside the frame itself.
pub(crate) struct Target<'a> {
    pub(crate) rules: Rules,
    /// The caller's memory for labels and the distance of its rows; without it they go to the mask's own.
    pub(crate) labels: Option<(&'a mut [u8], usize)>,
    /// What was averaged up to the last frame.
    pub(crate) before: &'a History,
}

impl Mask {
    /// An empty mask that will hold labels only.
    pub fn new() -> Self {
        Mask::default()
    }

    /// An empty mask that will hold `outputs` beside the labels.
    pub fn with_outputs(outputs: Outputs) -> Self {
        let mut mask = Mask::default();
        mask.set_outputs(outputs);
        mask
    }

    /// An empty mask that is set up as this one.
    pub(crate) fn like(&self) -> Self {
        Mask { settings: self.settings.clone(), ..Mask::default() }
    }

    /// Chooses what the next call is to yield beside the labels.
    pub fn set_outputs(&mut self, outputs: Outputs) {
        self.settings.outputs = outputs;
    }

    /// What the next call yields beside the labels.
    pub fn outputs(&self) -> Outputs {
        self.settings.outputs
    }

    /// The size of the mask, whatever that of the frame: columns and rows, each at most
    /// [`MAX_SIDE`](crate::MAX_SIDE); 0, the default, means the frame's own side (after crop and rotation).
    ///
    /// Scores at the size of the network's input, without what padding added, are interpolated straight to this size
    /// (bilinear, half-pixel centres), and labels are taken there: no second resampling, and none of labels. Tiles are
    /// averaged at the frame's size first.
    pub fn set_size(&mut self, width: u32, height: u32) -> Result<()> {
        self.settings.set_size(width, height)
    }

    /// Columns and rows of the network's input for this frame, padding included: see [`SizeMode`](crate::SizeMode). With tiles,
    /// those of a tile. 0 and 0 before the first frame.
    pub fn working_size(&self) -> (u32, u32) {
        (self.data.working_size.0 as u32, self.data.working_size.1 as u32)
    }

    /// Pixels whose confidence is less than this, 0 to 1, get the label [`UNKNOWN`]; 0, the default, means none. It costs as
    /// much as [`Outputs::confidence`].
    pub fn set_threshold(&mut self, confidence: f32) -> Result<()> {
        self.settings.set_threshold(confidence)
    }

    /// Only these class indices compete, in whatever order they are given: labels, confidence and margin are as if the model had no
    /// others. None at all, the default, means every class. [`Mask::scores`] has every class all the same.
    pub fn set_classes(&mut self, classes: &[u8]) {
        self.settings.set_classes(classes);
    }

    /// Writes `labels[i]` where class i wins, 1 to 256 labels, as many as the model has classes or more; several classes may
    /// share one. None, the default, means the class index itself. [`UNKNOWN`] pixels are not looked up.
    pub fn set_remap(&mut self, labels: Option<&[u8]>) -> Result<()> {
        self.settings.set_remap(labels)
    }

    /// Removes specks: regions of fewer than this many pixels take the label that borders them most. 0, the default, and 1
    /// leave labels as they are.
    ///
    /// A region is here pixels with one label that touch at their sides; those that touch at corners alone are not
    /// together, so [`LabelMap::contours`] then have neither regions nor holes of fewer pixels. The smallest goes first
    /// (of equal ones the one whose first pixel, row by row, comes first) and takes the label with the most sides of
    /// pixels along it, of equal ones the lowest; it is one region from then on with those of this label that it
    /// touches. So none that is too small is left, unless it is the whole mask.
    ///
    /// [`UNKNOWN`] pixels stay so, however few, because nothing makes them certain; a speck that they border most becomes
    /// unknown. [`Mask::pixels`] counts the labels as they are then. Confidence, margin, scores and [`Mask::not_finite`]
    /// stay what the network said of each pixel, and smoothing averages scores that know nothing of it.
    ///
    /// The time, which [`Timings::head`] includes, grows with the number of runs of equal labels in the rows: 0.3 ms for the labels
    /// of a photo at 1920 x 1080, a microsecond a pixel for noise. Memory for the most runs possible is reserved in each
    /// session, 20 bytes a pixel, and used as far as there are runs.
    pub fn set_min_region(&mut self, pixels: u32) {
        self.settings.min_region = pixels;
    }

    /// Averages scores over the frames of a stream, so that labels flicker less: `share` is the weight of the newest frame,
    /// greater than 0 and at most 1, and each earlier one weighs (1 - share) times its successor. 1, the default, means
    /// that each frame stands alone.
    ///
    /// The average is that of the network's own low-resolution scores, so it costs little. It begins anew with another
    /// size, crop, rotation or mirror of the frame, with another segmenter, after a frame without smoothing, and after
    /// [`Mask::reset`]. A mask belongs to one camera then; a [`Stream`](crate::Stream) has an average of its own.
    pub fn set_smoothing(&mut self, share: f32) -> Result<()> {
        self.settings.set_smoothing(share)
    }

    /// Forgets earlier frames: the next one is not averaged with them. Everything else stays.
    pub fn reset(&mut self) {
        self.history.clear();
    }

    /// Columns; 0 before the first frame.
    pub fn width(&self) -> u32 {
        self.data.width as u32
    }

    /// Rows; 0 before the first frame.
    pub fn height(&self) -> u32 {
        self.data.height as u32
    }

    /// The number of classes of the model; 0 before the first frame.
    pub fn classes(&self) -> usize {
        self.data.classes
    }

    /// The class index of each pixel, row by row: `height * width` values, each less than the number of classes unless a
    /// threshold or other labels were chosen. Empty where the labels went to the caller's memory
    /// ([`Segmenter::segment_into`](crate::Segmenter::segment_into)).
    pub fn labels(&self) -> &[u8] {
        &self.data.labels
    }

    /// The labels with their size, for [`LabelMap`]'s regions and contours; `None` where [`Mask::labels`] is empty.
    pub fn label_map(&self) -> Option<LabelMap<'_>> {
        LabelMap::new(self.labels(), self.width(), self.height(), 0).ok()
    }

    /// The highest softmax probability of each pixel, row by row, in (0, 1]; `None` where it was not asked for.
    pub fn confidence(&self) -> Option<&[f32]> {
        present(&self.data.confidence)
    }

    /// The same in bytes, 0 to 255; `None` where it was not asked for.
    pub fn confidence_u8(&self) -> Option<&[u8]> {
        present(&self.data.confidence_u8)
    }

    /// The highest softmax probability of each pixel less the second highest, row by row, in 0 to 1 (1 where only one
    /// class competes); `None` where it was not asked for.
    pub fn margin(&self) -> Option<&[f32]> {
        present(&self.data.margin)
    }

    /// The scores before softmax, `classes x height x width`; `None` where they were not asked for.
    pub fn scores(&self) -> Option<ArrayView3<'_, f32>> {
        let MaskData { classes, height, width, scores, .. } = &self.data;
        if scores.is_empty() { None } else { ArrayView3::from_shape((*classes, *height, *width), scores).ok() }
    }

    /// How long the steps of this frame took; zeros before the first frame.
    pub fn timings(&self) -> Timings {
        self.data.timings
    }

    /// How many pixels have each label from 0 to the number of classes less 1, in this order. Pixels with another label,
    /// which come from a threshold or other labels chosen, are not in it.
    pub fn pixels(&self) -> &[u64] {
        self.data.pixels.get(..self.data.classes).unwrap_or_default()
    }

    /// How many pixels have a score that is infinite or NaN. They are [`UNKNOWN`], with confidence and margin 0. More than 0 means
    /// that the model, or what it is fed, is broken; 0 for models that answer class indices.
    pub fn not_finite(&self) -> u64 {
        self.data.not_finite
    }
}

fn present<T>(values: &[T]) -> Option<&[T]> {
    (!values.is_empty()).then_some(values)
}

impl MaskData {
    /// Makes room for a mask of this size; the values are whatever was there before. `own_labels` tells whether the labels
    /// are kept here.
    pub(crate) fn prepare(
        &mut self,
        (width, height): (usize, usize),
        classes: usize,
        outputs: Outputs,
        own_labels: bool,
    ) -> Result<()> {
        let pixels = width * height;
        let wanted = |wanted: bool| if wanted { pixels } else { 0 };
        set_length(&mut self.labels, wanted(own_labels), "the mask's labels")?;
        set_length(&mut self.confidence, wanted(outputs.confidence), "the mask's confidence")?;
        set_length(&mut self.confidence_u8, wanted(outputs.confidence_u8), "the mask's confidence")?;
        set_length(&mut self.margin, wanted(outputs.margin), "the mask's margins")?;
        set_length(&mut self.scores, wanted(outputs.scores) * classes, "the mask's full-size scores")?;
        set_length(&mut self.pixels, 256, "the mask's counts")?;
        (self.width, self.height, self.classes) = (width, height, classes);
        self.timings = Timings::default();
        self.not_finite = 0;
        Ok(())
    }

    /// Where the labels of a frame go, and the distance of rows.
    pub(crate) fn label_rows<'a>(&'a mut self, target: &'a mut Target<'_>) -> (&'a mut [u8], usize) {
        match &mut target.labels {
            Some((labels, stride)) => (labels, *stride),
            None => (&mut self.labels, self.width),
        }
    }
}
