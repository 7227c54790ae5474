//! `fcn_segmenter`: create, segment, free, and what a model says about itself.

use std::{
    ffi::{CString, c_char, c_void},
    ptr, slice,
    sync::Arc,
};

use super::{answer, c_string, fcn_frame, fcn_mask, fcn_options, fcn_status, guard, path_argument, required};
use crate::{Error, Options, Result, Segmenter, palette::Class};

/// A model, ready to run. Made by fcn_create() or fcn_create_from_memory(), freed by fcn_free().
///
/// Any thread may use it, several at once: calls of fcn_segment() take turns on its sessions. Only fcn_free() must be
/// alone. The strings its functions return belong to it and stay until it is freed. After fork(), the child must make its
/// own: with the parent's, fcn_segment() is FCN_ERROR_RUNTIME.
pub struct fcn_segmenter {
    segmenter: Arc<Segmenter>,
    /// The segmenter's texts, as C strings.
    class_names: Vec<CString>,
    provider: CString,
    provider_reason: CString,
    runtime_version: CString,
    card: Option<CString>,
}

// C programs share a segmenter between threads without asking the compiler.
const _: () = {
    const fn is_thread_safe<T: Send + Sync>() {}
    is_thread_safe::<fcn_segmenter>();
};

impl fcn_segmenter {
    fn new(segmenter: Segmenter) -> Box<Self> {
        Box::new(fcn_segmenter {
            class_names: segmenter.classes().iter().map(|class| c_string(&class.name)).collect(),
            provider: c_string(segmenter.provider()),
            provider_reason: c_string(segmenter.provider_reason()),
            runtime_version: c_string(segmenter.runtime_version()),
            card: segmenter.card().map(|card| c_string(&card.to_json())),
            segmenter: Arc::new(segmenter),
        })
    }

    /// The segmenter, to be kept as long as it is needed.
    pub(super) fn shared(&self) -> Arc<Segmenter> {
        Arc::clone(&self.segmenter)
    }

    /// The class that is not drawn.
    pub(super) fn background(&self) -> Option<u8> {
        self.segmenter.background()
    }

    /// The classes with their colours.
    pub(super) fn classes(&self) -> &[crate::palette::Class] {
        self.segmenter.classes()
    }
}

/// Loads the model in the ONNX file `path`. `options` may be NULL for the defaults. Stores the segmenter in
/// `*segmenter`, to be freed by fcn_free(); where it fails, `*segmenter` stays as it was.
///
/// Tensors may lie in other files in the model's folder (external data, such as "model.onnx.data"). Each must be a plain file
/// that is named without a folder; links out of the folder are refused. Model and tensors together may have 2 GiB. libfcn reads
/// the files during the call and does not need them afterwards.
///
/// The first call in a process loads ONNX Runtime. It sets the environment variable ORT_DISABLE_TELEMETRY=1, unless the
/// variable is set, because ONNX Runtime would otherwise send telemetry; it does so without disturbing threads that call
/// getenv(). If the host has loaded the same ONNX Runtime before, its telemetry may already run: the log says so.
///
/// A model may come from anyone. Its creation ends, and stays within bounds:
///
/// - Time: the option timeout, or 10 seconds if it is less, limits the whole call, which then returns FCN_ERROR_TIMEOUT. ONNX
///   Runtime is told to stop loading and running; it does so between nodes and between the steps of its optimizer, not within
///   them. TensorRT, which builds its engines for minutes, has no limit. Without a timeout, only the runs on an empty picture by
///   which shapes are found out are limited, to 30 seconds together.
/// - Graph: at most 32768 nodes, 65536 tensors and 256 outputs, graphs and functions nested at most 16 deep, and no circles.
/// - Memory: the description in the file (nodes, attributes, names) may take 256 MiB and 8 bytes for each byte of the file. It is
///   measured before it is decoded, and there are at most three copies at once. Models of one fixed size may have at most
///   33554432 pixels (2^25), tensors that are made of shapes alone at most 2^28 values together, and ONNX Runtime folds no
///   constants of more than 64 MiB. What the layers need beyond that grows with the picture and is not limited.
///
/// The calling thread needs 256 KiB of stack for this function, fcn_segment() and all others; 128 KiB were just enough with ONNX
/// Runtime 1.32 on x86-64.
///
/// After fork(), a child may create segmenters of its own, unless another thread was creating or freeing one at the moment of the
/// fork: then this is FCN_ERROR_RUNTIME in the child, because locks of ONNX Runtime may stay held there for ever.
///
/// Returns FCN_ERROR_RUNTIME if fewer threads can be started than are needed: one less than the option `threads` for each
/// session, and as many for the head.
///
/// A constructor of a shared library may create, use and free segmenters, too. Until dlopen() returns, threads started
/// there wait for the loader, so frames are labelled by the calling thread alone, timeouts do not end a run, streams label
/// nothing, and the memory of freed segmenters is released later.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string, `options` NULL or live options, `segmenter` NULL or a place to write to.
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

/// Loads the model in the `length` bytes at `model`, the content of an ONNX file; they are not needed any more after
/// the call. Models with external data are FCN_ERROR_MODEL: export them with `external_data=False`. Otherwise as fcn_create().
///
/// # Safety
/// `model` is NULL or points to `length` bytes, `options` is NULL or live options, `segmenter` NULL or a place to
/// write to.
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
            return Err(Error::InvalidArgument(format!(
                "length is {length}, more than the {} bytes that can be addressed",
                isize::MAX
            )));
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

/// Frees a segmenter and the strings that its functions returned. NULL is fine. Masks stay; streams go on, and free with
/// the last of them what they need of it.
///
/// # Safety
/// `segmenter` is NULL or comes from fcn_create() or fcn_create_from_memory(), was not freed before, and no thread
/// uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_free(segmenter: Option<Box<fcn_segmenter>>) {
    answer((), || {
        drop(segmenter);
        None
    });
}

/// Labels every pixel of `frame` and stores the result in `mask`. Where it fails, the mask and the buffer that was given
/// to it stay as they were. After the first frame of a size no memory is allocated for the result.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter. `frame` is NULL or describes pixels that nobody writes to during the call.
/// `mask` is NULL or a live mask that no other thread uses; the frame's pixels are neither the mask's own memory nor its
/// buffer's.
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
        // SAFETY: the caller promises that the frame describes pixels which stay and do not change during the call.
        let frame = unsafe { frame.checked() }?;
        mask.fill(&segmenter.segmenter, &frame)
    })
}

/// Ends every call of fcn_segment() and fcn_segmenter_warm_up() on this segmenter that runs or waits for a session now, with
/// FCN_ERROR_CANCELLED, and the frames that its streams have in work. Later calls are not affected.
///
/// It does not wait for them. A layer of the network that has begun is finished first, and a call whose network is done
/// returns its result. Any thread may call it, but no signal handler.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_cancel(segmenter: Option<&fcn_segmenter>) -> fcn_status {
    guard(|| required(segmenter, "segmenter")?.segmenter.cancel())
}

/// Does for frames of `width` x `height` pixels what is only done for the first one of a size: memory is set up and a
/// picture goes through the network, once for each session. Later frames of this size are as fast as they get.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_warm_up(
    segmenter: Option<&fcn_segmenter>,
    width: u32,
    height: u32,
) -> fcn_status {
    guard(|| required(segmenter, "segmenter")?.segmenter.warm_up(width, height))
}

/// The number of classes, 2 to 255; 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_count(segmenter: Option<&fcn_segmenter>) -> u32 {
    answer(0, || u32::try_from(segmenter?.class_names.len()).ok())
}

/// The name of class `index` in UTF-8, for example "cat". NULL where there is no such class.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_class_name(segmenter: Option<&fcn_segmenter>, index: u32) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.class_names.get(index as usize)?.as_ptr()))
}

/// The index of the class that means "nothing of interest": overlays leave its pixels as they are, and the palette "voc"
/// makes it black. It stands in the model card; a card without it means the class called "background", "_background_",
/// "__background__" or "bg". Of a model without a card it is class 0, if that is called so. -1 if there is none, and for
/// NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_background(segmenter: Option<&fcn_segmenter>) -> i32 {
    answer(-1, || segmenter?.background().map(i32::from))
}

/// Stores the colour of class `index` in the palette, red, green and blue, in the 3 bytes at `rgb`. It is the colour of label files
/// (fcn_mask_write_png()); see fcn_segmenter_class_display_color() for that of overlays.
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

/// Stores the colour that overlays and their legends draw class `index` in, red, green and blue, in the 3 bytes at `rgb`: the
/// palette's, made bright enough to be seen over a picture. Its largest value v becomes 160 + 95 v / 255, rounded, and the others
/// grow in proportion, so hues stay, and colours that differ in brightness alone still differ; black becomes grey.
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
        Error::InvalidArgument(format!("the class {index} does not exist; the model has {} classes", classes.len()))
    })?;
    // SAFETY: not NULL, and the caller promises 3 bytes to write to; an array of bytes needs no alignment.
    unsafe { rgb.cast::<[u8; 3]>().write(color(class)) };
    Ok(())
}

/// Where the network runs: "cpu", "cuda" or "tensorrt". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_provider_name(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.provider.as_ptr()))
}

/// Why FCN_PROVIDER_AUTO took no better provider, in ONNX Runtime's words; "" where there was none better, or where
/// the provider was asked for by name. NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_provider_reason(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.provider_reason.as_ptr()))
}

/// The version of ONNX Runtime that runs the network, for example "1.32.0". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_runtime_version(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.runtime_version.as_ptr()))
}

/// The model's stride in pixels: it works on sides that are multiples of this. Frames may have any size; see
/// fcn_options_set_pad(), fcn_options_set_resize() and fcn_options_set_tile(). 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_stride(segmenter: Option<&fcn_segmenter>) -> u32 {
    answer(0, || Some(segmenter?.segmenter.stride()))
}

/// The model card as JSON: classes, colours, training data and what was measured. NULL for a model without a card.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_segmenter_card_json(segmenter: Option<&fcn_segmenter>) -> *const c_char {
    answer(ptr::null(), || Some(segmenter?.card.as_ref()?.as_ptr()))
}
