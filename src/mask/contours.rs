//! Borders of a label's pixels as polygons: border following (Suzuki and Abe 1985, "Topological structural analysis of digitized
//! binary images by border following", appendix I), as OpenCV's `findContours` does.

use super::{LabelMap, resize};
use crate::Result;

/// A closed polygon around pixels of one label, or around a hole in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contour {
    /// The corners, column and row. They are centres of pixels that have the label and touch, at one of four sides, one that has
    /// not; (0, 0) is the upper left pixel. Straight lines between them, horizontal, vertical or diagonal, and from the last back
    /// to the first, pass through the other pixels of the border. A border of one pixel has one corner. Borders around pixels
    /// run counter-clockwise as one sees the picture, those of holes clockwise.
    pub points: Vec<[u32; 2]>,
    /// Whether it goes around a hole: what lies inside has another label.
    pub hole: bool,
    /// The contour, as its place in the list, that this one lies directly inside of: of a hole the border of the pixels
    /// around it, of pixels the hole that they lie in; none for the outermost.
    pub parent: Option<usize>,
}

/// The eight neighbours counter-clockwise as one sees the picture, from the right one on: columns and rows.
const AROUND: [(isize, isize); 8] = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)];
const RIGHT: usize = 0;
const LEFT: usize = 4;

/// The pixels with a border of zeros. 1 has the label and lies on no border yet; else the number of the latest border it lies
/// on, negative where the pixel at its right was met outside of that border.
struct Marks {
    marks: Vec<i32>,
    columns: usize,
}

impl LabelMap<'_> {
    /// The borders of the pixels with this label, in the order in which their upper left ends come row by row. Pixels that
    /// touch at a corner belong together; pixels without the label do not by that.
    pub fn contours(&self, label: u8) -> Result<Vec<Contour>> {
        let (width, height) = (self.width() as usize, self.height() as usize);
        let mut marks = Marks { marks: Vec::new(), columns: width + 2 };
        resize(&mut marks.marks, (width + 2) * (height + 2))?;
        for (y, row) in self.rows().enumerate() {
            let marks = &mut marks.marks[(y + 1) * (width + 2) + 1..][..width];
            marks.iter_mut().zip(row).for_each(|(mark, &found)| *mark = i32::from(found == label));
        }
        let mut contours: Vec<Contour> = Vec::new();
        for y in 1..=height {
            // The border met last in this row; none is the frame of the picture, which counts as that of a hole.
            let mut last: Option<usize> = None;
            for x in 1..=width {
                let at = y * marks.columns + x;
                let mark = marks.marks[at];
                if mark == 0 {
                    continue;
                }
                let outer = mark == 1 && marks.marks[at - 1] == 0;
                if outer || (mark >= 1 && marks.marks[at + 1] == 0) {
                    if !outer && mark > 1 {
                        last = Some(border(mark));
                    }
                    // A border of the same kind as the last one lies beside it, one of the other kind inside of it.
                    let parent = match last {
                        Some(index) if contours[index].hole == outer => Some(index),
                        Some(index) => contours[index].parent,
                        None => None,
                    };
                    let points = marks.follow(at, if outer { LEFT } else { RIGHT }, contours.len() as i32 + 2);
                    contours.push(Contour { points, hole: !outer, parent });
                }
                if marks.marks[at] != 1 {
                    last = Some(border(marks.marks[at]));
                }
            }
        }
        Ok(contours)
    }
}

/// The place in the list of the border with this mark: numbers start with 2.
fn border(mark: i32) -> usize {
    mark.unsigned_abs() as usize - 2
}

impl Marks {
    fn neighbour(&self, at: usize, direction: usize) -> usize {
        let (x, y) = AROUND[direction % 8];
        at.wrapping_add_signed(y * self.columns as isize + x)
    }

    /// Marks the border that starts at `start`, whose neighbour in the direction `from` lies outside, and gives its corners.
    fn follow(&mut self, start: usize, from: usize, number: i32) -> Vec<[u32; 2]> {
        let place = |at: usize, columns: usize| [(at % columns - 1) as u32, (at / columns - 1) as u32];
        let first = (0..8).map(|turn| (from + 8 - turn) % 8).find(|&turn| self.marks[self.neighbour(start, turn)] != 0);
        let Some(first) = first else {
            self.marks[start] = -number;
            return vec![place(start, self.columns)];
        };
        let end = self.neighbour(start, first);
        let mut points = Vec::new();
        let (mut at, mut back) = (start, first);
        loop {
            // Counter-clockwise from where it came from, the first that has the label; `end` does, so there is one.
            let next =
                (back + 1..=back + 8).find(|&turn| self.marks[self.neighbour(at, turn)] != 0).unwrap_or(back + 8);
            if (back + 1..next).any(|turn| turn % 8 == RIGHT) {
                self.marks[at] = -number;
            } else if self.marks[at] == 1 {
                self.marks[at] = number;
            }
            let next = next % 8;
            // It came in the direction opposite to the way back.
            if next != (back + 4) % 8 {
                points.push(place(at, self.columns));
            }
            let following = self.neighbour(at, next);
            if following == start && at == end {
                return points;
            }
            (at, back) = (following, (next + 4) % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixture of tests/reference/contours.py: pictures and what OpenCV finds in them.
    const REFERENCE: &str = include_str!("../../tests/reference/contours.txt");

    #[test]
    fn contours_are_those_of_opencv() {
        let mut lines = REFERENCE.lines().skip(1);
        let mut pictures = 0;
        let mut holes_in_holes = 0;
        while let Some(line) = lines.next() {
            let numbers = |line: &str| line.split_whitespace().map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>();
            let [width, height, count] = numbers(line)[..] else { panic!("{line}") };
            let labels: Vec<u8> = lines.by_ref().take(height as usize).flat_map(str::bytes).collect();
            let mut expected = Vec::new();
            for line in lines.by_ref().take(count as usize) {
                let (kind, rest) = line.split_once(' ').unwrap();
                let (parent, points) = rest.split_once(':').unwrap();
                let pairs = |text| numbers(text).chunks(2).map(|pair| [pair[0], pair[1]]).collect::<Vec<_>>();
                expected.push((kind == "hole", pairs(points), pairs(parent).first().copied()));
            }
            assert_eq!(labels.len(), (width * height) as usize);
            let map = LabelMap::new(&labels, width, height, 0).unwrap();
            let contours = map.contours(b'#').unwrap();
            // Parents by their first corner: OpenCV lists contours in another order.
            let mut found: Vec<_> = contours
                .iter()
                .map(|contour| {
                    let parent = contour.parent.map(|index| contours[index].points[0]);
                    (contour.hole, contour.points.clone(), parent)
                })
                .collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "picture {pictures}");
            holes_in_holes += contours
                .iter()
                .filter(|contour| contour.hole && contour.parent.is_some_and(|p| contours[p].parent.is_some()))
                .count();
            pictures += 1;
        }
        assert!(pictures >= 10 && holes_in_holes > 0, "{pictures} pictures, {holes_in_holes} holes inside of holes");
    }
}
