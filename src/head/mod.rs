//! From a network's scores to labels: upsampling and argmax block by block, in cache, on all threads, so that the full-size
//! score map (12.9 MB at 320 x 480 and 21 classes) is never written to memory unless somebody asks for it.

mod argmax;
pub(crate) mod kernel;
mod upsample;
mod winograd;

use std::ops::Range;

use crate::{
    Result,
    mask::{MaskData, resize},
    pool::{Pool, Queue},
    resample::{Axis, Tap},
    runtime::Scores,
};
use argmax::{Argmax, Part, parts};
use kernel::{Block, Eight, Sink};
pub(crate) use upsample::Upsampling;
use upsample::{Prepared, Rows, Space};

/// How rows at the size of the network's input become rows at the frame's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The frame lies at the top left; what is right of it and below is padding.
    Crop,
    /// The whole was resampled from the frame's size, and is resampled back (bilinear).
    Resample,
}

/// What the head keeps between frames.
#[derive(Default)]
pub(crate) struct Workspace {
    prepared: Prepared,
    vertical: Axis,
    horizontal: Axis,
    threads: Vec<Scratch>,
}

/// What one thread keeps between rows.
#[derive(Default)]
struct Scratch {
    space: Space,
    /// Two rows at the size of the network's input, and which ones they are.
    rows: [Vec<f32>; 2],
    numbers: [Option<usize>; 2],
    /// A row at the frame's size.
    resampled: Vec<f32>,
    /// The pixels of each class.
    pixels: Vec<u64>,
}

impl Workspace {
    /// Labels, and what else was asked for, of a whole frame. `size` is the height and width of the network's input;
    /// `mask` is prepared for the frame.
    pub(crate) fn label(
        &mut self,
        upsampling: &Upsampling,
        scores: Scores<'_>,
        size: (usize, usize),
        fit: Fit,
        mask: &mut MaskData,
        pool: &Pool,
    ) -> Result<()> {
        let Workspace { prepared, vertical, horizontal, threads } = self;
        let rows = prepared.rows(upsampling, scores, size, pool)?;
        prepare(threads, pool, mask.classes)?;
        if fit == Fit::Resample {
            vertical.prepare(size.0, mask.height);
            horizontal.prepare(size.1, mask.width);
            for scratch in &mut *threads {
                scratch.rows.iter_mut().try_for_each(|row| resize(row, rows.length()))?;
                scratch.numbers = [None, None];
                resize(&mut scratch.resampled, mask.classes * mask.width)?;
            }
        }
        mask.pixels.fill(0);
        let (vertical, horizontal) = (vertical.taps(), horizontal.taps());
        each_part(mask, 0..mask.height, threads, pool, |scratch, part| match fit {
            Fit::Crop => scratch.crop(&rows, part),
            Fit::Resample => scratch.resample(&rows, vertical, horizontal, part),
        });
        Ok(())
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
        let Workspace { prepared, threads, .. } = self;
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

    /// Labels the frame's rows `lines` from finished scores, rows of classes x width.
    pub(crate) fn finish(
        &mut self,
        scores: &[f32],
        lines: Range<usize>,
        mask: &mut MaskData,
        pool: &Pool,
    ) -> Result<()> {
        prepare(&mut self.threads, pool, mask.classes)?;
        let rows = Rows::there(scores, mask.classes, mask.width);
        let top = lines.start;
        each_part(mask, lines, &mut self.threads, pool, |scratch, part| {
            let wanted = part.rows.start - top..part.rows.end - top;
            rows.compute(wanted, &mut scratch.space, &mut Argmax { part, pixels: &mut scratch.pixels, top });
        });
        Ok(())
    }
}

/// One scratch for each thread, with nothing counted.
fn prepare(threads: &mut Vec<Scratch>, pool: &Pool, classes: usize) -> Result<()> {
    threads.resize_with(pool.threads(), Scratch::default);
    for scratch in threads {
        scratch.space.prepare(classes)?;
        resize(&mut scratch.pixels, classes)?;
        scratch.pixels.fill(0);
    }
    Ok(())
}

/// Fills the rows `lines` of a mask, each thread its share, and adds up what they counted.
fn each_part(
    mask: &mut MaskData,
    lines: Range<usize>,
    threads: &mut [Scratch],
    pool: &Pool,
    fill: impl Fn(&mut Scratch, &mut Part<'_>) + Sync,
) {
    let share = lines.len().div_ceil(threads.len()).max(1);
    {
        let parts = Queue::new(parts(mask, lines, share));
        let scratches = Queue::new(threads.iter_mut());
        pool.run(&|| {
            let Some(scratch) = scratches.next() else { return };
            while let Some(mut part) = parts.next() {
                fill(scratch, &mut part);
            }
        });
    }
    for scratch in threads {
        mask.pixels.iter_mut().zip(&scratch.pixels).for_each(|(sum, count)| *sum += count);
    }
}

impl Scratch {
    fn crop(&mut self, rows: &Rows<'_>, part: &mut Part<'_>) {
        rows.compute(part.rows.clone(), &mut self.space, &mut Argmax { part, pixels: &mut self.pixels, top: 0 });
    }

    fn resample(&mut self, rows: &Rows<'_>, vertical: &[Tap], horizontal: &[Tap], part: &mut Part<'_>) {
        for line in part.rows.clone() {
            let y = vertical[line];
            let (first, second) = (self.load(rows, y.first, y.second), self.load(rows, y.second, y.first));
            let (first, second) = (&self.rows[first], &self.rows[second]);
            let (from, to) = (rows.width(), horizontal.len());
            for (class, row) in self.resampled.chunks_exact_mut(to).enumerate() {
                let (first, second) = (&first[class * from..][..from], &second[class * from..][..from]);
                for (value, x) in row.iter_mut().zip(horizontal) {
                    *value = y.mix(x.mix(first[x.first], first[x.second]), x.mix(second[x.first], second[x.second]));
                }
            }
            let sink = &mut Argmax { part, pixels: &mut self.pixels, top: line };
            Rows::there(&self.resampled, rows.channels(), to).compute(0..1, &mut self.space, sink);
        }
    }

    /// The buffer that holds row `number`, computed unless it is there; the one that holds row `keep` is left alone.
    fn load(&mut self, rows: &Rows<'_>, number: usize, keep: usize) -> usize {
        if let Some(index) = self.numbers.iter().position(|&held| held == Some(number)) {
            return index;
        }
        let index = usize::from(self.numbers[0] == Some(keep));
        let mut sink = Row { row: &mut self.rows[index], width: rows.width() };
        rows.compute(number..number + 1, &mut self.space, &mut sink);
        self.numbers[index] = Some(number);
        index
    }
}

/// Writes a row of scores, classes x width.
struct Row<'a> {
    row: &'a mut [f32],
    width: usize,
}

impl Sink for Row<'_> {
    #[inline(always)]
    fn take<V: Eight>(&mut self, _: usize, x: usize, step: usize, scores: &[Block]) {
        for (row, scores) in self.row.chunks_exact_mut(self.width).zip(scores) {
            for (lane, score) in scores.iter().enumerate() {
                if let Some(value) = row.get_mut(x.wrapping_add(lane * step)) {
                    *value = *score;
                }
            }
        }
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
    fn take<V: Eight>(&mut self, y: usize, x: usize, step: usize, scores: &[Block]) {
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
