//! A learned transposed convolution by minimal filtering (Winograd 1980; Lavin and Gray 2016,
//! section 4.1).
//!
//! For a transposed convolution with kernel 2 s and stride s, the results of one phase (row r and
//! column c within a stride) are a convolution of the low-resolution scores with a kernel of 2 x 2.
//! A tile of 2 x 2 neighbouring results therefore takes 16 products for each pair of classes. F(2 x
//! 2, 2 x 2) reduces them to nine. Along one side, with scores d and weights h:
//!
//! ```text
//! m0 = (d0 - d1) h0    m1 = d1 (h0 + h1)    m2 = (d2 - d1) h1    y0 = m0 + m1    y1 = m1 + m2
//! ```
//!
//! and the same along the other side. All phases share the transformed scores.

use std::ops::Range;

use super::{
    kernel::{BLOCK, Block, Sink},
    transposed::Transposed,
};
use crate::{
    Result, Size,
    memory::set_length,
    pool::{Pool, Queue},
    scores::Scores,
    simd::F32x8,
};

/// Tiles computed together in one vector.
const LANES: usize = 8;

/// The maximum number of sums computed together: 12 of 16 registers.
const GROUP: usize = 12;

/// Products per tile and pair of classes.
const PRODUCTS: usize = 9;

/// Low-resolution scores, transformed for the products.
#[derive(Default)]
pub(super) struct Tiles {
    /// For each eight tiles, in row-major order of tiles: products x classes x eight.
    values: Vec<f32>,
    classes: usize,
    /// The number of tiles along each side.
    rows: usize,
    columns: usize,
    /// Height of the low-resolution scores.
    height: usize,
}

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct WinogradBuffers {
    /// The transformed weights of one phase: products x from class x to class.
    filters: Vec<f32>,
    /// The four results of 16 tiles, for all classes each: upper left, upper right, lower left,
    /// lower right.
    results: Vec<Block>,
}

impl WinogradBuffers {
    pub(super) fn prepare(&mut self, classes: usize) -> Result<()> {
        set_length(&mut self.filters, PRODUCTS * classes * classes, "the upsampling's filters")?;
        set_length(&mut self.results, 4 * classes, "a block of scores")
    }
}

impl Tiles {
    /// Transforms `scores`, padded with zeros.
    pub(super) fn prepare(&mut self, scores: Scores<'_>, pool: &Pool) -> Result<()> {
        let Scores { channels, size: Size { width, height }, .. } = scores;
        // Scores of height x width yield height + 1 rows and width + 1 columns of one phase.
        let (rows, columns) = ((height + 1).div_ceil(2), (width + 1).div_ceil(2));
        let eights = (rows * columns).div_ceil(LANES);
        let length = PRODUCTS * channels * LANES;
        set_length(&mut self.values, eights * length, "transformed scores")?;
        (self.classes, self.rows, self.columns, self.height) = (channels, rows, columns, height);
        let share = eights.div_ceil(pool.threads());
        let parts = Queue::new(self.values.chunks_mut(share * length).enumerate());
        pool.run(&|| {
            while let Some((part, values)) = parts.next() {
                for (index, values) in values.chunks_exact_mut(length).enumerate() {
                    transform(scores, (part * share + index) * LANES, columns, values);
                }
            }
        });
        Ok(())
    }

    /// One of the nine factors of eight tiles, for each class.
    #[inline(always)]
    fn values(&self, eight: usize, product: usize) -> &[[f32; LANES]] {
        let length = self.classes * LANES;
        self.values[(eight * PRODUCTS + product) * length..][..length].as_chunks().0
    }
}

/// The nine factors of eight tiles from tile `first` on, for each class.
fn transform(scores: Scores<'_>, first: usize, columns: usize, values: &mut [f32]) {
    let Scores { channels, size: Size { width, height }, data } = scores;
    for lane in 0..LANES {
        let (row, column) = ((first + lane) / columns, (first + lane) % columns);
        // The tile's scores begin one row above and one column left of it.
        let (top, left) = (2 * row, 2 * column);
        for (class, plane) in data.chunks_exact(height * width).enumerate() {
            let line = |down: usize| {
                let row =
                    (top + down).checked_sub(1).and_then(|y| plane.get(y * width..(y + 1) * width)).unwrap_or(&[]);
                let d: [f32; 3] = std::array::from_fn(|right| {
                    (left + right).checked_sub(1).and_then(|x| row.get(x)).copied().unwrap_or(0.0)
                });
                [d[0] - d[1], d[1], d[2] - d[1]]
            };
            let lines = [line(0), line(1), line(2)];
            for column in 0..3 {
                let middle = lines[1][column];
                for (row, value) in
                    [lines[0][column] - middle, middle, lines[2][column] - middle].into_iter().enumerate()
                {
                    values[((row * 3 + column) * channels + class) * LANES + lane] = value;
                }
            }
        }
    }
}

/// Rows of a transposed convolution's result that one thread computes.
pub(super) struct DenseRows<'a> {
    pub(super) convolution: &'a Transposed,
    pub(super) tiles: &'a Tiles,
    /// The rows of the result.
    pub(super) rows: Range<usize>,
}

/// Computes the rows of a job and passes them to `sink`. The outer loops run over phases, so that
/// their weights are read once.
#[inline(always)]
pub(super) fn compute<V: F32x8, S: Sink>(job: &DenseRows<'_>, space: &mut WinogradBuffers, sink: &mut S) {
    let DenseRows { convolution, tiles, rows } = job;
    let WinogradBuffers { filters, results } = space;
    let (stride, half) = (convolution.stride, convolution.stride / 2);
    for r in 0..stride {
        // The rows i of this phase for which i stride + r - half is a row of the job.
        let phase_row = |y: usize| (y + half).saturating_sub(r).div_ceil(stride);
        let lines = phase_row(rows.start)..phase_row(rows.end).min(tiles.height + 1);
        if lines.is_empty() {
            continue;
        }
        let tile_rows = lines.start / 2..lines.end.div_ceil(2);
        let eights = tile_rows.start * tiles.columns / LANES..(tile_rows.end * tiles.columns).div_ceil(LANES);
        for phase in 0..stride {
            combine(convolution.taps(r, phase), filters);
            if phase + 1 < stride {
                // A small image is finished before the hardware prefetcher would have fetched the
                // next phase's weights.
                convolution.taps(r, phase + 1).into_iter().flatten().for_each(V::prefetch);
            }
            for eight in eights.clone().step_by(2) {
                if eight + 1 < eights.end {
                    multiply::<V, 2>(tiles, eight, filters, &convolution.bias, results);
                } else {
                    multiply::<V, 1>(tiles, eight, filters, &convolution.bias, results);
                }
                let first = eight * LANES;
                let last = (first + BLOCK - 1) / tiles.columns;
                for tile_row in (first / tiles.columns).max(tile_rows.start)..(last + 1).min(tile_rows.end) {
                    // Tiles of other rows are left or right of the image for this row.
                    let column = first.wrapping_sub(tile_row * tiles.columns).wrapping_mul(2);
                    for (index, scores) in results.chunks_exact(tiles.classes).enumerate() {
                        let (down, right) = (index / 2, index % 2);
                        let line = 2 * tile_row + down;
                        if lines.contains(&line) {
                            let x =
                                column.wrapping_add(right).wrapping_mul(stride).wrapping_add(phase).wrapping_sub(half);
                            sink.take::<V>(line * stride + r - half, x, 2 * stride, scores);
                        }
                    }
                }
            }
        }
    }
}

/// The nine combinations of a phase's four weights, for each pair of classes.
#[inline(always)]
fn combine(taps: [[&[f32]; 2]; 2], filters: &mut [f32]) {
    let count = filters.len() / PRODUCTS;
    let (above, others) = filters.split_at_mut(3 * count);
    let (middle, below) = others.split_at_mut(3 * count);
    for ([left, right], filters) in taps.into_iter().zip([&mut *above, &mut *below]) {
        let (first, others) = filters.split_at_mut(count);
        let (sums, last) = others.split_at_mut(count);
        first.copy_from_slice(left);
        last.copy_from_slice(right);
        add(left, right, sums);
    }
    add(above, below, middle);
}

#[inline(always)]
fn add(first: &[f32], second: &[f32], sums: &mut [f32]) {
    for (sum, (first, second)) in sums.iter_mut().zip(first.iter().zip(second)) {
        *sum = first + second;
    }
}

/// The four results of `8 * L` tiles, for all classes.
#[inline(always)]
fn multiply<V: F32x8, const L: usize>(
    tiles: &Tiles,
    eight: usize,
    filters: &[f32],
    bias: &[f32],
    results: &mut [Block],
) {
    let classes = bias.len();
    let groups = classes.div_ceil(GROUP / L);
    for group in 0..groups {
        // Groups of nearly equal size: in a small one, dependent sums leave the processor idle.
        let (to, end) = (classes * group / groups, classes * (group + 1) / groups);
        let work = Group { tiles, eight, filters, bias, to };
        match end - to {
            1 => work.multiply::<V, 1, L>(results),
            2 => work.multiply::<V, 2, L>(results),
            3 => work.multiply::<V, 3, L>(results),
            4 => work.multiply::<V, 4, L>(results),
            5 => work.multiply::<V, 5, L>(results),
            6 => work.multiply::<V, 6, L>(results),
            // Groups of more than six use single vectors.
            7 => work.multiply::<V, 7, 1>(results),
            8 => work.multiply::<V, 8, 1>(results),
            9 => work.multiply::<V, 9, 1>(results),
            10 => work.multiply::<V, 10, 1>(results),
            11 => work.multiply::<V, 11, 1>(results),
            _ => work.multiply::<V, 12, 1>(results),
        }
    }
}

/// A group of output classes for some tiles.
struct Group<'a> {
    tiles: &'a Tiles,
    eight: usize,
    filters: &'a [f32],
    bias: &'a [f32],
    /// The first class of the group.
    to: usize,
}

impl Group<'_> {
    /// Computes `N` classes from all classes.
    #[inline(always)]
    fn multiply<V: F32x8, const N: usize, const L: usize>(&self, results: &mut [Block]) {
        let &Group { tiles, eight, filters, bias, to } = self;
        let classes = bias.len();
        let mut products = [[[V::splat(0.0); PRODUCTS]; L]; N];
        for product in 0..PRODUCTS {
            let mut totals = [[V::splat(0.0); L]; N];
            if product == PRODUCTS / 2 {
                // The middle product is part of all four results.
                for index in 0..N {
                    totals[index] = [V::splat(bias[to + index]); L];
                }
            }
            let (first, second) = (tiles.values(eight, product), tiles.values(eight + L - 1, product));
            let filters = filters[product * classes * classes..][..classes * classes].chunks_exact(classes);
            for ((first, second), filter) in first.iter().zip(second).zip(filters) {
                let mut values = [V::load(first); L];
                values[L - 1] = V::load(second);
                let filter: &[f32; N] = filter[to..to + N].try_into().expect("a slice of N");
                for index in 0..N {
                    let weight = V::splat(filter[index]);
                    for lane in 0..L {
                        totals[index][lane] = weight.multiply_add(values[lane], totals[index][lane]);
                    }
                }
            }
            for (products, totals) in products.iter_mut().zip(totals) {
                for (products, total) in products.iter_mut().zip(totals) {
                    products[product] = total;
                }
            }
        }
        for (index, products) in products.iter().enumerate() {
            for (lane, m) in products.iter().enumerate() {
                for down in 0..2 {
                    let (upper, lower) = (3 * down, 3 * (down + 1));
                    let left = m[upper].add(m[lower]);
                    let middle = m[upper + 1].add(m[lower + 1]);
                    let right = m[upper + 2].add(m[lower + 2]);
                    let row = 2 * down * classes + to + index;
                    left.add(middle).store(&mut results[row].as_chunks_mut().0[lane]);
                    middle.add(right).store(&mut results[row + classes].as_chunks_mut().0[lane]);
                }
            }
        }
    }
}
