//! From a network's scores to labels: upsampling and argmax block by block, in cache, on all threads, so that the full-size
//! score map (12.9 MB at 320 x 480 and 21 classes) is never written to memory unless somebody asks for it.

mod argmax;
mod kernel;
mod resample;
mod upsample;
mod winograd;

use std::ops::Range;

use crate::{
    Result,
    mask::{MaskData, Rules, Target},
    memory::set_length,
    pool::{Pool, Queue},
    resample::Axis,
    runtime::Scores,
    simd::F32x8,
};
use argmax::{Part, parts};
use kernel::{Block, Sink};
use resample::{Columns, Counts, Resize, Scratch};
pub(crate) use upsample::Upsampling;
use upsample::{Prepared, Rows};

/// How rows at the size of the network's input become rows at the frame's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The frame lies at the top left; what is right of it and below is padding.
    Crop,
    /// The whole was resampled from the frame's size.
    Resample,
}

/// What the head keeps between frames.
#[derive(Default)]
pub(crate) struct Workspace {
    prepared: Prepared,
    workers: Workers,
}

/// Tables and threads that fill a mask.
#[derive(Default)]
struct Workers {
    vertical: Axis,
    horizontal: Axis,
    columns: Columns,
    threads: Vec<Scratch>,
}

impl Workspace {
    /// Labels, and what else was asked for, of a whole frame. `size` is the height and width of the network's input, `frame`
    /// those of the frame; `mask` is prepared.
    #[expect(clippy::too_many_arguments, reason = "scores, frame and mask are each two of them")]
    pub(crate) fn label(
        &mut self,
        upsampling: &Upsampling,
        scores: Scores<'_>,
        size: (usize, usize),
        (frame, fit): ((usize, usize), Fit),
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let rows = self.prepared.rows(upsampling, scores, size, pool)?;
        // Few scores are looked at beforehand, and as many as there are pixels only block by block.
        target.rules.checks_scores = rows.are_there() || !are_small(scores.data);
        let region = match fit {
            Fit::Crop => frame,
            Fit::Resample => size,
        };
        mask.pixels.fill(0);
        self.workers.fill(&rows, (0, 0..region.0), region, mask, target, pool)
    }

    /// Adds the scores of a tile to `band`, whose rows are classes x `band_width` each, from column `left` on.
    pub(crate) fn add(
        &mut self,
        upsampling: &Upsampling,
        scores: Scores<'_>,
        size: (usize, usize),
        band: &mut [f32],
        (band_width, left): (usize, usize),
        pool: &Pool,
    ) -> Result<()> {
        let Workspace { prepared, workers: Workers { threads, .. } } = self;
        let rows = prepared.rows(upsampling, scores, size, pool)?;
        prepare(threads, pool, rows.channels())?;
        let length = rows.channels() * band_width;
        let share = (band.len() / length).div_ceil(pool.threads()).max(1);
        let parts = Queue::new(band.chunks_mut(share * length).enumerate());
        let scratches = Queue::new(threads.iter_mut());
        pool.run(&|| {
            let Some(scratch) = scratches.next() else { return };
            while let Some((index, sums)) = parts.next() {
                let first = index * share;
                let lines = first..first + sums.len() / length;
                let mut sink = Sum { sums, first, band_width, left, tile_width: rows.width() };
                rows.compute(lines, &mut scratch.space, &mut sink);
            }
        });
        Ok(())
    }

    /// Labels what becomes known with the frame's rows `done`. `scores` are finished ones of the whole frame's width, rows of
    /// classes x width, from row `base` on; earlier rows were labelled before. `frame` is the frame's height and width.
    pub(crate) fn finish(
        &mut self,
        (scores, base): (&[f32], usize),
        done: Range<usize>,
        frame: (usize, usize),
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let rows = Rows::there(scores, mask.classes, frame.1);
        target.rules.checks_scores = true;
        self.workers.fill(&rows, (base, done), frame, mask, target, pool)
    }
}

impl Workers {
    /// Fills the lines of the mask that lie between rows of which `done` are the last ones known; `base` is the number of
    /// the first of `rows`, and `region` the height and width that become the mask's.
    fn fill(
        &mut self,
        rows: &Rows<'_>,
        (base, done): (usize, Range<usize>),
        region: (usize, usize),
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let Workers { vertical, horizontal, columns, threads } = self;
        prepare(threads, pool, mask.classes)?;
        if region == (mask.height, mask.width) {
            let share = done.len().div_ceil(threads.len());
            each_part(
                mask,
                target,
                done,
                |start| start + share,
                threads,
                pool,
                |scratch, rules, part| {
                    scratch.copy(rows, base, rules, part);
                },
            );
            return Ok(());
        }
        vertical.prepare(region.0, mask.height);
        horizontal.prepare(region.1, mask.width);
        columns.prepare(horizontal, region.1);
        let bands = rows.bands();
        threads.iter_mut().try_for_each(|scratch| scratch.prepare_rows(rows, bands.height + 1))?;
        let vertical = vertical.taps();
        let known = |row: usize| vertical.partition_point(|tap| tap.second < row);
        let resize = Resize { rows, base, vertical, columns };
        // Each part is what lies between the rows of one band, and the last row before.
        let end = |line: usize| known(bands.end(vertical[line].second));
        each_part(mask, target, known(done.start)..known(done.end), end, threads, pool, |scratch, rules, part| {
            scratch.resample(&resize, rules, part);
        });
        Ok(())
    }
}

/// Whether scores are finite, and so small that no upsampling makes them infinite.
fn are_small(scores: &[f32]) -> bool {
    const LARGE: f32 = 1e30;
    // Chunks without an early end are compared several at once. NaN is not less than anything.
    scores.chunks(1024).all(|scores| scores.iter().fold(true, |small, score| small & (score.abs() < LARGE)))
}

/// One scratch for each thread, with nothing counted.
fn prepare(threads: &mut Vec<Scratch>, pool: &Pool, classes: usize) -> Result<()> {
    threads.resize_with(pool.threads(), Scratch::default);
    for scratch in threads {
        scratch.space.prepare(classes)?;
        set_length(&mut scratch.chosen, classes, "a block of scores")?;
        scratch.pixels = Counts::default();
    }
    Ok(())
}

/// Fills the lines `lines` of a mask on all threads in parts, of which `end` tells the end for a start, and adds up what they
/// counted.
fn each_part(
    mask: &mut MaskData,
    target: &mut Target<'_>,
    lines: Range<usize>,
    end: impl Fn(usize) -> usize + Sync + Send,
    threads: &mut [Scratch],
    pool: &Pool,
    fill: impl Fn(&mut Scratch, &Rules, &mut Part<'_>) + Sync,
) {
    if lines.is_empty() {
        return;
    }
    let (parts, rules, (pixels, not_finite)) = parts(mask, target, lines, end);
    let parts = Queue::new(parts);
    {
        let scratches = Queue::new(threads.iter_mut());
        pool.run(&|| {
            let Some(scratch) = scratches.next() else { return };
            while let Some(mut part) = parts.next() {
                fill(scratch, rules, &mut part);
            }
        });
    }
    for scratch in threads {
        pixels.iter_mut().zip(&scratch.pixels.labels).for_each(|(sum, count)| *sum += count);
        *not_finite += scratch.pixels.not_finite;
    }
}

/// Adds the scores of a tile to rows of sums.
struct Sum<'a> {
    sums: &'a mut [f32],
    /// The tile's row that is the first of the sums.
    first: usize,
    band_width: usize,
    /// The tile's first column among the sums, and its width.
    left: usize,
    tile_width: usize,
}

impl Sink for Sum<'_> {
    #[inline(always)]
    fn take<V: F32x8>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
        let length = scores.len() * self.band_width;
        let row = &mut self.sums[(y - self.first) * length..][..length];
        for (row, scores) in row.chunks_exact_mut(self.band_width).zip(scores) {
            // What a padded tile computes right of the frame has no place.
            let row = &mut row[self.left..];
            let width = row.len().min(self.tile_width);
            for (lane, score) in scores.iter().enumerate() {
                if let Some(sum) = row[..width].get_mut(x.wrapping_add(lane * step)) {
                    *sum += score;
                }
            }
        }
    }
}
