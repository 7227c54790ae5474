//! Label every pixel of a camera frame with a fully convolutional network (Long et al. 2015).
//!
//! ```no_run
//! use fcn::{Frame, Mask, Options, PixelFormat, Segmenter};
//!
//! # fn main() -> fcn::Result<()> {
//! let segmenter = Segmenter::from_file("street.onnx", &Options::default())?;
//! let mut mask = Mask::new();
//! let pixels = vec![0u8; 480 * 320 * 3];
//! let frame = Frame::packed(PixelFormat::Bgr8, &pixels, 480, 320, 0)?;
//! segmenter.segment(&frame, &mut mask)?; // as often as frames come
//! let labels = mask.labels(); // 320 x 480 class indices
//! # Ok(())
//! # }
//! ```
//!
//! The way of a frame: [`Frame`] (the caller's memory, borrowed) -> normalised tensor -> ONNX Runtime -> scores ->
//! upsampling and argmax -> [`Mask`]. [`Segmenter::segment`] reads as that list. C and C++ programs use the same
//! through `include/fcn.h` and `include/fcn.hpp`.

#[cfg(test)]
extern crate self as fcn;

pub mod ffi;
pub mod file;
pub mod onnx;
pub mod palette;

#[cfg(test)]
#[path = "../tests/common/arrays.rs"]
mod arrays;
mod cache;
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
mod segmenter;
mod signals;
mod stream;
mod threads;
mod tiles;
mod working_size;

pub use color::{ColorMatrix, ColorRange};
pub use error::{Error, Result, plain};
pub use format::PixelFormat;
pub use frame::{Frame, MAX_SIDE, Rect, Rotation};
#[doc(hidden)]
pub use head::kernel::use_arrays;
#[cfg(feature = "image")]
pub use image_file::{Image, ImageLayout, image_layout, read_image, write_labels, write_png};
pub use mask::{Contour, LabelMap, Mask, Outputs, Region, Timings, UNKNOWN};
pub use onnx::TensorLayout;
pub use options::{ChannelOrder, LogCallback, LogLevel, Options, Provider, SizeMode};
pub use overlay::{OverlayStyle, overlay, overlay_styled};
pub use segmenter::Segmenter;
pub use stream::{Polled, Stream, StreamCounters, StreamResult};
pub use working_size::native as native_size;
