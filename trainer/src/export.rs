//! Writes a network as ONNX: the list of operations used for training, with batch normalisation
//! folded into the convolutions before it, standard operators only, and N, H and W left open. In
//! every form, image and scores are float32, and the last operation is a float32 transposed
//! convolution, which libfcn computes itself.

pub mod calibrate;
pub mod freeze;
mod quantize;
mod rounding;
mod writer;

use std::collections::BTreeMap;

use fcn::onnx::ModelCard;
use fcn::onnx::build::{self, Dim};
use fcn::onnx::types::tensor_proto::DataType;
use fcn::onnx::types::{GraphProto, ModelProto};

use crate::checkpoint::CheckpointState;
use crate::data::VOID;
use crate::error::Result;
use crate::model::Network;
use crate::model::graph::{Op, Value};
use calibrate::Calibration;
use writer::{WeightFormat, Writer};

/// The number formats of a file's weights and arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub enum Precision {
    /// Float32.
    Full,
    /// Weights as int8 with one scale per output channel: a quarter of the file size, float32
    /// arithmetic.
    Compact,
    /// Weights and arithmetic in float16, except for the last transposed convolution: half the file
    /// size, intended for GPUs.
    Half,
    /// Integer arithmetic in the backbone: activations uint8, weights int8 with one scale per
    /// output channel. The head's transposed convolutions are stored as in [`Precision::Compact`].
    Int8(Calibration),
}

/// A network's model card: its checkpoint's metadata, the data's description, and the measured
/// figures.
pub fn card(state: &CheckpointState, dataset: String, metrics: BTreeMap<String, f64>) -> ModelCard {
    let (height, width) = state.config.crop;
    ModelCard {
        version: 1,
        architecture: state.spec.name(),
        classes: state.classes.clone(),
        background: fcn::palette::background(&state.classes),
        void_index: VOID,
        mean: state.mean,
        std: state.std,
        channels: "rgb".to_owned(),
        stride: Network::STRIDE as u32,
        training_crop: [height as u32, width as u32],
        native_side: state.native_side,
        temperature: None,
        dataset,
        metrics,
    }
}

/// The network as an ONNX model with input `image` (N x 3 x H x W) and output `scores` (N x classes
/// x H x W).
pub fn onnx(network: &Network, precision: &Precision, card: &ModelCard) -> Result<ModelProto> {
    let graph = network.graph.folded()?;
    let calibration = match precision {
        Precision::Int8(calibration) => Some(calibration),
        Precision::Full | Precision::Compact | Precision::Half => None,
    };
    let half = *precision == Precision::Half;
    let (convs, ups) = match precision {
        Precision::Full => (WeightFormat::Full, WeightFormat::Full),
        Precision::Compact => (WeightFormat::Compact, WeightFormat::Compact),
        Precision::Half => (WeightFormat::Half, WeightFormat::Half),
        // Next to quantized values, int8 weights would have to be those of integer arithmetic.
        Precision::Int8(_) => (WeightFormat::Full, WeightFormat::Compact),
    };
    let mut writer = Writer::default();
    let scale = |value: Value| calibration.and_then(|calibration| calibration.scale(value));
    let mut names = vec![match scale(Value(0)) {
        Some(scale) => writer.store("image", scale),
        None if half => writer.cast(DataType::Float16, "image", "image.half"),
        None => "image".to_owned(),
    }];
    for (index, node) in graph.nodes.iter().enumerate() {
        let value = Value(index + 1);
        let inputs: Vec<&str> = node.inputs.iter().map(|input| names[input.0].as_str()).collect();
        let is_last = value == graph.output;
        let output = if is_last { "scores".to_owned() } else { format!("v{}", value.0) };
        let is_inside = calibration.is_some_and(|calibration| calibration.is_inside(node.inputs[0]));
        let mut name = match &node.op {
            Op::Conv(conv) => match calibration.and_then(|calibration| calibration.rounded(value)) {
                Some(rounded) => writer.int8_conv(conv, rounded, inputs[0], &output),
                None => writer.conv(conv, convs, inputs[0], &output)?,
            },
            // The ends of the quantized range are the activation's bounds.
            Op::Relu | Op::Relu6 if is_inside => inputs[0].to_owned(),
            Op::Relu => writer.node("Relu", &inputs, &output, vec![]),
            Op::Relu6 => writer.clip(half, inputs[0], &output),
            Op::HardSwish => writer.node("HardSwish", &inputs, &output, vec![]),
            Op::Add => writer.node("Add", &inputs, &output, vec![]),
            Op::Concat => writer.node("Concat", &inputs, &output, vec![build::int("axis", 1)]),
            Op::LinearAttention(attention) => writer.linear_attention(*attention, half, inputs[0], &output),
            Op::Double => writer.double(inputs[0], &output),
            Op::MaxPool(pool) => writer.max_pool(pool, inputs[0], &output),
            Op::ConvTranspose(up) if is_last && half => {
                let scores = writer.cast(DataType::Float, inputs[0], "scores.low");
                writer.conv_transpose(up, WeightFormat::Full, &scores, &output)?
            }
            Op::ConvTranspose(up) => writer.conv_transpose(up, ups, inputs[0], &output)?,
            Op::BatchNorm(_) => unreachable!("a folded graph has no batch normalisation"),
        };
        if let Some(scale) = scale(value) {
            name = writer.store(&name, scale);
        }
        names.push(name);
    }
    let (n, h, w) = (Dim::Named("N"), Dim::Named("H"), Dim::Named("W"));
    let classes = Dim::Fixed(network.spec.classes);
    let graph = GraphProto {
        name: Some(network.spec.name()),
        node: writer.nodes,
        initializer: writer.constants,
        input: vec![build::value("image", DataType::Float, &[n, Dim::Fixed(3), h, w])],
        output: vec![build::value("scores", DataType::Float, &[n, classes, h, w])],
        ..GraphProto::default()
    };
    Ok(build::model(graph, Some(card)))
}
