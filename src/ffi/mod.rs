//! The C API: every `extern "C"` function and every raw pointer of this crate.
//!
//! These functions call only the crate's public API, which Rust programs use directly.
//! `tests/header.rs` generates `include/fcn.h`, the manual for C, from the files of this module;
//! `fcn.h.in` is its frame: conventions, and a section per file. Sections `# Safety` are left out
//! there, because the conventions say the same once.
//!
//! The body of each function is one closure given to `guard` (functions that return a status) or
//! `answer` (functions that return a value): panics stay inside, and each error leaves its message.
#![expect(non_camel_case_types, reason = "the names are those of the C header")]

mod contours;
mod frame;
#[cfg(feature = "image")]
mod image;
mod mask;
mod model_options;
mod options;
mod overlay;
mod panics;
mod regions;
mod segmenter;
mod status;
mod stream;

use std::{
    ffi::{CStr, CString, OsStr, c_char},
    os::unix::ffi::OsStrExt,
    path::Path,
};

pub use contours::{
    fcn_contours, fcn_contours_count, fcn_contours_free, fcn_contours_is_hole, fcn_contours_parent,
    fcn_contours_points, fcn_mask_contours, fcn_mask_contours_filtered, fcn_point,
};
pub use frame::{
    fcn_format, fcn_format_from_name, fcn_format_name, fcn_frame, fcn_frame_contiguous, fcn_frame_packed,
    fcn_frame_planar, fcn_matrix, fcn_range, fcn_rect,
};
#[cfg(feature = "image")]
pub use image::{
    fcn_image, fcn_image_free, fcn_image_height, fcn_image_pixels, fcn_image_read, fcn_image_width,
    fcn_image_write_png, fcn_mask_write_png,
};
pub use mask::{
    fcn_mask, fcn_mask_classes, fcn_mask_confidence, fcn_mask_confidence_u8, fcn_mask_free, fcn_mask_height,
    fcn_mask_labels, fcn_mask_margin, fcn_mask_new, fcn_mask_not_finite, fcn_mask_pixels, fcn_mask_reset,
    fcn_mask_scores, fcn_mask_set_buffer, fcn_mask_set_classes, fcn_mask_set_min_region, fcn_mask_set_outputs,
    fcn_mask_set_remap, fcn_mask_set_size, fcn_mask_set_smoothing, fcn_mask_set_threshold, fcn_mask_stride,
    fcn_mask_timings, fcn_mask_width, fcn_mask_working_size, fcn_output, fcn_timings,
};
pub use model_options::{
    fcn_channel_order, fcn_layout, fcn_options_set_channel_order, fcn_options_set_input_layout,
    fcn_options_set_multilabel, fcn_options_set_output, fcn_options_set_output_layout, fcn_options_set_output_values,
    fcn_options_set_scale, fcn_values,
};
pub use options::{
    fcn_log_callback, fcn_log_level, fcn_options, fcn_options_free, fcn_options_new, fcn_options_set_auto_size,
    fcn_options_set_cache_dir, fcn_options_set_class_names, fcn_options_set_device, fcn_options_set_gpu_memory_limit,
    fcn_options_set_log, fcn_options_set_mean_std, fcn_options_set_native_side, fcn_options_set_openvino_device,
    fcn_options_set_pad, fcn_options_set_palette, fcn_options_set_precision, fcn_options_set_provider,
    fcn_options_set_resize, fcn_options_set_runtime_library, fcn_options_set_sessions, fcn_options_set_short_side,
    fcn_options_set_threads, fcn_options_set_tile, fcn_options_set_timeout, fcn_precision, fcn_provider,
};
pub use overlay::{fcn_overlay, fcn_overlay_style, fcn_overlay_styled};
pub use regions::{fcn_mask_regions, fcn_mask_regions_filtered, fcn_region};
pub use segmenter::{
    fcn_create, fcn_create_from_memory, fcn_free, fcn_segment, fcn_segmenter, fcn_segmenter_background,
    fcn_segmenter_cancel, fcn_segmenter_class_color, fcn_segmenter_class_count, fcn_segmenter_class_display_color,
    fcn_segmenter_class_name, fcn_segmenter_model_card_json, fcn_segmenter_model_stride, fcn_segmenter_precision_name,
    fcn_segmenter_provider_name, fcn_segmenter_provider_reason, fcn_segmenter_runtime_version, fcn_segmenter_warm_up,
};
pub use status::{fcn_last_error, fcn_status, fcn_status_name, fcn_version};

pub use stream::{
    fcn_release_callback, fcn_stream, fcn_stream_callback, fcn_stream_counters, fcn_stream_create, fcn_stream_free,
    fcn_stream_get_counters, fcn_stream_poll, fcn_stream_push, fcn_stream_push_borrowed, fcn_stream_set_deadline,
    fcn_stream_stop, fcn_stream_wait,
};

use crate::Error;
use status::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// The body of a function that returns a status: an error or panic becomes a status, and the
/// thread's message.
fn guard(work: impl FnOnce() -> Result<()>) -> fcn_status {
    match panics::caught(work).map_err(Failure::from).and_then(|result| result) {
        Ok(()) => fcn_status::FCN_OK,
        Err(failure) => {
            status::remember(&failure);
            fcn_status::of(&failure)
        }
    }
}

/// The body of a function that returns a value, or `otherwise` if there is none.
fn answer<T>(otherwise: T, work: impl FnOnce() -> Option<T>) -> T {
    match panics::caught(work) {
        Ok(value) => value.unwrap_or(otherwise),
        Err(error) => {
            status::remember(&error);
            otherwise
        }
    }
}

/// The argument called `name`, which must not be NULL.
fn required<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| Failure::Null(format!("the argument {name} is NULL")))
}

/// An argument that does not suit.
fn invalid(message: String) -> Failure {
    Error::InvalidArgument(message).into()
}

/// A path in the bytes of the file system: on Unix, any bytes but 0.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string that outlives `'a`.
unsafe fn path_argument<'a>(path: *const c_char, name: &str) -> Result<&'a Path> {
    required((!path.is_null()).then_some(()), name)?;
    // SAFETY: not NULL, and the caller promises a NUL-terminated string that lives long enough.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    if bytes.is_empty() {
        return Err(invalid(format!("the argument {name} is an empty string; it must be a path")));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// `text` for C; NUL characters in it become U+FFFD.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default()
}
