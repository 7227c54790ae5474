//! Contours of a label's pixels as polygons: border following (Suzuki and Abe 1985, "Topological
//! structural analysis of digitized binary images by border following", appendix I), like OpenCV's
//! `findContours`.

use super::LabelMap;
use crate::{Result, memory::set_length};

/// A closed polygon: the outer border of a region, or the border of a hole in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contour {
    /// The vertices, column and row: centres of pixels that have the label and share a side with a
    /// pixel that does not. (0, 0) is the upper left pixel. The lines between consecutive vertices,
    /// and from the last one to the first, are horizontal, vertical or diagonal and pass through
    /// the border's other pixels. A border of one pixel has one vertex. In the image, outer borders
    /// run counter-clockwise, hole borders clockwise.
    pub points: Vec<[u32; 2]>,
    /// Whether this is the border of a hole: its inside has other labels.
    pub hole: bool,
    /// Index of the directly enclosing contour: a hole's parent is its region's outer border, a
    /// region's parent is the hole around it; `None` for an outermost contour.
    pub parent: Option<usize>,
}

/// The eight neighbours, counter-clockwise in the image from the right one on: columns and rows.
const AROUND: [(isize, isize); 8] = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)];
const RIGHT: usize = 0;
const LEFT: usize = 4;

/// The pixels, with a border of zeros. A pixel with the label is 1 until it lies on a border. Then
/// it is the number of the last border through it, negative if the pixel to its right is outside of
/// that border.
struct Marks {
    marks: Vec<i32>,
    columns: usize,
}

impl LabelMap<'_> {
    /// The borders of the pixels with this label, ordered by their upper left ends, row by row.
    /// Pixels with the label are 8-connected, other pixels 4-connected.
    pub fn contours(&self, label: u8) -> Result<Vec<Contour>> {
        let (width, height) = (self.width() as usize, self.height() as usize);
        let mut marks = Marks { marks: Vec::new(), columns: width + 2 };
        set_length(&mut marks.marks, (width + 2) * (height + 2), "the borders of labels")?;
        for (y, row) in self.rows().enumerate() {
            let marks = &mut marks.marks[(y + 1) * (width + 2) + 1..][..width];
            marks.iter_mut().zip(row).for_each(|(mark, &found)| *mark = i32::from(found == label));
        }
        let mut contours: Vec<Contour> = Vec::new();
        for y in 1..=height {
            // The last border met in this row; `None` is the frame of the image, which counts as a
            // hole's border.
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
                    // A border of the same kind as the last one is its sibling, one of the other
                    // kind its child.
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

    /// [`LabelMap::contours`] without small ones: regions of fewer than `min_area` pixels together
    /// with their holes, and holes around fewer than `min_area` pixels together with everything
    /// inside. A region's area excludes its holes. A hole's area includes all pixels inside its
    /// border, whatever their labels.
    ///
    /// A region that is left out may enclose a larger one. The larger one stays, and its parent is
    /// the nearest enclosing hole that stays. So the result equals the contours of labels without
    /// the small regions.
    pub fn contours_filtered(&self, label: u8, min_area: u32) -> Result<Vec<Contour>> {
        let mut contours = self.contours(label)?;
        let mut areas: Vec<i64> = contours.iter().map(Contour::inside).collect();
        // For a region, this includes the area of its holes, which is subtracted next.
        for (index, contour) in contours.iter().enumerate() {
            if let Some(parent) = contour.parent.filter(|_| contour.hole) {
                areas[parent] -= areas[index];
            }
        }
        // For each contour, whether it stays, and its new index or else that of the nearest
        // enclosing contour that stays. Parents come before their children.
        let mut places: Vec<(bool, Option<usize>)> = Vec::with_capacity(contours.len());
        let mut count = 0;
        for (contour, &area) in contours.iter_mut().zip(&areas) {
            let around = contour.parent.map(|parent| places[parent]);
            let stays = area >= i64::from(min_area) && !(contour.hole && around.is_some_and(|(stays, _)| !stays));
            contour.parent = around.and_then(|(_, place)| place);
            places.push((stays, if stays { Some(count) } else { contour.parent }));
            count += usize::from(stays);
        }
        let mut stays = places.iter().map(|(stays, _)| *stays);
        contours.retain(|_| stays.next().unwrap_or(true));
        Ok(contours)
    }
}

impl Contour {
    /// The number of pixels inside: of a region's border including the border, of a hole's border
    /// excluding it. Pick's theorem: the area of a polygon is i + b / 2 - 1, where b counts border
    /// points as often as the border passes through them.
    fn inside(&self) -> i64 {
        let (mut doubled, mut steps) = (0, 0);
        for (index, &[x, y]) in self.points.iter().enumerate() {
            let [next_x, next_y] = self.points[(index + 1) % self.points.len()].map(i64::from);
            let (x, y) = (i64::from(x), i64::from(y));
            doubled += x * next_y - next_x * y;
            steps += (next_x - x).abs().max((next_y - y).abs());
        }
        if self.hole { (doubled.abs() - steps) / 2 + 1 } else { (doubled.abs() + steps) / 2 + 1 }
    }
}

/// The index of the border with this mark; marks start with 2.
fn border(mark: i32) -> usize {
    mark.unsigned_abs() as usize - 2
}

impl Marks {
    fn neighbour(&self, at: usize, direction: usize) -> usize {
        let (x, y) = AROUND[direction % 8];
        at.wrapping_add_signed(y * self.columns as isize + x)
    }

    /// Marks the border that starts at `start`, whose neighbour in direction `from` is outside.
    /// Returns its vertices.
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
            // The first neighbour with the label, counter-clockwise from the previous pixel. The
            // search always ends: `end` has the label.
            let next =
                (back + 1..=back + 8).find(|&turn| self.marks[self.neighbour(at, turn)] != 0).unwrap_or(back + 8);
            if (back + 1..next).any(|turn| turn % 8 == RIGHT) {
                self.marks[at] = -number;
            } else if self.marks[at] == 1 {
                self.marks[at] = number;
            }
            let next = next % 8;
            // The direction of arrival is opposite to the way back.
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
    use super::{
        super::components::regions::{Random, flooded, picture},
        *,
    };

    /// The image, 1 for the label and 0 for others, after removing regions of fewer pixels and
    /// filling holes that enclose fewer pixels.
    fn cleaned(labels: &[u8], width: usize, label: u8, min_area: usize) -> Vec<u8> {
        let mut picture: Vec<u8> = labels.iter().map(|&found| u8::from(found == label)).collect();
        for region in flooded(&picture, width, true) {
            if region.len() < min_area && picture[region[0]] == 1 {
                region.into_iter().for_each(|at| picture[at] = 0);
            }
        }
        let height = picture.len() / width;
        // Surrounded by other labels, so that everything that is not enclosed is connected.
        let framed = |picture: &[u8]| {
            let mut framed = vec![0; (width + 2) * (height + 2)];
            for (row, labels) in framed.chunks_mut(width + 2).skip(1).zip(picture.chunks(width)) {
                row[1..=width].copy_from_slice(labels);
            }
            framed
        };
        for hole in flooded(&framed(&picture), width + 2, false).into_iter().skip(1) {
            let whole = framed(&picture);
            if whole[hole[0]] == 1 {
                continue;
            }
            // Everything that the hole encloses: all pixels not connected to the frame without
            // crossing the hole, corners included.
            let walls: Vec<u8> = (0..whole.len()).map(|at| u8::from(hole.contains(&at))).collect();
            let outside = flooded(&walls, width + 2, true).swap_remove(0);
            if whole.len() - outside.len() < min_area {
                for at in (0..whole.len()).filter(|at| !outside.contains(at)) {
                    picture[(at / (width + 2) - 1) * width + at % (width + 2) - 1] = 1;
                }
            }
        }
        picture
    }

    #[test]
    fn filtered_contours_are_those_of_cleaned_labels() {
        let mut random = Random(4);
        let (mut fewer, mut moved) = (0, 0);
        for number in 0..600 {
            let (labels, width) = picture(&mut random);
            let height = labels.len() / width;
            let map = LabelMap::new(&labels, width as u32, height as u32, 0).unwrap();
            let all = map.contours(1).unwrap();
            assert_eq!(map.contours_filtered(1, 1).unwrap(), all, "picture {number}");
            for min_area in [2, 3, 6, 12, 50] {
                let found = map.contours_filtered(1, min_area).unwrap();
                let cleaned = cleaned(&labels, width, 1, min_area as usize);
                let expected = LabelMap::new(&cleaned, width as u32, height as u32, 0).unwrap().contours(1).unwrap();
                assert_eq!(found, expected, "picture {number}, {min_area}, width {width}: {labels:?}");
                fewer += usize::from(found.len() < all.len());
                moved += usize::from(found.iter().any(|contour| !contour.hole && contour.parent.is_some()));
            }
        }
        assert!(fewer > 200 && moved > 10, "{fewer} pictures have less, {moved} have regions in holes");
    }

    #[test]
    fn regions_and_holes_are_left_out_by_their_pixels() {
        // A ring of 16 pixels around a hole of 9 that contains a pixel, and next to it a ring of
        // 12, around 4.
        let picture = ["#####.####", "#...#.#..#", "#.#.#.#..#", "#...#.####", "#####....."];
        let labels: Vec<u8> = picture.iter().flat_map(|row| row.bytes()).collect();
        let map = LabelMap::new(&labels, 10, 5, 0).unwrap();
        for (min_area, expected) in [
            (1, &[(false, None), (false, None), (true, Some(0)), (true, Some(1)), (false, Some(2))][..]),
            (2, &[(false, None), (false, None), (true, Some(0)), (true, Some(1))]),
            (4, &[(false, None), (false, None), (true, Some(0)), (true, Some(1))]),
            (5, &[(false, None), (false, None), (true, Some(0))]),
            (9, &[(false, None), (false, None), (true, Some(0))]),
            (10, &[(false, None), (false, None)]),
            (12, &[(false, None), (false, None)]),
            (13, &[(false, None)]),
            (16, &[(false, None)]),
            (17, &[]),
        ] {
            let found = map.contours_filtered(b'#', min_area).unwrap();
            let found: Vec<_> = found.iter().map(|contour| (contour.hole, contour.parent)).collect();
            assert_eq!(found, expected, "{min_area}");
        }
        // A ring of 24 pixels around a region of 25: the ring is removed first, and the region
        // becomes outermost.
        let far = |i: i32| (i % 13 - 6).abs() + (i / 13 - 6).abs();
        let labels: Vec<u8> = (0..169).map(|i| u8::from(far(i) <= 3 || far(i) == 6)).collect();
        let map = LabelMap::new(&labels, 13, 13, 0).unwrap();
        for (min_area, expected) in [(24, &[None, Some(0), Some(1)][..]), (25, &[None]), (26, &[])] {
            let found = map.contours_filtered(1, min_area).unwrap();
            assert_eq!(found.iter().map(|contour| contour.parent).collect::<Vec<_>>(), expected, "{min_area}");
        }
    }

    /// The fixture of tests/reference/contours.py: images and their contours in OpenCV.
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
            // Parents are compared by their first vertex: OpenCV lists contours in another order.
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
