//! A run's records: `metrics.csv`, TensorBoard event files, `sessions.jsonl`, and lines on stdout.
//!
//! A run that resumes from a checkpoint repeats the steps after it. Their records are cut from the
//! table and invalidated in the event files, so that both contain each step once.

mod events;
mod session;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use fcn::palette::Class;
use indicatif::ProgressBar;
use serde_json::{Value, json};

pub use session::{Session, path as sessions_path, sessions};
pub use table::{path as table_path, read as read_table};

use crate::checkpoint::{CheckpointState, EpochSums, Progress};
use crate::console::{Output, Pace, waiting};
use crate::data::Sample;
use crate::error::Result;
use crate::execution::Execution;
use crate::metrics::Confusion;
use crate::picture::{Shown, jpeg};
use events::{EventFile, SummaryImage};
use table::Table;

/// The number of validation photos shown in TensorBoard, spread evenly over the split.
const SAMPLES: usize = 4;
/// The longest side of a sample in pixels: photo, truth and prediction are shown side by side.
const SAMPLE_SIDE: u32 = 320;

/// The record files that are written as a whole and renamed into place.
pub fn whole_files(run: &Path) -> [PathBuf; 2] {
    [table_path(run), sessions_path(run)]
}

/// Whether photo `index` of `photos` is one of the samples for TensorBoard.
pub(crate) fn is_sample(index: usize, photos: usize) -> bool {
    let samples = SAMPLES.min(photos);
    (0..samples).any(|number| number * photos / samples == index)
}

/// A line of `metrics.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsRow {
    /// Steps done.
    pub step: u64,
    /// The epoch of the last step, counted from 1.
    pub epoch: u64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The training since the previous line; `None` if every pixel was void.
    pub train: Option<TrainingWindow>,
    /// The validation, if there was one.
    pub val: Option<Validation>,
    /// The number of classes.
    pub classes: usize,
}

/// Training between two lines.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingWindow {
    /// The mean loss per crop.
    pub loss: f64,
    /// The share of correct pixels.
    pub accuracy: f64,
    /// The seconds it took.
    pub seconds: f64,
    /// Crops per second.
    pub examples_per_second: f64,
}

impl TrainingWindow {
    fn new(running: &EpochSums) -> Option<TrainingWindow> {
        (running.total > 0).then(|| TrainingWindow {
            loss: running.mean_loss(),
            accuracy: running.correct as f64 / running.total as f64,
            seconds: running.seconds,
            examples_per_second: running.crops as f64 / running.seconds,
        })
    }
}

/// The figures of a validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// The seconds it took.
    pub seconds: f64,
    /// The share of correct pixels.
    pub accuracy: f64,
    /// The mean of the classes' accuracies.
    pub mean_accuracy: f64,
    /// Mean intersection over union.
    pub miou: f64,
    /// Intersection over union, weighted by the classes' share of the truth.
    pub frequency_weighted_iou: f64,
    /// Intersection over union per class; `None` if it does not occur.
    pub iou: Vec<Option<f64>>,
}

impl Validation {
    /// The figures of a confusion matrix.
    pub fn new(confusion: &Confusion, classes: usize, seconds: f64) -> Validation {
        Validation {
            seconds,
            accuracy: confusion.pixel_accuracy(),
            mean_accuracy: confusion.mean_accuracy(),
            miou: confusion.mean_iou(),
            frequency_weighted_iou: confusion.frequency_weighted_iou(),
            iou: (0..classes).map(|class| confusion.iou(class)).collect(),
        }
    }

    /// The same for scripts.
    pub fn json(&self, classes: &[Class]) -> Value {
        let iou: serde_json::Map<_, _> =
            classes.iter().zip(&self.iou).map(|(class, iou)| (class.name.clone(), json!(iou))).collect();
        json!({
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "miou": self.miou,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "iou": iou,
            "seconds": self.seconds,
        })
    }
}

/// Records a run in progress.
pub struct Recorder<'a> {
    out: &'a mut dyn Write,
    output: Output,
    bar: ProgressBar,
    table: Table,
    events: EventFile,
    pace: Pace,
    /// For the current validation.
    samples: Vec<(String, SummaryImage)>,
    classes: Vec<Class>,
    /// Steps between lines.
    log_every: u64,
    /// Steps per epoch.
    steps: u64,
    epochs: u64,
    val_every: u64,
}

impl<'a> Recorder<'a> {
    /// Continues after the last step of `state`. An epoch has `steps` steps.
    pub fn open(
        execution: &Execution,
        state: &CheckpointState,
        steps: usize,
        out: &'a mut dyn Write,
    ) -> Result<Recorder<'a>> {
        let (steps, progress) = (steps as u64, &state.progress);
        let done = progress.epoch * steps + progress.step as u64;
        // The line of an epoch's last step is written with the validation, which is still pending.
        let first = if progress.step as u64 == steps { done } else { done + 1 };
        session::begin(execution, done)?;
        let bar = execution.output.bar(steps * state.config.epochs);
        bar.set_position(done);
        Ok(Recorder {
            out,
            output: execution.output,
            bar,
            table: Table::open(&execution.folder, &state.classes, first)?,
            events: EventFile::create(&execution.folder, first)?,
            pace: Pace::default(),
            samples: Vec::new(),
            classes: state.classes.clone(),
            log_every: execution.log_every,
            steps,
            epochs: state.config.epochs,
            val_every: state.config.val_every,
        })
    }

    /// Records a step that took `seconds`.
    pub fn step(&mut self, progress: &mut Progress, learning_rate: f64, seconds: f64) -> Result<()> {
        let step = self.done(progress);
        self.pace.step(seconds);
        self.bar.set_prefix(format!("epoch {}/{}", progress.epoch + 1, self.epochs));
        self.bar.set_position(step);
        let left = self.left(progress);
        let loss = progress.running.mean_loss();
        self.bar.set_message(format!("loss {loss:.3}, {} left", left.map_or("?".to_owned(), waiting)));
        // The line of an epoch's last step is written after the validation.
        if !step.is_multiple_of(self.log_every) || progress.step as u64 == self.steps {
            return Ok(());
        }
        let row = self.row(progress, learning_rate, None)?;
        let mut object = train_json("log", &row, self.epochs);
        if let Some(train) = &row.train {
            object["loss"] = json!(train.loss);
            object["accuracy"] = json!(train.accuracy);
            object["examples_per_second"] = json!(train.examples_per_second);
        }
        object["eta_seconds"] = json!(left);
        if self.output == Output::Json { self.say("", &object) } else { Ok(()) }
    }

    /// Shows the progress of a validation.
    pub fn validating(&self, done: usize, photos: usize) {
        self.bar.set_message(format!("validation {done}/{photos}"));
    }

    /// Keeps photo `index` of `photos` for TensorBoard if it is one of the samples.
    pub fn sample(&mut self, index: usize, photos: usize, sample: Sample, labels: Vec<u8>) -> Result<()> {
        if !is_sample(index, photos) {
            return Ok(());
        }
        let shown = Shown::new(sample.width, sample.height, SAMPLE_SIDE);
        let parts =
            [shown.photo(sample.image), shown.labels(sample.mask, &self.classes), shown.labels(labels, &self.classes)];
        let (width, height) = parts[0].dimensions();
        let mut row = image::RgbImage::new(3 * width, height);
        for (x, part) in (0..).zip(&parts) {
            image::imageops::replace(&mut row, part, x * i64::from(width), 0);
        }
        let picture =
            SummaryImage { height: height as i32, width: 3 * width as i32, colorspace: 3, encoded: jpeg(&row)? };
        self.samples.push((format!("photo_truth_prediction/{}", sample.id), picture));
        Ok(())
    }

    /// Records the end of an epoch, with its validation if there was one. `best` states whether
    /// that was the best so far, `device` where it was computed.
    pub fn epoch(
        &mut self,
        state: &mut CheckpointState,
        learning_rate: f64,
        val: Option<Validation>,
        best: bool,
        device: &str,
    ) -> Result<()> {
        if let Some(val) = &val {
            self.pace.validation(val.seconds);
        }
        let is_last = state.progress.epoch + 1 == self.epochs || state.is_out_of_patience();
        let progress = &mut state.progress;
        let row = self.row(progress, learning_rate, val)?;
        for (tag, picture) in std::mem::take(&mut self.samples) {
            self.events.picture(row.step, tag, picture)?;
        }
        let running = &progress.running;
        let speed = running.crops as f64 / running.seconds;
        // Unknown if a resumed run had no step left in the epoch.
        let left = self.left(progress).filter(|_| !is_last);
        let mut line = format!("epoch {}/{}, {running}", row.epoch, self.epochs);
        let mut object = train_json("epoch", &row, self.epochs);
        if let Some(whole) = TrainingWindow::new(running) {
            object["loss"] = json!(whole.loss);
            object["accuracy"] = json!(whole.accuracy);
        }
        if let Some(val) = &row.val {
            line += &format!(", val acc {:.4}, val mIoU {:.4}", val.accuracy, val.miou);
            object["val"] = val.json(&self.classes);
            object["best"] = json!(best);
        }
        line += &format!(", {speed:.1} examples/sec on {device}");
        line += &left.map_or(String::new(), |left| format!("; {} left", waiting(left)));
        object["examples_per_second"] = json!(speed);
        object["eta_seconds"] = json!(left);
        self.say(&line, &object)
    }

    /// Prints a warning.
    pub fn warn(&mut self, sentence: &str) -> Result<()> {
        self.say(&format!("warning: {sentence}"), &json!({"event": "warning", "sentence": sentence}))
    }

    /// Flushes all records to disk: a checkpoint must not be ahead of them.
    pub fn sync(&self) -> Result<()> {
        self.table.sync()?;
        self.events.sync()
    }

    /// Writes the newest step's line to the table and to TensorBoard.
    fn row(&mut self, progress: &mut Progress, learning_rate: f64, val: Option<Validation>) -> Result<MetricsRow> {
        let train = TrainingWindow::new(&progress.running.since(&progress.logged));
        progress.logged = progress.running.clone();
        let classes = self.classes.len();
        let row =
            MetricsRow { step: self.done(progress), epoch: progress.epoch + 1, learning_rate, train, val, classes };
        self.table.append(&row)?;
        self.events.numbers(row.step, numbers(&row, &self.classes))?;
        Ok(row)
    }

    fn done(&self, progress: &Progress) -> u64 {
        progress.epoch * self.steps + progress.step as u64
    }

    /// The remaining seconds of the run.
    fn left(&self, progress: &Progress) -> Option<f64> {
        let validations = |epochs: u64| epochs.div_ceil(self.val_every);
        let step = self.done(progress);
        self.pace.left(self.steps * self.epochs - step, validations(self.epochs) - step / self.steps / self.val_every)
    }

    fn say(&mut self, line: &str, object: &Value) -> Result<()> {
        let Recorder { bar, output, out, .. } = self;
        bar.suspend(|| output.say(*out, line, object))
    }
}

/// The position in the run, common to all objects.
fn train_json(event: &str, row: &MetricsRow, epochs: u64) -> Value {
    json!({
        "event": event,
        "step": row.step,
        "epoch": row.epoch,
        "epochs": epochs,
        "learning_rate": row.learning_rate,
    })
}

/// A line's numbers with TensorBoard's tags.
fn numbers(row: &MetricsRow, classes: &[Class]) -> Vec<(String, f64)> {
    let mut numbers = vec![("train/learning_rate".to_owned(), row.learning_rate)];
    let mut add = |tag: &str, number: f64| {
        if number.is_finite() {
            numbers.push((tag.to_owned(), number));
        }
    };
    if let Some(train) = &row.train {
        add("train/loss", train.loss);
        add("train/accuracy", train.accuracy);
        add("train/examples_per_second", train.examples_per_second);
    }
    if let Some(val) = &row.val {
        add("val/accuracy", val.accuracy);
        add("val/mean_accuracy", val.mean_accuracy);
        add("val/mIoU", val.miou);
        add("val/frequency_weighted_IoU", val.frequency_weighted_iou);
        for (class, iou) in classes.iter().zip(&val.iou) {
            iou.iter().for_each(|iou| add(&format!("val_IoU/{}", class.name), *iou));
        }
    }
    numbers
}
