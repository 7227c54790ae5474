//! Calibration of an int8 network: the range of each value that is stored as uint8, and weights
//! rounded for their inputs.
//!
//! Ranges span the smallest and the largest value over the calibration photos,
//! whole and padded as in evaluation, of the network with folded batch normalisation; they always
//! contain 0 (Jacob et al. 2018, section 3). The image's range follows from the normalisation.

use tch::{Tensor, no_grad};

use super::quantize::{Scale, ValueFormat, value_formats};
use super::rounding::{Moments, Rounded};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate;
use crate::model::Network;
use crate::model::graph::{Op, Value};

/// The photos' share of the time; the rest is rounding.
const PHOTOS_SHARE: f64 = 0.8;

/// The scales of a network's values and its integer weights, for the ONNX writer.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// One per value of the folded graph that is stored as uint8.
    scales: Vec<Option<Scale>>,
    formats: Vec<ValueFormat>,
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
        let formats = value_formats(&graph);
        let mut ranges = vec![(0f32, 0f32); formats.len()];
        ranges[0] = image_range(network);
        let mut moments = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            moments.push(match &node.op {
                Op::Conv(conv) if formats[index + 1] != ValueFormat::Float => Some(Moments::new(conv)?),
                _ => None,
            });
        }
        let mut see = |value: Value, tensor: &Tensor, photo: &str| {
            if formats[value.0] == ValueFormat::Int {
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
        for (value, format) in formats.iter().enumerate() {
            let node = value.checked_sub(1).map(|index| &graph.nodes[index]);
            scales.push(match (format, node) {
                (ValueFormat::Float | ValueFormat::Inside, _) => None,
                // Neither computes: the scale is the input's.
                (_, Some(node)) if matches!(node.op, Op::MaxPool(_) | Op::Double) => scales[node.inputs[0].0],
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
        Ok(Calibration { scales, formats, rounded })
    }

    /// The scale of a value, if it is stored as uint8.
    pub(super) fn scale(&self, value: Value) -> Option<Scale> {
        self.scales[value.0]
    }

    /// Whether a value is fused into the activation after it.
    pub(super) fn is_inside(&self, value: Value) -> bool {
        self.formats[value.0] == ValueFormat::Inside
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
