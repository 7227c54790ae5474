//! Checkpoints: one .safetensors file with the parameters under their names, the momentum buffers as `momentum/NAME`,
//! and everything else as JSON in the file's metadata.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use fcn::palette::Class;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::labelmap::MAX_CLASSES;
use crate::model::{Network, Spec, weights};
use crate::sgd::Sgd;

/// The key of the JSON in the file's metadata.
const KEY: &str = "fcn.checkpoint";
/// Before the names of momentum buffers.
const MOMENTUM: &str = "momentum/";

/// What a checkpoint says beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
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
    /// How far the run is.
    pub progress: Progress,
}

/// How far a run is. Together with the seed it determines all random choices to come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Steps done in the epoch under way.
    pub step: usize,
    /// What the epoch under way has added up so far.
    pub running: Running,
    /// What it had added up at the newest line of `metrics.csv`.
    #[serde(default)]
    pub logged: Running,
    /// The best mean IoU on the validation split so far, a fraction.
    pub best_miou: Option<f64>,
}

/// What an epoch adds up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Running {
    /// Losses times the number of crops.
    pub loss: f64,
    /// Crops.
    pub crops: usize,
    /// Pixels that were right.
    pub right: i64,
    /// Pixels that were counted.
    pub counted: i64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Running {
    /// The mean loss of a crop.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.crops as f64
    }

    /// What was added up since `earlier`.
    pub fn since(&self, earlier: &Running) -> Running {
        Running {
            loss: self.loss - earlier.loss,
            crops: self.crops - earlier.crops,
            right: self.right - earlier.right,
            counted: self.counted - earlier.counted,
            seconds: self.seconds - earlier.seconds,
        }
    }
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.counted == 0 {
            return write!(f, "loss -, train acc - (every pixel was void)");
        }
        write!(f, "loss {:.4}, train acc {:.4}", self.mean_loss(), self.right as f64 / self.counted as f64)
    }
}

/// The newest checkpoint of a run folder, with all that a run needs to go on.
pub fn last(run: &Path) -> PathBuf {
    run.join("last.safetensors")
}

/// The checkpoint of a run folder with the best mean IoU on the validation split; parameters alone.
pub fn best(run: &Path) -> PathBuf {
    run.join("best.safetensors")
}

/// Removes what a kill in the middle of a write left in a run folder: files that never came to their places.
pub fn sweep(run: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(format!("{} cannot be swept: {error}", run.display()));
    for entry in std::fs::read_dir(run).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let ours = [".last.safetensors.", ".best.safetensors.", ".metrics.csv."];
        if name.ends_with(".tmp") && ours.iter().any(|start| name.starts_with(start)) {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Writes a checkpoint: beside its place first, flushed to the disk, then renamed, so that a crash never leaves half a
/// file. Without `sgd` the file holds the parameters alone.
pub fn save(path: &Path, network: &Network, sgd: Option<&Sgd>, state: &State) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for parameter in network.graph.parameters() {
        tensors.push(encode(parameter.name, &parameter.tensor)?);
    }
    for (name, buffer) in sgd.iter().flat_map(|sgd| sgd.buffers()) {
        tensors.push(encode(format!("{MOMENTUM}{name}"), buffer)?);
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

/// A checkpoint read from its file.
#[derive(Debug)]
pub struct Checkpoint {
    /// What it says beside its tensors.
    pub state: State,
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
        let bytes = std::fs::read(&path).map_err(|error| failed(&error))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| failed(&error))?;
        let json = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let json = json.ok_or_else(|| failed(&"it holds tensors alone; trainer train writes checkpoints"))?;
        let state: State = serde_json::from_str(json).map_err(|error| failed(&error))?;
        state.config.check().map_err(|error| failed(&error))?;
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

    /// The network with the checkpoint's parameters.
    pub fn network(&self, device: Device) -> Result<Network> {
        let network = Network::new(self.state.spec, 0, device);
        self.restore(&network)?;
        Ok(network)
    }

    /// Overwrites the parameters of a network of the same kind.
    pub fn restore(&self, network: &Network) -> Result<()> {
        for mut parameter in network.graph.parameters() {
            self.copy(&parameter.name, &mut parameter.tensor)?;
        }
        Ok(())
    }

    /// Overwrites the momentum buffers of an optimizer for a network of the same kind.
    pub fn restore_momentum(&self, sgd: &Sgd) -> Result<()> {
        for (name, buffer) in sgd.buffers() {
            self.copy(&format!("{MOMENTUM}{name}"), &mut buffer.shallow_clone())?;
        }
        Ok(())
    }

    fn copy(&self, name: &str, target: &mut Tensor) -> Result<()> {
        let path = self.path.display();
        let source = self.tensors.get(name).ok_or_else(|| Error::new(format!("{path} lacks the tensor {name}")))?;
        weights::copy(name, target, source).map_err(|error| Error::new(format!("{path}: {error}")))
    }
}
