//! Cutting a network in front of its last upsampling, which [`crate::head`] then does together with the argmax.

use std::collections::HashSet;

use super::{
    floats,
    types::{GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto},
};
use crate::{Error, Result};

/// How full-size scores come out of what the (cut) network answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tail {
    /// The network was not cut: its answer is the scores or the labels.
    Whole,
    /// A transposed convolution with kernel 2 s, stride s and padding s / 2.
    Transposed {
        stride: usize,
        classes: usize,
        /// Whether each class is upsampled by itself; then `weights` is classes x k x k, else classes x classes x k x k
        /// (from, to, row, column).
        separate: bool,
        weights: Vec<f32>,
        bias: Vec<f32>,
    },
    /// A bilinear Resize by a whole factor, with half-pixel centres.
    Bilinear { factor: usize },
}

/// Cuts the graph in front of its last node where that is an upsampling we know, and leaves it whole otherwise.
pub(crate) fn cut(graph: &mut GraphProto) -> Result<Tail> {
    let Some(tail) = recognise(graph)? else { return Ok(Tail::Whole) };
    let output = graph.output[0].name().to_owned();
    let Some(last) = graph.node.iter().position(|node| node.output.contains(&output)) else {
        return Ok(Tail::Whole);
    };
    let node = graph.node.remove(last);
    // Its shape is left for ONNX Runtime to infer.
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: None };
    graph.output = vec![ValueInfoProto {
        name: node.input.first().cloned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }];
    drop_unused_weights(graph);
    Ok(tail)
}

/// What the last node of the graph does, where it is an upsampling we know.
fn recognise(graph: &GraphProto) -> Result<Option<Tail>> {
    let [output] = &graph.output[..] else { return Ok(None) };
    let Some(node) = graph.node.iter().find(|node| node.output.iter().any(|name| name == output.name())) else {
        return Err(Error::Model(format!("no node of the model yields its output '{}'", output.name())));
    };
    // What it reads must come from another node, and nobody else may read its result.
    let source = node.input.first().cloned().unwrap_or_default();
    let computed = graph.node.iter().any(|other| other.output.contains(&source));
    let read = graph.node.iter().any(|other| other.input.iter().any(|name| name == output.name()));
    if !computed || read {
        return Ok(None);
    }
    match node.op_type() {
        "ConvTranspose" => transposed(graph, node),
        "Resize" => Ok(bilinear(graph, node)),
        _ => Ok(None),
    }
}

fn constant<'a>(graph: &'a GraphProto, node: &NodeProto, index: usize) -> Option<&'a TensorProto> {
    let name = node.input.get(index)?;
    graph.initializer.iter().find(|tensor| tensor.name() == name)
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    node.attribute.iter().find(|attribute| attribute.name() == name).map(|attribute| &attribute.ints[..])
}

fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    let attribute = node.attribute.iter().find(|attribute| attribute.name() == name);
    attribute.and_then(|attribute| std::str::from_utf8(attribute.s()).ok()).unwrap_or(default)
}

fn transposed(graph: &GraphProto, node: &NodeProto) -> Result<Option<Tail>> {
    let Some(weight) = constant(graph, node, 1).filter(|weight| weight.data_type() == DataType::Float as i32) else {
        return Ok(None);
    };
    let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
    let bias = constant(graph, node, 2);
    let [inputs, outputs, rows, columns] = weight.dims[..] else { return Ok(None) };
    let stride = match ints(node, "strides") {
        Some(&[down, right]) if down == right && (2..=64).contains(&down) => down,
        _ => return Ok(None),
    };
    let group = node.attribute.iter().find(|attribute| attribute.name() == "group").map_or(1, |a| a.i());
    let plain = [rows, columns] == [2 * stride, 2 * stride]
        && stride % 2 == 0
        && ints(node, "pads") == Some(&[stride / 2; 4][..])
        && ints(node, "dilations").is_none_or(|dilations| dilations == [1, 1])
        && ints(node, "output_padding").is_none_or(|padding| padding == [0, 0])
        && ints(node, "output_shape").is_none()
        && matches!(text(node, "auto_pad", "NOTSET"), "NOTSET" | "");
    let dense = group == 1 && inputs == outputs;
    let separate = group == inputs && outputs == 1;
    if !plain || !(dense || separate) || !(2..=255).contains(&inputs) || has_bias != bias.is_some() {
        return Ok(None);
    }
    let (classes, stride) = (inputs as usize, stride as usize);
    let weights = floats(weight)?;
    let bias = bias.map_or(Ok(vec![0.0; classes]), floats)?;
    if bias.len() != classes {
        return Err(Error::Model(format!(
            "node '{}' has {} bias values for {classes} channels",
            node.name(),
            bias.len()
        )));
    }
    let (separate, weights) = if separate { (true, weights) } else { diagonal(weights, classes, 4 * stride * stride) };
    Ok(Some(Tail::Transposed { stride, classes, separate, weights, bias }))
}

/// The diagonal blocks alone, where all others are zero (an upsampling that was frozen at its bilinear kernel).
fn diagonal(weights: Vec<f32>, classes: usize, taps: usize) -> (bool, Vec<f32>) {
    let blocks = || weights.chunks_exact(taps).enumerate();
    let on_diagonal = |block: usize| block / classes == block % classes;
    if blocks().any(|(block, values)| !on_diagonal(block) && values.iter().any(|&value| value != 0.0)) {
        return (false, weights);
    }
    (true, blocks().filter(|(block, _)| on_diagonal(*block)).flat_map(|(_, values)| values.iter().copied()).collect())
}

fn bilinear(graph: &GraphProto, node: &NodeProto) -> Option<Tail> {
    let scales = floats(constant(graph, node, 2)?).ok()?;
    let whole = text(node, "mode", "nearest") == "linear"
        && text(node, "coordinate_transformation_mode", "half_pixel") == "half_pixel"
        && node.attribute.iter().all(|attribute| attribute.name() != "axes")
        && node.attribute.iter().all(|attribute| attribute.name() != "antialias" || attribute.i() == 0);
    match scales[..] {
        [1.0, 1.0, down, right] if whole && down == right && down >= 2.0 && down.fract() == 0.0 && down <= 64.0 => {
            Some(Tail::Bilinear { factor: down as usize })
        }
        _ => None,
    }
}

/// Removes the weights that no node reads any more.
pub(crate) fn drop_unused_weights(graph: &mut GraphProto) {
    let mut used = HashSet::new();
    collect_names(graph, &mut used);
    let GraphProto { initializer, input, .. } = graph;
    let unused: HashSet<String> =
        initializer.iter().map(|tensor| tensor.name().to_owned()).filter(|name| !used.contains(name)).collect();
    initializer.retain(|tensor| !unused.contains(tensor.name()));
    input.retain(|value| !unused.contains(value.name()));
}

/// All names that the graph and the graphs inside it read.
fn collect_names(graph: &GraphProto, used: &mut HashSet<String>) {
    used.extend(graph.output.iter().map(|output| output.name().to_owned()));
    for node in &graph.node {
        used.extend(node.input.iter().cloned());
        for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            collect_names(inner, used);
        }
    }
}
