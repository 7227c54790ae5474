//! A transposed convolution that upsamples each class independently.

use std::ops::Range;

use super::{
    kernel::{BLOCK, Block, Sink, load, store},
    transposed::{Border, Transposed},
};
use crate::{Result, Size, memory::set_length, scores::Scores, simd::F32x8};

/// Rows of the result that one thread computes, for classes upsampled independently.
pub(super) struct SeparateRows<'a> {
    pub(super) convolution: &'a Transposed,
    /// The low-resolution scores with their border: classes x (height + 2) x columns.
    pub(super) padded: &'a [f32],
    pub(super) columns: usize,
    /// The size of the low-resolution scores.
    pub(super) size: Size,
    /// The rows of the result.
    pub(super) rows: Range<usize>,
}

/// A transposed convolution without cross-class weights. With p = s / 2, row y of the result
/// depends on input rows i and i - 1, where y + p = i s + r, through kernel rows r and r + s;
/// columns likewise. So outputs x = j s + phase - p share their weights, and each is a sum over
/// four shifted rows of its class. Rows of equal r are computed one after the other, so that their
/// weights are read once.
#[inline(always)]
pub(super) fn compute<V: F32x8, S: Sink>(job: &SeparateRows<'_>, block: &mut [Block], sink: &mut S) {
    let SeparateRows { convolution, padded, columns, size: Size { width, height }, ref rows } = *job;
    let Transposed { stride, ref weights, ref bias, .. } = *convolution;
    let count = bias.len();
    let tap = |row: usize, column: usize| &weights[(row * 2 * stride + column) * count..][..count];
    let half = stride / 2;
    for r in 0..stride {
        for phase in 0..stride {
            let taps = [tap(r, phase), tap(r, phase + stride), tap(r + stride, phase), tap(r + stride, phase + stride)];
            // The rows y of this job with y + half = i stride + r.
            let first = (rows.start + half).saturating_sub(r).div_ceil(stride);
            for i in first..=height {
                let y = (i * stride + r).wrapping_sub(half);
                if !rows.contains(&y) {
                    continue;
                }
                for start in (0..=width).step_by(BLOCK) {
                    // Because of the border, row i of `padded` is row i - 1 of the input.
                    let place = i * columns + start;
                    let inputs = Inputs { padded, plane: (height + 2) * columns, place, columns, taps, bias };
                    upsample::<V>(&inputs, block);
                    sink.take::<V>(y, (start * stride + phase).wrapping_sub(half), stride, block);
                }
            }
        }
    }
}

/// Inputs of 16 columns of the result.
struct Inputs<'a> {
    /// The low-resolution scores of all classes, `plane` values each, in rows of `columns`.
    padded: &'a [f32],
    plane: usize,
    columns: usize,
    /// Where the upper left of the four shifted rows starts in a plane.
    place: usize,
    /// The weights of the four shifted rows.
    taps: [&'a [f32]; 4],
    bias: &'a [f32],
}

/// The four shifted rows that a block depends on: lower right, lower left, upper right, upper left.
#[inline(always)]
fn shifted<V: F32x8>(plane: &[f32], place: usize, columns: usize) -> [[V; 2]; 4] {
    [load(plane, place + columns + 1), load(plane, place + columns), load(plane, place + 1), load(plane, place)]
}

/// Upsamples each class independently.
#[inline(always)]
fn upsample<V: F32x8>(inputs: &Inputs<'_>, block: &mut [Block]) {
    let &Inputs { padded, plane, columns, place, taps, bias } = inputs;
    for (class, (sums, plane)) in block.iter_mut().zip(padded.chunks_exact(plane)).enumerate() {
        let sources: [[V; 2]; 4] = shifted(plane, place, columns);
        let mut total = [V::splat(bias[class]); 2];
        for index in 0..4 {
            let tap = V::splat(taps[index][class]);
            total = [tap.multiply_add(sources[index][0], total[0]), tap.multiply_add(sources[index][1], total[1])];
        }
        store(total, sums);
    }
}

/// Copies the scores to `padded` with a border of one pixel, wider on the right to fill whole
/// blocks. Returns the number of columns.
pub(super) fn pad(scores: Scores<'_>, border: Border, padded: &mut Vec<f32>) -> Result<usize> {
    let Scores { channels, size: Size { width, height }, data } = scores;
    let columns = (width + 1).next_multiple_of(BLOCK) + 1;
    set_length(padded, channels * (height + 2) * columns, "the network's scores")?;
    let planes = padded.chunks_exact_mut((height + 2) * columns);
    for (plane, source) in planes.zip(data.chunks_exact(height * width)) {
        for (y, row) in plane.chunks_exact_mut(columns).enumerate() {
            let inside = (1..=height).contains(&y);
            if border == Border::Zero && !inside {
                row.fill(0.0);
                continue;
            }
            let source = &source[(y.max(1) - 1).min(height - 1) * width..][..width];
            row[1..=width].copy_from_slice(source);
            let edge = |value: f32| if border == Border::Edge { value } else { 0.0 };
            row[0] = edge(source[0]);
            row[width + 1..].fill(edge(source[width - 1]));
        }
    }
    Ok(columns)
}
