//! The inner loops of the head: sixteen columns of all classes at a time.
//!
//! Kernels are generic over the vectors of [`crate::simd`]. They do not wrap their bodies in
//! closures, which would not inherit the caller's target features.

use crate::simd::F32x8;

/// Columns computed together: two AVX2 registers.
pub(super) const BLOCK: usize = 16;

/// Scores of 16 columns of one class.
pub(super) type Block = [f32; BLOCK];

/// Receives the scores of row `y`, columns `x`, `x + step`, ...; `scores` has one block for each
/// class. Implementations skip columns outside the image, including negative ones, which have
/// wrapped around.
pub(super) trait Sink {
    fn take<V: F32x8>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]);
}

/// 16 values from `start` on.
#[inline(always)]
pub(super) fn load<V: F32x8>(values: &[f32], start: usize) -> [V; 2] {
    let block: &Block = values[start..start + BLOCK].try_into().expect("a slice of sixteen");
    let (first, second) = block.split_at(8);
    [V::load(first.try_into().expect("eight")), V::load(second.try_into().expect("eight"))]
}

#[inline(always)]
pub(super) fn store<V: F32x8>(values: [V; 2], block: &mut Block) {
    let (first, second) = block.split_at_mut(8);
    values[0].store(first.try_into().expect("eight"));
    values[1].store(second.try_into().expect("eight"));
}

/// The best score offered for each column so far, and its index; the first of equal scores wins.
pub(super) struct Best<V> {
    score: [V; 2],
    /// Indices as float32, so that one comparison selects both.
    place: [V; 2],
    next: V,
}

impl<V: F32x8> Best<V> {
    #[inline(always)]
    fn new(first: [V; 2]) -> Self {
        Best { next: V::splat(1.0), ..Best::new_as(V::splat(0.0), first) }
    }

    /// Starts with scores of index `place`.
    #[inline(always)]
    pub(super) fn new_as(place: V, scores: [V; 2]) -> Self {
        Best { score: scores, place: [place; 2], next: place }
    }

    #[inline(always)]
    fn offer(&mut self, scores: [V; 2]) {
        self.offer_as(self.next, scores);
        self.next = V::splat(1.0).multiply_add(V::splat(1.0), self.next);
    }

    /// Offers the scores of index `place`.
    #[inline(always)]
    pub(super) fn offer_as(&mut self, place: V, scores: [V; 2]) {
        for (half, scores) in scores.into_iter().enumerate() {
            self.place[half] = scores.select_gt(self.score[half], place, self.place[half]);
            self.score[half] = scores.select_gt(self.score[half], scores, self.score[half]);
        }
    }

    #[inline(always)]
    pub(super) fn places(&self) -> [u8; BLOCK] {
        V::bytes(self.place)
    }
}

/// The argmax of each column; the first of equal scores wins.
#[inline(always)]
pub(super) fn best<V: F32x8>(scores: &[Block]) -> [u8; BLOCK] {
    best_of::<V>(scores).places()
}

#[inline(always)]
fn best_of<V: F32x8>(scores: &[Block]) -> Best<V> {
    let mut best = Best::<V>::new(load(&scores[0], 0));
    for scores in &scores[1..] {
        best.offer(load(scores, 0));
    }
    best
}

/// The two best scores of each column.
pub(super) struct BestTwo {
    pub(super) best: Block,
    /// -infinity if there is a single class.
    pub(super) second: Block,
    /// The argmax.
    pub(super) places: [u8; BLOCK],
}

/// The best and the second best score of each column, and the argmax.
#[inline(always)]
pub(super) fn best_two<V: F32x8>(scores: &[Block]) -> BestTwo {
    let mut best = Best::<V>::new(load(&scores[0], 0));
    let mut second = [V::splat(f32::NEG_INFINITY); 2];
    for scores in &scores[1..] {
        let scores: [V; 2] = load(scores, 0);
        for (half, scores) in scores.into_iter().enumerate() {
            let lower = scores.select_gt(best.score[half], best.score[half], scores);
            second[half] = lower.select_gt(second[half], lower, second[half]);
        }
        best.offer(scores);
    }
    let mut result = BestTwo { best: [0.0; BLOCK], second: [0.0; BLOCK], places: best.places() };
    store(best.score, &mut result.best);
    store(second, &mut result.second);
    result
}

/// Which of 16 columns have an infinite or NaN score; `None` if all scores are finite.
#[inline(always)]
pub(super) fn not_finite<V: F32x8>(scores: &[Block]) -> Option<[bool; BLOCK]> {
    // 0 times a finite value is 0; 0 times infinity or NaN is NaN.
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

/// The positions of 16 columns of a resampled row among the columns of its source.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The leftmost and the rightmost source column with a weight.
    pub(super) first: usize,
    pub(super) last: usize,
    /// For each half: its leftmost source column, the left and right neighbour of each target
    /// relative to that column, and their weights.
    pub(super) starts: [usize; 2],
    pub(super) left: [[i32; 8]; 2],
    pub(super) right: [[i32; 8]; 2],
    pub(super) near: [[f32; 8]; 2],
    pub(super) far: [[f32; 8]; 2],
}

/// How far apart the source columns of 16 target columns lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// All lie within eight columns: the image grows to more than twice its width.
    One,
    /// Those of each half lie within eight columns.
    Halves,
    /// Farther apart.
    Wide,
}

/// 16 columns between two rows of a class. Interpolates between the rows first, then between
/// columns, each as a sum of two products: if one class beats another at all four corners of a
/// cell, rounding cannot reverse that inside the cell.
#[inline(always)]
pub(super) fn between<V: F32x8>(rows: [&[f32]; 2], weights: [V; 2], window: &Window, spread: Spread) -> [V; 2] {
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

/// Whether `class` beats `other` at all source pixels of a window, so that `other` cannot be the
/// argmax anywhere in it. Always false for `Spread::Wide`.
#[inline(always)]
pub(super) fn is_below<V: F32x8>(other: [&[f32]; 2], class: [&[f32]; 2], window: &Window, spread: Spread) -> bool {
    match spread {
        Spread::One => is_below_from::<V>(other, class, window.starts[0]),
        Spread::Halves => {
            is_below_from::<V>(other, class, window.starts[0]) && is_below_from::<V>(other, class, window.starts[1])
        }
        Spread::Wide => false,
    }
}

/// As [`is_below`], for eight source columns from `start` on.
#[inline(always)]
fn is_below_from<V: F32x8>(other: [&[f32]; 2], class: [&[f32]; 2], start: usize) -> bool {
    eight::<V>(class[0], start).all_greater(eight(other[0], start))
        && eight::<V>(class[1], start).all_greater(eight(other[1], start))
}

/// Eight values from `start` on.
#[inline(always)]
fn eight<V: F32x8>(values: &[f32], start: usize) -> V {
    V::load(values[start..start + 8].try_into().expect("a slice of eight"))
}

/// Eight columns from `start` on, interpolated between two rows.
#[inline(always)]
fn vertical<V: F32x8>(rows: [&[f32]; 2], weights: [V; 2], start: usize) -> V {
    eight::<V>(rows[1], start).multiply_add(weights[1], eight::<V>(rows[0], start).multiply(weights[0]))
}

/// The eight targets of a half, from its eight source columns.
#[inline(always)]
fn horizontal<V: F32x8>(window: &Window, half: usize, sources: V) -> V {
    let (left, right) = (sources.permute(&window.left[half]), sources.permute(&window.right[half]));
    right.multiply_add(V::load(&window.far[half]), left.multiply(V::load(&window.near[half])))
}

/// The eight targets of a half whose source columns lie anywhere.
#[inline(always)]
fn scattered<V: F32x8>(rows: [&[f32]; 2], weights: [V; 2], window: &Window, half: usize) -> V {
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
