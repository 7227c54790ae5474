//! Recipes: the default settings of a run.

use clap::ValueEnum;

use crate::augment::Jitter;
use crate::config::Config;
use crate::model::{Architecture, Backbone, UpsampleTraining};
use crate::optimizer::Method;
use crate::schedule::Schedule;

/// Data sets with fewer training photos are small.
const SMALL: usize = 200;
/// Steps for a small data set: enough to fit its few photos, and few enough to experiment.
const SMALL_STEPS: usize = 300;
/// Validations in a run: enough to follow its progress, and few enough that training takes most of
/// the time.
const VALIDATIONS: usize = 15;
/// The longest warm-up in batches; shorter runs warm up for a twentieth of their length.
const LONGEST_WARM_UP: usize = 100;

/// Base settings, which options override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// The settings behind the bundled models: AdamW with a warm-up, random scales and colours, an
    /// average of the weights.
    Standard,
    /// The same for fewer than 200 photos: as many epochs as 300 steps need, with batch
    /// normalisation frozen at ImageNet's statistics, because a few photos provide no better ones.
    Small,
    /// Dive into Deep Learning, section 13.11, exactly: ResNet-18, fcn32s, 320 x 480 crops without
    /// smaller photos, batch 32, plain SGD with rate 0.001, 5 epochs, void as background, losses
    /// summed over the batch.
    D2l,
}

/// The optimizer's settings in a recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecipeRates {
    /// The initial learning rate.
    pub lr: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// The factor on the head's learning rate.
    pub head_lr_factor: f64,
}

impl RecipeRates {
    /// Defaults for an optimizer other than the recipe's.
    pub fn of(method: Method) -> RecipeRates {
        match method {
            Method::Sgd => RecipeRates { lr: 0.02, weight_decay: 1e-4, head_lr_factor: 1.0 },
            Method::AdamW => RecipeRates { lr: 5e-4, weight_decay: 0.02, head_lr_factor: 2.0 },
        }
    }
}

impl Recipe {
    /// The recipe for a data set with this many training photos.
    pub fn for_photos(photos: usize) -> Recipe {
        if photos < SMALL { Recipe::Small } else { Recipe::Standard }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Standard => "standard",
            Recipe::Small => "small",
            Recipe::D2l => "d2l",
        }
    }

    /// The settings for a data set with this many training photos, given `batch` and `epochs` if
    /// they are already chosen.
    pub fn config(self, photos: usize, batch: Option<usize>, epochs: Option<u64>) -> Config {
        if self == Recipe::D2l {
            let d2l = Recipe::d2l();
            return Config { batch: batch.unwrap_or(d2l.batch), epochs: epochs.unwrap_or(d2l.epochs), ..d2l };
        }
        let mut config = Config::standard();
        config.batch = batch.unwrap_or(config.batch.min(photos.max(1)));
        let steps = (photos / config.batch.max(1)).max(1);
        if self == Recipe::Small {
            config.epochs = SMALL_STEPS.div_ceil(steps) as u64;
            config.freeze_norm = true;
        }
        config.epochs = epochs.unwrap_or(config.epochs);
        config.warmup = (steps * config.epochs as usize / 20).min(LONGEST_WARM_UP) as u64;
        config.val_every = config.epochs.div_ceil(VALIDATIONS as u64).max(1);
        config
    }

    /// Its training step sums the losses of the batch's photos, and its labels map void pixels,
    /// which its colour table does not contain, to class 0.
    fn d2l() -> Config {
        Config {
            arch: Architecture::Fcn32s,
            backbone: Backbone::ResNet18,
            upsample: UpsampleTraining::Learned,
            epochs: 5,
            batch: 32,
            crop: (320, 480),
            scale: (1.0, 1.0),
            flip: false,
            max_class_share: 1.0,
            jitter: Jitter::default(),
            drop_small: true,
            norm_crops: 0,
            void_is_background: true,
            sum_over_batch: true,
            optimizer: Method::Sgd,
            lr: 0.001,
            momentum: 0.0,
            weight_decay: 1e-3,
            head_lr_factor: 1.0,
            schedule: Schedule::Constant,
            warmup: 0,
            ema: None,
            ..Config::standard()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_data_sets_are_passed_over_more_often() {
        // Photos; recipe, batch, epochs, warm-up, epochs from one validation to the next.
        let cases = [
            (1, Recipe::Small, 1, 300, 15, 20),
            (7, Recipe::Small, 7, 300, 15, 20),
            (8, Recipe::Small, 8, 300, 15, 20),
            (45, Recipe::Small, 8, 60, 15, 4),
            (199, Recipe::Small, 8, 13, 15, 1),
            (200, Recipe::Standard, 8, 30, 37, 2),
            (1337, Recipe::Standard, 8, 30, 100, 2),
        ];
        for (photos, recipe, batch, epochs, warmup, val_every) in cases {
            assert_eq!(Recipe::for_photos(photos), recipe, "{photos}");
            let config = recipe.config(photos, None, None);
            let got = (config.batch, config.epochs, config.warmup, config.val_every);
            assert_eq!(got, (batch, epochs, warmup, val_every), "{photos}");
            assert_eq!(config.freeze_norm, recipe == Recipe::Small);
        }
    }

    #[test]
    fn a_shorter_run_warms_up_faster() {
        let config = Recipe::Standard.config(400, None, Some(2));
        assert_eq!((config.epochs, config.warmup, config.val_every), (2, 5, 1));
        let config = Recipe::Small.config(45, Some(4), None);
        assert_eq!((config.batch, config.epochs), (4, 28));
        assert_eq!(Recipe::D2l.config(45, None, None).epochs, 5);
    }
}
