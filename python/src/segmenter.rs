//! [`Segmenter`] and [`Smoothing`].

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fcn::Outputs;
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyAny, PyBytes, PyDict, PyList, PyString, PyTuple},
};

use crate::{
    error::{invalid, raise},
    frame::Input,
    log,
    mask::{Classes, Mask, type_of},
    options,
};

/// Whether a segmenter was created: ONNX Runtime is loaded, and cannot be replaced.
static LOADED: AtomicBool = AtomicBool::new(false);

/// Averages scores over consecutive frames, which reduces flicker: the argument `smoothing` of
/// segment(). Use one object per camera.
///
/// The average is that of the network's low-resolution scores, so it costs little. It restarts if
/// the size, crop, rotation, mirror or segmenter changes, and after reset().
///
/// share:
///     The weight of the newest frame, greater than 0 and at most 1; each earlier frame weighs
///     (1 - share) times its successor.
#[pyclass(frozen, module = "pyfcn")]
pub(crate) struct Smoothing {
    #[pyo3(get)]
    /// The weight of the newest frame.
    share: f32,
    /// A mask whose content is taken after each frame, so that only the average stays.
    average: Mutex<fcn::Mask>,
}

#[pymethods]
impl Smoothing {
    #[new]
    fn new(share: f32) -> PyResult<Smoothing> {
        let mut average = fcn::Mask::new();
        average.set_smoothing(share).map_err(raise)?;
        Ok(Smoothing { share, average: Mutex::new(average) })
    }

    /// Restarts smoothing: the next frame is not averaged with earlier ones.
    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.average.lock().unwrap_or_else(PoisonError::into_inner).reset());
    }

    fn __repr__(&self) -> String {
        format!("pyfcn.Smoothing({})", self.share)
    }
}

/// The arguments of segment() and Stream that the result depends on.
pub(crate) struct Settings {
    pub(crate) outputs: Outputs,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) threshold: f32,
    pub(crate) classes: Vec<u8>,
    pub(crate) remap: Option<Vec<u8>>,
    pub(crate) min_region: u32,
}

impl Settings {
    pub(crate) fn apply(&self, mask: &mut fcn::Mask) -> fcn::Result<()> {
        mask.set_outputs(self.outputs);
        let (width, height) = self.size.unwrap_or_default();
        mask.set_size(width, height)?;
        mask.set_threshold(self.threshold)?;
        mask.set_classes(&self.classes);
        mask.set_remap(self.remap.as_deref())?;
        mask.set_min_region(self.min_region);
        Ok(())
    }
}

/// A loaded model. Any number of threads may use it at once: segment() calls share its sessions,
/// and release the interpreter's lock while they run. A process pool may receive one: it is pickled
/// as the model and the options. After os.fork(), a child cannot use its parent's segmenters, and
/// creates new ones.
///
/// Model files are untrusted input: loading one ends and stays within the limits in fcn.h.
/// Messages of this library and of ONNX Runtime go to the logger "pyfcn" of the module logging.
///
/// model:
///     The path of an ONNX file, or its content as bytes. Tensors may be in other files in the
///     model's folder (external data), if it is a path.
/// provider:
///     Where the network runs: "auto", "cpu", "cuda", "tensorrt" or "openvino". A provider
///     requested by name is never silently replaced. "auto" is CUDA if available, else the CPU,
///     and never OpenVINO.
/// device:
///     The GPU of "cuda" and "tensorrt", 0 to 1023. Ignored by other providers.
/// openvino_device:
///     The device of "openvino": "CPU" (also for None), "GPU" or "NPU", or one of several, for
///     example "GPU.1". Ignored by other providers.
/// precision:
///     How precisely the network's layers are computed. "exact": as the file says. "fast": float32
///     layers in a shorter format, where the provider has one that is faster: bfloat16, TF32 or
///     float16. Labels differ slightly. The property of this name says which format is used.
/// threads:
///     The number of threads per frame: 1 to 256, or 0 for one per CPU available to the process.
/// sessions:
///     How many frames can be segmented at once: 1 to 64, or 0 for 1. Each session has its own
///     memory, threads and copy of the weights.
/// timeout:
///     Limits the time of segment(), including the wait for a free session, in seconds. A layer in
///     progress is not interrupted. The same time, but at least 10 s, limits creation.
/// gpu_memory_limit:
///     Limits the GPU memory of each session, in bytes; 0 means no limit.
/// runtime_library:
///     The path of ONNX Runtime's library. None searches, in this order: the environment variable
///     ORT_DYLIB_PATH, the package onnxruntime, the folder of pyfcn, the system's library path. A
///     process can load only one.
/// cache_dir:
///     An existing folder for networks as optimized by ONNX Runtime, so that creating the same
///     segmenter again is faster.
/// size_mode:
///     The size at which the network sees a frame. "auto" (default): pads frames whose size is
///     close to the one that the model was trained on, and resamples others to that size, keeping
///     their aspect ratio. "pad": pads frames on the right and at the bottom to the next multiple
///     of the model's stride. ("resize", width, height): resamples frames. ("short_side", pixels):
///     resamples frames so that their shorter side has about this many pixels. ("tile", width,
///     height, overlap): splits frames into overlapping tiles and averages the scores where tiles
///     overlap.
/// native_side:
///     The model's native size for "auto": the square root of width times height of its training
///     images, in pixels, 16 to 32767. Overrides the model card.
/// mean, std:
///     The normalisation of the model's input, (value * scale - mean) / std: 3 floats each, for
///     red, green and blue. Override the model card.
/// class_names:
///     The names of the classes in index order: 2 to 255 strings. Overrides the model card.
/// palette:
///     The colours of the classes: "voc" or "cityscapes". Overrides the model card.
/// scale:
///     The factor for values (0 to 255) before mean and std; None means 1 / 255.
/// channel_order:
///     The order of the model's channels: "rgb" or "bgr". Overrides the model card.
/// input_layout, output_layout:
///     The layout of the model's input or output, if its shape is ambiguous: "nchw" or "nhwc".
/// output:
///     The name of the output tensor. None selects the first usable one.
/// output_values:
///     What the model's scores are: "logits" or "probabilities". None means probabilities after a
///     softmax or sigmoid, else logits.
/// multilabel:
///     The minimum probability of a class, for models whose classes do not exclude each other
///     (multilabel: a sigmoid per class), and for those with one score per pixel.
#[pyclass(frozen, module = "pyfcn")]
pub(crate) struct Segmenter {
    /// None only while it is dropped.
    inner: Option<Arc<fcn::Segmenter>>,
    classes: Arc<Classes>,
    /// What pickling hands over.
    model: Py<PyAny>,
    options: Py<PyDict>,
}

impl Segmenter {
    pub(crate) fn inner(&self) -> &Arc<fcn::Segmenter> {
        self.inner.as_ref().expect("only drop takes it")
    }

    pub(crate) fn classes(&self) -> &Arc<Classes> {
        &self.classes
    }

    /// The settings that the keyword arguments of segment() and Stream are.
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    pub(crate) fn settings(
        &self,
        confidence: bool,
        confidence_u8: bool,
        margin: bool,
        scores: bool,
        size: Option<(u32, u32)>,
        threshold: f32,
        classes: Option<&Bound<'_, PyAny>>,
        remap: Option<Vec<u8>>,
        min_region: u32,
    ) -> PyResult<Settings> {
        let mut chosen = Vec::new();
        if let Some(classes) = classes {
            for class in classes.try_iter()? {
                chosen.push(self.class(&class?)?);
            }
            if chosen.is_empty() {
                return Err(invalid("no classes are chosen; None means all classes"));
            }
        }
        let outputs = Outputs { confidence, confidence_u8, margin, scores };
        Ok(Settings { outputs, size, threshold, classes: chosen, remap, min_region })
    }

    /// The index of a class, which may be given by its name.
    fn class(&self, class: &Bound<'_, PyAny>) -> PyResult<u8> {
        let Ok(name) = class.cast::<PyString>() else { return class.extract() };
        let name = name.to_cow()?;
        let found = self.classes.list.iter().position(|class| class.name == name);
        found.and_then(|index| u8::try_from(index).ok()).ok_or_else(|| {
            let known: Vec<_> = self.classes.list.iter().map(|class| fcn::plain(&class.name)).collect();
            invalid(format!("the model has no class '{}'; it has {}", fcn::plain(&name), known.join(", ")))
        })
    }
}

/// The path of a model, or its content.
enum Source<'py> {
    File(PathBuf),
    Content(Bound<'py, PyBytes>),
}

impl<'py> Source<'py> {
    fn new(model: &Bound<'py, PyAny>) -> PyResult<Source<'py>> {
        let py = model.py();
        if let Ok(bytes) = model.cast::<PyBytes>() {
            return Ok(Source::Content(bytes.clone()));
        }
        if model.is_instance_of::<PyString>() || model.hasattr(intern!(py, "__fspath__"))? {
            return Ok(Source::File(model.extract()?));
        }
        let view = py
            .import(intern!(py, "builtins"))?
            .call_method1(intern!(py, "memoryview"), (model,))
            .map_err(|_| PyTypeError::new_err(format!("a model is a path or bytes, not {}", model.get_type())))?;
        Ok(Source::Content(view.call_method0("tobytes")?.cast_into::<PyBytes>()?))
    }
}

#[pymethods]
impl Segmenter {
    #[new]
    #[pyo3(signature = (model, **options), text_signature = "(model, *, provider='auto', device=0, openvino_device=None, precision='exact', threads=0, sessions=0, timeout=None, gpu_memory_limit=0, \
                         runtime_library=None, cache_dir=None, size_mode=None, native_side=None, mean=None, std=None, \
                         class_names=None, palette=None, scale=None, channel_order=None, input_layout=None, output=None, \
                         output_layout=None, output_values=None, multilabel=None)")]
    fn new(py: Python<'_>, model: &Bound<'_, PyAny>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Segmenter> {
        let keywords = options.map_or_else(|| Ok(PyDict::new(py)), |options| options.copy())?;
        let mut options = options::parse(&keywords)?;
        options.log = Some(log::callback());
        let named = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
        if options.runtime_library.is_none() && !named && !LOADED.load(Ordering::Relaxed) {
            options.runtime_library = py.import("pyfcn._runtime")?.call_method0("find")?.extract()?;
        }
        let source = Source::new(model)?;
        let (created, model) = match source {
            Source::File(path) => {
                let created = py.detach(|| fcn::Segmenter::from_file(&path, &options));
                // The process that receives it may be in another folder.
                let path = std::path::absolute(&path).unwrap_or(path);
                (created, path.into_os_string().into_pyobject(py)?.into_any())
            }
            Source::Content(bytes) => {
                let content = bytes.as_bytes();
                (py.detach(|| fcn::Segmenter::from_memory(content, &options)), bytes.into_any())
            }
        };
        let inner = created.map_err(raise)?;
        LOADED.store(true, Ordering::Relaxed);
        let classes = Classes { list: inner.classes().to_vec(), background: inner.background() };
        Ok(Segmenter {
            inner: Some(Arc::new(inner)),
            classes: Arc::new(classes),
            model: model.unbind(),
            options: keywords.unbind(),
        })
    }

    /// For pickle and copy: the model and the options.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        Ok((PyTuple::new(py, [self.model.bind(py)])?, self.options.bind(py).copy()?))
    }

    /// Labels every pixel of a frame and returns a Mask. Blocks until a session is free and the
    /// result is complete; other threads run meanwhile.
    ///
    /// frame:
    ///     A Frame, or what Frame accepts as its data. No thread may write to its pixels during the
    ///     call.
    /// format:
    ///     The pixel format, if `frame` is not a Frame: "BGR" for OpenCV's images; None means RGB8,
    ///     RGBA8, GRAY8 or GRAY16, by the array's shape and type.
    /// confidence:
    ///     Computes the highest softmax probability of each pixel: Mask.confidence.
    /// confidence_u8:
    ///     Computes the highest softmax probability of each pixel in a byte: Mask.confidence_u8.
    /// margin:
    ///     Computes the difference of the two highest softmax probabilities: Mask.margin.
    /// scores:
    ///     Computes the scores of each class at each pixel: Mask.scores.
    /// size:
    ///     Columns and rows of the mask, 1 to 32767; 0 or None means those of the frame after crop
    ///     and rotation.
    /// threshold:
    ///     Gives pixels with less confidence the label 255 (unknown). 0 to 1; 0 disables it.
    /// classes:
    ///     Restricts labels to these classes, indices or names in any order: labels, confidence and
    ///     margin are those of a model without the others. None means all classes.
    /// remap:
    ///     Replaces label i by remap[i]: at least as many labels as there are classes; several
    ///     classes may share a label. Unknown pixels stay 255.
    /// min_region:
    ///     Removes specks: regions of fewer pixels get the label that borders them most. 0 and 1
    ///     disable it.
    /// smoothing:
    ///     A Smoothing object, which averages scores over the frames that are segmented with it.
    #[pyo3(signature = (frame, format=None, *, confidence=false, confidence_u8=false, margin=false, scores=false, size=None,
                        threshold=0.0, classes=None, remap=None, min_region=0, smoothing=None))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn segment(
        &self,
        py: Python<'_>,
        frame: &Bound<'_, PyAny>,
        format: Option<&str>,
        confidence: bool,
        confidence_u8: bool,
        margin: bool,
        scores: bool,
        size: Option<(u32, u32)>,
        threshold: f32,
        classes: Option<&Bound<'_, PyAny>>,
        remap: Option<Vec<u8>>,
        min_region: u32,
        smoothing: Option<&Bound<'_, Smoothing>>,
    ) -> PyResult<Mask> {
        let input = Input::new(frame, format)?;
        let settings =
            self.settings(confidence, confidence_u8, margin, scores, size, threshold, classes, remap, min_region)?;
        let view = input.get().look().map_err(raise)?;
        let (segmenter, smoothing) = (self.inner(), smoothing.map(Bound::get));
        let mask = py.detach(|| {
            let Some(smoothing) = smoothing else {
                let mut mask = fcn::Mask::new();
                settings.apply(&mut mask)?;
                segmenter.segment(&view, &mut mask)?;
                return Ok(mask);
            };
            let mut average = smoothing.average.lock().unwrap_or_else(PoisonError::into_inner);
            settings.apply(&mut average)?;
            segmenter.segment(&view, &mut average)?;
            Ok(average.take_result())
        });
        Ok(Mask::new(mask.map_err(raise)?, Arc::clone(&self.classes)))
    }

    /// Cancels all segment() and warm_up() calls that are running or waiting for a session, and the
    /// frames that streams are processing: they raise CancelledError. Later calls are not affected.
    ///
    /// Returns at once. Checked before each run, between layers and between tiles: a layer in
    /// progress is not interrupted, and a frame whose inference has finished still returns its
    /// result.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner().cancel()).map_err(raise)
    }

    /// Allocates buffers and runs one dummy inference per session, so that the first frame of
    /// `width` x `height` pixels is not slower than later ones.
    fn warm_up(&self, py: Python<'_>, width: u32, height: u32) -> PyResult<()> {
        py.detach(|| self.inner().warm_up(width, height)).map_err(raise)
    }

    /// The path of the model, or its content.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<PyAny> {
        self.model.clone_ref(py)
    }

    /// The options it was created with.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.options.bind(py).copy()
    }

    /// The classes in index order: a list of Class.
    #[getter(classes)]
    fn class_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let class_type = type_of(py, "Class")?;
        let list = PyList::empty(py);
        for class in &self.classes.list {
            let color = |[red, green, blue]: [u8; 3]| (red, green, blue);
            list.append(class_type.call1((&class.name, color(class.color), color(class.display_color())))?)?;
        }
        Ok(list)
    }

    /// The index of the background class, or None if there is none. Overlays do not draw it, and
    /// the palette "voc" makes it black.
    #[getter]
    fn background(&self) -> Option<u8> {
        self.classes.background
    }

    /// The provider in use: "cpu", "cuda", "tensorrt" or "openvino".
    #[getter]
    fn provider(&self) -> &'static str {
        self.inner().provider()
    }

    /// The format in which the network's float32 layers are computed: "float32", "tf32", "bfloat16"
    /// or "float16". Layers that the file has quantized are computed in integers.
    #[getter]
    fn precision(&self) -> &'static str {
        self.inner().precision()
    }

    /// Why "auto" did not choose another provider; "" if there is none better or a provider was
    /// requested by name.
    #[getter]
    fn provider_reason(&self) -> &str {
        self.inner().provider_reason()
    }

    /// ONNX Runtime's version, for example "1.32.0".
    #[getter]
    fn runtime_version(&self) -> &str {
        self.inner().runtime_version()
    }

    /// The model's stride: sides of the network's input are multiples of this many pixels. Frames
    /// may have any size.
    #[getter]
    fn model_stride(&self) -> u32 {
        self.inner().stride()
    }

    /// The model card: classes, colours, training data and metrics. None without a card.
    #[getter]
    fn card<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(card) = self.inner().card() else { return Ok(None) };
        py.import("json")?.call_method1("loads", (card.to_json(),)).map(Some)
    }

    fn __repr__(&self) -> String {
        format!("<pyfcn.Segmenter with {} classes, provider {}>", self.classes.list.len(), self.provider())
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        // ONNX Runtime joins its threads, and they may be about to log.
        let inner = self.inner.take();
        let _ = Python::try_attach(move |py| py.detach(move || drop(inner)));
    }
}
