//! Stochastic gradient descent with momentum, as `torch.optim.SGD` computes it. The momentum buffers are ours, so that
//! they can be saved: tch's own optimizers keep theirs to themselves.

use tch::{Tensor, no_grad};

use crate::error::Result;
use crate::model::{Graph, graph::Parameter, is_head};

/// What stays the same over a run.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// The share of the last update in the next one, 0 to 1.
    pub momentum: f64,
    /// How strongly parameters are drawn to zero.
    pub weight_decay: f64,
    /// The factor on the learning rate of the head's layers.
    pub head_factor: f64,
}

/// The optimizer.
#[derive(Debug)]
pub struct Sgd {
    rates: Rates,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    /// Zero before the first step, which is what `torch.optim.SGD` amounts to.
    momentum: Option<Tensor>,
    factor: f64,
}

impl Sgd {
    /// An optimizer for the learned parameters of `graph`.
    pub fn new(graph: &Graph, rates: Rates) -> Sgd {
        let learned = graph.parameters().into_iter().filter(|parameter| parameter.learned);
        let slots = learned.map(|parameter| Slot {
            momentum: (rates.momentum > 0.0).then(|| no_grad(|| parameter.tensor.zeros_like())),
            factor: if is_head(&parameter.name) { rates.head_factor } else { 1.0 },
            parameter,
        });
        Sgd { rates, slots: slots.collect() }
    }

    /// Clears the gradients, which otherwise add up.
    pub fn zero_grad(&mut self) {
        for slot in &mut self.slots {
            slot.parameter.tensor.zero_grad();
        }
    }

    /// Moves every parameter by its gradient.
    pub fn step(&mut self, learning_rate: f64) -> Result<()> {
        let Rates { momentum, weight_decay, .. } = self.rates;
        let _guard = tch::no_grad_guard();
        for slot in &mut self.slots {
            let weight = &mut slot.parameter.tensor;
            let mut update = weight.f_grad()?;
            if !update.defined() {
                continue;
            }
            if weight_decay > 0.0 {
                update = update.f_add(&weight.f_mul_scalar(weight_decay)?)?;
            }
            if let Some(buffer) = &mut slot.momentum {
                let _ = buffer.f_mul_scalar_(momentum)?.f_add_(&update)?;
                update = buffer.shallow_clone();
            }
            let _ = weight.f_sub_(&update.f_mul_scalar(learning_rate * slot.factor)?)?;
        }
        Ok(())
    }

    /// The momentum buffers under their parameters' names; none without momentum.
    pub fn buffers(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.slots.iter().filter_map(|slot| Some((slot.parameter.name.as_str(), slot.momentum.as_ref()?)))
    }
}
