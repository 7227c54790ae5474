//! From blocks of scores to labels, confidences and counts.

use std::ops::Range;

use super::kernel::{BLOCK, Block, Sink};
use crate::mask::MaskData;

/// Some consecutive rows of a mask, for one thread to fill.
pub(super) struct Part<'a> {
    /// The frame's rows.
    pub(super) rows: Range<usize>,
    width: usize,
    labels: &'a mut [u8],
    /// Empty where it was not asked for.
    confidence: &'a mut [f32],
    /// These rows of each class; empty where they were not asked for.
    scores: Vec<&'a mut [f32]>,
}

/// The rows `rows` of a mask in parts of `share` rows.
pub(super) fn parts(mask: &mut MaskData, rows: Range<usize>, share: usize) -> impl Iterator<Item = Part<'_>> {
    let MaskData { width, height, labels, confidence, scores, .. } = mask;
    let (width, height) = (*width, *height);
    let pixels = rows.start * width..rows.end * width;
    let labels = labels[pixels.clone()].chunks_mut(share * width);
    let mut confidence = confidence.get_mut(pixels.clone()).unwrap_or_default().chunks_mut(share * width);
    let mut planes: Vec<_> =
        scores.chunks_exact_mut(width * height).map(|plane| plane[pixels.clone()].chunks_mut(share * width)).collect();
    labels.enumerate().map(move |(index, labels)| Part {
        rows: rows.start + index * share..(rows.start + (index + 1) * share).min(rows.end),
        width,
        labels,
        confidence: confidence.next().unwrap_or_default(),
        scores: planes.iter_mut().filter_map(Iterator::next).collect(),
    })
}

/// Takes the best class of each pixel.
pub(super) struct Argmax<'a, 'b> {
    pub(super) part: &'a mut Part<'b>,
    /// The pixels of each class so far.
    pub(super) pixels: &'a mut [u64],
    /// The row of the picture that is row 0 of the blocks.
    pub(super) top: usize,
}

impl Sink for Argmax<'_, '_> {
    #[inline(always)]
    fn take(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
        let Part { rows, width, labels, confidence, scores: planes } = &mut *self.part;
        let mut best = scores[0];
        // As wide as the scores, so that both are computed in the same vector lanes.
        let mut index = [0i32; BLOCK];
        for (class, scores) in (0..).zip(scores).skip(1) {
            for lane in 0..BLOCK {
                let better = scores[lane] > best[lane];
                best[lane] = if better { scores[lane] } else { best[lane] };
                index[lane] = if better { class } else { index[lane] };
            }
        }
        let row = (self.top + y - rows.start) * *width;
        let pixels = &mut *self.pixels;
        each(x, step, *width, |lane, x| {
            labels[row + x] = index[lane] as u8;
            pixels[index[lane] as usize] += 1;
        });
        if !confidence.is_empty() {
            let highest = softmax(scores, &best);
            each(x, step, *width, |lane, x| confidence[row + x] = highest[lane]);
        }
        for (plane, scores) in planes.iter_mut().zip(scores) {
            each(x, step, *width, |lane, x| plane[row + x] = scores[lane]);
        }
    }
}

/// Calls `put` with each lane of a block whose column lies in the picture, and the column.
#[inline(always)]
fn each(x: usize, step: usize, width: usize, mut put: impl FnMut(usize, usize)) {
    let mut x = x;
    for lane in 0..BLOCK {
        // Columns left of the picture are wrapped, and so larger than any width.
        if x < width {
            put(lane, x);
        }
        x = x.wrapping_add(step);
    }
}

/// The highest softmax probability: 1 / sum(exp(score - best)).
#[inline(always)]
fn softmax(scores: &[Block], best: &Block) -> Block {
    let mut sum = [0.0; BLOCK];
    for scores in scores {
        for lane in 0..BLOCK {
            sum[lane] += exp(scores[lane] - best[lane]);
        }
    }
    sum.map(f32::recip)
}

/// e to the power of x, for x of at most 0, within 5e-6 of the value: 2^n times a polynomial of the rest, without branches, so that
/// the compiler computes several at once.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and subtracting this rounds to a whole number, and leaves that number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Below -87 the result has no exponent any more; it counts as about 1e-38.
    let power = x.max(-87.0) * std::f32::consts::LOG2_E;
    let rounded = power + ROUND;
    let rest = (power - (rounded - ROUND)) * std::f32::consts::LN_2;
    let mut polynomial = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        polynomial = polynomial * rest + factor;
    }
    let exponent = rounded.to_bits().wrapping_add(127) << 23;
    polynomial * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_that_of_double_precision() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let truth = f64::from(x).exp();
            let error = (f64::from(exp(x)) - truth).abs() / truth;
            assert!(error < 5e-6, "exp({x}) is off by {error} of its value");
        }
        assert!(exp(-1e30) < 1e-36 && exp(0.0) == 1.0);
    }
}
