//! Stochastic gradient descent with momentum, and AdamW, as in `torch.optim`. They are implemented
//! here so that their buffers can be saved, which tch's optimizers do not allow.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::error::Result;
use crate::model::{Graph, graph::Parameter, is_head};

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

/// The optimizer.
#[derive(Debug)]
pub struct Optimizer {
    rates: OptimizerSettings,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    /// Zero before the first step, which is equivalent to `torch.optim`.
    momentum: Option<Tensor>,
    /// AdamW's average of squared gradients.
    variance: Option<Tensor>,
    factor: f64,
}

impl Optimizer {
    /// An optimizer for the trainable parameters of `graph`.
    pub fn new(graph: &Graph, rates: OptimizerSettings) -> Optimizer {
        let adam = rates.method == Method::AdamW;
        let learned = graph.parameters().into_iter().filter(|parameter| parameter.learned);
        let slots = learned.map(|parameter| {
            let zeros = || no_grad(|| parameter.tensor.zeros_like());
            Slot {
                momentum: (adam || rates.momentum > 0.0).then(zeros),
                variance: adam.then(zeros),
                factor: if is_head(&parameter.name) { rates.head_factor } else { 1.0 },
                parameter,
            }
        });
        Optimizer { rates, slots: slots.collect() }
    }

    /// Clears the gradients, which otherwise accumulate.
    pub fn zero_grad(&mut self) {
        for slot in &mut self.slots {
            slot.parameter.tensor.zero_grad();
        }
    }

    /// The norm of all gradients together.
    pub fn gradient_norm(&self) -> Result<f64> {
        let _guard = tch::no_grad_guard();
        let mut norms = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let gradient = slot.parameter.tensor.f_grad()?;
            if gradient.defined() {
                norms.push(gradient.f_norm()?);
            }
        }
        if norms.is_empty() { Ok(0.0) } else { Ok(Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?) }
    }

    /// Multiplies all gradients.
    pub fn scale_gradients(&mut self, factor: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for slot in &self.slots {
            let mut gradient = slot.parameter.tensor.f_grad()?;
            if gradient.defined() {
                let _ = gradient.f_mul_scalar_(factor)?;
            }
        }
        Ok(())
    }

    /// Updates every parameter. `number` counts the steps of the run from 1: AdamW's averages start
    /// from zero, and it corrects for that.
    pub fn step(&mut self, learning_rate: f64, number: u64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for slot in &mut self.slots {
            let gradient = slot.parameter.tensor.f_grad()?;
            if gradient.defined() {
                let rate = learning_rate * slot.factor;
                match self.rates.method {
                    Method::Sgd => slot.sgd(gradient, rate, self.rates)?,
                    Method::AdamW => slot.adamw(&gradient, rate, self.rates, number)?,
                }
            }
        }
        Ok(())
    }

    /// The buffers under their checkpoint names: `momentum/PARAMETER`, `variance/PARAMETER`.
    pub fn buffers(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.slots.iter().flat_map(|slot| {
            let kinds = [("momentum", &slot.momentum), ("variance", &slot.variance)];
            let name = slot.parameter.name.as_str();
            kinds.into_iter().filter_map(move |(kind, buffer)| Some((format!("{kind}/{name}"), buffer.as_ref()?)))
        })
    }
}

impl Slot {
    fn sgd(&mut self, mut update: Tensor, rate: f64, rates: OptimizerSettings) -> Result<()> {
        let weight = &mut self.parameter.tensor;
        if rates.weight_decay > 0.0 {
            update = update.f_addcmul(weight, &Tensor::from(rates.weight_decay))?;
        }
        if let Some(buffer) = &mut self.momentum {
            let _ = buffer.f_mul_scalar_(rates.momentum)?.f_add_(&update)?;
            update = buffer.shallow_clone();
        }
        let _ = weight.f_addcmul_(&update, &Tensor::from(-rate))?;
        Ok(())
    }

    fn adamw(&mut self, gradient: &Tensor, rate: f64, rates: OptimizerSettings, number: u64) -> Result<()> {
        let (Some(momentum), Some(variance)) = (&mut self.momentum, &mut self.variance) else { return Ok(()) };
        let OptimizerSettings { momentum: beta1, beta2, weight_decay, .. } = rates;
        let weight = &mut self.parameter.tensor;
        let _ = weight.f_mul_scalar_(1.0 - rate * weight_decay)?;
        let _ = momentum.f_lerp_(gradient, 1.0 - beta1)?;
        let _ = variance.f_mul_scalar_(beta2)?.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - beta2)?)?;
        let corrected = |beta: f64| 1.0 - beta.powf(number as f64);
        let deviation = variance.f_sqrt()?.f_div_scalar_(corrected(beta2).sqrt())?.f_add_scalar_(EPSILON)?;
        let update = momentum.f_div(&deviation)?.f_mul_scalar_(rate / corrected(beta1))?;
        let _ = weight.f_sub_(&update)?;
        Ok(())
    }
}
