//! How a run is executed: its folder, device, threads and output.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tch::Device;

use crate::console::Output;

/// How a run is executed. None of this affects the result.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The folder of the run's checkpoints.
    pub folder: PathBuf,
    /// The network's device.
    pub device: Device,
    /// Threads that decode and augment.
    pub workers: usize,
    /// Steps between checkpoints, in addition to those around each validation.
    pub checkpoint_every: usize,
    /// Steps between lines of `metrics.csv`, at least 1; each epoch ends with one, too.
    pub log_every: u64,
    /// The audience of the output.
    pub output: Output,
    /// Set from outside to stop after the current step.
    pub stop: Arc<AtomicBool>,
}

/// A device's description.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("cpu ({} threads)", tch::get_num_threads()),
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}"),
    }
}
