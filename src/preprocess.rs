//! From a [`Frame`] to the network's input: normalised float32, planes of height x width (NCHW with N = 1), in one pass.

use crate::{Frame, resample::Axis};

/// What a network expects of its input: `value * scale + offset` for each channel, in the network's channel order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normalise {
    scale: [f32; 3],
    offset: [f32; 3],
    /// Which of red, green and blue each channel is.
    channels: [usize; 3],
}

impl Normalise {
    /// `(value / 255 - mean) / std`, means and deviations in the network's own channel order.
    pub(crate) fn new(mean: [f32; 3], std: [f32; 3], channels: [usize; 3]) -> Self {
        let each = |f: &dyn Fn(usize) -> f32| [f(0), f(1), f(2)];
        Normalise { scale: each(&|c| 1.0 / (255.0 * std[c])), offset: each(&|c| -mean[c] / std[c]), channels }
    }

    /// The byte of a pixel that feeds each channel.
    fn offsets(&self, frame: &Frame<'_>) -> [usize; 3] {
        let rgb = frame.format().rgb_offsets();
        self.channels.map(|channel| rgb[channel])
    }
}

/// Pixel by pixel into the top left of `image` (3 x `height` x `width`, each at least the frame's); the rest becomes 0,
/// which is the mean colour.
pub(crate) fn copy(frame: &Frame<'_>, normalise: &Normalise, image: &mut [f32], height: usize, width: usize) {
    let offsets = normalise.offsets(frame);
    let (rows, columns) = (frame.height() as usize, frame.width() as usize);
    let bytes = frame.format().bytes();
    for (c, plane) in image.chunks_exact_mut(height * width).enumerate() {
        let (scale, offset) = (normalise.scale[c], normalise.offset[c]);
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            if y >= rows {
                row.fill(0.0);
                continue;
            }
            let (inside, outside) = row.split_at_mut(columns);
            outside.fill(0.0);
            // HWC => CHW
            match frame.contiguous_row(y as u32) {
                Some(source) => {
                    for (value, pixel) in inside.iter_mut().zip(source.chunks_exact(bytes)) {
                        *value = f32::from(pixel[offsets[c]]) * scale + offset;
                    }
                }
                None => {
                    for (x, value) in inside.iter_mut().enumerate() {
                        *value = f32::from(frame.pixel(x as u32, y as u32)[offsets[c]]) * scale + offset;
                    }
                }
            }
        }
    }
}

/// The whole frame, resampled (bilinear) to the size of the axes, into `image` (3 x height x width).
pub(crate) fn resize(frame: &Frame<'_>, normalise: &Normalise, image: &mut [f32], vertical: &Axis, horizontal: &Axis) {
    let offsets = normalise.offsets(frame);
    let (height, width) = (vertical.taps().len(), horizontal.taps().len());
    for (c, plane) in image.chunks_exact_mut(height * width).enumerate() {
        let (scale, offset) = (normalise.scale[c], normalise.offset[c]);
        for (row, y) in plane.chunks_exact_mut(width).zip(vertical.taps()) {
            let at = |x: usize, y: usize| f32::from(frame.pixel(x as u32, y as u32)[offsets[c]]);
            for (value, x) in row.iter_mut().zip(horizontal.taps()) {
                let upper = x.mix(at(x.first, y.first), at(x.second, y.first));
                let lower = x.mix(at(x.first, y.second), at(x.second, y.second));
                *value = y.mix(upper, lower) * scale + offset;
            }
        }
    }
}
