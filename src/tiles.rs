//! The chapter's own answer to sizes that the stride does not divide (d2l.ai 13.11, exercise 3): rectangles whose sides
//! it divides cover the picture, and where they overlap, the mean of their scores counts.

use std::ops::Range;

use crate::{Result, memory::set_length};

/// Where tiles lie along one side of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    /// The side of a tile: a multiple of the stride.
    pub(crate) tile: usize,
    /// How many tiles there are.
    pub(crate) count: usize,
    length: usize,
}

impl Side {
    /// Covers `length` pixels with tiles of `tile`, shortened to the greatest multiple of `stride` that fits, which share
    /// at least `overlap`. Tiles are spread evenly; the last one ends with the picture. A picture shorter than the stride
    /// gets one tile that reaches over its end.
    pub(crate) fn new(length: usize, tile: usize, overlap: usize, stride: usize) -> Side {
        let multiple = |pixels: usize| (pixels / stride * stride).max(stride);
        let tile = multiple(tile.min(length));
        let rest = length.saturating_sub(tile);
        let step = tile - overlap.min(tile - 1);
        Side { tile, count: rest.div_ceil(step) + 1, length }
    }

    /// The first pixel of tile `index`, and the end of the picture for the one after the last.
    pub(crate) fn start(&self, index: usize) -> usize {
        if index == self.count {
            return self.length;
        }
        self.length.saturating_sub(self.tile) * index / (self.count - 1).max(1)
    }

    /// The pixels of tile `index` that lie in the picture.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        let start = self.start(index);
        start..(start + self.tile).min(self.length)
    }

    /// How many tiles cover pixel `at`.
    fn cover(&self, at: usize) -> usize {
        (0..self.count).filter(|&index| self.range(index).contains(&at)).count()
    }
}

/// Sums of scores for the rows of the picture that are not finished, rows of classes x width: as many as a tile is high,
/// however high the picture is. In front of them stands the last finished row, for masks whose lines lie between rows.
#[derive(Debug, Default)]
pub(crate) struct Band {
    sums: Vec<f32>,
    /// One over the number of tiles that cover each column.
    shares: Vec<f32>,
    row: usize,
}

impl Band {
    /// An empty band of `lines` rows.
    pub(crate) fn start(&mut self, lines: usize, classes: usize, columns: &Side) -> Result<()> {
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

    /// Turns the first rows, `lines` of the picture, from sums into means, and gives them together with the row before, if there is
    /// one, and the number of the first row given.
    pub(crate) fn mean(&mut self, lines: Range<usize>, rows: &Side) -> (&[f32], usize) {
        let length = lines.len() * self.row;
        let base = lines.start.saturating_sub(1);
        let skipped = self.row * usize::from(lines.start == 0);
        for (y, row) in lines.zip(self.sums[self.row..][..length].chunks_exact_mut(self.row)) {
            let share = 1.0 / rows.cover(y) as f32;
            for class in row.chunks_exact_mut(self.shares.len()) {
                class.iter_mut().zip(&self.shares).for_each(|(sum, column)| *sum *= share * column);
            }
        }
        (&self.sums[skipped..self.row + length], base)
    }

    /// Moves on by `lines` rows: the finished ones leave, empty ones come.
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
                let side = Side::new(length, tile, overlap, 32);
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
