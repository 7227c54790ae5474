//! Augmentation: random scale, random crop, random flip and normalisation, in one pass over the pixels of the crop.

#[cfg(test)]
mod tests;

use std::ops::Range;

use rand::{Rng, RngExt};

use crate::data::{Sample, VOID};

/// How bytes become the network's input: `(v / 255 - mean) / std` for each of red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalise {
    /// Means of red, green, blue, of values 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviations of red, green, blue, of values 0 to 1.
    pub std: [f32; 3],
}

impl Normalise {
    /// The input value of each byte of channel `c`.
    fn table(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c])
    }
}

/// Random changes that keep a photo's meaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Height and width of the crop in pixels.
    pub crop: (usize, usize),
    /// The smallest and the largest factor the photo is scaled by; (1, 1) keeps its pixels as they are.
    pub scale: (f32, f32),
    /// Whether to mirror left and right, every other time.
    pub flip: bool,
    /// The normalisation of the image.
    pub normalise: Normalise,
}

impl Augment {
    /// Scales the photo by a random factor, cuts a crop at a random place, and mirrors it at random. The image is
    /// resampled bilinearly, the mask by nearest pixel, both with half-pixel centres. Where the scaled photo is smaller
    /// than the crop it lies at a random place within, surrounded by 0.0 (the mean colour) and [`VOID`].
    ///
    /// `image_out` is 3 x crop height x crop width, `mask_out` crop height x crop width.
    pub fn apply(&self, sample: &Sample, rng: &mut impl Rng, image_out: &mut [f32], mask_out: &mut [u8]) {
        let (height, width) = self.crop;
        let (low, high) = self.scale;
        let factor = if low < high { rng.random_range(low..=high) } else { low };
        let rows = Axis::random(sample.height, factor, height, false, rng);
        let flip = self.flip && rng.random();
        let columns = Axis::random(sample.width, factor, width, flip, rng);

        resample_mask(sample, &rows, &columns, mask_out);
        if rows.whole && columns.whole {
            copy_image(sample, &rows, &columns, &self.normalise, image_out);
        } else {
            resample_image(sample, &rows, &columns, &self.normalise, image_out);
        }
    }
}

/// Normalises a whole photo of `w` x `h` pixels (RGB, row by row) exactly, into 3 x `padded_h` x `padded_w` values:
/// to its right and below it 0.0.
pub fn normalise_whole(
    sample_rgb: &[u8],
    w: usize,
    h: usize,
    normalise: &Normalise,
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

/// Where the pixels of one side of the crop come from.
struct Axis {
    /// The crop's pixels that the photo covers.
    covered: Range<usize>,
    /// One entry for each covered pixel.
    taps: Vec<Tap>,
    /// Every tap is exactly one pixel of the photo.
    whole: bool,
    /// Length of the crop's side.
    crop: usize,
}

/// The source of one pixel along one side.
#[derive(Clone, Copy)]
struct Tap {
    /// The nearest source pixel.
    nearest: usize,
    /// The two source pixels around the centre, ...
    first: usize,
    second: usize,
    /// ... and the second one's weight.
    weight: f32,
}

impl Axis {
    /// A side of `source` pixels scaled by `factor`, and a random place on it for `crop` pixels.
    fn random(source: usize, factor: f32, crop: usize, flip: bool, rng: &mut impl Rng) -> Axis {
        let scaled = ((source as f64 * factor as f64).round() as usize).max(1);
        // The crop's first pixel on the scaled side: negative where the crop reaches beyond it.
        let slack = scaled as i64 - crop as i64;
        let start = rng.random_range(slack.min(0)..=slack.max(0));
        Axis::at(source, scaled, start, crop, flip)
    }

    fn at(source: usize, scaled: usize, start: i64, crop: usize, flip: bool) -> Axis {
        let first = (-start).max(0) as usize;
        let last = crop.min((scaled as i64 - start) as usize);
        let step = source as f64 / scaled as f64;
        let tap = |place: usize| {
            let scaled_place = (place as i64 + start) as usize;
            let center = ((scaled_place as f64 + 0.5) * step - 0.5).clamp(0.0, (source - 1) as f64);
            let below = center as usize;
            Tap {
                nearest: (2 * scaled_place + 1) * source / (2 * scaled),
                first: below,
                second: (below + 1).min(source - 1),
                weight: (center - below as f64) as f32,
            }
        };
        let mut taps: Vec<Tap> = (first..last).map(tap).collect();
        let mut covered = first..last;
        if flip {
            taps.reverse();
            covered = crop - last..crop - first;
        }
        Axis { covered, taps, whole: scaled == source, crop }
    }

    /// The source pixels that the taps touch.
    fn touched(&self) -> Range<usize> {
        let first = self.taps.iter().map(|tap| tap.first).min().unwrap_or(0);
        let last = self.taps.iter().map(|tap| tap.second + 1).max().unwrap_or(0);
        first..last
    }
}

fn resample_mask(sample: &Sample, rows: &Axis, columns: &Axis, out: &mut [u8]) {
    out.fill(VOID);
    let target_rows = out.chunks_exact_mut(columns.crop).skip(rows.covered.start);
    for (row, target) in rows.taps.iter().zip(target_rows) {
        let source = &sample.mask[row.nearest * sample.width..][..sample.width];
        for (value, column) in target[columns.covered.clone()].iter_mut().zip(&columns.taps) {
            *value = source[column.nearest];
        }
    }
}

/// The image where nothing is scaled: every value is exactly a pixel's.
fn copy_image(sample: &Sample, rows: &Axis, columns: &Axis, normalise: &Normalise, out: &mut [f32]) {
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

/// The image, bilinearly: each row of the crop first blends two rows of the photo, over the columns the crop touches,
/// then picks its pixels from the blend.
fn resample_image(sample: &Sample, rows: &Axis, columns: &Axis, normalise: &Normalise, out: &mut [f32]) {
    out.fill(0.0);
    let touched = columns.touched();
    let bytes = 3 * touched.start..3 * touched.end;
    let mut blend = vec![0f32; bytes.len()];
    // (v / 255 - mean) / std, as one multiplication and one addition.
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
