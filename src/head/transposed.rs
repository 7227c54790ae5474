//! Transposed convolutions: their weights, and the border around the scores that they upsample.

use crate::{Result, memory::set_length};

/// A transposed convolution with kernel 2 s, stride s and padding s / 2.
pub(crate) struct Transposed {
    pub(super) stride: usize,
    /// Whether each class is upsampled independently, without weights between classes.
    pub(super) separate: bool,
    /// For each row and column of the kernel: one weight per class if `separate`, otherwise a
    /// matrix from class x to class.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) border: Border,
    /// Whether the kernel of every class is that of bilinear interpolation.
    pub(super) is_bilinear: bool,
}

/// The values around the low-resolution scores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// Zeros, as for a convolution.
    Zero,
    /// The outermost scores, as for interpolation.
    Edge,
}

impl Transposed {
    /// Bilinear interpolation by an even factor.
    pub(super) fn bilinear(factor: usize, classes: usize) -> Transposed {
        Transposed {
            stride: factor,
            separate: true,
            weights: tent(factor).into_iter().flat_map(|tap| std::iter::repeat_n(tap, classes)).collect(),
            bias: vec![0.0; classes],
            border: Border::Edge,
            is_bilinear: true,
        }
    }

    /// A learned one. Its weights are from x to x row x column, without the first if `separate`.
    pub(super) fn learned(
        stride: usize,
        classes: usize,
        separate: bool,
        weights: &[f32],
        bias: Vec<f32>,
    ) -> Result<Transposed> {
        let taps = 4 * stride * stride;
        let blocks = if separate { classes } else { classes * classes };
        // from x to x row x column => row x column x from x to
        let weights = transpose(weights, taps, blocks)?;
        let is_bilinear = separate && is_tent(stride, classes, &weights);
        Ok(Transposed { stride, separate, weights, bias, border: Border::Zero, is_bilinear })
    }

    /// The weights of one phase for each pair of classes: for the scores at the upper left, above,
    /// to the left, and in place.
    #[inline(always)]
    pub(super) fn taps(&self, row: usize, column: usize) -> [[&[f32]; 2]; 2] {
        let count = self.weights.len() / (4 * self.stride * self.stride);
        // Kernel rows and columns from the stride on apply to the scores above and to the left.
        [row + self.stride, row].map(|row| {
            [column + self.stride, column]
                .map(|column| &self.weights[(row * 2 * self.stride + column) * count..][..count])
        })
    }
}

/// `columns` x `rows` => `rows` x `columns`, a few columns at a time, so that both stay in cache.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Result<Vec<f32>> {
    const TOGETHER: usize = 16;
    let mut result = Vec::new();
    set_length(&mut result, rows * columns, "the upsampling's weights")?;
    for (part, values) in values.chunks(TOGETHER * rows).enumerate() {
        for (row, result) in result.chunks_exact_mut(columns).enumerate() {
            for (value, result) in values.iter().skip(row).step_by(rows).zip(&mut result[part * TOGETHER..]) {
                *result = *value;
            }
        }
    }
    Ok(result)
}

/// Whether the kernel of every class is that of bilinear interpolation, up to rounding.
fn is_tent(stride: usize, classes: usize, weights: &[f32]) -> bool {
    weights
        .chunks_exact(classes)
        .zip(tent(stride))
        .all(|(weights, tap)| weights.iter().all(|weight| (weight - tap).abs() <= f32::EPSILON))
}

/// The kernel of bilinear interpolation, 2 s x 2 s (`bilinear_kernel` of d2l 13.11).
fn tent(stride: usize) -> Vec<f32> {
    let line = |at: usize| 1.0 - (at as f32 - (stride as f32 - 0.5)).abs() / stride as f32;
    (0..4 * stride * stride).map(|tap| line(tap / (2 * stride)) * line(tap % (2 * stride))).collect()
}
