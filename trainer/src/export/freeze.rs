//! Replaces a learned last upsampling by bilinear interpolation, which is cheaper and does not fray
//! outlines.

use std::num::NonZeroUsize;

use tch::Tensor;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::label;
use crate::model::graph::{Conv, Node, Op, Padding, Value};
use crate::model::{Network, init};

/// A network with a bilinear last upsampling, and what that changes.
#[derive(Debug)]
pub struct Frozen {
    /// The network.
    pub network: Network,
    /// The share of the pixels of the photos that get another label.
    pub changed: f64,
}

/// Replaces the last upsampling of `network`, and compares the labels of `photos` photos, spread
/// evenly over `dataset`. `again` gives another copy of the network. More than `limit` changed
/// labels, a share, are an error.
pub fn freeze_upsampling(
    network: &Network,
    mut again: Network,
    native_side: Option<u32>,
    dataset: &Dataset,
    photos: NonZeroUsize,
    limit: f64,
) -> Result<Frozen> {
    make_bilinear(&mut again)?;
    let photos = photos.get().min(dataset.len());
    let (mut changed, mut total) = (0, 0);
    for photo in 0..photos {
        let sample = dataset.read(photo * dataset.len() / photos)?;
        let of = |network| label(network, native_side, &sample.image, sample.width, sample.height);
        let (before, after) = (of(network)?, of(&again)?);
        changed += before.iter().zip(&after).filter(|(a, b)| a != b).count();
        total += before.len();
    }
    let changed = changed as f64 / total.max(1) as f64;
    if changed > limit {
        return Err(Error::new(format!(
            "a bilinear last upsampling would change {:.2} % of the labels of {photos} photos, more than {:.2} %; allow more with \
             --freeze-upsampling, or keep the learned one",
            100.0 * changed,
            100.0 * limit
        )));
    }
    Ok(Frozen { network: again, changed })
}

/// Puts a 1 x 1 convolution that mixes the classes as the learned kernels do for constant scores
/// (each kernel's sum over that of the bilinear kernel) before a bilinear upsampling.
fn make_bilinear(network: &mut Network) -> Result<()> {
    let graph = &mut network.graph;
    let last = graph.nodes.pop();
    let Some(Node { op: Op::ConvTranspose(mut up), inputs }) = last.filter(|_| graph.output.0 == graph.nodes.len() + 1)
    else {
        return Err(Error::new("the network does not end in an upsampling"));
    };
    let [classes, _, kernel, _] = up.weight.size()[..] else {
        return Err(Error::new("the last upsampling has no square kernels"));
    };
    let bilinear = init::bilinear_kernel(classes, kernel, graph.device);
    if bilinear.allclose(&up.weight.detach(), 1e-6, 1e-6, false) {
        return Err(Error::new("the last upsampling is bilinear already; leave out --freeze-upsampling"));
    }
    let sums = |weight: &Tensor| weight.f_detach()?.f_sum_dim_intlist([2, 3].as_slice(), false, None);
    // In x out, and the sum of a bilinear kernel.
    let mix = sums(&up.weight)?.f_div(&sums(&bilinear)?.f_max()?)?;
    let weight = mix.f_transpose(0, 1)?.f_contiguous()?.f_view([classes, classes, 1, 1])?;
    let (padding, bias) = (Padding::even(0), None);
    let mix = Conv { name: "score_mix".to_owned(), weight, bias, stride: 1, padding, groups: 1 };
    graph.nodes.push(Node { op: Op::Conv(mix), inputs });
    let mixed = Value(graph.nodes.len());
    (up.weight, up.learned) = (bilinear, false);
    graph.nodes.push(Node { op: Op::ConvTranspose(up), inputs: vec![mixed] });
    graph.output = Value(graph.nodes.len());
    Ok(())
}
