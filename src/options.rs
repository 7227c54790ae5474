//! [`Options`]: how a [`Segmenter`](crate::Segmenter) is made.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    Error, MAX_SIDE, Result,
    onnx::{NATIVE_SIDES, TensorLayout},
    palette::Palette,
};

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The best that works here: TensorRT is never chosen by itself, CUDA before the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU through CUDA; an error where that does not work.
    Cuda,
    /// An NVIDIA GPU through TensorRT; an error where that does not work.
    TensorRt,
}

impl Provider {
    /// The name as users write it: `auto`, `cpu`, `cuda` or `tensorrt`.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Auto => "auto",
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }
}

/// At which size the network sees a frame. Labels come out at the frame's size in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeMode {
    /// Pads frames of about the size that the network was trained on, its native side ([`Options::native_side`]), and resamples
    /// others to that size, keeping their proportions up to the rounding of both sides to multiples of the stride. A frame's
    /// own side is the square root of width times height; from 4/5 to 5/4 of the native side it is padded. Models whose
    /// native side is not known pad all frames.
    Auto,
    /// Pads at the right and at the bottom up to the next multiple of the stride, with the colour that normalises to 0
    /// (black for networks that take bytes), and crops the labels back.
    Pad,
    /// Resamples the frame (bilinear) to `width` x `height`, both rounded up to multiples of the stride, and the scores
    /// back to the frame's size before the labels are taken. 0 means the frame's own side.
    Resize {
        /// Columns of the working size, 0 for the frame's own.
        width: u32,
        /// Rows of the working size, 0 for the frame's own.
        height: u32,
    },
    /// As [`SizeMode::Resize`], to the size whose shorter side has this many pixels, keeping proportions up to the rounding to
    /// multiples of the stride.
    ShortSide(u32),
    /// Covers the frame with rectangles whose sides the stride divides; where rectangles overlap, the mean of their
    /// scores counts (d2l.ai chapter 13.11, exercise 3). 0 means the size of the crops the network was trained on, or
    /// 320 rows by 480 columns where the model does not say.
    Tile {
        /// Columns of a rectangle, 0 for the default.
        width: u32,
        /// Rows of a rectangle, 0 for the default.
        height: u32,
        /// The least number of columns and rows that neighbours share.
        overlap: u32,
    },
}

/// In which order a network takes the colours of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// How urgent a message to the log callback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What the library decided, for example which provider runs.
    Info,
    /// Something that works, but not as well as it could.
    Warning,
    /// Something that failed.
    Error,
}

/// Receives messages; called from whichever thread has something to say, also from several at once.
pub type LogCallback = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// How a [`Segmenter`](crate::Segmenter) is made. `Options::default()` suits most programs.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Where the network runs.
    pub provider: Provider,
    /// Which GPU, counted from 0.
    pub device: u32,
    /// Threads that work on one frame, 1 to 256; 0 means one for each CPU this process may run on.
    pub threads: u32,
    /// How many frames can be in work at once, 1 to 64; 0 means 1. Each session has its own memory,
    /// and its own copy of the weights.
    pub sessions: u32,
    /// The longest time that a frame may take, the wait for a free session included; then it fails with
    /// [`Error::Timeout`]. Without it frames take what they take. Creating the segmenter may take as
    /// long, but at least 10 seconds. A layer in progress is not interrupted.
    pub timeout: Option<Duration>,
    /// At most this many bytes of GPU memory for each session; 0 means no limit.
    pub gpu_memory_limit: usize,
    /// The file of ONNX Runtime's library; without it `ORT_DYLIB_PATH`, the folder of libfcn and the system are searched.
    pub runtime_library: Option<PathBuf>,
    /// An existing folder in which optimized networks are kept, in a folder of its own of mode 0700, so that creating the same
    /// segmenter again is faster; `None` keeps none. Entries of other models, options, versions, providers or processors, and
    /// those that another user can write, are not used.
    pub cache: Option<PathBuf>,
    /// At which size the network sees a frame: [`SizeMode::Auto`], or for a model of one fixed size [`SizeMode::Resize`].
    pub size_mode: Option<SizeMode>,
    /// The size of frames that the network labels best, for [`SizeMode::Auto`]: the square root of width times height of the
    /// photos it was trained on, in pixels, 16 to 32767. Overrides the model card.
    pub native_side: Option<u32>,
    /// What each value (0 to 255) of a channel is multiplied by before mean and std: `(value * scale - mean) / std`. Finite
    /// and greater than 0; without it 1 / 255. Not for networks that take bytes.
    pub scale: Option<f32>,
    /// Subtracted from each channel (red, green, blue) after that; wins over the model card. Networks of one channel have the
    /// first.
    pub mean: Option<[f32; 3]>,
    /// Divides each channel after that; finite and greater than 0; wins over the model card.
    pub std: Option<[f32; 3]>,
    /// The order of the network's channels; wins over the model card, without which it is RGB.
    pub channel_order: Option<ChannelOrder>,
    /// The layout of the network's input, where its shape does not tell.
    pub input_layout: Option<TensorLayout>,
    /// The name of the output that is the segmentation; without it the first that can be one.
    pub output: Option<String>,
    /// The layout of that output, where its shape does not tell.
    pub output_layout: Option<TensorLayout>,
    /// Whether the scores of that output are probabilities (0 to 1) and not logits. Without it they are where the network
    /// ends with a softmax or a sigmoid.
    pub probabilities: Option<bool>,
    /// For networks whose classes do not exclude each other (multilabel: a sigmoid for each), and for those of one score: the
    /// probability that a class must reach, 0 to 1 exclusive. A pixel belongs to the class with the highest score, or to the
    /// background if none reaches it. The background is class 0, in front of the network's own, and confidence is the softmax of all
    /// logits, the background's being that of this probability. Without it the highest score of several classes counts, however
    /// low, and a single one is foreground above 0.5. Not for models with a card or a softmax.
    pub multilabel: Option<f32>,
    /// The names of the classes in index order; wins over the model card.
    pub class_names: Option<Vec<String>>,
    /// The colours of the classes by their index; wins over the model card. Without either they are Pascal VOC's.
    pub palette: Option<Palette>,
    /// Whether also the CPU runs networks in the form for GPUs, which is slower there: how that form is tested where there is
    /// no GPU.
    #[doc(hidden)]
    pub device_graph: bool,
    /// Receives what the library and ONNX Runtime have to say; without it nobody hears it.
    pub log: Option<LogCallback>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("provider", &self.provider)
            .field("device", &self.device)
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

impl Options {
    /// Whether each value lies in its range.
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
        match self.size_mode {
            Some(SizeMode::ShortSide(pixels)) if !(1..=MAX_SIDE).contains(&pixels) => {
                wrong(format!("a short side of {pixels} pixels is asked for; 1 to {MAX_SIDE} are possible"))
            }
            Some(SizeMode::Resize { width, height } | SizeMode::Tile { width, height, .. })
                if width > MAX_SIDE || height > MAX_SIDE =>
            {
                wrong(format!(
                    "a size of {width} x {height} pixels is asked for; at most {MAX_SIDE} a side are possible"
                ))
            }
            Some(SizeMode::Tile { width, height, overlap })
                if [width, height].into_iter().any(|side| side != 0 && overlap >= side) =>
            {
                wrong(format!(
                    "tiles of {width} x {height} pixels cannot share {overlap}; the overlap must be less than a side"
                ))
            }
            _ => Ok(()),
        }
    }
}
