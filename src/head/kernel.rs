//! The inner loops of the head: sixteen columns of all classes at a time.
//!
//! There is one text for all processors, and that is the specification. On x86-64 it is compiled a second time for AVX2 and FMA, which
//! are chosen where the processor has them; on aarch64 NEON is always there. Unsafe code: calling the second copy.

use super::upsample::Transposed;

/// Columns computed together: two AVX2 registers, which four classes at a time fill half of all registers with.
pub(super) const BLOCK: usize = 16;

/// Scores of sixteen columns, for each class.
pub(super) type Block = [f32; BLOCK];

/// Classes computed together.
const GROUP: usize = 4;

/// Receives scores: those of row `y` and columns `x`, `x + step`, ... for each class, one row of `scores` a class. Columns
/// outside the picture (also below 0, as wrapped numbers) are to be left out.
pub(super) trait Sink {
    fn take(&mut self, y: usize, x: usize, step: usize, scores: &[Block]);
}

/// The rows of a transposed convolution's result that one thread computes.
pub(super) struct Job<'a> {
    pub(super) convolution: &'a Transposed,
    /// The low-resolution scores with their border: classes x (height + 2) x columns.
    pub(super) padded: &'a [f32],
    pub(super) columns: usize,
    /// Height and width of the low-resolution scores.
    pub(super) size: (usize, usize),
    /// The rows of the result.
    pub(super) rows: std::ops::Range<usize>,
}

/// Computes the rows of a job, block by block, and hands the blocks to `sink`.
pub(super) fn transposed<S: Sink>(job: &Job<'_>, block: &mut [Block], sink: &mut S) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { transposed_avx2(job, block, sink) };
    }
    transposed_plain::<{ cfg!(target_arch = "aarch64") }, S>(job, block, sink);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn transposed_avx2<S: Sink>(job: &Job<'_>, block: &mut [Block], sink: &mut S) {
    transposed_plain::<true, S>(job, block, sink);
}

/// Row y of the result, with p = s / 2, meets input rows i and i - 1 where y + p = i s + r, by kernel rows r and r + s; columns
/// likewise, so that outputs x = j s + phase - p share their weights. The sum runs over four shifted rows of each class.
/// Rows of one r come one after the other, so that their weights are read once.
#[inline(always)]
fn transposed_plain<const FMA: bool, S: Sink>(job: &Job<'_>, block: &mut [Block], sink: &mut S) {
    let Job { convolution, padded, columns, size: (height, width), ref rows } = *job;
    let Transposed { stride, separate, ref weights, ref bias, .. } = *convolution;
    let classes = bias.len();
    let count = if separate { classes } else { classes * classes };
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
                    // The border makes row i - 1 of the input row i of the padded one.
                    let place = i * columns + start;
                    if separate {
                        separate_block::<FMA>(padded, (height + 2) * columns, place, columns, taps, bias, block);
                    } else {
                        dense_block::<FMA>(padded, (height + 2) * columns, place, columns, taps, bias, block);
                    }
                    sink.take(y, (start * stride + phase).wrapping_sub(half), stride, block);
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The four shifted rows that a block is made of: lower right, lower left, upper right, upper left.
#[inline(always)]
fn shifted(plane: &[f32], place: usize, columns: usize) -> [&Block; 4] {
    let at = |start: usize| -> &Block { plane[start..start + BLOCK].try_into().expect("a slice of sixteen") };
    [at(place + columns + 1), at(place + columns), at(place + 1), at(place)]
}

/// Each class from itself.
#[inline(always)]
fn separate_block<const FMA: bool>(
    padded: &[f32],
    plane: usize,
    place: usize,
    columns: usize,
    taps: [&[f32]; 4],
    bias: &[f32],
    block: &mut [Block],
) {
    for (class, sums) in block.iter_mut().enumerate() {
        let sources = shifted(&padded[class * plane..][..plane], place, columns);
        let mut total = [bias[class]; BLOCK];
        for (source, tap) in sources.into_iter().zip(taps) {
            for lane in 0..BLOCK {
                total[lane] = multiply_add::<FMA>(tap[class], source[lane], total[lane]);
            }
        }
        *sums = total;
    }
}

/// Each class from all classes. Weights of a tap: from x to, in groups of four `to`.
#[inline(always)]
fn dense_block<const FMA: bool>(
    padded: &[f32],
    plane: usize,
    place: usize,
    columns: usize,
    taps: [&[f32]; 4],
    bias: &[f32],
    block: &mut [Block],
) {
    let classes = bias.len();
    for (group, sums) in block.chunks_mut(GROUP).enumerate() {
        let to = group * GROUP;
        match <&mut [Block; GROUP]>::try_from(&mut *sums) {
            Ok(sums) => dense_group::<FMA, GROUP>(padded, plane, place, columns, taps, bias, to, sums),
            Err(_) => {
                for (offset, sums) in sums.iter_mut().enumerate() {
                    let sums = std::array::from_mut(sums);
                    dense_group::<FMA, 1>(padded, plane, place, columns, taps, bias, to + offset, sums);
                }
            }
        }
    }
    debug_assert_eq!(block.len(), classes);
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the innermost loop, called from one place")]
fn dense_group<const FMA: bool, const N: usize>(
    padded: &[f32],
    plane: usize,
    place: usize,
    columns: usize,
    taps: [&[f32]; 4],
    bias: &[f32],
    to: usize,
    sums: &mut [Block; N],
) {
    let classes = bias.len();
    let mut totals: [Block; N] = std::array::from_fn(|index| [bias[to + index]; BLOCK]);
    for (from, plane) in padded.chunks_exact(plane).enumerate() {
        let sources = shifted(plane, place, columns);
        for (source, tap) in sources.into_iter().zip(taps) {
            let tap: &[f32; N] = tap[from * classes + to..][..N].try_into().expect("a slice of N");
            for index in 0..N {
                for lane in 0..BLOCK {
                    totals[index][lane] = multiply_add::<FMA>(tap[index], source[lane], totals[index][lane]);
                }
            }
        }
    }
    *sums = totals;
}
