//! The extension module `pyfcn._pyfcn`: the public API of the crate `fcn` as Python classes. The
//! package in pyfcn/ adds exceptions and plain types.
//!
//! Every call that runs a network, reads pixels or waits releases the interpreter's lock. ONNX
//! Runtime's threads and those of streams take it to log and to call back, so a thread that keeps
//! it and waits for them would wait for ever.

mod error;
mod frame;
mod image_file;
mod log;
mod mask;
mod options;
mod segmenter;
mod stream;

use pyo3::prelude::*;

/// Semantic segmentation with fully convolutional networks, on ONNX Runtime.
#[pymodule]
mod _pyfcn {
    use pyo3::{prelude::*, types::PyModule};

    #[pymodule_export]
    use super::frame::Frame;
    #[pymodule_export]
    use super::image_file::{decode_image, read_image};
    #[pymodule_export]
    use super::mask::Mask;
    #[pymodule_export]
    use super::segmenter::{Segmenter, Smoothing};
    #[pymodule_export]
    use super::stream::{_stop_streams, FrameResult, Stream};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let stop = module.getattr("_stop_streams")?;
        module.py().import("atexit")?.call_method1("register", (stop,))?;
        Ok(())
    }
}
