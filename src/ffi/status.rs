//! Statuses and messages.

use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char},
};

use super::{answer, c_string};
use crate::Error;

/// What a function answers: FCN_OK, or the kind of failure. fcn_last_error() has the sentence that goes with it.
///
/// The numbers never change and are never used again for something else. Later versions may add some.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum fcn_status {
    /// It worked.
    FCN_OK = 0,
    /// An argument that must not be NULL is NULL.
    FCN_ERROR_NULL_ARGUMENT = 1,
    /// An argument is outside its documented range.
    FCN_ERROR_INVALID_ARGUMENT = 2,
    /// The pixel format, or the kind of image file, is not one that this version takes.
    FCN_ERROR_UNSUPPORTED_FORMAT = 3,
    /// A file could not be read or written.
    FCN_ERROR_IO = 4,
    /// The model file is broken, or is no segmentation network.
    FCN_ERROR_MODEL = 5,
    /// ONNX Runtime is missing, too old, or failed while running.
    FCN_ERROR_RUNTIME = 6,
    /// The execution provider that was asked for does not work here.
    FCN_ERROR_PROVIDER = 7,
    /// Memory for a picture of this size could not be had.
    FCN_ERROR_OUT_OF_MEMORY = 8,
    /// A defect in this library; please report the message.
    FCN_ERROR_INTERNAL = 9,
    /// fcn_segmenter_cancel() ended the call, or the stream is stopped.
    FCN_ERROR_CANCELLED = 10,
    /// There was no result within the time given: by fcn_options_set_timeout(), which is also for fcn_create(),
    /// fcn_stream_set_deadline() or fcn_stream_wait().
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

impl fcn_status {
    /// The status of an error.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::NullArgument(_) => FCN_ERROR_NULL_ARGUMENT,
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

/// Makes the error's sentence this thread's message.
pub(super) fn remember(error: &Error) {
    let message = c_string(&error.to_string());
    // A thread that is ending has no message any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(message));
}

/// The sentence that tells what went wrong in the last call that failed on this thread, in UTF-8: it names the value
/// and the bound it broke.
///
/// Never NULL; "" where nothing has failed yet. The library owns it; it stays as it is until the next call that fails
/// on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_last_error() -> *const c_char {
    answer(c"".as_ptr(), || LAST_ERROR.try_with(|last| last.borrow().as_ptr()).ok())
}

/// The name of a status, for example "FCN_ERROR_IO"; "unknown status" for any other number. Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_status_name(status: i32) -> *const c_char {
    answer(c"unknown status".as_ptr(), || {
        NAMES.iter().find(|(known, _)| *known as i32 == status).map(|(_, name)| name.as_ptr())
    })
}

/// The version of the library that is running, for example "0.1.0"; FCN_VERSION is that of the header. Never NULL,
/// never freed.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => unreachable!(),
    };
    answer(VERSION.as_ptr(), || None)
}
