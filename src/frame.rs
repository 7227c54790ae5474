//! [`Frame`]: a picture in the caller's memory, checked once and then trusted.

mod copy;

use crate::{Error, Result};
pub(crate) use copy::FrameCopy;

/// The most pixels along one side of a frame.
pub const MAX_SIDE: u32 = 32767;

/// How the bytes of a pixel are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// 3 bytes: red, green, blue.
    Rgb8,
    /// 3 bytes: blue, green, red (OpenCV's order).
    Bgr8,
    /// 4 bytes: red, green, blue, alpha; alpha is not looked at.
    Rgba8,
    /// 4 bytes: blue, green, red, alpha; alpha is not looked at.
    Bgra8,
    /// 1 byte: grey, used for all three channels.
    Gray8,
}

impl PixelFormat {
    /// The bytes of one pixel.
    pub fn bytes(self) -> usize {
        match self {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
        }
    }

    /// The byte within a pixel that holds red, green and blue.
    pub(crate) fn rgb_offsets(self) -> [usize; 3] {
        match self {
            PixelFormat::Gray8 => [0, 0, 0],
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => [0, 1, 2],
            PixelFormat::Bgr8 | PixelFormat::Bgra8 => [2, 1, 0],
        }
    }
}

/// A rectangle of pixels inside a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// The leftmost column.
    pub x: u32,
    /// The topmost row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How far the picture is turned clockwise before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// As it lies in memory.
    #[default]
    None,
    /// A quarter turn clockwise: width and height change places.
    Clockwise90,
    /// Half a turn.
    Half,
    /// A quarter turn counter-clockwise: width and height change places.
    CounterClockwise90,
}

/// A picture in the caller's memory: borrowed, never copied.
///
/// Crop, rotation and mirror cost nothing: they only change where a row starts and in which direction it is walked.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    data: &'a [u8],
    format: PixelFormat,
    width: u32,
    height: u32,
    /// The byte of pixel (0, 0).
    origin: usize,
    /// From a pixel to its right neighbour and to the one below, in bytes.
    step_x: isize,
    step_y: isize,
}

impl<'a> Frame<'a> {
    /// A packed picture of `width` x `height` pixels (1 to [`MAX_SIDE`] each), whose rows start `stride` bytes apart;
    /// a stride of 0 means rows without padding. The last row may end without padding.
    pub fn packed(format: PixelFormat, data: &'a [u8], width: u32, height: u32, stride: usize) -> Result<Self> {
        let stride = row_stride(format, width, height, stride)?;
        let needed = span(format, width, height, stride)?;
        if data.len() < needed {
            return Err(Error::InvalidArgument(format!(
                "the frame's data holds {} bytes, fewer than the {needed} that {width} x {height} pixels with stride {stride} take",
                data.len()
            )));
        }
        Ok(Frame { data, format, width, height, origin: 0, step_x: format.bytes() as isize, step_y: stride as isize })
    }

    /// The part of the frame inside `rect`, which must lie inside the frame.
    pub fn crop(self, rect: Rect) -> Result<Self> {
        let inside = |start: u32, length: u32, side: u32| length > 0 && start < side && length <= side - start;
        if !inside(rect.x, rect.width, self.width) || !inside(rect.y, rect.height, self.height) {
            return Err(Error::InvalidArgument(format!(
                "the crop of {} x {} pixels at ({}, {}) does not lie inside the frame of {} x {} pixels",
                rect.width, rect.height, rect.x, rect.y, self.width, self.height
            )));
        }
        Ok(Frame { origin: self.offset(rect.x, rect.y), width: rect.width, height: rect.height, ..self })
    }

    /// The frame turned clockwise by `rotation`; labels come out turned, too.
    pub fn rotate(self, rotation: Rotation) -> Self {
        let (right, bottom) = (self.width - 1, self.height - 1);
        let Frame { width, height, step_x, step_y, .. } = self;
        match rotation {
            Rotation::None => self,
            // Walking right in the turned picture is walking up in memory.
            Rotation::Clockwise90 => Frame {
                origin: self.offset(0, bottom),
                width: height,
                height: width,
                step_x: -step_y,
                step_y: step_x,
                ..self
            },
            Rotation::Half => Frame { origin: self.offset(right, bottom), step_x: -step_x, step_y: -step_y, ..self },
            Rotation::CounterClockwise90 => Frame {
                origin: self.offset(right, 0),
                width: height,
                height: width,
                step_x: step_y,
                step_y: -step_x,
                ..self
            },
        }
    }

    /// The frame with left and right exchanged.
    pub fn mirror(self) -> Self {
        Frame { origin: self.offset(self.width - 1, 0), step_x: -self.step_x, ..self }
    }

    /// Columns, after crop and rotation.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, after crop and rotation.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How the bytes of a pixel are laid out.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of row `y` from pixel 0 on, where the row lies left to right without gaps between its pixels.
    pub(crate) fn contiguous_row(&self, y: u32) -> Option<&'a [u8]> {
        let bytes = self.format.bytes();
        let start = self.offset(0, y);
        (self.step_x == bytes as isize).then(|| &self.data[start..start + self.width as usize * bytes])
    }

    /// The bytes of pixel (x, y).
    pub(crate) fn pixel(&self, x: u32, y: u32) -> &'a [u8] {
        let start = self.offset(x, y);
        &self.data[start..start + self.format.bytes()]
    }

    /// The byte where pixel (x, y) starts.
    fn offset(&self, x: u32, y: u32) -> usize {
        // Every pixel inside the frame lies inside `data`, so neither sum can leave it.
        self.origin.wrapping_add_signed(x as isize * self.step_x).wrapping_add_signed(y as isize * self.step_y)
    }
}

/// The distance of rows in bytes, checked: `stride`, or for 0 the length of a row.
pub(crate) fn row_stride(format: PixelFormat, width: u32, height: u32, stride: usize) -> Result<usize> {
    for (name, side) in [("width", width), ("height", height)] {
        if side == 0 || side > MAX_SIDE {
            return Err(Error::InvalidArgument(format!(
                "the frame's {name} is {side}; it must be between 1 and {MAX_SIDE} pixels"
            )));
        }
    }
    let row = width as usize * format.bytes();
    match stride {
        0 => Ok(row),
        stride if stride < row => {
            Err(Error::InvalidArgument(format!("stride {stride} is less than the {row} bytes of a row")))
        }
        stride => Ok(stride),
    }
}

/// The bytes from the first pixel to the end of the last one.
pub(crate) fn span(format: PixelFormat, width: u32, height: u32, stride: usize) -> Result<usize> {
    let row = width as usize * format.bytes();
    stride
        .checked_mul(height as usize - 1)
        .and_then(|rows| rows.checked_add(row))
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(|| {
            Error::InvalidArgument(format!(
                "stride {stride} times {height} rows is more than the {} bytes that can be addressed",
                isize::MAX
            ))
        })
}
