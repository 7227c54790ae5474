//! `fcn_frame`: a picture in the caller's memory.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr, slice,
};

use super::{answer, fcn_status, guard, required};
use crate::{ColorMatrix, ColorRange, Error, Frame, PixelFormat, Rect, Result, Rotation, frame::plane_layout};

/// How the bytes of a picture are laid out. fcn_format_from_name() knows what others call these formats.
///
/// NV12, NV21, YUYV, UYVY and those that begin with I or J are Y'CbCr (also called YUV): neighbouring pixels share
/// samples of colour, from the left and from the top on; a row or column that is left over has its own. Each pixel takes
/// the sample that it shares, without interpolation.
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
    /// 4 bytes: red, green, blue, and one that is not looked at.
    FCN_FORMAT_RGBX8 = 6,
    /// 4 bytes: blue, green, red, and one that is not looked at.
    FCN_FORMAT_BGRX8 = 7,
    /// 2 bytes, the low one first: grey from 0 to 65535. The high byte counts, so a camera's 10 or 12 bits must be
    /// shifted up.
    FCN_FORMAT_GRAY16 = 8,
    /// Two planes: Y, and for each 2 x 2 pixels Cb and Cr.
    FCN_FORMAT_NV12 = 9,
    /// Two planes: Y, and for each 2 x 2 pixels Cr and Cb.
    FCN_FORMAT_NV21 = 10,
    /// Three planes: Y, and for each 2 x 2 pixels one of Cb and one of Cr. Exchange the last two for YV12.
    FCN_FORMAT_I420 = 11,
    /// 4 bytes for each 2 x 1 pixels: Y, Cb, Y, Cr. The row of an odd width ends with a whole group of 4.
    FCN_FORMAT_YUYV = 12,
    /// 4 bytes for each 2 x 1 pixels: Cb, Y, Cr, Y. The row of an odd width ends with a whole group of 4.
    FCN_FORMAT_UYVY = 13,
    /// Three planes: Y, and for each 2 x 1 pixels one of Cb and one of Cr.
    FCN_FORMAT_I422 = 14,
    /// Three planes: Y, and for each 1 x 2 pixels (two rows) one of Cb and one of Cr.
    FCN_FORMAT_I440 = 15,
    /// Three planes: Y, Cb and Cr of each pixel.
    FCN_FORMAT_I444 = 16,
    /// As FCN_FORMAT_I420, in full range whatever `range` says: FFmpeg's yuvj420p.
    FCN_FORMAT_J420 = 17,
    /// As FCN_FORMAT_I422, in full range whatever `range` says: FFmpeg's yuvj422p.
    FCN_FORMAT_J422 = 18,
    /// As FCN_FORMAT_I440, in full range whatever `range` says: FFmpeg's yuvj440p.
    FCN_FORMAT_J440 = 19,
    /// As FCN_FORMAT_I444, in full range whatever `range` says: FFmpeg's yuvj444p.
    FCN_FORMAT_J444 = 20,
}

use fcn_format::*;

/// How red, green and blue were weighed when a picture became Y'CbCr.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_matrix {
    /// ITU-R BT.601: JPEG, most webcams, standard definition.
    FCN_MATRIX_BT601 = 0,
    /// ITU-R BT.709: high definition.
    FCN_MATRIX_BT709 = 1,
}

use fcn_matrix::*;

/// Which of the 256 values a Y'CbCr picture uses.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_range {
    /// Y from 16 to 235, Cb and Cr from 16 to 240: video.
    FCN_RANGE_LIMITED = 0,
    /// 0 to 255: JPEG, and webcams that decode it.
    FCN_RANGE_FULL = 1,
}

use fcn_range::*;

/// Each format with its Rust twin and its name.
const FORMATS: [(fcn_format, PixelFormat, &CStr); 20] = [
    (FCN_FORMAT_RGB8, PixelFormat::Rgb8, c"RGB8"),
    (FCN_FORMAT_BGR8, PixelFormat::Bgr8, c"BGR8"),
    (FCN_FORMAT_RGBA8, PixelFormat::Rgba8, c"RGBA8"),
    (FCN_FORMAT_BGRA8, PixelFormat::Bgra8, c"BGRA8"),
    (FCN_FORMAT_GRAY8, PixelFormat::Gray8, c"GRAY8"),
    (FCN_FORMAT_RGBX8, PixelFormat::Rgbx8, c"RGBX8"),
    (FCN_FORMAT_BGRX8, PixelFormat::Bgrx8, c"BGRX8"),
    (FCN_FORMAT_GRAY16, PixelFormat::Gray16, c"GRAY16"),
    (FCN_FORMAT_NV12, PixelFormat::Nv12, c"NV12"),
    (FCN_FORMAT_NV21, PixelFormat::Nv21, c"NV21"),
    (FCN_FORMAT_I420, PixelFormat::I420, c"I420"),
    (FCN_FORMAT_YUYV, PixelFormat::Yuyv, c"YUYV"),
    (FCN_FORMAT_UYVY, PixelFormat::Uyvy, c"UYVY"),
    (FCN_FORMAT_I422, PixelFormat::I422, c"I422"),
    (FCN_FORMAT_I440, PixelFormat::I440, c"I440"),
    (FCN_FORMAT_I444, PixelFormat::I444, c"I444"),
    (FCN_FORMAT_J420, PixelFormat::J420, c"J420"),
    (FCN_FORMAT_J422, PixelFormat::J422, c"J422"),
    (FCN_FORMAT_J440, PixelFormat::J440, c"J440"),
    (FCN_FORMAT_J444, PixelFormat::J444, c"J444"),
];

/// The format with this number.
pub(super) fn pixel_format(number: u32) -> Result<PixelFormat> {
    FORMATS.iter().find(|(format, ..)| *format as u32 == number).map(|&(_, format, _)| format).ok_or_else(|| {
        let known = FORMATS.map(|(number, format, _)| format!("FCN_FORMAT_{} ({})", format.name(), number as u32));
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

/// A picture in the caller's memory, which the library only borrows during a call. Made by fcn_frame_packed(),
/// fcn_frame_planar() or fcn_frame_contiguous(), or by hand: set all of it to zero first. This struct is frozen: later
/// versions of the library keep its layout.
///
/// The order is crop, rotation, mirror: the crop is in pixels of the picture as it lies in memory, and the mask comes
/// out as the picture looks after all three. None of them copies the picture. A crop may lie anywhere, also between pixels
/// that share a sample of colour.
///
/// Owned by whoever made it; there is nothing to free. Threads may share it as long as nobody writes to the pixels.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct fcn_frame {
    /// The first sample of each plane that the format has; the others must be NULL.
    pub planes: [*const c_void; 3],
    /// The distance in bytes from one row to the next, for each plane; 0 means rows without padding. The last row of a
    /// plane may end without padding. Where rows lie upwards in memory (bottom-up pictures, FFmpeg's negative `linesize`), the plane
    /// is the address of the picture's first row, which is the last one in memory, and the distance a negative number,
    /// converted to size_t. Each plane has its own direction.
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
    /// One of FCN_MATRIX_*, for Y'CbCr; other formats do not look at it.
    pub matrix: u32,
    /// One of FCN_RANGE_*, for Y'CbCr; other formats, and FCN_FORMAT_J*, do not look at it.
    pub range: u32,
    /// Must be zero.
    pub reserved: [u32; 4],
}

/// What messages call the planes.
const PLANES: [&str; 3] = ["frame.planes[0]", "frame.planes[1]", "frame.planes[2]"];

impl fcn_frame {
    /// A whole picture, which nobody has looked at yet.
    fn new(format: u32, planes: [*const c_void; 3], strides: [usize; 3], width: u32, height: u32) -> fcn_frame {
        fcn_frame {
            planes,
            strides,
            width,
            height,
            format,
            crop: fcn_rect::default(),
            rotation: 0,
            mirror: 0,
            matrix: 0,
            range: 0,
            reserved: [0; 4],
        }
    }

    /// The frame, checked.
    ///
    /// # Safety
    /// Each of `planes` is NULL or points to the samples that width, height, format and stride describe, and nobody writes
    /// to them while the result lives.
    pub(super) unsafe fn checked(&self) -> Result<Frame<'_>> {
        let format = pixel_format(self.format)?;
        if let Some(&value) = self.reserved.iter().find(|&&value| value != 0) {
            return Err(Error::InvalidArgument(format!(
                "frame.reserved holds {value}; it must be zero (set the whole frame to zero before filling it in)"
            )));
        }
        for plane in format.planes()..3 {
            if !self.planes[plane].is_null() || self.strides[plane] != 0 {
                return Err(Error::InvalidArgument(format!(
                    "frame.planes[{plane}] and frame.strides[{plane}] ({}) must be NULL and 0: {} has {} plane(s)",
                    self.strides[plane],
                    format.name(),
                    format.planes()
                )));
            }
        }
        let matrix = match self.matrix {
            number if number == FCN_MATRIX_BT601 as u32 => ColorMatrix::Bt601,
            number if number == FCN_MATRIX_BT709 as u32 => ColorMatrix::Bt709,
            other => {
                return Err(Error::InvalidArgument(format!(
                    "frame.matrix is {other}; it must be FCN_MATRIX_BT601 (0) or FCN_MATRIX_BT709 (1)"
                )));
            }
        };
        let range = match self.range {
            number if number == FCN_RANGE_LIMITED as u32 => ColorRange::Limited,
            number if number == FCN_RANGE_FULL as u32 => ColorRange::Full,
            other => {
                return Err(Error::InvalidArgument(format!(
                    "frame.range is {other}; it must be FCN_RANGE_LIMITED (0) or FCN_RANGE_FULL (1)"
                )));
            }
        };
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
        let (mut planes, mut upwards) = ([(&[][..], 0); 3], [false; 3]);
        let planes = &mut planes[..format.planes()];
        for (index, plane) in planes.iter_mut().enumerate() {
            let data = self.planes[index].cast::<u8>();
            required((!data.is_null()).then_some(()), PLANES[index])?;
            let rows = Rows::new(format, index, (self.width, self.height), self.strides[index], data.addr())?;
            upwards[index] = rows.upwards;
            // SAFETY: not NULL; the caller promises the samples that the frame describes, and `length` is exactly from the
            // first to the last of them, no more than isize::MAX bytes. Where rows lie upwards, the last row comes first.
            *plane = (unsafe { slice::from_raw_parts(data.wrapping_sub(rows.above), rows.length) }, rows.stride);
        }
        let frame = Frame::planar(format, planes, self.width, self.height)?.color(matrix, range);
        let mut frame = frame.turned_over(upwards);
        if self.crop != fcn_rect::default() {
            let fcn_rect { x, y, width, height } = self.crop;
            frame = frame.crop(Rect { x, y, width, height })?;
        }
        frame = frame.rotate(rotation);
        Ok(if self.mirror == 1 { frame.mirror() } else { frame })
    }
}

/// How the rows of a plane lie in memory.
pub(super) struct Rows {
    /// The distance of rows.
    pub(super) stride: usize,
    /// Whether each row lies in front of the one before: the stride of C is a negative number.
    pub(super) upwards: bool,
    /// The bytes from the start of the first row back to the start of the memory.
    pub(super) above: usize,
    /// The bytes of the memory.
    pub(super) length: usize,
}

impl Rows {
    /// The rows of plane `plane` of `size` (width, height), the first of them at `address`.
    pub(super) fn new(
        format: PixelFormat,
        plane: usize,
        (width, height): (u32, u32),
        stride: usize,
        address: usize,
    ) -> Result<Rows> {
        let signed = stride.cast_signed();
        let upwards = signed < 0;
        let (distance, length) =
            plane_layout(format, plane, width, height, signed.unsigned_abs()).map_err(|error| match error {
                Error::InvalidArgument(message) if upwards => {
                    Error::InvalidArgument(format!("{message}; the stride that was given is {signed}"))
                }
                other => other,
            })?;
        let (rows, _) = format.plane_size(plane, width, height);
        let above = if upwards { (rows - 1) * distance } else { 0 };
        if above >= address {
            return Err(Error::InvalidArgument(format!(
                "{rows} rows with stride {signed} from address {address} on lead below address 0"
            )));
        }
        Ok(Rows { stride: distance, upwards, above, length })
    }
}

/// A frame of `width` x `height` pixels in one plane, whose rows start `stride` bytes apart; a stride of 0 means rows
/// without padding. The last row may end without padding. Strides may be negative: see `fcn_frame.strides`.
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
    let planes = [pixels, ptr::null(), ptr::null()];
    answer(fcn_frame::new(format, planes, [stride, 0, 0], width, height), || None)
}

/// A frame of `width` x `height` pixels whose planes lie anywhere, each with its own stride, such as an AVFrame's
/// `data` and `linesize` or what GstVideoMeta tells; NULL and 0 for planes that the format does not have.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_frame_planar(
    format: u32,
    width: u32,
    height: u32,
    plane_0: *const c_void,
    stride_0: usize,
    plane_1: *const c_void,
    stride_1: usize,
    plane_2: *const c_void,
    stride_2: usize,
) -> fcn_frame {
    let (planes, strides) = ([plane_0, plane_1, plane_2], [stride_0, stride_1, stride_2]);
    answer(fcn_frame::new(format, planes, strides, width, height), || None)
}

/// A frame of `width` x `height` pixels in one block of memory, such as a V4L2 buffer with its `bytesperline` as `stride`:
/// each plane starts where the rows of the one before end. The rows of the second plane of NV12 and NV21 are as far apart
/// as those of the first (rounded up to an even number), those of the other planes of I420 half as far (rounded up). For
/// formats of one plane it is fcn_frame_packed(). GStreamer leaves a row out after planes of odd height: use
/// fcn_frame_planar() there. With a negative stride the rows of each plane lie upwards, and `pixels` is the picture's first row.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_frame_contiguous(
    format: u32,
    pixels: *const c_void,
    width: u32,
    height: u32,
    stride: usize,
) -> fcn_frame {
    let one = fcn_frame::new(format, [pixels, ptr::null(), ptr::null()], [stride, 0, 0], width, height);
    answer(one, || {
        let format = pixel_format(format).ok()?;
        let (distance, upwards) = (stride.cast_signed().unsigned_abs(), stride.cast_signed() < 0);
        let (mut frame, layout) = (one, format.contiguous_planes(width, height, distance));
        // From the first row of a plane back to where its memory starts.
        let above = |plane: usize, stride: usize| {
            let (rows, _) = format.plane_size(plane, width, height);
            if upwards { rows.saturating_sub(1).wrapping_mul(stride) } else { 0 }
        };
        for (index, (offset, stride)) in layout.into_iter().take(format.planes()).enumerate() {
            let offset = offset.wrapping_add(above(index, stride)).wrapping_sub(above(0, distance));
            // A frame without memory stays one.
            frame.planes[index] = if pixels.is_null() { pixels } else { pixels.wrapping_byte_add(offset) };
            frame.strides[index] = if upwards { stride.wrapping_neg() } else { stride };
        }
        Some(frame)
    })
}

/// The format that others call `name`, in upper or lower case: an encoding of ROS 2 ("bgr8", "mono16", "yuv422_yuy2"), a
/// type of OpenCV's matrices ("8UC1", "16UC1", and "8UC3" and "8UC4", whose colours are in the order blue, green, red), a
/// fourcc of V4L2 ("NV12", "YUYV", "XR24"), a name of GStreamer ("I420", "BGRx", "GRAY16_LE") or FFmpeg ("yuv420p"), or
/// one of this library ("RGB8"). Stores one of FCN_FORMAT_* in `*format`. Any other name, such as a Bayer pattern, is
/// FCN_ERROR_UNSUPPORTED_FORMAT, and `*format` stays as it was.
///
/// A name says nothing about the colour matrix, and nothing about the range but for FFmpeg's "yuvj420p" and its like: they become
/// FCN_FORMAT_J*, whose range is full. Nor does it tell ROS 2's `is_bigendian`, which must be 0 for "mono16" and "16UC1".
///
/// # Safety
/// `name` is NULL or a NUL-terminated string; `format` is NULL or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_format_from_name(name: *const c_char, format: *mut u32) -> fcn_status {
    guard(|| {
        required((!name.is_null()).then_some(()), "name")?;
        required((!format.is_null()).then_some(()), "format")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let found = PixelFormat::from_name(&unsafe { CStr::from_ptr(name) }.to_string_lossy())?;
        let number = FORMATS.iter().find(|(_, format, _)| *format == found).map(|&(number, ..)| number as u32);
        let number = number.ok_or_else(|| Error::Internal(format!("{} has no number", found.name())))?;
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { format.write(number) };
        Ok(())
    })
}

/// The name of a format, for example "NV12"; "unknown format" for any other number. Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_format_name(format: u32) -> *const c_char {
    answer(c"unknown format".as_ptr(), || {
        FORMATS.iter().find(|(known, ..)| *known as u32 == format).map(|(.., name)| name.as_ptr())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_format_under_its_name() {
        for format in PixelFormat::ALL {
            assert!(FORMATS.iter().any(|(_, known, name)| *known == format && name.to_str() == Ok(format.name())));
        }
    }
}
