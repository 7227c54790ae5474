//! The quantization of an int8 network: which values are stored as uint8, the range of each, and
//! weights rounded for their inputs.
//!
//! The backbone computes in integers; the head, a hundredth of the work, in float32. ReLU and ReLU6
//! are not separate operations: the value before them is stored with the activation's range, which
//! clips the rest. Ranges span the smallest and the largest value over the calibration photos,
//! whole and padded as in evaluation, of the network with folded batch normalisation; they always
//! contain 0 (Jacob et al. 2018, section 3). The image's range follows from the normalisation.

use tch::{Tensor, no_grad};

use super::rounding::{Moments, Rounded};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate;
use crate::model::graph::{Graph, Op, Value};
use crate::model::{Network, is_head};

/// The photos' share of the time; the rest is rounding.
const PHOTOS_SHARE: f64 = 0.8;

/// An affine quantization: `(number - zero) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The step from one number to the next.
    pub scale: f32,
    /// The number for 0.
    pub zero: u8,
}

impl Scale {
    /// Spreads 0 to 255 over a range that contains 0.
    fn of(least: f32, most: f32) -> Scale {
        // A value that is always 0 needs a positive scale.
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        Scale { scale, zero: (-least / scale).round() as u8 }
    }
}

/// How a value of the folded network is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueFormat {
    /// As float32.
    Float,
    /// As uint8.
    Int,
    /// Not stored: it goes into the ReLU or ReLU6 that is its only user.
    Inside,
}

/// The scales of a network's values and its integer weights, for the ONNX writer.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// One per value of the folded graph that is stored as uint8.
    scales: Vec<Option<Scale>>,
    storages: Vec<ValueFormat>,
    /// One per value of the folded graph that a convolution computes in integers.
    rounded: Vec<Option<Rounded>>,
}

impl Calibration {
    /// Measures ranges and moments on at most `photos` photos, spread evenly over a split.
    /// `progress` receives the share of work done, from 0 to 1.
    pub fn new(
        network: &Network,
        native_side: Option<u32>,
        dataset: &Dataset,
        photos: usize,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Calibration> {
        let graph = network.graph.folded()?;
        let storages = storages(&graph);
        let mut ranges = vec![(0f32, 0f32); storages.len()];
        ranges[0] = image_range(network);
        let mut moments = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            moments.push(match &node.op {
                Op::Conv(conv) if storages[index + 1] != ValueFormat::Float => Some(Moments::new(conv)?),
                _ => None,
            });
        }
        let mut see = |value: Value, tensor: &Tensor, photo: &str| {
            if storages[value.0] == ValueFormat::Int {
                widen(&mut ranges[value.0], tensor, photo)?;
            }
            for (node, moments) in graph.nodes.iter().zip(&mut moments) {
                if let (Op::Conv(conv), Some(moments), true) = (&node.op, moments, node.inputs[0] == value) {
                    moments.add(conv, tensor)?;
                }
            }
            Ok(())
        };
        let photos = photos.min(dataset.len());
        for photo in 0..photos {
            let index = photo * dataset.len() / photos;
            let sample = dataset.read(index)?;
            let image = evaluate::input(network, native_side, &sample.image, sample.width, sample.height)?;
            no_grad(|| {
                see(Value(0), &image, &sample.id)?;
                graph.observe(&image, |value, tensor| see(value, tensor, &sample.id))
            })?;
            progress((photo + 1) as f64 / photos as f64 * PHOTOS_SHARE);
        }
        let mut scales: Vec<Option<Scale>> = Vec::new();
        for (value, storage) in storages.iter().enumerate() {
            let node = value.checked_sub(1).map(|index| &graph.nodes[index]);
            scales.push(match (storage, node) {
                (ValueFormat::Float | ValueFormat::Inside, _) => None,
                // Max pooling keeps its input's scale.
                (_, Some(node)) if matches!(node.op, Op::MaxPool(_)) => scales[node.inputs[0].0],
                _ => Some(Scale::of(ranges[value].0, ranges[value].1)),
            });
        }
        let mut rounded = vec![None];
        let nodes = graph.nodes.len() as f64;
        for (place, (node, moments)) in graph.nodes.iter().zip(moments).enumerate() {
            progress(PHOTOS_SHARE + (1.0 - PHOTOS_SHARE) * place as f64 / nodes);
            rounded.push(match (&node.op, moments, scales[node.inputs[0].0]) {
                (Op::Conv(conv), Some(moments), Some(scale)) => Some(no_grad(|| moments.round(conv, scale))?),
                _ => None,
            });
        }
        Ok(Calibration { scales, storages, rounded })
    }

    /// The scale of a value, if it is stored as uint8.
    pub(super) fn scale(&self, value: Value) -> Option<Scale> {
        self.scales[value.0]
    }

    /// Whether a value is fused into the activation after it.
    pub(super) fn is_inside(&self, value: Value) -> bool {
        self.storages[value.0] == ValueFormat::Inside
    }

    /// The integers of the convolution that computes a value, if it computes in integers.
    pub(super) fn rounded(&self, value: Value) -> Option<&Rounded> {
        self.rounded[value.0].as_ref()
    }
}

/// The normalised values of black and white.
fn image_range(network: &Network) -> (f32, f32) {
    let normalise = network.spec.backbone.normalise();
    let mut range = (0f32, 0f32);
    for (mean, std) in normalise.mean.iter().zip(normalise.std) {
        range = (range.0.min((0.0 - mean) / std), range.1.max((1.0 - mean) / std));
    }
    range
}

fn widen(range: &mut (f32, f32), tensor: &Tensor, photo: &str) -> Result<()> {
    let (least, most) = tensor.f_aminmax(None, false)?;
    let (least, most) = (f32::try_from(least)?, f32::try_from(most)?);
    if !(least.is_finite() && most.is_finite()) {
        return Err(Error::new(format!(
            "on photo {photo} the network computes values from {least} to {most}, for which there is no scale; train it \
             with a lower learning rate"
        )));
    }
    *range = (range.0.min(least), range.1.max(most));
    Ok(())
}

/// How each value of a folded graph is stored.
fn storages(graph: &Graph) -> Vec<ValueFormat> {
    let mut storages = vec![ValueFormat::Int];
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs_are_integer = node.inputs.iter().all(|input| storages[input.0] != ValueFormat::Float);
        let is_integer = inputs_are_integer
            && match &node.op {
                Op::Conv(conv) => !is_head(&conv.name),
                Op::ConvTranspose(_) | Op::BatchNorm(_) => false,
                Op::Relu | Op::Relu6 | Op::Add | Op::MaxPool(_) => true,
            };
        let computes = matches!(node.op, Op::Conv(_) | Op::Add);
        let limited = matches!(graph.only_user(Value(index + 1)), Some(Op::Relu | Op::Relu6));
        storages.push(match (is_integer, computes && limited) {
            (false, _) => ValueFormat::Float,
            (true, false) => ValueFormat::Int,
            (true, true) => ValueFormat::Inside,
        });
    }
    storages
}
