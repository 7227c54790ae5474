//! Class colours blended into an image.

use crate::{
    Error, LabelMap, PixelFormat, Result, UNKNOWN, canvas::Canvas, frame::plane_layout, legend, palette::Class,
};

/// How [`overlay_styled`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// Opacity of the class colours, 0 (invisible) to 1 (opaque).
    pub alpha: f32,
    /// Width of outlines in pixels, 0 (none) to 64: pixels with another label within this many
    /// columns or rows get the opaque colour of their class.
    pub outline: u32,
    /// Draws a box at the upper left with the colours and names of the classes in the mask. Text is
    /// 8 pixels high per 240 pixels of the shorter side. Entries that do not fit are omitted.
    pub legend: bool,
}

impl OverlayStyle {
    /// Colours and outlines that are visible in an image of this size: the outline has 1 pixel, and
    /// one more per 300 pixels of the shorter side.
    #[must_use]
    pub fn visible(width: u32, height: u32) -> Self {
        OverlayStyle { alpha: 0.4, outline: (1 + width.min(height) / 300).min(64), legend: false }
    }
}

impl Default for OverlayStyle {
    /// Half transparent, without outlines and legend.
    fn default() -> Self {
        OverlayStyle { alpha: 0.5, outline: 0, legend: false }
    }
}

/// [`overlay_styled`] with `alpha` only, for `height * width` labels row by row.
#[expect(clippy::too_many_arguments, reason = "a picture is five of them")]
pub fn overlay(
    pixels: &mut [u8],
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    labels: &[u8],
    classes: &[Class],
    background: Option<u8>,
    alpha: f32,
) -> Result<()> {
    drawable(format)?;
    plane_layout(format, 0, width, height, stride)?;
    if labels.len() != width as usize * height as usize {
        return Err(Error::InvalidArgument(format!(
            "{} labels for {width} x {height} pixels; there must be one for each",
            labels.len()
        )));
    }
    let labels = LabelMap::new(labels, width, height, 0)?;
    overlay_styled(
        pixels,
        format,
        stride,
        labels,
        classes,
        background,
        OverlayStyle { alpha, ..OverlayStyle::default() },
    )
}

/// Fails if class colours cannot be drawn in this format.
fn drawable(format: PixelFormat) -> Result<()> {
    if format.is_gray() || format.is_yuv() {
        return Err(Error::UnsupportedFormat(format!(
            "colours cannot be blended into a picture in {}; use RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8",
            format.name()
        )));
    }
    Ok(())
}

/// Blends class colours into `pixels`, an image of the labels' size, in place. The colours are
/// those of [`Class::display_color`].
///
/// Pixels of the class `background` ([`Segmenter::background`](crate::Segmenter::background)) do
/// not change, nor do those with label [`UNKNOWN`] if there is no such class, nor alpha bytes.
///
/// `stride` is the number of bytes from row to row; 0 means no padding. `format` must have red,
/// green and blue bytes. On failure, the image does not change.
pub fn overlay_styled(
    pixels: &mut [u8],
    format: PixelFormat,
    stride: usize,
    labels: LabelMap<'_>,
    classes: &[Class],
    background: Option<u8>,
    style: OverlayStyle,
) -> Result<()> {
    overlay_rows(pixels, format, (stride, false), labels, classes, background, style)
}

/// [`overlay_styled`] for images that may be bottom-up.
pub(crate) fn overlay_rows(
    pixels: &mut [u8],
    format: PixelFormat,
    (stride, upwards): (usize, bool),
    labels: LabelMap<'_>,
    classes: &[Class],
    background: Option<u8>,
    style: OverlayStyle,
) -> Result<()> {
    let OverlayStyle { alpha, outline, legend } = style;
    let (width, height) = (labels.width(), labels.height());
    drawable(format)?;
    if !(0.0..=1.0).contains(&alpha) {
        return Err(Error::InvalidArgument(format!("alpha is {alpha}; it must be between 0 and 1")));
    }
    if outline > 64 {
        return Err(Error::InvalidArgument(format!(
            "an outline of {outline} pixels is asked for; at most 64 are possible"
        )));
    }
    let (stride, needed) = plane_layout(format, 0, width, height, stride)?;
    if pixels.len() < needed {
        return Err(Error::InvalidArgument(format!(
            "the picture's data holds {} bytes, fewer than the {needed} that {width} x {height} pixels with stride {stride} take",
            pixels.len()
        )));
    }
    let mut shown = [false; 256];
    labels.rows().flatten().for_each(|&label| shown[usize::from(label)] = true);
    if let Some(label) = (classes.len()..usize::from(UNKNOWN)).find(|&label| shown[label]) {
        return Err(Error::InvalidArgument(format!(
            "the label {label} has no class: there are {}, so the mask is of another model or has labels of its own",
            classes.len()
        )));
    }

    let mut canvas = Canvas { pixels, format, stride, upwards, width: width as usize, height: height as usize };
    let colors: Vec<Option<[u8; 3]>> = classes
        .iter()
        .enumerate()
        .map(|(index, class)| (background.map(usize::from) != Some(index)).then(|| class.display_color()))
        .collect();
    for (y, row) in labels.rows().enumerate() {
        for (x, &label) in row.iter().enumerate() {
            let Some(&Some(color)) = colors.get(usize::from(label)) else { continue };
            let share = if is_border(labels, (x, y), outline as usize) { 1.0 } else { alpha };
            canvas.blend(x, y, color, share);
        }
    }
    if legend {
        let entries = classes.iter().zip(&colors).zip(shown).filter(|(_, shown)| *shown);
        legend::draw(&mut canvas, entries.filter_map(|((class, color), _)| Some((class.name.as_str(), (*color)?))));
    }
    Ok(())
}

/// Whether another label lies within `reach` pixels to the left, right, top or bottom.
fn is_border(labels: LabelMap<'_>, (x, y): (usize, usize), reach: usize) -> bool {
    if reach == 0 {
        return false;
    }
    let row = labels.row(y);
    let label = row[x];
    let near = |at: usize, length: usize| at.saturating_sub(reach)..(at + reach + 1).min(length);
    row[near(x, row.len())].iter().any(|&other| other != label)
        || near(y, labels.height() as usize).any(|y| labels.row(y)[x] != label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<Class> {
        [("background", [0, 0, 0]), ("cat", [255, 100, 0])]
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
        // By hand: 100 + (255 - 100) / 4 = 138.75, 100 + 0 = 100, 100 - 100 / 4 = 75.
        for case in [
            Case { format: PixelFormat::Rgb8, alpha: 0.25, cat: &[139, 100, 75] },
            Case { format: PixelFormat::Bgr8, alpha: 0.25, cat: &[75, 100, 139] },
            Case { format: PixelFormat::Rgba8, alpha: 0.25, cat: &[139, 100, 75, 100] },
            Case { format: PixelFormat::Bgra8, alpha: 1.0, cat: &[0, 100, 255, 100] },
            Case { format: PixelFormat::Rgbx8, alpha: 0.25, cat: &[139, 100, 75, 100] },
            Case { format: PixelFormat::Bgrx8, alpha: 1.0, cat: &[0, 100, 255, 100] },
            Case { format: PixelFormat::Rgb8, alpha: 0.0, cat: &[100, 100, 100] },
        ] {
            let bytes = case.format.bytes();
            // Two rows of background, cat and void, with 2 bytes of padding after each but the
            // last.
            let stride = 3 * bytes + 2;
            let mut pixels = vec![100u8; stride + 3 * bytes];
            overlay(&mut pixels, case.format, 3, 2, stride, &[0, 1, 255, 1, 0, 0], &classes(), Some(0), case.alpha)
                .unwrap();
            let mut expected = vec![100u8; stride + 3 * bytes];
            expected[bytes..2 * bytes].copy_from_slice(case.cat);
            expected[stride..stride + bytes].copy_from_slice(case.cat);
            assert_eq!(pixels, expected, "{:?} {}", case.format, case.alpha);
        }
    }

    #[test]
    fn the_background_is_left_wherever_it_stands() {
        let expected = |painted: [bool; 3]| -> Vec<u8> {
            // Black is drawn in grey.
            let colors = [[160; 3], [255, 100, 0], [100; 3]];
            colors
                .into_iter()
                .zip(painted)
                .flat_map(|(color, painted)| if painted { color } else { [100; 3] })
                .collect()
        };
        for (background, painted) in
            [(Some(0), [false, true, false]), (Some(1), [true, false, false]), (None, [true, true, false])]
        {
            let mut pixels = [100u8; 9];
            overlay(&mut pixels, PixelFormat::Rgb8, 3, 1, 0, &[0, 1, 255], &classes(), background, 1.0).unwrap();
            assert_eq!(pixels[..], expected(painted), "{background:?}");
        }
    }

    #[test]
    fn outlines_are_painted_where_another_label_is_near() {
        // A cat of 4 x 3 pixels at column 2 of a picture whose other pixels are background.
        let (width, height) = (8, 5);
        let labels: Vec<u8> = (0..width * height)
            .map(|i| u8::from((2..6).contains(&(i % width)) && (1..4).contains(&(i / width))))
            .collect();
        let map = LabelMap::new(&labels, width as u32, height as u32, 0).unwrap();
        for (outline, full) in [(0, 0), (1, 10), (2, 12), (64, 12)] {
            let mut pixels = vec![100u8; 3 * width * height];
            let style = OverlayStyle { alpha: 0.25, outline, legend: false };
            overlay_styled(&mut pixels, PixelFormat::Rgb8, 0, map, &classes(), Some(0), style).unwrap();
            let count = |color: [u8; 3]| pixels.chunks(3).filter(|pixel| *pixel == color).count();
            assert_eq!((count([255, 100, 0]), count([139, 100, 75])), (full, 12 - full), "outline {outline}");
            assert_eq!(count([100; 3]), width * height - 12);
        }
        let style = OverlayStyle { outline: 65, ..OverlayStyle::default() };
        let error = overlay_styled(&mut [0; 120], PixelFormat::Rgb8, 0, map, &classes(), Some(0), style).unwrap_err();
        assert!(error.to_string().contains("outline of 65"), "{error}");
    }

    #[test]
    fn dark_classes_are_drawn_bright() {
        // Pascal VOC's cat in a picture whose first column is background.
        let mut classes = classes();
        classes[1].color = [64, 0, 0];
        let (width, height) = (40, 16);
        let labels: Vec<u8> = (0..width * height).map(|i| u8::from(i % width > 0)).collect();
        let map = LabelMap::new(&labels, width as u32, height as u32, 0).unwrap();
        let mut pixels = vec![100u8; 3 * width * height];
        let style = OverlayStyle { alpha: 0.5, outline: 1, legend: true };
        overlay_styled(&mut pixels, PixelFormat::Rgb8, 0, map, &classes, Some(0), style).unwrap();
        let at = |x: usize, y: usize| pixels[3 * (y * width + x)..][..3].to_vec();
        // The outline, what is blended, and the box of the legend.
        assert_eq!((at(1, 15), at(30, 15), at(3, 3)), (vec![184, 0, 0], vec![142, 50, 50], vec![184, 0, 0]));
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
            let result =
                overlay(&mut pixels, case.format, width, height, stride, case.labels, &classes(), Some(0), case.alpha);
            let error = result.expect_err(case.message).to_string();
            assert!(error.contains(case.message), "{error}");
            assert_eq!(pixels, [100; 6], "{}", case.message);
        }
    }
}
