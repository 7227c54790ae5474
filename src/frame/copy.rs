//! [`FrameCopy`]: the pixels of a frame in memory of our own, which is used again for each frame.

use super::Frame;
use crate::{Result, mask::resize};

/// A copy of a frame: the rows and columns that it looks at, without padding.
#[derive(Debug, Default)]
pub(crate) struct FrameCopy {
    bytes: Vec<u8>,
    /// The copied frame, but for its pixels.
    shape: Option<Frame<'static>>,
}

impl FrameCopy {
    /// Copies a frame; where it fails, there is none.
    pub(crate) fn fill(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.shape = None;
        let bytes = frame.format.bytes();
        let (width, height) = (frame.width as usize, frame.height as usize);
        // Turned by a quarter, the frame's columns are rows of memory.
        let lies = frame.step_x.unsigned_abs() == bytes;
        let (columns, rows) = if lies { (width, height) } else { (height, width) };
        let (step, stride) = if lies { (frame.step_x, frame.step_y) } else { (frame.step_y, frame.step_x) };
        let row = columns * bytes;
        // How far pixel (0, 0) lies behind the first byte: walking left or up, it is the last of its row or column.
        let (right, below) = (if step < 0 { row - bytes } else { 0 }, if stride < 0 { rows - 1 } else { 0 });
        let start = frame.origin - right - below * stride.unsigned_abs();
        resize(&mut self.bytes, rows * row)?;
        for (y, copy) in self.bytes.chunks_exact_mut(row).enumerate() {
            copy.copy_from_slice(&frame.data[start + y * stride.unsigned_abs()..][..row]);
        }
        let stride = stride.signum() * row as isize;
        let (step_x, step_y) = if lies { (step, stride) } else { (stride, step) };
        let Frame { format, width, height, .. } = *frame;
        self.shape = Some(Frame { data: &[], format, width, height, origin: right + below * row, step_x, step_y });
        Ok(())
    }

    /// The copied frame.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.shape.map(|shape| Frame { data: &self.bytes, ..shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PixelFormat, Rect, Rotation};

    #[test]
    fn a_copy_has_the_pixels_of_its_frame_and_no_others() {
        const FORMATS: [PixelFormat; 3] = [PixelFormat::Gray8, PixelFormat::Bgr8, PixelFormat::Rgba8];
        const TURNS: [Rotation; 4] =
            [Rotation::None, Rotation::Clockwise90, Rotation::Half, Rotation::CounterClockwise90];
        let data: Vec<u8> = (0..4096u32).map(|i| (i * 37 + i / 251) as u8).collect();
        let mut copy = FrameCopy::default();
        let mut compared = 0;
        for format in FORMATS {
            for (width, height, padding) in [(1, 1, 0), (1, 7, 0), (7, 1, 5), (13, 9, 0), (13, 9, 6)] {
                let stride = width as usize * format.bytes() + padding;
                let whole = Frame::packed(format, &data, width, height, stride).unwrap();
                let part = Rect { x: width / 3, y: height / 4, width: width.div_ceil(2), height: height.div_ceil(2) };
                for frame in [whole, whole.crop(part).unwrap()] {
                    for turn in TURNS {
                        for frame in [frame.rotate(turn), frame.rotate(turn).mirror()] {
                            copy.fill(&frame).unwrap();
                            let copied = copy.frame().unwrap();
                            let sizes = |frame: &Frame<'_>| (frame.width(), frame.height(), frame.format());
                            assert_eq!(sizes(&copied), sizes(&frame));
                            for (x, y) in (0..frame.height()).flat_map(|y| (0..frame.width()).map(move |x| (x, y))) {
                                assert_eq!(copied.pixel(x, y), frame.pixel(x, y), "{frame:?} at ({x}, {y})");
                                compared += 1;
                            }
                            let area = frame.width() as usize * frame.height() as usize;
                            assert_eq!(copy.bytes.len(), area * format.bytes());
                        }
                    }
                }
            }
        }
        assert!(compared > 1000);
    }
}
