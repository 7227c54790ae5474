//! [`Mask`]: the reusable result of [`Segmenter::segment`](crate::Segmenter::segment).

mod components;
mod contours;
mod history;
mod labels;
mod settings;
mod specks;

use std::time::Duration;

use ndarray::ArrayView3;

use crate::{Result, Size, memory::set_length};
pub use contours::Contour;
pub(crate) use history::{History, ScoreOrigin};
pub(crate) use labels::label_stride;
pub use labels::{LabelMap, Region};
pub(crate) use settings::{MaskSettings, Rules};
pub(crate) use specks::Specks;

/// Optional outputs of a [`Mask`]. Each costs time and memory; all are computed in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    /// Highest softmax probability of each pixel.
    pub confidence: bool,
    /// The same in a byte: 255 times the probability, rounded.
    pub confidence_u8: bool,
    /// Difference of the two highest softmax probabilities of each pixel.
    pub margin: bool,
    /// Scores (logits) of each class at each pixel.
    pub scores: bool,
}

/// Duration of the steps of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From the frame to the network's input.
    pub preprocess: Duration,
    /// The network, in ONNX Runtime.
    pub inference: Duration,
    /// From the network's output to labels.
    pub head: Duration,
    /// Everything, including the wait for a free session.
    pub total: Duration,
}

/// The result of [`Segmenter::segment`](crate::Segmenter::segment): one label per pixel, and
/// optional outputs. Reuse one mask for all frames: it keeps its memory, and frames may differ in
/// size.
///
/// Setters affect later [`Segmenter::segment`](crate::Segmenter::segment) calls; the mask's current
/// contents do not change. A call that fails changes nothing.
#[derive(Debug, Default)]
pub struct Mask {
    pub(crate) settings: MaskSettings,
    pub(crate) data: MaskData,
    /// Stays with the settings when data is swapped.
    pub(crate) history: History,
}

/// The result of one frame.
#[derive(Debug, Default)]
pub(crate) struct MaskData {
    pub(crate) size: Size,
    pub(crate) classes: usize,
    /// The size of the network's input.
    pub(crate) working_size: Size,
    /// Empty if the labels went to the caller's memory.
    pub(crate) labels: Vec<u8>,
    pub(crate) confidence: Vec<f32>,
    pub(crate) confidence_u8: Vec<u8>,
    pub(crate) margin: Vec<f32>,
    pub(crate) scores: Vec<f32>,
    /// Pixels of each of the 256 labels.
    pub(crate) pixels: Vec<u64>,
    /// Pixels with an infinite or NaN score.
    pub(crate) not_finite: u64,
    pub(crate) timings: Timings,
}

/// Memory for labels, whose rows are `stride` bytes apart.
pub(crate) struct LabelBuffer<'a> {
    pub(crate) labels: &'a mut [u8],
    pub(crate) stride: usize,
}

impl LabelBuffer<'_> {
    /// The same memory, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> LabelBuffer<'_> {
        LabelBuffer { labels: self.labels, stride: self.stride }
    }
}

/// How a frame is labelled, and where its labels go.
pub(crate) struct Target<'a> {
    pub(crate) rules: Rules,
    /// The caller's memory for labels; `None` for the mask's own.
    pub(crate) labels: Option<LabelBuffer<'a>>,
    /// The average of earlier frames.
    pub(crate) before: &'a History,
}

impl Mask {
    /// An empty mask for labels only.
    #[must_use]
    pub fn new() -> Self {
        Mask::default()
    }

    /// An empty mask with these outputs.
    #[must_use]
    pub fn with_outputs(outputs: Outputs) -> Self {
        let mut mask = Mask::default();
        mask.set_outputs(outputs);
        mask
    }

    /// An empty mask with the same settings.
    pub(crate) fn like(&self) -> Self {
        Mask { settings: self.settings.clone(), ..Mask::default() }
    }

    /// Selects the outputs of later frames beside the labels.
    pub fn set_outputs(&mut self, outputs: Outputs) {
        self.settings.outputs = outputs;
    }

    /// The selected outputs.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        self.settings.outputs
    }

    /// Sets the size of the mask: columns and rows, at most [`MAX_SIDE`](crate::MAX_SIDE) each; 0
    /// (default) means the frame's width or height after crop and rotation.
    ///
    /// Scores are interpolated directly from the size of the network's input, without padding, to
    /// this size (bilinear, half-pixel centres), and labels are taken there. Tiles are averaged at
    /// the frame's size first.
    pub fn set_size(&mut self, width: u32, height: u32) -> Result<()> {
        self.settings.set_size(width, height)
    }

    /// The size of the network's input for the last frame, including padding: see
    /// [`SizeMode`](crate::SizeMode). With tiles, the size of a tile. 0 and 0 before the first
    /// frame.
    #[must_use]
    pub fn working_size(&self) -> (u32, u32) {
        (self.data.working_size.width as u32, self.data.working_size.height as u32)
    }

    /// Gives pixels with less confidence the label [`UNKNOWN`](crate::UNKNOWN). 0 to 1; 0
    /// (default) disables it. Costs as much as [`Outputs::confidence`].
    pub fn set_threshold(&mut self, confidence: f32) -> Result<()> {
        self.settings.set_threshold(confidence)
    }

    /// Restricts labels to these classes, in any order: labels, confidence and margin are those of
    /// a model without the others. [`Mask::scores`] still has all classes. Empty (default) means
    /// all classes.
    pub fn set_classes(&mut self, classes: &[u8]) {
        self.settings.set_classes(classes);
    }

    /// Replaces label i by `labels[i]`: 1 to 256 labels, at least as many as the model has classes;
    /// several classes may share a label. `None` (default) disables it.
    /// [`UNKNOWN`](crate::UNKNOWN) pixels stay unknown.
    pub fn set_remap(&mut self, labels: Option<&[u8]>) -> Result<()> {
        self.settings.set_remap(labels)
    }

    /// Removes specks: regions of fewer than `pixels` pixels get the label that borders them most.
    /// 0 (default) and 1 disable it.
    ///
    /// Regions are 4-connected here, so that [`LabelMap::contours`] then finds neither smaller
    /// regions nor smaller holes. The smallest region goes first (of equal ones, the one whose
    /// first pixel comes first row by row). It gets the label with the longest common border (of
    /// equal ones, the lowest) and joins its neighbours of that label. No small region remains
    /// unless it is the whole mask.
    ///
    /// [`UNKNOWN`](crate::UNKNOWN) pixels stay unknown, however few, and a speck that borders
    /// mostly on them becomes unknown. [`Mask::pixels`] counts the final labels. Confidence,
    /// margin, scores, [`Mask::not_finite`] and smoothing are not affected.
    ///
    /// The time is part of [`Timings::head`] and grows with the number of runs of equal labels: 0.3
    /// ms for a typical 1920 x 1080 mask, 1 microsecond per pixel for noise. Each session reserves
    /// 20 bytes of address space per pixel and uses as much as there are runs.
    pub fn set_min_region(&mut self, pixels: u32) {
        self.settings.min_region = pixels;
    }

    /// Averages scores over consecutive frames, which reduces flicker. `share` is the weight of the
    /// newest frame, greater than 0 and at most 1; each earlier frame weighs (1 - share) times its
    /// successor. 1 (default) disables it.
    ///
    /// The average is that of the network's low-resolution scores, so it costs little. It restarts
    /// if the size, crop, rotation, mirror or segmenter changes, after a frame without smoothing,
    /// and after [`Mask::reset`]. Use one mask per camera. A [`Stream`](crate::Stream) keeps an
    /// average of its own.
    pub fn set_smoothing(&mut self, share: f32) -> Result<()> {
        self.settings.set_smoothing(share)
    }

    /// Restarts smoothing: the next frame is not averaged with earlier ones. Changes nothing else.
    pub fn reset(&mut self) {
        self.history.clear();
    }

    /// Takes the content out, as a mask with the same settings. This mask is then as before the
    /// first frame, but keeps its settings and the average of smoothing.
    #[must_use]
    pub fn take_result(&mut self) -> Mask {
        Mask { data: std::mem::take(&mut self.data), ..self.like() }
    }

    /// Columns; 0 before the first frame.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.data.size.width as u32
    }

    /// Rows; 0 before the first frame.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.data.size.height as u32
    }

    /// The number of classes of the model that filled the mask; 0 before the first frame.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.data.classes
    }

    /// The labels, `height * width` values row by row: class indices, unless [`Mask::set_remap`]
    /// changed them, or [`UNKNOWN`](crate::UNKNOWN). Empty before the first frame, and if the
    /// labels went to the caller's memory
    /// ([`Segmenter::segment_into`](crate::Segmenter::segment_into)).
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.data.labels
    }

    /// The labels with their size, for regions and contours; `None` if [`Mask::labels`] is empty.
    #[must_use]
    pub fn label_map(&self) -> Option<LabelMap<'_>> {
        LabelMap::new(self.labels(), self.width(), self.height(), 0).ok()
    }

    /// The highest softmax probability of each pixel, row by row, greater than 0 and at most 1;
    /// `None` if not selected. Scores are divided by the temperature of the model card, if it has
    /// one, before the softmax.
    #[must_use]
    pub fn confidence(&self) -> Option<&[f32]> {
        present(&self.data.confidence)
    }

    /// The same in bytes, 0 to 255; `None` if not selected.
    #[must_use]
    pub fn confidence_u8(&self) -> Option<&[u8]> {
        present(&self.data.confidence_u8)
    }

    /// The difference of the two highest softmax probabilities of each pixel, row by row, 0 to 1 (1
    /// if only one class competes); `None` if not selected.
    #[must_use]
    pub fn margin(&self) -> Option<&[f32]> {
        present(&self.data.margin)
    }

    /// The scores before the softmax, `classes x height x width`; `None` if not selected.
    #[must_use]
    pub fn scores(&self) -> Option<ArrayView3<'_, f32>> {
        let &MaskData { classes, size: Size { width, height }, ref scores, .. } = &self.data;
        if scores.is_empty() { None } else { ArrayView3::from_shape((classes, height, width), scores).ok() }
    }

    /// The durations of the last frame; zeros before the first frame.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.data.timings
    }

    /// The number of pixels with each label from 0 to the number of classes less 1. Pixels with
    /// other labels (unknown, or remapped) are not included.
    #[must_use]
    pub fn pixels(&self) -> &[u64] {
        self.data.pixels.get(..self.data.classes).unwrap_or_default()
    }

    /// The number of pixels with an infinite or NaN score; they are [`UNKNOWN`](crate::UNKNOWN),
    /// with confidence and margin 0. More than 0 means that the model or its input is wrong.
    /// Always 0 for models that output class indices.
    #[must_use]
    pub fn not_finite(&self) -> u64 {
        self.data.not_finite
    }
}

fn present<T>(values: &[T]) -> Option<&[T]> {
    (!values.is_empty()).then_some(values)
}

impl MaskData {
    /// Makes room for a mask of this size, with unspecified values; `own_labels`: including labels.
    pub(crate) fn prepare(&mut self, size: Size, classes: usize, outputs: Outputs, own_labels: bool) -> Result<()> {
        let pixels = size.pixels();
        let wanted = |wanted: bool| if wanted { pixels } else { 0 };
        set_length(&mut self.labels, wanted(own_labels), "the mask's labels")?;
        set_length(&mut self.confidence, wanted(outputs.confidence), "the mask's confidence")?;
        set_length(&mut self.confidence_u8, wanted(outputs.confidence_u8), "the mask's confidence")?;
        set_length(&mut self.margin, wanted(outputs.margin), "the mask's margins")?;
        set_length(&mut self.scores, wanted(outputs.scores) * classes, "the mask's full-size scores")?;
        set_length(&mut self.pixels, 256, "the mask's counts")?;
        (self.size, self.classes) = (size, classes);
        self.timings = Timings::default();
        self.not_finite = 0;
        Ok(())
    }

    /// Memory for the labels of a frame.
    pub(crate) fn label_rows<'a>(&'a mut self, target: &'a mut Target<'_>) -> LabelBuffer<'a> {
        match &mut target.labels {
            Some(buffer) => buffer.reborrow(),
            None => LabelBuffer { labels: &mut self.labels, stride: self.size.width },
        }
    }
}
