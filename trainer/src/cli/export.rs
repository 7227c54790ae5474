//! `trainer export`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use fcn::onnx;
use tch::Device;

use super::native_sides;
use crate::checkpoint::Checkpoint;
use crate::console::Output;
use crate::data::{MissingMasks, Place};
use crate::error::Result;
use crate::export::calibrate::Calibration;
use crate::export::freeze::freeze_upsampling;
use crate::export::{self, Precision};
use fcn::file;

/// Options of `trainer export`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("calibrated").args(["int8", "freeze_upsampling"]).multiple(true))]
pub(super) struct Export {
    /// A checkpoint file, or a run folder, whose best checkpoint is used.
    checkpoint: PathBuf,

    /// The ONNX file to write.
    #[arg(long, value_name = "OUT")]
    onnx: PathBuf,

    /// Store weights as int8 with one scale per channel: a quarter of the file size, float32
    /// arithmetic.
    #[arg(long)]
    compact: bool,

    /// Compute in integers, for speed on CPUs: activations uint8 with one scale per tensor, weights
    /// int8 (-64 to 63, those of depthwise convolutions -128 to 127) with one per channel. The
    /// score layers stay float32.
    ///
    /// Weights are rounded one after the other, each compensating for the error that the ones
    /// before it caused on the photos of --calibrate (GPTQ, Frantar et al. 2023).
    ///
    /// A tensor's range spans its smallest and largest value over the photos of --calibrate, each
    /// whole and at the size used in evaluation, and always contains 0. ReLU and ReLU6 become the
    /// ends of the range.
    #[arg(long, requires = "calibrate", conflicts_with = "compact")]
    int8: bool,

    /// Replace a learned last upsampling by bilinear interpolation, which is cheaper and does not
    /// fray outlines, unless more than this share (0 to 1) of the labels of the photos of
    /// --calibrate change.
    #[arg(long, value_name = "SHARE", requires = "calibrate", value_parser = super::share)]
    freeze_upsampling: Option<f64>,

    /// The folder of a data set, as for `trainer train`, or of a run, whose photos determine ranges
    /// and rounding for --int8, and what --freeze-upsampling changes.
    #[arg(long, value_name = "FOLDER", requires = "calibrated")]
    calibrate: Option<PathBuf>,

    /// The split to calibrate on; not the one to measure on.
    #[arg(long, value_name = "SPLIT", default_value = "train", requires = "calibrate")]
    calibrate_split: String,

    /// How many photos to calibrate on, spread evenly over the split.
    #[arg(long, value_name = "N", default_value = "64", requires = "calibrate")]
    calibrate_photos: NonZeroUsize,

    /// Store weights and compute in float16, intended for GPUs: half the file size. Input and
    /// scores stay float32. Slower on CPUs.
    #[arg(long, conflicts_with_all = ["compact", "int8"])]
    fp16: bool,

    /// The size of photos that the network labels best, for the model card: the square root of
    /// width times height, in pixels, 16 to 32767; `trainer evaluate --native-side` measures it
    /// [default: from the sizes of the training photos and their range of random scales].
    #[arg(long, value_name = "PIXELS", value_parser = native_sides())]
    native_side: Option<u32>,

    /// The training data and its licence, for the model card [default: the name of the data's
    /// folder].
    #[arg(long, value_name = "TEXT")]
    dataset: Option<String>,

    /// Measure the written file, through libfcn, on this data set, or on the photos of a run's
    /// folder, and write the figures to the model card, with the temperature by which libfcn's
    /// confidences say how often they are right (Guo et al. 2017).
    #[arg(long, value_name = "FOLDER")]
    measure: Option<PathBuf>,

    /// The split to measure on.
    #[arg(long, value_name = "SPLIT", default_value = "val", requires = "measure")]
    split: String,

    /// How to treat photos to calibrate or measure on that have no mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse")]
    missing_masks: MissingMasks,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut checkpoint = Checkpoint::best(&self.checkpoint)?;
        checkpoint.state.native_side = self.native_side.or(checkpoint.state.native_side);
        let mut network = checkpoint.network(Device::Cpu)?;
        let state = &checkpoint.state;
        let open = |folder| Place::new(folder, self.missing_masks).open(&self.calibrate_split);
        let dataset = self.calibrate.as_deref().map(open).transpose()?;
        if let (Some(limit), Some(dataset)) = (self.freeze_upsampling, &dataset) {
            let copy = checkpoint.network(Device::Cpu)?;
            let photos = self.calibrate_photos;
            let frozen = freeze_upsampling(&network, copy, state.native_side, dataset, photos, limit)?;
            super::say(&format!(
                "bilinear last upsampling: {:.2} % of the labels of {} photos change",
                100.0 * frozen.changed,
                photos.get().min(dataset.len())
            ))?;
            network = frozen.network;
        }
        let precision = match dataset.filter(|_| self.int8) {
            Some(dataset) => {
                let bar = Output::Text.bar(100).with_prefix("calibrate");
                let mut progress = |share: f64| bar.set_position((100.0 * share) as u64);
                let photos = self.calibrate_photos.get();
                let calibration = Calibration::new(&network, state.native_side, &dataset, photos, &mut progress)?;
                bar.finish_and_clear();
                Precision::Int8(calibration)
            }
            None if self.compact => Precision::Compact,
            None if self.fp16 => Precision::Half,
            None => Precision::Full,
        };
        let folder = || state.config.data.file_name().map(|name| name.to_string_lossy().into_owned());
        let dataset = self.dataset.clone().or_else(folder).unwrap_or_default();
        let mut card = export::card(state, dataset, BTreeMap::new());
        let mut bytes = onnx::encode(&export::onnx(&network, &precision, &card)?)?;
        if let Some(folder) = &self.measure {
            let dataset = Place::new(folder, self.missing_masks).open(&self.split)?;
            bytes = super::fit_confidence::fitted(&bytes, &dataset, state.config.void_is_background)?.bytes;
            card = onnx::ModelCard::of(&onnx::parse(&bytes)?)?.unwrap_or(card);
        }
        file::write(&self.onnx, &bytes)?;
        super::say(&format!(
            "{}: {} in {:.1} MB{}",
            self.onnx.display(),
            card.architecture,
            bytes.len() as f64 / 1e6,
            card.metrics.get("miou").map_or(String::new(), |miou| format!(", mIoU {miou:.4} on {}", self.split))
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
