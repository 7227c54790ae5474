//! Gaussian blur of a crop, like torchvision's `GaussianBlur`: separable, with reflected borders.

use super::planes::Planes;

/// The weights of a Gaussian with this standard deviation in pixels, up to three of them away; they
/// sum to 1.
pub(super) fn kernel(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i32;
    let weights: Vec<f32> = (-radius..=radius).map(|at| (-0.5 * (at as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Blurs along rows, then along columns.
pub(super) fn blur(planes: &mut Planes, kernel: &[f32]) {
    let (height, width) = (planes.rows.len(), planes.columns.len());
    if height == 0 || width == 0 {
        return;
    }
    let (radius, top) = (kernel.len() / 2, planes.rows.start);
    let mut wide = vec![0.0; width + 2 * radius];
    let mut rows = vec![0.0; height * width];
    for c in 0..3 {
        let (plane, row) = planes.plane(c);
        for (y, blurred) in rows.chunks_exact_mut(width).enumerate() {
            let source = &plane[row(top + y)];
            for (place, value) in wide.iter_mut().enumerate() {
                *value = source[mirrored(place as isize - radius as isize, width)];
            }
            blurred.fill(0.0);
            for (offset, weight) in kernel.iter().enumerate() {
                add(blurred, &wide[offset..], *weight);
            }
        }
        for y in 0..height {
            let target = &mut plane[row(top + y)];
            target.fill(0.0);
            for (offset, weight) in kernel.iter().enumerate() {
                let source = mirrored((y + offset) as isize - radius as isize, height);
                add(target, &rows[source * width..], *weight);
            }
        }
    }
}

fn add(target: &mut [f32], source: &[f32], weight: f32) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += weight * source;
    }
}

/// A position beyond a side of `length` pixels, reflected at the centres of the outermost pixels as
/// often as necessary.
fn mirrored(place: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last == 0 {
        return 0;
    }
    let around = place.rem_euclid(2 * last);
    around.min(2 * last - around) as usize
}
