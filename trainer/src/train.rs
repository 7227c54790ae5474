//! The training loop.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};
use tch::Device;

use crate::augment::Augment;
use crate::checkpoint::{self, Checkpoint, CheckpointState, EpochSums, Progress};
use crate::config::Config;
use crate::data::Dataset;
use crate::data::of_run::{self, Photos};
use crate::dataset::doubts::{Doubts, Tally};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::evaluate::{background_or_first, label, read};
use crate::execution::Execution;
use crate::learner::{Learner, Step};
use crate::loader::{self, Batch, Plan};
use crate::logging::{self, Recorder, Validation};
use crate::metrics::Confusion;
use crate::model::{Spec, weights};
use crate::schedule::Factor;
use fcn::onnx::NATIVE_SIDES;

/// Crops of training photos that are evaluated at each validation.
const COMPARED_CROPS: usize = 32;
/// Training accuracy comes from weights that were worse at the epoch's start, and from other crops;
/// a larger difference than this is significant.
const LARGEST_GAP: f64 = 0.15;

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All epochs are done.
    Complete,
    /// Stopped; the newest checkpoint contains everything up to that point.
    Stopped,
}

/// A run's data, learner and progress.
pub struct Run {
    learner: Learner,
    train: Arc<Dataset>,
    val: Dataset,
    photos: Photos,
    state: CheckpointState,
    ranks: Ranks,
}

impl Run {
    /// Starts a new run.
    pub fn start(mut config: Config, device: Device) -> Result<Run> {
        config.check()?;
        let (train, val) = open(&config)?;
        let val_split = config.val_share.map_or(&config.val_split, |_| &config.train_split);
        let photos = Photos::new(&config.place(), (&config.train_split, &train), (val_split, &val))?;
        config.class_weights.resolve(&train)?;
        check_class_weights(&config, &train)?;
        config.background = background_or_first(train.classes());
        let Config { arch: architecture, backbone, upsample, init, .. } = config;
        let spec = Spec { architecture, backbone, classes: train.classes().len() as i64, upsample, init };
        let normalise = backbone.normalise();
        let learner = Learner::new(spec, &config, device)?;
        let state = CheckpointState {
            classes: train.classes().to_vec(),
            mean: normalise.mean,
            std: normalise.std,
            native_side: Some(native_side(&train, config.scale)?),
            progress: Progress::default(),
            spec,
            config,
        };
        Ok(Run { learner, train: Arc::new(train), val, photos, state, ranks: Ranks::alone() })
    }

    /// Resumes a run from a checkpoint, with its original photos.
    pub fn resume(checkpoint: Checkpoint, photos: Option<Photos>, device: Device) -> Result<Run> {
        let learner = Learner::resume(&checkpoint, device)?;
        let state = checkpoint.state;
        let (train, val) = match &photos {
            Some(photos) => photos.open()?,
            None => open(&state.config)?,
        };
        let photos = match photos {
            Some(photos) => photos,
            None => Photos::new(
                &state.config.place(),
                (&state.config.train_split, &train),
                (&state.config.val_split, &val),
            )?,
        };
        if train.classes() != state.classes {
            return Err(Error::new(format!(
                "{} has other classes than when this run began; start a new run",
                state.config.data.display()
            )));
        }
        Ok(Run { learner, train: Arc::new(train), val, photos, state, ranks: Ranks::alone() })
    }

    /// Trains together with other ranks from now on. All must have the same photos, settings and
    /// progress, and `checkpoint_every`; they continue with the weights of rank 0.
    pub fn join(&mut self, ranks: &Ranks, checkpoint_every: usize) -> Result<()> {
        let CheckpointState { config, progress, classes, .. } = &self.state;
        // Each machine may have the photos in a folder of its own.
        let anywhere = Config { data: PathBuf::new(), masks: None, ..config.clone() };
        let text = |value: serde_json::Result<String>| value.map_err(|error| Error::new(error.to_string()));
        ranks.compare(&[
            ("classes", text(serde_json::to_string(classes))?),
            ("photos", self.photos.names()),
            ("settings", format!("{} {checkpoint_every}", text(serde_json::to_string(&anywhere))?)),
            ("progress", text(serde_json::to_string(progress))?),
        ])?;
        self.learner.join(ranks)?;
        self.ranks = ranks.clone();
        Ok(())
    }

    /// Initialises parameters from a file: a backbone's, or those of a run with the same backbone.
    pub fn load_weights(&mut self, path: &Path) -> Result<weights::LoadReport> {
        let tensors = weights::of_checkpoint(weights::read(path)?);
        let report = weights::load(&self.learner.network().graph, &tensors);
        let report = report.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        self.learner.restart_average()?;
        Ok(report)
    }

    /// A summary of the run's setup.
    pub fn describe(&self) -> Description {
        let parameters = self.learner.network().graph.parameters();
        Description {
            network: self.state.spec.name(),
            parameters: parameters.iter().filter(|p| p.learned).map(|p| p.tensor.numel()).sum(),
            classes: self.state.classes.iter().map(|class| class.name.clone()).collect(),
            train: self.train.len(),
            val: self.val.len(),
            epochs: self.state.config.epochs,
        }
    }

    /// Suspicious properties of the training photos; reads all their masks.
    pub fn doubts(&self) -> Result<Doubts> {
        let mut tally = Tally::of(&self.train)?;
        if self.state.config.void_is_background {
            tally.void_to(self.state.config.background);
        }
        let mut doubts = tally.doubts(self.train.classes(), true);
        doubts.notes.extend_from_slice(self.train.notes());
        if let [first, ..] = self.train.left_out() {
            doubts.problems.push(format!("{} things were left out, the first: {first}", self.train.left_out().len()));
        }
        Ok(doubts)
    }

    /// Trains until the last epoch is done, writes one line per epoch to `out`, and records in the
    /// run's folder. Of several ranks, only the first one writes.
    pub fn train(&mut self, execution: &Execution, out: &mut dyn Write) -> Result<End> {
        if self.ranks.is_first() {
            remove_leftovers(&execution.folder)?;
            self.photos.write(&execution.folder)?;
        }
        let stopped = !self.state.is_complete() && self.run_epochs(execution, out)? == End::Stopped;
        // A rank that leaves would end what others on GPUs have queued.
        self.ranks.any(false, execution.device)?;
        if stopped {
            return Ok(End::Stopped);
        }
        if self.state.is_out_of_patience() && self.ranks.is_first() {
            let Progress { epoch, stale, .. } = self.state.progress;
            let text = format!("ended after epoch {epoch}: {stale} validations brought no better mIoU");
            let object = json!({"event": "out_of_patience", "epoch": epoch, "stale_validations": stale});
            execution.output.say(out, &text, &object)?;
        }
        Ok(End::Complete)
    }

    fn run_epochs(&mut self, execution: &Execution, out: &mut dyn Write) -> Result<End> {
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
            rank: self.ranks.rank(),
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
        // Batches accumulated for one optimizer step, including the last few of an epoch, use the
        // first one's rate.
        let first_of = |step: usize| step - step % config.accumulate;
        let rate = |epoch: u64, step: usize| config.lr * factor.at(epoch * steps as u64 + first_of(step) as u64);
        let first = self.ranks.is_first();
        let mut recorder = first.then(|| Recorder::open(execution, &self.state, steps, out)).transpose()?;
        let recorder = &mut recorder;
        while !self.state.is_complete() {
            let epoch = self.state.progress.epoch;
            let mut since = Instant::now();
            let mut since_save = 0;
            for batch in loader::epoch(&self.train, &augment, &plan, epoch, self.state.progress.step) {
                let step = self.state.progress.step;
                let learning_rate = rate(epoch, step);
                let end = (first_of(step) + config.accumulate).min(steps);
                let is_last = step + 1 == end;
                self.step(batch?, Step { learning_rate, window: end - first_of(step), is_last })?;
                let seconds = since.elapsed().as_secs_f64();
                let progress = &mut self.state.progress;
                progress.step += 1;
                progress.running.seconds += seconds;
                if let Some(recorder) = recorder {
                    recorder.step(progress, learning_rate, seconds)?;
                }
                let progress = &self.state.progress;
                // Gradients are not saved, so accumulated ones are applied first.
                let stop = is_last && self.is_stopped(execution)?;
                since_save += 1;
                if stop || is_last && since_save >= execution.checkpoint_every || progress.step == steps {
                    self.save(execution, recorder)?;
                    since_save = 0;
                }
                if stop {
                    return Ok(End::Stopped);
                }
                since = Instant::now();
            }
            if self.is_validated(epoch) {
                // The same crops each time, from epoch numbers that no run reaches.
                let epochs = || (0..).map(|number| loader::epoch(&self.train, &augment, &plan, u64::MAX - number, 0));
                if config.norm_crops > 0 && self.learner.network().graph.learns_norms() {
                    let crops = epochs().flatten();
                    self.learner.fit_norms(crops.take(config.norm_crops.div_ceil(config.batch)))?;
                }
                let seen = self.learner.accuracy(epochs().flatten().take(COMPARED_CROPS.div_ceil(config.batch)))?;
                if let Some(warning) = gap(&self.state.progress.running, seen)
                    && let Some(recorder) = recorder
                {
                    recorder.warn(&warning)?;
                }
            }
            if self.end_epoch(execution, rate(epoch, steps - 1), recorder)? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Complete)
    }

    /// Trains on a batch.
    fn step(&mut self, batch: Batch, step: Step) -> Result<()> {
        let ids = batch.ids.clone();
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
            running.loss += outcome.loss * outcome.crops as f64;
            running.crops += outcome.crops;
            running.correct += outcome.correct;
            running.total += outcome.total;
        }
        Ok(())
    }

    /// Whether the run is to stop, on any rank.
    fn is_stopped(&self, execution: &Execution) -> Result<bool> {
        self.ranks.any(execution.stop.load(Ordering::Relaxed), execution.device)
    }

    /// Validates, records the epoch, whose last step had this learning rate, and writes
    /// checkpoints.
    fn end_epoch(&mut self, execution: &Execution, learning_rate: f64, recorder: &mut Option<Recorder>) -> Result<End> {
        let epoch = self.state.progress.epoch + 1;
        let (mut val, mut best) = (None, false);
        if self.is_validated(epoch - 1) {
            let since = Instant::now();
            let Some(confusion) = self.validate(execution, recorder.as_mut())? else { return Ok(End::Stopped) };
            let measured = Validation::new(&confusion, self.state.classes.len(), since.elapsed().as_secs_f64());
            let progress = &mut self.state.progress;
            // The mean over all classes would jump with pixels predicted as a class that no photo
            // contains.
            let miou = confusion.mean_iou_of_truth();
            best = progress.best_miou.is_none_or(|best| miou > best);
            if best {
                progress.best_miou = Some(miou);
            }
            progress.stale = if best { 0 } else { progress.stale + 1 };
            val = Some(measured);
        }
        if let Some(recorder) = recorder {
            let devices = self.ranks.devices(execution.device);
            recorder.epoch(&mut self.state, learning_rate, val, best, &devices)?;
        }
        let progress = &mut self.state.progress;
        progress.epoch = epoch;
        progress.step = 0;
        progress.running = EpochSums::default();
        progress.logged = EpochSums::default();
        if best && self.ranks.is_first() {
            checkpoint::save(&checkpoint::best(&execution.folder), self.learner.measured(), None, &self.state)?;
        }
        self.save(execution, recorder)?;
        Ok(End::Complete)
    }

    /// Whether there is a validation after this epoch, counted from 0.
    fn is_validated(&self, epoch: u64) -> bool {
        let Config { val_every, epochs, .. } = self.state.config;
        (epoch + 1).is_multiple_of(val_every) || epoch + 1 == epochs
    }

    /// Measures on the validation split, of which each rank labels its part; `None` if it was
    /// stopped.
    fn validate(&self, execution: &Execution, mut recorder: Option<&mut Recorder>) -> Result<Option<Confusion>> {
        self.learner.share_statistics()?;
        let photos = self.val.len();
        let rank = self.ranks.rank();
        // The first rank labels the samples that it records.
        let is_own = |index: &usize| {
            if logging::is_sample(*index, photos) { rank.number == 0 } else { index % rank.of == rank.number }
        };
        let mut confusion = Confusion::new(self.val.classes().len());
        for index in (0..photos).filter(is_own) {
            if self.ranks.is_told_to_stop(execution.stop.load(Ordering::Relaxed))? {
                break;
            }
            let sample = read(&self.val, index, self.state.config.void_is_background)?;
            let labels =
                label(self.learner.measured(), self.state.native_side, &sample.image, sample.width, sample.height)?;
            confusion.add(&sample.mask, &labels);
            if let Some(recorder) = &mut recorder {
                recorder.sample(index, photos, sample, labels)?;
                recorder.validating(index + 1, photos);
            }
        }
        let stops = self.ranks.is_told_to_stop(execution.stop.load(Ordering::Relaxed))?;
        if self.ranks.any(stops, execution.device)? {
            return Ok(None);
        }
        confusion.sum(&self.ranks, execution.device)?;
        Ok(Some(confusion))
    }

    fn save(&self, execution: &Execution, recorder: &Option<Recorder>) -> Result<()> {
        self.learner.share_statistics()?;
        let Some(recorder) = recorder else { return Ok(()) };
        recorder.sync()?;
        let path = checkpoint::last(&execution.folder);
        checkpoint::save(&path, self.learner.network(), Some(self.learner.training_state()), &self.state)
    }
}

/// A warning if training and evaluation disagree on how well the training photos are labelled.
fn gap(running: &EpochSums, evaluated: Option<f64>) -> Option<String> {
    let trained = (running.total > 0).then(|| running.correct as f64 / running.total as f64)?;
    let evaluated = evaluated.filter(|evaluated| trained - evaluated > LARGEST_GAP)?;
    Some(format!(
        "the training photos are labelled with accuracy {trained:.3} in training, but {evaluated:.3} in evaluation: the statistics \
         of batch normalisation or the average of weights do not follow the weights; try more --norm-crops, a smaller --lr, or a \
         smaller --ema"
    ))
}

/// The native side of a network trained on these photos: the median over the photos of the square
/// root of width times height, multiplied by the middle of the random scales.
fn native_side(photos: &Dataset, scale: (f32, f32)) -> Result<u32> {
    let side = |(height, width): (usize, usize)| (height as f64 * width as f64).sqrt();
    let mut sides = (0..photos.len()).map(|i| photos.size(i).map(side)).collect::<Result<Vec<f64>>>()?;
    sides.sort_by(f64::total_cmp);
    let native = sides[sides.len() / 2] * f64::from(scale.0 * scale.1).sqrt();
    Ok((native.round() as u32).clamp(*NATIVE_SIDES.start(), *NATIVE_SIDES.end()))
}

/// A summary of the run's setup, displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    network: String,
    /// The number of trainable parameters.
    parameters: usize,
    classes: Vec<String>,
    /// The number of training photos.
    train: usize,
    /// The number of validation photos.
    val: usize,
    epochs: u64,
}

impl Description {
    /// The same for scripts.
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

/// Removes temporary files left by a run that was killed.
fn remove_leftovers(folder: &Path) -> Result<()> {
    let files = [checkpoint::last(folder), checkpoint::best(folder), of_run::path(folder)];
    let mut files = files.into_iter().chain(logging::whole_files(folder));
    Ok(files.try_for_each(|path| fcn::file::remove_leftovers(&path))?)
}

/// Checks that there is one weight per class, or none.
fn check_class_weights(config: &Config, dataset: &Dataset) -> Result<()> {
    let (weights, classes) = (config.class_weights.values.len(), dataset.classes().len());
    if weights == 0 || weights == classes {
        Ok(())
    } else {
        Err(Error::new(format!("--class-weights has {weights} numbers for {classes} classes; give one for each")))
    }
}

fn open(config: &Config) -> Result<(Dataset, Dataset)> {
    let place = config.place();
    let train = place.open(&config.train_split)?;
    match config.val_share {
        Some(share) => train.divide(share, config.seed),
        None => Ok((train, place.open(&config.val_split)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_and_evaluation_that_part_are_told() {
        let running = EpochSums { correct: 846, total: 1000, ..EpochSums::default() };
        let told = gap(&running, Some(0.545)).unwrap();
        assert!(told.contains("0.846") && told.contains("0.545"), "{told}");
        assert!(gap(&running, Some(0.846 - LARGEST_GAP - 1e-9)).is_some());
        assert_eq!(gap(&running, Some(0.846 - LARGEST_GAP + 1e-9)), None);
        // Better accuracy in evaluation is expected after an epoch of training.
        assert_eq!(gap(&running, Some(0.99)), None);
        assert_eq!(gap(&running, None), None);
        assert_eq!(gap(&EpochSums::default(), Some(0.1)), None);
    }
}
