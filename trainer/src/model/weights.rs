//! Loads parameters from files by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor, no_grad};

use super::{Graph, is_head, mobilenet_v2, pth};
use crate::error::{Error, Result};

/// The result of loading a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that were loaded.
    pub matched: Vec<String>,
    /// Parameters that are missing in the file; they keep their initial values.
    pub missing: Vec<String>,
    /// Layers of the head that have another shape in the file, for example because of other
    /// classes; they keep their initial values.
    pub reshaped: Vec<String>,
    /// Tensors of the file that the network does not use.
    pub unused: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.matched.len())?;
        let head: Vec<&str> = self.matched.iter().map(String::as_str).filter(|name| is_head(name)).collect();
        if !head.is_empty() {
            write!(f, ", of the head {}", head.join(", "))?;
        }
        for (names, what) in [
            (&self.missing, "not in the file, start fresh"),
            (&self.reshaped, "of another shape in the file, start fresh"),
            (&self.unused, "in the file, unused"),
        ] {
            if !names.is_empty() {
                write!(f, "\n{} {what}: {}", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Reads the tensors of a .safetensors file, or of a state dict that `torch.save` wrote (.pth, .pt,
/// .bin).
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let failed = |why: &dyn fmt::Display| Error::new(format!("{} cannot be read as weights: {why}", path.display()));
    let bytes = fcn::file::read_whole(path).map_err(|error| failed(&error))?;
    let tensors = if path.extension().is_some_and(|ending| ending == "safetensors") {
        parse_safetensors(&bytes)
    } else {
        pth::parse(&bytes)
    };
    tensors.map_err(|error| failed(&error))
}

/// The tensors in a .safetensors file's bytes.
pub(crate) fn parse_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| Error::new(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            other => return Err(Error::new(format!("{name} is {other:?}; this takes F32, F16, BF16, F64 and I64"))),
        };
        let size: Vec<i64> = view.shape().iter().map(|side| *side as i64).collect();
        tensors.insert(name.to_owned(), Tensor::f_from_data_size(view.data(), &size, kind)?);
    }
    Ok(tensors)
}

/// The network's parameters out of a checkpoint's tensors: the averaged ones if there are any,
/// without the optimizer's state.
pub fn of_checkpoint(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let averages: Vec<(String, Tensor)> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("average/")?.to_owned(), tensor.shallow_clone())))
        .collect();
    tensors.retain(|name, _| !name.contains('/'));
    tensors.extend(averages);
    tensors
}

/// Copies matching tensors by name; a MobileNetV2 may have torchvision's names, too. A tensor of
/// another shape is an error in the backbone; in the head, whose shapes depend on the classes and
/// the stride, it is skipped. A file with no matching tensor is an error.
pub fn load(graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<LoadReport> {
    let torchvision = mobilenet_v2::torchvision_layers(tensors);
    let mut report = LoadReport::default();
    let mut used = BTreeSet::new();
    for mut parameter in graph.parameters() {
        let layer = parameter.name.rsplit_once('.').and_then(|(layer, kind)| Some((torchvision.get(layer)?, kind)));
        let name = layer.map_or_else(|| parameter.name.clone(), |(layer, kind)| format!("{layer}.{kind}"));
        let Some(source) = tensors.get(&name) else {
            report.missing.push(parameter.name);
            continue;
        };
        used.insert(name);
        if is_head(&parameter.name) && parameter.tensor.size() != source.size() {
            report.reshaped.push(parameter.name);
            continue;
        }
        copy(&parameter.name, &mut parameter.tensor, source)?;
        report.matched.push(parameter.name);
    }
    // PyTorch's batch counters are not needed: batch normalisation here uses a moving average.
    let unused = tensors.keys().filter(|name| !used.contains(*name) && !name.ends_with(".num_batches_tracked"));
    report.unused = unused.cloned().collect();
    if let (true, Some(name)) = (report.matched.is_empty(), report.unused.first()) {
        return Err(Error::new(format!(
            "none of its {} tensors belongs to this network (the first is {name}); choose the backbone that the file was \
             made for",
            report.unused.len()
        )));
    }
    Ok(report)
}

/// Overwrites `target` with `source`, which must have the same shape.
pub(crate) fn copy(name: &str, target: &mut Tensor, source: &Tensor) -> Result<()> {
    if target.size() != source.size() {
        return Err(Error::new(format!(
            "{name} has shape {:?} in the file, but {:?} in this network; choose the backbone and the classes that the \
             file was made for",
            source.size(),
            target.size()
        )));
    }
    no_grad(|| target.f_copy_(source))?;
    Ok(())
}
