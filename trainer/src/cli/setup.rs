//! The options of `trainer train` that determine a run.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::augment::Jitter;
use crate::class_weights::{ClassWeights, Source};
use crate::config::Config;
use crate::data::MissingMasks;
use crate::error::Result;
use crate::model::{Architecture, Backbone, Init, Upsampling};
use crate::optimizer::Method;
use crate::schedule::Schedule;

use super::start;

/// AdamW's learning rate and weight decay where none are given.
const ADAMW: (f64, f64) = (5e-4, 0.01);

/// Settings to begin with, which the options change one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Void ignored, momentum, poly schedule, random scale, flip and crop.
    Default,
    /// Dive into Deep Learning, section 13.11, to the letter: ResNet-18, fcn32s, 320 x 480 crops of the photos that are
    /// not smaller, batch 32, plain SGD with rate 0.001, 5 epochs, void as background, losses summed over the batch.
    D2l,
}

/// What a run is determined by. Defaults are those of the default preset.
#[derive(Debug, Default, PartialEq, Args)]
pub(super) struct Setup {
    /// The folder with JPEGImages, SegmentationClass, ImageSets/Segmentation and, for other classes than Pascal VOC's,
    /// labelmap.txt.
    #[arg(long, value_name = "FOLDER", required_unless_present = "resume")]
    pub(super) data: Option<PathBuf>,

    /// A new folder for the run: the checkpoints last.safetensors and best.safetensors, metrics.csv, TensorBoard's event
    /// files, and sessions.jsonl, a line for each start of the trainer.
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,

    /// A .safetensors or .pth file with parameters under torchvision's names (or EfficientNet-Lite0's), or a checkpoint
    /// of a run with the same backbone, for example of an fcn32s to start an fcn16s from; what it lacks, and layers of
    /// the head that have another shape, start fresh. `none`: all start at random [default: none; the preset d2l asks for a
    /// file].
    #[arg(long, value_name = "FILE|none")]
    weights: Option<PathBuf>,

    /// Settings to begin with; every other option given here wins over them [default: default].
    #[arg(long, value_enum)]
    preset: Option<Preset>,

    /// The split to train on: a list in ImageSets/Segmentation, without .txt [default: train].
    #[arg(long, value_name = "SPLIT")]
    train_split: Option<String>,

    /// The split to measure on [default: val].
    #[arg(long, value_name = "SPLIT")]
    val_split: Option<String>,

    /// What becomes of photos that a split lists and that have no mask, as CVAT exports photos without annotations
    /// [default: refuse].
    #[arg(long, value_name = "WHAT", value_enum)]
    missing_masks: Option<MissingMasks>,

    /// The head: how fine the features are that scores are made of [default: fcn8s].
    #[arg(long, value_enum)]
    arch: Option<Architecture>,

    /// The network that makes features out of pixels [default: efficientnet_lite0].
    #[arg(long, value_enum)]
    backbone: Option<Backbone>,

    /// Whether the final upsampling is trained; a frozen one interpolates: it runs faster and has smoother outlines [default: frozen].
    #[arg(long, value_enum)]
    upsample: Option<Upsampling>,

    /// How the final upsampling starts [default: bilinear].
    #[arg(long, value_enum)]
    init: Option<Init>,

    /// Passes over the training split [default: 30].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,

    /// Crops in a step [default: 8].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Height and width of the crops in pixels; 32 must divide both [default: 320x320].
    #[arg(long, value_name = "HxW")]
    crop: Option<Pair<usize, 'x'>>,

    /// The smallest and the largest factor that photos are scaled by before the crop [default: 0.5,2].
    #[arg(long, value_name = "MIN,MAX")]
    scale: Option<Pair<f32, ','>>,

    /// The largest share of a crop's pixels that one class may have, 0.01 to 1; up to ten places on the photo are tried.
    /// Below 1, crops of one class alone are avoided as well; 0.75 is usual [default: 1, no limit].
    #[arg(long, value_name = "SHARE")]
    max_class_share: Option<f32>,

    /// Multiply colours by a random factor from 1 - this to 1 + this, as torchvision's ColorJitter does; 0 to 1
    /// [default: 0].
    #[arg(long, value_name = "SPREAD")]
    brightness: Option<f32>,

    /// The same for the distance to the crop's mean grey [default: 0].
    #[arg(long, value_name = "SPREAD")]
    contrast: Option<f32>,

    /// The same for the distance to each pixel's grey [default: 0].
    #[arg(long, value_name = "SPREAD")]
    saturation: Option<f32>,

    /// Turn hues at random by at most this share of the colour circle, 0 to 0.5 [default: 0].
    #[arg(long, value_name = "SHARE")]
    hue: Option<f32>,

    /// Blur every other crop with a Gaussian whose standard deviation is at most this many pixels, 0.1 to 20 [default:
    /// 0, no blur].
    #[arg(long, value_name = "PIXELS")]
    blur: Option<f32>,

    /// Do not mirror crops at random [default: mirror every other one].
    #[arg(long)]
    no_flip: bool,

    /// Weights of classes in the loss: a number for each class with commas between them, median-frequency (counted on
    /// the training split), root-median-frequency, or equal [default: equal].
    #[arg(long, value_name = "WEIGHTS")]
    class_weights: Option<Weights>,

    /// The share of the truth that the loss spreads over all classes, 0 to 1 [default: 0].
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,

    /// Learn from hard pixels alone: those whose true class gets less probability than this, 0 to 1; with --ohem-share
    /// at least that share of them [default: all pixels].
    #[arg(long, value_name = "PROBABILITY")]
    ohem_probability: Option<f64>,

    /// Learn from this share of a step's pixels, the hardest ones, 0 to 1 [default: all pixels].
    #[arg(long, value_name = "SHARE")]
    ohem_share: Option<f64>,

    /// How parameters follow their gradients [default: sgd].
    #[arg(long, value_enum)]
    optimizer: Option<Method>,

    /// The learning rate at the start [default: 0.02; adamw: 0.0005].
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// SGD's momentum or AdamW's beta 1, from 0 to below 1 [default: 0.9].
    #[arg(long, value_name = "SHARE")]
    momentum: Option<f64>,

    /// AdamW's beta 2, from 0 to below 1 [default: 0.999].
    #[arg(long, value_name = "SHARE")]
    beta2: Option<f64>,

    /// The optimizer's weight decay [default: 0.0001; adamw: 0.01].
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,

    /// The factor on the learning rate of the head's layers [default: 1].
    #[arg(long, value_name = "FACTOR")]
    head_lr_factor: Option<f64>,

    /// How the learning rate changes from step to step [default: poly].
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,

    /// The epochs after which the schedule step lowers the learning rate, with commas between them.
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    lr_steps: Option<Vec<u64>>,

    /// The factor by which the schedule step lowers the learning rate [default: 0.1].
    #[arg(long, value_name = "FACTOR")]
    lr_gamma: Option<f64>,

    /// Batches over which the learning rate rises to its full value at the start [default: 0].
    #[arg(long, value_name = "BATCHES")]
    warmup: Option<u64>,

    /// Keep batch normalisations as they start: for batches too small to have statistics.
    #[arg(long)]
    freeze_norm: bool,

    /// Crops of the training photos over which the statistics of batch normalisation are computed before each validation, under the
    /// weights of that moment: the running ones lag behind weights that change fast, as in small runs. 0 keeps those [default: 96].
    #[arg(long, value_name = "N")]
    norm_crops: Option<usize>,

    /// Batches whose gradients make one step of the optimizer [default: 1].
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,

    /// Shorten gradients whose norm, over all parameters, is larger than this [default: no limit].
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,

    /// Measure and export an exponential average of the weights, with this decay a step; 0.999 is usual [default: no
    /// average].
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,

    /// Where all random numbers come from: the same seed gives the same run [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Epochs from one validation to the next; the last epoch always has one [default: 1].
    #[arg(long, value_name = "N")]
    val_every: Option<u64>,

    /// End the run after this many validations without a better mean IoU [default: train all epochs].
    #[arg(long, value_name = "N")]
    patience: Option<u64>,

    /// Compute in float16 where libtorch deems it safe (its autocast), with a constant loss scale; CUDA only. No run
    /// with it has been seen to its end yet.
    #[arg(long)]
    autocast: bool,
}

/// Two numbers with a sign between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair<T, const SIGN: char>(pub(super) T, pub(super) T);

impl<T: FromStr, const SIGN: char> FromStr for Pair<T, SIGN> {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once(SIGN).and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        numbers.map(|(a, b)| Pair(a, b)).ok_or_else(|| format!("two numbers with '{SIGN}' between them are expected"))
    }
}

/// Class weights as they are written on the command line.
#[derive(Debug, Clone, PartialEq)]
struct Weights(ClassWeights);

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let source = match text {
            "equal" => Source::Equal,
            "median-frequency" => Source::MedianFrequency,
            "root-median-frequency" => Source::RootMedianFrequency,
            _ => {
                let values = text.split(',').map(|number| number.trim().parse()).collect::<std::result::Result<_, _>>();
                let values = values.map_err(|_| {
                    "numbers with commas between them, median-frequency, root-median-frequency or equal are expected"
                })?;
                return Ok(Weights(ClassWeights { source: Source::Given, values }));
            }
        };
        Ok(Weights(ClassWeights { source, values: Vec::new() }))
    }
}

impl Setup {
    /// The file whose parameters a new run starts from.
    pub(super) fn start(&self) -> Result<Option<&Path>> {
        start::file(self.weights.as_deref(), self.preset == Some(Preset::D2l))
    }

    /// The configuration of a run on `data`.
    pub(super) fn config(&self, data: &Path) -> Config {
        let preset = match self.preset.unwrap_or(Preset::Default) {
            Preset::Default => Config::standard(),
            Preset::D2l => Config::d2l(),
        };
        let optimizer = self.optimizer.unwrap_or(preset.optimizer);
        let (lr, weight_decay) = match optimizer == preset.optimizer {
            true => (preset.lr, preset.weight_decay),
            false => ADAMW,
        };
        Config {
            data: data.to_owned(),
            train_split: self.train_split.clone().unwrap_or(preset.train_split),
            val_split: self.val_split.clone().unwrap_or(preset.val_split),
            arch: self.arch.unwrap_or(preset.arch),
            backbone: self.backbone.unwrap_or(preset.backbone),
            upsample: self.upsample.unwrap_or(preset.upsample),
            init: self.init.unwrap_or(preset.init),
            epochs: self.epochs.unwrap_or(preset.epochs),
            batch: self.batch.unwrap_or(preset.batch),
            crop: self.crop.map_or(preset.crop, |Pair(height, width)| (height, width)),
            scale: self.scale.map_or(preset.scale, |Pair(low, high)| (low, high)),
            flip: preset.flip && !self.no_flip,
            max_class_share: self.max_class_share.unwrap_or(preset.max_class_share),
            jitter: Jitter {
                brightness: self.brightness.unwrap_or(preset.jitter.brightness),
                contrast: self.contrast.unwrap_or(preset.jitter.contrast),
                saturation: self.saturation.unwrap_or(preset.jitter.saturation),
                hue: self.hue.unwrap_or(preset.jitter.hue),
            },
            blur: self.blur.unwrap_or(preset.blur),
            class_weights: self.class_weights.clone().map_or(preset.class_weights, |Weights(weights)| weights),
            label_smoothing: self.label_smoothing.unwrap_or(preset.label_smoothing),
            ohem_probability: self.ohem_probability.or(preset.ohem_probability),
            ohem_share: self.ohem_share.or(preset.ohem_share),
            optimizer,
            lr: self.lr.unwrap_or(lr),
            momentum: self.momentum.unwrap_or(preset.momentum),
            beta2: self.beta2.unwrap_or(preset.beta2),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            head_lr_factor: self.head_lr_factor.unwrap_or(preset.head_lr_factor),
            schedule: self.schedule.unwrap_or(preset.schedule),
            lr_steps: self.lr_steps.clone().unwrap_or(preset.lr_steps),
            lr_gamma: self.lr_gamma.unwrap_or(preset.lr_gamma),
            warmup: self.warmup.unwrap_or(preset.warmup),
            freeze_norm: self.freeze_norm || preset.freeze_norm,
            norm_crops: self.norm_crops.unwrap_or(preset.norm_crops),
            accumulate: self.accumulate.unwrap_or(preset.accumulate),
            clip: self.clip.or(preset.clip),
            ema: self.ema.or(preset.ema),
            seed: self.seed.unwrap_or(preset.seed),
            val_every: self.val_every.unwrap_or(preset.val_every),
            patience: self.patience.or(preset.patience),
            autocast: self.autocast || preset.autocast,
            drop_small: preset.drop_small,
            missing_masks: self.missing_masks.unwrap_or(preset.missing_masks),
            void_is_background: preset.void_is_background,
            background: preset.background,
            sum_over_batch: preset.sum_over_batch,
        }
    }
}
