//! `trainer evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::DeviceChoice;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::{Labeller, Views};
use crate::metrics::Confusion;

/// Options of `trainer evaluate`.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// An ONNX file (.onnx; measured through libfcn on the CPU, as it is deployed), a checkpoint file, or a run folder,
    /// whose best checkpoint is taken.
    model: PathBuf,

    /// The folder with JPEGImages, SegmentationClass and ImageSets/Segmentation.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,

    /// The split to measure on: a list in ImageSets/Segmentation, without .txt.
    #[arg(long, value_name = "SPLIT", default_value = "val")]
    split: String,

    /// Look at each photo mirrored as well, and take the mean of the probabilities; checkpoints only.
    #[arg(long)]
    flip: bool,

    /// The factors to look at each photo with, with commas between them, for example 0.75,1,1.25; checkpoints only.
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_value = "1")]
    scales: Vec<f64>,

    /// Where a checkpoint computes.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    /// Count void pixels as class 0, as the d2l preset trains them [default: as the checkpoint was trained].
    #[arg(long)]
    void_is_background: bool,
}

impl Evaluate {
    pub(super) fn run(self) -> Result<ExitCode> {
        let dataset = Dataset::open(&self.data, &self.split)?;
        let views = Views::new(self.flip, self.scales)?;
        let mut labeller = Labeller::open(&self.model, self.device.device()?)?.with_views(views)?;
        let void_is_background = self.void_is_background || labeller.void_is_background();
        let confusion = labeller.measure(&dataset, void_is_background)?;
        super::say(&table(&confusion, &dataset))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Four means, and the IoU of each class with its share of the true pixels.
fn table(confusion: &Confusion, dataset: &Dataset) -> String {
    let mut lines = vec![
        format!("photos            {}", dataset.len()),
        format!("pixel accuracy    {:.4}", confusion.pixel_accuracy()),
        format!("mean accuracy     {:.4}", confusion.mean_accuracy()),
        format!("mIoU              {:.4}", confusion.mean_iou()),
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
