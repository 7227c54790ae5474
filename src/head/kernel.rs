//! The inner loops of the head: sixteen columns of all classes at a time.
//!
//! There is one text for all processors, written for vectors of eight. They are arrays, which is the specification, or on
//! x86-64 AVX2 registers if the processor has them; `scripts/test.sh` runs the suites that compute with them on both.
//! Unsafe code: what only those processors can do. No closures around it: they would be compiled for the oldest processor,
//! and not become part of the loop.

use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Asks for the 64 bytes around this place, which may lie outside.
    fn fetch_bytes(bytes: &[u8], place: usize);
    /// `self * factor`
    fn multiply(self, factor: Self) -> Self;
    /// Where `self` is greater than `other`, what lies in `then`, elsewhere what lies in `otherwise`.
    fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// Whether that is so in every lane.
    fn all_greater(self, other: Self) -> bool;
    /// For each lane the one of `self` that `lanes`, 0 to 7, tells.
    fn pick(self, lanes: &[i32; 8]) -> Self;
    /// Whole numbers from 0 to 255 as bytes.
    fn bytes(numbers: [Self; 2]) -> [u8; BLOCK];
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
    fn fetch_bytes(_: &[u8], _: usize) {}

    #[inline(always)]
    fn multiply(self, factor: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane])
    }

    #[inline(always)]
    fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { then[lane] } else { otherwise[lane] })
    }

    #[inline(always)]
    fn all_greater(self, other: Self) -> bool {
        self.iter().zip(&other).all(|(one, other)| one > other)
    }

    #[inline(always)]
    fn pick(self, lanes: &[i32; 8]) -> Self {
        lanes.map(|lane| self[lane as usize & 7])
    }

    #[inline(always)]
    fn bytes(numbers: [Self; 2]) -> [u8; BLOCK] {
        std::array::from_fn(|lane| numbers[lane / 8][lane % 8] as u8)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _MM_HINT_T0, _MM_HINT_T1, _mm_packus_epi16, _mm_prefetch, _mm_storeu_si128, _mm256_add_ps,
        _mm256_blendv_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvttps_epi32, _mm256_extracti128_si256,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_movemask_ps, _mm256_mul_ps, _mm256_packs_epi32,
        _mm256_permute4x64_epi64, _mm256_permutevar8x32_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{BLOCK, Eight, Work};

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
        fn fetch_bytes(bytes: &[u8], place: usize) {
            // SAFETY: fetching is allowed at any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(place).cast()) };
        }

        #[inline(always)]
        fn multiply(self, factor: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_mul_ps(self, factor) }
        }

        #[inline(always)]
        fn if_greater(self, other: Self, then: Self, otherwise: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) }
        }

        #[inline(always)]
        fn all_greater(self, other: Self) -> bool {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) == 0xff }
        }

        #[inline(always)]
        fn pick(self, lanes: &[i32; 8]) -> Self {
            // SAFETY: the processor has AVX2, there are eight numbers, and of each only the three lowest bits count.
            unsafe { _mm256_permutevar8x32_ps(self, _mm256_loadu_si256(lanes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn bytes(numbers: [Self; 2]) -> [u8; BLOCK] {
            let mut bytes = [0; BLOCK];
            // SAFETY: the processor has AVX2, and there is room for sixteen bytes.
            unsafe {
                let words = _mm256_packs_epi32(_mm256_cvttps_epi32(numbers[0]), _mm256_cvttps_epi32(numbers[1]));
                // Packing goes by halves of a register; this puts the quarters in order.
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                let packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
            }
            bytes
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

/// Set by [`use_arrays`].
static ARRAYS: AtomicBool = AtomicBool::new(false);

/// Makes kernels ignore the processor's vectors from now on, in the whole process. For tests: they run on the arrays that
/// other processors use, too.
pub fn use_arrays() {
    ARRAYS.store(true, Ordering::Relaxed);
}

/// Computes with the best vectors that this processor has.
pub(crate) fn run(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    if !ARRAYS.load(Ordering::Relaxed)
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
    {
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
pub(super) fn store<V: Eight>(values: [V; 2], block: &mut Block) {
    let (first, second) = block.split_at_mut(8);
    values[0].store(first.try_into().expect("eight"));
    values[1].store(second.try_into().expect("eight"));
}

/// The four shifted rows that a block is made of: lower right, lower left, upper right, upper left.
#[inline(always)]
fn shifted<V: Eight>(plane: &[f32], place: usize, columns: usize) -> [[V; 2]; 4] {
    [load(plane, place + columns + 1), load(plane, place + columns), load(plane, place + 1), load(plane, place)]
}

/// The best of the scores that each column has been offered, and its place among them; of equal scores the first.
pub(super) struct Best<V> {
    score: [V; 2],
    /// Places as numbers of the same width, so that one comparison serves both.
    place: [V; 2],
    next: V,
}

impl<V: Eight> Best<V> {
    #[inline(always)]
    fn new(first: [V; 2]) -> Self {
        Best { next: V::splat(1.0), ..Best::new_as(V::splat(0.0), first) }
    }

    /// Scores from another place than the first.
    #[inline(always)]
    pub(super) fn new_as(place: V, scores: [V; 2]) -> Self {
        Best { score: scores, place: [place; 2], next: place }
    }

    #[inline(always)]
    fn offer(&mut self, scores: [V; 2]) {
        self.offer_as(self.next, scores);
        self.next = V::splat(1.0).multiply_add(V::splat(1.0), self.next);
    }

    /// Offers scores from another place than the next one.
    #[inline(always)]
    pub(super) fn offer_as(&mut self, place: V, scores: [V; 2]) {
        for (half, scores) in scores.into_iter().enumerate() {
            self.place[half] = scores.if_greater(self.score[half], place, self.place[half]);
            self.score[half] = scores.if_greater(self.score[half], scores, self.score[half]);
        }
    }

    /// The places.
    #[inline(always)]
    pub(super) fn places(&self) -> [u8; BLOCK] {
        V::bytes(self.place)
    }
}

/// The place of the best score of each column; of equal scores the first.
#[inline(always)]
pub(super) fn best<V: Eight>(scores: &[Block]) -> [u8; BLOCK] {
    best_of::<V>(scores).places()
}

#[inline(always)]
fn best_of<V: Eight>(scores: &[Block]) -> Best<V> {
    let mut best = Best::<V>::new(load(&scores[0], 0));
    for scores in &scores[1..] {
        best.offer(load(scores, 0));
    }
    best
}

/// The best and the second best score of each column, and the best one's place. Without a second it is far below.
#[inline(always)]
pub(super) fn best_two<V: Eight>(scores: &[Block]) -> (Block, Block, [u8; BLOCK]) {
    let mut best = Best::<V>::new(load(&scores[0], 0));
    let mut second = [V::splat(f32::NEG_INFINITY); 2];
    for scores in &scores[1..] {
        let scores: [V; 2] = load(scores, 0);
        for (half, scores) in scores.into_iter().enumerate() {
            let lower = scores.if_greater(best.score[half], best.score[half], scores);
            second[half] = lower.if_greater(second[half], lower, second[half]);
        }
        best.offer(scores);
    }
    let mut result = ([0.0; BLOCK], [0.0; BLOCK]);
    store(best.score, &mut result.0);
    store(second, &mut result.1);
    (result.0, result.1, best.places())
}

/// Which of sixteen columns have a score that is infinite or no number; `None` if none has.
#[inline(always)]
pub(super) fn not_finite<V: Eight>(scores: &[Block]) -> Option<[bool; BLOCK]> {
    // 0 times anything else is 0.
    let mut sum = [V::splat(0.0); 2];
    for scores in scores {
        let scores: [V; 2] = load(scores, 0);
        sum = [0, 1].map(|half: usize| scores[half].multiply_add(V::splat(0.0), sum[half]));
    }
    if sum.iter().all(|sum| V::splat(1.0).all_greater(*sum)) {
        return None;
    }
    let mut lanes = [0.0; BLOCK];
    store(sum, &mut lanes);
    Some(lanes.map(f32::is_nan))
}

/// Where sixteen columns of a resampled row lie among the columns of its source.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The leftmost and the rightmost column that count.
    pub(super) first: usize,
    pub(super) last: usize,
    /// For each half, the leftmost column that counts; the left and the right neighbour of each target counted from there, and their
    /// weights.
    pub(super) starts: [usize; 2],
    pub(super) left: [[i32; 8]; 2],
    pub(super) right: [[i32; 8]; 2],
    pub(super) near: [[f32; 8]; 2],
    pub(super) far: [[f32; 8]; 2],
}

/// How closely the sources of sixteen columns lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Within eight columns: the picture grows to more than twice its width.
    One,
    /// Those of each half do.
    Halves,
    /// Neither.
    Wide,
}

/// Sixteen columns between two rows of a class: first between the rows, then between columns, each as the sum of two products, so that
/// where one class is better than another in all four corners of a cell, rounding cannot make it worse inside.
#[inline(always)]
pub(super) fn between<V: Eight>(rows: [&[f32]; 2], weights: [V; 2], window: &Window, spread: Spread) -> [V; 2] {
    let starts = window.starts;
    match spread {
        Spread::One => {
            let sources = vertical(rows, weights, starts[0]);
            [horizontal(window, 0, sources), horizontal(window, 1, sources)]
        }
        Spread::Halves => {
            let sources = [vertical(rows, weights, starts[0]), vertical(rows, weights, starts[1])];
            [horizontal(window, 0, sources[0]), horizontal(window, 1, sources[1])]
        }
        Spread::Wide => [scattered(rows, weights, window, 0), scattered(rows, weights, window, 1)],
    }
}

/// Whether `other` is below `class` in all sources of a window, so that it is nowhere the best in it. What is said of sources that
/// lie far apart is no.
#[inline(always)]
pub(super) fn is_below<V: Eight>(other: [&[f32]; 2], class: [&[f32]; 2], window: &Window, spread: Spread) -> bool {
    match spread {
        Spread::One => is_below_from::<V>(other, class, window.starts[0]),
        Spread::Halves => {
            is_below_from::<V>(other, class, window.starts[0]) && is_below_from::<V>(other, class, window.starts[1])
        }
        Spread::Wide => false,
    }
}

/// The same for eight columns from `start` on.
#[inline(always)]
fn is_below_from<V: Eight>(other: [&[f32]; 2], class: [&[f32]; 2], start: usize) -> bool {
    eight::<V>(class[0], start).all_greater(eight(other[0], start))
        && eight::<V>(class[1], start).all_greater(eight(other[1], start))
}

/// Eight numbers from `start` on.
#[inline(always)]
fn eight<V: Eight>(values: &[f32], start: usize) -> V {
    V::load(values[start..start + 8].try_into().expect("a slice of eight"))
}

/// Eight columns from `start` on, between two rows.
#[inline(always)]
fn vertical<V: Eight>(rows: [&[f32]; 2], weights: [V; 2], start: usize) -> V {
    eight::<V>(rows[1], start).multiply_add(weights[1], eight::<V>(rows[0], start).multiply(weights[0]))
}

/// The eight targets of a half between its eight sources.
#[inline(always)]
fn horizontal<V: Eight>(window: &Window, half: usize, sources: V) -> V {
    let (left, right) = (sources.pick(&window.left[half]), sources.pick(&window.right[half]));
    right.multiply_add(V::load(&window.far[half]), left.multiply(V::load(&window.near[half])))
}

/// The eight targets of a half whose sources lie anywhere.
#[inline(always)]
fn scattered<V: Eight>(rows: [&[f32]; 2], weights: [V; 2], window: &Window, half: usize) -> V {
    // Upper left, lower left, upper right, lower right.
    let mut sources = [[0.0; 8]; 4];
    for (lane, (&left, &right)) in window.left[half].iter().zip(&window.right[half]).enumerate() {
        let (left, right) = (window.starts[half] + left as usize, window.starts[half] + right as usize);
        sources[0][lane] = rows[0][left];
        sources[1][lane] = rows[1][left];
        sources[2][lane] = rows[0][right];
        sources[3][lane] = rows[1][right];
    }
    let left = V::load(&sources[1]).multiply_add(weights[1], V::load(&sources[0]).multiply(weights[0]));
    let right = V::load(&sources[3]).multiply_add(weights[1], V::load(&sources[2]).multiply(weights[0]));
    right.multiply_add(V::load(&window.far[half]), left.multiply(V::load(&window.near[half])))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds out whether vectors are arrays: registers are aligned.
    struct AreArrays<'a>(&'a mut Option<bool>);

    impl Work for AreArrays<'_> {
        fn by<V: Eight>(self) {
            *self.0 = Some(align_of::<V>() == align_of::<f32>());
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_variable_for_tests_turns_the_processors_vectors_off() {
        let mut arrays = None;
        run(AreArrays(&mut arrays));
        let has_vectors = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
        assert_eq!(arrays, Some(!has_vectors || crate::arrays::are_asked_for()));
    }
}
