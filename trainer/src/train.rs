//! The training loop.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

use crate::augment::Augment;
use crate::checkpoint::{self, Checkpoint, Progress, Running, State};
use crate::config::Config;
use crate::data::{Dataset, VOID};
use crate::error::{Error, Result};
use crate::evaluate::{label, read, void_to_background};
use crate::loader::{self, Batch, Plan};
use crate::metrics::Confusion;
use crate::model::{Network, Spec, channels_last, weights};
use crate::record::{Output, Recorder, Validation};
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
    /// Steps from one line of `metrics.csv` to the next, at least 1; each epoch ends with one, too.
    pub log_every: u64,
    /// For whom `train` writes.
    pub output: Output,
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

    /// What is trained on what.
    pub fn describe(&self) -> Description {
        let learned = self.network.graph.parameters().into_iter().filter(|parameter| parameter.learned);
        Description {
            network: self.network.spec.name(),
            parameters: learned.map(|parameter| parameter.tensor.numel()).sum(),
            classes: self.state.classes.iter().map(|class| class.name.clone()).collect(),
            train: self.train.len(),
            val: self.val.len(),
            epochs: self.state.config.epochs,
        }
    }

    /// Trains until the last epoch is done, writes one line an epoch to `out`, and records in the run's folder.
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
        if self.state.progress.epoch >= config.epochs {
            return Ok(End::Complete);
        }
        let rate = |step| config.lr * config.schedule.factor(step, steps as u64 * config.epochs);
        let recorder = &mut Recorder::open(execution, &self.state, steps, out)?;
        while self.state.progress.epoch < config.epochs {
            let epoch = self.state.progress.epoch;
            let mut since = Instant::now();
            for batch in loader::epoch(&self.train, &augment, &plan, epoch, self.state.progress.step) {
                let step = epoch * steps as u64 + self.state.progress.step as u64;
                let learning_rate = rate(step);
                self.step(batch?, learning_rate)?;
                let progress = &mut self.state.progress;
                let seconds = since.elapsed().as_secs_f64();
                progress.step += 1;
                progress.running.seconds += seconds;
                recorder.step(progress, learning_rate, seconds)?;
                let stop = execution.stop.load(Ordering::Relaxed);
                if stop || progress.step.is_multiple_of(execution.checkpoint_every) || progress.step == steps {
                    self.save(execution, recorder)?;
                }
                if stop {
                    return Ok(End::Stopped);
                }
                since = Instant::now();
            }
            if self.end_epoch(execution, rate((epoch + 1) * steps as u64 - 1), recorder)? == End::Stopped {
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

    /// Measures, records the epoch, whose last step had this learning rate, and writes checkpoints.
    fn end_epoch(&mut self, execution: &Execution, learning_rate: f64, recorder: &mut Recorder) -> Result<End> {
        let config = &self.state.config;
        let epoch = self.state.progress.epoch + 1;
        let (mut val, mut best) = (None, false);
        if epoch.is_multiple_of(config.val_every) || epoch == config.epochs {
            let since = Instant::now();
            let Some(confusion) = self.validate(execution, recorder)? else { return Ok(End::Stopped) };
            let measured = Validation::new(&confusion, self.state.classes.len(), since.elapsed().as_secs_f64());
            best = self.state.progress.best_miou.is_none_or(|best| measured.miou > best);
            if best {
                self.state.progress.best_miou = Some(measured.miou);
            }
            val = Some(measured);
        }
        let progress = &mut self.state.progress;
        recorder.epoch(progress, learning_rate, val, best, &device_name(execution.device))?;
        progress.epoch = epoch;
        progress.step = 0;
        progress.running = Running::default();
        progress.logged = Running::default();
        if best {
            checkpoint::save(&checkpoint::best(&execution.folder), &self.network, None, &self.state)?;
        }
        self.save(execution, recorder)?;
        Ok(End::Complete)
    }

    /// `None` where it was stopped.
    fn validate(&self, execution: &Execution, recorder: &mut Recorder) -> Result<Option<Confusion>> {
        let photos = self.val.len();
        let mut confusion = Confusion::new(self.val.classes().len());
        for index in 0..photos {
            if execution.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let sample = read(&self.val, index, self.state.config.void_is_background)?;
            let labels = label(&self.network, &sample.image, sample.width, sample.height)?;
            confusion.add(&sample.mask, &labels);
            recorder.sample(index, photos, sample, labels)?;
            recorder.validating(index + 1, photos);
        }
        Ok(Some(confusion))
    }

    fn save(&self, execution: &Execution, recorder: &Recorder) -> Result<()> {
        recorder.sync()?;
        checkpoint::save(&checkpoint::last(&execution.folder), &self.network, Some(&self.sgd), &self.state)
    }
}

/// What is trained on what; shown as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    network: String,
    /// Learned numbers.
    parameters: usize,
    classes: Vec<String>,
    /// Photos to train on.
    train: usize,
    /// Photos to measure on.
    val: usize,
    epochs: u64,
}

impl Description {
    /// The same for programs.
    pub fn json(&self, run: &Path) -> Value {
        json!({
            "event": "start",
            "run": run.to_string_lossy(),
            "network": self.network,
            "parameters": self.parameters,
            "classes": self.classes,
            "train_photos": self.train,
            "val_photos": self.val,
            "epochs": self.epochs,
        })
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with {:.1} M parameters for {} classes, {} photos to train on, {} to measure on",
            self.network,
            self.parameters as f64 / 1e6,
            self.classes.len(),
            self.train,
            self.val
        )
    }
}

fn open(config: &Config) -> Result<(Dataset, Dataset)> {
    Ok((Dataset::open(&config.data, &config.train_split)?, Dataset::open(&config.data, &config.val_split)?))
}

fn optimizer(network: &Network, config: &Config) -> Sgd {
    let Config { momentum, weight_decay, head_lr_factor: head_factor, .. } = *config;
    Sgd::new(&network.graph, Rates { momentum, weight_decay, head_factor })
}

/// Where a run computes, in words.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("cpu ({} threads)", tch::get_num_threads()),
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}"),
    }
}
