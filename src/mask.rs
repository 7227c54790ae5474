//! [`Mask`]: the reusable result of [`Segmenter::segment`](crate::Segmenter::segment).

use std::time::Duration;

use ndarray::ArrayView3;

use crate::{Error, Result};

/// What a [`Mask`] holds beside the labels. Each costs time and memory, so each is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    /// The highest softmax probability of each pixel.
    pub confidence: bool,
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
/// A mask changes only when a call succeeds.
#[derive(Debug, Default)]
pub struct Mask {
    outputs: Outputs,
    pub(crate) data: MaskData,
}

/// What one frame yields.
#[derive(Debug, Default)]
pub(crate) struct MaskData {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) classes: usize,
    pub(crate) labels: Vec<u8>,
    pub(crate) confidence: Vec<f32>,
    pub(crate) scores: Vec<f32>,
    pub(crate) pixels: Vec<u64>,
    pub(crate) timings: Timings,
}

impl Mask {
    /// An empty mask that will hold labels only.
    pub fn new() -> Self {
        Mask::default()
    }

    /// An empty mask that will hold `outputs` beside the labels.
    pub fn with_outputs(outputs: Outputs) -> Self {
        Mask { outputs, ..Mask::default() }
    }

    /// An empty mask that is set up as this one.
    pub(crate) fn like(&self) -> Self {
        Mask::with_outputs(self.outputs)
    }

    /// Chooses what the next call is to yield beside the labels; what the mask holds now stays.
    pub fn set_outputs(&mut self, outputs: Outputs) {
        self.outputs = outputs;
    }

    /// What the next call yields beside the labels.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// Columns; 0 before the first frame.
    pub fn width(&self) -> u32 {
        self.data.width as u32
    }

    /// Rows; 0 before the first frame.
    pub fn height(&self) -> u32 {
        self.data.height as u32
    }

    /// The class index of each pixel, row by row: `height * width` values, each less than the number of classes.
    pub fn labels(&self) -> &[u8] {
        &self.data.labels
    }

    /// The highest softmax probability of each pixel, row by row, in (0, 1]; `None` where it was not asked for.
    pub fn confidence(&self) -> Option<&[f32]> {
        (!self.data.confidence.is_empty()).then_some(&self.data.confidence)
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

    /// The pixels of each class, in class order.
    pub fn pixels(&self) -> &[u64] {
        &self.data.pixels
    }
}

impl MaskData {
    /// Makes room for a frame; the values are whatever was there before.
    pub(crate) fn prepare(&mut self, width: usize, height: usize, classes: usize, outputs: Outputs) -> Result<()> {
        let pixels = width * height;
        resize(&mut self.labels, pixels)?;
        resize(&mut self.confidence, if outputs.confidence { pixels } else { 0 })?;
        resize(&mut self.scores, if outputs.scores { pixels * classes } else { 0 })?;
        resize(&mut self.pixels, classes)?;
        (self.width, self.height, self.classes) = (width, height, classes);
        self.timings = Timings::default();
        Ok(())
    }
}

/// Resizes without aborting where memory is short.
pub(crate) fn resize<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) -> Result<()> {
    buffer.try_reserve_exact(length.saturating_sub(buffer.len())).map_err(|_| {
        Error::OutOfMemory(format!("{} bytes for a frame cannot be had", length.saturating_mul(size_of::<T>())))
    })?;
    buffer.resize(length, T::default());
    Ok(())
}
