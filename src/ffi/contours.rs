//! `fcn_contours`: borders of a label as polygons.

use std::ptr;

use super::{Result, answer, fcn_mask, fcn_status, guard, required};
use crate::{Contour, Error, LabelMap};

/// The borders of the pixels with one label, as closed polygons. Created by fcn_mask_contours() or
/// fcn_mask_contours_filtered(), freed by fcn_contours_free(). Independent of the mask. Never
/// changes, so any number of threads may read it.
///
/// ```c
/// fcn_contours *contours = NULL;
/// if (fcn_mask_contours(mask, label, &contours) == FCN_OK) {
///     for (size_t i = 0; i < fcn_contours_count(contours); i++) {
///         size_t count = 0;
///         const fcn_point *points = fcn_contours_points(contours, i, &count);
///         draw_polygon(points, count, fcn_contours_is_hole(contours, i));
///     }
///     fcn_contours_free(contours);
/// }
/// ```
pub struct fcn_contours(Vec<Contour>);

/// A pixel; (0, 0) is the upper left one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct fcn_point {
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
}

/// Finds the borders of the pixels with `label` (0 to 255, as stored in the mask) and stores them
/// in `*contours`.
///
/// Regions are 8-connected: pixels that touch at a corner belong together. Vertices are centres of
/// pixels that have the label and have a 4-neighbour without it; edges are horizontal, vertical or
/// diagonal, and the last vertex connects to the first. Outer borders run counter-clockwise as seen
/// on the screen, borders of holes clockwise. Contours are sorted by the row, then the column where
/// they start.
///
/// The method is Suzuki and Abe (1985), like OpenCV's findContours() with RETR_TREE and
/// CHAIN_APPROX_SIMPLE. Uses 4 bytes of memory per pixel.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if `label` exceeds 255 or the mask has no labels.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to
/// write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_contours(
    mask: Option<&fcn_mask>,
    label: u32,
    contours: *mut *mut fcn_contours,
) -> fcn_status {
    // SAFETY: the caller promises a place to write to, or NULL.
    guard(|| unsafe { find(mask, label, contours, |labels, label| labels.contours(label)) })
}

/// fcn_mask_contours() without small regions and holes: omits regions of fewer than `min_area`
/// pixels with the holes in them, and holes of fewer than `min_area` pixels with everything in
/// them. 0 and 1 omit nothing.
///
/// The area of a region counts its pixels with the label, without its holes; that of a hole counts
/// all pixels inside its border, whatever their labels. A larger region inside an omitted one
/// stays: its parent is the nearest remaining hole around it, or -1.
///
/// Errors: as fcn_mask_contours().
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to
/// write to.
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
    find: impl FnOnce(LabelMap<'_>, u8) -> crate::Result<Vec<Contour>>,
) -> Result<()> {
    let mask = required(mask, "mask")?;
    required((!contours.is_null()).then_some(()), "contours")?;
    let label = u8::try_from(label)
        .map_err(|_| Error::InvalidArgument(format!("label {label} is out of range; labels are 0 to 255")))?;
    let found = Box::new(fcn_contours(find(mask.label_map()?, label)?));
    // SAFETY: not NULL, and the caller promises a place to write to.
    unsafe { contours.write(Box::into_raw(found)) };
    Ok(())
}

/// Frees contours. NULL is allowed.
///
/// # Safety
/// `contours` is NULL or comes from fcn_mask_contours() or fcn_mask_contours_filtered(), was not
/// freed before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_free(contours: Option<Box<fcn_contours>>) {
    answer((), || {
        drop(contours);
        None
    });
}

/// Returns the number of contours; 0 for NULL.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_count(contours: Option<&fcn_contours>) -> usize {
    answer(0, || Some(contours?.0.len()))
}

/// Returns the vertices of contour `index` and stores their number, at least 1, in `*count`. They
/// belong to `contours`. Returns NULL and leaves `*count` as it is if there is no such contour or
/// an argument is NULL.
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

/// Returns 1 if contour `index` is the border of a hole, 0 if it is the outer border of a region,
/// and -1 if there is no such contour.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_is_hole(contours: Option<&fcn_contours>, index: usize) -> i32 {
    answer(-1, || Some(i32::from(contours?.0.get(index)?.hole)))
}

/// Returns the index of the directly enclosing contour: a hole's parent is its region's outer
/// border, a region's parent is the hole around it. -1 if there is none, or no such contour.
///
/// # Safety
/// `contours` is NULL or live contours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_contours_parent(contours: Option<&fcn_contours>, index: usize) -> i64 {
    answer(-1, || i64::try_from(contours?.0.get(index)?.parent?).ok())
}
