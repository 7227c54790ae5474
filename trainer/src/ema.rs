//! The exponential moving average of a network's parameters over a run: the weights that are
//! measured and exported.

use tch::no_grad;

use crate::error::Result;
use crate::model::{Network, weights};

/// A network whose parameters slowly follow another one's.
#[derive(Debug)]
pub struct Ema {
    /// The average.
    pub network: Network,
    decay: f64,
}

impl Ema {
    /// An average that starts at `network`.
    pub fn new(network: &Network, decay: f64) -> Result<Ema> {
        let average = Ema { network: Network::new(network.spec, 0, network.graph.device), decay };
        average.restart(network)?;
        Ok(average)
    }

    /// Restarts from `network`.
    pub fn restart(&self, network: &Network) -> Result<()> {
        let own = self.network.graph.parameters();
        for (mut own, parameter) in own.into_iter().zip(network.graph.parameters()) {
            weights::copy(&own.name, &mut own.tensor, &parameter.tensor)?;
        }
        Ok(())
    }

    /// Moves a little towards `network` after update number `updates`, counted from 1, running
    /// statistics included. Early on, the average forgets faster, at most (1 + updates) / (10 +
    /// updates) as in TensorFlow's `ExponentialMovingAverage`, so that the random initialisation
    /// does not persist.
    pub fn follow(&self, network: &Network, updates: u64) -> Result<()> {
        let decay = self.decay.min((1.0 + updates as f64) / (10.0 + updates as f64));
        no_grad(|| {
            let own = self.network.graph.parameters();
            for (mut own, parameter) in own.into_iter().zip(network.graph.parameters()) {
                let _ = own.tensor.f_lerp_(&parameter.tensor.f_detach()?, 1.0 - decay)?;
            }
            Ok(())
        })
    }
}
