//! The learning rate as a function of the step.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Constant.
    Constant,
    /// Falls to zero as (1 - step / steps) ^ 0.9 (Chen et al. 2017, DeepLab, section 4.1).
    Poly,
    /// Falls to zero as half a cosine (Loshchilov and Hutter 2017, SGDR, without restarts).
    Cosine,
    /// Multiplied by --lr-gamma after each of the epochs --lr-steps.
    Step,
}

/// The factor on the learning rate over a run.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a> {
    /// Its shape.
    pub schedule: Schedule,
    /// Steps of the run.
    pub steps: u64,
    /// Steps over which the rate rises to its full value, as (step + 1) / warmup.
    pub warmup: u64,
    /// Steps at which [`Schedule::Step`] multiplies the rate by ...
    pub drops: &'a [u64],
    /// ... this factor.
    pub gamma: f64,
}

impl Factor<'_> {
    /// The factor at `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        let part = step as f64 / self.steps as f64;
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Poly => (1.0 - part).max(0.0).powf(0.9),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos()),
            Schedule::Step => self.gamma.powi(self.drops.iter().filter(|drop| **drop <= step).count() as i32),
        };
        let warm = if step < self.warmup { (step + 1) as f64 / self.warmup as f64 } else { 1.0 };
        warm * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(schedule: Schedule) -> Factor<'static> {
        Factor { schedule, steps: 10, warmup: 0, drops: &[4, 8], gamma: 0.1 }
    }

    fn assert_factors(factor: Factor, expected: &[(u64, f64)]) {
        for &(step, expected) in expected {
            let got = factor.at(step);
            assert!((got - expected).abs() < 1e-8, "{factor:?}, step {step}: {got}, not {expected}");
        }
    }

    #[test]
    fn schedules_are_those_of_pytorch() {
        // torch.optim.lr_scheduler.PolynomialLR(total_iters=10, power=0.9), torch 2.13.0.
        let poly = [(0, 1.0), (1, 0.909532576), (5, 0.535886731), (9, 0.125892541), (10, 0.0)];
        assert_factors(factor(Schedule::Poly), &poly);
        // CosineAnnealingLR(T_max=10).
        let cosine = [(0, 1.0), (1, 0.975528258), (5, 0.5), (9, 0.024471742), (10, 0.0)];
        assert_factors(factor(Schedule::Cosine), &cosine);
        // MultiStepLR(milestones=[4, 8], gamma=0.1).
        assert_factors(factor(Schedule::Step), &[(0, 1.0), (3, 1.0), (4, 0.1), (7, 0.1), (8, 0.01), (10, 0.01)]);
        assert_factors(factor(Schedule::Constant), &[(0, 1.0), (7, 1.0)]);
    }

    #[test]
    fn warm_up_rises_to_the_schedule() {
        let warm = Factor { warmup: 4, ..factor(Schedule::Constant) };
        assert_factors(warm, &[(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0)]);
        let warm = Factor { warmup: 2, ..factor(Schedule::Cosine) };
        assert_factors(warm, &[(0, 0.5), (1, 0.975528258), (5, 0.5)]);
    }
}
