//! Scores at the size of the network's input, computed sixteen columns at a time from what the network answered.

use std::ops::Range;

use super::kernel::{self, BLOCK, Block, Job, Sink};
use crate::{Error, Result, mask::resize, onnx::Tail, resample::Axis, runtime::Scores};

/// How a network's answer becomes scores at the size of its input.
pub(crate) enum Upsampling {
    /// Bilinear, or nothing at all where the answer already has that size.
    Interpolate,
    /// A transposed convolution (Long et al. 2015, section 3.3).
    Transposed(Transposed),
}

/// A transposed convolution with kernel 2 s, stride s and padding s / 2.
pub(crate) struct Transposed {
    pub(super) stride: usize,
    /// Whether each class is upsampled by itself.
    pub(super) separate: bool,
    /// For each row and column of the kernel: separate, one weight a class; dense, from x to.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    border: Border,
}

/// What lies around the low-resolution scores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Border {
    /// Nothing, as for a convolution.
    Zero,
    /// The outermost scores again, as for interpolation.
    Edge,
}

impl Upsampling {
    /// What undoes the cut; `classes` is the number of scores that the network answers for a pixel.
    pub(crate) fn new(tail: Tail, classes: usize) -> Upsampling {
        match tail {
            Tail::Whole => Upsampling::Interpolate,
            // Bilinear interpolation by an even factor is a transposed convolution of each class with a tent.
            Tail::Bilinear { factor } if factor % 2 == 0 => Upsampling::Transposed(Transposed {
                stride: factor,
                separate: true,
                weights: tent(factor).into_iter().flat_map(|tap| std::iter::repeat_n(tap, classes)).collect(),
                bias: vec![0.0; classes],
                border: Border::Edge,
            }),
            // By an odd one it is what interpolation to the input's size does anyway.
            Tail::Bilinear { .. } => Upsampling::Interpolate,
            Tail::Transposed { stride, classes, separate, weights, bias } => {
                let taps = 4 * stride * stride;
                let blocks = if separate { classes } else { classes * classes };
                // from x to x row x column => row x column x from x to
                let packed = (0..taps).flat_map(|tap| (0..blocks).map(move |block| (block, tap)));
                let weights = packed.map(|(block, tap)| weights[block * taps + tap]).collect();
                Upsampling::Transposed(Transposed { stride, separate, weights, bias, border: Border::Zero })
            }
        }
    }
}

/// The kernel of bilinear interpolation, 2 s x 2 s (`bilinear_kernel` of d2l 13.11).
fn tent(stride: usize) -> Vec<f32> {
    let line = |at: usize| 1.0 - (at as f32 - (stride as f32 - 0.5)).abs() / stride as f32;
    (0..4 * stride * stride).map(|tap| line(tap / (2 * stride)) * line(tap % (2 * stride))).collect()
}

/// What is kept between frames.
#[derive(Default)]
pub(crate) struct Prepared {
    /// The answer with a border: channels x (height + 2) x columns.
    padded: Vec<f32>,
    vertical: Axis,
    horizontal: Axis,
}

/// Scores of one picture at some size, ready to be computed.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    channels: usize,
    width: usize,
    kind: Kind<'a>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    /// They are there: scores of a class start `class` values apart, rows `row` values.
    There {
        data: &'a [f32],
        class: usize,
        row: usize,
    },
    Interpolate {
        scores: Scores<'a>,
        vertical: &'a Axis,
        horizontal: &'a Axis,
    },
    Transposed {
        convolution: &'a Transposed,
        padded: &'a [f32],
        columns: usize,
        size: (usize, usize),
    },
}

impl Prepared {
    /// The rows of `scores`, upsampled to `size` (height, width).
    pub(super) fn rows<'a>(
        &'a mut self,
        upsampling: &'a Upsampling,
        scores: Scores<'a>,
        size: (usize, usize),
    ) -> Result<Rows<'a>> {
        let Scores { channels, height, width, data } = scores;
        let kind = match upsampling {
            Upsampling::Interpolate if (height, width) == size => {
                Kind::There { data, class: height * width, row: width }
            }
            Upsampling::Interpolate => {
                self.vertical.prepare(height, size.0);
                self.horizontal.prepare(width, size.1);
                Kind::Interpolate { scores, vertical: &self.vertical, horizontal: &self.horizontal }
            }
            Upsampling::Transposed(convolution) => {
                let answered = (height * convolution.stride, width * convolution.stride);
                if answered != size || channels != convolution.bias.len() {
                    return Err(Error::Model(format!(
                        "the network answers {channels} x {height} x {width} scores, which its upsampling by {} makes {} x \
                         {} instead of the {} x {} of its input",
                        convolution.stride, answered.0, answered.1, size.0, size.1
                    )));
                }
                let columns = pad(scores, convolution.border, &mut self.padded)?;
                Kind::Transposed { convolution, padded: &self.padded, columns, size: (height, width) }
            }
        };
        Ok(Rows { channels, width: size.1, kind })
    }
}

/// Puts a border around the scores, one wide, and at the right as wide as whole blocks need; gives the columns.
fn pad(scores: Scores<'_>, border: Border, padded: &mut Vec<f32>) -> Result<usize> {
    let Scores { channels, height, width, data } = scores;
    let columns = (width + 1).next_multiple_of(BLOCK) + 1;
    resize(padded, channels * (height + 2) * columns)?;
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

impl<'a> Rows<'a> {
    /// Rows that are there already, one after the other, each `channels` x `width`.
    pub(super) fn there(data: &'a [f32], channels: usize, width: usize) -> Rows<'a> {
        Rows { channels, width, kind: Kind::There { data, class: width, row: channels * width } }
    }

    /// Scores in a row: channels x width.
    pub(super) fn length(&self) -> usize {
        self.channels * self.width
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Computes the rows `rows` and hands them to `sink` block by block; `block` has room for one row of each class.
    pub(super) fn compute<S: Sink>(&self, rows: Range<usize>, block: &mut [Block], sink: &mut S) {
        let width = self.width;
        match self.kind {
            Kind::Transposed { convolution, padded, columns, size } => {
                kernel::transposed(&Job { convolution, padded, columns, size, rows }, block, sink);
            }
            Kind::There { data, class, row } => in_order(rows, width, block, sink, |y, x, lanes, block| {
                for (index, scores) in block.iter_mut().enumerate() {
                    scores[..lanes].copy_from_slice(&data[index * class + y * row + x..][..lanes]);
                }
            }),
            Kind::Interpolate { scores: Scores { height, width: columns, data, .. }, vertical, horizontal } => {
                in_order(rows, width, block, sink, |y, x, lanes, block| {
                    let y = vertical.taps()[y];
                    for (scores, plane) in block.iter_mut().zip(data.chunks_exact(height * columns)) {
                        let (first, second) = (&plane[y.first * columns..], &plane[y.second * columns..]);
                        for (score, x) in scores[..lanes].iter_mut().zip(&horizontal.taps()[x..]) {
                            *score =
                                y.mix(x.mix(first[x.first], first[x.second]), x.mix(second[x.first], second[x.second]));
                        }
                    }
                });
            }
        }
    }
}

/// Blocks of neighbouring columns, left to right, row by row. What is right of the picture is whatever was there.
fn in_order<S: Sink>(
    rows: Range<usize>,
    width: usize,
    block: &mut [Block],
    sink: &mut S,
    fill: impl Fn(usize, usize, usize, &mut [Block]),
) {
    for y in rows {
        for x in (0..width).step_by(BLOCK) {
            fill(y, x, BLOCK.min(width - x), block);
            sink.take(y, x, 1, block);
        }
    }
}
