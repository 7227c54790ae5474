//! The options of `trainer train` that determine a run.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use crate::augment::Jitter;
use crate::class_weights::{ClassWeights, WeightSource};
use crate::config::Config;
use crate::data::{MissingMasks, Place, TRAIN_SPLIT};
use crate::error::Result;
use crate::model::{Architecture, Backbone, Init, UpsampleTraining};
use crate::optimizer::Method;
use crate::recipe::{Recipe, RecipeRates};
use crate::schedule::Schedule;

use super::start;

/// The settings of a run. Defaults come from the recipe.
#[derive(Debug, Default, PartialEq, Args)]
pub(super) struct Setup {
    /// The folder of the data set: in the Pascal VOC layout (JPEGImages, SegmentationClass,
    /// ImageSets/Segmentation and, for classes other than Pascal VOC's, labelmap.txt), labelme's
    /// .json files, YOLO's polygons (images, labels), or folders of photos and masks side by side
    /// (images, masks; JPEGImages, SegmentationClass).
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["resume", "images"], conflicts_with = "images")]
    pub(super) data: Option<PathBuf>,

    /// A folder of photos, with --masks.
    #[arg(long, value_name = "FOLDER", requires = "masks")]
    pub(super) images: Option<PathBuf>,

    /// The folder of the masks of --images: PNG files with the photos' names, optionally with a
    /// suffix such as _mask.
    #[arg(long, value_name = "FOLDER", requires = "images")]
    masks: Option<PathBuf>,

    /// Hold out this share of the photos for validation, chosen by the seed and their names, and
    /// train on the others; RUN/dataset.json lists both. For data sets without splits [default:
    /// validate on --val-split].
    #[arg(long, value_name = "SHARE", conflicts_with = "val_split")]
    val_share: Option<f64>,

    /// A new folder for the run: the checkpoints last.safetensors and best.safetensors,
    /// metrics.csv, TensorBoard event files, and sessions.jsonl, with a line per start of the
    /// trainer.
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,

    /// A .safetensors or .pth file with torchvision's parameter names (for MobileNets and
    /// EfficientViT timm's, for EfficientNets those of their files), or a checkpoint of a run with
    /// the same backbone, for example of an fcn32s to start an fcn16s from. Missing parameters, and
    /// head layers of another shape, are newly initialised. `none`: random initialisation [default:
    /// none; the recipe d2l requires a file].
    #[arg(long, value_name = "FILE|none")]
    weights: Option<PathBuf>,

    /// The base settings; all other options override them [default: small for fewer than 200
    /// training photos, otherwise standard].
    #[arg(long, value_enum)]
    recipe: Option<Recipe>,

    /// The split to train on: a list in ImageSets/Segmentation, without .txt [default: train; with
    /// --val-share also the only one there is].
    #[arg(long, value_name = "SPLIT")]
    train_split: Option<String>,

    /// The split to validate on [default: val].
    #[arg(long, value_name = "SPLIT")]
    val_split: Option<String>,

    /// How to treat photos that a split lists but that have no mask; CVAT exports photos without
    /// annotations this way [default: refuse].
    #[arg(long, value_name = "WHAT", value_enum)]
    missing_masks: Option<MissingMasks>,

    /// The head, which determines how fine its features are [default: fcn8s].
    #[arg(long, value_enum)]
    arch: Option<Architecture>,

    /// The network that extracts features [default: efficientnet_lite0].
    #[arg(long, value_enum)]
    backbone: Option<Backbone>,

    /// Whether the final upsampling is trained; a frozen one interpolates, is faster and gives
    /// smoother outlines [default: frozen].
    #[arg(long, value_enum)]
    upsample: Option<UpsampleTraining>,

    /// The initialisation of the final upsampling [default: bilinear].
    #[arg(long, value_enum)]
    init: Option<Init>,

    /// Epochs over the training split [default: 30; small: as many as 300 steps need].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,

    /// Crops per step [default: 8, or all photos if there are fewer].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Height and width of the crops in pixels, multiples of 32 [default: 320x320].
    #[arg(long, value_name = "HxW")]
    crop: Option<Pair<usize, 'x'>>,

    /// The smallest and the largest scale factor applied to photos before the crop [default:
    /// 0.5,2].
    #[arg(long, value_name = "MIN,MAX")]
    scale: Option<Pair<f32, ','>>,

    /// The largest share of a crop's pixels that one class may have, 0.01 to 1; up to ten positions
    /// are tried. Below 1, crops with a single class are avoided as well; 1: no limit [default:
    /// 0.75].
    #[arg(long, value_name = "SHARE")]
    max_class_share: Option<f32>,

    /// Multiply colours by a random factor from 1 - this to 1 + this, as in torchvision's
    /// ColorJitter; 0 to 1 [default: 0.3].
    #[arg(long, value_name = "SPREAD")]
    brightness: Option<f32>,

    /// The same for the distance to the crop's mean grey [default: 0.3].
    #[arg(long, value_name = "SPREAD")]
    contrast: Option<f32>,

    /// The same for the distance to each pixel's grey [default: 0.3].
    #[arg(long, value_name = "SPREAD")]
    saturation: Option<f32>,

    /// Shift hues at random by at most this share of the colour circle, 0 to 0.5 [default: 0.05].
    #[arg(long, value_name = "SHARE")]
    hue: Option<f32>,

    /// Blur every other crop with a Gaussian whose standard deviation is at most this many pixels,
    /// 0.1 to 20 [default: 0, no blur].
    #[arg(long, value_name = "PIXELS")]
    blur: Option<f32>,

    /// Do not mirror crops at random [default: mirror every other one].
    #[arg(long)]
    no_flip: bool,

    /// Class weights in the loss: one number per class, separated by commas, median-frequency
    /// (counted on the training split), root-median-frequency, or equal [default: equal].
    #[arg(long, value_name = "WEIGHTS")]
    class_weights: Option<ClassWeightsArgument>,

    /// Label smoothing: the share of the target spread over all classes, 0 to 1 [default: 0].
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,

    /// Train on hard pixels only: those whose true class has a probability below this, 0 to 1; with
    /// --ohem-share at least that share of them [default: all pixels].
    #[arg(long, value_name = "PROBABILITY")]
    ohem_probability: Option<f64>,

    /// Train on this share of a step's pixels, the hardest ones, 0 to 1 [default: all pixels].
    #[arg(long, value_name = "SHARE")]
    ohem_share: Option<f64>,

    /// The optimizer [default: adamw].
    #[arg(long, value_enum)]
    optimizer: Option<Method>,

    /// The initial learning rate [default: 0.0005; sgd: 0.02].
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// SGD's momentum or AdamW's beta 1, from 0 to below 1 [default: 0.9].
    #[arg(long, value_name = "SHARE")]
    momentum: Option<f64>,

    /// AdamW's beta 2, from 0 to below 1 [default: 0.999].
    #[arg(long, value_name = "SHARE")]
    beta2: Option<f64>,

    /// The optimizer's weight decay [default: 0.02; sgd: 0.0001].
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,

    /// The factor on the head's learning rate [default: 2; sgd: 1].
    #[arg(long, value_name = "FACTOR")]
    head_lr_factor: Option<f64>,

    /// The learning rate schedule [default: poly].
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,

    /// The epochs after which the schedule step lowers the learning rate, separated by commas.
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    lr_steps: Option<Vec<u64>>,

    /// The factor by which the schedule step lowers the learning rate [default: 0.1].
    #[arg(long, value_name = "FACTOR")]
    lr_gamma: Option<f64>,

    /// Batches over which the learning rate rises to its full value at the start [default: a
    /// twentieth of the run, at most 100].
    #[arg(long, value_name = "BATCHES")]
    warmup: Option<u64>,

    /// Freeze batch normalisation, yes or no: for few photos, or batches too small for statistics
    /// [default: no; small: yes].
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no)]
    freeze_norm: Option<bool>,

    /// With several --devices, normalise by the statistics of all ranks' batches instead of each
    /// rank's own, as with one device; slower. For few crops per rank.
    #[arg(long)]
    sync_norm: bool,

    /// Training crops over which batch normalisation statistics are estimated before each
    /// validation, with the current weights: the running ones lag behind weights that change fast,
    /// as in small runs. 0 uses the running ones [default: 96].
    #[arg(long, value_name = "N")]
    norm_crops: Option<usize>,

    /// Batches accumulated per optimizer step [default: 1].
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,

    /// Clip gradients whose norm over all parameters exceeds this [default: no limit].
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,

    /// Measure and export an exponential average of the weights with this decay per step; 0: no
    /// average [default: 0.998].
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,

    /// The seed of all random numbers: the same seed gives the same run [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Epochs between validations; the last epoch always has one [default: as many as give about 15
    /// validations].
    #[arg(long, value_name = "N")]
    val_every: Option<u64>,

    /// Stop after this many validations without a better mean IoU over the classes in the truth
    /// [default: train all epochs].
    #[arg(long, value_name = "N")]
    patience: Option<u64>,

    /// Compute in float16 where libtorch considers it safe (autocast), with a constant loss scale;
    /// CUDA only. No run has completed with it yet.
    #[arg(long)]
    autocast: bool,
}

fn yes_or_no(text: &str) -> std::result::Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no is expected".to_owned()),
    }
}

/// Two numbers with a separator between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair<T, const SIGN: char>(pub(super) T, pub(super) T);

impl<T: FromStr, const SIGN: char> FromStr for Pair<T, SIGN> {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once(SIGN).and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        numbers.map(|(a, b)| Pair(a, b)).ok_or_else(|| format!("two numbers with '{SIGN}' between them are expected"))
    }
}

/// Class weights as given on the command line.
#[derive(Debug, Clone, PartialEq)]
struct ClassWeightsArgument(ClassWeights);

impl FromStr for ClassWeightsArgument {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let source = match text {
            "equal" => WeightSource::Equal,
            "median-frequency" => WeightSource::MedianFrequency,
            "root-median-frequency" => WeightSource::RootMedianFrequency,
            _ => {
                let values = text.split(',').map(|number| number.trim().parse()).collect::<std::result::Result<_, _>>();
                let values = values.map_err(|_| {
                    "numbers with commas between them, median-frequency, root-median-frequency or equal are expected"
                })?;
                return Ok(ClassWeightsArgument(ClassWeights { source: WeightSource::Given, values }));
            }
        };
        Ok(ClassWeightsArgument(ClassWeights { source, values: Vec::new() }))
    }
}

impl Setup {
    /// The file with a new run's initial parameters.
    pub(super) fn start(&self) -> Result<Option<&Path>> {
        start::file(self.weights.as_deref(), self.recipe == Some(Recipe::D2l))
    }

    /// The recipe and the configuration of a run on `data`.
    pub(super) fn config(&self, data: &Path) -> Result<(Recipe, Config)> {
        let missing_masks = self.missing_masks.unwrap_or_default();
        let place = Place { root: data.to_owned(), masks: self.masks.clone(), missing_masks };
        let (train_split, train) = match (self.val_share, &self.train_split) {
            (Some(_), named) => place.open_whole(named.as_deref())?,
            (None, named) => {
                let split = named.clone().unwrap_or(TRAIN_SPLIT.to_owned());
                let train = place.open(&split)?;
                (split, train)
            }
        };
        let photos = train.len() as f64 * (1.0 - self.val_share.unwrap_or(0.0).clamp(0.0, 1.0));
        let recipe = self.recipe.unwrap_or(Recipe::for_photos(photos as usize));
        Ok((recipe, self.fill(recipe.config(photos as usize, self.batch, self.epochs), place, train_split)))
    }

    /// A recipe with the options given by the user.
    fn fill(&self, recipe: Config, place: Place, train_split: String) -> Config {
        let optimizer = self.optimizer.unwrap_or(recipe.optimizer);
        let own =
            RecipeRates { lr: recipe.lr, weight_decay: recipe.weight_decay, head_lr_factor: recipe.head_lr_factor };
        let rates = if optimizer == recipe.optimizer { own } else { RecipeRates::of(optimizer) };
        Config {
            data: place.root,
            masks: place.masks,
            val_share: self.val_share,
            train_split,
            val_split: self.val_split.clone().unwrap_or(recipe.val_split),
            arch: self.arch.unwrap_or(recipe.arch),
            backbone: self.backbone.unwrap_or(recipe.backbone),
            upsample: self.upsample.unwrap_or(recipe.upsample),
            init: self.init.unwrap_or(recipe.init),
            epochs: recipe.epochs,
            batch: recipe.batch,
            crop: self.crop.map_or(recipe.crop, |Pair(height, width)| (height, width)),
            scale: self.scale.map_or(recipe.scale, |Pair(low, high)| (low, high)),
            flip: recipe.flip && !self.no_flip,
            max_class_share: self.max_class_share.unwrap_or(recipe.max_class_share),
            jitter: Jitter {
                brightness: self.brightness.unwrap_or(recipe.jitter.brightness),
                contrast: self.contrast.unwrap_or(recipe.jitter.contrast),
                saturation: self.saturation.unwrap_or(recipe.jitter.saturation),
                hue: self.hue.unwrap_or(recipe.jitter.hue),
            },
            blur: self.blur.unwrap_or(recipe.blur),
            class_weights: self
                .class_weights
                .clone()
                .map_or(recipe.class_weights, |ClassWeightsArgument(weights)| weights),
            label_smoothing: self.label_smoothing.unwrap_or(recipe.label_smoothing),
            ohem_probability: self.ohem_probability.or(recipe.ohem_probability),
            ohem_share: self.ohem_share.or(recipe.ohem_share),
            optimizer,
            lr: self.lr.unwrap_or(rates.lr),
            momentum: self.momentum.unwrap_or(recipe.momentum),
            beta2: self.beta2.unwrap_or(recipe.beta2),
            weight_decay: self.weight_decay.unwrap_or(rates.weight_decay),
            head_lr_factor: self.head_lr_factor.unwrap_or(rates.head_lr_factor),
            schedule: self.schedule.unwrap_or(recipe.schedule),
            lr_steps: self.lr_steps.clone().unwrap_or(recipe.lr_steps),
            lr_gamma: self.lr_gamma.unwrap_or(recipe.lr_gamma),
            warmup: self.warmup.unwrap_or(recipe.warmup),
            freeze_norm: self.freeze_norm.unwrap_or(recipe.freeze_norm),
            sync_norm: self.sync_norm || recipe.sync_norm,
            norm_crops: self.norm_crops.unwrap_or(recipe.norm_crops),
            accumulate: self.accumulate.unwrap_or(recipe.accumulate),
            clip: self.clip.or(recipe.clip),
            ema: self.ema.or(recipe.ema).filter(|decay| *decay != 0.0),
            seed: self.seed.unwrap_or(recipe.seed),
            val_every: self.val_every.unwrap_or(recipe.val_every),
            patience: self.patience.or(recipe.patience),
            autocast: self.autocast || recipe.autocast,
            drop_small: recipe.drop_small,
            missing_masks: place.missing_masks,
            void_is_background: recipe.void_is_background,
            background: recipe.background,
            sum_over_batch: recipe.sum_over_batch,
        }
    }
}
