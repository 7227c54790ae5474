//! `fcn_overlay_style`: classes drawn over a picture.

use std::{ffi::c_void, slice};

use super::{
    fcn_mask, fcn_segmenter, fcn_status,
    frame::{Rows, pixel_format},
    guard, required,
};
use crate::{Error, OverlayStyle, Result};

/// How fcn_overlay_draw_styled() draws. Set all of it to zero first. This struct is frozen: later versions of the library keep
/// its layout. Owned by whoever made it; there is nothing to free.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_overlay_style {
    /// How much of the classes' colours is blended in: 0 leaves the picture, 1 paints over it.
    pub alpha: f32,
    /// Pixels with another label within this many columns or rows are painted in the full colour of their class, 0 to
    /// 64; 0 means no outlines.
    pub outline: u32,
    /// 1 lists the colours and names of the classes that the mask shows in a box at the upper left; 0 does not. The text is
    /// 8 pixels high for each 240 of the picture's shorter side; what does not fit is left out.
    pub legend: u32,
    /// Must be zero.
    pub reserved: [u32; 5],
}

/// Blends the colours of the classes into a picture of the mask's size, in place: `alpha` 0 leaves the picture, 1
/// paints over it. Colours are those of fcn_segmenter_class_display_color(). Left as they are: the class of fcn_segmenter_background(), and pixels with label 255.
/// `format` is FCN_FORMAT_RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8; their fourth bytes stay. `stride` is the distance of rows
/// in bytes, 0 for rows without padding, negative as in `fcn_frame.strides`. A label that is no class of the segmenter is
/// FCN_ERROR_INVALID_ARGUMENT. Where it fails, the picture stays as it was.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread writes to; `pixels` is
/// NULL or points to the pixels that format, width, height and stride describe, and no other thread uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_overlay_draw(
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

/// As fcn_overlay_draw(), with outlines and a legend.
///
/// # Safety
/// As for fcn_overlay_draw(); `style` is NULL or points to a style.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_overlay_draw_styled(
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
            return Err(Error::InvalidArgument(format!("style.legend is {legend}; it must be 0 or 1")));
        }
        if let Some(value) = reserved.iter().find(|&&value| value != 0) {
            return Err(Error::InvalidArgument(format!("style.reserved holds {value}; it must be zero")));
        }
        let style = OverlayStyle { alpha, outline, legend: legend == 1 };
        // SAFETY: the caller promises the pixels.
        unsafe { draw(segmenter, mask, style, format, pixels, (width, height), stride) }
    })
}

/// # Safety
/// `pixels` is NULL or points to the pixels that format, size and stride describe, and no other thread uses them.
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
        return Err(Error::InvalidArgument(format!(
            "the picture has {width} x {height} pixels, but the mask {} x {}; they must be equal",
            mask.0.width(),
            mask.0.height()
        )));
    }
    let labels = mask.label_map()?;
    let rows = Rows::new(format, 0, (width, height), stride, pixels.addr())?;
    // SAFETY: not NULL; the caller promises the pixels that the arguments describe to this call alone, and `length` is
    // exactly from the first to the last of them, no more than isize::MAX bytes. Where rows lie upwards, the last row comes first.
    let pixels = unsafe { slice::from_raw_parts_mut(pixels.cast::<u8>().wrapping_sub(rows.above), rows.length) };
    let stride = (rows.stride, rows.upwards);
    crate::overlay::overlay_rows(pixels, format, stride, labels, segmenter.classes(), segmenter.background(), style)
}
