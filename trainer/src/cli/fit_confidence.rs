//! `trainer fit-confidence`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fcn::file;

use crate::confidence::{Reliability, fit, with_card, with_temperature};
use crate::console::Output;
use crate::data::{Dataset, MissingMasks, Place};
use crate::error::Result;
use crate::evaluate::Predictor;
use crate::metrics::Confusion;

/// Options of `trainer fit-confidence`.
#[derive(Debug, Args)]
pub(super) struct FitConfidence {
    /// An ONNX file that `trainer export` wrote; its model card is replaced.
    model: PathBuf,

    /// The folder of a data set, as for `trainer train`, or of a run, whose photos are used.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,

    /// The split to fit to; not the one that the network was trained on.
    #[arg(long, value_name = "SPLIT", default_value = "val")]
    split: String,

    /// How to treat photos that have no mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse")]
    missing_masks: MissingMasks,

    /// Count void pixels as background, as the recipe d2l trains them.
    #[arg(long)]
    void_is_background: bool,
}

impl FitConfidence {
    pub(super) fn run(self) -> Result<ExitCode> {
        let dataset = Place::new(&self.data, self.missing_masks).open(&self.split)?;
        let Fitted { bytes, temperature, error } =
            fitted(&file::read_whole(&self.model)?, &dataset, self.void_is_background)?;
        file::write(&self.model, &bytes)?;
        super::say(&format!(
            "{}: temperature {temperature:.3}, expected calibration error {error:.4} on {}",
            self.model.display(),
            self.split
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A model whose card has a temperature, and figures measured with it.
pub(super) struct Fitted {
    pub(super) bytes: Vec<u8>,
    temperature: f32,
    /// The expected calibration error.
    error: f64,
}

/// Fits the temperature of a model's card, and measures the model.
pub(super) fn fitted(bytes: &[u8], dataset: &Dataset, void_is_background: bool) -> Result<Fitted> {
    let bar = Output::Text.bar(2 * dataset.len() as u64).with_prefix("measure");
    let temperature = fit(bytes, dataset, void_is_background, || bar.inc(1))?;
    let bytes = with_temperature(bytes, Some(temperature))?;
    let (mut confusion, mut reliability) = (Confusion::new(dataset.classes().len()), Reliability::default());
    let mut predictor = Predictor::from_onnx(&bytes)?;
    predictor.visit_with_confidence(dataset, void_is_background, |_, sample, labels, confidence| {
        confusion.add(&sample.mask, labels);
        reliability.add(&sample.mask, labels, confidence.unwrap_or_default());
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    let error = reliability.error();
    let bytes = with_card(&bytes, |card| {
        card.metrics = confusion.metrics(dataset.classes());
        card.metrics.insert("expected_calibration_error".to_owned(), error);
    })?;
    Ok(Fitted { bytes, temperature, error })
}
