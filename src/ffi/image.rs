//! `fcn_image`: image files, for programs without an image library of their own.

use std::{ffi::c_char, ptr};

use super::{answer, fcn_mask, fcn_segmenter, fcn_status, guard, path_argument, required};
use crate::{Image, read_image, write_labels, write_png};

/// A decoded image: RGB, 8 bits per channel, rows without padding (FCN_FORMAT_RGB8, stride 0).
/// Created by fcn_image_read(), freed by fcn_image_free(). One thread at a time.
///
/// ```c
/// fcn_image *image = NULL;
/// if (fcn_image_read("street.jpg", &image) == FCN_OK) {
///     fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, fcn_image_pixels(image),
///                                        fcn_image_width(image), fcn_image_height(image), 0);
///     if (fcn_segment(segmenter, &frame, mask) == FCN_OK)
///         fcn_mask_write_png(segmenter, mask, "labels.png");
///     fcn_image_free(image);
/// }
/// ```
pub struct fcn_image(Image);

/// Reads a JPEG or PNG file and stores the image in `*image`. Transparency is dropped; EXIF
/// orientation is applied.
///
/// Errors: FCN_ERROR_IO if the file cannot be read, or is truncated or otherwise damaged, even if
/// part of it could be decoded. FCN_ERROR_UNSUPPORTED_FORMAT if it is not JPEG or PNG, or uses a
/// feature that the decoder lacks. FCN_ERROR_INVALID_ARGUMENT if `path` is empty or a side exceeds
/// 32767 pixels. FCN_ERROR_OUT_OF_MEMORY also if the decoded image exceeds 1 GiB.
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

/// Frees an image. NULL is allowed.
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

/// Returns the number of columns; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_width(image: Option<&fcn_image>) -> u32 {
    answer(0, || Some(image?.0.width))
}

/// Returns the number of rows; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_height(image: Option<&fcn_image>) -> u32 {
    answer(0, || Some(image?.0.height))
}

/// Returns the pixels, height x width x 3 bytes, for reading and writing; NULL for NULL. They
/// belong to the image.
///
/// # Safety
/// `image` is NULL or a live image that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_pixels(image: Option<&mut fcn_image>) -> *mut u8 {
    answer(ptr::null_mut(), || Some(image?.0.pixels.as_mut_ptr()))
}

/// Writes the image to a PNG file. An existing file is replaced only when the new one is complete.
///
/// Errors: FCN_ERROR_IO; FCN_ERROR_INVALID_ARGUMENT if `path` is empty.
///
/// # Safety
/// `image` is NULL or a live image that no other thread writes to; `path` is NULL or a
/// NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_image_write_png(image: Option<&fcn_image>, path: *const c_char) -> fcn_status {
    guard(|| {
        let image = required(image, "image")?;
        // SAFETY: the caller promises a NUL-terminated string.
        let path = unsafe { path_argument(path, "path") }?;
        Ok(write_png(path, &image.0)?)
    })
}

/// Writes a mask to a PNG file with a palette: pixel values are the labels, shown in the colours of
/// fcn_segmenter_class_color(). An existing file is replaced only when the new one is complete.
///
/// Errors: FCN_ERROR_IO; FCN_ERROR_INVALID_ARGUMENT if `path` is empty or the mask has no labels.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread
/// writes to; `path` is NULL or a NUL-terminated string.
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
        Ok(write_labels(path, &packed, labels.width(), labels.height(), segmenter.classes())?)
    })
}
