//! The size at which the network sees a frame.

use crate::Size;

/// A frame whose side is between this factor and its reciprocal times the native side is not
/// resampled.
const NEAR: f64 = 0.8;

/// The size to which [`SizeMode::Auto`](crate::SizeMode) resamples a frame of `size` for
/// a network of this native side and stride; `None` if the frame is near the native side as it is.
#[must_use]
pub fn native(size: Size, native_side: u32, stride: usize) -> Option<Size> {
    let side = (size.width as f64 * size.height as f64).sqrt();
    let factor = f64::from(native_side) / side;
    (!(NEAR..=1.0 / NEAR).contains(&factor)).then(|| scaled(size, factor, stride))
}

/// The size of a frame that is resampled so that its shorter side has `pixels`.
pub(crate) fn short_side(size: Size, pixels: u32, stride: usize) -> Size {
    scaled(size, f64::from(pixels) / size.width.min(size.height) as f64, stride)
}

/// Both sides times `factor`, rounded to the nearest multiples of the stride, at least one stride.
fn scaled(size: Size, factor: f64, stride: usize) -> Size {
    let side = |side: usize| ((side as f64 * factor / stride as f64).round() as usize).max(1) * stride;
    Size::new(side(size.width), side(size.height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_near_the_native_side_stay_as_they_are() {
        struct Case {
            size: Size,
            native: Option<Size>,
        }
        let cases = [
            Case { size: Size::new(400, 400), native: None },
            // 4/5 and 5/4 of 400, and one pixel beyond each.
            Case { size: Size::new(320, 320), native: None },
            Case { size: Size::new(320, 319), native: Some(Size::new(416, 384)) },
            Case { size: Size::new(500, 500), native: None },
            Case { size: Size::new(501, 500), native: Some(Size::new(416, 384)) },
            Case { size: Size::new(1920, 1080), native: Some(Size::new(544, 288)) },
            Case { size: Size::new(1080, 1920), native: Some(Size::new(288, 544)) },
            Case { size: Size::new(1, 1), native: Some(Size::new(416, 416)) },
            // Too thin to keep its aspect ratio: a side is at least the stride.
            Case { size: Size::new(10_000, 1), native: Some(Size::new(40_000, 32)) },
        ];
        for Case { size, native: expected } in cases {
            assert_eq!(native(size, 400, 32), expected, "{size}");
        }
    }

    #[test]
    fn the_short_side_is_rounded_to_the_stride() {
        assert_eq!(short_side(Size::new(1920, 1080), 320, 32), Size::new(576, 320));
        assert_eq!(short_side(Size::new(1080, 1920), 335, 32), Size::new(320, 608));
        assert_eq!(short_side(Size::new(1080, 1920), 337, 32), Size::new(352, 608));
        assert_eq!(short_side(Size::new(100, 500), 8, 8), Size::new(8, 40));
    }
}
