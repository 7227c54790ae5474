//! `trainer evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fcn::{Options, Precision, Provider, SizeMode};
use serde_json::{Value, json};

use super::setup::Pair;
use super::{Audience, DeviceChoice, native_sides};
use crate::confidence::{Reliability, Threshold};
use crate::console::Output;
use crate::data::of_run;
use crate::data::{Dataset, MissingMasks, Place};
use crate::error::{Error, Result};
use crate::evaluate::{Predictor, Views};
use crate::metrics::Confusion;

/// Options of `trainer evaluate`.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// An ONNX file (.onnx; measured through libfcn, as deployed), a checkpoint file, or a run
    /// folder, whose best checkpoint is used.
    model: PathBuf,

    /// The folder of the data set, as for `trainer train`, or of a run, whose photos are used
    /// [default: the run being measured].
    #[arg(long, value_name = "FOLDER", conflicts_with = "images")]
    data: Option<PathBuf>,

    /// A folder of photos, with --masks.
    #[arg(long, value_name = "FOLDER", requires = "masks")]
    images: Option<PathBuf>,

    /// The folder of the masks of --images.
    #[arg(long, value_name = "FOLDER", requires = "images")]
    masks: Option<PathBuf>,

    /// The split to measure on: a list in ImageSets/Segmentation, without .txt, a part of the run
    /// (train, val), or all if the photos are not split.
    #[arg(long, value_name = "SPLIT", default_value = "val")]
    split: String,

    /// How to treat photos that a split lists but that have no mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse")]
    missing_masks: MissingMasks,

    /// Also label each photo mirrored, and average the probabilities; checkpoints only.
    #[arg(long)]
    flip: bool,

    /// Scale factors to label each photo at, separated by commas, for example 0.75,1,1.25;
    /// checkpoints only.
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_value = "1")]
    scales: Vec<f64>,

    /// Measure as if the model's native side were this many pixels, 16 to 32767: the square root of
    /// width times height of the photos that it labels best. Photos near that size are padded,
    /// others are resampled to it [default: the model's].
    #[arg(long, value_name = "PIXELS", value_parser = native_sides(), conflicts_with_all = ["resize", "tile"])]
    native_side: Option<u32>,

    /// Resample each photo to this height and width, and the scores back; both are rounded up to
    /// multiples of 32, and 0 means the photo's own side. ONNX files only [default: see
    /// --native-side].
    #[arg(long, value_name = "HxW", conflicts_with = "tile")]
    resize: Option<Pair<u32, 'x'>>,

    /// Cover each photo with tiles of this height and width, and average the scores where they
    /// overlap. ONNX files only.
    #[arg(long, value_name = "HxW")]
    tile: Option<Pair<u32, 'x'>>,

    /// With --tile, the minimum overlap of neighbours in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "0", requires = "tile")]
    overlap: u32,

    /// The device for checkpoints.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    /// The provider of ONNX Runtime: cpu, or openvino, for which the environment variable
    /// ORT_DYLIB_PATH names an ONNX Runtime that contains it; cuda and tensorrt may conflict with
    /// libtorch's CUDA. ONNX files only [default: cpu].
    #[arg(long, value_name = "NAME")]
    provider: Option<Provider>,

    /// How precisely the provider computes: exact or fast. ONNX files only [default: exact].
    #[arg(long, value_name = "NAME")]
    precision: Option<Precision>,

    /// Count void pixels as background (class 0 if no class has such a name), as the recipe d2l
    /// trains them [default: as the checkpoint was trained].
    #[arg(long)]
    void_is_background: bool,

    /// Suggest the lowest confidence below which pixels should be left unknown (libfcn's
    /// threshold), so that this share of the others is right, for example 0.95.
    #[arg(long, value_name = "SHARE", value_parser = super::share)]
    unknown: Option<f64>,

    #[command(flatten)]
    audience: Audience,
}

impl Evaluate {
    pub(super) fn run(self) -> Result<ExitCode> {
        let place = self.place()?;
        let dataset = place.open(&self.split)?;
        let views = Views::new(self.flip, self.scales.clone())?;
        let mut predictor = match self.options() {
            Some(options) => Predictor::onnx_with(&self.model, &options)?,
            None => Predictor::open(&self.model, self.native_side, self.device.device()?)?,
        }
        .with_views(views)?;
        let void_is_background = self.void_is_background || predictor.void_is_background();
        let bar = self.audience.output().bar(dataset.len() as u64).with_prefix("evaluate");
        let mut confusion = Confusion::new(dataset.classes().len());
        let mut reliability = None;
        predictor.visit_with_confidence(&dataset, void_is_background, |_, sample, labels, confidence| {
            confusion.add(&sample.mask, labels);
            if let Some(confidence) = confidence {
                reliability.get_or_insert_with(Reliability::default).add(&sample.mask, labels, confidence);
            }
            bar.inc(1);
            bar.set_message(format!("{} left", indicatif::HumanDuration(bar.eta())));
            Ok(())
        })?;
        bar.finish_and_clear();
        super::say(&match self.audience.output() {
            Output::Json => {
                let provider = predictor.provider();
                let mut object = self.json(&confusion, &dataset, &place, void_is_background, provider);
                object["expected_calibration_error"] = json!(reliability.as_ref().map(Reliability::error));
                if let Some(share) = self.unknown {
                    let threshold = reliability.as_ref().and_then(|reliability| reliability.threshold(share));
                    object["threshold"] = json!(threshold.map(|Threshold { confidence, kept, accuracy }| {
                        json!({"confidence": confidence, "kept": kept, "accuracy": accuracy})
                    }));
                }
                object.to_string()
            }
            Output::Text | Output::Quiet => {
                let provider = predictor.provider().filter(|_| self.names_arithmetic());
                let computed = provider.map_or(String::new(), |(provider, precision)| {
                    format!("computed by       {provider} in {precision}\n")
                });
                let confidence = reliability.map_or(String::new(), |reliability| self.confidence(&reliability));
                format!("{computed}{}{confidence}", table(&confusion, &dataset))
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The lines on confidence.
    fn confidence(&self, reliability: &Reliability) -> String {
        let mut text = format!("\ncalibration error {:.4} (expected, of confidences)", reliability.error());
        if let Some(share) = self.unknown {
            text += &match reliability.threshold(share) {
                Some(Threshold { confidence, kept, accuracy }) => format!(
                    "\nthreshold         {confidence:.3}: {:.1} % of the pixels are not below it, and {:.1} % of those are right",
                    100.0 * kept,
                    100.0 * accuracy
                ),
                None => {
                    format!("\nthreshold         none: no confidence is right for {:.1} % of the pixels", 100.0 * share)
                }
            };
        }
        text
    }

    /// The location of the photos.
    fn place(&self) -> Result<Place> {
        let run = (self.model.is_dir() && of_run::path(&self.model).exists()).then_some(&self.model);
        let root = self.data.as_ref().or(self.images.as_ref()).or(run).ok_or_else(|| {
            Error::new(format!(
                "{} is not the folder of a run that names its photos; --data FOLDER says what to measure on",
                self.model.display()
            ))
        })?;
        Ok(Place { root: root.clone(), masks: self.masks.clone(), missing_masks: self.missing_masks })
    }

    /// Whether the options say how an ONNX file is computed.
    fn names_arithmetic(&self) -> bool {
        self.provider.is_some() || self.precision.is_some()
    }

    /// The options of libfcn, if any are given that are for ONNX files only.
    fn options(&self) -> Option<Options> {
        let size_mode = self.size_mode();
        (size_mode.is_some() || self.names_arithmetic()).then(|| {
            let mut options = Options::default()
                .with_provider(self.provider.unwrap_or(Provider::Cpu))
                .with_precision(self.precision.unwrap_or_default());
            (options.size_mode, options.native_side) = (size_mode, self.native_side);
            options
        })
    }

    /// How photos are fitted to the network's size, if requested.
    fn size_mode(&self) -> Option<SizeMode> {
        let resize = self.resize.map(|Pair(height, width)| SizeMode::Resize { width, height });
        let overlap = self.overlap;
        resize.or(self.tile.map(|Pair(height, width)| SizeMode::Tile { width, height, overlap }))
    }

    /// All counts, for scripts. The matrix has a row per true class and a column per predicted one.
    fn json(
        &self,
        confusion: &Confusion,
        dataset: &Dataset,
        place: &Place,
        void_is_background: bool,
        provider: Option<(&str, &str)>,
    ) -> Value {
        let classes = dataset.classes().iter().enumerate().map(|(index, class)| {
            json!({
                "name": class.name,
                "iou": confusion.iou(index),
                "accuracy": confusion.accuracy(index),
                "pixels": confusion.truth_pixels(index),
            })
        });
        json!({
            "event": "evaluation",
            "model": self.model.to_string_lossy(),
            "data": place.root.to_string_lossy(),
            "split": self.split,
            "photos": dataset.len(),
            "void_is_background": void_is_background,
            "provider": provider.map(|(provider, _)| provider),
            "precision": provider.map(|(_, precision)| precision),
            "flip": self.flip,
            "scales": self.scales,
            "native_side": self.native_side,
            "resize": self.resize.map(|Pair(height, width)| [height, width]),
            "tile": self.tile.map(|Pair(height, width)| [height, width]),
            "overlap": self.tile.map(|_| self.overlap),
            "pixel_accuracy": confusion.pixel_accuracy(),
            "mean_accuracy": confusion.mean_accuracy(),
            "miou": confusion.mean_iou(),
            "classes_counted": confusion.classes_counted(),
            "miou_of_truth": confusion.mean_iou_of_truth(),
            "classes_in_truth": confusion.classes_in_truth(),
            "frequency_weighted_iou": confusion.frequency_weighted_iou(),
            "classes": classes.collect::<Vec<_>>(),
            "confusion": confusion.rows().collect::<Vec<_>>(),
        })
    }
}

/// Five means with the classes they cover, and each class's IoU with its share of the true pixels.
fn table(confusion: &Confusion, dataset: &Dataset) -> String {
    let (all, counted, in_truth) = (dataset.classes().len(), confusion.classes_counted(), confusion.classes_in_truth());
    let of_truth = format!("(mean of {in_truth} classes that occur in the truth)");
    let mut lines = vec![
        format!("photos            {}", dataset.len()),
        format!("pixel accuracy    {:.4}", confusion.pixel_accuracy()),
        format!("mean accuracy     {:.4} {of_truth}", confusion.mean_accuracy()),
        format!(
            "mIoU              {:.4} (mean of {counted} classes that occur in truth or prediction, of {all})",
            confusion.mean_iou()
        ),
        format!("mIoU of truth     {:.4} {of_truth}", confusion.mean_iou_of_truth()),
        format!("freq. w. IoU      {:.4}", confusion.frequency_weighted_iou()),
    ];
    let total: u64 = (0..dataset.classes().len()).map(|class| confusion.truth_pixels(class)).sum();
    for (index, class) in dataset.classes().iter().enumerate() {
        let share = 100.0 * confusion.truth_pixels(index) as f64 / total as f64;
        let iou = confusion.iou(index).map_or("     -".to_owned(), |iou| format!("{iou:.4}"));
        lines.push(format!("IoU {:<16} {iou}   {share:5.1} % of the pixels", class.name));
    }
    lines.join("\n")
}
