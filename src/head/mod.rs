//! Upsampling and argmax: turns a network's scores into labels, block by block, in cache and on all
//! threads. The full-size score map (12.9 MB at 320 x 480 and 21 classes) is written to memory only
//! on request.

mod argmax;
mod kernel;
mod resample;
mod separate;
mod transposed;
mod upsample;
mod winograd;

use std::ops::Range;

use crate::{
    Result, Size,
    mask::{MaskData, Rules, Target},
    memory::set_length,
    pool::{Pool, Queue},
    resample::Axis,
    simd::F32x8,
    tiles::FinishedRows,
};
use argmax::{MaskPart, MaskParts, parts};
use kernel::{Block, Sink};
use resample::{Columns, LabelCounts, RowResampling, Scratch};
use upsample::{Bands, Grid, Prepared, RowsToInterpolate, ScoreRows};
pub(crate) use upsample::{NetworkOutput, Upsampling};

/// How the network's input relates to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The frame is at the top left; the rest is padding on the right and at the bottom.
    Crop,
    /// The input is the frame, resampled to another size.
    Resample,
}

/// The size of the network's input for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkingSize {
    pub(crate) size: Size,
    pub(crate) fit: Fit,
}

/// Sums of the scores of overlapping tiles, to which the scores of one are added: rows of classes x
/// `width`.
pub(crate) struct TileSums<'a> {
    pub(crate) sums: &'a mut [f32],
    pub(crate) width: usize,
    /// The tile's first column.
    pub(crate) left: usize,
}

/// Buffers that are kept between frames.
#[derive(Default)]
pub(crate) struct Workspace {
    prepared: Prepared,
    workers: Workers,
}

/// Tables and per-thread buffers that fill a mask.
#[derive(Default)]
struct Workers {
    vertical: Axis,
    horizontal: Axis,
    columns: Columns,
    threads: Vec<Scratch>,
}

impl Workspace {
    /// Computes the labels and the other requested outputs of a whole frame of size `frame`. `mask`
    /// must be prepared.
    pub(crate) fn label(
        &mut self,
        output: NetworkOutput<'_>,
        fit: Fit,
        frame: Size,
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let region = match fit {
            Fit::Crop => frame,
            Fit::Resample => output.size,
        };
        let are_small = || are_small(output.scores.data);
        // NaN would spread to other pixels here than in the upsampling: 0 times NaN is NaN.
        if target.rules.labels_only && region == mask.size && output.is_interpolated() && are_small() {
            let RowsToInterpolate { rows, height, grid } = self.prepared.rows_to_interpolate(output)?;
            target.rules.checks_scores = false;
            mask.pixels.fill(0);
            // Several parts per thread, so that no thread waits long for the last one.
            let bands = Bands { height: height.div_ceil(PARTS * pool.threads()), offset: 0 };
            let job = Resampling { rows: &rows, bands, done: 0..height, grid };
            return self.workers.resample(&job, mask, target, pool);
        }
        let rows = self.prepared.rows(output, pool)?;
        // The low-resolution scores are few enough to check in advance; full-size ones are checked
        // block by block.
        target.rules.checks_scores = rows.are_materialized() || !are_small();
        mask.pixels.fill(0);
        self.workers.fill(&rows, 0..region.height, region, mask, target, pool)
    }

    /// Adds the scores of a tile to the sums.
    pub(crate) fn add(&mut self, output: NetworkOutput<'_>, tile: TileSums<'_>, pool: &Pool) -> Result<()> {
        let TileSums { sums: band, width: band_width, left } = tile;
        let Workspace { prepared, workers: Workers { threads, .. } } = self;
        let rows = prepared.rows(output, pool)?;
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

    /// Labels the rows of the mask that the frame's rows `done` complete. `rows` are final scores
    /// at the width of the frame, whose size is `frame`; earlier rows have been labelled.
    pub(crate) fn finish(
        &mut self,
        rows: FinishedRows<'_>,
        done: Range<usize>,
        frame: Size,
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let rows = ScoreRows::materialized(rows, mask.classes, frame.width);
        target.rules.checks_scores = true;
        self.workers.fill(&rows, done, frame, mask, target, pool)
    }
}

impl Workers {
    /// Fills the rows of the mask that lie between score rows, of which `done` are the latest.
    /// `region` is the size that the mask covers.
    fn fill(
        &mut self,
        rows: &ScoreRows<'_>,
        done: Range<usize>,
        region: Size,
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        if region != mask.size {
            let grid = Grid::Resize { from: region, to: mask.size };
            let job = Resampling { rows, bands: rows.bands(), done, grid };
            return self.resample(&job, mask, target, pool);
        }
        let threads = &mut self.threads;
        prepare(threads, pool, mask.classes)?;
        let share = done.len().div_ceil(threads.len());
        each_part(
            mask,
            target,
            done,
            |start| start + share,
            threads,
            pool,
            |scratch, rules, part| {
                scratch.copy(rows, rules, part);
            },
        );
        Ok(())
    }

    /// Fills the rows of a mask of another size than the score rows.
    fn resample(
        &mut self,
        job: &Resampling<'_>,
        mask: &mut MaskData,
        target: &mut Target<'_>,
        pool: &Pool,
    ) -> Result<()> {
        let &Resampling { rows, bands, ref done, grid } = job;
        let Workers { vertical, horizontal, columns, threads } = self;
        prepare(threads, pool, mask.classes)?;
        match grid {
            Grid::Resize { from, to } => {
                vertical.prepare(from.height, to.height);
                horizontal.prepare(from.width, to.width);
            }
            Grid::Bordered { from, factor } => {
                vertical.prepare_bordered(from.height, factor);
                horizontal.prepare_bordered(from.width, factor);
            }
        }
        columns.prepare(horizontal);
        threads.iter_mut().try_for_each(|scratch| scratch.prepare_rows(rows, bands.height + 1))?;
        let vertical = vertical.taps();
        let known = |row: usize| vertical.partition_point(|tap| tap.second < row).min(mask.size.height);
        let resize = RowResampling { rows, vertical, columns };
        let lines = known(done.start)..known(done.end);
        // Each part depends on the rows of one band and the last row before it.
        let end = |line: usize| vertical.partition_point(|tap| tap.second < bands.end(vertical[line].second));
        each_part(mask, target, lines, end, threads, pool, |scratch, rules, part| {
            scratch.resample(&resize, rules, part);
        });
        Ok(())
    }
}

/// Parts of a mask per thread.
const PARTS: usize = 4;

/// Score rows, and how they are resampled.
struct Resampling<'a> {
    rows: &'a ScoreRows<'a>,
    /// Rows that are computed together.
    bands: Bands,
    /// The newest rows.
    done: Range<usize>,
    /// The mask's rows and columns are the first ones of its target.
    grid: Grid,
}

/// Whether all scores are finite, and small enough that no upsampling can overflow.
fn are_small(scores: &[f32]) -> bool {
    const LARGE: f32 = 1e30;
    // Chunks without an early exit are vectorized. Comparisons with NaN are false.
    scores.chunks(1024).all(|scores| scores.iter().fold(true, |small, score| small & (score.abs() < LARGE)))
}

/// Prepares one scratch buffer for each thread and resets its counts.
fn prepare(threads: &mut Vec<Scratch>, pool: &Pool, classes: usize) -> Result<()> {
    threads.resize_with(pool.threads(), Scratch::default);
    for scratch in threads {
        scratch.space.prepare(classes)?;
        set_length(&mut scratch.chosen, classes, "a block of scores")?;
        scratch.pixels = LabelCounts::default();
    }
    Ok(())
}

/// Fills the rows `lines` of a mask in parts on all threads, and adds up their counts. `end` maps
/// the first row of a part to its end.
fn each_part(
    mask: &mut MaskData,
    target: &mut Target<'_>,
    lines: Range<usize>,
    end: impl Fn(usize) -> usize + Sync + Send,
    threads: &mut [Scratch],
    pool: &Pool,
    fill: impl Fn(&mut Scratch, &Rules, &mut MaskPart<'_>) + Sync,
) {
    if lines.is_empty() {
        return;
    }
    let MaskParts { parts, rules, pixels, not_finite } = parts(mask, target, lines, end);
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

/// Adds the scores of a tile to sums.
struct Sum<'a> {
    sums: &'a mut [f32],
    /// The row of the tile that is the first row of the sums.
    first: usize,
    band_width: usize,
    /// The tile's first column in the sums, and its width.
    left: usize,
    tile_width: usize,
}

impl Sink for Sum<'_> {
    #[inline(always)]
    fn take<V: F32x8>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
        let length = scores.len() * self.band_width;
        let row = &mut self.sums[(y - self.first) * length..][..length];
        for (row, scores) in row.chunks_exact_mut(self.band_width).zip(scores) {
            // Columns right of the frame are padding and are skipped.
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
