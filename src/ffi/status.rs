//! `fcn_status`: errors and their messages.

use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char},
};

use super::{answer, c_string};
use crate::Error;

/// Result of a call: FCN_OK, or the kind of error. fcn_last_error() returns the message that goes
/// with it.
///
/// ```c
/// fcn_status status = fcn_create(path, NULL, &segmenter);
/// if (status != FCN_OK)
///     fprintf(stderr, "%s: %s\n", fcn_status_name(status), fcn_last_error());
/// ```
///
/// Later versions may add values.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum fcn_status {
    /// Success.
    FCN_OK = 0,
    /// A required pointer is NULL.
    FCN_ERROR_NULL_ARGUMENT = 1,
    /// An argument is out of its documented range, or does not suit the model.
    FCN_ERROR_INVALID_ARGUMENT = 2,
    /// This version does not support the pixel format or the type of image file.
    FCN_ERROR_UNSUPPORTED_FORMAT = 3,
    /// A file cannot be read or written.
    FCN_ERROR_IO = 4,
    /// The model file is damaged, exceeds a limit, or is not a segmentation network.
    FCN_ERROR_MODEL = 5,
    /// ONNX Runtime is missing, too old, or failed; or a thread cannot be started; or the handle
    /// belongs to the parent of a forked process.
    FCN_ERROR_RUNTIME = 6,
    /// The requested execution provider is unavailable.
    FCN_ERROR_PROVIDER = 7,
    /// Not enough memory for a frame of this size.
    FCN_ERROR_OUT_OF_MEMORY = 8,
    /// A bug in this library. Please report the message.
    FCN_ERROR_INTERNAL = 9,
    /// fcn_segmenter_cancel() ended the call, the stream is stopped, or the process is exiting.
    FCN_ERROR_CANCELLED = 10,
    /// No result in time: see fcn_options_set_timeout() (which also limits fcn_create()),
    /// fcn_stream_set_deadline() and fcn_stream_wait().
    FCN_ERROR_TIMEOUT = 11,
}

use fcn_status::*;

/// Each status with its name.
const NAMES: [(fcn_status, &CStr); 12] = [
    (FCN_OK, c"FCN_OK"),
    (FCN_ERROR_NULL_ARGUMENT, c"FCN_ERROR_NULL_ARGUMENT"),
    (FCN_ERROR_INVALID_ARGUMENT, c"FCN_ERROR_INVALID_ARGUMENT"),
    (FCN_ERROR_UNSUPPORTED_FORMAT, c"FCN_ERROR_UNSUPPORTED_FORMAT"),
    (FCN_ERROR_IO, c"FCN_ERROR_IO"),
    (FCN_ERROR_MODEL, c"FCN_ERROR_MODEL"),
    (FCN_ERROR_RUNTIME, c"FCN_ERROR_RUNTIME"),
    (FCN_ERROR_PROVIDER, c"FCN_ERROR_PROVIDER"),
    (FCN_ERROR_OUT_OF_MEMORY, c"FCN_ERROR_OUT_OF_MEMORY"),
    (FCN_ERROR_INTERNAL, c"FCN_ERROR_INTERNAL"),
    (FCN_ERROR_CANCELLED, c"FCN_ERROR_CANCELLED"),
    (FCN_ERROR_TIMEOUT, c"FCN_ERROR_TIMEOUT"),
];

/// Why a call failed: an error of the crate, or what only C can get wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A required pointer is NULL.
    #[error("{0}")]
    Null(String),
    #[error(transparent)]
    Error(#[from] Error),
}

impl fcn_status {
    /// The status of a failure.
    pub(super) fn of(failure: &Failure) -> Self {
        let error = match failure {
            Failure::Null(_) => return FCN_ERROR_NULL_ARGUMENT,
            Failure::Error(error) => error,
        };
        match error {
            Error::InvalidArgument(_) => FCN_ERROR_INVALID_ARGUMENT,
            Error::UnsupportedFormat(_) => FCN_ERROR_UNSUPPORTED_FORMAT,
            Error::Io(_) => FCN_ERROR_IO,
            Error::Model(_) => FCN_ERROR_MODEL,
            Error::Runtime(_) => FCN_ERROR_RUNTIME,
            Error::Provider(_) => FCN_ERROR_PROVIDER,
            Error::OutOfMemory(_) => FCN_ERROR_OUT_OF_MEMORY,
            Error::Internal(_) => FCN_ERROR_INTERNAL,
            Error::Cancelled(_) => FCN_ERROR_CANCELLED,
            Error::Timeout(_) => FCN_ERROR_TIMEOUT,
        }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Stores the message of an error as this thread's.
pub(super) fn remember(error: &dyn std::error::Error) {
    let message = c_string(&error.to_string());
    // A thread that is exiting has no message any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(message));
}

/// Returns the message of the calling thread's last error. It is one sentence and names the value
/// and the bound it violates, for example "stride 100 is less than the 480 bytes of a row".
///
/// Never NULL; "" if no call has failed on this thread. The string belongs to the library and is
/// valid until the next call that fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_last_error() -> *const c_char {
    answer(c"".as_ptr(), || LAST_ERROR.try_with(|last| last.borrow().as_ptr()).ok())
}

/// Returns the name of a status, for example "FCN_ERROR_IO", or "unknown status". Static: never
/// NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_status_name(status: i32) -> *const c_char {
    answer(c"unknown status".as_ptr(), || {
        NAMES.iter().find(|(known, _)| *known as i32 == status).map(|(_, name)| name.as_ptr())
    })
}

/// Returns the version of the loaded library, for example "0.1.0"; FCN_VERSION is the header's.
/// Static: never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => unreachable!(),
    };
    answer(VERSION.as_ptr(), || None)
}
