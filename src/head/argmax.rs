//! From blocks of scores to labels, confidences, margins and counts.

use std::ops::Range;

use super::{
    kernel::{self, BLOCK, BestTwo, Block, Sink},
    resample::LabelCounts,
};
use crate::{
    Size,
    mask::{LabelBuffer, MaskData, Rules, Target},
    palette::UNKNOWN,
    simd::F32x8,
};

/// The most classes that a network may have.
const MAX_CLASSES: usize = 255;

/// Consecutive rows of a mask, filled by one thread. Outputs that were not requested are empty.
pub(super) struct MaskPart<'a> {
    /// The mask's rows.
    pub(super) rows: Range<usize>,
    width: usize,
    labels: &'a mut [u8],
    /// The stride of the labels.
    stride: usize,
    confidence: &'a mut [f32],
    confidence_u8: &'a mut [u8],
    margin: &'a mut [f32],
    /// The scores of each class in these rows. An array, because a warm frame allocates nothing.
    scores: [&'a mut [f32]; MAX_CLASSES],
}

/// The parts of a mask, and what fills them.
pub(super) struct MaskParts<'a, I> {
    pub(super) parts: I,
    pub(super) rules: &'a Rules,
    /// The pixels of each label.
    pub(super) pixels: &'a mut [u64],
    pub(super) not_finite: &'a mut u64,
}

/// Splits the rows `rows` of a mask into parts. `end` maps the first row of a part to its end.
pub(super) fn parts<'a>(
    mask: &'a mut MaskData,
    target: &'a mut Target<'_>,
    rows: Range<usize>,
    end: impl Fn(usize) -> usize,
) -> MaskParts<'a, impl Iterator<Item = MaskPart<'a>>> {
    let MaskData { size, labels, confidence, confidence_u8, margin, scores, pixels, not_finite, .. } = mask;
    let Size { width, .. } = *size;
    let LabelBuffer { labels, stride } = match &mut target.labels {
        Some(buffer) => buffer.reborrow(),
        None => LabelBuffer { labels, stride: width },
    };
    let first = rows.start * width;
    let mut labels = labels.get_mut(rows.start * stride..).unwrap_or_default();
    let mut confidence = confidence.get_mut(first..).unwrap_or_default();
    let mut confidence_u8 = confidence_u8.get_mut(first..).unwrap_or_default();
    let mut margin = margin.get_mut(first..).unwrap_or_default();
    let mut planes = scores.chunks_exact_mut(size.pixels());
    let mut planes: [_; MAX_CLASSES] =
        std::array::from_fn(|_| planes.next().and_then(|plane| plane.get_mut(first..)).unwrap_or_default());
    let mut start = rows.start;
    let parts = std::iter::from_fn(move || {
        if start == rows.end {
            return None;
        }
        let part = start..end(start).min(rows.end);
        start = part.end;
        let area = part.len() * width;
        Some(MaskPart {
            width,
            labels: split(&mut labels, part.len() * stride),
            stride,
            confidence: split(&mut confidence, area),
            confidence_u8: split(&mut confidence_u8, area),
            margin: split(&mut margin, area),
            scores: std::array::from_fn(|class| split(&mut planes[class], area)),
            rows: part,
        })
    });
    MaskParts { parts, rules: &target.rules, pixels, not_finite }
}

/// Takes the first `length` values, or all if there are fewer.
fn split<'a, T>(values: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let all = std::mem::take(values);
    let (first, others) = all.split_at_mut(length.min(all.len()));
    *values = others;
    first
}

impl MaskPart<'_> {
    /// Writes the labels of row `y`, columns `x`, `x + step`, ..., and counts them.
    #[inline(always)]
    pub(super) fn put(&mut self, y: usize, x: usize, step: usize, labels: [u8; BLOCK], pixels: &mut LabelCounts) {
        let pixels = &mut pixels.labels;
        let MaskPart { rows, width, labels: all, stride, .. } = self;
        let (row, width) = ((y - rows.start) * *stride, *width);
        let line = &mut all[row..row + width];
        if let Some(place) = line.get_mut(x..).and_then(<[u8]>::first_chunk_mut).filter(|_| step == 1) {
            *place = labels;
            if labels == [labels[0]; BLOCK] {
                // A block usually has a single label; one addition is faster than sixteen dependent
                // ones.
                pixels[usize::from(labels[0])] += BLOCK as u64;
                return;
            }
            for label in labels {
                pixels[usize::from(label)] += 1;
            }
            return;
        }
        each(x, step, width, |lane, x| {
            line[x] = labels[lane];
            pixels[usize::from(labels[lane])] += 1;
        });
    }
}

/// Takes the argmax of each pixel.
pub(super) struct Argmax<'a, 'b> {
    pub(super) part: &'a mut MaskPart<'b>,
    pub(super) rules: &'a Rules,
    /// The pixels counted so far.
    pub(super) pixels: &'a mut LabelCounts,
    /// Buffer for the scores of the competing classes.
    pub(super) chosen: &'a mut [Block],
    /// The row of the mask that row 0 of the blocks becomes.
    pub(super) top: usize,
}

impl Sink for Argmax<'_, '_> {
    #[inline(always)]
    fn take<V: F32x8>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
        let rules = self.rules;
        let y = self.top + y;
        let competing = compete(rules, scores, self.chosen);
        let not_finite = if rules.checks_scores { kernel::not_finite::<V>(competing) } else { None };
        if let Some(lanes) = not_finite {
            each(x, step, self.part.width, |lane, _| self.pixels.not_finite += u64::from(lanes[lane]));
        }
        if rules.labels_only {
            let mut labels = rules.labels(kernel::best::<V>(competing));
            if let Some(lanes) = not_finite {
                (0..BLOCK).filter(|lane| lanes[*lane]).for_each(|lane| labels[lane] = UNKNOWN);
            }
            return self.part.put(y, x, step, labels, self.pixels);
        }
        let BestTwo { best, mut second, places } = kernel::best_two::<V>(competing);
        let mut confidence = softmax(competing, &best, rules.sharpness);
        let mut labels = rules.labels(places);
        for lane in 0..BLOCK {
            labels[lane] = rules.known(labels[lane], confidence[lane]);
        }
        for lane in 0..BLOCK {
            if not_finite.is_some_and(|lanes| lanes[lane]) {
                (labels[lane], confidence[lane], second[lane]) = (UNKNOWN, 0.0, best[lane]);
            }
        }
        self.part.put(y, x, step, labels, self.pixels);
        let MaskPart { rows, width, confidence: probabilities, confidence_u8: bytes, margin, scores: planes, .. } =
            &mut *self.part;
        let (row, width) = ((y - rows.start) * *width, *width);
        if !probabilities.is_empty() {
            each(x, step, width, |lane, x| probabilities[row + x] = confidence[lane]);
        }
        if !bytes.is_empty() {
            each(x, step, width, |lane, x| bytes[row + x] = (confidence[lane] * 255.0 + 0.5) as u8);
        }
        if !margin.is_empty() {
            // The second best class's probability is exp(second - best) times the best one's.
            let mut ahead = confidence;
            for lane in 0..BLOCK {
                ahead[lane] *= 1.0 - exp((second[lane] - best[lane]) * rules.sharpness);
            }
            each(x, step, width, |lane, x| margin[row + x] = ahead[lane]);
        }
        for (plane, scores) in planes.iter_mut().zip(scores).filter(|(plane, _)| !plane.is_empty()) {
            each(x, step, width, |lane, x| plane[row + x] = scores[lane]);
        }
    }
}

/// The scores of the competing classes, in ascending order of class; copied to `chosen` unless all
/// classes compete.
#[inline(always)]
pub(super) fn compete<'a>(rules: &Rules, scores: &'a [Block], chosen: &'a mut [Block]) -> &'a [Block] {
    if rules.all {
        return scores;
    }
    for (chosen, &class) in chosen.iter_mut().zip(rules.competing()) {
        *chosen = scores[usize::from(class)];
    }
    &chosen[..rules.competing().len()]
}

/// Calls `put` with the lane and the column of each lane that lies inside the image.
#[inline(always)]
fn each(x: usize, step: usize, width: usize, mut put: impl FnMut(usize, usize)) {
    let mut x = x;
    for lane in 0..BLOCK {
        // Columns left of the image have wrapped around and exceed any width.
        if x < width {
            put(lane, x);
        }
        x = x.wrapping_add(step);
    }
}
/// The highest softmax probability: 1 / sum(exp((score - best) * sharpness)).
#[inline(always)]
fn softmax(scores: &[Block], best: &Block, sharpness: f32) -> Block {
    let mut sum = [0.0; BLOCK];
    for scores in scores {
        for lane in 0..BLOCK {
            sum[lane] += exp((scores[lane] - best[lane]) * sharpness);
        }
    }
    sum.map(f32::recip)
}

/// e to the power of x for x <= 0, within 5e-6: 2^n times a polynomial of the rest. It has no
/// branches, so the compiler vectorizes it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and subtracting this constant rounds to an integer, which the low bits of the sum
    // hold.
    const ROUND: f32 = 12_582_912.0;
    // The result is at least about 1e-38: below x = -87 its exponent would underflow.
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
