//! `fcn_contours`: borders of a label as polygons.

use std::ptr;

use super::{answer, fcn_mask, fcn_status, guard, required};
use crate::{Contour, Error, LabelMap, Result};

/// The borders of the pixels that have one label. Made by fcn_mask_contours() or fcn_mask_contours_filtered(), freed by fcn_contours_free(); independent of the mask.
/// Threads may read them together.
pub struct fcn_contours(Vec<Contour>);

/// A pixel: (0, 0) is the upper left one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct fcn_point {
    /// The column.
    pub x: u32,
    /// The row.
    pub y: u32,
}

/// Finds the borders of the pixels with this label (0 to 255, as it stands in the mask) and stores them in `*contours`, to
/// be freed by fcn_contours_free(); where it fails, `*contours` stays as it was. This takes memory for 4 bytes a pixel.
///
/// Each is a closed polygon. Pixels that touch at a corner belong together. A corner of a polygon is the centre of a pixel that has
/// the label and touches, at one of its four sides, one that has not; the lines between corners are horizontal, vertical or
/// diagonal, and the last leads back to the first. Borders around pixels run counter-clockwise as one sees the picture,
/// those around holes clockwise. The method is that of Suzuki and Abe (1985), as in OpenCV's findContours with RETR_TREE and
/// CHAIN_APPROX_SIMPLE; the order is that of the rows in which they begin.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_contours(
    mask: Option<&fcn_mask>,
    label: u32,
    contours: *mut *mut fcn_contours,
) -> fcn_status {
    // SAFETY: the caller promises a place to write to, or NULL.
    guard(|| unsafe { find(mask, label, contours, |labels, label| labels.contours(label)) })
}

/// As fcn_mask_contours(), without what is too small to mean anything: regions of fewer than `min_area` pixels, with the holes in
/// them, and holes around fewer than `min_area` pixels, with all that lies in them. 0 and 1 leave nothing out. The pixels of a
/// region are those that have the label, without its holes; those of a hole are all inside of its border, whatever their labels.
///
/// A region that is left out may surround a larger one: that one stays, and its parent is the nearest hole around it that is left,
/// or -1. So these are the contours of labels whose small regions are gone.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_contours_filtered(
    mask: Option<&fcn_mask>,
    label: u32,
    min_area: u32,
    contours: *mut *mut fcn_contours,
) -> fcn_status {
    // SAFETY: the caller promises a place to write to, or NULL.
    guard(|| unsafe { find(mask, label, contours, |labels, label| labels.contours_filtered(label, min_area)) })
}

/// # Safety
/// `contours` is NULL or a place to write to.
unsafe fn find(
    mask: Option<&fcn_mask>,
    label: u32,
    contours: *mut *mut fcn_contours,
    find: impl FnOnce(LabelMap<'_>, u8) -> Result<Vec<Contour>>,
) -> Result<()> {
    let mask = required(mask, "mask")?;
    required((!contours.is_null()).then_some(()), "contours")?;
    let label = u8::try_from(label)
        .map_err(|_| Error::InvalidArgument(format!("the label {label} does not exist; there are 0 to 255")))?;
    let found = Box::new(fcn_contours(find(mask.label_map()?, label)?));
    // SAFETY: not NULL, and the caller promises a place to write to.
    unsafe { contours.write(Box::into_raw(found)) };
    Ok(())
}

/// Frees contours. NULL is fine.
///
/// # Safety
/// `contours` is NULL or comes from fcn_mask_contours() or fcn_mask_contours_filtered(), was not freed before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_free(contours: Option<Box<fcn_contours>>) {
    answer((), || {
        drop(contours);
        None
    });
}

/// How many there are; 0 for NULL.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_count(contours: Option<&fcn_contours>) -> usize {
    answer(0, || Some(contours?.0.len()))
}

/// The corners of contour `index`, at least one; their number goes to `*count`. They belong to `contours`. NULL, and
/// `*count` stays, where there is no such contour or an argument is NULL.
///
/// # Safety
/// `contours` is NULL or live contours; `count` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_points(
    contours: Option<&fcn_contours>,
    index: usize,
    count: Option<&mut usize>,
) -> *const fcn_point {
    answer(ptr::null(), || {
        let (points, count) = (&contours?.0.get(index)?.points, count?);
        *count = points.len();
        // Two numbers each, column and row.
        Some(points.as_ptr().cast::<fcn_point>())
    })
}

/// Whether contour `index` goes around a hole, so that the pixels inside have other labels: 1 or 0; -1 where there is no such
/// contour.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_is_hole(contours: Option<&fcn_contours>, index: usize) -> i32 {
    answer(-1, || Some(i32::from(contours?.0.get(index)?.hole)))
}

/// The index of the contour that contour `index` lies directly inside of: of a hole that around the pixels, of
/// pixels that of the hole they lie in; -1 where it lies in none, or where there is no such contour.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_parent(contours: Option<&fcn_contours>, index: usize) -> i64 {
    answer(-1, || i64::try_from(contours?.0.get(index)?.parent?).ok())
}
