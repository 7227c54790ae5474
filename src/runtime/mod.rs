//! ONNX Runtime: finds its library, chooses a provider, runs networks. The only module that names
//! `ort`.

mod exit;
mod gpu_network;
mod interrupt;
mod library;
mod message;
mod network;
mod openvino;
mod precision;
mod provider;
mod telemetry;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use once_cell::sync::OnceCell;
use ort::{environment::Environment, logging::LogLevel as OrtLogLevel};

use crate::{
    Error, Result,
    options::{LogCallback, LogLevel},
};
pub(crate) use gpu_network::{FrameLayout, GpuNetwork};
pub(crate) use interrupt::{Call, Interrupts, Limit, StopFlag, Subject};
use message::one_line;
pub(crate) use network::{Answer, Labels, OutputKind, SessionNetwork};
pub(crate) use provider::{Networks, Request, run_once};

/// ONNX Runtime, loaded once per process: its library cannot be replaced or unloaded safely.
pub(crate) struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
    /// Whether the host had loaded it before, and may have created its environment with telemetry.
    loaded_by_host: bool,
    /// Whether the host had set the variable that [`telemetry`] sets.
    telemetry_set_by_host: bool,
}

/// The path of ONNX Runtime after `make install`, relative to libfcn's folder.
const INSTALLED: &str =
    concat!("fcn-", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), "/libonnxruntime.so.1");

/// How to get ONNX Runtime, for error messages.
const GET: &str = "get it with `make deps` in a checkout of fcn (.deps/onnxruntime/lib/libonnxruntime.so.1) or with `pip install \
                   onnxruntime` (onnxruntime/capi/libonnxruntime.so.1.*), and name the file in the option runtime_library or in \
                   the environment variable ORT_DYLIB_PATH";

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

impl Runtime {
    /// The process's ONNX Runtime, loaded on the first call: from `library`, or else
    /// `ORT_DYLIB_PATH`, or else libfcn's folder or `fcn-MAJOR.MINOR` in it, or else from where the
    /// dynamic linker finds it.
    pub(crate) fn load(library: Option<&Path>) -> Result<&'static Runtime> {
        let runtime = RUNTIME.get_or_try_init(|| Runtime::find(library))?;
        if let Some(library) = library {
            let wanted = absolute(library)?;
            if wanted != runtime.path {
                return Err(Error::Runtime(format!(
                    "ONNX Runtime is already loaded from {} and cannot be replaced by {} in the same process",
                    runtime.path.display(),
                    wanted.display()
                )));
            }
        }
        Ok(runtime)
    }

    /// Logs a warning if telemetry could not be disabled.
    pub(crate) fn report(&self, callback: Option<&LogCallback>) {
        if self.loaded_by_host && !self.telemetry_set_by_host {
            let message = format!(
                "the host had loaded ONNX Runtime {} before libfcn could disable its telemetry; set \
                 the environment variable ORT_DISABLE_TELEMETRY=1 before the program starts",
                self.version
            );
            log(callback, LogLevel::Warning, &message);
        }
    }

    /// The version of ONNX Runtime, for example `1.32.0`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether ONNX Runtime can limit the time that its threads spin.
    fn limits_spinning(&self) -> bool {
        is_at_least(&self.version, (1, 32))
    }

    fn find(library: Option<&Path>) -> Result<Runtime> {
        // If a path is given, no other one is tried.
        if let Some(library) = library {
            return Runtime::open(&absolute(library)?);
        }
        // A user must not choose the code of a program that runs with more privileges than their
        // own.
        let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty() && !library::is_privileged());
        if let Some(path) = named {
            return absolute(Path::new(&path)).and_then(|path| Runtime::open(&path)).map_err(|error| {
                Error::Runtime(format!("{error} (the environment variable ORT_DYLIB_PATH names this file)"))
            });
        }
        let mut tried = String::new();
        if let Some(folder) = library::own_path().as_deref().and_then(Path::parent) {
            // The installed one first: a system's library folder may contain another version for
            // other programs.
            for library in [INSTALLED, "libonnxruntime.so.1"] {
                let path = folder.join(library);
                if path.exists() {
                    return Runtime::open(&path);
                }
                tried += &format!("{} and ", path.display());
            }
        }
        // The search loads the library, so check before.
        let loaded_by_host = library::is_loaded(library::SONAME);
        match library::system_path() {
            Some(path) => Runtime::open_loaded(&path, loaded_by_host),
            None => Err(Error::Runtime(format!(
                "ONNX Runtime was not found: tried {tried}the system's libonnxruntime.so.1; {GET}"
            ))),
        }
    }

    fn open(path: &Path) -> Result<Runtime> {
        Runtime::open_loaded(path, library::is_loaded(&library::c_path(path)))
    }

    fn open_loaded(path: &Path, loaded_by_host: bool) -> Result<Runtime> {
        let failed = |reason: String| {
            Error::Runtime(format!(
                "ONNX Runtime could not be loaded from {}: {reason}; version 1.24 or newer is needed",
                path.display()
            ))
        };
        if !path.is_file() {
            return Err(failed(format!("there is no such file; {GET}")));
        }
        library::check_length(path).map_err(failed)?;
        let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
        let telemetry_set_by_host = telemetry::switch_off();
        // Without a logger, ONNX Runtime would write to the host's stderr. Messages about a session
        // go to the session's logger.
        let environment = builder
            .with_name("fcn")
            .with_telemetry(false)
            .with_logger(Arc::new(|level, _, _, _, message| {
                if level >= OrtLogLevel::Error {
                    SAID.set(one_line(message));
                }
            }))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let version = library::version(path).ok_or_else(|| failed("it does not report its version".into()))?;
        Ok(Runtime { environment, path: path.to_path_buf(), version, loaded_by_host, telemetry_set_by_host })
    }
}

thread_local! {
    /// The last error that ONNX Runtime logged outside of any session on this thread. The error
    /// that a function returns may name no reason.
    static SAID: Cell<String> = const { Cell::new(String::new()) };
}

/// Whether a version such as `1.32.0` is this one or a newer one.
fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::Runtime(format!("the path '{}' of ONNX Runtime is unusable: {error}", path.display())))
}

/// Calls the host's callback or, without one, the logger of the crate `log`. A panic in either must
/// not unwind into ONNX Runtime's C++ code.
pub(crate) fn log(callback: Option<&LogCallback>, level: LogLevel, message: &str) {
    // There is no one to report the panic to.
    let _ = catch_unwind(AssertUnwindSafe(|| match callback {
        Some(callback) => callback(level, message),
        None => log::log!(target: "fcn", level.into(), "{message}"),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("1.32.0", true),
            ("1.32", true),
            ("1.100.2", true),
            ("2.0.0", true),
            ("1.31.9", false),
            ("0.99.0", false),
            ("1", false),
            ("", false),
            ("dev", false),
        ] {
            assert_eq!(is_at_least(version, (1, 32)), expected, "{version}");
        }
    }
}
