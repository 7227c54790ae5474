//! Writes a network as ONNX: the same list of operations that training walks, batch normalisations folded into the
//! convolutions before them, standard operators only, N, H and W left open.

use std::collections::BTreeMap;

use fcn::onnx::ModelCard;
use fcn::onnx::build::{self, Dim};
use fcn::onnx::types::tensor_proto::DataType;
use fcn::onnx::types::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use tch::{Device, Kind, Tensor};

use crate::checkpoint::State;
use crate::data::VOID;
use crate::error::Result;
use crate::model::Network;
use crate::model::graph::{BatchNorm, Conv, ConvTranspose, Graph, MaxPool, Op, Padding, Value};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// As float32.
    Full,
    /// As int8 with one scale for each output channel, and a DequantizeLinear: a quarter of the file, float32 arithmetic.
    Compact,
}

/// The card of a network: what its checkpoint knows, the data's description, and what was measured.
pub fn card(state: &State, dataset: String, metrics: BTreeMap<String, f64>) -> ModelCard {
    let (height, width) = state.config.crop;
    ModelCard {
        version: 1,
        architecture: state.spec.name(),
        classes: state.classes.clone(),
        void_index: VOID,
        mean: state.mean,
        std: state.std,
        channels: "rgb".to_owned(),
        stride: Network::STRIDE as u32,
        training_crop: [height as u32, width as u32],
        dataset,
        metrics,
    }
}

/// The network as an ONNX model with input `image` (N x 3 x H x W) and output `scores` (N x classes x H x W).
pub fn onnx(network: &Network, storage: Storage, card: &ModelCard) -> Result<ModelProto> {
    let graph = &network.graph;
    let mut writer = Writer { storage, nodes: Vec::new(), weights: Vec::new() };
    let mut names = vec!["image".to_owned()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let value = Value(index + 1);
        let inputs: Vec<String> = node.inputs.iter().map(|input| names[input.0].clone()).collect();
        let output = if value == graph.output { "scores".to_owned() } else { format!("v{}", value.0) };
        names.push(match &node.op {
            Op::Conv(conv) => writer.conv(conv, folded(graph, value), &inputs[0], output)?,
            // It is part of the convolution before it.
            Op::BatchNorm(_) => inputs[0].clone(),
            Op::Relu => writer.node("Relu", &[&inputs[0]], output, vec![]),
            Op::Relu6 => writer.clip(&inputs[0], output),
            Op::Add => writer.node("Add", &[&inputs[0], &inputs[1]], output, vec![]),
            Op::MaxPool(pool) => writer.max_pool(pool, &inputs[0], output),
            Op::ConvTranspose(up) => writer.conv_transpose(up, &inputs[0], output)?,
        });
    }
    let (n, h, w) = (Dim::Named("N"), Dim::Named("H"), Dim::Named("W"));
    let classes = Dim::Fixed(network.spec.classes);
    let graph = GraphProto {
        name: Some(network.spec.name()),
        node: writer.nodes,
        initializer: writer.weights,
        input: vec![build::value("image", DataType::Float, &[n, Dim::Fixed(3), h, w])],
        output: vec![build::value("scores", DataType::Float, &[n, classes, h, w])],
        ..GraphProto::default()
    };
    Ok(build::model(graph, Some(card)))
}

/// The batch normalisation that alone uses a convolution's result.
fn folded(graph: &Graph, value: Value) -> Option<&BatchNorm> {
    let mut users = graph.nodes.iter().filter(|node| node.inputs.contains(&value));
    match (users.next().map(|node| &node.op), users.next()) {
        (Some(Op::BatchNorm(norm)), None) => Some(norm),
        _ => None,
    }
}

struct Writer {
    storage: Storage,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Writer {
    fn node(&mut self, operator: &str, inputs: &[&str], output: String, attributes: Vec<AttributeProto>) -> String {
        self.nodes.push(build::node(operator, inputs, &output, attributes));
        output
    }

    fn conv(&mut self, conv: &Conv, norm: Option<&BatchNorm>, input: &str, output: String) -> Result<String> {
        let (weight, bias) = fold(conv, norm)?;
        let kernel = weight.size()[2];
        let Padding { before, after } = conv.padding;
        let attributes = vec![
            build::ints("kernel_shape", &[kernel, kernel]),
            build::ints("strides", &[conv.stride, conv.stride]),
            build::ints("pads", &[before, before, after, after]),
            build::int("group", conv.groups),
        ];
        let weight = self.weight(&format!("{}.weight", conv.name), &weight, 0)?;
        let bias = self.floats(&format!("{}.bias", conv.name), &bias)?;
        Ok(self.node("Conv", &[input, &weight, &bias], output, attributes))
    }

    fn conv_transpose(&mut self, up: &ConvTranspose, input: &str, output: String) -> Result<String> {
        let kernel = up.weight.size()[2];
        let attributes = vec![
            build::ints("kernel_shape", &[kernel, kernel]),
            build::ints("strides", &[up.stride, up.stride]),
            build::ints("pads", &[up.padding; 4]),
        ];
        let weight = self.weight(&format!("{}.weight", up.name), &up.weight, 1)?;
        let bias = up.bias.as_ref().map(|bias| self.floats(&format!("{}.bias", up.name), bias)).transpose()?;
        let inputs: Vec<&str> = [input, &weight].into_iter().chain(bias.as_deref()).collect();
        Ok(self.node("ConvTranspose", &inputs, output, attributes))
    }

    fn max_pool(&mut self, pool: &MaxPool, input: &str, output: String) -> String {
        let attributes = vec![
            build::ints("kernel_shape", &[pool.kernel; 2]),
            build::ints("strides", &[pool.stride; 2]),
            build::ints("pads", &[pool.padding; 4]),
        ];
        self.node("MaxPool", &[input], output, attributes)
    }

    /// `min(max(x, 0), 6)`, whose bounds are constants that all such nodes share.
    fn clip(&mut self, input: &str, output: String) -> String {
        const BOUNDS: [(&str, f32); 2] = [("zero", 0.0), ("six", 6.0)];
        if self.weights.iter().all(|tensor| tensor.name() != BOUNDS[0].0) {
            self.weights.extend(BOUNDS.map(|(name, value)| build::floats(name, &[], &[value])));
        }
        self.node("Clip", &[input, BOUNDS[0].0, BOUNDS[1].0], output, vec![])
    }

    /// Stores a weight, whose output channels lie along `axis`.
    fn weight(&mut self, name: &str, tensor: &Tensor, axis: i64) -> Result<String> {
        match self.storage {
            Storage::Full => self.floats(name, tensor),
            Storage::Compact => self.int8s(name, tensor, axis),
        }
    }

    fn floats(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        self.weights.push(build::floats(name, &tensor.size(), &values(tensor)?));
        Ok(name.to_owned())
    }

    /// Symmetric: the largest weight of a channel becomes 127 or -127.
    fn int8s(&mut self, name: &str, tensor: &Tensor, axis: i64) -> Result<String> {
        let others: Vec<i64> = (0..tensor.dim() as i64).filter(|dim| *dim != axis).collect();
        let largest = tensor.f_detach()?.f_abs()?.f_amax(&others[..], true)?;
        // A channel of zeros needs some scale above 0.
        let scale = largest.f_div_scalar(127.0)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        let rounded: Vec<i8> =
            values(&tensor.f_div(&scale)?.f_round()?)?.into_iter().map(|value| value as i8).collect();
        let (stored, scales) = (format!("{name}.int8"), format!("{name}.scale"));
        self.weights.push(build::int8s(&stored, &tensor.size(), &rounded));
        self.floats(&scales, &scale.f_flatten(0, -1)?)?;
        Ok(self.node("DequantizeLinear", &[&stored, &scales], name.to_owned(), vec![build::int("axis", axis)]))
    }
}

/// A convolution's weight and bias, with the batch normalisation that follows it multiplied in.
fn fold(conv: &Conv, norm: Option<&BatchNorm>) -> Result<(Tensor, Tensor)> {
    let weight = conv.weight.f_detach()?.f_to_kind(Kind::Double)?;
    let outputs = weight.size()[0];
    let bias = match &conv.bias {
        Some(bias) => bias.f_detach()?.f_to_kind(Kind::Double)?,
        None => Tensor::f_zeros([outputs], (Kind::Double, weight.device()))?,
    };
    let Some(norm) = norm else { return Ok((weight, bias)) };
    let double = |tensor: &Tensor| tensor.f_detach()?.f_to_kind(Kind::Double);
    let deviation = double(&norm.running_var)?.f_add_scalar(norm.eps)?.f_sqrt()?;
    let factor = double(&norm.weight)?.f_div(&deviation)?;
    let bias = bias.f_sub(&double(&norm.running_mean)?)?.f_mul(&factor)?.f_add(&double(&norm.bias)?)?;
    Ok((weight.f_mul(&factor.f_view([outputs, 1, 1, 1])?)?, bias))
}

/// A tensor's values as float32, row by row.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
