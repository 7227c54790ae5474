//! [`FrameCopy`]: a copy of a frame's pixels in a buffer that is reused for each frame.

use std::array;

use super::Frame;
use crate::{Result, memory::set_length};

/// A copy of a frame: only the rows and columns in its crop, without padding.
#[derive(Debug, Default)]
pub(crate) struct FrameCopy {
    bytes: Vec<u8>,
    /// The offset of each plane.
    starts: [usize; 3],
    /// The copied frame without its pixels.
    shape: Option<Frame<'static>>,
}

impl FrameCopy {
    /// Copies a frame. If this fails, the copy is empty.
    pub(crate) fn fill(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.shape = None;
        let Frame { format, width, height, base, origin, .. } = *frame;
        // The rectangle in memory, extended to whole groups of pixels that share samples.
        let corners = [origin, frame.pixel(width - 1, height - 1)];
        let shift = format.shift();
        let first = array::from_fn(|axis| corners[0][axis].min(corners[1][axis]) >> shift[axis] << shift[axis]);
        let [columns, rows] =
            array::from_fn(|axis: usize| (corners[0][axis].max(corners[1][axis]) + 1 - first[axis]) as u32);
        let layout = format.contiguous_planes(columns, rows, 0);
        let sizes = [0, 1, 2].map(|plane| format.plane_size(plane, columns, rows));
        set_length(&mut self.bytes, sizes.iter().map(|(rows, row)| rows * row).sum(), "a copy of the frame")?;
        for (plane, (&(rows, row), &(start, _))) in sizes.iter().zip(&layout).enumerate().take(format.planes()) {
            let (top, left) = format.byte_of(plane, first);
            for (y, copy) in self.bytes[start..start + rows * row].chunks_exact_mut(row).enumerate() {
                copy.copy_from_slice(&frame.planes[plane][frame.row(plane, top + y) + left..][..row]);
            }
        }
        self.starts = layout.map(|(start, _)| start);
        let (planes, strides) = ([&[][..]; 3], layout.map(|(_, stride)| stride.cast_signed()));
        let base = array::from_fn(|axis| base[axis] + first[axis]);
        let origin = array::from_fn(|axis| origin[axis] - first[axis]);
        self.shape = Some(Frame { planes, starts: [0; 3], strides, base, origin, ..*frame });
        Ok(())
    }

    /// The copied frame.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.shape.map(|shape| Frame { planes: self.starts.map(|start| &self.bytes[start..]), ..shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PixelFormat, Rect, Rotation};

    #[test]
    fn a_copy_has_the_pixels_of_its_frame_and_no_others() {
        const TURNS: [Rotation; 4] =
            [Rotation::None, Rotation::Clockwise90, Rotation::Half, Rotation::CounterClockwise90];
        let data: Vec<u8> = (0..4096u32).map(|i| (i * 37 + i / 251) as u8).collect();
        let mut copy = FrameCopy::default();
        let mut compared = 0;
        for format in PixelFormat::ALL {
            for (width, height, padding) in [(1, 1, 0), (1, 7, 0), (7, 1, 5), (13, 9, 0), (13, 9, 6)] {
                let stride = format.plane_size(0, width, height).1 + padding;
                let whole = Frame::contiguous(format, &data, width, height, stride).unwrap();
                let part = Rect { x: width / 3, y: height / 4, width: width.div_ceil(2), height: height.div_ceil(2) };
                let up = whole.bottom_up();
                for frame in [whole, whole.crop(part).unwrap(), up, up.crop(part).unwrap()] {
                    for turn in TURNS {
                        for frame in [frame.rotate(turn), frame.rotate(turn).mirror()] {
                            copy.fill(&frame).unwrap();
                            let copied = copy.frame().unwrap();
                            let sizes = |frame: &Frame<'_>| (frame.width(), frame.height(), frame.format());
                            assert_eq!(sizes(&copied), sizes(&frame));
                            assert_eq!(copied.view(), frame.view());
                            for (x, y) in (0..frame.height()).flat_map(|y| (0..frame.width()).map(move |x| (x, y))) {
                                let samples = |frame: &Frame<'_>| {
                                    format.samples().map(|kind| frame.line(kind, y)[frame.place(kind, x as usize)])
                                };
                                assert_eq!(samples(&copied), samples(&frame), "{frame:?} at ({x}, {y})");
                                compared += 1;
                            }
                            let area = frame.width() as usize * frame.height() as usize;
                            assert!(format.is_yuv() || copy.bytes.len() == area * format.bytes());
                        }
                    }
                }
            }
        }
        assert!(compared > 1000);
    }
}
