//! Scores at the size of the network's input, computed 16 columns at a time from the network's
//! low-resolution scores.

use std::ops::Range;

use super::{
    kernel::{self, BLOCK, Block, Sink},
    winograd::{self, Tiles},
};
use crate::{
    Error, Result, Size,
    memory::set_length,
    onnx::Tail,
    pool::Pool,
    resample::{Axis, Tap},
    scores::Scores,
    simd::{self, F32x8, SimdOp},
    tiles::FinishedRows,
};

/// How a network's output is upsampled to the size of its input.
pub(crate) enum Upsampling {
    /// Bilinear interpolation, or a copy if the output already has that size.
    Interpolate,
    /// A transposed convolution (Long et al. 2015, section 3.3).
    Transposed(Transposed),
}

/// A transposed convolution with kernel 2 s, stride s and padding s / 2.
pub(crate) struct Transposed {
    pub(super) stride: usize,
    /// Whether each class is upsampled independently, without weights between classes.
    pub(super) separate: bool,
    /// For each row and column of the kernel: one weight per class if `separate`, otherwise a
    /// matrix from class x to class.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    border: Border,
}

/// The values around the low-resolution scores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Border {
    /// Zeros, as for a convolution.
    Zero,
    /// The outermost scores, as for interpolation.
    Edge,
}

impl Transposed {
    /// Bilinear interpolation by an even factor.
    fn bilinear(factor: usize, classes: usize) -> Transposed {
        Transposed {
            stride: factor,
            separate: true,
            weights: tent(factor).into_iter().flat_map(|tap| std::iter::repeat_n(tap, classes)).collect(),
            bias: vec![0.0; classes],
            border: Border::Edge,
        }
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

impl Upsampling {
    /// The upsampling that `tail` describes; `classes` is the number of scores per pixel in the
    /// network's output.
    pub(crate) fn new(tail: Tail, classes: usize) -> Result<Upsampling> {
        Ok(match tail {
            Tail::Whole | Tail::ToInput => Upsampling::Interpolate,
            // An even factor: a transposed convolution of each class with a tent kernel.
            Tail::Bilinear { factor } if factor % 2 == 0 => {
                Upsampling::Transposed(Transposed::bilinear(factor, classes))
            }
            // An odd factor: the same as interpolation to the input's size.
            Tail::Bilinear { .. } => Upsampling::Interpolate,
            Tail::Transposed { stride, classes, separate, weights, bias } => {
                let taps = 4 * stride * stride;
                let blocks = if separate { classes } else { classes * classes };
                // from x to x row x column => row x column x from x to
                let weights = transpose(&weights, taps, blocks)?;
                Upsampling::Transposed(Transposed { stride, separate, weights, bias, border: Border::Zero })
            }
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

/// The kernel of bilinear interpolation, 2 s x 2 s (`bilinear_kernel` of d2l 13.11).
fn tent(stride: usize) -> Vec<f32> {
    let line = |at: usize| 1.0 - (at as f32 - (stride as f32 - 0.5)).abs() / stride as f32;
    (0..4 * stride * stride).map(|tap| line(tap / (2 * stride)) * line(tap % (2 * stride))).collect()
}

/// The output of a network for an image of some size.
#[derive(Clone, Copy)]
pub(crate) struct NetworkOutput<'a> {
    pub(crate) scores: Scores<'a>,
    pub(crate) upsampling: &'a Upsampling,
    /// The size of the network's input, to which the scores are upsampled.
    pub(crate) size: Size,
}

/// Buffers that are kept between frames.
#[derive(Default)]
pub(crate) struct Prepared {
    /// The output with a border: channels x (height + 2) x columns.
    padded: Vec<f32>,
    /// The output, transformed for a learned transposed convolution.
    tiles: Tiles,
    /// The last interpolation by an even factor.
    bilinear: Option<Transposed>,
    vertical: Axis,
    horizontal: Axis,
}

/// A source of full-size scores, computed on demand.
#[derive(Clone, Copy)]
pub(super) struct ScoreRows<'a> {
    /// The image's row that is row 0.
    pub(super) first: usize,
    channels: usize,
    width: usize,
    kind: RowSource<'a>,
}

/// Bands of `height` rows; the first one is `offset` rows shorter.
#[derive(Clone, Copy)]
pub(super) struct Bands {
    pub(super) height: usize,
    offset: usize,
}

impl Bands {
    /// The end of the band that contains row `y`.
    pub(super) fn end(&self, y: usize) -> usize {
        ((y + self.offset) / self.height + 1) * self.height - self.offset
    }
}

#[derive(Clone, Copy)]
enum RowSource<'a> {
    /// Scores in memory: the planes of two classes are `class` values apart, two rows `row` values.
    Materialized {
        data: &'a [f32],
        class: usize,
        row: usize,
    },
    Interpolate {
        scores: Scores<'a>,
        vertical: &'a Axis,
        horizontal: &'a Axis,
    },
    /// Each class is upsampled independently.
    Separate {
        convolution: &'a Transposed,
        padded: &'a [f32],
        columns: usize,
        size: Size,
    },
    /// Each class depends on all classes.
    Dense {
        convolution: &'a Transposed,
        tiles: &'a Tiles,
    },
}

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct RowBuffers {
    /// 16 columns of all classes.
    block: Vec<Block>,
    winograd: winograd::WinogradBuffers,
}

impl RowBuffers {
    pub(super) fn prepare(&mut self, classes: usize) -> Result<()> {
        set_length(&mut self.block, classes, "a block of scores")?;
        self.winograd.prepare(classes)
    }
}

impl Prepared {
    /// The rows of a network's scores, upsampled.
    pub(super) fn rows<'a>(&'a mut self, output: NetworkOutput<'a>, pool: &Pool) -> Result<ScoreRows<'a>> {
        let NetworkOutput { scores, upsampling, size } = output;
        let Scores { channels, size: own, data } = scores;
        let kind = match upsampling {
            Upsampling::Interpolate if own == size => {
                RowSource::Materialized { data, class: own.pixels(), row: own.width }
            }
            Upsampling::Interpolate if let Some(factor) = even_factor(own, size) => {
                let fits = |kept: &Transposed| kept.stride == factor && kept.bias.len() == channels;
                self.bilinear.take_if(|kept| !fits(kept));
                let convolution = &*self.bilinear.get_or_insert_with(|| Transposed::bilinear(factor, channels));
                let columns = pad(scores, convolution.border, &mut self.padded)?;
                RowSource::Separate { convolution, padded: &self.padded, columns, size: own }
            }
            Upsampling::Interpolate => {
                self.vertical.prepare(own.height, size.height);
                self.horizontal.prepare(own.width, size.width);
                RowSource::Interpolate { scores, vertical: &self.vertical, horizontal: &self.horizontal }
            }
            Upsampling::Transposed(convolution) => {
                let stride = convolution.stride;
                let answered = Size::new(own.width * stride, own.height * stride);
                if answered != size || channels != convolution.bias.len() {
                    // As shapes: rows before columns.
                    return Err(Error::Model(format!(
                        "the network outputs {channels} x {} x {} scores; upsampled by {stride} they are {} x {}, but \
                         its input is {} x {}",
                        own.height, own.width, answered.height, answered.width, size.height, size.width
                    )));
                }
                if convolution.separate {
                    let columns = pad(scores, convolution.border, &mut self.padded)?;
                    RowSource::Separate { convolution, padded: &self.padded, columns, size: own }
                } else {
                    self.tiles.prepare(scores, pool)?;
                    RowSource::Dense { convolution, tiles: &self.tiles }
                }
            }
        };
        Ok(ScoreRows { first: 0, channels, width: size.width, kind })
    }
}

/// The integer factor by which `size` is larger than `from`, if it is the same for both sides,
/// even, and supported by the kernel.
fn even_factor(from: Size, size: Size) -> Option<usize> {
    let factor = size.height / from.height;
    let is_supported = factor.is_multiple_of(2) && (2..=64).contains(&factor);
    let fits = is_supported && Size::new(from.width * factor, from.height * factor) == size;
    fits.then_some(factor)
}

/// Copies the scores to `padded` with a border of one pixel, wider on the right to fill whole
/// blocks. Returns the number of columns.
fn pad(scores: Scores<'_>, border: Border, padded: &mut Vec<f32>) -> Result<usize> {
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

impl<'a> ScoreRows<'a> {
    /// Rows in memory, one after the other, each `channels` x `width`.
    pub(super) fn materialized(rows: FinishedRows<'a>, channels: usize, width: usize) -> ScoreRows<'a> {
        let FinishedRows { scores: data, first } = rows;
        ScoreRows {
            first,
            channels,
            width,
            kind: RowSource::Materialized { data, class: width, row: channels * width },
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Whether the scores are in memory already.
    pub(super) fn are_materialized(&self) -> bool {
        matches!(self.kind, RowSource::Materialized { .. })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Bands of rows that are computed together for speed.
    pub(super) fn bands(&self) -> Bands {
        match self.kind {
            // Two rows of each phase are computed together.
            RowSource::Dense { convolution: Transposed { stride, .. }, .. } => {
                Bands { height: 2 * stride, offset: stride / 2 }
            }
            _ => Bands { height: 16, offset: 0 },
        }
    }

    /// Computes the rows `rows` and passes them to `sink` block by block.
    pub(super) fn compute<S: Sink>(&self, rows: Range<usize>, space: &mut RowBuffers, sink: &mut S) {
        simd::run(Compute { source: self, rows, space, sink });
    }
}

struct Compute<'a, 'b, S> {
    source: &'a ScoreRows<'a>,
    rows: Range<usize>,
    space: &'b mut RowBuffers,
    sink: &'b mut S,
}

impl<S: Sink> SimdOp for Compute<'_, '_, S> {
    #[inline(always)]
    fn eval<V: F32x8>(self) {
        let Compute { source: &ScoreRows { width, kind, .. }, rows, space: RowBuffers { block, winograd }, sink } =
            self;
        match kind {
            RowSource::Separate { convolution, padded, columns, size } => {
                kernel::separate::<V, S>(&kernel::Job { convolution, padded, columns, size, rows }, block, sink);
            }
            RowSource::Dense { convolution, tiles } => {
                winograd::compute::<V, S>(&winograd::Job { convolution, tiles, rows }, winograd, sink);
            }
            RowSource::Materialized { data, class, row } => {
                by_blocks::<V, S>(rows, width, block, sink, |y, columns, block| {
                    for (index, scores) in block.iter_mut().enumerate() {
                        let source = &data[index * class + y * row..][columns.clone()];
                        scores[..source.len()].copy_from_slice(source);
                    }
                })
            }
            RowSource::Interpolate { scores, vertical, horizontal } => {
                by_blocks::<V, S>(rows, width, block, sink, |y, columns, block| {
                    interpolate(scores, vertical.taps()[y], &horizontal.taps()[columns], block);
                });
            }
        }
    }
}

/// Fills blocks by `fill`, which gets the row and the columns. Lanes right of the image keep their
/// old values.
#[inline(always)]
fn by_blocks<V: F32x8, S: Sink>(
    rows: Range<usize>,
    width: usize,
    block: &mut [Block],
    sink: &mut S,
    fill: impl Fn(usize, Range<usize>, &mut [Block]),
) {
    for y in rows {
        for x in (0..width).step_by(BLOCK) {
            fill(y, x..width.min(x + BLOCK), block);
            sink.take::<V>(y, x, 1, block);
        }
    }
}

/// The scores of neighbouring columns, each interpolated between four scores of the output.
#[inline(always)]
fn interpolate(scores: Scores<'_>, y: Tap, columns: &[Tap], block: &mut [Block]) {
    let Scores { size: Size { width, height }, data, .. } = scores;
    for (scores, plane) in block.iter_mut().zip(data.chunks_exact(height * width)) {
        let (first, second) = (&plane[y.first * width..][..width], &plane[y.second * width..][..width]);
        for (score, x) in scores.iter_mut().zip(columns) {
            *score = y.mix(x.mix(first[x.first], first[x.second]), x.mix(second[x.first], second[x.second]));
        }
    }
}
