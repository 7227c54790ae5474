//! The provider that runs a network, and its sessions, one for each call at a time.

use std::{borrow::Cow, path::Path, sync::Arc};

use ort::{
    ep,
    logging::LogLevel as OrtLogLevel,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};

use super::{
    Runtime, SAID, exit,
    gpu_network::GpuNetwork,
    interrupt::Call,
    log,
    message::one_line,
    network::{self, SessionNetwork},
    openvino,
    precision::Format,
};
use crate::{
    Error, Result, Size,
    cache::{CacheEntry, Cached, Folder},
    onnx::{self, types::ModelProto},
    options::{LogLevel, Options, Precision, Provider},
    signals, threads,
};

/// The sessions of a network, and the provider that runs them.
pub(crate) struct Networks {
    /// One network per session, and on a GPU also its form for GPUs.
    pub(crate) networks: SessionNetworks,
    pub(crate) provider: Provider,
    /// The format of float32 layers.
    pub(crate) format: Format,
    /// Why `Auto` did not choose a better provider; otherwise empty.
    pub(crate) reason: String,
}

/// A network and how to run it.
pub(crate) struct Request<'a> {
    /// The network in ONNX format.
    pub(crate) network: &'a ModelProto,
    /// Converts the network with [`crate::onnx::on_device`], if possible.
    pub(crate) on_device: &'a dyn Fn() -> Option<ModelProto>,
    /// The bytes of the model file, which contain the weights.
    pub(crate) file: &'a Arc<[u8]>,
    pub(crate) options: &'a Options,
    pub(crate) threads: usize,
    /// The call that may abort loading.
    pub(crate) call: &'a Call<'a>,
}

impl Networks {
    /// Loads the network once for each requested session.
    pub(crate) fn new(runtime: &Runtime, request: &Request<'_>) -> Result<Networks> {
        let options = request.options;
        let Loaded { networks, provider, reason } = match options.provider {
            Provider::Auto => load_fastest(runtime, request)?,
            provider => Loaded { networks: load_all(runtime, request, provider)?, provider, reason: String::new() },
        };
        let format = Format::new(provider, options);
        if options.precision == Precision::Fast {
            let message = match format {
                Format::Float32 => format!(
                    "the precision fast has no effect: on this processor, the {} provider computes in float32 only",
                    provider.name()
                ),
                format => format!("layers in float32 are computed in {}: the precision is fast", format.name()),
            };
            log(options.log.as_ref(), LogLevel::Info, &message);
        }
        Ok(Networks { networks, provider, format, reason })
    }
}

/// A network per session, and on a GPU also its form for GPUs.
type SessionNetworks = Vec<(SessionNetwork, Option<GpuNetwork>)>;

/// Networks with the provider that runs them, and why it is not a better one.
struct Loaded {
    networks: SessionNetworks,
    provider: Provider,
    reason: String,
}

/// Loads the network with the first provider of [`Provider::Auto`] that works.
fn load_fastest(runtime: &Runtime, request: &Request<'_>) -> Result<Loaded> {
    let mut reason = match load_all(runtime, request, Provider::Cuda) {
        Ok(networks) => return Ok(Loaded { networks, provider: Provider::Cuda, reason: String::new() }),
        Err(error) => error.to_string(),
    };
    if openvino::is_built_in() {
        reason = format!("{reason}; {}", openvino::OBJECTION);
    }
    log(request.options.log.as_ref(), LogLevel::Info, &format!("the network runs on the CPU: {reason}"));
    Ok(Loaded { networks: load_all(runtime, request, Provider::Cpu)?, provider: Provider::Cpu, reason })
}

fn load_all(runtime: &Runtime, request: &Request<'_>, provider: Provider) -> Result<SessionNetworks> {
    let Request { network, options, .. } = request;
    let loader = Loader { runtime, request, provider };
    match provider {
        Provider::Cuda | Provider::TensorRt => {
            loader.check_provider()?;
            exit::arm();
        }
        Provider::OpenVino => {
            openvino::check(options)?;
            loader.check_provider()?;
        }
        Provider::Cpu | Provider::Auto => {}
    }
    let _pass = exit::enter()?;
    let on_device = match provider {
        Provider::Cuda | Provider::TensorRt => (request.on_device)(),
        _ if options.device_graph => (request.on_device)(),
        _ => None,
    };
    // ONNX Runtime has no integer arithmetic for CUDA and would convert values back and forth.
    let (network, on_device) = match provider {
        _ if provider == Provider::Cuda || options.device_graph => (
            Cow::Owned(onnx::without_integers(network)?),
            on_device.map(|network| onnx::without_integers(&network)).transpose()?,
        ),
        Provider::OpenVino => (Cow::Owned(openvino::adapted(network)), on_device),
        _ => (Cow::Borrowed(*network), on_device),
    };
    let session = |_| {
        let session = loader.load(&network, "")?;
        if provider == Provider::OpenVino {
            loader.tell_what_is_left(&session)?;
        }
        let network = SessionNetwork::new(session)?;
        let device = on_device.as_ref().map(|network| {
            let session = loader.load(network, "-device")?;
            GpuNetwork::new(session, provider, options.device).map_err(|error| unavailable(provider, &error))
        });
        Ok((network, device.transpose()?))
    };
    (0..options.sessions.max(1)).map(session).collect()
}

/// Runs a network with one input, 1 x 3 x H x W float32, and one int64 output on a blank image, at
/// the first of these sizes that it accepts. Returns that size and the output. Uses
/// a single thread, so that freeing the session does not wait for another one.
pub(crate) fn run_once(
    runtime: &Runtime,
    network: &ModelProto,
    file: &Arc<[u8]>,
    options: &Options,
    sizes: &[Size],
    call: &Call<'_>,
) -> Result<(Size, Vec<i64>)> {
    let request = Request { network, on_device: &|| None, file, options, threads: 1, call };
    let loader = Loader { runtime, request: &request, provider: Provider::Cpu };
    let session = loader.session(&SessionSource::Beside(network, file), &as_it_is)?;
    network::run_once(session, sizes, call)
}

/// Disables optimization.
fn as_it_is(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?)
}

/// Creates the sessions of a segmenter.
struct Loader<'a> {
    runtime: &'a Runtime,
    request: &'a Request<'a>,
    provider: Provider,
}

/// The source of a session.
enum SessionSource<'a> {
    /// A whole ONNX file.
    File(&'a [u8]),
    /// A graph, and the file that contains its weights.
    Beside(&'a ModelProto, &'a Arc<[u8]>),
}

impl Loader<'_> {
    /// A session of `network`, from the cache if it is enabled. `form` distinguishes the forms of
    /// one model in the cache.
    fn load(&self, network: &ModelProto, form: &str) -> Result<Session> {
        let &Request { file, options, .. } = self.request;
        let plain = || self.session(&SessionSource::Beside(network, file), &Ok);
        // OpenVINO's parts of a network cannot be stored in a file.
        let Some(folder) = options.cache.as_ref().filter(|_| self.provider != Provider::OpenVino) else {
            return plain();
        };
        self.load_cached(network, form, folder).or_else(|error| {
            let session = plain()?;
            log(options.log.as_ref(), LogLevel::Warning, &format!("the optimized network is not cached: {error}"));
            Ok(session)
        })
    }

    /// A session of the cached network. If there is none, creates it from `network` and caches it.
    fn load_cached(&self, network: &ModelProto, form: &str, folder: &Path) -> Result<Session> {
        let file = self.request.file;
        let folder = Folder::open(folder)?;
        let name = format!("{}{form}", self.provider.name());
        let entry = CacheEntry::new(
            &folder,
            file,
            &onnx::encode_without_weights(network, file)?,
            self.runtime.version(),
            &name,
        );
        // On any problem with the cached network, fall back to the model.
        if let Some(session) = entry.read().and_then(|cached| self.optimized(&cached)) {
            return Ok(session);
        }
        let temporary = entry.temporary()?;
        let optimizing = |builder: SessionBuilder| Ok(builder.with_optimized_model_path(&temporary)?);
        let session = signals::without_file_size_signal(|| {
            self.session(&SessionSource::File(&onnx::encode(network)?), &optimizing)
        })?;
        entry.keep(temporary)?;
        Ok(session)
    }

    /// Checks that the provider works here, before anything else is created for it.
    fn check_provider(&self) -> Result<()> {
        SAID.take();
        session_builder(self.runtime, self.request)
            .and_then(|builder| with_provider(builder, self.request, self.provider))
            .map(drop)
            .map_err(|error| match (self.provider, SAID.take()) {
                (Provider::OpenVino, said) => openvino::unavailable(self.request.options, &error, &said),
                _ => unavailable(self.provider, &error),
            })
    }

    /// Logs which part of the network OpenVINO left to the CPU provider. Fails if that is all of
    /// it.
    fn tell_what_is_left(&self, session: &Session) -> Result<()> {
        let left = openvino::left(session).map_err(|error| unavailable(self.provider, &error))?;
        let Some(openvino::Left { all, nodes }) = left else { return Ok(()) };
        let options = self.request.options;
        let message = format!("OpenVINO does not run {nodes} of the network");
        if all {
            return Err(Error::Provider(format!("the openvino provider is unavailable: {message}")));
        }
        log(options.log.as_ref(), LogLevel::Warning, &format!("{message}; the CPU provider runs them"));
        Ok(())
    }

    /// A session of an optimized network.
    fn optimized(&self, cached: &Cached) -> Option<Session> {
        let network = onnx::parse_shared(cached.network()).ok()?;
        self.session(&SessionSource::Beside(&network, &cached.content), &as_it_is).ok()
    }

    fn session(
        &self,
        source: &SessionSource<'_>,
        adjust: &dyn Fn(SessionBuilder) -> ort::Result<SessionBuilder>,
    ) -> Result<Session> {
        let on_cpu = matches!(self.provider, Provider::Cpu | Provider::Auto);
        let failed = |what: &str, error: &ort::Error| {
            if on_cpu {
                Error::Model(format!("ONNX Runtime {what}: {}", one_line(&error.to_string())))
            } else {
                unavailable(self.provider, error)
            }
        };
        let builder = session_builder(self.runtime, self.request)
            .and_then(|builder| with_provider(builder, self.request, self.provider))
            .and_then(adjust);
        let made = |error: ort::Error| failed("cannot create a session", &error);
        let taken = |error: ort::Error| failed("rejects the model", &error);
        let &Request { call, threads, .. } = self.request;
        let check_threads = || threads::check_available(threads - 1);
        match *source {
            SessionSource::File(model) => {
                let mut builder = builder.map_err(made)?;
                check_threads()?;
                let running = call.begin_load(&builder)?;
                running.end(builder.commit_from_memory(model).map_err(taken))
            }
            SessionSource::Beside(network, file) => {
                let weights = |builder: SessionBuilder| {
                    Ok(builder.with_external_initializer_file_in_memory(onnx::FILE, Arc::clone(file))?)
                };
                let mut builder = builder.and_then(weights).map_err(made)?;
                let graph = onnx::encode_without_weights(network, file)?;
                check_threads()?;
                let running = call.begin_load(&builder)?;
                running.end(builder.commit_from_memory(&graph).map_err(taken))
            }
        }
    }
}

fn unavailable(provider: Provider, error: &ort::Error) -> Error {
    Error::Provider(format!("the {} provider is unavailable: {}", provider.name(), one_line(&error.to_string())))
}

/// The maximum size in bytes of a tensor that ONNX Runtime computes by constant folding while it
/// loads a network.
const MAX_FOLDED_BYTES: &str = "67108864";
const FOLDED_BYTES: &str = "optimization.constant_folding_max_output_size_in_bytes";

/// How long a thread without work looks for more before it sleeps: enough for the next operator of
/// most networks.
const SPIN_DURATION: &str = "session.intra_op.spin_duration_us";
const SPIN_MICROSECONDS: &str = "20";

/// The maximum number of nodes that a model's functions expand to.
const EXPANDED_NODES: &str = "session.function_expansion_node_limit";

fn session_builder(runtime: &Runtime, request: &Request<'_>) -> ort::Result<SessionBuilder> {
    let callback = request.options.log.clone();
    let builder = Session::builder(&runtime.environment)?;
    let builder = if runtime.limits_spinning() {
        builder.with_intra_op_spinning(true)?.with_config_entry(SPIN_DURATION, SPIN_MICROSECONDS)?
    } else {
        // Older versions would spin without a limit.
        builder.with_intra_op_spinning(false)?
    };
    Ok(builder
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(request.threads)?
        .with_config_entry(FOLDED_BYTES, MAX_FOLDED_BYTES)?
        .with_config_entry(EXPANDED_NODES, onnx::MAX_NODES.to_string())?
        .with_log_level(OrtLogLevel::Warning)?
        .with_logger(Arc::new(move |level, _, _, _, message| {
            let level = match level {
                OrtLogLevel::Verbose | OrtLogLevel::Info => LogLevel::Info,
                OrtLogLevel::Warning => LogLevel::Warning,
                OrtLogLevel::Error | OrtLogLevel::Fatal => LogLevel::Error,
            };
            log(callback.as_ref(), level, &one_line(message));
        }))?)
}

/// Lets the CPU provider compute float32 matrix products in bfloat16, on Arm.
const ARM_BFLOAT16: &str = "mlas.enable_gemm_fastmath_arm64_bfloat16";

fn with_provider(builder: SessionBuilder, request: &Request<'_>, provider: Provider) -> ort::Result<SessionBuilder> {
    let &Request { options, threads, .. } = request;
    let device = options.device.cast_signed();
    let format = Format::new(provider, options);
    let cuda = || {
        let cuda = ep::CUDA::default()
            .with_device_id(device)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
            .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
            .with_tf32(format != Format::Float32);
        match options.gpu_memory_limit {
            0 => cuda,
            limit => cuda.with_memory_limit(limit),
        }
        .build()
        .error_on_failure()
    };
    let providers = match provider {
        Provider::Cpu if format == Format::BFloat16 => return Ok(builder.with_config_entry(ARM_BFLOAT16, "1")?),
        Provider::Cpu | Provider::Auto => return Ok(builder),
        Provider::OpenVino => {
            let builder = openvino::with_entries(builder, options)?;
            return Ok(builder.with_execution_providers([openvino::provider(options, threads)])?);
        }
        Provider::Cuda => vec![cuda()],
        Provider::TensorRt => {
            let tensorrt = ep::TensorRT::default().with_device_id(device).with_fp16(format == Format::Float16);
            vec![tensorrt.build().error_on_failure(), cuda()]
        }
    };
    Ok(builder.with_execution_providers(providers)?)
}
