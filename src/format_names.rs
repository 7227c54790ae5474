//! The names of pixel formats: in this library, ROS 2, OpenCV, the Linux kernel (V4L2), GStreamer
//! and FFmpeg.

use std::{fmt, str::FromStr};

use crate::{Error, PixelFormat, Result};

use PixelFormat::*;

/// Values of `encoding` in sensor_msgs/Image (sensor_msgs/image_encodings.hpp) that differ from
/// [`PixelFormat::name`].
const ROS: [(&str, PixelFormat); 4] = [("mono8", Gray8), ("mono16", Gray16), ("yuv422", Uyvy), ("yuv422_yuy2", Yuyv)];

/// OpenCV's matrix types, which ROS 2 also accepts as encodings. They do not specify a channel
/// order; OpenCV's order is BGR.
const OPENCV: [(&str, PixelFormat); 4] = [("8UC1", Gray8), ("8UC3", Bgr8), ("8UC4", Bgra8), ("16UC1", Gray16)];

/// Four-character codes (linux/videodev2.h), without trailing spaces. XR24 and the like are DRM
/// codes, which name the channels from the highest byte of a little-endian number.
const V4L2: [(&str, PixelFormat); 16] = [
    ("RGB3", Rgb8),
    ("BGR3", Bgr8),
    ("AB24", Rgba8),
    ("XB24", Rgbx8),
    ("AR24", Bgra8),
    ("XR24", Bgrx8),
    ("BGR4", Bgrx8),
    ("GREY", Gray8),
    ("Y16", Gray16),
    // M: planes in separate memory.
    ("NM12", Nv12),
    ("NM21", Nv21),
    ("YU12", I420),
    ("YM12", I420),
    ("422P", I422),
    ("YM16", I422),
    ("YM24", I444),
];

/// Formats of GStreamer's video/x-raw and of FFmpeg.
const VIDEO: [(&str, PixelFormat); 26] = [
    ("RGB", Rgb8),
    ("BGR", Bgr8),
    ("RGBA", Rgba8),
    ("BGRA", Bgra8),
    ("RGBx", Rgbx8),
    ("BGRx", Bgrx8),
    ("GRAY16_LE", Gray16),
    ("YUY2", Yuyv),
    ("rgb24", Rgb8),
    ("bgr24", Bgr8),
    ("rgb0", Rgbx8),
    ("bgr0", Bgrx8),
    ("gray", Gray8),
    ("gray16le", Gray16),
    ("yuv420p", I420),
    ("Y42B", I422),
    ("yuv422p", I422),
    ("yuv440p", I440),
    ("Y444", I444),
    ("yuv444p", I444),
    ("yuvj420p", J420),
    ("yuvj422p", J422),
    ("yuvj440p", J440),
    ("yuvj444p", J444),
    ("yuyv422", Yuyv),
    ("uyvy422", Uyvy),
];

impl FromStr for PixelFormat {
    type Err = Error;

    /// Looks up a format by name, case-insensitively: a name of this library (`NV12`, `RGB8`), a
    /// ROS 2 encoding (`bgr8`, `mono16`, `yuv422_yuy2`), an OpenCV matrix type (`8UC3`, taken as
    /// BGR), a V4L2 fourcc (`YU12`, `XR24`), or a name of GStreamer or FFmpeg (`YUY2`, `BGRx`,
    /// `yuv420p`). Any other name, for example of a Bayer pattern, is [`Error::UnsupportedFormat`].
    ///
    /// A name does not specify the colour matrix. Nor does it specify the range, except for
    /// FFmpeg's `yuvj420p` and the like, whose formats ([`PixelFormat::J420`]) always have full
    /// range. ROS 2's `is_bigendian` must be 0 for `mono16` and `16UC1`.
    fn from_str(name: &str) -> Result<PixelFormat> {
        let own = PixelFormat::ALL.into_iter().map(|format| (format.name(), format));
        let mut known = own.chain(ROS).chain(OPENCV).chain(V4L2).chain(VIDEO);
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name.trim_end_matches(' ')));
        found.map(|(_, format)| format).ok_or_else(|| {
            let own = PixelFormat::ALL.map(PixelFormat::name).join(", ");
            Error::UnsupportedFormat(format!(
                "the pixel format '{name:.40}' is not supported; convert the image to one of {own}"
            ))
        })
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PixelFormat {
    /// This library's name of the format, for example `NV12`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rgb8 => "RGB8",
            Bgr8 => "BGR8",
            Rgba8 => "RGBA8",
            Bgra8 => "BGRA8",
            Gray8 => "GRAY8",
            Rgbx8 => "RGBX8",
            Bgrx8 => "BGRX8",
            Gray16 => "GRAY16",
            Nv12 => "NV12",
            Nv21 => "NV21",
            I420 => "I420",
            Yuyv => "YUYV",
            Uyvy => "UYVY",
            I422 => "I422",
            I440 => "I440",
            I444 => "I444",
            J420 => "J420",
            J422 => "J422",
            J440 => "J440",
            J444 => "J444",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_everywhere_are_known() {
        // Byte orders according to the kernel's pixfmt-rgb.rst and pixfmt-packed-yuv.rst, ROS 2's
        // image_encodings.hpp, GStreamer's video-format.h and FFmpeg's pixfmt.h.
        for (format, names) in [
            (Rgb8, "RGB8 rgb8 RGB3 RGB rgb24"),
            (Bgr8, "BGR8 bgr8 BGR3 BGR bgr24 8UC3 8uc3"),
            (Rgba8, "RGBA8 rgba8 AB24 RGBA rgba"),
            (Bgra8, "BGRA8 bgra8 AR24 BGRA bgra 8UC4"),
            (Gray8, "GRAY8 mono8 GREY grey gray 8UC1"),
            (Rgbx8, "RGBX8 XB24 RGBx rgb0"),
            (Bgrx8, "BGRX8 XR24 BGR4 BGRx bgr0"),
            (Gray16, "GRAY16 mono16 Y16 y16 GRAY16_LE gray16le 16UC1"),
            (Nv12, "NV12 NM12 nv12"),
            (Nv21, "NV21 NM21 nv21"),
            (I420, "I420 YU12 YM12 yuv420p"),
            (Yuyv, "YUYV yuyv YUY2 yuv422_yuy2 yuyv422"),
            (Uyvy, "UYVY uyvy yuv422 uyvy422"),
            (I422, "I422 422P YM16 Y42B yuv422p"),
            (I440, "I440 yuv440p"),
            (I444, "I444 YM24 Y444 yuv444p"),
            (J420, "J420 yuvj420p YUVJ420P"),
            (J422, "J422 yuvj422p"),
            (J440, "J440 yuvj440p"),
            (J444, "J444 yuvj444p"),
        ] {
            for name in names.split(' ') {
                assert_eq!(name.parse::<PixelFormat>(), Ok(format), "{name}");
            }
            assert_eq!(names.split(' ').next(), Some(format.name()));
            assert!(PixelFormat::ALL.contains(&format));
        }
        // The kernel pads the code to four characters.
        assert_eq!("Y16 ".parse::<PixelFormat>(), Ok(Gray16));
    }

    #[test]
    fn other_names_are_an_error_that_repeats_them() {
        let strange = "bayer_rggb8 bayer_grbg16 BA81 RGGB 8UC2 8SC1 16UC3 16SC1 32FC1 CV_8UC3 yuvj411p yuv420p10le rgb16 nv24 NV16 YV12 YVYU MJPG RGB4 BX24 xRGB GRAY16_BE Y10";
        for name in strange.split(' ').chain(["", " ", "NV 12"]) {
            let error = name.parse::<PixelFormat>().expect_err(name);
            assert!(matches!(error, Error::UnsupportedFormat(_)), "{name}");
            assert!(error.to_string().contains(&format!("'{name}'")), "{error}");
        }
        let long = "x".repeat(1 << 20);
        assert!(long.parse::<PixelFormat>().unwrap_err().to_string().len() < 350);
    }
}
