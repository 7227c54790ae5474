//! The regions of a label map as polygons that reproduce the labels when drawn in order.

/// A closed polygon around connected pixels of one label. It has no holes: their contents are drawn
/// later.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The label.
    pub label: u8,
    /// Corners, column and row, on pixel edges: (0, 0) is the image's upper left corner. Clockwise
    /// on screen.
    pub points: Vec<(f64, f64)>,
    /// Pixels of the region, without its holes.
    pub pixels: usize,
}

/// Settings for outlines.
#[derive(Debug, Clone, Copy)]
pub struct Detail {
    /// Smaller regions are skipped.
    pub min_area: usize,
    /// The largest distance of a removed corner from its polygon, in pixels; 0 keeps all.
    pub tolerance: f64,
    /// The label that needs no polygon, unless it is inside another region.
    pub background: Option<u8>,
}

/// The outlines of all regions connected at pixel sides, ordered so that each region comes after
/// the one that it is a hole in. `labels` has rows of `width` pixels. Pixels of label 255 belong to
/// no region.
pub fn outlines(labels: &[u8], width: usize, detail: Detail) -> Vec<Outline> {
    let (regions, pixels, starts) = regions(labels, width);
    let height = labels.len() / width.max(1);
    let mut found = Vec::new();
    for (region, (&pixels, &start)) in (0..).zip(pixels.iter().zip(&starts)) {
        let label = labels[start];
        if label == crate::data::VOID || pixels < detail.min_area {
            continue;
        }
        let corners = trace(&regions, (width, height), region, start);
        let is_at_border = corners.iter().any(|&(x, y)| x == 0 || y == 0 || x == width || y == height);
        if Some(label) == detail.background && is_at_border {
            continue;
        }
        let points: Vec<(f64, f64)> = corners.iter().map(|&(x, y)| (x as f64, y as f64)).collect();
        let points = simplify(points, detail.tolerance);
        // A region thinner than the tolerance has no area left.
        if points.len() >= 3 {
            found.push((filled(&points), Outline { label, points, pixels }));
        }
    }
    // A region encloses less than the one around it.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, outline)| outline).collect()
}

/// The region of each pixel, and each region's pixel count and first pixel.
fn regions(labels: &[u8], width: usize) -> (Vec<u32>, Vec<usize>, Vec<usize>) {
    const NONE: u32 = u32::MAX;
    let mut regions = vec![NONE; labels.len()];
    let (mut pixels, mut starts, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for start in 0..labels.len() {
        if regions[start] != NONE {
            continue;
        }
        let (region, mut count) = (starts.len() as u32, 0);
        regions[start] = region;
        waiting.push(start);
        while let Some(place) = waiting.pop() {
            count += 1;
            let x = place % width;
            let left = (x > 0).then(|| place - 1);
            let right = (x + 1 < width).then_some(place + 1);
            let above = place.checked_sub(width);
            let below = (place + width < labels.len()).then_some(place + width);
            for next in [left, right, above, below].into_iter().flatten() {
                if regions[next] == NONE && labels[next] == labels[start] {
                    regions[next] = region;
                    waiting.push(next);
                }
            }
        }
        pixels.push(count);
        starts.push(start);
    }
    (regions, pixels, starts)
}

/// The corners of a region's outer border, along pixel edges with the region on the right.
fn trace(regions: &[u32], (width, height): (usize, usize), region: u32, start: usize) -> Vec<(usize, usize)> {
    // Right, down, left, up.
    const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    // The pixels ahead of a corner, on the right and on the left, relative to the corner's own
    // pixel (below and right of it).
    const RIGHT: [(isize, isize); 4] = [(0, 0), (-1, 0), (-1, -1), (0, -1)];
    const LEFT: [(isize, isize); 4] = [(0, -1), (0, 0), (-1, 0), (-1, -1)];
    let is_in = |(x, y): (isize, isize), (dx, dy): (isize, isize)| {
        let (x, y) = (x + dx, y + dy);
        let inside = x >= 0 && y >= 0 && (x as usize) < width && (y as usize) < height;
        inside && regions[y as usize * width + x as usize] == region
    };
    // The first pixel of a region has none of it above or to the left.
    let first = ((start % width) as isize, (start / width) as isize);
    let (mut at, mut direction) = (first, 0);
    let mut corners = Vec::new();
    loop {
        let (dx, dy) = STEPS[direction];
        at = (at.0 + dx, at.1 + dy);
        // Pixels that touch only at a corner belong to two regions.
        let next = if !is_in(at, RIGHT[direction]) {
            (direction + 1) % 4
        } else if is_in(at, LEFT[direction]) {
            (direction + 3) % 4
        } else {
            direction
        };
        if next != direction {
            corners.push((at.0 as usize, at.1 as usize));
        }
        direction = next;
        if at == first && direction == 0 {
            return corners;
        }
    }
}

/// A closed polygon with fewer corners, with the removed ones at most `tolerance` away (Douglas and
/// Peucker 1973).
fn simplify(points: Vec<(f64, f64)>, tolerance: f64) -> Vec<(f64, f64)> {
    if tolerance <= 0.0 || points.len() < 4 {
        return points;
    }
    // Two corners far from each other stay; both chains between them are simplified.
    let square = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2);
    let farthest =
        (0..points.len()).max_by(|&a, &b| square(points[0], points[a]).total_cmp(&square(points[0], points[b])));
    let farthest = farthest.unwrap_or(0);
    let mut keep = vec![false; points.len() + 1];
    let closed: Vec<(f64, f64)> = points.iter().copied().chain([points[0]]).collect();
    [0, farthest, points.len()].iter().for_each(|&place| keep[place] = true);
    let mut waiting = vec![(0, farthest), (farthest, points.len())];
    while let Some((from, to)) = waiting.pop() {
        let between = from + 1..to;
        let Some(most) = between.max_by(|&a, &b| {
            distance(closed[a], closed[from], closed[to]).total_cmp(&distance(closed[b], closed[from], closed[to]))
        }) else {
            continue;
        };
        if distance(closed[most], closed[from], closed[to]) > tolerance {
            keep[most] = true;
            waiting.extend([(from, most), (most, to)]);
        }
    }
    points.iter().zip(keep).filter(|(_, keep)| *keep).map(|(point, _)| *point).collect()
}

/// The distance of a point from the line between two others.
fn distance(point: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { ((point.0 - from.0) * dx + (point.1 - from.1) * dy) / length } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (point.0 - from.0 - along * dx).hypot(point.1 - from.1 - along * dy)
}

/// The area enclosed by a polygon.
fn filled(points: &[(f64, f64)]) -> f64 {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>().abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Shape;
    use rand::{RngExt, SeedableRng};

    const ALL: Detail = Detail { min_area: 1, tolerance: 0.0, background: Some(0) };

    fn drawn(found: &[Outline], width: usize, height: usize) -> Vec<u8> {
        let mut labels = vec![0; width * height];
        for outline in found {
            let shape = Shape::Polygons(vec![outline.points.clone()]);
            shape.draw(&mut labels, width, height, outline.label).unwrap();
        }
        labels
    }

    #[test]
    fn drawn_outlines_are_the_labels() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for case in 0..300u32 {
            let (width, height) = (random.random_range(1..12), random.random_range(1..12));
            let classes = 2 + (case % 4) as u8;
            let labels: Vec<u8> = (0..width * height).map(|_| random.random_range(0..classes)).collect();
            let found = outlines(&labels, width, ALL);
            assert_eq!(drawn(&found, width, height), labels, "{width} x {height}: {labels:?}");
            assert!(found.iter().map(|outline| outline.pixels).sum::<usize>() <= labels.len());
        }
    }

    #[test]
    fn rings_lie_over_each_other() {
        #[rustfmt::skip]
        let labels = [
            1, 1, 1, 1, 1,
            1, 0, 0, 0, 1,
            1, 0, 2, 0, 1,
            1, 0, 0, 0, 1,
            1, 1, 1, 1, 1,
        ];
        let found = outlines(&labels, 5, ALL);
        let told: Vec<_> = found.iter().map(|outline| (outline.label, outline.pixels)).collect();
        assert_eq!(told, [(1, 16), (0, 8), (2, 1)]);
        assert_eq!(found[2].points, [(3.0, 2.0), (3.0, 3.0), (2.0, 3.0), (2.0, 2.0)]);
        // Just large enough, and just too small.
        let told = |min_area| outlines(&labels, 5, Detail { min_area, ..ALL }).len();
        assert_eq!([told(8), told(9), told(16), told(17)], [2, 1, 1, 0]);
        // Background at the border needs no polygon; void never has one.
        assert_eq!(outlines(&[0, 0, 1], 3, ALL).len(), 1);
        assert_eq!(outlines(&[0, 0, 1], 3, Detail { background: None, ..ALL }).len(), 2);
        assert_eq!(outlines(&[255, 255, 1], 3, ALL).len(), 1);
    }

    #[test]
    fn simpler_outlines_stay_within_the_tolerance() {
        // A circle with many corners.
        let (width, height) = (60, 60);
        let is_in = |x: usize, y: usize| (x as f64 - 29.5).hypot(y as f64 - 29.5) < 25.0;
        let labels: Vec<u8> = (0..width * height).map(|i| u8::from(is_in(i % width, i / width))).collect();
        let exact = outlines(&labels, width, ALL);
        let simple = outlines(&labels, width, Detail { tolerance: 1.0, ..ALL });
        assert!(
            simple[0].points.len() * 4 < exact[0].points.len(),
            "{} of {}",
            simple[0].points.len(),
            exact[0].points.len()
        );
        for point in &exact[0].points {
            let points = &simple[0].points;
            let sides = points.iter().zip(points.iter().cycle().skip(1));
            let nearest = sides.map(|(a, b)| distance(*point, *a, *b)).fold(f64::INFINITY, f64::min);
            assert!(nearest <= 1.0, "{point:?} is {nearest} away");
        }
        let wrong = drawn(&simple, width, height).iter().zip(&labels).filter(|(a, b)| a != b).count();
        assert!(wrong < 100, "{wrong} of {} pixels", labels.len());
    }
}
