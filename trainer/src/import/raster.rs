//! Rasterises shapes: a pixel belongs to a shape if its centre lies inside.

use std::ops::Range;

use super::rle::Runs;
use crate::error::Result;

/// A region of an image. Coordinates are in pixels from the top left corner: the first pixel's
/// centre is at (0.5, 0.5).
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Polygons; each covers the points that it encloses an odd number of times.
    Polygons(Vec<Vec<(f64, f64)>>),
    /// A centre and a radius.
    Circle((f64, f64), f64),
    /// Pixels of a whole image.
    Runs(Runs),
    /// Pixels of a part of an image.
    Bitmap {
        /// Column and row of the top left corner.
        corner: (i64, i64),
        /// Columns.
        width: usize,
        /// Row by row.
        covered: Vec<bool>,
    },
}

impl Shape {
    /// Two opposite corners.
    pub fn rectangle((a, b): (f64, f64), (c, d): (f64, f64)) -> Shape {
        Shape::Polygons(vec![vec![(a, b), (c, b), (c, d), (a, d)]])
    }

    /// Sets the shape's pixels to a label, clipped to the image.
    pub fn draw(&self, labels: &mut [u8], width: usize, height: usize, label: u8) -> Result<()> {
        self.each_span((width, height), |row, columns| labels[row * width..][columns].fill(label));
        if let Shape::Runs(runs) = self {
            runs.draw(labels, width, height, label)?;
        }
        Ok(())
    }

    /// The number of pixels it covers; overlapping polygons count each.
    pub(super) fn area(&self, width: usize, height: usize) -> Result<usize> {
        if let Shape::Runs(runs) = self {
            return runs.area(width, height);
        }
        let mut area = 0;
        self.each_span((width, height), |_, columns| area += columns.len());
        Ok(area)
    }

    /// Calls `visit` with each piece of a row that it covers. Runs go along columns and have none.
    fn each_span(&self, (width, height): (usize, usize), mut visit: impl FnMut(usize, Range<usize>)) {
        match self {
            Shape::Polygons(polygons) => {
                polygons.iter().for_each(|polygon| fill(polygon, (width, height), &mut visit));
            }
            Shape::Circle((x, y), radius) => {
                for row in columns(y - radius, y + radius, height) {
                    let rise = row as f64 + 0.5 - y;
                    if rise.abs() <= *radius {
                        let reach = (radius * radius - rise * rise).sqrt();
                        visit(row, columns(x - reach, x + reach, width));
                    }
                }
            }
            Shape::Bitmap { corner: (left, top), width: own, covered } => {
                for (down, line) in covered.chunks_exact((*own).max(1)).enumerate() {
                    let place = |start: &i64, offset: usize, length: usize| {
                        usize::try_from(start.checked_add(offset as i64)?).ok().filter(|place| *place < length)
                    };
                    let Some(row) = place(top, down, height) else { continue };
                    for (across, _) in line.iter().enumerate().filter(|(_, covered)| **covered) {
                        if let Some(column) = place(left, across, width) {
                            visit(row, column..column + 1);
                        }
                    }
                }
            }
            Shape::Runs(_) => {}
        }
    }
}

fn fill(polygon: &[(f64, f64)], (width, height): (usize, usize), visit: &mut impl FnMut(usize, Range<usize>)) {
    let ends = || polygon.iter().zip(polygon.iter().cycle().skip(1));
    let (top, bottom) =
        polygon.iter().fold((f64::MAX, f64::MIN), |(top, bottom), (_, y)| (top.min(*y), bottom.max(*y)));
    let mut crossings = Vec::new();
    for row in columns(top, bottom, height) {
        let center = row as f64 + 0.5;
        crossings.clear();
        crossings.extend(
            ends()
                .filter(|((_, y0), (_, y1))| (*y0 <= center) != (*y1 <= center))
                .map(|((x0, y0), (x1, y1))| x0 + (center - y0) / (y1 - y0) * (x1 - x0)),
        );
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            visit(row, columns(pair[0], pair[1], width));
        }
    }
}

/// The pixels of a side whose centres are at or after `start` and before `end`.
fn columns(start: f64, end: f64, length: usize) -> Range<usize> {
    let first = |edge: f64| (edge - 0.5).ceil().clamp(0.0, length as f64) as usize;
    first(start)..first(end).max(first(start))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn drawn(shape: &Shape, width: usize, height: usize) -> Vec<u8> {
        let mut labels = vec![0; width * height];
        shape.draw(&mut labels, width, height, 1).unwrap();
        labels
    }

    /// Whether a point is inside, by counting the edges to its right (Shimrat 1962).
    fn inside(polygon: &[(f64, f64)], x: f64, y: f64) -> bool {
        let mut inside = false;
        for (i, &(x0, y0)) in polygon.iter().enumerate() {
            let (x1, y1) = polygon[(i + 1) % polygon.len()];
            if (y0 > y) != (y1 > y) && x < (x1 - x0) * (y - y0) / (y1 - y0) + x0 {
                inside = !inside;
            }
        }
        inside
    }

    #[test]
    fn polygons_are_filled_as_point_by_point() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (width, height) = (37, 29);
        let mut filled = 0;
        for case in 0..300 {
            // They intersect themselves and extend beyond the image.
            let corners = rng.random_range(3..9);
            let polygon: Vec<(f64, f64)> =
                (0..corners).map(|_| (rng.random_range(-20.0..60.0), rng.random_range(-20.0..50.0))).collect();
            let got = drawn(&Shape::Polygons(vec![polygon.clone()]), width, height);
            for (place, &label) in got.iter().enumerate() {
                let (x, y) = ((place % width) as f64 + 0.5, (place / width) as f64 + 0.5);
                assert_eq!(label == 1, inside(&polygon, x, y), "case {case}, x {x}, y {y}: {polygon:?}");
                filled += usize::from(label);
            }
        }
        assert!(filled > 10_000, "{filled} pixels");
    }

    #[test]
    fn rectangles_and_circles_cover_their_pixels() {
        let rectangle = drawn(&Shape::rectangle((4.0, 3.0), (1.0, 1.0)), 6, 5);
        let expected: Vec<u8> =
            (0..30).map(|i| u8::from((1..4).contains(&(i % 6)) && (1..3).contains(&(i / 6)))).collect();
        assert_eq!(rectangle, expected);

        let circle = drawn(&Shape::Circle((10.2, 7.7), 6.3), 15, 20);
        for (place, &label) in circle.iter().enumerate() {
            let (x, y) = ((place % 15) as f64 + 0.5 - 10.2, (place / 15) as f64 + 0.5 - 7.7);
            assert_eq!(label == 1, x * x + y * y <= 6.3 * 6.3, "x {x}, y {y}");
        }
    }

    #[test]
    fn bitmaps_are_cut_off_at_the_borders() {
        let covered = [true, true, false, true, true, true];
        for (corner, expected) in [
            ((1, 1), [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1]),
            ((-1, -1), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ((2, 2), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
            ((i64::MIN, 0), [0; 12]),
            ((0, i64::MAX - 5), [0; 12]),
        ] {
            let bitmap = Shape::Bitmap { corner, width: 3, covered: covered.to_vec() };
            assert_eq!(drawn(&bitmap, 4, 3), expected, "{corner:?}");
        }
    }

    #[test]
    fn shapes_without_inside_are_nothing() {
        for shape in [
            Shape::Polygons(vec![]),
            Shape::Polygons(vec![vec![]]),
            Shape::Polygons(vec![vec![(1.0, 1.0)], vec![(1.0, 1.0), (4.0, 4.0)]]),
            Shape::Circle((3.0, 3.0), 0.0),
            Shape::Polygons(vec![vec![(90.0, 90.0), (99.0, 90.0), (99.0, 99.0)]]),
            Shape::Polygons(vec![vec![(f64::NAN, 0.0), (1.0, 2.0), (3.0, f64::NAN)]]),
        ] {
            assert_eq!(shape.area(5, 5), Ok(0), "{shape:?}");
        }
    }
}
