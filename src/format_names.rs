//! What pixel formats are called: by this library, in ROS 2 and OpenCV, by the Linux kernel (V4L2), by GStreamer and by FFmpeg.

use crate::{Error, PixelFormat, Result};

use PixelFormat::*;

/// `encoding` of sensor_msgs/Image (sensor_msgs/image_encodings.hpp) where it is not [`PixelFormat::name`].
const ROS: [(&str, PixelFormat); 4] = [("mono8", Gray8), ("mono16", Gray16), ("yuv422", Uyvy), ("yuv422_yuy2", Yuyv)];

/// Types of OpenCV's matrices, which ROS 2 takes as encodings, too: they say nothing about colours, which are in OpenCV's order.
const OPENCV: [(&str, PixelFormat); 4] = [("8UC1", Gray8), ("8UC3", Bgr8), ("8UC4", Bgra8), ("16UC1", Gray16)];

/// Codes of four letters (linux/videodev2.h), without spaces at the end. The letters of XR24 and its like are those of DRM, which
/// count from the highest byte of a little-endian number.
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
    // The M stands for planes in memory of their own.
    ("NM12", Nv12),
    ("NM21", Nv21),
    ("YU12", I420),
    ("YM12", I420),
    ("422P", I422),
    ("YM16", I422),
    ("YM24", I444),
];

/// Names of GStreamer's video/x-raw and of FFmpeg's pixel formats.
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

impl PixelFormat {
    /// The format with this name, in upper or lower case: of this library (`NV12`, `RGB8`), ROS 2
    /// (`bgr8`, `mono16`, `yuv422_yuy2`), OpenCV's matrix types (`8UC3`, in the order blue, green,
    /// red), V4L2 (`YU12`, `XR24`), GStreamer or FFmpeg (`YUY2`, `BGRx`, `yuv420p`). Other names,
    /// such as Bayer patterns, are [`Error::UnsupportedFormat`].
    ///
    /// Names do not include the colour matrix or range, except FFmpeg's `yuvj420p` and its like,
    /// which become [`PixelFormat::J420`] and so on. ROS 2's `is_bigendian` must be 0 for `mono16`
    /// and `16UC1`.
    pub fn from_name(name: &str) -> Result<PixelFormat> {
        let own = PixelFormat::ALL.into_iter().map(|format| (format.name(), format));
        let mut known = own.chain(ROS).chain(OPENCV).chain(V4L2).chain(VIDEO);
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name.trim_end_matches(' ')));
        found.map(|(_, format)| format).ok_or_else(|| {
            let own = PixelFormat::ALL.map(PixelFormat::name).join(", ");
            Error::UnsupportedFormat(format!(
                "pictures in the format '{name:.40}' are not taken; convert them to one of {own}"
            ))
        })
    }

    /// This library's name of the format, for example `NV12`.
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
        // Byte orders by the kernel's pixfmt-rgb.rst and pixfmt-packed-yuv.rst, ROS 2's image_encodings.hpp, GStreamer's
        // video-format.h and FFmpeg's pixfmt.h.
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
                assert_eq!(PixelFormat::from_name(name), Ok(format), "{name}");
            }
            assert_eq!(names.split(' ').next(), Some(format.name()));
            assert!(PixelFormat::ALL.contains(&format));
        }
        // As the kernel writes it: four letters.
        assert_eq!(PixelFormat::from_name("Y16 "), Ok(Gray16));
    }

    #[test]
    fn other_names_are_an_error_that_repeats_them() {
        let strange = "bayer_rggb8 bayer_grbg16 BA81 RGGB 8UC2 8SC1 16UC3 16SC1 32FC1 CV_8UC3 yuvj411p yuv420p10le rgb16 nv24 NV16 YV12 YVYU MJPG RGB4 BX24 xRGB GRAY16_BE Y10";
        for name in strange.split(' ').chain(["", " ", "NV 12"]) {
            let error = PixelFormat::from_name(name).expect_err(name);
            assert!(matches!(error, Error::UnsupportedFormat(_)), "{name}");
            assert!(error.to_string().contains(&format!("'{name}'")), "{error}");
        }
        let long = "x".repeat(1 << 20);
        assert!(PixelFormat::from_name(&long).unwrap_err().to_string().len() < 350);
    }
}
