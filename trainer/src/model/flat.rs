//! All parameters of a network in one tensor. An optimizer's step, a check or an average is then a
//! few operations and not a few per parameter, each of which would be a kernel to launch on a GPU.

use std::ops::Range;

use tch::{Kind, Tensor, no_grad};

use super::{Graph, is_head};
use crate::error::Result;

/// Parameters begin at multiples of this many numbers, 64 bytes, as vector instructions and cuDNN
/// prefer.
const ALIGNMENT: usize = 16;

/// The parameters of a network, which share their memory with it.
#[derive(Debug)]
pub struct FlatParameters {
    /// Every parameter, running statistics included, with zeros in between.
    values: Tensor,
    /// In the order of `values`.
    learned: Vec<Entry>,
    /// The backbone's learned parameters in `values`, then the head's; the others follow.
    regions: [Range<i64>; 2],
}

/// A learned parameter.
#[derive(Debug)]
struct Entry {
    name: String,
    tensor: Tensor,
    start: i64,
}

impl FlatParameters {
    /// Moves the parameters of `graph` into one tensor; its own tensors become views of it. Whether
    /// a parameter is learned must not change afterwards.
    pub fn new(graph: &Graph) -> Result<FlatParameters> {
        let mut parameters = graph.parameters();
        let region = |learned: bool, name: &str| if learned { usize::from(is_head(name)) } else { 2 };
        parameters.sort_by_key(|parameter| region(parameter.learned, &parameter.name));
        let size = |tensor: &Tensor| tensor.numel().next_multiple_of(ALIGNMENT) as i64;
        let total = parameters.iter().map(|parameter| size(&parameter.tensor)).sum::<i64>();
        let values = Tensor::f_zeros([total], (Kind::Float, graph.device))?;
        let (mut start, mut ends, mut learned) = (0, [0; 2], Vec::new());
        for mut parameter in parameters {
            let shape = parameter.tensor.size();
            let mut view = values.f_narrow(0, start, parameter.tensor.numel() as i64)?.f_view(shape.as_slice())?;
            no_grad(|| view.f_copy_(&parameter.tensor))?;
            parameter.tensor.f_set_data(&view)?;
            let length = size(&parameter.tensor);
            if parameter.learned {
                ends[region(true, &parameter.name)..].fill(start + length);
                learned.push(Entry { name: parameter.name, tensor: parameter.tensor, start });
            }
            start += length;
        }
        Ok(FlatParameters { values, learned, regions: [0..ends[0], ends[0]..ends[1]] })
    }

    /// Every parameter, running statistics included, in one dimension.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The learned parameters in [`values`](FlatParameters::values), which they begin.
    pub fn learned(&self) -> Result<Tensor> {
        Ok(self.values.f_narrow(0, 0, self.regions[1].end)?)
    }

    /// The others, such as running statistics, which end [`values`](FlatParameters::values).
    pub fn not_learned(&self) -> Result<Tensor> {
        let start = self.regions[1].end;
        Ok(self.values.f_narrow(0, start, self.values.numel() as i64 - start)?)
    }

    /// The backbone's and the head's part of the learned parameters.
    pub fn regions(&self) -> [Range<i64>; 2] {
        self.regions.clone()
    }

    /// The gradients of `loss` with respect to the learned parameters, in their order.
    pub fn gradients(&self, loss: &Tensor) -> Result<Tensor> {
        let tensors: Vec<&Tensor> = self.learned.iter().map(|entry| &entry.tensor).collect();
        let gradients = Tensor::f_run_backward(&[loss], &tensors, false, false)?;
        let gap = Tensor::f_zeros([ALIGNMENT as i64], (Kind::Float, self.values.device()))?;
        let mut pieces = Vec::with_capacity(2 * gradients.len());
        for (gradient, tensor) in gradients.iter().zip(tensors) {
            let gradient =
                if gradient.defined() { gradient.shallow_clone() } else { tensor.detach().f_zeros_like()? };
            pieces.push(gradient.f_reshape([-1])?);
            let missing = tensor.numel().next_multiple_of(ALIGNMENT) - tensor.numel();
            if missing > 0 {
                pieces.push(gap.f_narrow(0, 0, missing as i64)?);
            }
        }
        Ok(Tensor::f_cat(&pieces, 0)?)
    }

    /// A tensor in the order of the learned parameters, parameter by parameter: names and views.
    pub fn parts<'a>(&'a self, flat: &'a Tensor) -> impl Iterator<Item = Result<(&'a str, Tensor)>> {
        self.learned.iter().map(|Entry { name, tensor, start }| {
            let view = flat.f_narrow(0, *start, tensor.numel() as i64)?.f_view(tensor.size().as_slice())?;
            Ok((name.as_str(), view))
        })
    }
}
