//! Class colours blended into a picture.

use crate::{Error, PixelFormat, Result, frame::plane_layout, palette::Class};

/// The label of pixels that have no class, as in ground truth.
const VOID: u8 = 255;

/// Blends the colours of the classes into `pixels`, in place: `alpha` 0 leaves the picture, 1 paints over it.
///
/// `labels` holds `height * width` class indices, row by row. Left as they are: pixels of class 0 where that is a black
/// class called `background`, and pixels with label 255 where there is no such class. Alpha bytes stay.
///
/// `stride` is the distance of rows in bytes, 0 for rows without padding. Only the formats with red, green and
/// blue bytes are taken. Where it fails, the picture stays as it was.
#[expect(clippy::too_many_arguments, reason = "a picture is five of them")]
pub fn overlay(
    pixels: &mut [u8],
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    labels: &[u8],
    classes: &[Class],
    alpha: f32,
) -> Result<()> {
    if format.is_gray() || format.is_yuv() {
        return Err(Error::UnsupportedFormat(format!(
            "colours cannot be blended into a picture in {}; use RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8",
            format.name()
        )));
    }
    if !(0.0..=1.0).contains(&alpha) {
        return Err(Error::InvalidArgument(format!("alpha is {alpha}; it must be between 0 and 1")));
    }
    let (stride, needed) = plane_layout(format, 0, width, height, stride)?;
    if pixels.len() < needed {
        return Err(Error::InvalidArgument(format!(
            "the picture's data holds {} bytes, fewer than the {needed} that {width} x {height} pixels with stride {stride} take",
            pixels.len()
        )));
    }
    if labels.len() != width as usize * height as usize {
        return Err(Error::InvalidArgument(format!(
            "{} labels for {width} x {height} pixels; there must be one for each",
            labels.len()
        )));
    }
    let missing = labels.iter().find(|&&label| label as usize >= classes.len() && label != VOID);
    if let Some(label) = missing {
        return Err(Error::InvalidArgument(format!(
            "the label {label} has no class: there are {}, so the mask is of another model",
            classes.len()
        )));
    }

    let offsets = format.samples().map(|samples| samples.offset);
    let colors: Vec<Option<[u8; 3]>> = classes
        .iter()
        .enumerate()
        .map(|(index, class)| (!is_background(index, class)).then_some(class.color))
        .collect();
    for (row, labels) in pixels.chunks_mut(stride).zip(labels.chunks_exact(width as usize)) {
        for (pixel, &label) in row.chunks_exact_mut(format.bytes()).zip(labels) {
            let Some(&Some(color)) = colors.get(label as usize) else { continue };
            for (offset, color) in offsets.into_iter().zip(color) {
                let before = f32::from(pixel[offset]);
                pixel[offset] = (before + (f32::from(color) - before) * alpha).round() as u8;
            }
        }
    }
    Ok(())
}

/// Whether the class means "nothing of interest".
fn is_background(index: usize, class: &Class) -> bool {
    index == 0 && class.name == "background" && class.color == [0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<Class> {
        [("background", [0, 0, 0]), ("cat", [200, 100, 0])]
            .map(|(name, color)| Class { name: name.into(), color })
            .to_vec()
    }

    #[test]
    fn colours_are_blended_in_the_order_of_the_format() {
        struct Case {
            format: PixelFormat,
            alpha: f32,
            cat: &'static [u8],
        }
        // By hand: 100 + (200 - 100) / 4 = 125, 100 + 0 = 100, 100 - 100 / 4 = 75.
        for case in [
            Case { format: PixelFormat::Rgb8, alpha: 0.25, cat: &[125, 100, 75] },
            Case { format: PixelFormat::Bgr8, alpha: 0.25, cat: &[75, 100, 125] },
            Case { format: PixelFormat::Rgba8, alpha: 0.25, cat: &[125, 100, 75, 100] },
            Case { format: PixelFormat::Bgra8, alpha: 1.0, cat: &[0, 100, 200, 100] },
            Case { format: PixelFormat::Rgbx8, alpha: 0.25, cat: &[125, 100, 75, 100] },
            Case { format: PixelFormat::Bgrx8, alpha: 1.0, cat: &[0, 100, 200, 100] },
            Case { format: PixelFormat::Rgb8, alpha: 0.0, cat: &[100, 100, 100] },
        ] {
            let bytes = case.format.bytes();
            // Two rows of background, cat and void, with 2 bytes of padding after each but the last.
            let stride = 3 * bytes + 2;
            let mut pixels = vec![100u8; stride + 3 * bytes];
            overlay(&mut pixels, case.format, 3, 2, stride, &[0, 1, 255, 1, 0, 0], &classes(), case.alpha).unwrap();
            let mut expected = vec![100u8; stride + 3 * bytes];
            expected[bytes..2 * bytes].copy_from_slice(case.cat);
            expected[stride..stride + bytes].copy_from_slice(case.cat);
            assert_eq!(pixels, expected, "{:?} {}", case.format, case.alpha);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_the_picture_stays() {
        struct Case {
            format: PixelFormat,
            size: (u32, u32, usize),
            labels: &'static [u8],
            alpha: f32,
            message: &'static str,
        }
        let fits = Case { format: PixelFormat::Rgb8, size: (2, 1, 0), labels: &[1, 1], alpha: 0.5, message: "" };
        for case in [
            Case { format: PixelFormat::Gray8, message: "GRAY8", ..fits },
            Case { format: PixelFormat::Nv12, message: "NV12", ..fits },
            Case { alpha: -0.1, message: "alpha is -0.1", ..fits },
            Case { alpha: f32::NAN, message: "alpha is NaN", ..fits },
            Case { size: (0, 1, 0), message: "width is 0", ..fits },
            Case { size: (2, 1, 5), message: "stride 5 is less than the 6 bytes", ..fits },
            Case { size: (2, 2, 0), labels: &[1; 4], message: "holds 6 bytes, fewer than the 12", ..fits },
            Case { labels: &[1], message: "1 labels for 2 x 1 pixels", ..fits },
            Case { labels: &[1, 2], message: "the label 2 has no class: there are 2", ..fits },
        ] {
            let mut pixels = [100u8; 6];
            let (width, height, stride) = case.size;
            let result = overlay(&mut pixels, case.format, width, height, stride, case.labels, &classes(), case.alpha);
            let error = result.expect_err(case.message).to_string();
            assert!(error.contains(case.message), "{error}");
            assert_eq!(pixels, [100; 6], "{}", case.message);
        }
    }
}
