//! The command line.

mod chapter;
mod dataset;
mod evaluate;
mod export;
mod fit_confidence;
mod lock;
mod predict;
mod report;
mod setup;
mod start;
mod train;

use std::io::Write;
use std::process::ExitCode;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fcn::onnx::NATIVE_SIDES;
use tch::{Cuda, Device};

use crate::console::Output;
use crate::error::{Error, Result};

/// Trains fully convolutional networks that label every pixel, for use with libfcn.
#[derive(Debug, Parser)]
#[command(name = "trainer", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network on photos and masks.
    Train(Box<train::Train>),
    /// Measure a checkpoint, or an ONNX file through libfcn, on a split.
    Evaluate(evaluate::Evaluate),
    /// Label photos, or draw predictions next to the ground truth.
    ///
    /// Prints a line per photo: its file, the classes that cover at least 0.1 percent of the pixels
    /// with their shares, and the milliseconds from pixels to labels, without file access.
    Predict(predict::Predict),
    /// Write a checkpoint as an ONNX file.
    Export(export::Export),
    /// Fit an exported model's confidence: write the temperature to its card by which confidences
    /// say how often they are right. `export --measure` does the same.
    FitConfidence(fit_confidence::FitConfidence),
    /// Write a report on a run: curves, classes, confusions, best and worst photos, data, settings
    /// and versions.
    Report(report::ReportOptions),
    /// Check a data set, or import one from other tools' files.
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Follow Dive into Deep Learning, section 13.11 (docs/d2l.md).
    #[command(subcommand)]
    Chapter(chapter::Chapter),
}

/// Runs a command line.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Train(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::FitConfidence(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Dataset(command) => command.run(),
        Command::Chapter(command) => command.run(),
    }
}

/// Writes to stdout; a closed pipe is an error like any other.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Error::new(format!("stdout: {error}")))
}

/// The audience of a command's output.
#[derive(Debug, Args)]
struct Audience {
    /// Show no progress, only errors and results.
    #[arg(long, conflicts_with = "json")]
    quiet: bool,

    /// For scripts: write one JSON object per line to stdout.
    #[arg(long)]
    json: bool,
}

impl Audience {
    fn output(&self) -> Output {
        match (self.quiet, self.json) {
            (true, _) => Output::Quiet,
            (_, true) => Output::Json,
            _ => Output::Text,
        }
    }
}

/// A share, 0 to 1.
fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text} is not a share from 0 to 1"))
}

/// The values of `--native-side`.
fn native_sides() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*NATIVE_SIDES.start())..=i64::from(*NATIVE_SIDES.end()))
}

/// The device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceChoice {
    /// The first CUDA device if libtorch has one, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

impl DeviceChoice {
    fn device(self) -> Result<Device> {
        match self {
            DeviceChoice::Auto => Ok(Device::cuda_if_available()),
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Cuda if Cuda::is_available() => Ok(Device::Cuda(0)),
            DeviceChoice::Cuda => Err(Error::new(
                "--device cuda: this libtorch finds no CUDA device; build with LIBTORCH set to a CUDA build, or choose \
                 --device cpu",
            )),
        }
    }
}
