//! The inner loops of the head: sixteen columns of all classes at a time.
//!
//! There is one text for all processors, written for vectors of eight. They are arrays, which is the specification, or on x86-64
//! AVX2 registers where the processor has them. Unsafe code: what only those processors can do.

use super::upsample::Transposed;

/// Columns computed together: two AVX2 registers.
pub(super) const BLOCK: usize = 16;

/// Scores of sixteen columns, for each class.
pub(super) type Block = [f32; BLOCK];

/// Receives scores: those of row `y` and columns `x`, `x + step`, ... for each class, one row of `scores` a class. Columns
/// outside the picture (also below 0, as wrapped numbers) are to be left out.
pub(super) trait Sink {
    fn take<V: Eight>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]);
}

/// The rows of a result that one thread computes, each class upsampled by itself.
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

/// Eight numbers that are computed with together.
pub(crate) trait Eight: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; 8]) -> Self;
    fn store(self, values: &mut [f32; 8]);
    /// `self * factor + sum`
    fn multiply_add(self, factor: Self, sum: Self) -> Self;
    fn add(self, other: Self) -> Self;
    /// Asks for values that are about to be read.
    fn fetch(values: &[f32]);
    /// Where `self` is greater than `other`, what lies in `then`, elsewhere what lies in `otherwise`.
    fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self;
}

impl Eight for [f32; 8] {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; 8]
    }

    #[inline(always)]
    fn load(values: &[f32; 8]) -> Self {
        *values
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; 8]) {
        *values = self;
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + sum[lane])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    fn fetch(_: &[f32]) {}

    #[inline(always)]
    fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { then[lane] } else { otherwise[lane] })
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm256_add_ps, _mm256_blendv_ps, _mm256_cmp_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{Eight, Work};

    // Used in `run` alone, which is only called where the processor has AVX2 and FMA.
    impl Eight for __m256 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        fn load(values: &[f32; 8]) -> Self {
            // SAFETY: the processor has AVX, and there are eight values.
            unsafe { _mm256_loadu_ps(values.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, values: &mut [f32; 8]) {
            // SAFETY: the processor has AVX, and there is room for eight values.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: the processor has FMA.
            unsafe { _mm256_fmadd_ps(self, factor, sum) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        fn fetch(values: &[f32]) {
            for line in values.chunks(16) {
                // SAFETY: fetching is allowed at any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
            }
        }

        #[inline(always)]
        fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) }
        }
    }

    /// [`super::Work::by`] with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run(work: impl Work) {
        work.by::<__m256>();
    }
}

/// Something to compute with vectors of eight.
pub(crate) trait Work {
    fn by<V: Eight>(self);
}

/// Computes with the best vectors that this processor has.
pub(crate) fn run(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { avx2::run(work) };
    }
    work.by::<[f32; 8]>();
}

/// A transposed convolution of each class by itself. Row y of the result, with p = s / 2, meets input rows i and i - 1
/// where y + p = i s + r, by kernel rows r and r + s; columns likewise, so that outputs x = j s + phase - p share their
/// weights. The sum runs over four shifted rows of each class. Rows of one r come one after the other, so that their
/// weights are read once.
#[inline(always)]
pub(super) fn separate<V: Eight, S: Sink>(job: &Job<'_>, block: &mut [Block], sink: &mut S) {
    let Job { convolution, padded, columns, size: (height, width), ref rows } = *job;
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
                    // The border makes row i - 1 of the input row i of the padded one.
                    let place = i * columns + start;
                    let inputs = Inputs { padded, plane: (height + 2) * columns, place, columns, taps, bias };
                    upsample::<V>(&inputs, block);
                    sink.take::<V>(y, (start * stride + phase).wrapping_sub(half), stride, block);
                }
            }
        }
    }
}

/// What sixteen columns of the result are computed from.
struct Inputs<'a> {
    /// The low-resolution scores of all classes, `plane` values each, in rows of `columns`.
    padded: &'a [f32],
    plane: usize,
    columns: usize,
    /// Where in a plane the upper left of the four shifted rows starts.
    place: usize,
    /// The weights of the four.
    taps: [&'a [f32]; 4],
    bias: &'a [f32],
}

/// Sixteen numbers from `start` on.
#[inline(always)]
fn load<V: Eight>(values: &[f32], start: usize) -> [V; 2] {
    let block: &Block = values[start..start + BLOCK].try_into().expect("a slice of sixteen");
    let (first, second) = block.split_at(8);
    [V::load(first.try_into().expect("eight")), V::load(second.try_into().expect("eight"))]
}

#[inline(always)]
fn store<V: Eight>(values: [V; 2], block: &mut Block) {
    let (first, second) = block.split_at_mut(8);
    values[0].store(first.try_into().expect("eight"));
    values[1].store(second.try_into().expect("eight"));
}

/// The four shifted rows that a block is made of: lower right, lower left, upper right, upper left.
#[inline(always)]
fn shifted<V: Eight>(plane: &[f32], place: usize, columns: usize) -> [[V; 2]; 4] {
    [load(plane, place + columns + 1), load(plane, place + columns), load(plane, place + 1), load(plane, place)]
}

/// The best score of each column, and its class; of equal scores the first.
#[inline(always)]
pub(super) fn best<V: Eight>(scores: &[Block]) -> (Block, Block) {
    let mut best: [V; 2] = load(&scores[0], 0);
    // Classes as numbers of the same width, so that one comparison serves both.
    let mut class = [V::splat(0.0); 2];
    for (index, scores) in scores.iter().enumerate().skip(1) {
        let (scores, index): ([V; 2], V) = (load(scores, 0), V::splat(index as f32));
        class = [scores[0].if_greater(best[0], index, class[0]), scores[1].if_greater(best[1], index, class[1])];
        best = [scores[0].if_greater(best[0], scores[0], best[0]), scores[1].if_greater(best[1], scores[1], best[1])];
    }
    let mut result = ([0.0; BLOCK], [0.0; BLOCK]);
    store(best, &mut result.0);
    store(class, &mut result.1);
    result
}

/// Each class from itself.
#[inline(always)]
fn upsample<V: Eight>(inputs: &Inputs<'_>, block: &mut [Block]) {
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
