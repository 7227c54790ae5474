//! Scores at the size of the network's input, computed 16 columns at a time from the network's
//! low-resolution scores.

use std::ops::Range;

use super::{
    kernel::{BLOCK, Block, Sink},
    separate::{self, SeparateRows, pad},
    transposed::Transposed,
    winograd::{self, DenseRows, Tiles},
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
                Upsampling::Transposed(Transposed::learned(stride, classes, separate, &weights, bias)?)
            }
        })
    }
}

/// The output of a network for an image of some size.
#[derive(Clone, Copy)]
pub(crate) struct NetworkOutput<'a> {
    pub(crate) scores: Scores<'a>,
    pub(crate) upsampling: &'a Upsampling,
    /// The size of the network's input, to which the scores are upsampled.
    pub(crate) size: Size,
}

impl NetworkOutput<'_> {
    /// Whether the full-size scores are bilinear interpolations of the low-resolution ones:
    /// [`Prepared::rows_to_interpolate`] has the rows.
    pub(super) fn is_interpolated(&self) -> bool {
        let NetworkOutput { scores: Scores { channels, size: own, .. }, upsampling, size } = *self;
        match upsampling {
            Upsampling::Interpolate => own != size,
            Upsampling::Transposed(Transposed { stride, bias, is_bilinear, .. }) => {
                *is_bilinear && bias.len() == channels && Size::new(own.width * stride, own.height * stride) == size
            }
        }
    }
}

/// Low-resolution rows, and how the full-size ones lie between them.
pub(super) struct RowsToInterpolate<'a> {
    pub(super) rows: ScoreRows<'a>,
    /// The number of rows.
    pub(super) height: usize,
    pub(super) grid: Grid,
}

/// How the rows and columns of one image lie between those of a smaller or larger one.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// Both cover the same area.
    Resize { from: Size, to: Size },
    /// The source has one more pixel on each side; without them, both cover the same area.
    Bordered { from: Size, factor: usize },
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
    pub(super) offset: usize,
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
    /// The rows between which the scores of an output are interpolated.
    pub(super) fn rows_to_interpolate<'a>(&'a mut self, output: NetworkOutput<'a>) -> Result<RowsToInterpolate<'a>> {
        let NetworkOutput { scores, upsampling, size } = output;
        let Scores { channels, size: own, data } = scores;
        let Upsampling::Transposed(Transposed { stride, bias, border, .. }) = upsampling else {
            let kind = RowSource::Materialized { data, class: own.pixels(), row: own.width };
            let rows = ScoreRows { first: 0, channels, width: own.width, kind };
            return Ok(RowsToInterpolate { rows, height: own.height, grid: Grid::Resize { from: own, to: size } });
        };
        let columns = pad(scores, *border, &mut self.padded)?;
        let (width, height) = (own.width + 2, own.height + 2);
        let planes = self.padded.chunks_exact_mut(height * columns).zip(bias);
        for (plane, bias) in planes.filter(|(_, bias)| **bias != 0.0) {
            // The weights of a pixel add up to 1 if those of the border are counted.
            plane.iter_mut().for_each(|score| *score += bias);
        }
        let kind = RowSource::Materialized { data: &self.padded, class: height * columns, row: columns };
        let rows = ScoreRows { first: 0, channels, width, kind };
        Ok(RowsToInterpolate { rows, height, grid: Grid::Bordered { from: own, factor: *stride } })
    }

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
                separate::compute::<V, S>(&SeparateRows { convolution, padded, columns, size, rows }, block, sink);
            }
            RowSource::Dense { convolution, tiles } => {
                winograd::compute::<V, S>(&DenseRows { convolution, tiles, rows }, winograd, sink);
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
