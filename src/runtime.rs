//! ONNX Runtime: finding its library, choosing a provider, running a network. No other file names `ort`.

use std::{
    ffi::{CStr, OsStr, c_void},
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use once_cell::sync::OnceCell;
use ort::{
    environment::Environment,
    ep,
    logging::LogLevel as OrtLogLevel,
    memory::Allocator,
    session::{
        HasSelectedOutputs, OutputSelector, RunOptions, Session,
        builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder},
    },
    value::{DynValue, Tensor, TensorElementType, ValueType},
};

use crate::{
    Error, Result,
    cache::Entry,
    options::{LogCallback, LogLevel, Options, Provider},
};

/// ONNX Runtime, loaded once for the life of the process: its library cannot be exchanged or unloaded safely.
pub(crate) struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

impl Runtime {
    /// The process's ONNX Runtime, loaded on the first call: from `library`, else from `ORT_DYLIB_PATH`, else from the
    /// folder of libfcn, else from where the system's linker finds it.
    pub(crate) fn load(library: Option<&Path>) -> Result<&'static Runtime> {
        let runtime = RUNTIME.get_or_try_init(|| Runtime::find(library))?;
        if let Some(library) = library {
            let wanted = absolute(library)?;
            if wanted != runtime.path {
                return Err(Error::Runtime(format!(
                    "ONNX Runtime is already loaded from {} and cannot be exchanged for {} in the same process",
                    runtime.path.display(),
                    wanted.display()
                )));
            }
        }
        Ok(runtime)
    }

    /// The version of ONNX Runtime, for example `1.32.0`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn find(library: Option<&Path>) -> Result<Runtime> {
        // A place that somebody named is the only one that counts.
        if let Some(library) = library {
            return Runtime::open(&absolute(library)?);
        }
        if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
            return absolute(Path::new(&path)).and_then(|path| Runtime::open(&path)).map_err(|error| {
                Error::Runtime(format!("{error} (the environment variable ORT_DYLIB_PATH names this file)"))
            });
        }
        let mut tried = String::new();
        if let Some(folder) = own_path().as_deref().and_then(Path::parent) {
            let beside = folder.join("libonnxruntime.so.1");
            if beside.exists() {
                return Runtime::open(&beside);
            }
            tried = format!("{} and ", beside.display());
        }
        match system_path() {
            Some(path) => Runtime::open(&path),
            None => Err(Error::Runtime(format!(
                "ONNX Runtime was not found: tried {tried}the system's libonnxruntime.so.1; install it there, or name its \
                 file in the option runtime_library or in the environment variable ORT_DYLIB_PATH"
            ))),
        }
    }

    fn open(path: &Path) -> Result<Runtime> {
        let failed = |reason: String| {
            Error::Runtime(format!(
                "ONNX Runtime could not be loaded from {}: {reason}; version 1.24 or newer is needed",
                path.display()
            ))
        };
        if !path.is_file() {
            return Err(failed("there is no such file".into()));
        }
        let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
        // Without a logger of ours it would write to the host's stderr. What belongs to a session reaches its own.
        let environment = builder
            .with_name("fcn")
            .with_telemetry(false)
            .with_logger(Arc::new(|_, _, _, _, _| {}))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let version = version(path).ok_or_else(|| failed("it does not tell its version".into()))?;
        Ok(Runtime { environment, path: path.to_path_buf(), version })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::Runtime(format!("the path '{}' of ONNX Runtime is unusable: {error}", path.display())))
}

/// The file that holds the code at `address`.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr takes any address and writes `info` where it knows the address.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) } != 0;
    // SAFETY: all-zero bytes are a valid Dl_info, so it is initialised either way.
    let info = unsafe { info.assume_init() };
    if !found || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gives a NUL-terminated name that lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    std::path::absolute(OsStr::from_bytes(name.to_bytes())).ok()
}

/// The file of libfcn itself.
fn own_path() -> Option<PathBuf> {
    file_of(own_path as *const c_void)
}

/// The library that the system's linker finds under ONNX Runtime's name.
fn system_path() -> Option<PathBuf> {
    // SAFETY: the name is NUL-terminated. The handle is kept open: the library is about to be used for good.
    let handle = unsafe { libc::dlopen(c"libonnxruntime.so.1".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    file_of(api_base(handle)?)
}

/// The function that every ONNX Runtime exports.
fn api_base(handle: *mut c_void) -> Option<*const c_void> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is one that dlopen gave, the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    (!symbol.is_null()).then_some(symbol.cast_const())
}

/// What the loaded library says of its version.
fn version(path: &Path) -> Option<String> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the name is NUL-terminated; with RTLD_NOLOAD nothing new is loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let symbol = api_base(handle)?;
    // SAFETY: OrtGetApiBase has had this type in every version of ONNX Runtime.
    let get_base: extern "C" fn() -> *const ort::sys::OrtApiBase = unsafe { std::mem::transmute(symbol) };
    let base = get_base();
    if base.is_null() {
        return None;
    }
    // SAFETY: OrtGetApiBase gives a table that lives as long as the library, as does the text it hands out.
    let text = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
    Some(text.to_string_lossy().into_owned())
}

/// A network that is ready to run, one frame at a time.
pub(crate) struct Network {
    session: Session,
    bound: Option<Bound>,
}

/// The tensors for one size of picture, used again as long as the size stays.
struct Bound {
    size: (usize, usize),
    image: Tensor<f32>,
    /// The tensor that scores are written to, from the second run of a size on.
    output: Option<RunOptions<HasSelectedOutputs>>,
}

/// Several [`Network`]s over the same weights, and the provider that runs them.
pub(crate) struct Networks {
    pub(crate) networks: Vec<Network>,
    pub(crate) provider: Provider,
    /// Why it is not a better provider; empty where it was asked for by name.
    pub(crate) reason: String,
}

/// What a network answers for one picture.
pub(crate) enum Answer<'a> {
    /// Scores, channels x height x width.
    Scores(Scores<'a>),
    /// Class indices, height x width.
    Labels { height: usize, width: usize, labels: Labels<'a> },
}

/// Scores of one picture: channels x height x width.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: &'a [f32],
}

/// Class indices as networks give them.
#[derive(Clone, Copy)]
pub(crate) enum Labels<'a> {
    I64(&'a [i64]),
    I32(&'a [i32]),
    U8(&'a [u8]),
}

impl Labels<'_> {
    pub(crate) fn get(&self, index: usize) -> i64 {
        match self {
            Labels::I64(values) => values[index],
            Labels::I32(values) => i64::from(values[index]),
            Labels::U8(values) => i64::from(values[index]),
        }
    }
}

/// What a network's first output is made of, as far as the model tells before it has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// N x C x h x w; C where it is known.
    Scores { channels: Option<usize> },
    /// N x h x w or N x 1 x h x w.
    Labels,
}

/// A network and how it is to be run.
pub(crate) struct Request<'a> {
    /// The network as ONNX.
    pub(crate) onnx: &'a [u8],
    /// The bytes that it was made from: what a cache knows it by.
    pub(crate) source: &'a [u8],
    pub(crate) options: &'a Options,
    pub(crate) threads: usize,
}

impl Networks {
    /// Loads the network once for each session that the options ask for.
    pub(crate) fn new(runtime: &Runtime, request: &Request<'_>) -> Result<Networks> {
        let build = |provider| {
            let prepacked = PrepackedWeights::new();
            let sessions = request.options.sessions.max(1);
            (0..sessions).map(|_| Network::new(runtime, request, provider, &prepacked)).collect()
        };
        match request.options.provider {
            Provider::Auto => match build(Provider::Cuda) {
                Ok(networks) => Ok(Networks { networks, provider: Provider::Cuda, reason: String::new() }),
                Err(error) => {
                    let reason = error.to_string();
                    log(request.options.log.as_ref(), LogLevel::Info, &format!("the CPU runs the network: {reason}"));
                    Ok(Networks { networks: build(Provider::Cpu)?, provider: Provider::Cpu, reason })
                }
            },
            provider => Ok(Networks { networks: build(provider)?, provider, reason: String::new() }),
        }
    }
}

impl Network {
    fn new(
        runtime: &Runtime,
        request: &Request<'_>,
        provider: Provider,
        prepacked: &PrepackedWeights,
    ) -> Result<Network> {
        let &Request { onnx, source, options, .. } = request;
        let session = |model: &[u8], adjust: &dyn Fn(SessionBuilder) -> ort::Result<SessionBuilder>| {
            session_builder(runtime, request, prepacked)
                .and_then(|builder| with_provider(builder, options, provider))
                .and_then(adjust)
                .map_err(|error| match provider {
                    Provider::Cpu | Provider::Auto => Error::Runtime(format!("ONNX Runtime makes no session: {error}")),
                    _ => unavailable(provider, &error),
                })?
                .commit_from_memory(model)
                .map_err(|error| match provider {
                    Provider::Cpu | Provider::Auto => {
                        Error::Model(format!("ONNX Runtime does not take the model: {}", one_line(&error.to_string())))
                    }
                    _ => unavailable(provider, &error),
                })
        };
        let Some(folder) = &options.cache else {
            return Ok(Network { session: session(onnx, &Ok)?, bound: None });
        };
        let entry = Entry::new(folder, source, runtime.version(), provider.name());
        let as_it_is = |builder: SessionBuilder| Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?);
        // Whatever is wrong with a cached network, the model itself is as good.
        if let Some(session) = entry.read().and_then(|network| session(&network, &as_it_is).ok()) {
            return Ok(Network { session, bound: None });
        }
        let temporary = entry.temporary();
        let kept = session(onnx, &|builder| Ok(builder.with_optimized_model_path(&temporary)?))
            .and_then(|session| entry.keep(&temporary).map(|()| session));
        let session = match kept {
            Ok(session) => session,
            Err(error) => {
                // What ONNX Runtime may have written of it.
                let _ = std::fs::remove_file(&temporary);
                let session = session(onnx, &Ok)?;
                log(options.log.as_ref(), LogLevel::Warning, &format!("the optimized network is not kept: {error}"));
                session
            }
        };
        Ok(Network { session, bound: None })
    }

    /// What the first output is, or a sentence on why it is no segmentation.
    pub(crate) fn output_kind(&self) -> Result<OutputKind> {
        let output = self.session.outputs().first().ok_or_else(|| Error::Model("the model has no output".into()))?;
        let (element, shape) = match output.dtype() {
            ValueType::Tensor { ty, shape, .. } => (*ty, &shape[..]),
            other => return Err(no_segmentation(output.name(), &format!("{other:?}"))),
        };
        match (element, shape) {
            (TensorElementType::Float32, &[_, channels, _, _]) => {
                Ok(OutputKind::Scores { channels: usize::try_from(channels).ok() })
            }
            (
                TensorElementType::Int64 | TensorElementType::Int32 | TensorElementType::Uint8,
                [_, _, _] | [_, 1, _, _],
            ) => Ok(OutputKind::Labels),
            _ => Err(no_segmentation(output.name(), &format!("a {element:?} tensor of shape {shape:?}"))),
        }
    }

    /// The network's input for a picture of this size, 3 x height x width, to be filled before [`Network::run`].
    pub(crate) fn input(&mut self, height: usize, width: usize) -> Result<&mut [f32]> {
        if self.bound.as_ref().is_none_or(|bound| bound.size != (height, width)) {
            // The old one goes first, so that no two sizes need memory at once.
            self.bound = None;
            let image = Tensor::new(&Allocator::default(), [1, 3, height, width]).map_err(|error| {
                Error::OutOfMemory(format!(
                    "the network's input for {width} x {height} pixels cannot be had: {}",
                    one_line(&error.to_string())
                ))
            })?;
            self.bound = Some(Bound { size: (height, width), image, output: None });
        }
        let bound = self.bound.as_mut().ok_or_else(|| Error::Internal("the input was just bound".into()))?;
        Ok(bound.image.extract_tensor_mut().1)
    }

    /// Runs the network on its input and hands its answer to `consume`.
    pub(crate) fn run<R>(&mut self, consume: impl FnOnce(Answer<'_>) -> Result<R>) -> Result<R> {
        let Network { session, bound } = self;
        let bound = bound.as_mut().ok_or_else(|| Error::Internal("the network has no input yet".into()))?;
        let Bound { size: (rows, columns), image, output } = bound;
        let failed = |error: ort::Error| {
            Error::Runtime(format!("the network failed on {columns} x {rows} pixels: {}", one_line(&error.to_string())))
        };
        if let Some(options) = output {
            let outputs = session.run_with_options(ort::inputs![&*image], options).map_err(failed)?;
            return consume(answer(&outputs[0])?);
        }
        let outputs = session.run(ort::inputs![&*image]).map_err(failed)?;
        let first = answer(&outputs[0])?;
        // Now that its shape is known, later runs write into one tensor.
        if let Answer::Scores(Scores { channels, height, width, .. }) = first {
            let name = outputs.keys().next().unwrap_or_default().to_owned();
            let tensor = Tensor::<f32>::new(&Allocator::default(), [1, channels, height, width]).map_err(failed)?;
            let selected = OutputSelector::no_default().with(&name).preallocate(name, tensor);
            *output = Some(RunOptions::new().map_err(failed)?.with_outputs(selected));
        }
        consume(first)
    }
}

/// What a network answered.
fn answer(output: &DynValue) -> Result<Answer<'_>> {
    let wrong = |found: String| no_segmentation("0", &found);
    let ValueType::Tensor { ty, shape, .. } = output.dtype() else {
        return Err(wrong(format!("{:?}", output.dtype())));
    };
    let sides = |side: i64| usize::try_from(side).ok();
    let found = || format!("a {ty:?} tensor of shape {shape:?}");
    let extract = |error: ort::Error| Error::Runtime(one_line(&error.to_string()));
    let labels = match ty {
        TensorElementType::Float32 => None,
        TensorElementType::Int64 => Some(Labels::I64(output.try_extract_tensor().map_err(extract)?.1)),
        TensorElementType::Int32 => Some(Labels::I32(output.try_extract_tensor().map_err(extract)?.1)),
        TensorElementType::Uint8 => Some(Labels::U8(output.try_extract_tensor().map_err(extract)?.1)),
        _ => return Err(wrong(found())),
    };
    match (labels, &shape[..]) {
        (Some(labels), &[1, height, width] | &[1, 1, height, width]) => {
            let (height, width) = sides(height).zip(sides(width)).ok_or_else(|| wrong(found()))?;
            Ok(Answer::Labels { height, width, labels })
        }
        (None, &[1, channels, height, width]) => {
            let (channels, (height, width)) =
                sides(channels).zip(sides(height).zip(sides(width))).ok_or_else(|| wrong(found()))?;
            let (_, data) = output.try_extract_tensor().map_err(extract)?;
            Ok(Answer::Scores(Scores { channels, height, width, data }))
        }
        _ => Err(wrong(found())),
    }
}

fn no_segmentation(output: &str, found: &str) -> Error {
    Error::Model(format!(
        "output '{output}' is {found}; scores (float32, 1 x C x h x w) or class indices (int64, int32 or uint8, 1 x h x w) \
         are expected"
    ))
}

fn unavailable(provider: Provider, error: &ort::Error) -> Error {
    Error::Provider(format!("the {} provider does not work here: {}", provider.name(), one_line(&error.to_string())))
}

/// ONNX Runtime's message on one line, without the place in its source code that some begin with.
fn one_line(text: &str) -> String {
    let said = text.split_once("[ONNXRuntimeError] : ").and_then(|(_, coded)| coded.splitn(3, " : ").nth(2));
    said.unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn session_builder(
    runtime: &Runtime,
    request: &Request<'_>,
    prepacked: &PrepackedWeights,
) -> ort::Result<SessionBuilder> {
    let callback = request.options.log.clone();
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(request.threads)?
        // Threads spin between the operators of a frame, which is a few percent faster, and sleep between frames.
        .with_intra_op_spinning(true)?
        .with_config_entry("session.force_spinning_stop", "1")?
        .with_prepacked_weights(prepacked)?
        .with_log_level(OrtLogLevel::Warning)?
        .with_logger(Arc::new(move |level, _, _, _, message| {
            let level = match level {
                OrtLogLevel::Verbose | OrtLogLevel::Info => LogLevel::Info,
                OrtLogLevel::Warning => LogLevel::Warning,
                OrtLogLevel::Error | OrtLogLevel::Fatal => LogLevel::Error,
            };
            log(callback.as_ref(), level, message);
        }))?;
    Ok(builder)
}

/// Calls the host's callback; a panic in it must not travel into ONNX Runtime's C++.
fn log(callback: Option<&LogCallback>, level: LogLevel, message: &str) {
    if let Some(callback) = callback {
        // A callback that panics has had its say; there is nobody else to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| callback(level, message)));
    }
}

fn with_provider(builder: SessionBuilder, options: &Options, provider: Provider) -> ort::Result<SessionBuilder> {
    let device = options.device.cast_signed();
    let cuda = || {
        let cuda = ep::CUDA::default()
            .with_device_id(device)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
            .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested);
        match options.gpu_memory_limit {
            0 => cuda,
            limit => cuda.with_memory_limit(limit),
        }
        .build()
        .error_on_failure()
    };
    let providers = match provider {
        Provider::Cpu | Provider::Auto => return Ok(builder),
        Provider::Cuda => vec![cuda()],
        Provider::TensorRt => {
            vec![ep::TensorRT::default().with_device_id(device).build().error_on_failure(), cuda()]
        }
    };
    Ok(builder.with_execution_providers(providers)?)
}
