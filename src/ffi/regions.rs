//! `fcn_region`: areas, bounds and centroids of labels.

use super::{Result, fcn_mask, fcn_rect, fcn_status, guard, invalid, required};
use crate::{LabelMap, Rect, Region};

/// Area, centroid and bounds of the pixels with one label. Filled by fcn_mask_regions().
///
/// ```c
/// fcn_region regions[256];
/// uint32_t count = fcn_mask_classes(mask);
/// if (fcn_mask_regions(mask, regions, count) == FCN_OK && regions[road].pixels > 0)
///     printf("road: %.0f columns from the left\n", regions[road].centroid_x);
/// ```
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_region {
    /// Number of pixels.
    pub pixels: u64,
    /// Mean column, where 0 is the centre of the leftmost one; 0 if there are no pixels.
    pub centroid_x: f64,
    /// Mean row, where 0 is the centre of the topmost one; 0 if there are no pixels.
    pub centroid_y: f64,
    /// Bounding box; all zeros if there are no pixels.
    pub bounds: fcn_rect,
}

/// Measures the pixels of each label from 0 to `count` - 1, as stored in the mask, and stores the
/// results in `regions[0]` to `regions[count - 1]`. `count` is 1 to 256. One pass over the labels,
/// at most about 1 ns per pixel.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if `count` is out of range or the mask has no labels.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for
/// `count` regions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_regions(
    mask: Option<&fcn_mask>,
    regions: *mut fcn_region,
    count: usize,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises room for `count` regions, or NULL.
        unsafe { measure(mask, regions, count, |labels| Ok(labels.regions())) }
    })
}

/// fcn_mask_regions() without specks: counts only pixels in 8-connected groups of at least
/// `min_area` pixels of one label, as contours do. 0 and 1 omit nothing. Uses up to 12 bytes of
/// memory per pixel.
///
/// Errors: as fcn_mask_regions().
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for
/// `count` regions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_regions_filtered(
    mask: Option<&fcn_mask>,
    min_area: u32,
    regions: *mut fcn_region,
    count: usize,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises room for `count` regions, or NULL.
        unsafe { measure(mask, regions, count, |labels| labels.regions_filtered(min_area)) }
    })
}

/// # Safety
/// `regions` is NULL or has room for `count` regions.
unsafe fn measure(
    mask: Option<&fcn_mask>,
    regions: *mut fcn_region,
    count: usize,
    measure: impl FnOnce(LabelMap<'_>) -> crate::Result<[Region; 256]>,
) -> Result<()> {
    let mask = required(mask, "mask")?;
    required((!regions.is_null()).then_some(()), "regions")?;
    if !(1..=256).contains(&count) {
        return Err(invalid(format!("{count} regions are requested; the number must be between 1 and 256")));
    }
    for (index, region) in measure(mask.label_map()?)?.into_iter().take(count).enumerate() {
        let Rect { x, y, width, height } = region.bounds;
        let (pixels, bounds) = (region.pixels, fcn_rect { x, y, width, height });
        let region = fcn_region { pixels, centroid_x: region.centroid.0, centroid_y: region.centroid.1, bounds };
        // SAFETY: not NULL, and the caller promises room for `count` of them.
        unsafe { regions.add(index).write(region) };
    }
    Ok(())
}
