//! The loss of a step: cross-entropy, with optional class weights, label smoothing and hard-pixel
//! mining.

use tch::{Device, Kind, Reduction, Tensor, no_grad};

use crate::config::Config;
use crate::data::VOID;
use crate::distributed::Ranks;
use crate::error::Result;

/// Computes the loss of a batch. Void pixels do not count.
#[derive(Debug)]
pub struct Loss {
    /// One factor per class.
    weights: Option<Tensor>,
    /// The share of the target spread over all classes.
    smoothing: f64,
    hard: Hard,
}

/// Hard-pixel selection (online hard example mining, Shrivastava et al. 2016, applied to pixels).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Hard {
    /// Pixels whose true class has less probability than this count.
    pub below: Option<f64>,
    /// At least this share of the pixels counts, those with the lowest probability of their true
    /// class.
    pub share: Option<f64>,
}

impl Loss {
    /// The loss configured for a run.
    pub fn new(config: &Config, device: Device) -> Loss {
        let weights = (!config.class_weights.values.is_empty())
            .then(|| Tensor::from_slice(&config.class_weights.values).to_kind(Kind::Float).to_device(device));
        let hard = Hard { below: config.ohem_probability, share: config.ohem_share };
        Loss { weights, smoothing: config.label_smoothing, hard }
    }

    /// The mean loss of the counted pixels, weighted by their classes' weights: `scores` are N x
    /// classes x H x W, `labels` N x H x W class indices or [`VOID`]. If there are several `ranks`,
    /// the mean is that of all of them, and the result is this one's part of it; each has at most
    /// `crops` of the batch.
    pub fn of(&self, scores: &Tensor, labels: &Tensor, ranks: &Ranks, crops: usize) -> Result<Tensor> {
        let (void, weights) = (i64::from(VOID), self.weights.as_ref());
        let classes = scores.size()[1];
        // On CUDA, libtorch sums the losses of rows in a single block of threads, but those of
        // images in parallel.
        if self.hard == Hard::default() && scores.device().is_cuda() {
            return self.mean(scores, labels, ranks);
        }
        // One row per pixel, the memory layout of channels last: libtorch computes softmax and
        // gradients of rows three times as fast as across a strided axis.
        let own = scores.size()[0] as usize;
        let scores = scores.f_permute([0, 2, 3, 1])?.f_reshape([-1, classes])?;
        let labels = labels.f_flatten(0, -1)?;
        if self.hard == Hard::default() {
            return self.mean(&scores, &labels, ranks);
        }
        let log = scores.f_log_softmax(1, Kind::Float)?;
        let mut losses = log.f_nll_loss(&labels, weights, Reduction::None, void)?;
        // Hardness is independent of weights and smoothing.
        let hardness = match weights {
            None => losses.detach(),
            Some(_) => no_grad(|| log.detach().f_nll_loss::<Tensor>(&labels, None, Reduction::None, void))?,
        };
        if self.smoothing > 0.0 {
            let spread = match weights {
                None => log,
                Some(weights) => log.f_mul(weights)?,
            };
            let spread = spread.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
            losses = losses
                .f_mul_scalar(1.0 - self.smoothing)?
                .f_sub(&spread.f_mul_scalar(self.smoothing / classes as f64)?)?;
        }
        let counted = labels.f_ne(void)?;
        let pixels = crops * labels.numel() / own;
        let bound = self.hard.bound(&ranks.gather(&hardness.f_masked_select(&counted)?, pixels)?)?;
        let chosen = hardness.f_ge(bound)?.f_logical_and(&counted)?.f_to_kind(Kind::Float)?;
        let share = self.of_labels(&labels, classes)?.f_mul(&chosen)?.f_sum(Kind::Float)?;
        let sum = losses.f_mul(&chosen)?.f_sum(Kind::Float)?;
        if !ranks.are_several() {
            return Ok(sum.f_div(&share)?);
        }
        let [share] = ranks.sum_numbers([share.f_double_value(&[])?], share.device())?;
        Ok(sum.f_div_scalar(share)?)
    }

    /// This rank's part of the mean over all pixels of all ranks.
    fn mean(&self, scores: &Tensor, labels: &Tensor, ranks: &Ranks) -> Result<Tensor> {
        let (void, weights) = (i64::from(VOID), self.weights.as_ref());
        let loss = |reduction| scores.f_cross_entropy_loss(labels, weights, reduction, void, self.smoothing);
        if !ranks.are_several() {
            return Ok(loss(Reduction::Mean)?);
        }
        let counted = labels.f_ne(void)?;
        let weight = match weights {
            Some(_) => self.of_labels(labels, scores.size()[1])?.f_mul(&counted)?,
            None => counted,
        };
        let weight = weight.f_sum(Kind::Double)?.f_double_value(&[])?;
        let [weight] = ranks.sum_numbers([weight], scores.device())?;
        Ok(loss(Reduction::Sum)?.f_div_scalar(weight)?)
    }

    /// The weight of each label's class. Void has none; the value used in its place does not count.
    fn of_labels(&self, labels: &Tensor, classes: i64) -> Result<Tensor> {
        match &self.weights {
            Some(weights) => {
                let classes = labels.f_clamp_max(classes - 1)?.f_flatten(0, -1)?;
                Ok(weights.f_index_select(0, &classes)?.f_view_as(labels)?)
            }
            None => Ok(labels.f_ones_like()?.f_to_kind(Kind::Float)?),
        }
    }
}

impl Hard {
    /// The smallest loss that counts, given the losses of all pixels that are not void (at least
    /// one).
    fn bound(self, losses: &Tensor) -> Result<f64> {
        let count = losses.numel() as i64;
        // At least one pixel counts, because the mean of none is NaN.
        let least = ((self.share.unwrap_or(0.0) * count as f64).ceil() as i64).clamp(1, count);
        let (value, _) = losses.f_kthvalue(count - least + 1, 0, false)?;
        let nth = value.f_double_value(&[])?;
        Ok(self.below.map_or(nth, |probability| nth.min(-probability.ln())))
    }
}
