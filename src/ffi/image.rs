//! `fcn_image`: image files for programs that have no library for them.

use std::{ffi::c_char, ptr};

use super::{answer, fcn_mask, fcn_segmenter, fcn_status, guard, path_argument, required};
use crate::{Image, read_image, write_labels, write_png};

/// A picture in memory: RGB, 8 bits a channel, rows without padding (FCN_FORMAT_RGB8, stride 0). Made by
/// fcn_image_read(), freed by fcn_image_free(). Threads may read it together; one that writes must be alone.
pub struct fcn_image(Image);

/// Reads a JPEG or PNG file; transparency is dropped, and the picture is turned upright if its EXIF data says how.
/// Sides are at most 32767 pixels, and the decoded picture at most 1 GiB. A file that is cut off or otherwise damaged is
/// FCN_ERROR_IO, even if part of it could be shown. Stores the image in `*image`, to be freed by
/// fcn_image_free(); where it fails, `*image` stays as it was.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string; `image` is NULL or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_read(path: *const c_char, image: *mut *mut fcn_image) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a NUL-terminated string.
        let path = unsafe { path_argument(path, "path") }?;
        required((!image.is_null()).then_some(()), "image")?;
        let read = Box::new(fcn_image(read_image(path)?));
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { image.write(Box::into_raw(read)) };
        Ok(())
    })
}

/// Frees an image. NULL is fine.
///
/// # Safety
/// `image` is NULL or comes from fcn_image_read(), was not freed before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_free(image: Option<Box<fcn_image>>) {
    answer((), || {
        drop(image);
        None
    });
}

/// Columns; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_width(image: Option<&fcn_image>) -> u32 {
    answer(0, || Some(image?.0.width))
}

/// Rows; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_height(image: Option<&fcn_image>) -> u32 {
    answer(0, || Some(image?.0.height))
}

/// The pixels: height x width x 3 bytes, which may be written to. They belong to the image. NULL for NULL.
///
/// # Safety
/// `image` is NULL or a live image that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_pixels(image: Option<&mut fcn_image>) -> *mut u8 {
    answer(ptr::null_mut(), || Some(image?.0.pixels.as_mut_ptr()))
}

/// Writes the image as a PNG file. A file of that name is replaced only once the new one is complete.
///
/// # Safety
/// `image` is NULL or a live image that no other thread writes to; `path` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_write_png(image: Option<&fcn_image>, path: *const c_char) -> fcn_status {
    guard(|| {
        let image = required(image, "image")?;
        // SAFETY: the caller promises a NUL-terminated string.
        let path = unsafe { path_argument(path, "path") }?;
        write_png(path, &image.0)
    })
}

/// Writes the mask as a PNG file with a palette: each pixel's value is its class index, shown in the class's colour.
/// A file of that name is replaced only once the new one is complete.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread writes to; `path` is
/// NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_write_png(
    segmenter: Option<&fcn_segmenter>,
    mask: Option<&fcn_mask>,
    path: *const c_char,
) -> fcn_status {
    guard(|| {
        let segmenter = required(segmenter, "segmenter")?;
        let labels = required(mask, "mask")?.label_map()?;
        // SAFETY: the caller promises a NUL-terminated string.
        let path = unsafe { path_argument(path, "path") }?;
        let packed: Vec<u8> = labels.rows().flatten().copied().collect();
        write_labels(path, &packed, labels.width(), labels.height(), segmenter.classes())
    })
}
