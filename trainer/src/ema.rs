//! The exponential moving average of a network's parameters over a run: the weights that are
//! measured and exported.

use crate::error::Result;
use crate::model::{FlatParameters, Network, weights};

/// A network whose parameters slowly follow another one's.
#[derive(Debug)]
pub struct Ema {
    /// The average.
    pub network: Network,
    parameters: FlatParameters,
    decay: f64,
}

impl Ema {
    /// An average that starts at `network`.
    pub fn new(network: &Network, decay: f64) -> Result<Ema> {
        let mut average = Network::new(network.spec, 0, network.graph.device);
        // The two have their parameters in the same order.
        if network.graph.norms_are_frozen() {
            average.graph.freeze_norms();
        }
        let average = Ema { parameters: FlatParameters::new(&average.graph)?, network: average, decay };
        average.restart(network)?;
        Ok(average)
    }

    /// The average's parameters.
    pub fn parameters(&self) -> &FlatParameters {
        &self.parameters
    }

    /// Restarts from `network`.
    pub fn restart(&self, network: &Network) -> Result<()> {
        let own = self.network.graph.parameters();
        for (mut own, parameter) in own.into_iter().zip(network.graph.parameters()) {
            weights::copy(&own.name, &mut own.tensor, &parameter.tensor)?;
        }
        Ok(())
    }

    /// Moves a little towards the network with `parameters` after update number `updates`, counted
    /// from 1, running statistics included. Early on, the average forgets faster, at most (1 +
    /// updates) / (10 + updates) as in TensorFlow's `ExponentialMovingAverage`, so that the random
    /// initialisation does not persist.
    pub fn follow(&self, parameters: &FlatParameters, updates: u64) -> Result<()> {
        let decay = self.decay.min((1.0 + updates as f64) / (10.0 + updates as f64));
        let _guard = tch::no_grad_guard();
        let _ = self.parameters.values().shallow_clone().f_lerp_(parameters.values(), 1.0 - decay)?;
        Ok(())
    }
}
