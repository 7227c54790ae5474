//! Scores at the size of the network's input, computed one row at a time from what the network answered.

use crate::{Error, Result, mask::resize, onnx::Tail, resample::Axis, runtime::Scores};

/// Columns of the answer computed together: enough to fill vector registers, few enough to stay in them.
const BLOCK: usize = 16;

/// How a network's answer becomes scores at the size of its input.
pub(crate) enum Upsampling {
    /// Bilinear, or nothing at all where the answer already has that size.
    Interpolate,
    /// A transposed convolution (Long et al. 2015, section 3.3).
    Transposed(Transposed),
}

/// A transposed convolution with kernel 2 s, stride s and padding s / 2.
pub(crate) struct Transposed {
    stride: usize,
    /// Whether each class is upsampled by itself.
    separate: bool,
    /// For each row and column of the kernel: separate, one weight a class; dense, to x from.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Upsampling {
    pub(crate) fn new(tail: Tail) -> Upsampling {
        match tail {
            // A bilinear Resize by a whole factor is bilinear interpolation to the input's size.
            Tail::Whole | Tail::Bilinear { .. } => Upsampling::Interpolate,
            Tail::Transposed { stride, classes, separate, weights, bias } => {
                let taps = 4 * stride * stride;
                let blocks = weights.len() / taps;
                let mut packed = vec![0.0; weights.len()];
                for (index, value) in weights.iter().enumerate() {
                    let (block, tap) = (index / taps, index % taps);
                    // from x to => to x from
                    let place = if separate { block } else { block % classes * classes + block / classes };
                    packed[tap * blocks + place] = *value;
                }
                Upsampling::Transposed(Transposed { stride, separate, weights: packed, bias })
            }
        }
    }
}

/// What is kept between frames.
#[derive(Default)]
pub(crate) struct Prepared {
    /// The answer with a border of zeros: channels x (height + 2) x columns.
    padded: Vec<f32>,
    vertical: Axis,
    horizontal: Axis,
}

/// The rows of one picture.
pub(super) struct Rows<'a> {
    scores: Scores<'a>,
    width: usize,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Copy,
    Interpolate { vertical: &'a Axis, horizontal: &'a Axis },
    Transposed { convolution: &'a Transposed, padded: &'a [f32], columns: usize },
}

impl Prepared {
    /// The rows of `scores`, upsampled to `size` (height, width).
    pub(super) fn rows<'a>(
        &'a mut self,
        upsampling: &'a Upsampling,
        scores: Scores<'a>,
        size: (usize, usize),
    ) -> Result<Rows<'a>> {
        let (height, width) = size;
        let kind = match upsampling {
            Upsampling::Interpolate if (scores.height, scores.width) == size => Kind::Copy,
            Upsampling::Interpolate => {
                self.vertical.prepare(scores.height, height);
                self.horizontal.prepare(scores.width, width);
                Kind::Interpolate { vertical: &self.vertical, horizontal: &self.horizontal }
            }
            Upsampling::Transposed(convolution) => {
                let answered = (scores.height * convolution.stride, scores.width * convolution.stride);
                if answered != size || scores.channels != convolution.bias.len() {
                    return Err(Error::Model(format!(
                        "the network answers {} x {} x {} scores, which its upsampling by {} makes {} x {} instead of the \
                         {height} x {width} of its input",
                        scores.channels, scores.height, scores.width, convolution.stride, answered.0, answered.1
                    )));
                }
                let columns = pad(scores, &mut self.padded)?;
                Kind::Transposed { convolution, padded: &self.padded, columns }
            }
        };
        Ok(Rows { scores, width, kind })
    }
}

/// Puts a border of zeros around the scores, one wide and at the right as wide as whole blocks need; gives the columns.
fn pad(scores: Scores<'_>, padded: &mut Vec<f32>) -> Result<usize> {
    let columns = (scores.width + 1).next_multiple_of(BLOCK) + 1;
    resize(padded, scores.channels * (scores.height + 2) * columns)?;
    padded.fill(0.0);
    let planes = padded.chunks_exact_mut((scores.height + 2) * columns);
    for (plane, source) in planes.zip(scores.data.chunks_exact(scores.height * scores.width)) {
        let rows = plane.chunks_exact_mut(columns).skip(1);
        for (row, source) in rows.zip(source.chunks_exact(scores.width)) {
            row[1..=scores.width].copy_from_slice(source);
        }
    }
    Ok(columns)
}

impl Rows<'_> {
    /// Scores in a row: classes x width.
    pub(super) fn length(&self) -> usize {
        self.scores.channels * self.width
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes row `y`: classes x width.
    pub(super) fn row(&self, y: usize, row: &mut [f32]) {
        let Scores { height, width, data, .. } = self.scores;
        match self.kind {
            Kind::Copy => {
                let planes = data.chunks_exact(height * width);
                for (row, plane) in row.chunks_exact_mut(self.width).zip(planes) {
                    row.copy_from_slice(&plane[y * width..][..width]);
                }
            }
            Kind::Interpolate { vertical, horizontal } => {
                let y = vertical.taps()[y];
                for (row, plane) in row.chunks_exact_mut(self.width).zip(data.chunks_exact(height * width)) {
                    let (first, second) = (&plane[y.first * width..][..width], &plane[y.second * width..][..width]);
                    for (value, x) in row.iter_mut().zip(horizontal.taps()) {
                        *value =
                            y.mix(x.mix(first[x.first], first[x.second]), x.mix(second[x.first], second[x.second]));
                    }
                }
            }
            Kind::Transposed { convolution, padded, columns } => {
                let plane = (height + 2) * columns;
                convolution.row(y, padded, plane, columns, width, row);
            }
        }
    }
}

impl Transposed {
    /// Row `y` of the result. With p = s / 2, output (y, x) meets input rows i and i - 1 where y + p = i s + r, by
    /// kernel rows r and r + s, and input columns likewise. For one r and one column phase, all outputs x = j s + phase - p
    /// share their weights, and the sum runs over four shifted rows of each class.
    fn row(&self, y: usize, padded: &[f32], plane: usize, columns: usize, width: usize, row: &mut [f32]) {
        let (stride, classes) = (self.stride, self.bias.len());
        let (i, r) = ((y + stride / 2) / stride, (y + stride / 2) % stride);
        // The border makes row i - 1 of the input row i of the padded one.
        let (upper, lower) = (i * columns, (i + 1) * columns);
        let out_width = width * stride;
        let block_weights = if self.separate { classes } else { classes * classes };
        let tap =
            |row: usize, column: usize| &self.weights[(row * 2 * stride + column) * block_weights..][..block_weights];
        for phase in 0..stride {
            let taps = [tap(r, phase), tap(r, phase + stride), tap(r + stride, phase), tap(r + stride, phase + stride)];
            for start in (0..=width).step_by(BLOCK) {
                for to in 0..classes {
                    let mut sums = [self.bias[to]; BLOCK];
                    let range = if self.separate { to..to + 1 } else { 0..classes };
                    for from in range {
                        let weight = if self.separate { to } else { to * classes + from };
                        let [a, b, c, d] = taps.map(|tap| tap[weight]);
                        let source = &padded[from * plane..][..plane];
                        let lower = &source[lower + start..][..BLOCK + 1];
                        let upper = &source[upper + start..][..BLOCK + 1];
                        for lane in 0..BLOCK {
                            sums[lane] += a * lower[lane + 1] + b * lower[lane] + c * upper[lane + 1] + d * upper[lane];
                        }
                    }
                    let row = &mut row[to * out_width..][..out_width];
                    for (lane, sum) in sums.iter().enumerate() {
                        // The first and the last column of blocks reach over the edges.
                        let x = ((start + lane) * stride + phase).wrapping_sub(stride / 2);
                        if x < out_width {
                            row[x] = *sum;
                        }
                    }
                }
            }
        }
    }
}
