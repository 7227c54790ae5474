//! One training step: a batch's loss, its gradients, and the optimizer's update.

use tch::{Device, Kind, Tensor};

use crate::checkpoint::{Checkpoint, TrainingState};
use crate::config::Config;
use crate::data::VOID;
use crate::distributed::Ranks;
use crate::ema::Ema;
use crate::error::{Error, Result};
use crate::loader::Batch;
use crate::loss::Loss;
use crate::model::{FlatParameters, Network, Spec, channels_last};
use crate::optimizer::{Optimizer, OptimizerSettings, clip_norm};

/// Loss scale that lifts float16 gradients above their smallest number (Micikevicius et al. 2018,
/// section 3.2).
const LOSS_SCALE: f64 = 1024.0;

/// A network and the state of its training.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    parameters: FlatParameters,
    average: Option<Ema>,
    optimizer: Optimizer,
    loss: Loss,
    /// The target of each mask label.
    labels: [u8; 256],
    sum_over_batch: bool,
    clip: Option<f64>,
    autocast: bool,
    sync_norm: bool,
    ranks: Ranks,
    /// The sum of the gradients since the last optimizer step.
    gradients: Option<Tensor>,
    /// Optimizer steps so far, over the whole run.
    updates: u64,
}

/// Parameters of a step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The learning rate.
    pub learning_rate: f64,
    /// Batches accumulated for the next optimizer step.
    pub window: usize,
    /// Whether this batch is the last of them.
    pub is_last: bool,
}

/// The result of a batch with pixels to train on, of all ranks together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOutcome {
    /// The loss.
    pub loss: f64,
    /// The number of crops.
    pub crops: usize,
    /// Pixels labelled correctly.
    pub correct: i64,
    /// Pixels counted.
    pub total: i64,
}

impl Learner {
    /// A learner for a new network, initialised from the configuration's seed.
    pub fn new(spec: Spec, config: &Config, device: Device) -> Result<Learner> {
        Learner::of(Network::new(spec, config.seed, device), config)
    }

    /// A learner restored from a checkpoint.
    pub fn resume(checkpoint: &Checkpoint, device: Device) -> Result<Learner> {
        let mut learner = Learner::of(Network::new(checkpoint.state.spec, 0, device), &checkpoint.state.config)?;
        learner.updates = checkpoint.state.progress.updates;
        checkpoint.restore(&learner.network)?;
        checkpoint.restore_optimizer(&learner.optimizer, &learner.parameters)?;
        if let Some(average) = &learner.average {
            checkpoint.restore_average(&average.network)?;
        }
        Ok(learner)
    }

    fn of(mut network: Network, config: &Config) -> Result<Learner> {
        if config.freeze_norm {
            network.graph.freeze_norms();
        }
        let Config { optimizer: method, momentum, beta2, weight_decay, head_lr_factor: head_factor, .. } = *config;
        let device = network.graph.device;
        if config.autocast && !device.is_cuda() {
            return Err(Error::new("--autocast is for CUDA devices; leave it out, or choose --device cuda"));
        }
        let parameters = FlatParameters::new(&network.graph)?;
        let settings = OptimizerSettings { method, momentum, beta2, weight_decay, head_factor };
        Ok(Learner {
            optimizer: Optimizer::new(&parameters, settings)?,
            parameters,
            average: config.ema.map(|decay| Ema::new(&network, decay)).transpose()?,
            loss: Loss::new(config, device),
            labels: labels(config),
            sum_over_batch: config.sum_over_batch,
            clip: config.clip,
            autocast: config.autocast,
            sync_norm: config.sync_norm,
            ranks: Ranks::alone(),
            gradients: None,
            updates: 0,
            network,
        })
    }

    /// Trains together with other ranks from now on, which must do the same; all continue with the
    /// weights of rank 0.
    pub fn join(&mut self, ranks: &Ranks) -> Result<()> {
        self.ranks = ranks.clone();
        let networks = [Some(&mut self.network), self.average.as_mut().map(|average| &mut average.network)];
        for network in networks.into_iter().flatten() {
            network.graph.sync = (ranks.are_several() && self.sync_norm).then(|| ranks.clone());
        }
        let _guard = tch::no_grad_guard();
        ranks.broadcast(&mut self.parameters.values().shallow_clone())?;
        self.optimizer.tensors().try_for_each(|mut tensor| ranks.broadcast(&mut tensor))?;
        self.average
            .as_ref()
            .map_or(Ok(()), |average| ranks.broadcast(&mut average.parameters().values().shallow_clone()))
    }

    /// Replaces the running statistics of batch normalisation, which each rank takes from its own
    /// crops, by their mean over the ranks.
    pub fn share_statistics(&self) -> Result<()> {
        if !self.ranks.are_several() {
            return Ok(());
        }
        let _guard = tch::no_grad_guard();
        let averaged = self.average.as_ref().map(Ema::parameters);
        for parameters in [Some(&self.parameters), averaged].into_iter().flatten() {
            // Values that are the same on all ranks, such as frozen statistics, stay the same bit
            // for bit: the mean of their differences is 0.
            let mut statistics = parameters.not_learned()?;
            let mut mean = statistics.copy();
            self.ranks.broadcast(&mut statistics)?;
            let _ = mean.f_sub_(&statistics)?;
            self.ranks.sum(&mut mean)?;
            let _ = statistics.f_add_(&mean.f_div_scalar(self.ranks.rank().of as f64)?)?;
        }
        Ok(())
    }

    /// The network being trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network that is measured and exported: the average if there is one.
    pub fn measured(&self) -> &Network {
        self.average.as_ref().map_or(&self.network, |average| &average.network)
    }

    /// Optimizer steps so far, over the whole run.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// A checkpoint's state in addition to the trained network.
    pub fn training_state(&self) -> TrainingState<'_> {
        let average = self.average.as_ref().map(|average| &average.network);
        TrainingState { parameters: &self.parameters, optimizer: &self.optimizer, average }
    }

    /// Restarts the average after the network's parameters were overwritten.
    pub fn restart_average(&self) -> Result<()> {
        self.average.as_ref().map_or(Ok(()), |average| average.restart(&self.network))
    }

    /// Estimates the statistics of the measured network over these batches, of which each rank has
    /// its part.
    pub fn fit_norms(&mut self, batches: impl Iterator<Item = Result<Batch>>) -> Result<()> {
        let network = self.average.as_mut().map_or(&mut self.network, |average| &mut average.network);
        let device = network.graph.device;
        network.graph.fit_norms(batches.map(|batch| images(&batch?, device)))?;
        self.share_statistics()
    }

    /// The share of these batches' pixels that the measured network labels correctly in evaluation
    /// mode; `None` if all are void.
    pub fn accuracy(&self, batches: impl Iterator<Item = Result<Batch>>) -> Result<Option<f64>> {
        let _guard = tch::no_grad_guard();
        let network = self.measured();
        let device = network.graph.device;
        let (mut correct, mut total) = (0, 0);
        for batch in batches {
            let mut batch = batch?;
            let labels = self.labels(&mut batch, device)?;
            let scores = network.graph.forward(&images(&batch, device)?, false)?;
            correct += scores.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            total += batch.labels.iter().filter(|label| **label != VOID).count();
        }
        let [correct, total] = self.ranks.sum_numbers([correct as f64, total as f64], device)?;
        Ok((total > 0.0).then(|| correct / total))
    }

    /// Trains on a batch; `None` if all its pixels are void. If a loss, a gradient or a weight
    /// becomes NaN or infinite, this returns an error and the learner must not be used any more.
    pub fn learn(&mut self, mut batch: Batch, step: Step) -> Result<Option<StepOutcome>> {
        let labels = self.labels(&mut batch, self.network.graph.device)?;
        let total = batch.labels.iter().filter(|label| **label != VOID).count() as i64;
        let device = self.network.graph.device;
        // Counts of pixels are whole numbers far below 2^53.
        let [total, crops] = self.ranks.sum_numbers([total as f64, batch.n as f64], device)?;
        let outcome = match total as i64 {
            // The mean over no pixels is NaN.
            0 => None,
            total => Some(self.descend(&batch, &labels, total, crops as usize, step)?),
        };
        if step.is_last
            && let Some(mut gradients) = self.gradients.take()
        {
            self.ranks.sum(&mut gradients)?;
            self.update(step, gradients)?;
        }
        Ok(outcome)
    }

    /// Adds a batch's gradients. The batch has `total` pixels to train on and `all` crops, of all
    /// ranks together.
    fn descend(&mut self, batch: &Batch, labels: &Tensor, total: i64, all: usize, step: Step) -> Result<StepOutcome> {
        let images = images(batch, self.network.graph.device)?;
        let scores = if self.autocast {
            tch::autocast(true, || self.network.graph.forward(&images, true))?.f_to_kind(Kind::Float)?
        } else {
            self.network.graph.forward(&images, true)?
        };
        let loss = self.loss.of(&scores, labels, &self.ranks, all.div_ceil(self.ranks.rank().of))?;
        let crops = if self.sum_over_batch { all as f64 } else { 1.0 };
        let gradients = match self.loss_scale() * crops / step.window as f64 {
            1.0 => self.parameters.gradients(&loss)?,
            factor => self.parameters.gradients(&loss.f_mul_scalar(factor)?)?,
        };
        self.gradients = Some(match self.gradients.take() {
            None => gradients,
            Some(mut sum) => sum.f_add_(&gradients)?,
        });
        let correct = scores.detach().f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?;
        // Only now does the CPU wait for a GPU.
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(Error::new(format!("the loss became {value}")));
        }
        let correct = correct.f_int64_value(&[])?;
        let [loss, correct] = self.ranks.sum_numbers([value, correct as f64], self.network.graph.device)?;
        Ok(StepOutcome { loss, crops: all, correct: correct as i64, total })
    }

    /// A batch's targets, written back to the batch as well.
    fn labels(&self, batch: &mut Batch, device: Device) -> Result<Tensor> {
        batch.labels.iter_mut().for_each(|label| *label = self.labels[usize::from(*label)]);
        let size = [batch.n as i64, batch.h as i64, batch.w as i64];
        Ok(Tensor::f_from_slice(&batch.labels)?.f_view(size)?.f_to_device(device)?.f_to_kind(Kind::Int64)?)
    }

    /// The factor on the loss, by which gradients are divided.
    fn loss_scale(&self) -> f64 {
        if self.autocast { LOSS_SCALE } else { 1.0 }
    }

    /// One optimizer step.
    fn update(&mut self, step: Step, mut gradients: Tensor) -> Result<()> {
        let _guard = tch::no_grad_guard();
        if self.autocast {
            let _ = gradients.f_mul_scalar_(1.0 / LOSS_SCALE)?;
        }
        let norm = clip_norm(&mut gradients, self.clip.unwrap_or(f64::INFINITY))?;
        if !norm.is_finite() {
            return Err(Error::new(format!("the gradients' norm became {norm}")));
        }
        self.updates += 1;
        self.optimizer.step(&self.parameters, &gradients, step.learning_rate, self.updates)?;
        if let Some(average) = &self.average {
            average.follow(&self.parameters, self.updates)?;
        }
        // NaN if one is NaN. Running statistics are included.
        let largest = self.parameters.values().f_abs()?.f_max()?.f_double_value(&[])?;
        if largest.is_finite() { Ok(()) } else { Err(Error::new("the weights overflowed")) }
    }
}

/// A batch's crops on a device, in the networks' memory layout.
fn images(batch: &Batch, device: Device) -> Result<Tensor> {
    let shape = [batch.n as i64, 3, batch.h as i64, batch.w as i64];
    Ok(channels_last(&Tensor::f_from_slice(&batch.images)?.f_view(shape)?.f_to_device(device)?))
}

/// The target of each mask label: void may become background, and pixels of a class without weight
/// are ignored like void.
fn labels(config: &Config) -> [u8; 256] {
    let mut labels: [u8; 256] = std::array::from_fn(|label| label as u8);
    if config.void_is_background {
        labels[usize::from(VOID)] = config.background;
    }
    for label in &mut labels {
        if config.class_weights.values.get(usize::from(*label)) == Some(&0.0) {
            *label = VOID;
        }
    }
    labels
}
