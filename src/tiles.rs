//! Tiling, for images whose sides the stride does not divide (d2l.ai 13.11, exercise 3): tiles with
//! divisible sides cover the image, and scores are averaged where tiles overlap.

use std::ops::Range;

use crate::{Result, memory::set_length};

/// The positions of tiles along one side of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileSide {
    /// The side of a tile: a multiple of the stride.
    pub(crate) tile: usize,
    /// The number of tiles.
    pub(crate) count: usize,
    length: usize,
}

impl TileSide {
    /// Covers `length` pixels with tiles of at most `tile` pixels, rounded down to a multiple of
    /// `stride`, that overlap by at least `overlap`. Tiles are spaced evenly, and the last one ends
    /// with the image. An image shorter than the stride gets one tile that extends past its end.
    pub(crate) fn new(length: usize, tile: usize, overlap: usize, stride: usize) -> TileSide {
        let multiple = |pixels: usize| (pixels / stride * stride).max(stride);
        let tile = multiple(tile.min(length));
        let rest = length.saturating_sub(tile);
        let step = tile - overlap.min(tile - 1);
        TileSide { tile, count: rest.div_ceil(step) + 1, length }
    }

    /// The first pixel of tile `index`, or the end of the image if `index` is the number of tiles.
    pub(crate) fn start(&self, index: usize) -> usize {
        if index == self.count {
            return self.length;
        }
        self.length.saturating_sub(self.tile) * index / (self.count - 1).max(1)
    }

    /// The pixels of tile `index` inside the image.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        let start = self.start(index);
        start..(start + self.tile).min(self.length)
    }

    /// The number of tiles that cover pixel `at`.
    fn cover(&self, at: usize) -> usize {
        (0..self.count).filter(|&index| self.range(index).contains(&at)).count()
    }
}

/// The scores of consecutive rows, classes x width each.
#[derive(Clone, Copy)]
pub(crate) struct FinishedRows<'a> {
    pub(crate) scores: &'a [f32],
    /// The image's row that the first one is.
    pub(crate) first: usize,
}

/// Sums of scores for the unfinished rows of the image, rows of classes x width. It has as many
/// rows as a tile, whatever the image's height, preceded by the last finished row, for masks whose
/// rows lie between score rows.
#[derive(Debug, Default)]
pub(crate) struct Band {
    sums: Vec<f32>,
    /// The reciprocal of the number of tiles that cover each column.
    shares: Vec<f32>,
    row: usize,
}

impl Band {
    /// Prepares an empty band of `lines` rows.
    pub(crate) fn start(&mut self, lines: usize, classes: usize, columns: &TileSide) -> Result<()> {
        self.row = classes * columns.length;
        set_length(&mut self.sums, (lines + 1) * self.row, "the scores of tiles")?;
        self.sums.fill(0.0);
        set_length(&mut self.shares, columns.length, "the shares of tiles")?;
        for (x, share) in self.shares.iter_mut().enumerate() {
            *share = 1.0 / columns.cover(x) as f32;
        }
        Ok(())
    }

    pub(crate) fn sums(&mut self) -> &mut [f32] {
        &mut self.sums[self.row..]
    }

    /// Divides the sums of the first rows, `lines` of the image, by the number of tiles that cover
    /// them. Returns these rows, preceded by the previous row if there is one.
    pub(crate) fn mean(&mut self, lines: Range<usize>, rows: &TileSide) -> FinishedRows<'_> {
        let length = lines.len() * self.row;
        let first = lines.start.saturating_sub(1);
        let skipped = self.row * usize::from(lines.start == 0);
        for (y, row) in lines.zip(self.sums[self.row..][..length].chunks_exact_mut(self.row)) {
            let share = 1.0 / rows.cover(y) as f32;
            for class in row.chunks_exact_mut(self.shares.len()) {
                class.iter_mut().zip(&self.shares).for_each(|(sum, column)| *sum *= share * column);
            }
        }
        FinishedRows { scores: &self.sums[skipped..self.row + length], first }
    }

    /// Drops the `lines` finished rows and appends empty ones.
    pub(crate) fn advance(&mut self, lines: usize) {
        let length = self.sums.len();
        self.sums.copy_within(lines * self.row.., 0);
        self.sums[length - lines * self.row..].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_pixel_and_share_what_they_should() {
        for length in [1, 31, 32, 33, 63, 64, 100, 333, 500, 1080] {
            for (tile, overlap) in [(32, 0), (64, 16), (320, 64), (480, 479), (1000, 5)] {
                let side = TileSide::new(length, tile, overlap, 32);
                let case = format!("length {length}, tile {tile}, overlap {overlap}: {side:?}");
                assert_eq!(side.tile % 32, 0, "{case}");
                assert!(side.tile <= tile.max(32) && side.tile <= length.max(32), "{case}");
                assert_eq!(side.start(0), 0, "{case}");
                assert!((0..length).all(|at| side.cover(at) >= 1), "{case}");
                assert_eq!(side.range(side.count - 1).end, length, "{case}");
                for (this, next) in (1..side.count).map(|index| (side.start(index - 1), side.start(index))) {
                    assert!(this < next && this + side.tile >= next + overlap.min(side.tile - 1), "{case}");
                }
            }
        }
    }
}
