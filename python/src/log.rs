//! Messages of the library and of ONNX Runtime for Python's logging.

use std::sync::Arc;

use fcn::{LogCallback, LogLevel};
use pyo3::{prelude::*, types::PyAny};

/// Hands messages to the logger "pyfcn".
///
/// ONNX Runtime calls it on its own threads, too. It attaches them to the interpreter, so no call
/// into the library may keep the interpreter to itself.
pub(crate) fn callback() -> LogCallback {
    Arc::new(|level, message| {
        // Nobody is left to read the messages of an interpreter that is ending.
        Python::try_attach(|py| {
            if let Err(error) = log(py, level, message) {
                error.write_unraisable(py, None::<&Bound<'_, PyAny>>);
            }
        });
    })
}

fn log(py: Python<'_>, level: LogLevel, message: &str) -> PyResult<()> {
    // The numbers of logging.INFO, WARNING and ERROR.
    let number = match level {
        LogLevel::Info => 20,
        LogLevel::Warning => 30,
        LogLevel::Error => 40,
    };
    let logger = py.import("logging")?.call_method1("getLogger", ("pyfcn",))?;
    logger.call_method1("log", (number, "%s", message))?;
    Ok(())
}
