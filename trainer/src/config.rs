//! Everything a training run is determined by. It is stored in the run's checkpoints.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Architecture, Backbone, Init, Network, Upsampling};
use crate::schedule::Schedule;

/// The longest side of a crop in pixels: a photo of any camera has room in it.
const LARGEST_CROP: usize = 16384;
/// More than anyone has time for.
const MOST_EPOCHS: u64 = 1_000_000;

/// A training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The dataset's folder, in the Pascal VOC layout.
    pub data: PathBuf,
    /// The split that is trained on.
    pub train_split: String,
    /// The split that is measured on.
    pub val_split: String,
    /// The head.
    pub arch: Architecture,
    /// The backbone.
    pub backbone: Backbone,
    /// Whether the final upsampling is trained.
    pub upsample: Upsampling,
    /// How the final upsampling starts.
    pub init: Init,
    /// Passes over the training split.
    pub epochs: u64,
    /// Crops in a step.
    pub batch: usize,
    /// Height and width of the crops.
    pub crop: (usize, usize),
    /// The smallest and the largest factor that photos are scaled by.
    pub scale: (f32, f32),
    /// Whether crops are mirrored at random.
    pub flip: bool,
    /// Whether photos smaller than the crop are left out.
    pub drop_small: bool,
    /// Whether void pixels are trained and counted as class 0, as the chapter does.
    pub void_is_background: bool,
    /// Whether the loss is the sum over a step's crops, as the chapter does, instead of their mean.
    pub sum_over_batch: bool,
    /// The learning rate at the start.
    pub lr: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// SGD's weight decay.
    pub weight_decay: f64,
    /// The factor on the head's learning rate.
    pub head_lr_factor: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Where all random numbers come from.
    pub seed: u64,
    /// Epochs from one validation to the next.
    pub val_every: u64,
}

impl Config {
    /// What a practitioner wants.
    pub fn standard() -> Config {
        Config {
            data: PathBuf::new(),
            train_split: "train".to_owned(),
            val_split: "val".to_owned(),
            arch: Architecture::Fcn8s,
            backbone: Backbone::EfficientNetLite0,
            upsample: Upsampling::Learned,
            init: Init::Bilinear,
            epochs: 30,
            batch: 8,
            crop: (320, 320),
            scale: (0.5, 2.0),
            flip: true,
            drop_small: false,
            void_is_background: false,
            sum_over_batch: false,
            lr: 0.02,
            momentum: 0.9,
            weight_decay: 1e-4,
            head_lr_factor: 1.0,
            schedule: Schedule::Poly,
            seed: 1,
            val_every: 1,
        }
    }

    /// Dive into Deep Learning, section 13.11, to the letter. Its training step adds up the losses of the batch's
    /// photos, and its labels give void pixels, which its colour table does not have, class 0.
    pub fn d2l() -> Config {
        Config {
            arch: Architecture::Fcn32s,
            backbone: Backbone::ResNet18,
            epochs: 5,
            batch: 32,
            crop: (320, 480),
            scale: (1.0, 1.0),
            flip: false,
            drop_small: true,
            void_is_background: true,
            sum_over_batch: true,
            lr: 0.001,
            momentum: 0.0,
            weight_decay: 1e-3,
            schedule: Schedule::Constant,
            ..Config::standard()
        }
    }

    /// Checks the numbers.
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
        if self.data.to_str().is_none() {
            // The checkpoints could not hold it.
            return Err(Error::new(format!("--data {}: the path is not UTF-8; rename it", self.data.display())));
        }
        let at_least_0 = |name: &str, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::new(format!("{name} {value}: must be a finite number of at least 0"))),
        };
        at_least_0("--lr", self.lr)?;
        at_least_0("--weight-decay", self.weight_decay)?;
        at_least_0("--head-lr-factor", self.head_lr_factor)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::new(format!("--momentum {}: must be at least 0 and below 1", self.momentum)));
        }
        for (name, value) in [("--epochs", self.epochs), ("--val-every", self.val_every)] {
            if !(1..=MOST_EPOCHS).contains(&value) {
                return Err(Error::new(format!("{name} {value}: must be from 1 to {MOST_EPOCHS}")));
            }
        }
        Ok(())
    }
}
