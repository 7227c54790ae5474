//! The part of a crop covered by the photo, as three planes.

use std::ops::Range;

/// A rectangle of a 3 x height x width crop.
pub(super) struct Planes<'a> {
    red: &'a mut [f32],
    green: &'a mut [f32],
    blue: &'a mut [f32],
    /// The crop's width.
    width: usize,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl<'a> Planes<'a> {
    /// The rectangle of `rows` and `columns` in `crop`, whose rows are `width` values long.
    pub(super) fn new(crop: &'a mut [f32], width: usize, rows: Range<usize>, columns: Range<usize>) -> Planes<'a> {
        let plane = crop.len() / 3;
        let (red, rest) = crop.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        Planes { red, green, blue, width, rows, columns }
    }

    /// Pixels in the rectangle.
    pub(super) fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    fn row(&self, y: usize) -> Range<usize> {
        y * self.width + self.columns.start..y * self.width + self.columns.end
    }

    /// Visits red, green and blue of each row.
    pub(super) fn for_rows(&self, mut see: impl FnMut([&[f32]; 3])) {
        for y in self.rows.clone() {
            let row = self.row(y);
            see([&self.red[row.clone()], &self.green[row.clone()], &self.blue[row]]);
        }
    }

    /// Replaces each pixel.
    pub(super) fn for_pixels(&mut self, change: impl Fn([f32; 3]) -> [f32; 3]) {
        for y in self.rows.clone() {
            let row = self.row(y);
            let (red, green) = (&mut self.red[row.clone()], &mut self.green[row.clone()]);
            for ((r, g), b) in red.iter_mut().zip(green).zip(&mut self.blue[row]) {
                [*r, *g, *b] = change([*r, *g, *b]);
            }
        }
    }

    /// Replaces each value of every channel.
    pub(super) fn for_values(&mut self, change: impl Fn(f32) -> f32) {
        self.for_each_row(|_, row| row.iter_mut().for_each(|value| *value = change(*value)));
    }

    /// Visits each row of each plane, with the plane's index.
    pub(super) fn for_each_row(&mut self, mut change: impl FnMut(usize, &mut [f32])) {
        for y in self.rows.clone() {
            let row = self.row(y);
            for (c, plane) in [&mut *self.red, &mut *self.green, &mut *self.blue].into_iter().enumerate() {
                change(c, &mut plane[row.clone()]);
            }
        }
    }

    /// One whole plane, and the range of the rectangle's rows in it.
    pub(super) fn plane(&mut self, c: usize) -> (&mut [f32], impl Fn(usize) -> Range<usize> + use<>) {
        let (width, columns) = (self.width, self.columns.clone());
        let plane = match c {
            0 => &mut *self.red,
            1 => &mut *self.green,
            _ => &mut *self.blue,
        };
        (plane, move |y| y * width + columns.start..y * width + columns.end)
    }
}
