//! Connected components by plain flood fill, and random images to test them with.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "each suite takes what it needs")]

/// The label of pixels without a class.
const UNKNOWN: u8 = 255;

/// Regions of equal labels, 8-connected if `corners` is true, otherwise 4-connected, by plain flood
/// fill; ordered by their first pixel.
pub fn flooded(labels: &[u8], width: usize, corners: bool) -> Vec<Vec<usize>> {
    let height = labels.len() / width;
    let mut seen = vec![false; labels.len()];
    let mut regions = Vec::new();
    for start in 0..labels.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut region = vec![start];
        let mut next = 0;
        while let Some(&at) = region.get(next) {
            next += 1;
            for other in neighbours(at, (width, height), corners) {
                if !seen[other] && labels[other] == labels[start] {
                    seen[other] = true;
                    region.push(other);
                }
            }
        }
        regions.push(region);
    }
    regions
}

/// The neighbours of a pixel at its sides, and at its corners if `corners` is true.
pub fn neighbours(at: usize, (width, height): (usize, usize), corners: bool) -> Vec<usize> {
    let (x, y) = ((at % width) as isize, (at / width) as isize);
    let mut found = Vec::new();
    for (right, down) in [(0, -1), (-1, 0), (1, 0), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)] {
        let inside = (0..width as isize).contains(&(x + right)) && (0..height as isize).contains(&(y + down));
        if inside && (corners || right == 0 || down == 0) {
            found.push((y + down) as usize * width + (x + right) as usize);
        }
    }
    found
}

/// Random numbers (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % end
    }
}

/// A random image and its width: overlapping rectangles and then single pixels with a few labels,
/// including UNKNOWN.
pub fn picture(random: &mut Random) -> (Vec<u8>, usize) {
    let (width, height) = (1 + random.below(50), 1 + random.below(16));
    let palette = &[0, 1, 255, 7, 254][..1 + random.below(5)];
    let mut labels = vec![palette[0]; width * height];
    for _ in 0..random.below(8) {
        let (mut left, mut top) = (random.below(width), random.below(height));
        let (mut right, mut bottom) = (left + random.below(width - left), top + random.below(height - top));
        // Nested rectangles, so that regions lie in holes.
        while left <= right && top <= bottom {
            let label = palette[random.below(palette.len())];
            (top..=bottom).for_each(|y| labels[y * width + left..=y * width + right].fill(label));
            (left, top) = (left + 1 + random.below(2), top + 1);
            (right, bottom) = (right.saturating_sub(1), bottom.saturating_sub(1));
        }
    }
    let pixels = width * height * random.below(3) / 2;
    for _ in 0..random.below(1 + pixels) {
        labels[random.below(width * height)] = palette[random.below(palette.len())];
    }
    (labels, width)
}

/// Implements `Mask::set_min_region` literally.
pub fn without_specks(labels: &[u8], width: usize, least: u32) -> Vec<u8> {
    let mut labels = labels.to_vec();
    let size = (width, labels.len() / width);
    loop {
        let small = flooded(&labels, width, false)
            .into_iter()
            .filter(|region| region.len() < least as usize && labels[region[0]] != UNKNOWN)
            .filter(|region| region.len() < labels.len())
            .min_by_key(|region| (region.len(), region[0]));
        let Some(region) = small else { return labels };
        let mut sides = [0; 256];
        for &at in &region {
            for other in neighbours(at, size, false) {
                sides[usize::from(labels[other])] += usize::from(labels[other] != labels[at]);
            }
        }
        let most = sides.iter().max().unwrap();
        let label = sides.iter().position(|sides| sides == most).unwrap();
        region.into_iter().for_each(|at| labels[at] = label as u8);
    }
}
