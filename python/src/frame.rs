//! [`Frame`]: pixels in Python's memory. Unsafe code: the addresses of NumPy arrays.
//!
//! Frames are views of the caller's arrays. Rows may be apart, bottom-up or right to left, and
//! three channels may be reversed; other arrays are copied once.

use fcn::{ColorMatrix, ColorRange, PixelFormat, Rect, Rotation};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyAny, PyList, PyTuple},
};

use crate::{
    error::{invalid, raise},
    options::choose,
};

/// An image in the caller's memory. Nothing is copied, except as said below: the object keeps the
/// array, and segment() reads its pixels only during the call. No thread may write to them
/// meanwhile.
///
/// data:
///     - a NumPy array of uint8: height x width x 3 (RGB, or BGR with format="BGR"), height x width
///       x 4, or height x width (grey); of uint16: height x width (grey, of which only the high
///       byte is used: shift 10-bit and 12-bit samples up to 16 bits);
///     - a Pillow image, which Pillow converts and copies;
///     - an object with `__dlpack__` on the CPU, such as a tensor of PyTorch, or with the buffer
///       protocol, such as bytes or a memoryview; their shapes are as above;
///     - for "NV12", "I420" and the like: a list of planes, or one array of (height * 3 / 2) x
///       width as in OpenCV; for "YUYV" and "UYVY": height x width x 2;
///     - with `size`: any contiguous block of memory, whose planes follow each other without gaps.
///
///     Rows may be any number of bytes apart and go up or down, columns may go left or right, and
///     three channels may be reversed: crops, flips and `array[..., ::-1]` are not copied. Other
///     views, such as every second column, are copied once (see `copied`).
/// format:
///     The pixel format. Upper and lower case are the same. Names come from this library ("RGB8"),
///     ROS 2 ("bgr8"), OpenCV ("8UC3"), V4L2 ("YUYV"), GStreamer ("I420") and FFmpeg ("yuv420p").
///     None means RGB8, RGBA8, GRAY8 or GRAY16, by the array's shape and type.
/// size:
///     Width and height, if the array's shape does not tell them.
/// stride:
///     With `size`: bytes from row to row of the first plane; 0 means no padding.
/// crop:
///     The part of the image to segment, as (x, y, width, height).
/// rotation:
///     Clockwise rotation in degrees: 0, 90, 180 or 270.
/// mirror:
///     True flips left and right, after the rotation.
/// matrix:
///     Y'CbCr coefficients: "bt601" (JPEG, most webcams, standard definition) or "bt709" (high
///     definition).
/// range:
///     Range of Y'CbCr samples: "limited" (video) or "full" (JPEG, and webcams that decode it).
#[pyclass(frozen, module = "pyfcn")]
pub(crate) struct Frame {
    planes: Vec<Plane>,
    /// Whether the only plane holds the others, too.
    contiguous: bool,
    #[pyo3(get)]
    /// Whether the pixels had to be copied.
    copied: bool,
    /// Whether the last row is the first one in memory.
    upwards: bool,
    /// Whether the last column is the first one in memory.
    backwards: bool,
    format: PixelFormat,
    size: (u32, u32),
    view: View,
}

/// The part of an image to segment, and how.
struct View {
    crop: Option<Rect>,
    rotation: Rotation,
    mirror: bool,
    matrix: ColorMatrix,
    range: ColorRange,
}

/// Memory of an array.
struct Plane {
    /// The lowest address.
    start: *const u8,
    length: usize,
    stride: usize,
    owner: Py<PyAny>,
}

// SAFETY: a plane only holds an address, in memory that the owner keeps and threads may share.
unsafe impl Send for Plane {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Plane {}

#[pymethods]
impl Frame {
    #[new]
    #[pyo3(signature = (data, format=None, *, size=None, stride=0, crop=None, rotation=0, mirror=false, matrix="bt601", range="limited"))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        data: &Bound<'_, PyAny>,
        format: Option<&str>,
        size: Option<(u32, u32)>,
        stride: usize,
        crop: Option<(u32, u32, u32, u32)>,
        rotation: u32,
        mirror: bool,
        matrix: &str,
        range: &str,
    ) -> PyResult<Frame> {
        let rotation = match rotation {
            0 => Rotation::None,
            90 => Rotation::Clockwise90,
            180 => Rotation::Half,
            270 => Rotation::CounterClockwise90,
            other => return Err(invalid(format!("the rotation is {other} degrees; it must be 0, 90, 180 or 270"))),
        };
        let view = View {
            crop: crop.map(|(x, y, width, height)| Rect { x, y, width, height }),
            rotation,
            mirror,
            matrix: choose("matrix", matrix, &[("bt601", ColorMatrix::Bt601), ("bt709", ColorMatrix::Bt709)])?,
            range: choose("range", range, &[("limited", ColorRange::Limited), ("full", ColorRange::Full)])?,
        };
        Frame::build(data, format, size.map(|size| (size, stride)), view)
    }

    /// The pixel format, for example "NV12".
    #[getter]
    fn format(&self) -> &'static str {
        self.format.name()
    }

    /// Columns, after crop and rotation.
    #[getter]
    fn width(&self) -> PyResult<u32> {
        Ok(self.look().map_err(raise)?.width())
    }

    /// Rows, after crop and rotation.
    #[getter]
    fn height(&self) -> PyResult<u32> {
        Ok(self.look().map_err(raise)?.height())
    }

    fn __repr__(&self) -> String {
        let (width, height) = self.size;
        format!("<pyfcn.Frame of {width} x {height} pixels in {}>", self.format.name())
    }
}

/// A frame that was passed as such, or one made of what was passed.
pub(crate) enum Input<'py> {
    Shared(Bound<'py, Frame>),
    Own(Frame),
}

impl<'py> Input<'py> {
    pub(crate) fn new(data: &Bound<'py, PyAny>, format: Option<&str>) -> PyResult<Input<'py>> {
        if let Ok(frame) = data.cast::<Frame>() {
            if format.is_some() {
                return Err(invalid("the frame has a format already; give it to Frame only"));
            }
            return Ok(Input::Shared(frame.clone()));
        }
        Frame::plain(data, format).map(Input::Own)
    }

    pub(crate) fn get(&self) -> &Frame {
        match self {
            Input::Shared(frame) => frame.get(),
            Input::Own(frame) => frame,
        }
    }

    /// The frame as an object that can be kept.
    pub(crate) fn keep(self, py: Python<'py>) -> PyResult<Py<Frame>> {
        match self {
            Input::Shared(frame) => Ok(frame.unbind()),
            Input::Own(frame) => Py::new(py, frame),
        }
    }
}

/// What an array's memory shows.
struct Layout {
    planes: Vec<Plane>,
    contiguous: bool,
    copied: bool,
    upwards: bool,
    backwards: bool,
    format: PixelFormat,
    width: usize,
    height: usize,
}

impl Frame {
    /// The whole image, upright.
    pub(crate) fn plain(data: &Bound<'_, PyAny>, format: Option<&str>) -> PyResult<Frame> {
        let view = View {
            crop: None,
            rotation: Rotation::None,
            mirror: false,
            matrix: ColorMatrix::default(),
            range: ColorRange::default(),
        };
        Frame::build(data, format, None, view)
    }

    fn build(
        data: &Bound<'_, PyAny>,
        format: Option<&str>,
        block: Option<((u32, u32), usize)>,
        view: View,
    ) -> PyResult<Frame> {
        let format = format.map(|name| name.parse::<PixelFormat>().map_err(raise)).transpose()?;
        let layout = match (list_of_planes(data), block) {
            (Some(planes), None) => separate(&planes, format)?,
            (Some(_), Some(_)) => return Err(invalid("planes tell the size of the image; leave out size")),
            (None, Some((size, stride))) => memory_block(&array_of(data)?, format, size, stride)?,
            (None, None) => of_array(&array_of(data)?, format)?,
        };
        let side = |pixels: usize| u32::try_from(pixels).map_err(|_| invalid(format!("{pixels} pixels are too many")));
        let Layout { planes, contiguous, copied, upwards, backwards, format, width, height } = layout;
        let size = (side(width)?, side(height)?);
        let frame = Frame { planes, contiguous, copied, upwards, backwards, format, size, view };
        frame.look().map_err(raise)?;
        Ok(frame)
    }

    /// The library's view of the pixels.
    pub(crate) fn look(&self) -> fcn::Result<fcn::Frame<'_>> {
        let (width, height) = self.size;
        let planes: [(&[u8], usize); 3] = std::array::from_fn(|index| match self.planes.get(index) {
            // SAFETY: the owner is an array with this memory. The caller promises that no thread
            // writes to it during a call, as in C.
            Some(plane) => (unsafe { std::slice::from_raw_parts(plane.start, plane.length) }, plane.stride),
            None => (&[][..], 0),
        });
        let mut frame = if self.contiguous {
            fcn::Frame::contiguous(self.format, planes[0].0, width, height, planes[0].1)?
        } else {
            fcn::Frame::planar(self.format, &planes[..self.planes.len()], width, height)?
        };
        if self.upwards {
            frame = frame.bottom_up();
        }
        if self.backwards {
            frame = frame.mirror();
        }
        let View { crop, rotation, mirror, matrix, range } = self.view;
        if let Some(crop) = crop {
            frame = frame.crop(crop)?;
        }
        frame = frame.rotate(rotation).color(matrix, range);
        Ok(if mirror { frame.mirror() } else { frame })
    }

    /// The view for a thread that keeps the frame itself for as long as it reads.
    ///
    /// # Safety
    ///
    /// The frame must outlive the view.
    pub(crate) unsafe fn look_long(&self) -> fcn::Result<fcn::Frame<'static>> {
        let frame = self.look()?;
        // SAFETY: as the caller promises. Both types differ in the lifetime only.
        Ok(unsafe { std::mem::transmute::<fcn::Frame<'_>, fcn::Frame<'static>>(frame) })
    }

    /// The memory of an image that is drawn into, with its format, width, height and stride.
    ///
    /// # Safety
    ///
    /// No thread may use the image while the slice exists.
    #[expect(clippy::mut_from_ref, reason = "the memory is the array's, not the frame's")]
    pub(crate) unsafe fn canvas(&self, py: Python<'_>) -> PyResult<(&mut [u8], PixelFormat, usize)> {
        let [plane] = &self.planes[..] else {
            return Err(invalid(format!("colours cannot be blended into an image in {}", self.format.name())));
        };
        if self.copied || self.upwards || self.backwards {
            return Err(invalid(
                "the image's rows must be stored from top to bottom and from left to right without gaps between pixels, because \
                 it is drawn in place",
            ));
        }
        if !plane.owner.bind(py).getattr(intern!(py, "flags"))?.getattr(intern!(py, "writeable"))?.extract::<bool>()? {
            return Err(invalid("the image is read-only, so it cannot be drawn in place; overlay() draws into a copy"));
        }
        // SAFETY: the owner is a writable array with this memory, and the caller promises the rest.
        let pixels = unsafe { std::slice::from_raw_parts_mut(plane.start.cast_mut(), plane.length) };
        Ok((pixels, self.format, plane.stride))
    }
}

/// The elements of a list or tuple.
fn list_of_planes<'py>(data: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = data.cast::<PyList>() {
        return Some(list.iter().collect());
    }
    data.cast::<PyTuple>().ok().map(|tuple| tuple.iter().collect())
}

/// The array that an object is or shares its memory with. Images of Pillow are copied.
fn array_of<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = data.cast::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    let py = data.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let class = data.get_type();
    let name = class.fully_qualified_name()?.to_string();
    let array = if name.starts_with("PIL.") && data.hasattr("convert")? {
        let mode: String = data.getattr("mode")?.extract()?;
        let readable = ["L", "RGB", "RGBA", "I;16"].contains(&mode.as_str());
        let image = if readable { data.clone() } else { data.call_method1("convert", ("RGB",))? };
        numpy.call_method1("asarray", (image,))?
    } else if data.hasattr(intern!(py, "__dlpack__"))? {
        let (device, number): (i64, i64) = data.call_method0(intern!(py, "__dlpack_device__"))?.extract()?;
        // kDLCPU, and kDLCUDAHost: memory of the CPU that a GPU can read.
        if !matches!(device, 1 | 3) {
            return Err(invalid(format!(
                "the frame is on device ({device}, {number}) of DLPack; only the CPU's memory, (1, 0), can be read: copy it there"
            )));
        }
        numpy.call_method1("from_dlpack", (data,))?
    } else if let Ok(view) = py.import(intern!(py, "builtins"))?.call_method1(intern!(py, "memoryview"), (data,)) {
        numpy.call_method1("asarray", (view,))?
    } else {
        return Err(PyTypeError::new_err(format!(
            "a frame is a NumPy array, a Pillow image, a list of planes, or an object with the buffer protocol or __dlpack__, \
             not {name}"
        )));
    };
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// The type of samples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sample {
    U8,
    U16,
}

/// The type of the array's samples, and the array in little-endian order with whether it was
/// copied.
fn samples<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<(Sample, Bound<'py, PyUntypedArray>, bool)> {
    let kind = array.dtype();
    match (kind.kind(), kind.itemsize(), kind.byteorder()) {
        (b'u', 1, _) => Ok((Sample::U8, array.clone(), false)),
        (b'u', 2, b'>') => {
            let swapped = array.call_method1("astype", ("<u2",))?;
            Ok((Sample::U16, swapped.cast_into::<PyUntypedArray>()?, true))
        }
        (b'u', 2, _) => Ok((Sample::U16, array.clone(), false)),
        _ => Err(PyTypeError::new_err(format!("a frame's samples are uint8, or uint16 for grey, not {kind}"))),
    }
}

/// "(480, 640, 3)".
fn shape_of(array: &Bound<'_, PyUntypedArray>) -> String {
    let sides: Vec<_> = array.shape().iter().map(ToString::to_string).collect();
    format!("({})", sides.join(", "))
}

fn contiguous_copy<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let numpy = array.py().import("numpy")?;
    Ok(numpy.call_method1("ascontiguousarray", (array,))?.cast_into::<PyUntypedArray>()?)
}

/// The address of the array's first element.
fn address(array: &Bound<'_, PyUntypedArray>) -> *const u8 {
    // SAFETY: the object is an array and lives.
    unsafe { (*array.as_array_ptr()).fields.data.cast_const().cast() }
}

/// An array of one plane, or of planes on top of each other.
fn of_array(array: &Bound<'_, PyUntypedArray>, format: Option<PixelFormat>) -> PyResult<Layout> {
    let (sample, array, swapped) = samples(array)?;
    let array = &array;
    let unclear = || {
        invalid(format!(
            "an array of shape {} is not a frame in RGB (height, width, 3), RGBA (height, width, 4) or grey (height, width); for \
             another format, give its name",
            shape_of(array)
        ))
    };
    let guessed = match (array.shape(), sample) {
        ([_, _] | [_, _, 1], Sample::U8) => Some(PixelFormat::Gray8),
        ([_, _] | [_, _, 1], Sample::U16) => Some(PixelFormat::Gray16),
        ([_, _, 3], Sample::U8) => Some(PixelFormat::Rgb8),
        ([_, _, 4], Sample::U8) => Some(PixelFormat::Rgba8),
        _ => None,
    };
    let format = format.or(guessed).ok_or_else(unclear)?;
    let expected = if format == PixelFormat::Gray16 { Sample::U16 } else { Sample::U8 };
    if sample != expected {
        let name = if expected == Sample::U16 { "uint16" } else { "uint8" };
        return Err(PyTypeError::new_err(format!("the samples of a frame in {} are {name}", format.name())));
    }
    let mut layout = if format.planes() == 1 { one_plane(array, format)? } else { stacked(array, format)? };
    layout.copied |= swapped;
    Ok(layout)
}

/// Bytes from one sample to the next.
#[derive(Clone, Copy)]
struct Steps {
    row: isize,
    column: isize,
    channel: isize,
}

fn one_plane(array: &Bound<'_, PyUntypedArray>, asked: PixelFormat) -> PyResult<Layout> {
    let pixel = asked.bytes();
    let item = array.dtype().itemsize();
    let channels = pixel / item;
    let wrong = || {
        let last = if channels == 1 { String::new() } else { format!(", {channels}") };
        invalid(format!("a frame in {} has the shape (height, width{last}), not {}", asked.name(), shape_of(array)))
    };
    let signed = item.cast_signed();
    let (height, width, mut steps) = match (array.shape(), array.strides()) {
        (&[height, width], &[row, column]) if channels == 1 => (height, width, Steps { row, column, channel: signed }),
        // YUYV: two bytes per column.
        (&[height, bytes], &[row, byte]) if channels == 2 && bytes % 2 == 0 => {
            (height, bytes / 2, Steps { row, column: 2 * byte, channel: byte })
        }
        (&[height, width, count], &[row, column, channel]) if count == channels => {
            (height, width, Steps { row, column, channel: if count == 1 { signed } else { channel } })
        }
        _ => return Err(wrong()),
    };
    if width == 0 || height == 0 {
        return Err(invalid(format!("an array of shape {} has no pixels", shape_of(array))));
    }
    // NumPy does not define strides along sides of 1.
    if width == 1 {
        steps.column = if steps.channel < 0 { -pixel.cast_signed() } else { pixel.cast_signed() };
    }
    if height == 1 {
        steps.row = (width * pixel).cast_signed();
    }
    let mut start = address(array);
    let mut format = asked;
    let packed = pixel.cast_signed();
    // Three channels in reverse are the other format.
    let turned = match asked {
        PixelFormat::Rgb8 => Some(PixelFormat::Bgr8),
        PixelFormat::Bgr8 => Some(PixelFormat::Rgb8),
        _ => None,
    };
    if let Some(other) = turned.filter(|_| steps.channel == -1 && steps.column.unsigned_abs() == pixel) {
        start = start.wrapping_sub(2);
        steps.channel = 1;
        format = other;
    }
    // Two pixels of YUYV share samples, so they cannot change places.
    let yuv = channels == 2;
    let in_rows = steps.channel == signed && (steps.column == packed || (steps.column == -packed && !yuv));
    if !in_rows || steps.row.unsigned_abs() < width * pixel {
        let copy = contiguous_copy(array)?;
        return Ok(Layout { copied: true, ..one_plane(&copy, asked)? });
    }
    let (upwards, backwards) = (steps.row < 0, steps.column < 0);
    if upwards {
        start = start.wrapping_offset((height.cast_signed() - 1) * steps.row);
    }
    if backwards {
        start = start.wrapping_offset((width.cast_signed() - 1) * steps.column);
    }
    let stride = steps.row.unsigned_abs();
    let plane = Plane {
        start,
        length: (height - 1) * stride + width * pixel,
        stride,
        owner: array.clone().into_any().unbind(),
    };
    Ok(Layout { planes: vec![plane], contiguous: false, copied: false, upwards, backwards, format, width, height })
}

/// Planes on top of each other in one array, as OpenCV has them.
fn stacked(array: &Bound<'_, PyUntypedArray>, format: PixelFormat) -> PyResult<Layout> {
    let (columns, rows) = format.chroma_block();
    let wrong = |expected: &str| {
        invalid(format!(
            "planes of a frame in {} on top of each other have the shape ({expected}, width){}, not {}; for others, give a list of \
             planes, or size",
            format.name(),
            if columns == 2 { " of even width" } else { "" },
            shape_of(array)
        ))
    };
    // Rows of all planes in units of the array's width, for each row of the image.
    let (expected, numerator, denominator) = match (columns, rows) {
        (2, 2) => ("height * 3 / 2", 2, 3),
        (1, 1) => ("height * 3", 1, 3),
        _ => ("height * 2", 1, 2),
    };
    let (&[lines, width], &[row, column]) = (array.shape(), array.strides()) else { return Err(wrong(expected)) };
    let height = lines * numerator / denominator;
    if lines == 0 || lines * numerator % denominator != 0 || height % rows != 0 || width == 0 || width % columns != 0 {
        return Err(wrong(expected));
    }
    // The chroma rows of these formats are half as wide as the array's, two in each.
    let halves = columns == 2 && format.planes() == 3;
    let row = if lines == 1 { width.cast_signed() } else { row };
    let close = if halves { row == width.cast_signed() } else { row >= width.cast_signed() };
    if (column != 1 && width > 1) || !close {
        return Ok(Layout { copied: true, ..stacked(&contiguous_copy(array)?, format)? });
    }
    let stride = row.unsigned_abs();
    let plane = Plane {
        start: address(array),
        length: (lines - 1) * stride + width,
        stride,
        owner: array.clone().into_any().unbind(),
    };
    Ok(Layout {
        planes: vec![plane],
        contiguous: true,
        copied: false,
        upwards: false,
        backwards: false,
        format,
        width,
        height,
    })
}

/// Any block of memory with the planes one after the other.
fn memory_block(
    array: &Bound<'_, PyUntypedArray>,
    format: Option<PixelFormat>,
    (width, height): (u32, u32),
    stride: usize,
) -> PyResult<Layout> {
    let Some(format) = format else { return Err(invalid("a frame with a size needs a format")) };
    let (_, array, swapped) = samples(array)?;
    let contiguous = array.is_c_contiguous();
    let array = if contiguous { array } else { contiguous_copy(&array)? };
    let length = array.len() * array.dtype().itemsize();
    let plane = Plane { start: address(&array), length, stride, owner: array.into_any().unbind() };
    Ok(Layout {
        planes: vec![plane],
        contiguous: true,
        copied: swapped || !contiguous,
        upwards: false,
        backwards: false,
        format,
        width: width as usize,
        height: height as usize,
    })
}

/// Planes in arrays of their own.
fn separate(planes: &[Bound<'_, PyAny>], format: Option<PixelFormat>) -> PyResult<Layout> {
    let Some(format) = format.filter(|format| format.planes() > 1) else {
        return Err(invalid("a list of planes needs a format with several planes, such as NV12 or I420"));
    };
    if planes.len() != format.planes() {
        return Err(invalid(format!(
            "{} planes were given; a frame in {} has {}",
            planes.len(),
            format.name(),
            format.planes()
        )));
    }
    let mut copied = false;
    let mut found = Vec::new();
    let mut size = (0, 0);
    for (index, plane) in planes.iter().enumerate() {
        let mut array = array_of(plane)?;
        if samples(&array)?.0 != Sample::U8 {
            return Err(PyTypeError::new_err("the samples of planes are uint8"));
        }
        let (columns, rows) = format.chroma_block();
        // The two samples of NV12 may be a dimension of their own.
        let pair = if format.planes() == 2 { 2 } else { 1 };
        let (lines, bytes) = match *array.shape() {
            [lines, bytes] => (lines, bytes),
            [lines, count, samples] if index > 0 && samples == pair => (lines, count * samples),
            _ => (0, 0),
        };
        if index == 0 {
            size = (bytes, lines);
        }
        let expected = match index {
            0 => size,
            _ => (size.0.div_ceil(columns) * pair, size.1.div_ceil(rows)),
        };
        if (bytes, lines) != expected || bytes == 0 || lines == 0 {
            return Err(invalid(format!(
                "plane {index} of a frame in {} has the shape {}; {} rows of {} bytes are expected",
                format.name(),
                shape_of(&array),
                expected.1,
                expected.0
            )));
        }
        if !has_rows(&array, bytes) {
            array = contiguous_copy(&array)?;
            copied = true;
        }
        let stride = if lines == 1 { bytes } else { array.strides()[0].unsigned_abs() };
        let length = (lines - 1) * stride + bytes;
        found.push(Plane { start: address(&array), length, stride, owner: array.into_any().unbind() });
    }
    let (width, height) = size;
    Ok(Layout { planes: found, contiguous: false, copied, upwards: false, backwards: false, format, width, height })
}

/// Whether the bytes of each row follow each other, and rows go down.
fn has_rows(array: &Bound<'_, PyUntypedArray>, bytes: usize) -> bool {
    let (shape, strides) = (array.shape(), array.strides());
    let mut next = 1;
    for axis in (1..shape.len()).rev() {
        if shape[axis] > 1 && strides[axis] != next {
            return false;
        }
        next *= shape[axis].cast_signed();
    }
    shape[0] == 1 || strides[0] >= bytes.cast_signed()
}
