//! [`Options`]: settings for creating a [`Segmenter`](crate::Segmenter).

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use crate::{
    Error, MAX_SIDE, Result, SizeMode,
    error::plain,
    onnx::{NATIVE_SIDES, TensorLayout},
    palette::Palette,
};

/// Execution providers: where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// CUDA if available, else the CPU (default).
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU through CUDA; an error if it is unavailable.
    Cuda,
    /// An NVIDIA GPU through TensorRT; an error if it is unavailable.
    TensorRt,
    /// OpenVINO on [`Options::openvino_device`]; an error if it is unavailable. Only for models
    /// that you trust: OpenVINO does not check a network's shapes.
    OpenVino,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Provider; 5] =
        [Provider::Auto, Provider::Cpu, Provider::Cuda, Provider::TensorRt, Provider::OpenVino];

    /// The name: `auto`, `cpu`, `cuda`, `tensorrt` or `openvino`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Provider::Auto => "auto",
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
            Provider::OpenVino => "openvino",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = Error;

    /// The provider with this [name](Provider::name).
    fn from_str(name: &str) -> Result<Provider> {
        Provider::ALL.into_iter().find(|provider| provider.name() == name).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "the provider '{}' does not exist; there are 'auto', 'cpu', 'cuda', 'tensorrt' and 'openvino'",
                plain(name)
            ))
        })
    }
}

/// How precisely a network's layers are computed. [`Segmenter::precision`](crate::Segmenter) is
/// what a segmenter computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As the file says: layers in float32 are computed in float32, quantized ones in integers
    /// (default).
    #[default]
    Exact,
    /// Layers in float32 are computed in a shorter format where the provider has one that is
    /// faster: bfloat16 (OpenVINO on a CPU, the CPU provider on Arm), TF32 (CUDA) or float16
    /// (OpenVINO on a GPU or NPU, TensorRT). Labels differ slightly. If there is none, this is
    /// [`Precision::Exact`], and the log says so.
    Fast,
}

impl Precision {
    /// The name: `exact` or `fast`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Fast => "fast",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// The precision with this [name](Precision::name).
    fn from_str(name: &str) -> Result<Precision> {
        [Precision::Exact, Precision::Fast].into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "the precision '{}' does not exist; there are 'exact' and 'fast'",
                plain(name)
            ))
        })
    }
}

/// Fails unless the text names one device of OpenVINO: `CPU`, `GPU` or `NPU`, possibly with an
/// index, for example `GPU.1`. OpenVINO's other names (`AUTO`, `HETERO:GPU,CPU`) choose a device by
/// themselves.
pub(crate) fn check_openvino_device(device: &str) -> Result<()> {
    let (kind, index) = device.split_once('.').map_or((device, None), |(kind, index)| (kind, Some(index)));
    let is_number = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    if ["CPU", "GPU", "NPU"].contains(&kind) && index.is_none_or(is_number) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "the OpenVINO device '{}' is asked for; 'CPU', 'GPU' and 'NPU' are possible, also with an index such as 'GPU.1'",
        plain(device)
    )))
}

/// Order of colours in the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// Severity of a log message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// A decision of the library, for example which provider runs.
    Info,
    /// Something works, but not as well as it could.
    Warning,
    /// Something failed.
    Error,
}

impl From<LogLevel> for log::Level {
    fn from(level: LogLevel) -> log::Level {
        match level {
            LogLevel::Info => log::Level::Info,
            LogLevel::Warning => log::Level::Warn,
            LogLevel::Error => log::Level::Error,
        }
    }
}

/// Receives log messages, from any thread and from several at once.
pub type LogCallback = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// Settings for creating a [`Segmenter`](crate::Segmenter). The defaults suit most programs.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Where the network runs.
    pub provider: Provider,
    /// The GPU of [`Provider::Cuda`] and [`Provider::TensorRt`], 0 to 1023; ignored by others.
    pub device: u32,
    /// The device of [`Provider::OpenVino`]: `CPU`, `GPU`, `NPU`, or one of several, for example
    /// `GPU.1`. `None` means `CPU`. Ignored by others. A device that is not there is an error.
    pub openvino_device: Option<String>,
    /// How precisely layers are computed.
    pub precision: Precision,
    /// Threads per frame, 1 to 256; 0 means one per CPU available to the process.
    pub threads: u32,
    /// Frames that can be segmented at once, 1 to 64; 0 means 1. Each session has its own
    /// memory, threads and copy of the weights.
    pub sessions: u32,
    /// Limits the time of a frame, including the wait for a free session; when it expires, the call
    /// fails with [`Error::Timeout`]. A layer in progress is not interrupted. The same time, but at
    /// least 10 s, limits creating the segmenter. `None` means no limit.
    pub timeout: Option<Duration>,
    /// Limits the GPU memory of each session, in bytes; 0 means no limit.
    pub gpu_memory_limit: usize,
    /// The path of ONNX Runtime's library. `None` searches, in this order: the environment variable
    /// `ORT_DYLIB_PATH`, the folder of libfcn, the system's library path.
    pub runtime_library: Option<PathBuf>,
    /// An existing folder in which optimized networks are cached, in a subfolder with mode 0700.
    /// When the same segmenter is created again, they need not be optimized, but read and checked:
    /// measure which is faster. `None` disables the cache. Entries of
    /// other models, options, versions, providers or processors, and those that another user can
    /// write, are not used.
    pub cache: Option<PathBuf>,
    /// The size at which the network sees a frame. `None` means [`SizeMode::Auto`], or
    /// [`SizeMode::Resize`] for models with a fixed input size.
    pub size_mode: Option<SizeMode>,
    /// The model's native size for [`SizeMode::Auto`]: the square root of width times height of its
    /// training images, in pixels, 16 to 32767. Overrides the model card.
    pub native_side: Option<u32>,
    /// The factor for values (0 to 255) before mean and std: `(value * scale - mean) / std`. Finite
    /// and positive; `None` means 1 / 255. Not for models with uint8 input.
    pub scale: Option<f32>,
    /// The mean per channel (red, green, blue), finite. Overrides the model card. Models with one
    /// channel use the first value.
    pub mean: Option<[f32; 3]>,
    /// The standard deviation per channel, finite and positive. Overrides the model card.
    pub std: Option<[f32; 3]>,
    /// The order of the model's channels. Overrides the model card; RGB without either.
    pub channel_order: Option<ChannelOrder>,
    /// The layout of the model's input, if its shape is ambiguous.
    pub input_layout: Option<TensorLayout>,
    /// The name of the output tensor. `None` selects the first usable one.
    pub output: Option<String>,
    /// The layout of the model's output, if its shape is ambiguous.
    pub output_layout: Option<TensorLayout>,
    /// Whether the scores are probabilities (0 to 1) instead of logits. `None` means probabilities
    /// after a softmax or sigmoid, else logits.
    pub probabilities: Option<bool>,
    /// The minimum probability of a class, greater than 0 and less than 1, for models whose classes
    /// do not exclude each other (multilabel: a sigmoid per class), and for those with one score
    /// per pixel. A pixel gets the class with the highest score, or background if no class reaches
    /// it. Background becomes class 0, before the model's own classes, and confidence is the
    /// softmax over all logits, where background's logit is that of this probability.
    ///
    /// By default, the highest of several scores wins, however low, and a single score is
    /// foreground above 0.5. Not for models with a card or a softmax.
    pub multilabel: Option<f32>,
    /// The names of the classes in index order, 2 to 255. Overrides the model card.
    pub class_names: Option<Vec<String>>,
    /// The colours of the classes. Overrides the model card; Pascal VOC's without either.
    pub palette: Option<Palette>,
    /// Uses the form of the network for GPUs on the CPU, too, which is slower: tests it without a
    /// GPU.
    #[doc(hidden)]
    pub device_graph: bool,
    /// Receives messages of this library and ONNX Runtime; `None` hands them to the logger of the
    /// crate `log`, if the program has one.
    pub log: Option<LogCallback>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("provider", &self.provider)
            .field("device", &self.device)
            .field("openvino_device", &self.openvino_device)
            .field("precision", &self.precision)
            .field("threads", &self.threads)
            .field("sessions", &self.sessions)
            .field("timeout", &self.timeout)
            .field("gpu_memory_limit", &self.gpu_memory_limit)
            .field("runtime_library", &self.runtime_library)
            .field("cache", &self.cache)
            .field("size_mode", &self.size_mode)
            .field("native_side", &self.native_side)
            .field("scale", &self.scale)
            .field("mean", &self.mean)
            .field("std", &self.std)
            .field("channel_order", &self.channel_order)
            .field("input_layout", &self.input_layout)
            .field("output", &self.output)
            .field("output_layout", &self.output_layout)
            .field("probabilities", &self.probabilities)
            .field("multilabel", &self.multilabel)
            .field("class_names", &self.class_names)
            .field("palette", &self.palette)
            .finish_non_exhaustive()
    }
}

/// Methods that set a field and return the options.
macro_rules! setters {
    ($($setter:ident, $field:ident: $type:ty, $value:ident => $stored:expr;)*) => {
        /// The fields as a chain of calls.
        impl Options {
            $(
                #[doc = concat!("Sets [`Options::", stringify!($field), "`].")]
                #[must_use]
                pub fn $setter(mut self, $value: $type) -> Options {
                    self.$field = $stored;
                    self
                }
            )*
        }
    };
}

setters! {
    with_provider, provider: Provider, provider => provider;
    with_device, device: u32, device => device;
    with_openvino_device, openvino_device: impl Into<String>, device => Some(device.into());
    with_precision, precision: Precision, precision => precision;
    with_threads, threads: u32, threads => threads;
    with_sessions, sessions: u32, sessions => sessions;
    with_timeout, timeout: Duration, timeout => Some(timeout);
    with_gpu_memory_limit, gpu_memory_limit: usize, bytes => bytes;
    with_runtime_library, runtime_library: impl Into<PathBuf>, path => Some(path.into());
    with_cache, cache: impl Into<PathBuf>, folder => Some(folder.into());
    with_size_mode, size_mode: SizeMode, mode => Some(mode);
    with_native_side, native_side: u32, pixels => Some(pixels);
    with_scale, scale: f32, scale => Some(scale);
    with_mean, mean: [f32; 3], mean => Some(mean);
    with_std, std: [f32; 3], std => Some(std);
    with_channel_order, channel_order: ChannelOrder, order => Some(order);
    with_input_layout, input_layout: TensorLayout, layout => Some(layout);
    with_output, output: impl Into<String>, name => Some(name.into());
    with_output_layout, output_layout: TensorLayout, layout => Some(layout);
    with_probabilities, probabilities: bool, probabilities => Some(probabilities);
    with_multilabel, multilabel: f32, probability => Some(probability);
    with_class_names, class_names: Vec<String>, names => Some(names);
    with_palette, palette: Palette, palette => Some(palette);
    with_log, log: LogCallback, callback => Some(callback);
}

impl Options {
    /// Fails if a value is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::InvalidArgument(message));
        if self.threads > 256 {
            return wrong(format!("{} threads are asked for; 0 (one for each CPU) to 256 are possible", self.threads));
        }
        if self.sessions > 64 {
            return wrong(format!("{} sessions are asked for; 0 (one) to 64 are possible", self.sessions));
        }
        if self.device > 1023 {
            return wrong(format!("device {} is asked for; 0 to 1023 are possible", self.device));
        }
        if let Some(device) = &self.openvino_device {
            check_openvino_device(device)?;
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return wrong("a timeout of 0 leaves no time for any frame; None means no timeout".into());
        }
        if let Some(scale) = self.scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            return wrong(format!("the scale {scale:?} is not above 0 and finite"));
        }
        if let Some(mean) = self.mean.filter(|mean| mean.iter().any(|value| !value.is_finite())) {
            return wrong(format!("the mean {mean:?} is not finite"));
        }
        if let Some(std) = self.std.filter(|std| std.iter().any(|value| !(value.is_finite() && *value > 0.0))) {
            return wrong(format!("the std {std:?} is not above 0 and finite"));
        }
        if let Some(least) = self.multilabel.filter(|least| !(*least > 0.0 && *least < 1.0)) {
            return wrong(format!("the probability {least:?} for multilabel is not between 0 and 1"));
        }
        if let Some(names) = self.class_names.as_ref().filter(|names| !(2..=255).contains(&names.len())) {
            return wrong(format!("{} class names are given; 2 to 255 classes can be told apart", names.len()));
        }
        if let Some(side) = self.native_side.filter(|side| !NATIVE_SIDES.contains(side)) {
            return wrong(format!("the native side {side} is given; 16 to {MAX_SIDE} pixels are possible"));
        }
        self.size_mode.map_or(Ok(()), SizeMode::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_others_refused() {
        for provider in [Provider::Auto, Provider::Cpu, Provider::Cuda, Provider::TensorRt, Provider::OpenVino] {
            assert_eq!(provider.name().parse::<Provider>().ok(), Some(provider));
        }
        for precision in [Precision::Exact, Precision::Fast] {
            assert_eq!(precision.to_string().parse::<Precision>().ok(), Some(precision));
        }
        assert!("OpenVINO".parse::<Provider>().is_err_and(|error| error.to_string().contains("'openvino'")));
        assert!("half".parse::<Precision>().is_err_and(|error| error.to_string().contains("'exact' and 'fast'")));
    }

    #[test]
    fn openvino_devices_are_single_devices() {
        for (device, is_one) in [
            ("CPU", true),
            ("GPU", true),
            ("NPU", true),
            ("GPU.1", true),
            ("GPU.1023", true),
            ("", false),
            ("cpu", false),
            ("GPU.", false),
            ("GPU.12345", false),
            ("GPU.a", false),
            ("GPU.1.2", false),
            ("AUTO", false),
            ("HETERO:GPU,CPU", false),
        ] {
            assert_eq!(check_openvino_device(device).is_ok(), is_one, "{device}");
        }
    }
}
