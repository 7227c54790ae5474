//! `fcn_segmenter`: create, segment, free, and the properties of the model.

use std::{
    ffi::{CString, c_char, c_void},
    ptr, slice,
    sync::Arc,
};

use super::{
    Result, answer, c_string, fcn_frame, fcn_mask, fcn_options, fcn_status, guard, invalid, path_argument, required,
};
use crate::{Error, Options, Segmenter, palette::Class};

/// A loaded model. Created by fcn_create() or fcn_create_from_memory(), freed by fcn_free(). Any
/// number of threads may use it at once: fcn_segment() calls share its sessions
/// (fcn_options_set_sessions()). fcn_free() must be the last call.
///
/// ```c
/// fcn_segmenter *segmenter = NULL;
/// if (fcn_create("street.onnx", NULL, &segmenter) == FCN_OK) {
///     for (uint32_t i = 0; i < fcn_segmenter_class_count(segmenter); i++)
///         printf("%u: %s\n", i, fcn_segmenter_class_name(segmenter, i));
///     fcn_free(segmenter);
/// }
/// ```
///
/// Strings returned by its functions are valid until it is freed.
pub struct fcn_segmenter {
    segmenter: Arc<Segmenter>,
    /// The segmenter's strings, for C.
    class_names: Vec<CString>,
    provider: CString,
    precision: CString,
    provider_reason: CString,
    runtime_version: CString,
    card: Option<CString>,
}

// C programs share a segmenter between threads; no compiler checks that there.
const _: () = {
    const fn is_thread_safe<T: Send + Sync>() {}
    is_thread_safe::<fcn_segmenter>();
};

impl fcn_segmenter {
    fn new(segmenter: Segmenter) -> Box<Self> {
        Box::new(fcn_segmenter {
            class_names: segmenter.classes().iter().map(|class| c_string(&class.name)).collect(),
            provider: c_string(segmenter.provider()),
            precision: c_string(segmenter.precision()),
            provider_reason: c_string(segmenter.provider_reason()),
            runtime_version: c_string(segmenter.runtime_version()),
            card: segmenter.card().map(|card| c_string(&card.to_json())),
            segmenter: Arc::new(segmenter),
        })
    }

    /// A reference that keeps the segmenter alive.
    pub(super) fn shared(&self) -> Arc<Segmenter> {
        Arc::clone(&self.segmenter)
    }

    /// The class that overlays do not draw.
    pub(super) fn background(&self) -> Option<u8> {
        self.segmenter.background()
    }

    /// The classes with their colours.
    pub(super) fn classes(&self) -> &[crate::palette::Class] {
        self.segmenter.classes()
    }
}

/// Loads the model in an ONNX file and stores the segmenter in `*segmenter`.
///
/// - `path`: the file.
/// - `options`: NULL for the defaults.
/// - `segmenter`: receives the handle; unchanged on failure.
///
/// External data: tensors may be in other files in the model's folder (such as "model.onnx.data"):
/// regular files, named without a folder; links out of the folder are rejected. Model and tensors
/// may have 2 GiB together. All files are read during the call and not needed afterwards.
///
/// ONNX Runtime: the first call in a process loads it. It sets the environment variable
/// ORT_DISABLE_TELEMETRY=1 unless the variable is set, because ONNX Runtime sends telemetry
/// otherwise; this is safe with other threads that call getenv(). If the application has loaded the
/// same ONNX Runtime before, its telemetry may already be running: the log says so.
///
/// Model files are untrusted input: loading one ends and stays within these limits.
///
/// - Time: the option timeout, but at least 10 s, limits the whole call. ONNX Runtime stops between
///   nodes and between optimizer steps, not within them. TensorRT builds engines for minutes and
///   has no limit. Without a timeout, only the trial runs that find out shapes are limited, to 30 s
///   in total.
/// - Graph: 32768 nodes, 65536 tensors, 256 outputs; graphs and functions nested 16 deep; no
///   cycles.
/// - Memory: nodes, attributes and names may take 256 MiB plus 8 bytes per byte of the file,
///   measured before decoding, and exist in at most three copies. Fixed input sizes may have 2^25
///   pixels; tensors computed from shapes alone may have 2^28 values in total; ONNX Runtime folds
///   constants up to 64 MiB. What the layers need beyond that grows with the frame and is not
///   limited.
///
/// fork(): a child may create segmenters, unless another thread was creating or freeing one during
/// the fork. Then this returns FCN_ERROR_RUNTIME in the child, because locks of ONNX Runtime may be
/// held forever.
///
/// dlopen(): constructors of shared libraries may create, use and free segmenters. Until dlopen()
/// returns, threads started there wait for the loader: frames are segmented by the calling thread
/// alone, timeouts do not abort a run, streams produce no results, and the memory of freed
/// segmenters is released later.
///
/// Errors: FCN_ERROR_IO if a file cannot be read. FCN_ERROR_MODEL if the model is damaged, exceeds
/// a limit or is not a segmentation network. FCN_ERROR_INVALID_ARGUMENT if `path` is empty or the
/// options do not suit the model. FCN_ERROR_RUNTIME if ONNX Runtime cannot be loaded or fails, or
/// if the process cannot start (sessions + 1) x (threads - 1) threads. FCN_ERROR_PROVIDER if the
/// requested provider is unavailable. FCN_ERROR_TIMEOUT.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string, `options` NULL or live options, `segmenter` NULL or a
/// place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_create(
    path: *const c_char,
    options: Option<&fcn_options>,
    segmenter: *mut *mut fcn_segmenter,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a NUL-terminated string.
        let path = unsafe { path_argument(path, "path") }?;
        required((!segmenter.is_null()).then_some(()), "segmenter")?;
        let made = fcn_segmenter::new(Segmenter::from_file(path, &given(options))?);
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { segmenter.write(Box::into_raw(made)) };
        Ok(())
    })
}

/// fcn_create() with the content of an ONNX file: `length` bytes at `model`, not needed after the
/// call.
///
/// Errors: as fcn_create(); FCN_ERROR_MODEL also if the model has external data (export it with
/// `external_data=False`).
///
/// # Safety
/// `model` is NULL or points to `length` bytes, `options` is NULL or live options, `segmenter` NULL
/// or a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_create_from_memory(
    model: *const c_void,
    length: usize,
    options: Option<&fcn_options>,
    segmenter: *mut *mut fcn_segmenter,
) -> fcn_status {
    guard(|| {
        required((!model.is_null()).then_some(()), "model")?;
        required((!segmenter.is_null()).then_some(()), "segmenter")?;
        if length > isize::MAX as usize {
            return Err(invalid(format!("length is {length}; it exceeds the addressable {} bytes", isize::MAX)));
        }
        // SAFETY: not NULL, not longer than isize::MAX, and the caller promises `length` bytes.
        let bytes = unsafe { slice::from_raw_parts(model.cast::<u8>(), length) };
        let made = fcn_segmenter::new(Segmenter::from_memory(bytes, &given(options))?);
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { segmenter.write(Box::into_raw(made)) };
        Ok(())
    })
}

/// The options given, or the defaults.
fn given(options: Option<&fcn_options>) -> Options {
    options.map(|options| options.0.clone()).unwrap_or_default()
}

/// Frees a segmenter and the strings that its functions returned. NULL is allowed. No other thread
/// may be using it. Masks stay valid. Streams continue, and keep what they need of it.
///
/// # Safety
/// `segmenter` is NULL or comes from fcn_create() or fcn_create_from_memory(), was not freed
/// before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_free(segmenter: Option<Box<fcn_segmenter>>) {
    answer((), || {
        drop(segmenter);
        None
    });
}

/// Labels every pixel of `frame` and stores the result in `mask`. Blocks until a session is free
/// and the result is complete.
///
/// - `frame`: no thread may write to its pixels during the call, and they must not overlap the
///   mask's memory or its buffer (fcn_mask_set_buffer()).
/// - `mask`: resized as needed. After the first frame of a size, no memory is allocated for it.
///   Unchanged on failure, as is its buffer.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if a field of `frame` is out of range, or the mask's settings
/// do not suit the model or the frame. FCN_ERROR_UNSUPPORTED_FORMAT if `frame->format` is unknown.
/// FCN_ERROR_MODEL if the output does not have the model's classes or size. FCN_ERROR_RUNTIME if
/// ONNX Runtime fails. FCN_ERROR_CANCELLED after fcn_segmenter_cancel(). FCN_ERROR_TIMEOUT after
/// the option timeout.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter. `frame` is NULL or describes pixels that nobody writes
/// to during the call. `mask` is NULL or a live mask that no other thread uses; the frame's pixels
/// are neither the mask's own memory nor its buffer's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segment(
    segmenter: Option<&fcn_segmenter>,
    frame: Option<&fcn_frame>,
    mask: Option<&mut fcn_mask>,
) -> fcn_status {
    guard(|| {
        let segmenter = required(segmenter, "segmenter")?;
        let frame = required(frame, "frame")?;
        let mask = required(mask, "mask")?;
        // SAFETY: the caller promises that the frame's pixels stay valid and unchanged during the
        // call.
        let frame = unsafe { frame.checked() }?;
        mask.fill(&segmenter.segmenter, &frame)
    })
}

/// Cancels all fcn_segment() and fcn_segmenter_warm_up() calls that are running or waiting for a
/// session, and the frames that streams are processing: they return FCN_ERROR_CANCELLED. Later
/// calls are not affected.
///
/// Returns at once. Checked before each run, between layers and between tiles: a layer in progress
/// is not interrupted, and a frame whose inference has finished still returns its result.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_cancel(segmenter: Option<&fcn_segmenter>) -> fcn_status {
    guard(|| Ok(required(segmenter, "segmenter")?.segmenter.cancel()?))
}

/// Allocates buffers and runs one dummy inference per session, so that the first frame of `width` x
/// `height` pixels is not slower than later ones.
///
/// Errors: as fcn_segment(), but no timeout.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_warm_up(
    segmenter: Option<&fcn_segmenter>,
    width: u32,
    height: u32,
) -> fcn_status {
    guard(|| Ok(required(segmenter, "segmenter")?.segmenter.warm_up(width, height)?))
}

/// Returns the number of classes, 2 to 255; 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_count(segmenter: Option<&fcn_segmenter>) -> u32 {
    answer(0, || u32::try_from(segmenter?.class_names.len()).ok())
}

/// Returns the name of class `index`, for example "cat"; NULL if there is no such class.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_name(segmenter: Option<&fcn_segmenter>, index: u32) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.class_names.get(index as usize)?.as_ptr()))
}

/// Returns the index of the background class, or -1 if there is none. Overlays do not draw it, and
/// the palette "voc" makes it black.
///
/// It is the one in the model card. If the card does not state it, it is the class named
/// "background", "_background_", "__background__" or "bg"; without a card, class 0 if it has such a
/// name.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_background(segmenter: Option<&fcn_segmenter>) -> i32 {
    answer(-1, || segmenter?.background().map(i32::from))
}

/// Stores the palette colour of class `index` as red, green and blue in `rgb[0]` to `rgb[2]`. Label
/// files (fcn_mask_write_png()) use it; overlays use fcn_segmenter_class_display_color().
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if there is no such class.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `rgb` is NULL or points to 3 bytes to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_color(
    segmenter: Option<&fcn_segmenter>,
    index: u32,
    rgb: *mut u8,
) -> fcn_status {
    // SAFETY: the caller promises 3 bytes, or NULL.
    guard(|| unsafe { store_color(segmenter, index, rgb, |class| class.color) })
}

/// Stores the overlay colour of class `index` as red, green and blue in `rgb[0]` to `rgb[2]`: the
/// palette colour, brightened so that it is visible over an image. Its largest component v becomes
/// 160 + 95 v / 255, rounded, and the others are scaled with it. Hue is kept, and colours that
/// differ only in brightness still differ; black becomes grey.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if there is no such class.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `rgb` is NULL or points to 3 bytes to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_display_color(
    segmenter: Option<&fcn_segmenter>,
    index: u32,
    rgb: *mut u8,
) -> fcn_status {
    // SAFETY: the caller promises 3 bytes, or NULL.
    guard(|| unsafe { store_color(segmenter, index, rgb, Class::display_color) })
}

/// # Safety
/// `rgb` is NULL or points to 3 bytes to write to.
unsafe fn store_color(
    segmenter: Option<&fcn_segmenter>,
    index: u32,
    rgb: *mut u8,
    color: impl FnOnce(&Class) -> [u8; 3],
) -> Result<()> {
    let classes = required(segmenter, "segmenter")?.segmenter.classes();
    required((!rgb.is_null()).then_some(()), "rgb")?;
    let class = classes.get(index as usize).ok_or_else(|| {
        Error::InvalidArgument(format!("class {index} does not exist; the model has {} classes", classes.len()))
    })?;
    // SAFETY: not NULL, and the caller promises 3 bytes to write to; bytes need no alignment.
    unsafe { rgb.cast::<[u8; 3]>().write(color(class)) };
    Ok(())
}

/// Returns the provider in use: "cpu", "cuda", "tensorrt" or "openvino". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_provider_name(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.provider.as_ptr()))
}

/// Returns the format in which the network's float32 layers are computed: "float32", "tf32",
/// "bfloat16" or "float16". Layers that the file has quantized are computed in integers. NULL for
/// NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_precision_name(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.precision.as_ptr()))
}

/// Returns why FCN_PROVIDER_AUTO did not choose another provider; "" if there is none better or a
/// provider was requested by name. NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_provider_reason(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.provider_reason.as_ptr()))
}

/// Returns ONNX Runtime's version, for example "1.32.0". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_runtime_version(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.runtime_version.as_ptr()))
}

/// Returns the model's stride: sides of the network's input are multiples of this many pixels.
/// Frames may have any size; see fcn_options_set_pad(). 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_model_stride(segmenter: Option<&fcn_segmenter>) -> u32 {
    answer(0, || Some(segmenter?.segmenter.stride()))
}

/// Returns the model card as JSON: classes, colours, training data and metrics. NULL without a
/// card.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_model_card_json(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.card.as_ref()?.as_ptr()))
}
