//! Semantic segmentation with fully convolutional networks (Long et al. 2015), on ONNX Runtime.
//!
//! ```
//! use fcn::{Frame, Mask, Options, PixelFormat, Segmenter};
//!
//! # fn main() -> fcn::Result<()> {
//! let options = Options::default().with_threads(2);
//! let segmenter = Segmenter::from_file("models/street.onnx", &options)?;
//! let mut mask = Mask::new();
//! let pixels = vec![0u8; 480 * 320 * 3];
//! let frame = Frame::packed(PixelFormat::Bgr8, &pixels, 480, 320, 0)?;
//! segmenter.segment(&frame, &mut mask)?; // once per frame, with the same mask
//! let labels = mask.labels(); // 320 x 480 class indices, row by row
//! # Ok(())
//! # }
//! ```
//!
//! The steps of [`Segmenter::segment`]: [`Frame`] (the caller's memory, borrowed) -> normalised
//! tensor -> ONNX Runtime -> scores -> upsampling and argmax -> [`Mask`]. `include/fcn.h` and
//! `include/fcn.hpp` offer the same to C and C++.

#![deny(missing_debug_implementations)]

#[cfg(not(target_os = "linux"))]
compile_error!("libfcn supports Linux only; docs/platforms.md lists what a port needs");

#[cfg(test)]
extern crate self as fcn;

#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "C programs see these types")]
pub mod ffi;
#[doc(hidden)]
pub mod file;
#[doc(hidden)]
pub mod onnx;
pub mod palette;

#[cfg(test)]
#[path = "../tests/common/arrays.rs"]
mod arrays;
mod cache;
mod canvas;
mod color;
mod error;
mod format;
mod format_names;
mod frame;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod head;
#[cfg(feature = "image")]
mod image_file;
mod legend;
mod mask;
mod memory;
mod model;
mod options;
mod overlay;
mod pixels;
mod pool;
mod preprocess;
mod process;
mod resample;
mod runtime;
mod scores;
mod segmenter;
mod signals;
mod simd;
mod size;
mod size_mode;
mod stream;
mod threads;
mod tiles;
mod working_size;

pub use color::{ColorMatrix, ColorRange};
pub use error::{Error, IoError, Result, plain};
pub use format::PixelFormat;
pub use frame::{Frame, MAX_SIDE, Rect, Rotation};
#[cfg(feature = "image")]
pub use image_file::{
    Image, ImageLayout, decode_image, encode_labels, image_layout, read_image, write_labels, write_png,
};
pub use mask::{Contour, LabelMap, Mask, Outputs, Region, Timings};
pub use onnx::TensorLayout;
pub use options::{ChannelOrder, LogCallback, LogLevel, Options, Precision, Provider};
pub use overlay::{OverlayStyle, overlay, overlay_styled};
pub use palette::UNKNOWN;
pub use segmenter::Segmenter;
#[doc(hidden)]
pub use simd::use_arrays;
pub use size::Size;
pub use size_mode::SizeMode;
pub use stream::{Polled, Stream, StreamCounters, StreamResult};
pub use working_size::native as native_size;
