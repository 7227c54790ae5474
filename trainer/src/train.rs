//! The training loop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tch::{Device, Kind, Reduction, Tensor};

use crate::augment::Augment;
use crate::checkpoint::{self, Checkpoint, Progress, Running, State};
use crate::config::Config;
use crate::data::{Dataset, VOID};
use crate::error::{Error, Result};
use crate::evaluate::{count, label, void_to_background};
use crate::loader::{self, Batch, Plan};
use crate::metrics::Confusion;
use crate::model::{Network, Spec, channels_last, weights};
use crate::sgd::{Rates, Sgd};

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
    network: Network,
    sgd: Sgd,
    train: Arc<Dataset>,
    val: Dataset,
    state: State,
}

impl Run {
    /// A run from the beginning.
    pub fn start(config: Config, device: Device) -> Result<Run> {
        config.check()?;
        let (train, val) = open(&config)?;
        let Config { arch: architecture, backbone, upsample, init, .. } = config;
        let spec = Spec { architecture, backbone, classes: train.classes().len() as i64, upsample, init };
        let normalise = backbone.normalise();
        let network = Network::new(spec, config.seed, device);
        let state = State {
            classes: train.classes().to_vec(),
            mean: normalise.mean,
            std: normalise.std,
            progress: Progress::default(),
            spec,
            config,
        };
        Ok(Run { sgd: optimizer(&network, &state.config), network, train: Arc::new(train), val, state })
    }

    /// A run from a checkpoint on.
    pub fn resume(checkpoint: Checkpoint, device: Device) -> Result<Run> {
        let network = checkpoint.network(device)?;
        let sgd = optimizer(&network, &checkpoint.state.config);
        checkpoint.restore_momentum(&sgd)?;
        let state = checkpoint.state;
        let (train, val) = open(&state.config)?;
        if train.classes() != state.classes {
            return Err(Error::new(format!(
                "{} has other classes than when this run began; start a new run",
                state.config.data.display()
            )));
        }
        Ok(Run { network, sgd, train: Arc::new(train), val, state })
    }

    /// Starts from a file's parameters where it has them.
    pub fn load_weights(&mut self, path: &Path) -> Result<weights::Report> {
        let report = weights::load(&self.network.graph, &weights::read(path)?);
        report.map_err(|error| Error::new(format!("{}: {error}", path.display())))
    }

    /// One line on what is trained on what.
    pub fn describe(&self) -> String {
        let parameters: usize =
            self.network.graph.parameters().iter().filter(|p| p.learned).map(|p| p.tensor.numel()).sum();
        format!(
            "{} with {:.1} M parameters for {} classes, {} photos to train on, {} to measure on",
            self.network.spec.name(),
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
            flip: config.flip,
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
        while self.state.progress.epoch < config.epochs {
            let epoch = self.state.progress.epoch;
            let bar = progress_bar(steps, &format!("epoch {}", epoch + 1));
            let mut since = Instant::now();
            for batch in loader::epoch(&self.train, &augment, &plan, epoch, self.state.progress.step) {
                let step = epoch * steps as u64 + self.state.progress.step as u64;
                let factor = config.schedule.factor(step, steps as u64 * config.epochs);
                self.step(batch?, config.lr * factor)?;
                let progress = &mut self.state.progress;
                progress.step += 1;
                progress.running.seconds += since.elapsed().as_secs_f64();
                bar.set_position(progress.step as u64);
                bar.set_message(format!("loss {:.3}", progress.running.mean_loss()));
                let stop = execution.stop.load(Ordering::Relaxed);
                if stop || progress.step.is_multiple_of(execution.checkpoint_every) || progress.step == steps {
                    self.save(execution)?;
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
        Ok(End::Complete)
    }

    /// One step of gradient descent.
    fn step(&mut self, mut batch: Batch, learning_rate: f64) -> Result<()> {
        let config = &self.state.config;
        if config.void_is_background {
            void_to_background(&mut batch.labels);
        }
        let counted = batch.labels.iter().filter(|label| **label != VOID).count() as i64;
        if counted == 0 {
            // The mean over no pixel is no number; there is nothing to learn from.
            return Ok(());
        }
        let (n, h, w) = (batch.n as i64, batch.h as i64, batch.w as i64);
        let device = self.network.graph.device;
        let images = Tensor::f_from_slice(&batch.images)?.f_view([n, 3, h, w])?.f_to_device(device)?;
        let labels = Tensor::f_from_slice(&batch.labels)?.f_view([n, h, w])?.f_to_device(device)?;
        let labels = labels.f_to_kind(Kind::Int64)?;

        let scores = self.network.graph.forward(&channels_last(&images), true)?;
        let loss = scores.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, i64::from(VOID), 0.0)?;
        self.sgd.zero_grad();
        if config.sum_over_batch { loss.f_mul_scalar(n)? } else { loss.shallow_clone() }.f_backward()?;
        self.sgd.step(learning_rate)?;

        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(Error::new(format!(
                "the loss became {value} in epoch {}; start again with --lr below {}",
                self.state.progress.epoch + 1,
                config.lr
            )));
        }
        let right = scores.detach().f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?;
        let running = &mut self.state.progress.running;
        running.loss += value * batch.n as f64;
        running.crops += batch.n;
        running.right += right.f_int64_value(&[])?;
        running.counted += counted;
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
        }
        let speed = self.state.progress.running.crops as f64 / self.state.progress.running.seconds;
        writeln!(out, "{line}, {speed:.1} examples/sec on {}", device_name(execution.device))?;
        out.flush()?;
        let progress = &mut self.state.progress;
        progress.epoch = epoch;
        progress.step = 0;
        progress.running = Running::default();
        if best {
            checkpoint::save(&checkpoint::best(&execution.folder), &self.network, None, &self.state)?;
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
                label(&self.network, rgb, width, height)
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Some(confusion))
    }

    fn save(&self, execution: &Execution) -> Result<()> {
        checkpoint::save(&checkpoint::last(&execution.folder), &self.network, Some(&self.sgd), &self.state)
    }
}

fn open(config: &Config) -> Result<(Dataset, Dataset)> {
    Ok((Dataset::open(&config.data, &config.train_split)?, Dataset::open(&config.data, &config.val_split)?))
}

fn optimizer(network: &Network, config: &Config) -> Sgd {
    let Config { momentum, weight_decay, head_lr_factor: head_factor, .. } = *config;
    Sgd::new(&network.graph, Rates { momentum, weight_decay, head_factor })
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
