//! Image files as arrays.

use std::path::PathBuf;

use fcn::Image;
use numpy::{PyArray1, PyArray3, PyArrayMethods};
use pyo3::{prelude::*, pybacked::PyBackedBytes};

use crate::error::raise;

/// Reads a JPEG or PNG file: an array, height x width x 3 of uint8 in RGB. Transparency is dropped;
/// EXIF orientation is applied. Sides may have 32767 pixels, and the decoded image 1 GiB. The
/// command `fcn run` reads photos in the same way; other decoders differ in the last bits of JPEG
/// files.
///
/// Raises UnsupportedFormatError if it is another kind of file, FileError if it cannot be read, is
/// truncated or otherwise damaged, InvalidArgumentError or OutOfMemoryError if it is too large.
#[pyfunction]
pub(crate) fn read_image(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyArray3<u8>>> {
    to_array(py, py.detach(|| fcn::read_image(path)).map_err(raise)?)
}

/// Decodes the content of a JPEG or PNG file, as read_image() does.
///
/// file:
///     bytes or bytearray.
#[pyfunction]
pub(crate) fn decode_image(py: Python<'_>, file: PyBackedBytes) -> PyResult<Bound<'_, PyArray3<u8>>> {
    to_array(py, py.detach(|| fcn::decode_image(&file)).map_err(raise)?)
}

/// The pixels as an array, without a copy.
fn to_array(py: Python<'_>, image: Image) -> PyResult<Bound<'_, PyArray3<u8>>> {
    PyArray1::from_vec(py, image.pixels).reshape([image.height as usize, image.width as usize, 3])
}
