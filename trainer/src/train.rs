//! The training loop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tch::Device;

use crate::augment::Augment;
use crate::checkpoint::{self, Checkpoint, Progress, Running, State};
use crate::config::Config;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{count, label};
use crate::learner::{Learner, Step};
use crate::loader::{self, Batch, Plan};
use crate::metrics::Confusion;
use crate::model::{Spec, weights};
use crate::schedule::Factor;

/// How a run is carried out. None of it changes what is learned.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The folder of the run's checkpoints.
    pub folder: PathBuf,
    /// Where the network computes.
    pub device: Device,
    /// Threads that decode and augment.
    pub workers: usize,
    /// Steps from one checkpoint to the next, beside those around each validation.
    pub checkpoint_every: usize,
    /// Set from outside to stop after the step under way.
    pub stop: Arc<AtomicBool>,
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All epochs are done.
    Complete,
    /// It was stopped; the newest checkpoint holds everything up to there.
    Stopped,
}

/// What is trained, and how far it is.
pub struct Run {
    learner: Learner,
    train: Arc<Dataset>,
    val: Dataset,
    state: State,
}

impl Run {
    /// A run from the beginning.
    pub fn start(mut config: Config, device: Device) -> Result<Run> {
        config.check()?;
        let (train, val) = open(&config)?;
        config.class_weights.resolve(&train)?;
        check_class_weights(&config, &train)?;
        let Config { arch: architecture, backbone, upsample, init, .. } = config;
        let spec = Spec { architecture, backbone, classes: train.classes().len() as i64, upsample, init };
        let normalise = backbone.normalise();
        let learner = Learner::new(spec, &config, device)?;
        let state = State {
            classes: train.classes().to_vec(),
            mean: normalise.mean,
            std: normalise.std,
            progress: Progress::default(),
            spec,
            config,
        };
        Ok(Run { learner, train: Arc::new(train), val, state })
    }

    /// A run from a checkpoint on.
    pub fn resume(checkpoint: Checkpoint, device: Device) -> Result<Run> {
        let learner = Learner::resume(&checkpoint, device)?;
        let state = checkpoint.state;
        let (train, val) = open(&state.config)?;
        if train.classes() != state.classes {
            return Err(Error::new(format!(
                "{} has other classes than when this run began; start a new run",
                state.config.data.display()
            )));
        }
        Ok(Run { learner, train: Arc::new(train), val, state })
    }

    /// Starts from a file's parameters where it has them: a backbone's, or those of a run with the same backbone.
    pub fn load_weights(&mut self, path: &Path) -> Result<weights::Report> {
        let tensors = weights::of_checkpoint(weights::read(path)?);
        let report = weights::load(&self.learner.network().graph, &tensors);
        let report = report.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        self.learner.restart_average()?;
        Ok(report)
    }

    /// One line on what is trained on what.
    pub fn describe(&self) -> String {
        let parameters: usize =
            self.learner.network().graph.parameters().iter().filter(|p| p.learned).map(|p| p.tensor.numel()).sum();
        format!(
            "{} with {:.1} M parameters for {} classes, {} photos to train on, {} to measure on",
            self.state.spec.name(),
            parameters as f64 / 1e6,
            self.state.classes.len(),
            self.train.len(),
            self.val.len()
        )
    }

    /// Trains until the last epoch is done, and writes one line an epoch to `out`.
    pub fn train(&mut self, execution: &Execution, out: &mut dyn Write) -> Result<End> {
        let config = self.state.config.clone();
        let augment = Arc::new(Augment {
            crop: config.crop,
            scale: config.scale,
            max_class_share: config.max_class_share,
            flip: config.flip,
            jitter: config.jitter,
            blur: config.blur,
            normalise: config.backbone.normalise(),
        });
        let plan = Plan {
            batch: config.batch,
            workers: execution.workers,
            seed: config.seed,
            drop_small: config.drop_small,
            drop_last: true,
        };
        let steps = plan.steps(loader::select(&self.train, &augment, &plan)?.len());
        let drops: Vec<u64> = config.lr_steps.iter().map(|epochs| epochs * steps as u64).collect();
        let factor = Factor {
            schedule: config.schedule,
            steps: steps as u64 * config.epochs,
            warmup: config.warmup,
            drops: &drops,
            gamma: config.lr_gamma,
        };
        while self.state.progress.epoch < config.epochs && !self.is_out_of_patience() {
            let epoch = self.state.progress.epoch;
            let bar = progress_bar(steps, &format!("epoch {}", epoch + 1));
            let mut since = Instant::now();
            let mut since_save = 0;
            for batch in loader::epoch(&self.train, &augment, &plan, epoch, self.state.progress.step) {
                let step = self.state.progress.step;
                // Batches that the optimizer takes together have one learning rate, the last few of an epoch as well.
                let first = step - step % config.accumulate;
                let end = (first + config.accumulate).min(steps);
                let learning_rate = config.lr * factor.at(epoch * steps as u64 + first as u64);
                let is_last = step + 1 == end;
                self.step(batch?, Step { learning_rate, window: end - first, is_last })?;
                let progress = &mut self.state.progress;
                progress.step += 1;
                progress.running.seconds += since.elapsed().as_secs_f64();
                bar.set_position(progress.step as u64);
                bar.set_message(format!("loss {:.3}", progress.running.mean_loss()));
                // Gradients are not saved: what was added up is first made use of.
                let stop = is_last && execution.stop.load(Ordering::Relaxed);
                since_save += 1;
                if stop || is_last && since_save >= execution.checkpoint_every || progress.step == steps {
                    self.save(execution)?;
                    since_save = 0;
                }
                if stop {
                    return Ok(End::Stopped);
                }
                since = Instant::now();
            }
            bar.finish_and_clear();
            if self.end_epoch(execution, out)? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        if self.is_out_of_patience() {
            let Progress { epoch, stale, .. } = self.state.progress;
            writeln!(out, "ended after epoch {epoch}: {stale} validations brought no better mIoU")?;
        }
        Ok(End::Complete)
    }

    fn is_out_of_patience(&self) -> bool {
        self.state.config.patience.is_some_and(|patience| self.state.progress.stale >= patience)
    }

    /// Learns from a batch.
    fn step(&mut self, batch: Batch, step: Step) -> Result<()> {
        let (crops, ids) = (batch.n, batch.ids.clone());
        let outcome = self.learner.learn(batch, step).map_err(|error| {
            let Progress { epoch, step: number, .. } = self.state.progress;
            Error::new(format!(
                "{error} in epoch {}, step {}, at learning rate {}, with the photos {}; start again with --lr below {} \
                 or with --clip, or look at these photos; {} has what was learned before",
                epoch + 1,
                number + 1,
                step.learning_rate,
                ids.join(", "),
                self.state.config.lr,
                checkpoint::LAST
            ))
        })?;
        let progress = &mut self.state.progress;
        progress.updates = self.learner.updates();
        if let Some(outcome) = outcome {
            let running = &mut progress.running;
            running.loss += outcome.loss * crops as f64;
            running.crops += crops;
            running.right += outcome.right;
            running.counted += outcome.counted;
        }
        Ok(())
    }

    /// Measures, prints the epoch's line, and writes checkpoints.
    fn end_epoch(&mut self, execution: &Execution, out: &mut dyn Write) -> Result<End> {
        let config = &self.state.config;
        let epoch = self.state.progress.epoch + 1;
        let mut line = format!("epoch {epoch}/{}, {}", config.epochs, self.state.progress.running);
        let mut best = false;
        if epoch.is_multiple_of(config.val_every) || epoch == config.epochs {
            let Some(confusion) = self.validate(execution)? else { return Ok(End::Stopped) };
            let miou = confusion.mean_iou();
            line += &format!(", val acc {:.4}, val mIoU {miou:.4}", confusion.pixel_accuracy());
            best = self.state.progress.best_miou.is_none_or(|best| miou > best);
            if best {
                self.state.progress.best_miou = Some(miou);
            }
            let stale = &mut self.state.progress.stale;
            *stale = if best { 0 } else { *stale + 1 };
        }
        let speed = self.state.progress.running.crops as f64 / self.state.progress.running.seconds;
        writeln!(out, "{line}, {speed:.1} examples/sec on {}", device_name(execution.device))?;
        out.flush()?;
        let progress = &mut self.state.progress;
        progress.epoch = epoch;
        progress.step = 0;
        progress.running = Running::default();
        if best {
            checkpoint::save(&checkpoint::best(&execution.folder), self.learner.measured(), None, &self.state)?;
        }
        self.save(execution)?;
        Ok(End::Complete)
    }

    /// `None` where it was stopped.
    fn validate(&self, execution: &Execution) -> Result<Option<Confusion>> {
        let bar = progress_bar(self.val.len(), "validation");
        let mut confusion = Confusion::new(self.val.classes().len());
        for index in 0..self.val.len() {
            if execution.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            count(&self.val, index, self.state.config.void_is_background, &mut confusion, |rgb, width, height| {
                label(self.learner.measured(), rgb, width, height)
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Some(confusion))
    }

    fn save(&self, execution: &Execution) -> Result<()> {
        let path = checkpoint::last(&execution.folder);
        checkpoint::save(&path, self.learner.network(), Some(self.learner.rest()), &self.state)
    }
}

/// Checks that each class has a weight, or none.
fn check_class_weights(config: &Config, dataset: &Dataset) -> Result<()> {
    let (weights, classes) = (config.class_weights.values.len(), dataset.classes().len());
    match weights == 0 || weights == classes {
        true => Ok(()),
        false => {
            Err(Error::new(format!("--class-weights has {weights} numbers for {classes} classes; give one for each")))
        }
    }
}

fn open(config: &Config) -> Result<(Dataset, Dataset)> {
    Ok((Dataset::open(&config.data, &config.train_split)?, Dataset::open(&config.data, &config.val_split)?))
}

/// Shown on a terminal's stderr only.
fn progress_bar(length: usize, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {eta} {msg}");
    ProgressBar::new(length as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(what.to_owned())
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("cpu ({} threads)", tch::get_num_threads()),
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}"),
    }
}
