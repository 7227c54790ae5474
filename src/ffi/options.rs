//! `fcn_options`: settings for creating a segmenter.

use std::{
    ffi::{CStr, c_char, c_void},
    path::PathBuf,
    slice,
    sync::Arc,
    time::Duration,
};

use super::{Result, answer, c_string, fcn_status, guard, invalid, path_argument, required};
use crate::{LogCallback, LogLevel, Options, Precision, Provider, SizeMode, palette::Palette};

/// Execution providers: where the network runs.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_provider {
    /// CUDA if available, else the CPU (default). fcn_segmenter_provider_reason() returns why
    /// CUDA is unavailable.
    FCN_PROVIDER_AUTO = 0,
    /// The CPU.
    FCN_PROVIDER_CPU = 1,
    /// An NVIDIA GPU through CUDA.
    FCN_PROVIDER_CUDA = 2,
    /// An NVIDIA GPU through TensorRT.
    FCN_PROVIDER_TENSORRT = 3,
    /// OpenVINO on a CPU, or on a GPU or NPU of Intel's: fcn_options_set_openvino_device(). Needs
    /// an ONNX Runtime that contains it.
    ///
    /// Models: only those that you trust. OpenVINO does not check whether shapes fit each other
    /// when it runs, and writes outside its memory if they do not.
    ///
    /// Ending early: OpenVINO computes the network as one step, so fcn_segmenter_cancel() and time
    /// limits end a frame between runs, not within one.
    ///
    /// fork(): a child of a process that has used OpenVINO cannot use it. fcn_create() returns
    /// FCN_ERROR_PROVIDER there; other providers work. End the child with _exit() or replace it
    /// with exec: exit() runs OpenVINO's destructors, which may abort it.
    ///
    /// dlopen(): constructors of shared libraries must not use it. OpenVINO waits for its threads,
    /// which wait for the loader, forever.
    ///
    /// Threads: frames use as many as requested. OpenVINO's threads belong to the process and are
    /// shared by all segmenters; they stay, asleep, when a segmenter is freed.
    ///
    /// Nodes that OpenVINO does not know run on the CPU provider, and the log names them.
    FCN_PROVIDER_OPENVINO = 4,
}

use fcn_provider::*;

/// How precisely a network's layers are computed.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_precision {
    /// As the file says: float32 layers in float32, quantized ones in integers (default). TensorRT
    /// uses TF32 by itself.
    FCN_PRECISION_EXACT = 0,
    /// Float32 layers in a shorter format, where the provider has one that is faster: bfloat16
    /// (OpenVINO on CPUs with AVX512_BF16 instructions, the CPU provider on Arm), TF32 (CUDA) or
    /// float16 (OpenVINO on a GPU or NPU, TensorRT). Labels differ slightly. Without such a format,
    /// this is FCN_PRECISION_EXACT. fcn_segmenter_precision_name() and the log say which format is
    /// used.
    FCN_PRECISION_FAST = 1,
}

use fcn_precision::*;

/// Severity of a log message.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_log_level {
    /// A decision of the library, for example which provider runs.
    FCN_LOG_INFO = 0,
    /// Something works, but not as well as it could.
    FCN_LOG_WARNING = 1,
    /// Something failed.
    FCN_LOG_ERROR = 2,
}

use fcn_log_level::*;

/// Receives log messages: `level` is one of FCN_LOG_*, `message` is valid only during the call,
/// `user` is the pointer given to fcn_options_set_log().
///
/// Called from any thread, including threads of ONNX Runtime and the application's own, and from
/// several at once. It must not call functions of this library with the same segmenter.
pub type fcn_log_callback = Option<unsafe extern "C" fn(level: i32, message: *const c_char, user: *mut c_void)>;

/// Settings for creating a segmenter. Created by fcn_options_new(), freed by fcn_options_free().
/// fcn_create() copies them, so they can be freed or reused afterwards. One thread at a time.
///
/// ```c
/// fcn_options *options = fcn_options_new();
/// fcn_options_set_provider(options, FCN_PROVIDER_CPU);
/// fcn_options_set_threads(options, 4);
/// fcn_status status = fcn_create("street.onnx", options, &segmenter);
/// fcn_options_free(options);
/// ```
///
/// Setters check their values: each returns FCN_ERROR_INVALID_ARGUMENT if one is out of the
/// documented range. fcn_create() returns it if the options do not suit the model.
///
/// fcn_options_set_auto_size(), fcn_options_set_pad(), fcn_options_set_resize(),
/// fcn_options_set_short_side() and fcn_options_set_tile() choose the size at which the network
/// sees a frame; the last call wins. The mask has the frame's size with all of them (see
/// fcn_mask_set_size()).
pub struct fcn_options(pub(super) Options);

/// Creates options with default values.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_options_new() -> Option<Box<fcn_options>> {
    answer(None, || Some(Some(Box::new(fcn_options(Options::default())))))
}

/// Frees options. NULL is allowed.
///
/// # Safety
/// `options` is NULL or comes from fcn_options_new(), was not freed before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_free(options: Option<Box<fcn_options>>) {
    answer((), || {
        drop(options);
        None
    });
}

/// Sets where the network runs: one of FCN_PROVIDER_*. Default: FCN_PROVIDER_AUTO. A provider
/// requested by name is never silently replaced: if it is unavailable, fcn_create() returns
/// FCN_ERROR_PROVIDER.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_provider(options: Option<&mut fcn_options>, provider: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let known = [
            (FCN_PROVIDER_AUTO as i32, Provider::Auto),
            (FCN_PROVIDER_CPU as i32, Provider::Cpu),
            (FCN_PROVIDER_CUDA as i32, Provider::Cuda),
            (FCN_PROVIDER_TENSORRT as i32, Provider::TensorRt),
            (FCN_PROVIDER_OPENVINO as i32, Provider::OpenVino),
        ];
        let names = "FCN_PROVIDER_AUTO (0), FCN_PROVIDER_CPU (1), FCN_PROVIDER_CUDA (2), FCN_PROVIDER_TENSORRT (3) and \
                     FCN_PROVIDER_OPENVINO (4)";
        let provider = one_of("provider", provider, &known, names)?;
        change(Some(options), |options| options.provider = provider)
    })
}

/// Selects the GPU of FCN_PROVIDER_CUDA and FCN_PROVIDER_TENSORRT: 0 (default) to 1023. Ignored by
/// other providers.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_device(options: Option<&mut fcn_options>, device: u32) -> fcn_status {
    guard(|| change(options, |options| options.device = device))
}

/// Selects the device of FCN_PROVIDER_OPENVINO: "CPU" (default, also for NULL), "GPU" or "NPU", or
/// one of several, for example "GPU.1". Ignored by other providers. If the device is not there,
/// fcn_create() returns FCN_ERROR_PROVIDER; it is never replaced. NPUs have no float32, so they
/// need FCN_PRECISION_FAST.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `device` is NULL or a
/// NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_openvino_device(
    options: Option<&mut fcn_options>,
    device: *const c_char,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let device = (!device.is_null()).then(|| unsafe { CStr::from_ptr(device) }.to_string_lossy().into_owned());
        change(Some(options), |options| options.openvino_device = device)
    })
}

/// Sets how precisely layers are computed: one of FCN_PRECISION_*. Default: FCN_PRECISION_EXACT.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_precision(options: Option<&mut fcn_options>, precision: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let known = [(FCN_PRECISION_EXACT as i32, Precision::Exact), (FCN_PRECISION_FAST as i32, Precision::Fast)];
        let precision = one_of("precision", precision, &known, "FCN_PRECISION_EXACT (0) and FCN_PRECISION_FAST (1)")?;
        change(Some(options), |options| options.precision = precision)
    })
}

/// Sets the number of threads per frame: 1 to 256, or 0 (default) for one per CPU available to the
/// process.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_threads(options: Option<&mut fcn_options>, threads: u32) -> fcn_status {
    guard(|| change(options, |options| options.threads = threads))
}

/// Sets how many frames can be segmented at once: 1 to 64, or 0 (default) for 1. Further calls of
/// fcn_segment() wait for a free session. Each session has its own memory, threads and copy of the
/// weights.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_sessions(options: Option<&mut fcn_options>, sessions: u32) -> fcn_status {
    guard(|| change(options, |options| options.sessions = sessions))
}

/// Limits the time of fcn_segment(), including the wait for a free session, in milliseconds; 0
/// (default) means no limit. When it expires, fcn_segment() returns FCN_ERROR_TIMEOUT; the
/// segmenter stays usable.
///
/// Checked before each run, between layers and between tiles. A layer in progress is not
/// interrupted, so a call can exceed the limit by the time of one layer; the message then states
/// how long it took. A frame whose inference has finished still returns its result.
///
/// The same time, but at least 10 s, limits fcn_create(). fcn_segmenter_warm_up() has no limit.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_timeout(options: Option<&mut fcn_options>, milliseconds: u32) -> fcn_status {
    let timeout = Duration::from_millis(milliseconds.into());
    guard(|| change(options, |options| options.timeout = (milliseconds > 0).then_some(timeout)))
}

/// Limits the GPU memory of each session, in bytes; 0 (default) means no limit.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_gpu_memory_limit(
    options: Option<&mut fcn_options>,
    bytes: usize,
) -> fcn_status {
    guard(|| change(options, |options| options.gpu_memory_limit = bytes))
}

/// A path that may be NULL.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string.
unsafe fn optional_path(path: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    if path.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises a NUL-terminated string.
    Ok(Some(unsafe { path_argument(path, name) }?.to_owned()))
}

/// Sets the path of ONNX Runtime's library. NULL (default) searches, in this order: the environment
/// variable ORT_DYLIB_PATH, the folder of libfcn, the system's library path.
///
/// A process can load only one: if another one is already loaded, fcn_create() returns
/// FCN_ERROR_RUNTIME.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `path` is NULL or a NUL-terminated
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_runtime_library(
    options: Option<&mut fcn_options>,
    path: *const c_char,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: the caller promises a NUL-terminated string.
        let library = unsafe { optional_path(path, "path") }?;
        change(Some(options), |options| options.runtime_library = library)
    })
}

/// Caches networks as optimized by ONNX Runtime. When the same segmenter is created again, they
/// need not be optimized, but read and checked: measure which is faster. `folder` must exist; NULL
/// (default) disables the cache. Needs /proc.
///
/// Entries are stored in its subfolder `fcn-cache-UID`, created with mode 0700. An entry is used
/// only if its model, options, version, provider and processor match (by BLAKE3 hashes), and if the
/// subfolder and the entry belong to the effective user and no other user can write them; otherwise
/// the model itself is loaded. If no entry can be written, the log says why.
///
/// FCN_PROVIDER_OPENVINO keeps what it compiles for GPUs and NPUs in the subfolder; there is no
/// entry for CPUs, where loading it would not be faster.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `folder` is NULL or a
/// NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_cache_dir(
    options: Option<&mut fcn_options>,
    folder: *const c_char,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: the caller promises a NUL-terminated string.
        let cache = unsafe { optional_path(folder, "folder") }?;
        change(Some(options), |options| options.cache = cache)
    })
}

/// Pads frames whose size is close to the one that the model was trained on, and resamples others
/// to that size, keeping their aspect ratio. The default, except for models with a fixed input
/// size: these resample every frame to it.
///
/// The size is that of the model card or fcn_options_set_native_side(). Without either, every frame
/// is padded, and the log says so. fcn_mask_working_size() returns the size that was used.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_auto_size(options: Option<&mut fcn_options>) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Auto)))
}

/// Sets the model's native size for fcn_options_set_auto_size(): the square root of width times
/// height of its training images, in pixels. 16 to 32767, for example 416 for images of 480 x 360.
/// Overrides the model card; 0 (default) uses the card's.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_native_side(options: Option<&mut fcn_options>, pixels: u32) -> fcn_status {
    guard(|| change(options, |options| options.native_side = (pixels > 0).then_some(pixels)))
}

/// Pads frames on the right and at the bottom to the next multiple of the model's stride, and crops
/// the labels back.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_pad(options: Option<&mut fcn_options>) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Pad)))
}

/// Resamples frames to `width` x `height` pixels (bilinear), rounded up to multiples of the model's
/// stride, and the scores back to the frame's size. 1 to 32767; 0 means the frame's own width or
/// height.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_resize(
    options: Option<&mut fcn_options>,
    width: u32,
    height: u32,
) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Resize { width, height })))
}

/// Resamples frames so that their shorter side has about `pixels` pixels, 1 to 32767, and the
/// scores back to the frame's size. Keeps the aspect ratio, except that both sides are rounded to
/// multiples of the model's stride.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_short_side(options: Option<&mut fcn_options>, pixels: u32) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::ShortSide(pixels))))
}

/// Splits frames into overlapping tiles and averages the scores where tiles overlap. Keeps the full
/// resolution and bounds the memory.
///
/// - `width`, `height`: size of a tile, a multiple of the model's stride, 1 to 32767 pixels; 0
///   means the model's training crop (480 x 320 if the model does not state it).
/// - `overlap`: least number of columns and rows that adjacent tiles share; less than both sides.
///
/// Not for models with a fixed input size, nor for those that output class indices.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_tile(
    options: Option<&mut fcn_options>,
    width: u32,
    height: u32,
    overlap: u32,
) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Tile { width, height, overlap })))
}

/// Sets the normalisation of the model's input: (value * scale - mean) / std per channel. `value`
/// is 0 to 255 and `scale` is 1 / 255 (fcn_options_set_scale()).
///
/// - `mean`: 3 finite floats for red, green and blue.
/// - `std`: 3 finite floats greater than 0.
///
/// Overrides the model card. NULL for either uses the card's, or 0 and 1 without a card. Models
/// with one channel (grey) use the first value. For models with uint8 input, which do not
/// normalise, fcn_create() returns FCN_ERROR_INVALID_ARGUMENT.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `mean` and `std` are NULL or point
/// to 3 floats each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_mean_std(
    options: Option<&mut fcn_options>,
    mean: *const f32,
    std: *const f32,
) -> fcn_status {
    guard(|| {
        // SAFETY: NULL, or the caller promises 3 floats; an array of them needs no other alignment.
        let (mean, std) = unsafe { (mean.cast::<[f32; 3]>().as_ref(), std.cast::<[f32; 3]>().as_ref()) };
        change(options, |options| (options.mean, options.std) = (mean.copied(), std.copied()))
    })
}

/// Sets the names of the classes in index order: 2 to 255 strings, none of them empty. Overrides
/// the model card; NULL and 0 (default) use the card's.
///
/// Errors: FCN_ERROR_NULL_ARGUMENT also if one of the names is NULL.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `names` is NULL or points to
/// `count` pointers, each NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_class_names(
    options: Option<&mut fcn_options>,
    names: *const *const c_char,
    count: usize,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        if names.is_null() && count == 0 {
            return change(Some(options), |options| options.class_names = None);
        }
        required((!names.is_null()).then_some(()), "names")?;
        if !(2..=255).contains(&count) {
            return Err(invalid(format!("{count} class names are given; the number must be between 2 and 255")));
        }
        // SAFETY: not NULL, and the caller promises `count` pointers, at most 255.
        let names = unsafe { slice::from_raw_parts(names, count) };
        let mut copies = Vec::with_capacity(count);
        for (index, &name) in names.iter().enumerate() {
            required((!name.is_null()).then_some(()), &format!("names[{index}]"))?;
            // SAFETY: not NULL, and the caller promises a NUL-terminated string.
            copies.push(text(unsafe { CStr::from_ptr(name) }, &format!("names[{index}]"))?);
        }
        change(Some(options), |options| options.class_names = Some(copies))
    })
}

/// Sets the colours of the classes: "voc" (Pascal VOC's colour map) or "cityscapes" (19 colours:
/// with more classes, fcn_create() returns FCN_ERROR_INVALID_ARGUMENT). Overrides the model card;
/// NULL (default) uses the card's, or "voc" without a card.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `palette` is NULL or a
/// NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_palette(
    options: Option<&mut fcn_options>,
    palette: *const c_char,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let name = (!palette.is_null()).then(|| unsafe { CStr::from_ptr(palette) }.to_string_lossy());
        let palette = name.map(|name| name.parse::<Palette>()).transpose()?;
        change(Some(options), |options| options.palette = palette)
    })
}

/// Sets the receiver of messages from this library and ONNX Runtime; NULL (default) discards them.
/// `user` is passed to each call. Both must stay valid as long as any segmenter created with these
/// options, and its streams, exist.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `callback` and `user` may be used
/// from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_log(
    options: Option<&mut fcn_options>,
    callback: fcn_log_callback,
    user: *mut c_void,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let log = callback.map(|function| {
            let log = Log { function, user };
            Arc::new(move |level, message: &str| log.say(level, message)) as LogCallback
        });
        change(Some(options), |options| options.log = log)
    })
}

/// A C callback with its pointer.
struct Log {
    function: unsafe extern "C" fn(level: i32, message: *const c_char, user: *mut c_void),
    user: *mut c_void,
}

// SAFETY: fcn_options_set_log() requires a callback and a pointer that any thread may use.
unsafe impl Send for Log {}
// SAFETY: as above, several threads at once.
unsafe impl Sync for Log {}

impl Log {
    fn say(&self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Info => FCN_LOG_INFO,
            LogLevel::Warning => FCN_LOG_WARNING,
            LogLevel::Error => FCN_LOG_ERROR,
        };
        let message = c_string(message);
        // SAFETY: the message is NUL-terminated and outlives the call; fcn_options_set_log()
        // requires that the callback and its pointer outlive every segmenter that has them.
        unsafe { (self.function)(level as i32, message.as_ptr(), self.user) }
    }
}

/// The string argument `argument`, which must be UTF-8 and not empty.
pub(super) fn text(text: &CStr, argument: &str) -> Result<String> {
    match text.to_str() {
        Ok("") => Err(invalid(format!("{argument} is an empty string"))),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(invalid(format!("{argument}, {text:?}, is not UTF-8"))),
    }
}

/// The meaning of a constant, or an error that lists the known ones.
pub(super) fn one_of<T: Copy>(what: &str, number: i32, known: &[(i32, T)], names: &str) -> Result<T> {
    let found = known.iter().find(|(value, _)| *value == number).map(|(_, found)| *found);
    found.ok_or_else(|| invalid(format!("unknown {what} {number}; supported are {names}")))
}

/// Changes the options if the result passes their check.
pub(super) fn change(options: Option<&mut fcn_options>, set: impl FnOnce(&mut Options)) -> Result<()> {
    let options = required(options, "options")?;
    let mut changed = options.0.clone();
    set(&mut changed);
    changed.check()?;
    options.0 = changed;
    Ok(())
}
