//! Rust's errors as Python's exceptions, which are defined in pyfcn/_errors.py.

use pyo3::PyErr;

mod classes {
    use pyo3::import_exception;

    import_exception!(pyfcn._errors, CancelledError);
    import_exception!(pyfcn._errors, FileError);
    import_exception!(pyfcn._errors, InternalError);
    import_exception!(pyfcn._errors, InvalidArgumentError);
    import_exception!(pyfcn._errors, ModelError);
    import_exception!(pyfcn._errors, OnnxRuntimeError);
    import_exception!(pyfcn._errors, OutOfMemoryError);
    import_exception!(pyfcn._errors, ProviderError);
    import_exception!(pyfcn._errors, TimeoutError);
    import_exception!(pyfcn._errors, UnsupportedFormatError);
}

/// The exception for an error.
pub(crate) fn raise(error: fcn::Error) -> PyErr {
    use fcn::Error;
    match error {
        Error::InvalidArgument(message) => invalid(message),
        Error::UnsupportedFormat(message) => classes::UnsupportedFormatError::new_err(message),
        Error::Io(error) => classes::FileError::new_err(error.to_string()),
        Error::Model(message) => classes::ModelError::new_err(message),
        Error::Runtime(message) => classes::OnnxRuntimeError::new_err(message),
        Error::Provider(message) => classes::ProviderError::new_err(message),
        Error::OutOfMemory(message) => classes::OutOfMemoryError::new_err(message),
        Error::Cancelled(message) => classes::CancelledError::new_err(message),
        Error::Timeout(message) => classes::TimeoutError::new_err(message),
        other => classes::InternalError::new_err(other.to_string()),
    }
}

/// The exception for an argument that is out of range.
pub(crate) fn invalid(message: impl Into<String>) -> PyErr {
    classes::InvalidArgumentError::new_err(message.into())
}
