//! [`Mask`]: the result of a frame. Unsafe code: arrays that share the mask's memory.

use std::{path::PathBuf, sync::Arc};

use fcn::{LabelMap, OverlayStyle, PixelFormat, palette::Class};
use ndarray::{ArrayView, Dimension, StrideShape};
use numpy::{
    Element, PyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyAny, PyBytes, PyDict, PyList, PyModule},
};

use crate::{
    error::{invalid, raise},
    frame::Frame,
};

/// The classes of the model that filled a mask.
pub(crate) struct Classes {
    pub(crate) list: Vec<Class>,
    pub(crate) background: Option<u8>,
}

/// The result of segment(): one label per pixel, and optional outputs. It never changes: the next
/// frame gets a mask of its own. The arrays share the mask's memory, keep it, and are read-only;
/// copy one to change it.
///
/// Label 255 means unknown: the pixel's confidence is below the threshold, or one of its scores is
/// not finite.
#[pyclass(frozen, module = "pyfcn")]
pub(crate) struct Mask {
    mask: fcn::Mask,
    classes: Arc<Classes>,
}

/// A class in pyfcn/_types.py.
pub(crate) fn type_of<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    PyModule::import(py, intern!(py, "pyfcn._types"))?.getattr(name)
}

impl Mask {
    pub(crate) fn new(mask: fcn::Mask, classes: Arc<Classes>) -> Mask {
        Mask { mask, classes }
    }

    fn map(&self) -> PyResult<LabelMap<'_>> {
        self.mask.label_map().ok_or_else(|| invalid("the mask has no labels"))
    }
}

/// An array of values in the mask's memory.
fn share<'py, T: Element, D: Dimension>(
    mask: &Bound<'py, Mask>,
    values: &[T],
    shape: impl Into<StrideShape<D>>,
) -> Bound<'py, PyArray<T, D>> {
    let values = ArrayView::from_shape(shape, values).expect("a mask has a value for each pixel");
    // SAFETY: the array keeps the mask, which never changes.
    let array = unsafe { PyArray::borrow_from_array(&values, mask.clone().into_any()) };
    let array: PyReadonlyArray<'py, T, D> = array.readwrite().make_nonwriteable();
    (*array).clone()
}

#[pymethods]
impl Mask {
    /// Columns: those of the frame after crop and rotation, or of the argument `size`.
    #[getter]
    fn width(&self) -> u32 {
        self.mask.width()
    }

    /// Rows: those of the frame after crop and rotation, or of the argument `size`.
    #[getter]
    fn height(&self) -> u32 {
        self.mask.height()
    }

    /// The labels, height x width of uint8: class indices, unless `remap` changed them; 255 is
    /// unknown.
    #[getter]
    fn labels<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyArray2<u8>> {
        let mask = &slf.get().mask;
        share(slf, mask.labels(), slf.get().shape())
    }

    /// The highest softmax probability of each pixel, height x width of float32, greater than 0 and
    /// at most 1. Scores are divided by the temperature of the model card, if it has one, before
    /// the softmax. None if the frame was segmented without `confidence`.
    #[getter]
    fn confidence<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyArray2<f32>>> {
        Some(share(slf, slf.get().mask.confidence()?, slf.get().shape()))
    }

    /// The same in uint8: 255 times the probability, rounded. None if the frame was segmented
    /// without `confidence_u8`.
    #[getter]
    fn confidence_u8<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyArray2<u8>>> {
        Some(share(slf, slf.get().mask.confidence_u8()?, slf.get().shape()))
    }

    /// The difference of the two highest softmax probabilities of each pixel, height x width of
    /// float32, 0 to 1 (1 if only one class competes). None if the frame was segmented without
    /// `margin`.
    #[getter]
    fn margin<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyArray2<f32>>> {
        Some(share(slf, slf.get().mask.margin()?, slf.get().shape()))
    }

    /// The scores before the softmax, classes x height x width of float32. None if the frame was
    /// segmented without `scores`.
    #[getter]
    fn scores<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyArray3<f32>>> {
        let scores = slf.get().mask.scores()?;
        Some(share(slf, scores.to_slice()?, scores.dim()))
    }

    /// The number of pixels with each label from 0 to the number of classes less 1, of uint64.
    /// Pixels with other labels (unknown, or remapped) are not included: regions() counts any
    /// label.
    #[getter]
    fn pixels<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyArray1<u64>> {
        let pixels = slf.get().mask.pixels();
        share(slf, pixels, pixels.len())
    }

    /// The number of pixels with an infinite or NaN score; their label is 255, their confidence and
    /// margin are 0. More than 0 means that the model or its input is wrong. Always 0 for models
    /// that output class indices.
    #[getter]
    fn not_finite(&self) -> u64 {
        self.mask.not_finite()
    }

    /// The size of the network's input, width and height, including padding; with tiles, the size
    /// of a tile.
    #[getter]
    fn working_size(&self) -> (u32, u32) {
        self.mask.working_size()
    }

    /// The durations of the steps of the frame, in seconds: see Timings.
    #[getter]
    fn timings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let timings = self.mask.timings();
        let steps = [timings.preprocess, timings.inference, timings.head, timings.total].map(|time| time.as_secs_f64());
        type_of(py, "Timings")?.call1((steps[0], steps[1], steps[2], steps[3]))
    }

    /// Measures the pixels of each label that occurs, as stored in the mask: a dict of label and
    /// Region.
    ///
    /// min_area:
    ///     Counts only pixels in 8-connected groups of at least this many pixels of one label, as
    ///     contours do. 0 and 1 omit nothing.
    #[pyo3(signature = (min_area=0))]
    fn regions<'py>(&self, py: Python<'py>, min_area: u32) -> PyResult<Bound<'py, PyDict>> {
        let map = self.map()?;
        let regions = py
            .detach(|| if min_area > 1 { map.regions_filtered(min_area) } else { Ok(map.regions()) })
            .map_err(raise)?;
        let (region_type, rect_type) = (type_of(py, "Region")?, type_of(py, "Rect")?);
        let found = PyDict::new(py);
        for (label, region) in regions.iter().enumerate().filter(|(_, region)| region.pixels > 0) {
            let fcn::Rect { x, y, width, height } = region.bounds;
            let bounds = rect_type.call1((x, y, width, height))?;
            found.set_item(label, region_type.call1((region.pixels, region.centroid, bounds))?)?;
        }
        Ok(found)
    }

    /// Finds the borders of the pixels with `label` (0 to 255, as stored in the mask): a list of
    /// Contour.
    ///
    /// Regions are 8-connected: pixels that touch at a corner belong together. Vertices are centres
    /// of pixels that have the label and have a 4-neighbour without it; edges are horizontal,
    /// vertical or diagonal, and the last vertex connects to the first. Outer borders run
    /// counter-clockwise as seen on the screen, borders of holes clockwise. Contours are sorted by
    /// the row, then the column where they start.
    ///
    /// min_area:
    ///     Omits regions of fewer pixels with the holes in them, and holes of fewer pixels with
    ///     everything in them. 0 and 1 omit nothing.
    #[pyo3(signature = (label, min_area=0))]
    fn contours<'py>(&self, py: Python<'py>, label: u8, min_area: u32) -> PyResult<Bound<'py, PyList>> {
        let map = self.map()?;
        let contours = py
            .detach(|| if min_area > 1 { map.contours_filtered(label, min_area) } else { map.contours(label) })
            .map_err(raise)?;
        let contour_type = type_of(py, "Contour")?;
        let list = PyList::empty(py);
        for contour in contours {
            // Coordinates are less than 32768.
            let points: Vec<i32> = contour.points.iter().flatten().map(|&value| value.cast_signed()).collect();
            let points = PyArray1::from_vec(py, points).reshape([contour.points.len(), 2])?;
            list.append(contour_type.call1((points, contour.hole, contour.parent))?)?;
        }
        Ok(list)
    }

    /// Returns a copy of an image of the mask's size with class colours blended into it: an array
    /// of the image's type and shape. Arguments as for draw().
    #[pyo3(signature = (image, format=None, *, alpha=0.5, outline=0, legend=false))]
    fn overlay<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        format: Option<&str>,
        alpha: f32,
        outline: u32,
        legend: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = image.py();
        let numpy = py.import(intern!(py, "numpy"))?;
        let keywords = PyDict::new(py);
        keywords.set_item("order", "C")?;
        let copy = numpy.call_method("array", (image,), Some(&keywords))?;
        self.draw(&copy, format, alpha, outline, legend)?;
        Ok(copy)
    }

    /// Blends class colours into an image of the mask's size, in place. The colours are the
    /// `display_color` of the classes. Pixels of the background class and with label 255 do not
    /// change.
    ///
    /// image:
    ///     A writable array of uint8, height x width x 3 or 4.
    /// format:
    ///     RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8. The fourth byte does not change. None means
    ///     RGB8 or RGBA8.
    /// alpha:
    ///     Opacity of the class colours, 0 (invisible) to 1 (opaque).
    /// outline:
    ///     Width of outlines in pixels, 0 (none) to 64: pixels with another label within this many
    ///     columns or rows get the opaque colour of their class.
    /// legend:
    ///     True draws a box at the upper left with the colours and names of the classes in the
    ///     mask. Text is 8 pixels high per 240 pixels of the shorter side. Entries that do not fit
    ///     are omitted.
    #[pyo3(signature = (image, format=None, *, alpha=0.5, outline=0, legend=false))]
    fn draw(
        &self,
        image: &Bound<'_, PyAny>,
        format: Option<&str>,
        alpha: f32,
        outline: u32,
        legend: bool,
    ) -> PyResult<()> {
        let py = image.py();
        let array = image.cast::<PyUntypedArray>()?;
        let canvas = Frame::plain(array, format)?;
        if array.shape().get(..2) != Some(&self.shape()[..]) {
            return Err(invalid(format!(
                "the image has the shape {:?}, but the mask has {} rows and {} columns",
                array.shape(),
                self.height(),
                self.width()
            )));
        }
        // SAFETY: the caller promises that no thread uses the image during the call, as in C.
        let (pixels, format, stride): (&mut [u8], PixelFormat, usize) = unsafe { canvas.canvas(py)? };
        let style = OverlayStyle { alpha, outline, legend };
        let (map, classes) = (self.map()?, &*self.classes);
        py.detach(|| fcn::overlay_styled(pixels, format, stride, map, &classes.list, classes.background, style))
            .map_err(raise)
    }

    /// Writes the mask to a PNG file with a palette: pixel values are the labels, shown in the
    /// colours of the classes. An existing file is replaced only when the new one is complete.
    fn write_png(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let (mask, classes) = (&self.mask, &self.classes.list);
        py.detach(|| fcn::write_labels(path, mask.labels(), mask.width(), mask.height(), classes)).map_err(raise)
    }

    /// Encodes the mask as the content of the file that write_png() writes.
    fn encode_png<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (mask, classes) = (&self.mask, &self.classes.list);
        let file = py.detach(|| fcn::encode_labels(mask.labels(), mask.width(), mask.height(), classes));
        Ok(PyBytes::new(py, &file.map_err(raise)?))
    }

    fn __repr__(&self) -> String {
        format!("<pyfcn.Mask of {} x {} pixels>", self.width(), self.height())
    }
}

impl Mask {
    /// Rows and columns.
    fn shape(&self) -> [usize; 2] {
        [self.mask.height() as usize, self.mask.width() as usize]
    }
}
