//! From a row of scores to labels, confidences and counts.

use std::ops::Range;

use crate::{
    Result,
    mask::{MaskData, resize},
};

/// Some consecutive rows of a mask, for one thread to fill.
pub(super) struct Part<'a> {
    /// The frame's row that is the first here.
    pub(super) first: usize,
    pub(super) width: usize,
    labels: &'a mut [u8],
    /// Empty where it was not asked for.
    confidence: &'a mut [f32],
    /// Some rows of each class; empty where they were not asked for.
    scores: Vec<&'a mut [f32]>,
}

impl Part<'_> {
    pub(super) fn lines(&self) -> usize {
        self.labels.len() / self.width
    }
}

/// Splits the rows `lines` of a mask into `count` parts, or fewer where there are fewer rows.
pub(super) fn parts(mask: &mut MaskData, lines: Range<usize>, count: usize) -> Vec<Part<'_>> {
    let MaskData { width, height, labels, confidence, scores, .. } = mask;
    let (width, height) = (*width, *height);
    let share = lines.len().div_ceil(count).max(1);
    let pixels = lines.start * width..lines.end * width;
    let labels = labels[pixels.clone()].chunks_mut(share * width);
    let mut confidence = confidence.get_mut(pixels.clone()).unwrap_or_default().chunks_mut(share * width);
    let mut planes: Vec<_> =
        scores.chunks_exact_mut(width * height).map(|plane| plane[pixels.clone()].chunks_mut(share * width)).collect();
    labels
        .enumerate()
        .map(|(index, labels)| Part {
            first: lines.start + index * share,
            width,
            labels,
            confidence: confidence.next().unwrap_or_default(),
            scores: planes.iter_mut().filter_map(Iterator::next).collect(),
        })
        .collect()
}

/// Finds the best class of each pixel of a row.
#[derive(Default)]
pub(super) struct Argmax {
    best: Vec<f32>,
    /// As wide as `best`, so that both are computed in the same vector lanes.
    index: Vec<i32>,
    pixels: Vec<u64>,
}

impl Argmax {
    pub(super) fn prepare(&mut self, width: usize, classes: usize) -> Result<()> {
        resize(&mut self.best, width)?;
        resize(&mut self.index, width)?;
        resize(&mut self.pixels, classes)
    }

    /// How many pixels of each class there were since the last call.
    pub(super) fn take_pixels(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.pixels.iter_mut().map(std::mem::take)
    }

    /// Fills line `line` of `part` from a row of scores, classes x `stride`, of which the first columns count.
    pub(super) fn line(&mut self, row: &[f32], stride: usize, part: &mut Part<'_>, line: usize) {
        let width = part.width;
        let place = line * width..(line + 1) * width;
        let (best, index) = (&mut self.best[..width], &mut self.index[..width]);
        best.copy_from_slice(&row[..width]);
        index.fill(0);
        for (class, scores) in (0..).zip(row.chunks_exact(stride)).skip(1) {
            for ((best, index), &score) in best.iter_mut().zip(index.iter_mut()).zip(&scores[..width]) {
                let better = score > *best;
                *best = if better { score } else { *best };
                *index = if better { class } else { *index };
            }
        }
        for (label, &index) in part.labels[place.clone()].iter_mut().zip(index.iter()) {
            *label = index as u8;
            self.pixels[index as usize] += 1;
        }
        if let Some(confidence) = part.confidence.get_mut(place.clone()) {
            softmax(row, stride, best, confidence);
        }
        for (scores, row) in part.scores.iter_mut().zip(row.chunks_exact(stride)) {
            scores[place.clone()].copy_from_slice(&row[..width]);
        }
    }
}

/// The highest softmax probability of each pixel: 1 / sum(exp(score - best)).
fn softmax(row: &[f32], stride: usize, best: &[f32], confidence: &mut [f32]) {
    confidence.fill(0.0);
    for scores in row.chunks_exact(stride) {
        for ((sum, &score), &best) in confidence.iter_mut().zip(scores).zip(best) {
            *sum += (score - best).exp();
        }
    }
    confidence.iter_mut().for_each(|sum| *sum = sum.recip());
}
