//! Converts a [`Frame`] to the network's input in one pass: normalised float32, planes of height x
//! width (NCHW with N = 1).

use std::ops::Range;

use crate::{
    Frame, Size,
    pixels::{BLOCK, PixelReader, Rgb, Words},
    pool::{Pool, Queue},
    resample::{Axis, Tap},
    simd::{self, F32x8, SimdOp},
};

/// The normalisation of a network's input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normaliser {
    /// The value of each byte in each channel: a lookup is as fast as the arithmetic, and gives the
    /// same result on every processor.
    tables: [[f32; 256]; 3],
    /// The same as `byte * scale + offset`, for interpolated values.
    scale: [f32; 3],
    offset: [f32; 3],
    /// The RGB channel that feeds each channel of the network.
    channels: [usize; 3],
}

impl Normaliser {
    /// `(value * factor - mean) / std`, or `(value / 255 - mean) / std` without a factor. `mean`
    /// and `std` are in the network's channel order.
    pub(crate) fn new(factor: Option<f32>, mean: [f32; 3], std: [f32; 3], channels: [usize; 3]) -> Self {
        let scale = std.map(|std| factor.map_or(1.0 / (255.0 * std), |factor| factor / std));
        let offset = std::array::from_fn(|c| -mean[c] / std[c]);
        let tables = std::array::from_fn(|c| std::array::from_fn(|byte| byte as f32 * scale[c] + offset[c]));
        Normaliser { tables, scale, offset, channels }
    }

    /// Scale and offset of each channel: `byte * scale + offset`.
    pub(crate) fn factors(&self) -> ([f32; 3], [f32; 3]) {
        (self.scale, self.offset)
    }

    /// Writes the first `count` pixels to each plane, starting at `at`.
    #[inline(always)]
    fn write(&self, pixels: &Rgb, planes: &mut [&mut [f32]; 3], at: usize, count: usize) {
        for (channel, plane) in planes.iter_mut().enumerate() {
            let (scale, offset) = (self.scale[channel], self.offset[channel]);
            let row = &mut plane[at..at + count];
            let source = &pixels[self.channels[channel]];
            match <&mut [f32; BLOCK]>::try_from(&mut *row) {
                // As below, with a length known at compile time.
                Ok(block) => block.iter_mut().zip(source).for_each(|(value, pixel)| *value = pixel * scale + offset),
                Err(_) => row.iter_mut().zip(source).for_each(|(value, pixel)| *value = pixel * scale + offset),
            }
        }
    }

    /// The offset in a pixel of the byte that feeds each channel.
    pub(crate) fn offsets(&self, frame: &Frame<'_>) -> [usize; 3] {
        let rgb = frame.format().samples();
        self.channels.map(|channel| rgb[channel].offset)
    }
}

/// Rows of the network's input: the index of the first one, and the three planes.
type InputBand<'a> = (usize, [&'a mut [f32]; 3]);

/// Rows that are filled together, one block of columns at a time: positions are computed once for
/// all of them, and in a rotated frame they share cache lines. Measured: more rows are slower for
/// wide frames.
const COPIED_ROWS: usize = 4;
const RESIZED_ROWS: usize = 32;

/// Fills `image` (3 planes of `size`) on all threads, a band of rows at a time.
fn each_band(image: &mut [f32], size: Size, pool: &Pool, fill: impl Fn(InputBand<'_>) + Sync) {
    let Size { width, height } = size;
    let share = height.div_ceil(pool.threads());
    let (first, rest) = image.split_at_mut(height * width);
    let (second, third) = rest.split_at_mut(height * width);
    let [first, second, third] = [first, second, third].map(|plane| plane.chunks_mut(share * width));
    let bands = first.zip(second).zip(third).enumerate();
    let bands = Queue::new(bands.map(|(index, ((a, b), c))| (index * share, [a, b, c])));
    pool.run(&|| {
        while let Some(band) = bands.next() {
            fill(band);
        }
    });
}

/// Copies the frame to the top left of `image` (3 planes of `size`, at least the frame's). The rest
/// becomes 0, the mean colour.
pub(crate) fn copy(frame: &Frame<'_>, normalise: &Normaliser, image: &mut [f32], size: Size, pool: &Pool) {
    let Size { width: columns, height: rows } = frame.size();
    each_band(image, size, pool, |(first, mut planes)| {
        let inside = rows.saturating_sub(first).min(planes[0].len() / size.width);
        for plane in &mut planes {
            let (above, below) = plane.split_at_mut(inside * size.width);
            above.chunks_exact_mut(size.width).for_each(|row| row[columns..].fill(0.0));
            below.fill(0.0);
        }
        let rows = first..first + inside;
        if frame.contiguous_row(0).is_some() {
            return look_up(frame, normalise, rows, planes, size.width);
        }
        simd::run(CopyRows { frame, normalise, rows, planes, width: size.width });
    });
}

/// Converts rows of contiguous pixels with the lookup tables.
fn look_up(frame: &Frame<'_>, normalise: &Normaliser, rows: Range<usize>, planes: [&mut [f32]; 3], width: usize) {
    let offsets = normalise.offsets(frame);
    let [a, b, c] = planes.map(|plane| plane.chunks_exact_mut(width));
    for (y, ((a, b), c)) in rows.zip(a.zip(b).zip(c)) {
        let Some(source) = frame.contiguous_row(y as u32) else { continue };
        let row = [a, b, c].map(|row| &mut row[..frame.width() as usize]);
        // HWC => CHW
        match frame.format().bytes() {
            1 => contiguous::<1>(source, offsets, &normalise.tables, row),
            2 => contiguous::<2>(source, offsets, &normalise.tables, row),
            3 => contiguous::<3>(source, offsets, &normalise.tables, row),
            _ => contiguous::<4>(source, offsets, &normalise.tables, row),
        }
    }
}

/// Converts a row of pixels of `BYTES` bytes.
fn contiguous<const BYTES: usize>(source: &[u8], offsets: [usize; 3], tables: &[[f32; 256]; 3], row: [&mut [f32]; 3]) {
    // Always true; it removes a bounds check for each pixel.
    let offsets = offsets.map(|offset| offset.min(BYTES - 1));
    let [a, b, c] = row.map(|row| row.iter_mut());
    for (pixel, ((a, b), c)) in source.chunks_exact(BYTES).zip(a.zip(b).zip(c)) {
        *a = tables[0][usize::from(pixel[offsets[0]])];
        *b = tables[1][usize::from(pixel[offsets[1]])];
        *c = tables[2][usize::from(pixel[offsets[2]])];
    }
}

/// Copies a frame's bytes, row by row without padding. Pixels of the frame must be contiguous in
/// each row; otherwise nothing is copied.
pub(crate) fn copy_bytes(frame: &Frame<'_>, bytes: &mut [u8], pool: &Pool) {
    let length = frame.width() as usize * frame.format().bytes();
    let rows = Queue::new(bytes.chunks_exact_mut(length).enumerate());
    pool.run(&|| {
        while let Some((y, row)) = rows.next() {
            if let Some(source) = frame.contiguous_row(y as u32) {
                row.copy_from_slice(source);
            }
        }
    });
}

/// Copies rows of a frame without resampling.
struct CopyRows<'a> {
    frame: &'a Frame<'a>,
    normalise: &'a Normaliser,
    rows: Range<usize>,
    planes: [&'a mut [f32]; 3],
    /// The width of the planes.
    width: usize,
}

impl SimdOp for CopyRows<'_> {
    #[inline(always)]
    fn eval<V: F32x8>(self) {
        let CopyRows { frame, normalise, rows, mut planes, width } = self;
        let (reader, mut words) = (PixelReader::new(frame), Words::default());
        let columns = frame.width() as usize;
        for top in rows.clone().step_by(COPIED_ROWS) {
            for left in (0..columns).step_by(BLOCK) {
                let places = reader.places(left..columns);
                for y in top..rows.end.min(top + COPIED_ROWS) {
                    let at = (y - rows.start) * width + left;
                    reader.read(&places, y, &mut words);
                    let pixels = reader.colors(&words);
                    normalise.write(&pixels, &mut planes, at, BLOCK.min(columns - left));
                }
            }
        }
    }
}

/// Resamples the whole frame bilinearly to the size of the axes, into `image` (3 x height x width).
/// Y'CbCr samples are interpolated before they are converted to RGB.
pub(crate) fn resample(
    frame: &Frame<'_>,
    normalise: &Normaliser,
    image: &mut [f32],
    (vertical, horizontal): (&Axis, &Axis),
    pool: &Pool,
) {
    let (vertical, horizontal) = (vertical.taps(), horizontal.taps());
    each_band(image, Size::new(horizontal.len(), vertical.len()), pool, |(first, planes)| {
        let vertical = &vertical[first..first + planes[0].len() / horizontal.len()];
        simd::run(ResampleRows { frame, normalise, vertical, horizontal, planes });
    });
}

/// Resampled rows of a frame.
struct ResampleRows<'a> {
    frame: &'a Frame<'a>,
    normalise: &'a Normaliser,
    vertical: &'a [Tap],
    horizontal: &'a [Tap],
    planes: [&'a mut [f32]; 3],
}

impl SimdOp for ResampleRows<'_> {
    #[inline(always)]
    fn eval<V: F32x8>(self) {
        let ResampleRows { frame, normalise, vertical, horizontal, mut planes } = self;
        let (reader, mut words) = (PixelReader::new(frame), Words::default());
        for (top, rows) in vertical.chunks(RESIZED_ROWS).enumerate() {
            for (left, columns) in horizontal.chunks(BLOCK).enumerate() {
                let pairs = reader.pairs(columns.iter().map(|tap| (tap.first, tap.second)));
                let mut weights = [0.0; BLOCK];
                weights.iter_mut().zip(columns).for_each(|(weight, tap)| *weight = tap.weight);
                for (y, tap) in rows.iter().enumerate() {
                    let between = [tap.first, tap.second];
                    reader.prefetch_ahead::<V>(&pairs, between);
                    reader.read_pairs(&pairs, between, &mut words);
                    let pixels = reader.colors_between(&words, &weights, tap.weight);
                    let at = (top * RESIZED_ROWS + y) * horizontal.len() + left * BLOCK;
                    normalise.write(&pixels, &mut planes, at, columns.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PixelFormat;

    #[test]
    fn resizing_is_what_pytorch_computes() {
        // tests/reference/resize.py, PyTorch 2.13.0: 4 x 3 pixels to 6 x 5.
        let pixels: Vec<u8> = (0..36u32).map(|i| (i * i * 7 % 256) as u8).collect();
        let frame = Frame::packed(PixelFormat::Rgb8, &pixels, 4, 3, 0).unwrap();
        let (mut vertical, mut horizontal) = (Axis::default(), Axis::default());
        vertical.prepare(3, 5);
        horizontal.prepare(4, 6);
        let normalise = Normaliser::new(None, [0.5, 0.25, 0.0], [0.5, 1.0, 2.0], [0, 1, 2]);
        let mut image = vec![0.0; 3 * 5 * 6];
        resample(&frame, &normalise, &mut image, (&vertical, &horizontal), &Pool::new(2).unwrap());
        for (i, (found, expected)) in image.iter().zip(RESIZED).enumerate() {
            assert!((found - expected).abs() < 1e-5, "value {i} is {found}, not {expected}");
        }
    }

    const RESIZED: [f32; 90] = [
        -1.000000, -0.752941, -0.258824, 0.729412, 0.203922, -0.568627, -0.247059, -0.414118, -0.338301, 0.633203,
        0.090980, -0.694118, 0.882353, 0.094118, -0.457516, 0.488889, -0.078431, -0.882353, 0.656471, 0.451765,
        0.276601, 0.394771, 0.203922, -0.016471, 0.505882, 0.690196, 0.766013, 0.332026, 0.392157, 0.560784, -0.222549,
        -0.016667, 0.172876, 0.107516, 0.289216, 0.487255, 0.015882, 0.014706, 0.062026, 0.256013, 0.295490, 0.286471,
        0.373529, 0.061765, -0.104248, 0.478758, 0.304902, -0.014706, 0.053529, 0.033529, 0.055752, 0.224641, 0.239020,
        0.211176, -0.159804, 0.014706, 0.162418, 0.055229, 0.195098, 0.361765, 0.054902, 0.199020, 0.348693, 0.370915,
        0.265686, 0.154902, 0.105098, 0.246078, 0.391569, 0.409608, 0.300196, 0.186275, 0.180392, 0.316667, 0.455882,
        0.467647, 0.351961, 0.233333, 0.218039, 0.349608, 0.432353, 0.237059, 0.215490, 0.242745, 0.243137, 0.371569,
        0.416667, 0.083333, 0.124510, 0.249020,
    ];
}
