//! The size at which the network sees a frame. Sizes are (height, width).

/// A frame whose side is between this factor and its reciprocal times the native side is not
/// resampled.
const NEAR: f64 = 0.8;

/// The (height, width) to which [`SizeMode::Auto`](crate::SizeMode) resamples a frame of `size` for
/// a network of this native side and stride; `None` if the frame is near the native side as it is.
#[must_use]
pub fn native(size: (usize, usize), native_side: u32, stride: usize) -> Option<(usize, usize)> {
    let side = (size.0 as f64 * size.1 as f64).sqrt();
    let factor = f64::from(native_side) / side;
    (!(NEAR..=1.0 / NEAR).contains(&factor)).then(|| scaled(size, factor, stride))
}

/// The size of a frame that is resampled so that its shorter side has `pixels`.
pub(crate) fn short_side(size: (usize, usize), pixels: u32, stride: usize) -> (usize, usize) {
    scaled(size, f64::from(pixels) / size.0.min(size.1) as f64, stride)
}

/// Both sides times `factor`, rounded to the nearest multiples of the stride, at least one stride.
fn scaled((height, width): (usize, usize), factor: f64, stride: usize) -> (usize, usize) {
    let side = |side: usize| ((side as f64 * factor / stride as f64).round() as usize).max(1) * stride;
    (side(height), side(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_near_the_native_side_stay_as_they_are() {
        struct Case {
            size: (usize, usize),
            native: Option<(usize, usize)>,
        }
        let cases = [
            Case { size: (400, 400), native: None },
            // 4/5 and 5/4 of 400, and one pixel beyond each.
            Case { size: (320, 320), native: None },
            Case { size: (319, 320), native: Some((384, 416)) },
            Case { size: (500, 500), native: None },
            Case { size: (500, 501), native: Some((384, 416)) },
            Case { size: (1080, 1920), native: Some((288, 544)) },
            Case { size: (1920, 1080), native: Some((544, 288)) },
            Case { size: (1, 1), native: Some((416, 416)) },
            // Too thin to keep its aspect ratio: a side is at least the stride.
            Case { size: (1, 10_000), native: Some((32, 40_000)) },
        ];
        for Case { size, native: expected } in cases {
            assert_eq!(native(size, 400, 32), expected, "{size:?}");
        }
    }

    #[test]
    fn the_short_side_is_rounded_to_the_stride() {
        assert_eq!(short_side((1080, 1920), 320, 32), (320, 576));
        assert_eq!(short_side((1920, 1080), 335, 32), (608, 320));
        assert_eq!(short_side((1920, 1080), 337, 32), (608, 352));
        assert_eq!(short_side((500, 100), 8, 8), (40, 8));
    }
}
