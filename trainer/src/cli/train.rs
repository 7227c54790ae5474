//! `trainer train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tch::Device;

use super::{DeviceChoice, Reader};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{Architecture, Backbone, Init, Upsampling};
use crate::schedule::Schedule;
use crate::train::{End, Execution, Run};

/// Settings to begin with, which the options change one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Void ignored, momentum, poly schedule, random scale, flip and crop.
    Default,
    /// Dive into Deep Learning, section 13.11, to the letter: ResNet-18, fcn32s, 320 x 480 crops of the photos that are
    /// not smaller, batch 32, plain SGD with rate 0.001, 5 epochs, void as background, losses summed over the batch.
    D2l,
}

/// Options of `trainer train`.
#[derive(Debug, Args)]
pub(super) struct Train {
    #[command(flatten)]
    setup: Setup,

    /// Continue the run in this folder with the settings it was begun with, to the same weights as if it had never
    /// stopped (on the same device, with the same --threads).
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,

    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    /// Threads of the network's arithmetic on the CPU [default: one for each physical core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1024))]
    threads: Option<i32>,

    /// Threads that decode and augment photos ahead of the training; their number changes no result.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,

    /// Steps from one checkpoint to the next, beside those around each validation.
    #[arg(long, value_name = "STEPS", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,

    /// Steps from one line of metrics.csv, and one point of TensorBoard's curves, to the next.
    #[arg(long, value_name = "STEPS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    log_every: u32,

    #[command(flatten)]
    reader: Reader,
}

/// What a run is determined by. Defaults are those of the default preset.
#[derive(Debug, Default, PartialEq, Args)]
struct Setup {
    /// The folder with JPEGImages, SegmentationClass, ImageSets/Segmentation and, for other classes than Pascal VOC's,
    /// labelmap.txt.
    #[arg(long, value_name = "FOLDER", required_unless_present = "resume")]
    data: Option<PathBuf>,

    /// A new folder for the run: the checkpoints last.safetensors and best.safetensors, metrics.csv, TensorBoard's event
    /// files, and sessions.jsonl, a line for each start of the trainer.
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    out: Option<PathBuf>,

    /// A .safetensors or .pth file with parameters under torchvision's names (or EfficientNet-Lite0's); those it lacks
    /// start at random [default: all start at random].
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Settings to begin with; every other option given here wins over them [default: default].
    #[arg(long, value_enum)]
    preset: Option<Preset>,

    /// The split to train on: a list in ImageSets/Segmentation, without .txt [default: train].
    #[arg(long, value_name = "SPLIT")]
    train_split: Option<String>,

    /// The split to measure on [default: val].
    #[arg(long, value_name = "SPLIT")]
    val_split: Option<String>,

    /// The head: how fine the features are that scores are made of [default: fcn8s].
    #[arg(long, value_enum)]
    arch: Option<Architecture>,

    /// The network that makes features out of pixels [default: efficientnet_lite0].
    #[arg(long, value_enum)]
    backbone: Option<Backbone>,

    /// Whether the final upsampling is trained [default: learned].
    #[arg(long, value_enum)]
    upsample: Option<Upsampling>,

    /// How the final upsampling starts [default: bilinear].
    #[arg(long, value_enum)]
    init: Option<Init>,

    /// Passes over the training split [default: 30].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,

    /// Crops in a step [default: 8].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Height and width of the crops in pixels; 32 must divide both [default: 320x320].
    #[arg(long, value_name = "HxW")]
    crop: Option<Pair<usize, 'x'>>,

    /// The smallest and the largest factor that photos are scaled by before the crop [default: 0.5,2].
    #[arg(long, value_name = "MIN,MAX")]
    scale: Option<Pair<f32, ','>>,

    /// Do not mirror crops at random [default: mirror every other one].
    #[arg(long)]
    no_flip: bool,

    /// The learning rate at the start [default: 0.02].
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// SGD's momentum, from 0 to below 1 [default: 0.9].
    #[arg(long, value_name = "SHARE")]
    momentum: Option<f64>,

    /// SGD's weight decay [default: 0.0001].
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,

    /// The factor on the learning rate of the head's layers [default: 1].
    #[arg(long, value_name = "FACTOR")]
    head_lr_factor: Option<f64>,

    /// How the learning rate changes from step to step [default: poly].
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,

    /// Where all random numbers come from: the same seed gives the same run [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Epochs from one validation to the next; the last epoch always has one [default: 1].
    #[arg(long, value_name = "N")]
    val_every: Option<u64>,
}

/// Two numbers with a sign between them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair<T, const SIGN: char>(T, T);

impl<T: FromStr, const SIGN: char> FromStr for Pair<T, SIGN> {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once(SIGN).and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        numbers.map(|(a, b)| Pair(a, b)).ok_or_else(|| format!("two numbers with '{SIGN}' between them are expected"))
    }
}

impl Setup {
    fn config(&self, data: &Path) -> Config {
        let preset = match self.preset.unwrap_or(Preset::Default) {
            Preset::Default => Config::standard(),
            Preset::D2l => Config::d2l(),
        };
        Config {
            data: data.to_owned(),
            train_split: self.train_split.clone().unwrap_or(preset.train_split),
            val_split: self.val_split.clone().unwrap_or(preset.val_split),
            arch: self.arch.unwrap_or(preset.arch),
            backbone: self.backbone.unwrap_or(preset.backbone),
            upsample: self.upsample.unwrap_or(preset.upsample),
            init: self.init.unwrap_or(preset.init),
            epochs: self.epochs.unwrap_or(preset.epochs),
            batch: self.batch.unwrap_or(preset.batch),
            crop: self.crop.map_or(preset.crop, |Pair(height, width)| (height, width)),
            scale: self.scale.map_or(preset.scale, |Pair(low, high)| (low, high)),
            flip: preset.flip && !self.no_flip,
            lr: self.lr.unwrap_or(preset.lr),
            momentum: self.momentum.unwrap_or(preset.momentum),
            weight_decay: self.weight_decay.unwrap_or(preset.weight_decay),
            head_lr_factor: self.head_lr_factor.unwrap_or(preset.head_lr_factor),
            schedule: self.schedule.unwrap_or(preset.schedule),
            seed: self.seed.unwrap_or(preset.seed),
            val_every: self.val_every.unwrap_or(preset.val_every),
            drop_small: preset.drop_small,
            void_is_background: preset.void_is_background,
            sum_over_batch: preset.sum_over_batch,
        }
    }
}

impl Train {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (out, output) = (&mut std::io::stdout(), self.reader.output());
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        let device = self.device.device()?;
        let (folder, mut run) = match (&self.resume, &self.setup.data, &self.setup.out) {
            (Some(folder), ..) => (folder, self.resume(folder, device)?),
            (None, Some(data), Some(folder)) => {
                check_new(folder)?;
                let mut run = Run::start(self.setup.config(data), device)?;
                if let Some(weights) = &self.setup.weights {
                    let report = run.load_weights(weights)?;
                    let object = json!({
                        "event": "weights",
                        "file": weights.to_string_lossy(),
                        "loaded": report.matched,
                        "missing": report.missing,
                        "unused": report.unused,
                    });
                    output.say(out, &format!("{}: {report}", weights.display()), &object)?;
                }
                std::fs::create_dir_all(folder).map_err(|error| {
                    Error::new(format!("--out {}: the folder cannot be made: {error}", folder.display()))
                })?;
                (folder, run)
            }
            _ => return Err(Error::new("--data FOLDER and --out RUN are needed to begin, --resume RUN to continue")),
        };
        let description = run.describe();
        output.say(out, &description.to_string(), &description.json(folder))?;
        let execution = Execution {
            folder: folder.clone(),
            device,
            workers: self.workers.into(),
            checkpoint_every: self.checkpoint_every as usize,
            log_every: self.log_every.into(),
            output,
            stop: stop_flag()?,
        };
        Ok(match run.train(&execution, out)? {
            End::Complete => {
                let best = checkpoint::best(folder).display().to_string();
                output.say(out, &format!("done: {best}"), &json!({"event": "done", "best": best}))?;
                ExitCode::SUCCESS
            }
            End::Stopped => {
                let resume = format!("trainer train --resume {}", folder.display());
                let object = json!({"event": "stopped", "resume": resume});
                output.say(out, &format!("stopped and saved; continue with: {resume}"), &object)?;
                // As a shell reports a command that Ctrl-C ended.
                ExitCode::from(130)
            }
        })
    }

    /// The run in `folder` from its newest checkpoint on.
    fn resume(&self, folder: &Path, device: Device) -> Result<Run> {
        let shown = folder.display();
        if self.setup != Setup::default() {
            return Err(Error::new(format!(
                "--resume {shown}: a run continues with the settings it was begun with; leave out all other options but \
                 --device, --threads, --workers, --checkpoint-every, --log-every, --quiet and --json"
            )));
        }
        if !folder.is_dir() {
            return Err(Error::new(format!("--resume {shown}: it is not a folder; give the --out folder of a run")));
        }
        if !checkpoint::last(folder).exists() {
            return Err(Error::new(format!(
                "--resume {shown}: it holds no checkpoint {}; begin the run anew with --out {shown}",
                checkpoint::last(folder).display()
            )));
        }
        Run::resume(Checkpoint::read(folder)?, device)
    }
}

/// Checks that no other run would be overwritten.
fn check_new(folder: &Path) -> Result<()> {
    if checkpoint::last(folder).exists() {
        let folder = folder.display();
        return Err(Error::new(format!(
            "--out {folder}: it holds a run already; continue it with --resume {folder}, or choose another folder"
        )));
    }
    Ok(())
}

/// Set by Ctrl-C and by SIGTERM; a second one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
