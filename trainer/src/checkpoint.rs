//! Checkpoints: one .safetensors file with the parameters under their names, the optimizer's
//! buffers as `momentum/NAME` and `variance/NAME`, averaged parameters as `average/NAME`, and
//! everything else as JSON in the file's metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use fcn::palette::Class;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::labelmap::MAX_CLASSES;
use crate::model::{FlatParameters, Network, Spec, weights};
use crate::optimizer::Optimizer;

/// The key of the JSON in the file's metadata.
const KEY: &str = "fcn.checkpoint";
/// The prefix of averaged parameters.
const AVERAGE: &str = "average/";

/// The contents of a checkpoint other than its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// The run.
    pub config: Config,
    /// The network.
    pub spec: Spec,
    /// The classes in index order.
    pub classes: Vec<Class>,
    /// Subtracted from each of red, green, blue after division by 255.
    pub mean: [f32; 3],
    /// Divides each of red, green, blue after the subtraction.
    pub std: [f32; 3],
    /// The size of photos that the network labels best: see
    /// [`ModelCard::native_side`](fcn::onnx::ModelCard).
    #[serde(default)]
    pub native_side: Option<u32>,
    /// The run's progress.
    pub progress: Progress,
}

impl CheckpointState {
    /// Whether training is finished: all epochs are done, or patience has run out.
    pub fn is_complete(&self) -> bool {
        self.progress.epoch >= self.config.epochs || self.is_out_of_patience()
    }

    /// Whether as many validations as the configuration allows brought no better mean IoU.
    pub fn is_out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.progress.stale >= patience)
    }
}

/// A run's progress. Together with the seed it determines all later random choices.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Completed epochs.
    pub epoch: u64,
    /// Steps done in the current epoch.
    pub step: usize,
    /// The current epoch's sums so far.
    pub running: EpochSums,
    /// Its sums at the newest line of `metrics.csv`.
    #[serde(default)]
    pub logged: EpochSums,
    /// The best mean IoU on the validation split so far, over the classes in its truth; a fraction.
    pub best_miou: Option<f64>,
    /// Validations since then.
    #[serde(default)]
    pub stale: u64,
    /// Steps of the optimizer so far, over all epochs.
    #[serde(default)]
    pub updates: u64,
}

/// An epoch's sums.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochSums {
    /// Losses times the number of crops.
    pub loss: f64,
    /// Crops.
    pub crops: usize,
    /// Pixels labelled correctly.
    pub correct: i64,
    /// Pixels counted.
    pub total: i64,
    /// Seconds of training.
    pub seconds: f64,
}

impl EpochSums {
    /// The mean loss per crop.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.crops as f64
    }

    /// The sums since `earlier`.
    pub fn since(&self, earlier: &EpochSums) -> EpochSums {
        EpochSums {
            loss: self.loss - earlier.loss,
            crops: self.crops - earlier.crops,
            correct: self.correct - earlier.correct,
            total: self.total - earlier.total,
            seconds: self.seconds - earlier.seconds,
        }
    }
}

impl std::fmt::Display for EpochSums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.total == 0 {
            return write!(f, "loss -, train acc - (every pixel was void)");
        }
        write!(f, "loss {:.4}, train acc {:.4}", self.mean_loss(), self.correct as f64 / self.total as f64)
    }
}

/// The state that a run needs to continue, in addition to its parameters.
#[derive(Debug, Clone, Copy)]
pub struct TrainingState<'a> {
    /// The trained network's parameters.
    pub parameters: &'a FlatParameters,
    /// Their optimizer.
    pub optimizer: &'a Optimizer,
    /// The averaged parameters, if the run keeps them.
    pub average: Option<&'a Network>,
}

/// The file name of a run's newest checkpoint.
pub const LAST: &str = "last.safetensors";

/// The path of a run's newest checkpoint, with everything needed to continue.
pub fn last(run: &Path) -> PathBuf {
    run.join(LAST)
}

/// The checkpoint of a run folder with the best mean IoU on the validation split, over the classes
/// in its truth; parameters only.
pub fn best(run: &Path) -> PathBuf {
    run.join("best.safetensors")
}

/// Writes a checkpoint to a temporary file, flushes it to disk and renames it, so that a crash
/// never leaves half a file. Without `training` the file holds the parameters only.
pub fn save(path: &Path, network: &Network, training: Option<TrainingState>, state: &CheckpointState) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for parameter in network.graph.parameters() {
        tensors.push(encode(parameter.name, &parameter.tensor)?);
    }
    if let Some(TrainingState { parameters, optimizer, average }) = training {
        for (name, buffer) in optimizer.buffers(parameters)? {
            tensors.push(encode(name, &buffer)?);
        }
        for parameter in average.iter().flat_map(|network| network.graph.parameters()) {
            tensors.push(encode(format!("{AVERAGE}{}", parameter.name), &parameter.tensor)?);
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let failed = |error: &dyn std::fmt::Display| Error::new(format!("{} cannot be written: {error}", path.display()));
    let views = views.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    let json = serde_json::to_string(state).map_err(|error| failed(&error))?;
    let metadata = HashMap::from([(KEY.to_owned(), json)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(&error))?;
    Ok(fcn::file::write(path, &bytes)?)
}

fn encode(name: String, tensor: &Tensor) -> Result<(String, Vec<usize>, Vec<u8>)> {
    let tensor = tensor.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let shape = tensor.size().iter().map(|side| *side as usize).collect();
    let mut values = vec![0f32; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
}

/// A checkpoint that has been read.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its contents other than tensors.
    pub state: CheckpointState,
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads a checkpoint file, or the newest checkpoint of a run folder.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let path = if path.is_dir() { last(path) } else { path.to_owned() };
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(format!("{} cannot be read as a checkpoint: {why}", path.display()))
        };
        let bytes = fcn::file::read_whole(&path).map_err(|error| failed(&error))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| failed(&error))?;
        let json = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let json = json.ok_or_else(|| failed(&"it holds tensors alone; trainer train writes checkpoints"))?;
        let state: CheckpointState = serde_json::from_str(json).map_err(|error| failed(&error))?;
        state.config.check().map_err(|error| failed(&error))?;
        if let [class] = &state.classes[..] {
            return Err(failed(&format!(
                "it has a single class, \"{}\", which cannot be told from anything; train on data with a class for everything \
                 else, such as background",
                class.name
            )));
        }
        if state.spec.classes != state.classes.len() as i64 || !(1..=MAX_CLASSES).contains(&state.classes.len()) {
            return Err(failed(&format!(
                "it scores {} classes, but names {}",
                state.spec.classes,
                state.classes.len()
            )));
        }
        let tensors = weights::parse_safetensors(&bytes).map_err(|error| failed(&error))?;
        Ok(Checkpoint { state, path, tensors })
    }

    /// Reads a checkpoint file, or the best checkpoint of a run folder.
    pub fn best(path: &Path) -> Result<Checkpoint> {
        let best = best(path);
        Checkpoint::read(if best.is_file() { &best } else { path })
    }

    /// The network as it is measured and exported: with the averaged parameters if the checkpoint
    /// has them.
    pub fn network(&self, device: Device) -> Result<Network> {
        let network = Network::new(self.state.spec, 0, device);
        if self.tensors.keys().any(|name| name.starts_with(AVERAGE)) {
            self.restore_average(&network)?
        } else {
            self.restore(&network)?
        }
        Ok(network)
    }

    /// Overwrites the parameters of a network of the same kind.
    pub fn restore(&self, network: &Network) -> Result<()> {
        self.restore_from("", network)
    }

    /// Overwrites the parameters of a network of the same kind with the averaged ones.
    pub fn restore_average(&self, network: &Network) -> Result<()> {
        self.restore_from(AVERAGE, network)
    }

    fn restore_from(&self, prefix: &str, network: &Network) -> Result<()> {
        for mut parameter in network.graph.parameters() {
            self.copy(&format!("{prefix}{}", parameter.name), &mut parameter.tensor)?;
        }
        Ok(())
    }

    /// Overwrites the buffers of an optimizer for the parameters of a network of the same kind.
    pub fn restore_optimizer(&self, optimizer: &Optimizer, parameters: &FlatParameters) -> Result<()> {
        for (name, mut buffer) in optimizer.buffers(parameters)? {
            self.copy(&name, &mut buffer)?;
        }
        Ok(())
    }

    fn copy(&self, name: &str, target: &mut Tensor) -> Result<()> {
        let path = self.path.display();
        let source = self.tensors.get(name).ok_or_else(|| Error::new(format!("{path} lacks the tensor {name}")))?;
        weights::copy(name, target, source).map_err(|error| Error::new(format!("{path}: {error}")))
    }
}
