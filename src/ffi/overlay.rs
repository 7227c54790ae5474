//! `fcn_overlay_style`: class colours over an image.

use std::{ffi::c_void, slice};

use super::{
    Result, fcn_mask, fcn_segmenter, fcn_status,
    frame::{PlaneRows, pixel_format},
    guard, invalid, required,
};
use crate::OverlayStyle;

/// How fcn_overlay_styled() draws. Set it to zero, then assign the fields.
///
/// ```c
/// fcn_overlay_style style = {0};
/// style.alpha = 0.5f;
/// style.outline = 2;
/// style.legend = 1;
/// fcn_overlay_styled(segmenter, mask, &style, FCN_FORMAT_BGR8, pixels, width, height, 0);
/// ```
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_overlay_style {
    /// Opacity of the class colours, 0 (invisible) to 1 (opaque).
    pub alpha: f32,
    /// Width of outlines in pixels, 0 (none) to 64: pixels with another label within this many
    /// columns or rows get the opaque colour of their class.
    pub outline: u32,
    /// 1 draws a box at the upper left with the colours and names of the classes in the mask; 0
    /// does not. Text is 8 pixels high per 240 pixels of the shorter side. Entries that do not fit
    /// are omitted.
    pub legend: u32,
    /// Must be zero.
    pub reserved: [u32; 5],
}

/// Blends class colours into an image of the mask's size, in place. The colours are those of
/// fcn_segmenter_class_display_color(). Pixels of the background class (fcn_segmenter_background())
/// and with label 255 do not change.
///
/// - `alpha`: opacity, 0 (invisible) to 1 (opaque).
/// - `format`: FCN_FORMAT_RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8. The fourth byte does not
///   change.
/// - `pixels`: the image, which no other thread may use during the call.
/// - `width`, `height`: must equal fcn_mask_width() and fcn_mask_height().
/// - `stride`: bytes from row to row; 0 means no padding, negative means bottom-up
///   (fcn_frame.strides).
///
/// Errors: FCN_ERROR_UNSUPPORTED_FORMAT for any other format. FCN_ERROR_INVALID_ARGUMENT if an
/// argument is out of range, the mask has no labels, or one of its labels is not a class of
/// `segmenter`.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread
/// writes to; `pixels` is NULL or points to the pixels that format, width, height and stride
/// describe, and no other thread uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_overlay(
    segmenter: Option<&fcn_segmenter>,
    mask: Option<&fcn_mask>,
    alpha: f32,
    format: u32,
    pixels: *mut c_void,
    width: u32,
    height: u32,
    stride: usize,
) -> fcn_status {
    let style = OverlayStyle { alpha, outline: 0, legend: false };
    // SAFETY: the caller promises the pixels.
    guard(|| unsafe { draw(segmenter, mask, style, format, pixels, (width, height), stride) })
}

/// fcn_overlay() with outlines and a legend.
///
/// Errors: as fcn_overlay(); FCN_ERROR_INVALID_ARGUMENT also if a field of `style` is out of
/// range.
///
/// # Safety
/// As for fcn_overlay(); `style` is NULL or points to a style.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_overlay_styled(
    segmenter: Option<&fcn_segmenter>,
    mask: Option<&fcn_mask>,
    style: Option<&fcn_overlay_style>,
    format: u32,
    pixels: *mut c_void,
    width: u32,
    height: u32,
    stride: usize,
) -> fcn_status {
    guard(|| {
        let &fcn_overlay_style { alpha, outline, legend, reserved } = required(style, "style")?;
        if legend > 1 {
            return Err(invalid(format!("style.legend is {legend}; it must be 0 or 1")));
        }
        if let Some(value) = reserved.iter().find(|&&value| value != 0) {
            return Err(invalid(format!("style.reserved contains {value}; it must be zero")));
        }
        let style = OverlayStyle { alpha, outline, legend: legend == 1 };
        // SAFETY: the caller promises the pixels.
        unsafe { draw(segmenter, mask, style, format, pixels, (width, height), stride) }
    })
}

/// # Safety
/// `pixels` is NULL or points to the pixels that format, size and stride describe, and no other
/// thread uses them.
unsafe fn draw(
    segmenter: Option<&fcn_segmenter>,
    mask: Option<&fcn_mask>,
    style: OverlayStyle,
    format: u32,
    pixels: *mut c_void,
    (width, height): (u32, u32),
    stride: usize,
) -> Result<()> {
    let segmenter = required(segmenter, "segmenter")?;
    let mask = required(mask, "mask")?;
    let format = pixel_format(format)?;
    required((!pixels.is_null()).then_some(()), "pixels")?;
    if (width, height) != (mask.0.width(), mask.0.height()) {
        return Err(invalid(format!(
            "the image has {width} x {height} pixels, but the mask {} x {}; they must be equal",
            mask.0.width(),
            mask.0.height()
        )));
    }
    let labels = mask.label_map()?;
    let rows = PlaneRows::new(format, 0, (width, height), stride, pixels.addr())?;
    // SAFETY: not NULL; the caller promises the pixels that the arguments describe to this call
    // alone, and `length` spans exactly the first to the last of them, at most isize::MAX bytes. In
    // bottom-up images, the last row comes first.
    let pixels = unsafe { slice::from_raw_parts_mut(pixels.cast::<u8>().wrapping_sub(rows.above), rows.length) };
    let stride = (rows.stride, rows.upwards);
    let (classes, background) = (segmenter.classes(), segmenter.background());
    Ok(crate::overlay::overlay_rows(pixels, format, stride, labels, classes, background, style)?)
}
