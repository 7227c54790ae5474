//! The learning rate as a function of the step.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays as it is.
    Constant,
    /// It falls to zero as (1 - step / steps) to the power of 0.9 (Chen et al. 2017, DeepLab, section 4.1).
    Poly,
}

impl Schedule {
    /// The factor on the learning rate at `step` (from 0) of `steps`.
    pub fn factor(self, step: u64, steps: u64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Poly => (1.0 - step as f64 / steps as f64).max(0.0).powf(0.9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn poly_falls_from_one_to_zero() {
        // torch.optim.lr_scheduler.PolynomialLR(total_iters=10, power=0.9), torch 2.13.0.
        for (step, factor) in [(0, 1.0), (1, 0.909532576), (5, 0.535886731), (9, 0.125892541), (10, 0.0)] {
            let got = Schedule::Poly.factor(step, 10);
            assert!((got - factor).abs() < 1e-8, "step {step}: {got}, not {factor}");
        }
        assert_eq!(Schedule::Constant.factor(7, 10), 1.0);
    }
}
