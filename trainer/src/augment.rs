//! Augmentation: random scale, random crop, random flip and normalisation, in one pass over the
//! pixels of the crop; optional random colours and blur in separate passes.

mod blur;
mod color;
mod planes;
#[cfg(test)]
mod tests;

pub use color::Jitter;

use std::ops::Range;

use rand::{Rng, RngExt};

use crate::data::{Sample, VOID};
use planes::Planes;

/// The number of crops tried to find one in which no class has too large a share (as many as
/// PSPNet's training code and mmsegmentation's `RandomCrop`); the last one is used as it is.
const TRIES: usize = 10;
/// The smallest standard deviation of a blur in pixels; below it nothing changes.
pub const LEAST_BLUR: f32 = 0.1;

/// The normalisation of the network's input: `(v / 255 - mean) / std` for each of red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Means of red, green, blue, for values 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviations of red, green, blue, for values 0 to 1.
    pub std: [f32; 3],
}

impl Normalisation {
    /// No normalisation: values from 0 to 1.
    const NONE: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };

    /// The input value of each byte of channel `c`.
    fn table(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c])
    }
}

/// Random changes that preserve the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Height and width of the crop in pixels.
    pub crop: (usize, usize),
    /// The smallest and the largest scale factor; (1, 1) keeps the pixels unchanged.
    pub scale: (f32, f32),
    /// The largest share of a crop's pixels that one class may have; 1: no limit. If a crop has a
    /// single class, or more of one than this, another position is tried.
    pub max_class_share: f32,
    /// Whether to mirror half of the crops.
    pub flip: bool,
    /// Random colour changes.
    pub jitter: Jitter,
    /// Every other crop is blurred, with a random standard deviation of at most this many pixels;
    /// 0: never.
    pub blur: f32,
    /// The normalisation of the image.
    pub normalise: Normalisation,
}

impl Augment {
    /// Only crops at random positions.
    pub fn crops(crop: (usize, usize), normalise: Normalisation) -> Augment {
        Augment {
            crop,
            scale: (1.0, 1.0),
            max_class_share: 1.0,
            flip: false,
            jitter: Jitter::default(),
            blur: 0.0,
            normalise,
        }
    }

    /// Scales the photo by a random factor, cuts a crop at a random position, and mirrors it at
    /// random. The image is resampled bilinearly, the mask by nearest pixel, both with half-pixel
    /// centres. Then the image's colours are changed and it is blurred. If the scaled photo is
    /// smaller than the crop, it is placed at random inside it, surrounded by 0.0 (the mean colour)
    /// and [`VOID`].
    ///
    /// `image_out` is 3 x crop height x crop width, `mask_out` crop height x crop width.
    pub fn apply(&self, sample: &Sample, rng: &mut impl Rng, image_out: &mut [f32], mask_out: &mut [u8]) {
        let (height, width) = self.crop;
        let (low, high) = self.scale;
        let factor = if low < high { rng.random_range(low..=high) } else { low };
        let mut rows = CropSide::random(sample.height, factor, height, false, rng);
        let flip = self.flip && rng.random();
        let mut columns = CropSide::random(sample.width, factor, width, flip, rng);
        resample_mask(sample, &rows, &columns, mask_out);
        for _ in 1..TRIES {
            if is_mixed(mask_out, self.max_class_share) {
                break;
            }
            rows = CropSide::random(sample.height, factor, height, false, rng);
            columns = CropSide::random(sample.width, factor, width, flip, rng);
            resample_mask(sample, &rows, &columns, mask_out);
        }

        let changes = self.jitter.draw(rng);
        let sigma = if self.blur > 0.0 && rng.random() {
            rng.random_range(LEAST_BLUR..=self.blur.max(LEAST_BLUR))
        } else {
            0.0
        };
        if changes.is_empty() && sigma == 0.0 {
            return draw(sample, &rows, &columns, &self.normalise, image_out);
        }
        draw(sample, &rows, &columns, &Normalisation::NONE, image_out);
        let mut planes = Planes::new(image_out, width, rows.covered, columns.covered);
        for change in changes {
            change.apply(&mut planes);
        }
        if sigma > 0.0 {
            blur::blur(&mut planes, &blur::kernel(sigma));
        }
        let Normalisation { mean, std } = self.normalise;
        planes.for_each_row(|c, row| {
            let gain = 1.0 / std[c];
            row.iter_mut().for_each(|value| *value = (*value - mean[c]) * gain);
        });
    }
}

/// Normalises a whole photo of `w` x `h` pixels (RGB, row by row) to 3 x `padded_h` x `padded_w`
/// values, padded with 0.0 at the right and bottom.
pub fn normalise_whole(
    sample_rgb: &[u8],
    w: usize,
    h: usize,
    normalise: &Normalisation,
    padded_h: usize,
    padded_w: usize,
    out: &mut [f32],
) {
    assert!(padded_h >= h && padded_w >= w, "{padded_w} x {padded_h} holds {w} x {h}");
    assert_eq!(out.len(), 3 * padded_h * padded_w, "3 planes of {padded_w} x {padded_h}");
    out.fill(0.0);
    // HWC => CHW
    for (c, plane) in out.chunks_exact_mut(padded_h * padded_w).enumerate() {
        let table = normalise.table(c);
        for (source, target) in sample_rgb.chunks_exact(3 * w).zip(plane.chunks_exact_mut(padded_w)) {
            for (pixel, value) in source.chunks_exact(3).zip(target) {
                *value = table[pixel[c] as usize];
            }
        }
    }
}

/// The source pixels of one side of the crop.
struct CropSide {
    /// The crop's pixels that the photo covers.
    covered: Range<usize>,
    /// One entry per covered pixel.
    taps: Vec<CropTap>,
    /// Whether every tap is exactly one pixel of the photo.
    whole: bool,
    /// Length of the crop's side.
    crop: usize,
}

/// The source of one pixel along one side.
#[derive(Clone, Copy)]
struct CropTap {
    /// The nearest source pixel.
    nearest: usize,
    /// The two source pixels around the centre, ...
    first: usize,
    second: usize,
    /// ... and the weight of the second one.
    weight: f32,
}

impl CropSide {
    /// A side of `source` pixels scaled by `factor`, and a random position on it for `crop` pixels.
    fn random(source: usize, factor: f32, crop: usize, flip: bool, rng: &mut impl Rng) -> CropSide {
        let scaled = ((source as f64 * factor as f64).round() as usize).max(1);
        // The crop's first pixel on the scaled side; negative if the crop starts before it.
        let slack = scaled as i64 - crop as i64;
        let start = rng.random_range(slack.min(0)..=slack.max(0));
        CropSide::at(source, scaled, start, crop, flip)
    }

    fn at(source: usize, scaled: usize, start: i64, crop: usize, flip: bool) -> CropSide {
        let first = (-start).max(0) as usize;
        let last = crop.min((scaled as i64 - start) as usize);
        let step = source as f64 / scaled as f64;
        let tap = |place: usize| {
            let scaled_place = (place as i64 + start) as usize;
            let center = ((scaled_place as f64 + 0.5) * step - 0.5).clamp(0.0, (source - 1) as f64);
            let below = center as usize;
            CropTap {
                nearest: (2 * scaled_place + 1) * source / (2 * scaled),
                first: below,
                second: (below + 1).min(source - 1),
                weight: (center - below as f64) as f32,
            }
        };
        let mut taps: Vec<CropTap> = (first..last).map(tap).collect();
        let mut covered = first..last;
        if flip {
            taps.reverse();
            covered = crop - last..crop - first;
        }
        CropSide { covered, taps, whole: scaled == source, crop }
    }

    /// The source pixels that the taps touch.
    fn touched(&self) -> Range<usize> {
        let first = self.taps.iter().map(|tap| tap.first).min().unwrap_or(0);
        let last = self.taps.iter().map(|tap| tap.second + 1).max().unwrap_or(0);
        first..last
    }
}

fn resample_mask(sample: &Sample, rows: &CropSide, columns: &CropSide, out: &mut [u8]) {
    out.fill(VOID);
    let target_rows = out.chunks_exact_mut(columns.crop).skip(rows.covered.start);
    for (row, target) in rows.taps.iter().zip(target_rows) {
        let source = &sample.mask[row.nearest * sample.width..][..sample.width];
        for (value, column) in target[columns.covered.clone()].iter_mut().zip(&columns.taps) {
            *value = source[column.nearest];
        }
    }
}

/// Whether a crop has several classes, none of them with more than `limit` of the pixels that are
/// not void.
fn is_mixed(mask: &[u8], limit: f32) -> bool {
    if limit >= 1.0 {
        return true;
    }
    // Four histograms: neighbours mostly have the same class, and a single counter would stall.
    let mut lanes = [[0u32; 256]; 4];
    for pixels in mask.chunks(4) {
        for (lane, &index) in lanes.iter_mut().zip(pixels) {
            lane[index as usize] += 1;
        }
    }
    let counts = (0..256).filter(|index| *index != usize::from(VOID)).map(|i| lanes.iter().map(|lane| lane[i]).sum());
    let (largest, sum, classes) = counts.fold((0u32, 0u32, 0), |(largest, sum, classes), count: u32| {
        (largest.max(count), sum + count, classes + usize::from(count > 0))
    });
    classes > 1 && largest as f32 <= limit * sum as f32
}

fn draw(sample: &Sample, rows: &CropSide, columns: &CropSide, normalise: &Normalisation, out: &mut [f32]) {
    if rows.whole && columns.whole {
        copy_image(sample, rows, columns, normalise, out)
    } else {
        resample_image(sample, rows, columns, normalise, out)
    }
}

/// The image without scaling: every value is exactly one pixel's.
fn copy_image(sample: &Sample, rows: &CropSide, columns: &CropSide, normalise: &Normalisation, out: &mut [f32]) {
    out.fill(0.0);
    // HWC => CHW
    for (c, plane) in out.chunks_exact_mut(rows.crop * columns.crop).enumerate() {
        let table = normalise.table(c);
        let target_rows = plane.chunks_exact_mut(columns.crop).skip(rows.covered.start);
        for (row, target) in rows.taps.iter().zip(target_rows) {
            let source = &sample.image[row.nearest * 3 * sample.width..][..3 * sample.width];
            for (value, column) in target[columns.covered.clone()].iter_mut().zip(&columns.taps) {
                *value = table[source[3 * column.nearest + c] as usize];
            }
        }
    }
}

/// The image, bilinearly: each row of the crop blends two rows of the photo, over the columns that
/// the crop touches, and then picks its pixels from the blend.
fn resample_image(sample: &Sample, rows: &CropSide, columns: &CropSide, normalise: &Normalisation, out: &mut [f32]) {
    out.fill(0.0);
    let touched = columns.touched();
    let bytes = 3 * touched.start..3 * touched.end;
    let mut blend = vec![0f32; bytes.len()];
    // (v / 255 - mean) / std as one multiply-add.
    let gain = normalise.std.map(|std| 1.0 / (255.0 * std));
    let offset: [f32; 3] = std::array::from_fn(|c| -normalise.mean[c] / normalise.std[c]);
    let plane = rows.crop * columns.crop;
    for (y, row) in rows.covered.clone().zip(&rows.taps) {
        let first = &sample.image[row.first * 3 * sample.width..][bytes.clone()];
        let second = &sample.image[row.second * 3 * sample.width..][bytes.clone()];
        for ((value, &a), &b) in blend.iter_mut().zip(first).zip(second) {
            *value = lerp(a as f32, b as f32, row.weight);
        }
        // HWC => CHW
        for c in 0..3 {
            let target = &mut out[c * plane + y * columns.crop..][columns.covered.clone()];
            for (value, column) in target.iter_mut().zip(&columns.taps) {
                let a = blend[3 * (column.first - touched.start) + c];
                let b = blend[3 * (column.second - touched.start) + c];
                *value = lerp(a, b, column.weight) * gain[c] + offset[c];
            }
        }
    }
}

fn lerp(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}
