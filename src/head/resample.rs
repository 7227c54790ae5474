//! Bilinear resampling of score rows to a mask of another size, computed only for blocks whose
//! argmax is not certain.
//!
//! Bilinear interpolation is a weighted mean of four neighbours with positive weights. So a class
//! that is the argmax at all source pixels of a block is the argmax throughout the block, which
//! then needs no computation; most of an image is like that. And a class beaten by one other class
//! at all source pixels cannot be the argmax and is skipped. The remaining blocks have few
//! candidates.

use std::ops::Range;

use super::{
    argmax::{Argmax, MaskPart, compete},
    kernel::{self, BLOCK, Best, Block, Sink, Spread, Window},
    upsample::{RowBuffers, ScoreRows},
};
use crate::{
    Result,
    mask::Rules,
    memory::set_length,
    resample::{Axis, Tap},
    simd::{self, F32x8, SimdOp},
};

/// Vectors of eight may read this many values past the end of a row.
const BEYOND: usize = 8;

/// The positions of the mask's columns among the columns of the scores.
pub(super) struct Columns {
    /// The [`Axis::key`] of the columns.
    key: (usize, usize, usize),
    windows: Vec<Window>,
    spread: Spread,
}

impl Default for Columns {
    fn default() -> Self {
        Columns { key: (0, 0, 0), windows: Vec::new(), spread: Spread::Wide }
    }
}

impl Columns {
    /// Prepares the columns for `axis`, unless they already are.
    pub(super) fn prepare(&mut self, axis: &Axis) {
        let taps = axis.taps();
        if self.key == axis.key() {
            return;
        }
        let fits = |columns| taps.chunks(columns).all(|taps| taps[taps.len() - 1].second - taps[0].first < 8);
        self.spread = match (fits(BLOCK), fits(BLOCK / 2)) {
            (true, _) => Spread::One,
            (_, true) => Spread::Halves,
            _ => Spread::Wide,
        };
        let spread = self.spread;
        self.windows.clear();
        self.windows.extend(taps.chunks(BLOCK).map(|taps| Window::new(taps, spread)));
        self.key = axis.key();
    }
}

impl Window {
    /// The window of up to 16 columns; lanes past the last one repeat it.
    fn new(taps: &[Tap], spread: Spread) -> Window {
        let tap = |lane: usize| taps[lane.min(taps.len() - 1)];
        let starts = match spread {
            Spread::One => [tap(0).first; 2],
            Spread::Halves | Spread::Wide => [tap(0).first, tap(8).first],
        };
        let halves = [0, 1].map(|half| std::array::from_fn::<Tap, 8, _>(|lane| tap(8 * half + lane)));
        let lanes =
            |column: fn(&Tap) -> usize| [0, 1].map(|half| halves[half].map(|tap| (column(&tap) - starts[half]) as i32));
        Window {
            first: tap(0).first,
            last: tap(BLOCK - 1).second,
            starts,
            left: lanes(|tap| tap.first),
            right: lanes(|tap| tap.second),
            near: halves.map(|taps| taps.map(|tap| 1.0 - tap.weight)),
            far: halves.map(|taps| taps.map(|tap| tap.weight)),
        }
    }
}

/// How score rows become rows of the mask.
pub(super) struct RowResampling<'a> {
    pub(super) rows: &'a ScoreRows<'a>,
    /// The two score rows that each row of the mask lies between.
    pub(super) vertical: &'a [Tap],
    pub(super) columns: &'a Columns,
}

/// The number of pixels of each label, and of pixels with scores that are not finite.
pub(super) struct LabelCounts {
    pub(super) labels: [u64; 256],
    pub(super) not_finite: u64,
}

impl Default for LabelCounts {
    fn default() -> Self {
        LabelCounts { labels: [0; 256], not_finite: 0 }
    }
}

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) space: RowBuffers,
    /// Buffer for the scores of the competing classes.
    pub(super) chosen: Vec<Block>,
    /// 16 columns of all classes.
    block: Vec<Block>,
    kept: BufferedRows,
    /// Pixel counts of each label.
    pub(super) pixels: LabelCounts,
}

/// Buffered score rows.
#[derive(Default)]
struct BufferedRows {
    /// The index of the first row.
    first: usize,
    width: usize,
    /// Rows x classes x (width + `BEYOND`).
    scores: Vec<f32>,
    /// The argmax of each column as an index into the competing classes; only used if labels are
    /// the only output.
    places: Vec<u8>,
    /// Whether any score is not finite; then the argmax between rows cannot be predicted.
    has_not_finite: bool,
}

/// One buffered row.
#[derive(Clone, Copy)]
struct BufferedRow<'a> {
    scores: &'a [f32],
    places: &'a [u8],
}

impl BufferedRows {
    fn row(&self, number: usize, classes: usize) -> BufferedRow<'_> {
        let (index, length) = (number - self.first, classes * (self.width + BEYOND));
        BufferedRow {
            scores: &self.scores[index * length..][..length],
            places: &self.places[index * self.width..][..self.width],
        }
    }
}

impl Scratch {
    /// Allocates `count` rows.
    pub(super) fn prepare_rows(&mut self, rows: &ScoreRows<'_>, count: usize) -> Result<()> {
        let Scratch { block, kept, .. } = self;
        kept.width = rows.width();
        set_length(block, rows.channels(), "a block of scores")?;
        set_length(&mut kept.scores, count * rows.channels() * (rows.width() + BEYOND), "rows of scores")?;
        set_length(&mut kept.places, count * rows.width(), "rows of scores")
    }

    /// Fills a part of the mask from score rows of the same size.
    pub(super) fn copy(&mut self, rows: &ScoreRows<'_>, rules: &Rules, part: &mut MaskPart<'_>) {
        let Scratch { space, chosen, pixels, .. } = self;
        let wanted = part.rows.start - rows.first..part.rows.end - rows.first;
        rows.compute(wanted, space, &mut Argmax { part, rules, pixels, chosen, top: rows.first });
    }

    /// Fills a part of the mask from score rows of another size.
    pub(super) fn resample(&mut self, resize: &RowResampling<'_>, rules: &Rules, part: &mut MaskPart<'_>) {
        let Scratch { space, chosen, block, kept, pixels } = self;
        let &RowResampling { rows, vertical, .. } = resize;
        let Range { mut start, end } = part.rows;
        kept.first = vertical[start].first;
        kept.has_not_finite = false;
        let wanted = kept.first - rows.first..vertical[end - 1].second + 1 - rows.first;
        rows.compute(wanted.clone(), space, &mut BufferSink { kept, top: wanted.start, rules, chosen });
        while start < end {
            let Tap { first, second, .. } = vertical[start];
            let next = (start..end).find(|&line| vertical[line].first != first).unwrap_or(end);
            simd::run(Between {
                rows: [kept.row(first, rows.channels()), kept.row(second, rows.channels())],
                lines: start..next,
                resize,
                foresees: rules.labels_only && !kept.has_not_finite,
                block,
                sink: &mut Argmax { part, rules, pixels, chosen, top: 0 },
            });
            start = next;
        }
    }
}

/// Writes score rows to the buffer.
struct BufferSink<'a> {
    kept: &'a mut BufferedRows,
    /// The index of the first buffered row among the rows it comes from.
    top: usize,
    rules: &'a Rules,
    chosen: &'a mut [Block],
}

impl Sink for BufferSink<'_> {
    #[inline(always)]
    fn take<V: F32x8>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
        let BufferedRows { width, scores: rows, places, has_not_finite, .. } = &mut *self.kept;
        *has_not_finite |= self.rules.checks_scores && kernel::not_finite::<V>(scores).is_some();
        let (width, row) = (*width, y - self.top);
        let length = scores.len() * (width + BEYOND);
        let planes = rows[row * length..][..length].chunks_exact_mut(width + BEYOND);
        for (plane, scores) in planes.zip(scores) {
            put(&mut plane[..width], x, step, scores);
        }
        if self.rules.labels_only {
            let best = kernel::best::<V>(compete(self.rules, scores, self.chosen));
            put(&mut places[row * width..][..width], x, step, &best);
        }
    }
}

/// Writes the columns `x`, `x + step`, ... that lie inside the row.
#[inline(always)]
fn put<T: Copy>(row: &mut [T], x: usize, step: usize, values: &[T; BLOCK]) {
    // Constant steps avoid a bounds check for each value.
    match step {
        1 => put_by::<T, 1>(row, x, values),
        8 => put_by::<T, 8>(row, x, values),
        16 => put_by::<T, 16>(row, x, values),
        32 => put_by::<T, 32>(row, x, values),
        64 => put_by::<T, 64>(row, x, values),
        _ => put_inside(row, x, step, values),
    }
}

#[inline(always)]
fn put_by<T: Copy, const STEP: usize>(row: &mut [T], x: usize, values: &[T; BLOCK]) {
    let Some(places) = row.get_mut(x..x.saturating_add((BLOCK - 1) * STEP + 1)) else {
        return put_inside(row, x, STEP, values);
    };
    for (lane, value) in values.iter().enumerate() {
        places[lane * STEP] = *value;
    }
}

/// As [`put_by`], skipping columns outside the row.
#[inline(always)]
fn put_inside<T: Copy>(row: &mut [T], x: usize, step: usize, values: &[T; BLOCK]) {
    for (lane, value) in values.iter().enumerate() {
        if let Some(place) = row.get_mut(x.wrapping_add(lane * step)) {
            *place = *value;
        }
    }
}

/// Rows of the mask that lie between the same two score rows.
struct Between<'a, 'b, 'c> {
    rows: [BufferedRow<'a>; 2],
    lines: Range<usize>,
    resize: &'a RowResampling<'a>,
    /// Whether the argmax of the two rows predicts the argmax between them.
    foresees: bool,
    block: &'a mut [Block],
    sink: &'b mut Argmax<'a, 'c>,
}

impl SimdOp for Between<'_, '_, '_> {
    #[inline(always)]
    fn eval<V: F32x8>(self) {
        let Columns { windows, spread, .. } = self.resize.columns;
        // A constant in each arm, so that the inner loops have no branches.
        match spread {
            Spread::One => self.columns::<V>(windows, Spread::One),
            Spread::Halves => self.columns::<V>(windows, Spread::Halves),
            Spread::Wide => self.columns::<V>(windows, Spread::Wide),
        }
    }
}

impl Between<'_, '_, '_> {
    #[inline(always)]
    fn columns<V: F32x8>(self, windows: &[Window], spread: Spread) {
        let Between { rows, lines, resize, foresees, block, sink } = self;
        let rules = sink.rules;
        for (window, x) in windows.iter().zip((0..).step_by(BLOCK)) {
            if foresees && let Some(place) = clear(rows, window) {
                let labels = [rules.label(place); BLOCK];
                for line in lines.clone() {
                    sink.part.put(line, x, 1, labels, sink.pixels);
                }
                continue;
            }
            let mut left = [(0, 0); 256];
            let left = if foresees { contenders::<V>(rows, window, spread, rules, &mut left) } else { &[] };
            for line in lines.clone() {
                let far = resize.vertical[line].weight;
                let weights = [V::splat(1.0 - far), V::splat(far)];
                if let Some((&(place, class), others)) = left.split_first() {
                    let scores = kernel::between(planes(rows, class), weights, window, spread);
                    let mut best = Best::<V>::new_as(V::splat(f32::from(place)), scores);
                    for &(place, class) in others {
                        let scores = kernel::between(planes(rows, class), weights, window, spread);
                        best.offer_as(V::splat(f32::from(place)), scores);
                    }
                    sink.part.put(line, x, 1, rules.labels(best.places()), sink.pixels);
                } else {
                    for (class, scores) in (0..=u8::MAX).zip(block.iter_mut()) {
                        kernel::store(kernel::between(planes(rows, class), weights, window, spread), scores);
                    }
                    sink.take::<V>(line, x, 1, block);
                }
            }
        }
    }
}

/// The planes of one class in two rows.
#[inline(always)]
fn planes<'a>(rows: [BufferedRow<'a>; 2], class: u8) -> [&'a [f32]; 2] {
    let plane = rows[0].places.len() + BEYOND;
    let start = usize::from(class) * plane;
    [&rows[0].scores[start..start + plane], &rows[1].scores[start..start + plane]]
}

/// The class that is the argmax at all source pixels of a window, if there is one.
#[inline(always)]
fn clear(rows: [BufferedRow<'_>; 2], window: &Window) -> Option<u8> {
    let places = window.first..=window.last;
    let (upper, lower) = (&rows[0].places[places.clone()], &rows[1].places[places]);
    let place = upper[0];
    let same = |places: &[u8]| places.iter().all(|&other| other == place);
    (same(upper) && same(lower)).then_some(place)
}

/// The classes that may be the argmax somewhere in a window, with their indices among the competing
/// classes, in ascending order. Never empty.
#[inline(always)]
fn contenders<'a, V: F32x8>(
    rows: [BufferedRow<'_>; 2],
    window: &Window,
    spread: Spread,
    rules: &Rules,
    left: &'a mut [(u8, u8); 256],
) -> &'a [(u8, u8)] {
    let competing = rules.competing();
    // The argmax classes of two corners are the ones most likely to beat the others.
    let corners = [rows[0].places[window.first], rows[1].places[window.last]];
    let above = [planes(rows, competing[usize::from(corners[0])]), planes(rows, competing[usize::from(corners[1])])];
    let mut count = 0;
    for (place, &class) in (0..=u8::MAX).zip(competing) {
        // A class never beats itself.
        let scores = planes(rows, class);
        let below = kernel::is_below::<V>(scores, above[0], window, spread)
            || kernel::is_below::<V>(scores, above[1], window, spread);
        if !below {
            left[count] = (place, class);
            count += 1;
        }
    }
    &left[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns between two rows, with vectors of type `V`.
    struct Mixed<'a> {
        rows: [&'a [f32]; 2],
        far: f32,
        columns: &'a Columns,
        result: &'a mut Vec<Block>,
    }

    impl SimdOp for Mixed<'_> {
        fn eval<V: F32x8>(self) {
            let weights = [V::splat(1.0 - self.far), V::splat(self.far)];
            for window in &self.columns.windows {
                let mut block = [0.0; BLOCK];
                kernel::store(kernel::between::<V>(self.rows, weights, window, self.columns.spread), &mut block);
                self.result.push(block);
            }
        }
    }

    #[test]
    fn fast_and_plain_vectors_agree_with_plain_arithmetic() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut spreads = Vec::new();
        for (from, to) in
            [(480, 1920), (480, 1000), (480, 640), (480, 480), (480, 200), (480, 33), (3, 100), (1, 17), (7, 1)]
        {
            let (mut axis, mut columns) = (Axis::default(), Columns::default());
            axis.prepare(from, to);
            columns.prepare(&axis);
            spreads.push(columns.spread);
            let rows: [Vec<f32>; 2] = [0, 1].map(|_| (0..from + BEYOND).map(|_| random()).collect());
            let (mut fast, mut plain) = (Vec::new(), Vec::new());
            let far = 0.3;
            let mixed = |result| Mixed { rows: [&rows[0], &rows[1]], far, columns: &columns, result };
            simd::run(mixed(&mut fast));
            mixed(&mut plain).eval::<[f32; 8]>();
            for (x, tap) in axis.taps().iter().enumerate() {
                let at = |column: usize| {
                    let [upper, lower] = [0, 1].map(|row: usize| f64::from(rows[row][column]));
                    upper + (lower - upper) * f64::from(far)
                };
                let truth = at(tap.first) + (at(tap.second) - at(tap.first)) * f64::from(tap.weight);
                for found in [fast[x / BLOCK][x % BLOCK], plain[x / BLOCK][x % BLOCK]] {
                    assert!(
                        (f64::from(found) - truth).abs() < 1e-6,
                        "{from} to {to}, column {x}: {found}, not {truth}"
                    );
                }
            }
        }
        assert!(
            [Spread::One, Spread::Halves, Spread::Wide].iter().all(|spread| spreads.contains(spread)),
            "{spreads:?}"
        );
    }

    /// The argmax of each column, with vectors of type `V`.
    struct Best16<'a>(&'a [Block], &'a mut ([u8; BLOCK], Block, Block));

    impl SimdOp for Best16<'_> {
        fn eval<V: F32x8>(self) {
            let kernel::BestTwo { best, second, places } = kernel::best_two::<V>(self.0);
            assert_eq!(places, kernel::best::<V>(self.0));
            *self.1 = (places, best, second);
        }
    }

    #[test]
    fn the_best_is_the_first_of_the_highest() {
        // 255 classes of whole numbers, with many ties; indices above 127 must not become negative
        // bytes.
        for classes in [1usize, 2, 21, 255] {
            let scores: Vec<Block> = (0..classes)
                .map(|class| std::array::from_fn(|lane| ((class * 7919 + lane * 31) % 97) as f32))
                .collect();
            let (mut fast, mut plain) = (Default::default(), Default::default());
            simd::run(Best16(&scores, &mut fast));
            Best16(&scores, &mut plain).eval::<[f32; 8]>();
            assert_eq!(fast, plain);
            let (places, best, second) = fast;
            for (lane, (place, (best, second))) in places.into_iter().zip(best.into_iter().zip(second)).enumerate() {
                let column: Vec<f32> = scores.iter().map(|scores| scores[lane]).collect();
                let mut ranked: Vec<usize> = (0..classes).collect();
                ranked.sort_by(|&a, &b| column[b].total_cmp(&column[a]));
                assert_eq!(usize::from(place), ranked[0]);
                assert_eq!(best, column[ranked[0]]);
                assert_eq!(second, ranked.get(1).map_or(f32::NEG_INFINITY, |&class| column[class]));
            }
        }
    }
}
