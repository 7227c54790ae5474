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
        let normalise = Normalise::new([0.5, 0.25, 0.0], [0.5, 1.0, 2.0], [0, 1, 2]);
        let mut image = vec![0.0; 3 * 5 * 6];
        resize(&frame, &normalise, &mut image, &vertical, &horizontal);
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
