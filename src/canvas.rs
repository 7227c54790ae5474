//! [`Canvas`]: drawing on an image in the caller's memory.

use crate::{PixelFormat, Size};

/// An image to draw on.
pub(crate) struct Canvas<'a> {
    pub(crate) pixels: &'a mut [u8],
    pub(crate) format: PixelFormat,
    pub(crate) stride: usize,
    /// Whether the first row is the last one in memory.
    pub(crate) upwards: bool,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Canvas<'_> {
    /// Blends a colour into a pixel: a share of 0 leaves the pixel, 1 replaces it. Pixels outside
    /// the image are skipped.
    pub(crate) fn blend(&mut self, x: usize, y: usize, color: [u8; 3], share: f32) {
        if x >= self.width || y >= self.height {
            return;
        }
        let y = if self.upwards { self.height - 1 - y } else { y };
        let pixel = &mut self.pixels[y * self.stride + x * self.format.bytes()..];
        for (offset, color) in self.format.samples().map(|samples| samples.offset).into_iter().zip(color) {
            let before = f32::from(pixel[offset]);
            pixel[offset] = (before + (f32::from(color) - before) * share).round() as u8;
        }
    }

    /// Blends a colour into a rectangle whose upper left corner is (x, y).
    pub(crate) fn fill(&mut self, (x, y): (usize, usize), size: Size, color: [u8; 3], share: f32) {
        for y in y..(y + size.height).min(self.height) {
            (x..(x + size.width).min(self.width)).for_each(|x| self.blend(x, y, color, share));
        }
    }
}
