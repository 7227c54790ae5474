//! `fcn_format` and `fcn_frame`: an image in the caller's memory.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr, slice,
};

use super::{Result, answer, fcn_status, guard, invalid, required};
use crate::{ColorMatrix, ColorRange, Error, Frame, PixelFormat, Rect, Rotation, frame::plane_layout};

/// Pixel formats: the layout of an image's bytes. fcn_format_from_name() translates the names that
/// other libraries use.
///
/// NV12, NV21, YUYV, UYVY and the formats that begin with I or J are Y'CbCr (YUV). Where chroma is
/// subsampled, an odd last column or row has chroma samples of its own. Each pixel uses the chroma
/// samples of its group, without interpolation.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_format {
    /// 3 bytes per pixel: red, green, blue.
    FCN_FORMAT_RGB8 = 1,
    /// 3 bytes per pixel: blue, green, red (OpenCV's order).
    FCN_FORMAT_BGR8 = 2,
    /// 4 bytes per pixel: red, green, blue, alpha. Alpha is ignored.
    FCN_FORMAT_RGBA8 = 3,
    /// 4 bytes per pixel: blue, green, red, alpha. Alpha is ignored.
    FCN_FORMAT_BGRA8 = 4,
    /// 1 byte per pixel: grey, used for all three channels.
    FCN_FORMAT_GRAY8 = 5,
    /// 4 bytes per pixel: red, green, blue, unused.
    FCN_FORMAT_RGBX8 = 6,
    /// 4 bytes per pixel: blue, green, red, unused.
    FCN_FORMAT_BGRX8 = 7,
    /// 2 bytes per pixel, little-endian: grey, 0 to 65535. Only the high byte is used: shift 10-bit
    /// and 12-bit samples up to 16 bits.
    FCN_FORMAT_GRAY16 = 8,
    /// Two planes: Y; Cb and Cr interleaved, one pair per 2 x 2 pixels.
    FCN_FORMAT_NV12 = 9,
    /// Two planes: Y; Cr and Cb interleaved, one pair per 2 x 2 pixels.
    FCN_FORMAT_NV21 = 10,
    /// Three planes: Y; Cb and Cr, one sample each per 2 x 2 pixels. For YV12, swap the last two.
    FCN_FORMAT_I420 = 11,
    /// 4 bytes per 2 x 1 pixels: Y, Cb, Y, Cr. Rows of odd width end with a full group of 4 bytes.
    FCN_FORMAT_YUYV = 12,
    /// 4 bytes per 2 x 1 pixels: Cb, Y, Cr, Y. Rows of odd width end with a full group of 4 bytes.
    FCN_FORMAT_UYVY = 13,
    /// Three planes: Y; Cb and Cr, one sample each per 2 x 1 pixels.
    FCN_FORMAT_I422 = 14,
    /// Three planes: Y; Cb and Cr, one sample each per 1 x 2 pixels (two rows).
    FCN_FORMAT_I440 = 15,
    /// Three planes: Y, Cb and Cr, one sample each per pixel.
    FCN_FORMAT_I444 = 16,
    /// FCN_FORMAT_I420 in full range, whatever `range` is: FFmpeg's yuvj420p.
    FCN_FORMAT_J420 = 17,
    /// FCN_FORMAT_I422 in full range, whatever `range` is: FFmpeg's yuvj422p.
    FCN_FORMAT_J422 = 18,
    /// FCN_FORMAT_I440 in full range, whatever `range` is: FFmpeg's yuvj440p.
    FCN_FORMAT_J440 = 19,
    /// FCN_FORMAT_I444 in full range, whatever `range` is: FFmpeg's yuvj444p.
    FCN_FORMAT_J444 = 20,
}

use fcn_format::*;

/// Y'CbCr coefficients: how red, green and blue were weighted.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_matrix {
    /// ITU-R BT.601: JPEG, most webcams, standard definition.
    FCN_MATRIX_BT601 = 0,
    /// ITU-R BT.709: high definition.
    FCN_MATRIX_BT709 = 1,
}

use fcn_matrix::*;

/// Range of Y'CbCr samples.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_range {
    /// Y 16 to 235, Cb and Cr 16 to 240: video.
    FCN_RANGE_LIMITED = 0,
    /// 0 to 255: JPEG, and webcams that decode it.
    FCN_RANGE_FULL = 1,
}

use fcn_range::*;

/// Each format with its Rust counterpart and name.
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
    let found = FORMATS.iter().find(|(format, ..)| *format as u32 == number).map(|&(_, format, _)| format);
    found.ok_or_else(|| {
        let known = FORMATS.map(|(number, format, _)| format!("FCN_FORMAT_{} ({})", format.name(), number as u32));
        let text = format!("unknown pixel format {number}; supported are {}", known.join(", "));
        Error::UnsupportedFormat(text).into()
    })
}

/// A rectangle of pixels. As a crop, all zeros mean the whole frame.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct fcn_rect {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// An image in the caller's memory. fcn_segment() reads its pixels only during the call.
///
/// Fill it with fcn_frame_packed(), fcn_frame_planar() or fcn_frame_contiguous(), or set it to zero
/// and assign the fields. Crop, rotation and mirror apply in this order and copy nothing: `crop` is
/// in pixels of the image as stored, and the mask has the size and orientation that result from all
/// three.
///
/// Threads may share a frame as long as none of them writes to it or to its pixels.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct fcn_frame {
    /// First sample of each plane of the format; NULL for planes that it does not have.
    pub planes: [*const c_void; 3],
    /// Bytes from the start of one row to the next, per plane; 0 means rows without padding. The
    /// last row needs no padding.
    ///
    /// Negative for bottom-up images (FFmpeg's negative `linesize`), converted to size_t: the plane
    /// then points to the image's first row, which is the last one in memory. Planes may differ in
    /// direction.
    pub strides: [usize; 3],
    /// Columns, 1 to 32767. Width times height is at most 2^28.
    pub width: u32,
    /// Rows, 1 to 32767.
    pub height: u32,
    /// One of FCN_FORMAT_*.
    pub format: u32,
    /// The part of the image to segment; all zeros mean all of it. May start and end within a
    /// chroma group.
    pub crop: fcn_rect,
    /// Clockwise rotation in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// 1 flips left and right, after the rotation; 0 does not.
    pub mirror: u32,
    /// One of FCN_MATRIX_*, for Y'CbCr; ignored for other formats.
    pub matrix: u32,
    /// One of FCN_RANGE_*, for Y'CbCr; ignored for other formats and FCN_FORMAT_J*.
    pub range: u32,
    /// Must be zero.
    pub reserved: [u32; 4],
}

/// Names of the planes in messages.
const PLANES: [&str; 3] = ["frame.planes[0]", "frame.planes[1]", "frame.planes[2]"];

impl fcn_frame {
    /// A whole image, unchecked.
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
    /// Each of `planes` is NULL or points to the samples that width, height, format and stride
    /// describe, and no thread writes to them while the result lives.
    pub(super) unsafe fn checked(&self) -> Result<Frame<'_>> {
        let format = pixel_format(self.format)?;
        if let Some(&value) = self.reserved.iter().find(|&&value| value != 0) {
            return Err(invalid(format!(
                "frame.reserved contains {value}; it must be zero (set the frame to zero before assigning its fields)"
            )));
        }
        for plane in format.planes()..3 {
            if !self.planes[plane].is_null() || self.strides[plane] != 0 {
                return Err(invalid(format!(
                    "frame.planes[{plane}] must be NULL and frame.strides[{plane}] ({}) must be 0: {} has {} plane(s)",
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
                return Err(invalid(format!(
                    "frame.matrix is {other}; it must be FCN_MATRIX_BT601 (0) or FCN_MATRIX_BT709 (1)"
                )));
            }
        };
        let range = match self.range {
            number if number == FCN_RANGE_LIMITED as u32 => ColorRange::Limited,
            number if number == FCN_RANGE_FULL as u32 => ColorRange::Full,
            other => {
                return Err(invalid(format!(
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
                return Err(invalid(format!(
                    "frame.rotation is {other}; it must be 0, 90, 180 or 270 degrees clockwise"
                )));
            }
        };
        if self.mirror > 1 {
            return Err(invalid(format!("frame.mirror is {}; it must be 0 or 1", self.mirror)));
        }
        let (mut planes, mut upwards) = ([(&[][..], 0); 3], [false; 3]);
        let planes = &mut planes[..format.planes()];
        for (index, plane) in planes.iter_mut().enumerate() {
            let data = self.planes[index].cast::<u8>();
            required((!data.is_null()).then_some(()), PLANES[index])?;
            let rows = PlaneRows::new(format, index, (self.width, self.height), self.strides[index], data.addr())?;
            upwards[index] = rows.upwards;
            // SAFETY: not NULL; the caller promises the samples that the frame describes, and
            // `length` spans exactly the first to the last of them, at most isize::MAX bytes. In
            // bottom-up images, the last row comes first.
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

/// Layout of a plane's rows in memory.
pub(super) struct PlaneRows {
    /// Bytes from row to row.
    pub(super) stride: usize,
    /// Whether the rows are bottom-up: C's stride is negative.
    pub(super) upwards: bool,
    /// Bytes from the start of the memory to the first row.
    pub(super) above: usize,
    /// Length of the memory in bytes.
    pub(super) length: usize,
}

impl PlaneRows {
    /// The rows of plane `plane` of an image of this width and height; the first is at `address`.
    pub(super) fn new(
        format: PixelFormat,
        plane: usize,
        (width, height): (u32, u32),
        stride: usize,
        address: usize,
    ) -> Result<PlaneRows> {
        let signed = stride.cast_signed();
        let upwards = signed < 0;
        let (distance, length) =
            plane_layout(format, plane, width, height, signed.unsigned_abs()).map_err(|error| match error {
                Error::InvalidArgument(message) if upwards => {
                    Error::InvalidArgument(format!("{message}; the given stride is {signed}"))
                }
                other => other,
            })?;
        let (rows, _) = format.plane_size(plane, width, height);
        let above = if upwards { (rows - 1) * distance } else { 0 };
        if above >= address {
            return Err(invalid(format!(
                "{rows} rows with stride {signed} starting at address {address} reach below address 0"
            )));
        }
        Ok(PlaneRows { stride: distance, upwards, above, length })
    }
}

/// Returns a frame in one plane: RGB8 to BGRX8, GRAY16, YUYV, UYVY.
///
/// - `pixels`: first row of the image.
/// - `width`, `height`: 1 to 32767 pixels.
/// - `stride`: bytes from row to row; 0 means no padding, negative means bottom-up
///   (fcn_frame.strides).
///
/// fcn_segment() checks the arguments; this function does not.
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

/// Returns a frame whose planes have separate addresses and strides, such as an AVFrame's `data`
/// and `linesize` or those of GstVideoMeta. Pass NULL and 0 for planes that the format does not
/// have.
///
/// fcn_segment() checks the arguments; this function does not.
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

/// Returns a frame whose planes follow each other without gaps, such as a V4L2 buffer with its
/// `bytesperline` as `stride`. Same as fcn_frame_packed() for formats with one plane.
///
/// `stride` is that of the first plane; 0 means no padding. The second plane of NV12 and NV21 has
/// the same, rounded up to an even number; the second and third planes of I420 have half of it,
/// rounded up. If it is negative, the rows of every plane are bottom-up, and `pixels` is the
/// image's first row.
///
/// GStreamer adds a row to planes of odd height: use fcn_frame_planar() for its buffers.
///
/// fcn_segment() checks the arguments; this function does not.
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
        // Bytes from the start of a plane's memory to its first row.
        let above = |plane: usize, stride: usize| {
            let (rows, _) = format.plane_size(plane, width, height);
            if upwards { rows.saturating_sub(1).wrapping_mul(stride) } else { 0 }
        };
        for (index, (offset, stride)) in layout.into_iter().take(format.planes()).enumerate() {
            let offset = offset.wrapping_add(above(index, stride)).wrapping_sub(above(0, distance));
            // NULL stays NULL.
            frame.planes[index] = if pixels.is_null() { pixels } else { pixels.wrapping_byte_add(offset) };
            frame.strides[index] = if upwards { stride.wrapping_neg() } else { stride };
        }
        Some(frame)
    })
}

/// Translates a format's name and stores one of FCN_FORMAT_* in `*format`.
///
/// Upper and lower case are the same. Names come from
///
/// - this library: "RGB8";
/// - ROS 2 encodings: "bgr8", "mono16", "yuv422_yuy2";
/// - OpenCV matrix types: "8UC1", "16UC1"; "8UC3" and "8UC4" are in the order blue, green, red;
/// - V4L2 fourccs: "NV12", "YUYV", "XR24";
/// - GStreamer: "I420", "BGRx", "GRAY16_LE";
/// - FFmpeg: "yuv420p".
///
/// Names do not include the colour matrix or range, except FFmpeg's "yuvj420p" and its like, which
/// become FCN_FORMAT_J*. ROS 2's `is_bigendian` must be 0 for "mono16" and "16UC1".
///
/// Errors: FCN_ERROR_UNSUPPORTED_FORMAT for any other name, such as a Bayer pattern.
///
/// # Safety
/// `name` is NULL or a NUL-terminated string; `format` is NULL or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_format_from_name(name: *const c_char, format: *mut u32) -> fcn_status {
    guard(|| {
        required((!name.is_null()).then_some(()), "name")?;
        required((!format.is_null()).then_some(()), "format")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let found = unsafe { CStr::from_ptr(name) }.to_string_lossy().parse::<PixelFormat>()?;
        let number = FORMATS.iter().find(|(_, format, _)| *format == found).map(|&(number, ..)| number as u32);
        let number = number.ok_or_else(|| Error::Internal(format!("{} has no number", found.name())))?;
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { format.write(number) };
        Ok(())
    })
}

/// Returns the name of a format, for example "NV12", or "unknown format". Static: never NULL, never
/// freed.
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
