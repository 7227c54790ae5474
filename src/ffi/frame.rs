//! `fcn_frame`: a picture in the caller's memory.

use std::{ffi::c_void, slice};

use super::{answer, required};
use crate::{
    Error, Frame, PixelFormat, Rect, Result, Rotation,
    frame::{row_stride, span},
};

/// How the bytes of a pixel are laid out.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_format {
    /// 3 bytes: red, green, blue.
    FCN_FORMAT_RGB8 = 1,
    /// 3 bytes: blue, green, red (OpenCV's order).
    FCN_FORMAT_BGR8 = 2,
    /// 4 bytes: red, green, blue, alpha; alpha is not looked at.
    FCN_FORMAT_RGBA8 = 3,
    /// 4 bytes: blue, green, red, alpha; alpha is not looked at.
    FCN_FORMAT_BGRA8 = 4,
    /// 1 byte: grey, used for all three channels.
    FCN_FORMAT_GRAY8 = 5,
}

use fcn_format::*;

/// Each format with its Rust twin and the name that messages use.
const FORMATS: [(fcn_format, PixelFormat, &str); 5] = [
    (FCN_FORMAT_RGB8, PixelFormat::Rgb8, "RGB8"),
    (FCN_FORMAT_BGR8, PixelFormat::Bgr8, "BGR8"),
    (FCN_FORMAT_RGBA8, PixelFormat::Rgba8, "RGBA8"),
    (FCN_FORMAT_BGRA8, PixelFormat::Bgra8, "BGRA8"),
    (FCN_FORMAT_GRAY8, PixelFormat::Gray8, "GRAY8"),
];

/// The format with this number.
pub(super) fn pixel_format(number: u32) -> Result<PixelFormat> {
    FORMATS.iter().find(|(format, ..)| *format as u32 == number).map(|&(_, format, _)| format).ok_or_else(|| {
        let known: Vec<_> =
            FORMATS.iter().map(|(format, _, name)| format!("FCN_FORMAT_{name} ({})", *format as u32)).collect();
        Error::UnsupportedFormat(format!("the format {number} does not exist; there are {}", known.join(", ")))
    })
}

/// A rectangle of pixels inside a frame. All zero means the whole frame.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct fcn_rect {
    /// The leftmost column.
    pub x: u32,
    /// The topmost row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A picture in the caller's memory, which the library only borrows during a call. Made by fcn_frame_packed(), or by
/// hand: set all of it to zero first. This struct is frozen: later versions of the library keep its layout.
///
/// The order is crop, rotation, mirror: the crop is in pixels of the picture as it lies in memory, and the mask comes
/// out as the picture looks after all three. None of them copies the picture.
///
/// Owned by whoever made it; there is nothing to free. Threads may share it as long as nobody writes to the pixels.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct fcn_frame {
    /// The first pixel of each plane. Every format of this version has one plane; the others must be NULL.
    pub planes: [*const c_void; 3],
    /// The distance in bytes from one row to the next, for each plane; 0 means rows without padding.
    pub strides: [usize; 3],
    /// Columns, 1 to 32767.
    pub width: u32,
    /// Rows, 1 to 32767.
    pub height: u32,
    /// One of FCN_FORMAT_*.
    pub format: u32,
    /// The part of the picture to look at; all zero means the whole picture.
    pub crop: fcn_rect,
    /// How far the picture is turned clockwise, in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// 1 exchanges left and right, after the rotation; 0 does not.
    pub mirror: u32,
    /// Must be zero.
    pub reserved: [u32; 6],
}

impl fcn_frame {
    /// The frame, checked.
    ///
    /// # Safety
    /// `planes[0]` is NULL or points to the pixels that width, height, format and stride describe, and nobody writes
    /// to them while the result lives.
    pub(super) unsafe fn checked(&self) -> Result<Frame<'_>> {
        let format = pixel_format(self.format)?;
        if let Some(&value) = self.reserved.iter().find(|&&value| value != 0) {
            return Err(Error::InvalidArgument(format!(
                "frame.reserved holds {value}; it must be zero (set the whole frame to zero before filling it in)"
            )));
        }
        for plane in 1..3 {
            if !self.planes[plane].is_null() || self.strides[plane] != 0 {
                return Err(Error::InvalidArgument(format!(
                    "frame.planes[{plane}] and frame.strides[{plane}] ({}) must be NULL and 0: this format has one plane",
                    self.strides[plane]
                )));
            }
        }
        let rotation = match self.rotation {
            0 => Rotation::None,
            90 => Rotation::Clockwise90,
            180 => Rotation::Half,
            270 => Rotation::CounterClockwise90,
            other => {
                return Err(Error::InvalidArgument(format!(
                    "frame.rotation is {other}; it must be 0, 90, 180 or 270 degrees clockwise"
                )));
            }
        };
        if self.mirror > 1 {
            return Err(Error::InvalidArgument(format!("frame.mirror is {}; it must be 0 or 1", self.mirror)));
        }
        let data = self.planes[0].cast::<u8>();
        required((!data.is_null()).then_some(()), "frame.planes[0]")?;
        let stride = row_stride(format, self.width, self.height, self.strides[0])?;
        let length = span(format, self.width, self.height, stride)?;
        // SAFETY: not NULL; the caller promises the pixels that the frame describes, and `length` is exactly from the
        // first to the last of them, no more than isize::MAX bytes.
        let data = unsafe { slice::from_raw_parts(data, length) };
        let mut frame = Frame::packed(format, data, self.width, self.height, stride)?;
        if self.crop != fcn_rect::default() {
            let fcn_rect { x, y, width, height } = self.crop;
            frame = frame.crop(Rect { x, y, width, height })?;
        }
        frame = frame.rotate(rotation);
        Ok(if self.mirror == 1 { frame.mirror() } else { frame })
    }
}

/// A frame of `width` x `height` pixels in one plane, whose rows start `stride` bytes apart; a stride of 0 means rows
/// without padding. The last row may end without padding.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_frame_packed(
    format: u32,
    pixels: *const c_void,
    width: u32,
    height: u32,
    stride: usize,
) -> fcn_frame {
    let frame = fcn_frame {
        planes: [pixels, std::ptr::null(), std::ptr::null()],
        strides: [stride, 0, 0],
        width,
        height,
        format,
        crop: fcn_rect::default(),
        rotation: 0,
        mirror: 0,
        reserved: [0; 6],
    };
    answer(frame, || None)
}
