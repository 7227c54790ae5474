//! Label every pixel of a camera frame with a fully convolutional network.

pub mod onnx;
pub mod palette;

mod error;

pub use error::{Error, Result};
