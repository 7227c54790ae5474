//! `fcn_options`: how a segmenter is made.

use std::{
    ffi::{CStr, c_char, c_void},
    path::PathBuf,
    slice,
    sync::Arc,
    time::Duration,
};

use super::{answer, c_string, fcn_status, guard, path_argument, required};
use crate::{Error, LogCallback, LogLevel, Options, Provider, Result, SizeMode, palette::Palette};

/// Where the network runs.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_provider {
    /// CUDA where it works, else the CPU; fcn_segmenter_provider_reason() tells why. The default.
    FCN_PROVIDER_AUTO = 0,
    /// The CPU.
    FCN_PROVIDER_CPU = 1,
    /// An NVIDIA GPU through CUDA; fcn_create() fails with FCN_ERROR_PROVIDER where that does not work.
    FCN_PROVIDER_CUDA = 2,
    /// An NVIDIA GPU through TensorRT; fcn_create() fails with FCN_ERROR_PROVIDER where that does not work.
    FCN_PROVIDER_TENSORRT = 3,
}

use fcn_provider::*;

/// How urgent a message to the log callback is.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_log_level {
    /// What the library decided, for example which provider runs.
    FCN_LOG_INFO = 0,
    /// Something that works, but not as well as it could.
    FCN_LOG_WARNING = 1,
    /// Something that failed.
    FCN_LOG_ERROR = 2,
}

use fcn_log_level::*;

/// Receives a message: its level (one of FCN_LOG_*), its text in UTF-8, and the pointer given to
/// fcn_options_set_log(). The text is only valid during the call.
///
/// It is called from whichever thread has something to say, also from several at once. It must return: no C++
/// exception and no longjmp may leave it. It must not call functions of this library on the same segmenter.
pub type fcn_log_callback = Option<unsafe extern "C" fn(level: i32, message: *const c_char, user: *mut c_void)>;

/// How a segmenter is made. Made by fcn_options_new(), freed by fcn_options_free(), which may be as soon as
/// fcn_create() has returned: options are copied. One thread at a time may use them.
///
/// Each setter checks its values at once; one that fails leaves the options as they were.
pub struct fcn_options(pub(super) Options);

/// Options with their defaults, which suit most programs. Free them with fcn_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn fcn_options_new() -> Option<Box<fcn_options>> {
    answer(None, || Some(Some(Box::new(fcn_options(Options::default())))))
}

/// Frees options. NULL is fine.
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

/// Where the network runs: one of FCN_PROVIDER_*. The default is FCN_PROVIDER_AUTO. A provider asked for by name
/// either runs or makes fcn_create() fail: none replaces another in silence.
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
        ];
        let names = "FCN_PROVIDER_AUTO (0), FCN_PROVIDER_CPU (1), FCN_PROVIDER_CUDA (2) and FCN_PROVIDER_TENSORRT (3)";
        let provider = one_of("provider", provider, &known, names)?;
        change(Some(options), |options| options.provider = provider)
    })
}

/// Which GPU, counted from 0; at most 1023. The default is 0. The CPU does not look at it.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_device(options: Option<&mut fcn_options>, device: u32) -> fcn_status {
    guard(|| change(options, |options| options.device = device))
}

/// Threads that work on one frame, 1 to 256; 0, the default, means one for each CPU that this process may run on.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_threads(options: Option<&mut fcn_options>, threads: u32) -> fcn_status {
    guard(|| change(options, |options| options.threads = threads))
}

/// How many frames can be in work at once, 1 to 64; 0, the default, means 1. Further calls of fcn_segment() wait for
/// their turn. Each session has its own memory, and its own copy of the weights.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_sessions(options: Option<&mut fcn_options>, sessions: u32) -> fcn_status {
    guard(|| change(options, |options| options.sessions = sessions))
}

/// The longest time in milliseconds that fcn_segment() may take, the wait for a free session included; then it fails with
/// FCN_ERROR_TIMEOUT and the segmenter is as usable as before. 0, the default, means no limit.
///
/// Checked before each run, between layers and between tiles. A layer in progress is not interrupted: one large enough exceeds
/// the time by as long as it takes, and the message then says how long. A frame whose inference has finished still returns its
/// result. fcn_segmenter_warm_up() has no limit.
///
/// The same time, but at least 10 seconds, limits fcn_create(): see there.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_timeout(options: Option<&mut fcn_options>, milliseconds: u32) -> fcn_status {
    let timeout = Duration::from_millis(milliseconds.into());
    guard(|| change(options, |options| options.timeout = (milliseconds > 0).then_some(timeout)))
}

/// At most this many bytes of GPU memory for each session; 0, the default, means no limit.
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

/// A path that may be left out.
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

/// The file of ONNX Runtime's library. Without it, or with NULL, the environment variable ORT_DYLIB_PATH, the folder
/// of libfcn and the system are searched in this order. The process keeps the one that its first segmenter loads;
/// asking for another one later is FCN_ERROR_RUNTIME.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `path` is NULL or a NUL-terminated string.
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

/// A folder, which must exist, in which networks are kept as ONNX Runtime has optimized them, so that creating the same
/// segmenter again is faster. NULL, the default, keeps none. Entries lie in `fcn-cache-UID`, a folder of mode 0700 that is
/// created there. An entry is used only if its model, options, version, provider and processor are the same (by SHA-256), and
/// if the folder and the entry belong to this process's effective user and no other user can write them; otherwise the model
/// itself is used. If no entry can be written, the log says why. Needs /proc.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `folder` is NULL or a NUL-terminated string.
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

/// Pads frames of about the size that the model was trained on, and resamples larger and smaller ones to that size, keeping
/// their proportions; labels come out at the frame's size. The default, but for models of one fixed size, which resample all
/// frames to it. The model's card or fcn_options_set_native_side() gives the size; without either, all frames are padded and
/// the log says so. fcn_mask_working_size() returns the size that was used.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_auto_size(options: Option<&mut fcn_options>) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Auto)))
}

/// The size of frames that the model labels best, for fcn_options_set_auto_size(): the square root of width times height of the
/// photos it was trained on, in pixels, 16 to 32767; 416 for photos of 480 x 360. Overrides the model card; 0, the default,
/// means the card's.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_native_side(options: Option<&mut fcn_options>, pixels: u32) -> fcn_status {
    guard(|| change(options, |options| options.native_side = (pixels > 0).then_some(pixels)))
}

/// Pads frames at the right and at the bottom up to the next multiple of the model's stride, and crops the labels
/// back.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_pad(options: Option<&mut fcn_options>) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::Pad)))
}

/// Resamples frames to `width` x `height` pixels, both rounded up to multiples of the model's stride, and labels them
/// at their own size. Sides are 1 to 32767; 0 means the frame's own side.
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

/// Resamples frames so that their shorter side has about this many pixels, 1 to 32767, keeping their proportions (both sides
/// are rounded to multiples of the model's stride), and labels them at their own size.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_short_side(options: Option<&mut fcn_options>, pixels: u32) -> fcn_status {
    guard(|| change(options, |options| options.size_mode = Some(SizeMode::ShortSide(pixels))))
}

/// Covers frames with rectangles of `width` x `height` pixels, multiples of the model's stride, whose neighbours share
/// at least `overlap` rows and columns; where they overlap, the mean of their scores counts. Keeps full resolution and
/// bounds the memory. Sides are 1 to 32767; 0 means the size of the crops that the model was trained on. `overlap` is
/// less than both sides.
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

/// What the model expects of its input: (value * scale - mean) / std for each channel, in the order red, green, blue, where
/// value is 0 to 255 and scale is 1 / 255 unless fcn_options_set_scale() says otherwise. A model of one channel (grey) has
/// the first mean and std; one that takes bytes (uint8) gets values as they are, and giving either is an error of
/// fcn_create(). For models without a card; wins over a card. NULL for either means what the card says, or without a card 0 and 1.
/// Means are finite; standard deviations are finite and greater than 0.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `mean` and `std` are NULL or point to 3 floats each.
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

/// The names of the classes in index order, 2 to 255 strings in UTF-8 that are not empty; they are copied. For models
/// without a card; wins over a card. NULL and 0 mean what the card says.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `names` is NULL or points to `count` pointers, each
/// NULL or a NUL-terminated string.
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
            return Err(Error::InvalidArgument(format!("{count} class names are given; there must be 2 to 255")));
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

/// The colours of the classes by their index: "voc", Pascal VOC's colour map, or "cityscapes", those of its 19 classes,
/// with which fcn_create() of a model that has more is FCN_ERROR_INVALID_ARGUMENT. Wins over the model card. NULL, the
/// default, means the card's colours, or without a card "voc".
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `palette` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_palette(
    options: Option<&mut fcn_options>,
    palette: *const c_char,
) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let name = (!palette.is_null()).then(|| unsafe { CStr::from_ptr(palette) }.to_string_lossy());
        let palette = name.map(|name| Palette::named(&name)).transpose()?;
        change(Some(options), |options| options.palette = palette)
    })
}

/// Where messages of the library and of ONNX Runtime go; NULL, the default, means nowhere: the library never prints.
/// `user` is handed to each call of `callback`; both must stay valid as long as a segmenter made with them,
/// and as long as its streams.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `callback` and `user` may be used from any thread.
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

// SAFETY: fcn_options_set_log asks for a callback and a pointer that any thread may use.
unsafe impl Send for Log {}
// SAFETY: as above, several at once.
unsafe impl Sync for Log {}

impl Log {
    fn say(&self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Info => FCN_LOG_INFO,
            LogLevel::Warning => FCN_LOG_WARNING,
            LogLevel::Error => FCN_LOG_ERROR,
        };
        let message = c_string(message);
        // SAFETY: the message is NUL-terminated and outlives the call; fcn_options_set_log asks for a callback that
        // stays valid with its pointer as long as any segmenter that has it.
        unsafe { (self.function)(level as i32, message.as_ptr(), self.user) }
    }
}

/// The text that the argument `argument` is, checked.
pub(super) fn text(text: &CStr, argument: &str) -> Result<String> {
    match text.to_str() {
        Ok("") => Err(Error::InvalidArgument(format!("{argument} is an empty string"))),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::InvalidArgument(format!("{argument}, {text:?}, is not UTF-8"))),
    }
}

/// What a number stands for, or a sentence with the names of all there are.
pub(super) fn one_of<T: Copy>(what: &str, number: i32, known: &[(i32, T)], names: &str) -> Result<T> {
    let found = known.iter().find(|(value, _)| *value == number).map(|(_, found)| *found);
    found.ok_or_else(|| Error::InvalidArgument(format!("the {what} {number} does not exist; there are {names}")))
}

/// Sets values that the options' own check accepts.
pub(super) fn change(options: Option<&mut fcn_options>, set: impl FnOnce(&mut Options)) -> Result<()> {
    let options = required(options, "options")?;
    let mut changed = options.0.clone();
    set(&mut changed);
    changed.check()?;
    options.0 = changed;
    Ok(())
}
