//! From a network's scores to labels: upsampling and argmax row by row, in cache, on all threads, so that the full-size
//! score map (12.9 MB at 320 x 480 and 21 classes) is never written to memory unless somebody asks for it.

mod argmax;
mod upsample;

use std::ops::Range;

use crate::{
    Result,
    mask::{MaskData, resize},
    resample::{Axis, Tap},
    runtime::Scores,
};
use argmax::{Argmax, Part, parts};
pub(crate) use upsample::Upsampling;
use upsample::{Prepared, Rows};

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
    /// Two rows at the size of the network's input, and which ones they are.
    rows: [Vec<f32>; 2],
    numbers: [Option<usize>; 2],
    /// A row at the frame's size.
    resampled: Vec<f32>,
    argmax: Argmax,
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
        pool: &rayon::ThreadPool,
    ) -> Result<()> {
        let rows = self.prepared.rows(upsampling, scores, size)?;
        if fit == Fit::Resample {
            self.vertical.prepare(size.0, mask.height);
            self.horizontal.prepare(size.1, mask.width);
        }
        prepare_threads(&mut self.threads, pool, rows.length(), mask)?;
        let (vertical, horizontal) = (&self.vertical, &self.horizontal);
        mask.pixels.fill(0);
        pool.in_place_scope(|scope| {
            let parts = parts(mask, 0..mask.height, self.threads.len());
            for (mut part, scratch) in parts.into_iter().zip(&mut self.threads) {
                let rows = &rows;
                scope.spawn(move |_| match fit {
                    Fit::Crop => scratch.crop(rows, &mut part),
                    Fit::Resample => scratch.resample(rows, vertical.taps(), horizontal.taps(), &mut part),
                });
            }
        });
        self.count(mask);
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
        pool: &rayon::ThreadPool,
    ) -> Result<()> {
        let rows = self.prepared.rows(upsampling, scores, size)?;
        let threads = pool.current_num_threads();
        self.threads.resize_with(threads, Scratch::default);
        let lines = band.len() / (scores.channels * band_width);
        let share = lines.div_ceil(threads).max(1);
        for scratch in &mut self.threads {
            resize(&mut scratch.rows[0], rows.length())?;
        }
        pool.in_place_scope(|scope| {
            let parts = band.chunks_mut(share * scores.channels * band_width).enumerate();
            for ((index, part), scratch) in parts.zip(&mut self.threads) {
                let rows = &rows;
                scope.spawn(move |_| scratch.add(rows, index * share, part, band_width, left));
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
        pool: &rayon::ThreadPool,
    ) -> Result<()> {
        prepare_threads(&mut self.threads, pool, 0, mask)?;
        let length = mask.classes * mask.width;
        pool.in_place_scope(|scope| {
            let first = lines.start;
            let parts = parts(mask, lines, self.threads.len());
            for (mut part, scratch) in parts.into_iter().zip(&mut self.threads) {
                scope.spawn(move |_| {
                    let rows = &scores[(part.first - first) * length..];
                    for (line, row) in rows.chunks_exact(length).enumerate().take(part.lines()) {
                        scratch.argmax.line(row, part.width, &mut part, line);
                    }
                });
            }
        });
        self.count(mask);
        Ok(())
    }

    /// Adds what the threads counted to the mask's pixels of each class.
    fn count(&mut self, mask: &mut MaskData) {
        for scratch in &mut self.threads {
            for (sum, count) in mask.pixels.iter_mut().zip(scratch.argmax.take_pixels()) {
                *sum += count;
            }
        }
    }
}

/// One scratch for each thread, large enough for rows of `length` scores.
fn prepare_threads(threads: &mut Vec<Scratch>, pool: &rayon::ThreadPool, length: usize, mask: &MaskData) -> Result<()> {
    threads.resize_with(pool.current_num_threads(), Scratch::default);
    for scratch in threads {
        scratch.rows.iter_mut().try_for_each(|row| resize(row, length))?;
        scratch.numbers = [None, None];
        resize(&mut scratch.resampled, mask.classes * mask.width)?;
        scratch.argmax.prepare(mask.width, mask.classes)?;
    }
    Ok(())
}

impl Scratch {
    fn crop(&mut self, rows: &Rows<'_>, part: &mut Part<'_>) {
        for line in 0..part.lines() {
            rows.row(part.first + line, &mut self.rows[0]);
            self.argmax.line(&self.rows[0], rows.width(), part, line);
        }
    }

    fn resample(&mut self, rows: &Rows<'_>, vertical: &[Tap], horizontal: &[Tap], part: &mut Part<'_>) {
        for line in 0..part.lines() {
            let y = vertical[part.first + line];
            let (first, second) = (self.load(rows, y.first, y.second), self.load(rows, y.second, y.first));
            let (first, second) = (&self.rows[first], &self.rows[second]);
            let (from, to) = (rows.width(), part.width);
            for (class, row) in self.resampled.chunks_exact_mut(to).enumerate() {
                let (first, second) = (&first[class * from..][..from], &second[class * from..][..from]);
                for (value, x) in row.iter_mut().zip(horizontal) {
                    *value = y.mix(x.mix(first[x.first], first[x.second]), x.mix(second[x.first], second[x.second]));
                }
            }
            self.argmax.line(&self.resampled, to, part, line);
        }
    }

    /// The buffer that holds row `number`, computed unless it is there; the one that holds row `keep` is left alone.
    fn load(&mut self, rows: &Rows<'_>, number: usize, keep: usize) -> usize {
        if let Some(index) = self.numbers.iter().position(|&held| held == Some(number)) {
            return index;
        }
        let index = usize::from(self.numbers[0] == Some(keep));
        rows.row(number, &mut self.rows[index]);
        self.numbers[index] = Some(number);
        index
    }

    fn add(&mut self, rows: &Rows<'_>, first: usize, part: &mut [f32], band_width: usize, left: usize) {
        let width = rows.width();
        let length = rows.length() / width * band_width;
        for (line, sums) in part.chunks_exact_mut(length).enumerate() {
            rows.row(first + line, &mut self.rows[0]);
            for (sums, row) in sums.chunks_exact_mut(band_width).zip(self.rows[0].chunks_exact(width)) {
                // What a padded tile computes right of the frame has no place.
                sums[left..].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}
