//! Stochastic gradient descent with momentum, and AdamW, as in `torch.optim`. They are implemented
//! here so that their buffers can be saved, which tch's optimizers do not allow.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;
use crate::model::FlatParameters;

/// AdamW's epsilon.
const EPSILON: f64 = 1e-8;

/// The kinds of optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Stochastic gradient descent with momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[value(name = "adamw")]
    AdamW,
}

/// Settings that stay constant over a run.
#[derive(Debug, Clone, Copy)]
pub struct OptimizerSettings {
    /// The kind of optimizer.
    pub method: Method,
    /// The share of the last update in the next one, 0 to 1; AdamW's beta 1.
    pub momentum: f64,
    /// AdamW's beta 2: the decay of the average of squared gradients.
    pub beta2: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// The factor on the head's learning rate.
    pub head_factor: f64,
}

/// The optimizer of a network's learned parameters.
#[derive(Debug)]
pub struct Optimizer {
    settings: OptimizerSettings,
    /// Zero before the first step, which is equivalent to `torch.optim`.
    momentum: Option<Tensor>,
    /// AdamW's average of squared gradients.
    variance: Option<Tensor>,
}

impl Optimizer {
    /// An optimizer for `parameters`.
    pub fn new(parameters: &FlatParameters, settings: OptimizerSettings) -> Result<Optimizer> {
        let adam = settings.method == Method::AdamW;
        let zeros = || -> Result<Tensor> { Ok(parameters.learned()?.f_zeros_like()?) };
        let momentum = (adam || settings.momentum > 0.0).then(zeros).transpose()?;
        Ok(Optimizer { settings, momentum, variance: adam.then(zeros).transpose()? })
    }

    /// The buffers, each in the order of the parameters.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> {
        [&self.momentum, &self.variance].into_iter().flatten().map(Tensor::shallow_clone)
    }

    /// Updates every learned parameter by `gradients`, in their order. `number` counts the steps of
    /// the run from 1: AdamW's averages start from zero, and it corrects for that.
    pub fn step(
        &mut self,
        parameters: &FlatParameters,
        gradients: &Tensor,
        learning_rate: f64,
        number: u64,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let [backbone, head] = parameters.regions();
        for (region, factor) in [(backbone, 1.0), (head, self.settings.head_factor)] {
            let part = |whole: &Tensor| whole.f_narrow(0, region.start, region.end - region.start);
            let update = Update {
                weights: part(parameters.values())?,
                gradients: part(gradients)?,
                momentum: self.momentum.as_ref().map(part).transpose()?,
                variance: self.variance.as_ref().map(part).transpose()?,
                rate: learning_rate * factor,
            };
            match self.settings.method {
                Method::Sgd => update.sgd(self.settings)?,
                Method::AdamW => update.adamw(self.settings, number)?,
            }
        }
        Ok(())
    }

    /// The buffers under their checkpoint names: `momentum/PARAMETER`, `variance/PARAMETER`. They
    /// share their memory with the optimizer.
    pub fn buffers(&self, parameters: &FlatParameters) -> Result<Vec<(String, Tensor)>> {
        let kinds = [("momentum", &self.momentum), ("variance", &self.variance)];
        let kinds = kinds.into_iter().filter_map(|(kind, buffer)| Some((kind, buffer.as_ref()?)));
        kinds
            .flat_map(|(kind, buffer)| {
                parameters.parts(buffer).map(move |part| part.map(|(name, part)| (format!("{kind}/{name}"), part)))
            })
            .collect()
    }
}

/// Returns the norm of all gradients together, and scales them down to `bound` if it is larger.
pub fn clip_norm(gradients: &mut Tensor, bound: f64) -> Result<f64> {
    let norm = gradients.f_norm()?.f_double_value(&[])?;
    if norm > bound {
        let _ = gradients.f_mul_scalar_(bound / (norm + 1e-6))?;
    }
    Ok(norm)
}

/// One step for parameters with the same learning rate.
struct Update {
    weights: Tensor,
    gradients: Tensor,
    momentum: Option<Tensor>,
    variance: Option<Tensor>,
    rate: f64,
}

impl Update {
    fn sgd(self, settings: OptimizerSettings) -> Result<()> {
        let Update { mut weights, gradients: mut update, momentum, rate, .. } = self;
        if settings.weight_decay > 0.0 {
            update = update.f_addcmul(&weights, &Tensor::from(settings.weight_decay))?;
        }
        if let Some(mut momentum) = momentum {
            let _ = momentum.f_mul_scalar_(settings.momentum)?.f_add_(&update)?;
            update = momentum;
        }
        let _ = weights.f_addcmul_(&update, &Tensor::from(-rate))?;
        Ok(())
    }

    fn adamw(self, settings: OptimizerSettings, number: u64) -> Result<()> {
        let Update { mut weights, gradients, momentum, variance, rate } = self;
        let (Some(mut momentum), Some(mut variance)) = (momentum, variance) else { return Ok(()) };
        let OptimizerSettings { momentum: beta1, beta2, weight_decay, .. } = settings;
        let _ = weights.f_mul_scalar_(1.0 - rate * weight_decay)?;
        let _ = momentum.f_lerp_(&gradients, 1.0 - beta1)?;
        let _ = variance.f_mul_scalar_(beta2)?.f_add_(&gradients.f_square()?.f_mul_scalar_(1.0 - beta2)?)?;
        let corrected = |beta: f64| 1.0 - beta.powf(number as f64);
        let deviation = variance.f_sqrt()?.f_div_scalar_(corrected(beta2).sqrt())?.f_add_scalar_(EPSILON)?;
        let update = momentum.f_div(&deviation)?.f_mul_scalar_(rate / corrected(beta1))?;
        let _ = weights.f_sub_(&update)?;
        Ok(())
    }
}
