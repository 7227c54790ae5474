//! The settings that determine a training run. They are stored in the run's checkpoints.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::augment::{Jitter, LEAST_BLUR};
use crate::class_weights::{ClassWeights, WeightSource};
use crate::data::{MissingMasks, Place, TRAIN_SPLIT};
use crate::error::{Error, Result};
use crate::model::{Architecture, Backbone, Init, Network, UpsampleTraining};
use crate::optimizer::Method;
use crate::schedule::Schedule;

/// The longest crop side in pixels, enough for photos of any camera.
const LARGEST_CROP: usize = 16384;
/// A wider blur leaves nothing recognisable.
const LARGEST_BLUR: f64 = 20.0;
/// More batches than any step needs.
const MOST_ACCUMULATED: usize = 10_000;
/// More crops than any statistics need.
const MOST_NORM_CROPS: usize = 100_000;
/// Longer than any practical run.
const MOST_EPOCHS: u64 = 1_000_000;

/// A training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The data set's folder, or the folder of the photos if `masks` is given.
    pub data: PathBuf,
    /// The folder of the masks.
    #[serde(default)]
    pub masks: Option<PathBuf>,
    /// The share of the training split that is held out for validation.
    #[serde(default)]
    pub val_share: Option<f64>,
    /// The training split.
    pub train_split: String,
    /// The validation split.
    pub val_split: String,
    /// The head.
    pub arch: Architecture,
    /// The backbone.
    pub backbone: Backbone,
    /// Whether the final upsampling is trained.
    pub upsample: UpsampleTraining,
    /// How the final upsampling is initialised.
    pub init: Init,
    /// Epochs over the training split.
    pub epochs: u64,
    /// Crops per step.
    pub batch: usize,
    /// Height and width of the crops.
    pub crop: (usize, usize),
    /// The smallest and the largest scale factor of photos.
    pub scale: (f32, f32),
    /// Whether crops are mirrored at random.
    pub flip: bool,
    /// The largest share of a crop that one class may have; 1: no limit.
    #[serde(default = "one")]
    pub max_class_share: f32,
    /// Random colour changes.
    #[serde(default)]
    pub jitter: Jitter,
    /// The largest standard deviation of the blur in pixels; 0: none.
    #[serde(default)]
    pub blur: f32,
    /// Whether photos smaller than the crop are skipped.
    pub drop_small: bool,
    /// How photos without a mask are treated.
    #[serde(default)]
    pub missing_masks: MissingMasks,
    /// Whether void pixels are trained and counted as background (class 0 if no class has such a
    /// name), as in the chapter.
    pub void_is_background: bool,
    /// The background class, found by name when a run starts; 0 if no class has such a name.
    #[serde(default)]
    pub background: u8,
    /// Whether the loss is the sum over a step's crops, as in the chapter, instead of their mean.
    pub sum_over_batch: bool,
    /// Class weights in the loss.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// Label smoothing: the share of the target spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Only pixels whose true class has less probability than this count, ...
    #[serde(default)]
    pub ohem_probability: Option<f64>,
    /// ... and at least this share of them.
    #[serde(default)]
    pub ohem_share: Option<f64>,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Method,
    /// The initial learning rate.
    pub lr: f64,
    /// SGD's momentum, AdamW's beta 1.
    pub momentum: f64,
    /// AdamW's beta 2.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// The optimizer's weight decay.
    pub weight_decay: f64,
    /// The factor on the head's learning rate.
    pub head_lr_factor: f64,
    /// The learning rate schedule.
    pub schedule: Schedule,
    /// Epochs after which the schedule `step` lowers the learning rate ...
    #[serde(default)]
    pub lr_steps: Vec<u64>,
    /// ... by this factor.
    #[serde(default = "gamma")]
    pub lr_gamma: f64,
    /// Batches over which the learning rate rises at the start.
    #[serde(default)]
    pub warmup: u64,
    /// Whether batch normalisation is frozen.
    #[serde(default)]
    pub freeze_norm: bool,
    /// Whether batch normalisation takes its statistics from the batches of all ranks.
    #[serde(default)]
    pub sync_norm: bool,
    /// Crops over which batch normalisation statistics are estimated before each validation; 0
    /// keeps the running ones.
    #[serde(default)]
    pub norm_crops: usize,
    /// Batches accumulated per optimizer step.
    #[serde(default = "one_batch")]
    pub accumulate: usize,
    /// The largest norm of all gradients together.
    #[serde(default)]
    pub clip: Option<f64>,
    /// The decay of the averaged weights that are measured and exported.
    #[serde(default)]
    pub ema: Option<f64>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Epochs between validations.
    pub val_every: u64,
    /// Validations without a better mean IoU after which the run stops.
    #[serde(default)]
    pub patience: Option<u64>,
    /// Whether the network computes in float16 where libtorch considers it safe; CUDA only.
    #[serde(default)]
    pub autocast: bool,
}

// The behaviour of runs from before these settings existed.
fn one() -> f32 {
    1.0
}
fn one_batch() -> usize {
    1
}
fn beta2() -> f64 {
    0.999
}
fn gamma() -> f64 {
    0.1
}

impl Config {
    /// The recipe `standard` for a data set that is not small; [`Recipe`](crate::recipe::Recipe)
    /// adapts it to the photos.
    pub fn standard() -> Config {
        Config {
            data: PathBuf::new(),
            masks: None,
            val_share: None,
            train_split: TRAIN_SPLIT.to_owned(),
            val_split: "val".to_owned(),
            arch: Architecture::Fcn8s,
            backbone: Backbone::EfficientNetLite0,
            upsample: UpsampleTraining::Frozen,
            init: Init::Bilinear,
            epochs: 30,
            batch: 8,
            crop: (320, 320),
            scale: (0.5, 2.0),
            flip: true,
            max_class_share: 0.75,
            jitter: Jitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.05 },
            blur: 0.0,
            drop_small: false,
            missing_masks: MissingMasks::default(),
            void_is_background: false,
            background: 0,
            sum_over_batch: false,
            class_weights: ClassWeights::default(),
            label_smoothing: 0.0,
            ohem_probability: None,
            ohem_share: None,
            optimizer: Method::AdamW,
            lr: 5e-4,
            momentum: 0.9,
            beta2: beta2(),
            weight_decay: 0.02,
            head_lr_factor: 2.0,
            schedule: Schedule::Poly,
            lr_steps: Vec::new(),
            lr_gamma: gamma(),
            warmup: 100,
            freeze_norm: false,
            sync_norm: false,
            norm_crops: 96,
            accumulate: one_batch(),
            clip: None,
            ema: Some(0.998),
            seed: 1,
            val_every: 1,
            patience: None,
            autocast: false,
        }
    }

    /// The location of photos and masks.
    pub fn place(&self) -> Place {
        Place { root: self.data.clone(), masks: self.masks.clone(), missing_masks: self.missing_masks }
    }

    /// Checks the values.
    pub fn check(&self) -> Result<()> {
        let (height, width) = self.crop;
        let stride = Network::STRIDE;
        if height == 0 || width == 0 || height % stride != 0 || width % stride != 0 {
            return Err(Error::new(format!(
                "--crop {height}x{width}: {stride} must divide both sides, because the network's coarsest features \
                 have that stride"
            )));
        }
        if height.max(width) > LARGEST_CROP {
            return Err(Error::new(format!("--crop {height}x{width}: sides are at most {LARGEST_CROP} pixels")));
        }
        if self.batch == 1 && (height, width) == (stride, stride) {
            return Err(Error::new(format!(
                "--crop {height}x{width} with --batch 1 leaves one value a channel, which batch normalisation cannot \
                 learn from; choose a larger crop or batch"
            )));
        }
        if let Some(path) =
            [Some(&self.data), self.masks.as_ref()].into_iter().flatten().find(|path| path.to_str().is_none())
        {
            // JSON in checkpoints cannot hold it.
            return Err(Error::new(format!("{}: the path is not UTF-8; rename it", path.display())));
        }
        if let Some(share) = self.val_share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(Error::new(format!("--val-share {share}: must be above 0 and below 1")));
        }
        let at_least_0 = |name: &str, value: f64| {
            if value >= 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(Error::new(format!("{name} {value}: must be a finite number of at least 0")))
            }
        };
        at_least_0("--lr", self.lr)?;
        at_least_0("--weight-decay", self.weight_decay)?;
        at_least_0("--head-lr-factor", self.head_lr_factor)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::new(format!("--momentum {}: must be at least 0 and below 1", self.momentum)));
        }
        self.check_augmentation()?;
        self.check_learning()?;
        let patience = self.patience.unwrap_or(1);
        for (name, value) in [("--epochs", self.epochs), ("--val-every", self.val_every), ("--patience", patience)] {
            if !(1..=MOST_EPOCHS).contains(&value) {
                return Err(Error::new(format!("{name} {value}: must be from 1 to {MOST_EPOCHS}")));
            }
        }
        Ok(())
    }

    fn check_augmentation(&self) -> Result<()> {
        let Jitter { brightness, contrast, saturation, hue } = self.jitter;
        within("--brightness", brightness.into(), 0.0..=1.0)?;
        within("--contrast", contrast.into(), 0.0..=1.0)?;
        within("--saturation", saturation.into(), 0.0..=1.0)?;
        within("--hue", hue.into(), 0.0..=0.5)?;
        if self.blur != 0.0 {
            within("--blur", self.blur.into(), LEAST_BLUR.into()..=LARGEST_BLUR)?;
        }
        within("--max-class-share", self.max_class_share.into(), 0.01..=1.0)
    }

    fn check_learning(&self) -> Result<()> {
        within("--label-smoothing", self.label_smoothing, 0.0..=1.0)?;
        let optional = |name: &str, value: Option<f64>, range| value.map_or(Ok(()), |value| within(name, value, range));
        optional("--ohem-probability", self.ohem_probability, 1e-6..=1.0)?;
        optional("--ohem-share", self.ohem_share, 1e-6..=1.0)?;
        optional("--clip", self.clip, 1e-12..=f64::MAX)?;
        optional("--ema", self.ema, 0.0..=1.0 - 1e-9)?;
        within("--beta2", self.beta2, 0.0..=1.0 - 1e-9)?;
        within("--lr-gamma", self.lr_gamma, 0.0..=1.0)?;
        if self.norm_crops > MOST_NORM_CROPS {
            return Err(Error::new(format!("--norm-crops {}: must be from 0 to {MOST_NORM_CROPS}", self.norm_crops)));
        }
        if self.init == Init::Xavier && self.upsample == UpsampleTraining::Frozen {
            return Err(Error::new("--init xavier: random numbers must be trained; add --upsample learned"));
        }
        for weight in &self.class_weights.values {
            within("--class-weights", *weight, 0.0..=1e6)?;
        }
        if self.class_weights.source == WeightSource::Given
            && self.class_weights.values.iter().all(|weight| *weight == 0.0)
        {
            return Err(Error::new("--class-weights: all of them are 0; at least one class must have a weight"));
        }
        if !(1..=MOST_ACCUMULATED).contains(&self.accumulate) {
            return Err(Error::new(format!(
                "--accumulate {}: must be from 1 to {MOST_ACCUMULATED} batches",
                self.accumulate
            )));
        }
        let falls = self.schedule == Schedule::Step;
        if falls == self.lr_steps.is_empty() {
            return Err(Error::new(if falls {
                "--schedule step needs --lr-steps: the epochs after which the learning rate falls"
            } else {
                "--lr-steps belongs to --schedule step; add it, or leave the epochs out"
            }));
        }
        Ok(())
    }
}

fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(Error::new(format!("{name} {value}: must be from {} to {}", range.start(), range.end())))
    }
}
