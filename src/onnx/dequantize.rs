//! Weights stored as integers, turned back into float32 when a model is loaded, so that ONNX Runtime can fold and pack
//! them like any others. Where the values that they meet are stored as integers, too, both stay as they are: ONNX Runtime
//! computes in integers there.

use std::collections::HashSet;

use super::{
    expect_count, floats, raw,
    types::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// Replaces each DequantizeLinear node whose inputs are all constants by its float32 result, unless a node that reads it
/// also reads a DequantizeLinear of values that are computed.
pub(crate) fn dequantize_weights(graph: &mut GraphProto) -> Result<()> {
    let beside_integers = beside_integers(graph);
    let mut weights = Vec::new();
    let mut kept = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let constants: Option<Vec<_>> = node
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| graph.initializer.iter().find(|tensor| tensor.name() == name))
            .collect();
        match constants {
            Some(inputs)
                if node.op_type() == "DequantizeLinear"
                    && is_supported(&node, &inputs)
                    && node.output.iter().all(|output| !beside_integers.contains(output)) =>
            {
                weights.push(dequantize(&node, &inputs)?);
            }
            _ => kept.push(node),
        }
    }
    graph.node = kept;
    graph.initializer.extend(weights);
    super::graph::drop_unused_weights(graph);
    Ok(())
}

/// What is read by nodes that read dequantized values, too.
fn beside_integers(graph: &GraphProto) -> HashSet<String> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let values: HashSet<&String> = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "DequantizeLinear")
        .filter(|node| node.input.first().is_some_and(|input| !constants.contains(input.as_str())))
        .flat_map(|node| &node.output)
        .collect();
    let readers = graph.node.iter().filter(|node| node.input.iter().any(|input| values.contains(input)));
    readers.flat_map(|node| node.input.iter().cloned()).collect()
}

/// Whether this is the form that weights are stored in: 8-bit integers, one scale, or one for each index of an axis.
fn is_supported(node: &NodeProto, inputs: &[&TensorProto]) -> bool {
    let integer = |t: &TensorProto| [DataType::Int8 as i32, DataType::Uint8 as i32].contains(&t.data_type());
    let per_axis = |t: &TensorProto| t.dims.len() <= 1;
    let blocked = node.attribute.iter().any(|a| a.name() == "block_size" && a.i() != 0);
    match inputs {
        [x, scale] => integer(x) && per_axis(scale) && !blocked,
        [x, scale, zero] => integer(x) && integer(zero) && per_axis(scale) && per_axis(zero) && !blocked,
        _ => false,
    }
}

fn dequantize(node: &NodeProto, inputs: &[&TensorProto]) -> Result<TensorProto> {
    let x = inputs[0];
    let values = integers(x)?;
    let scales = floats(inputs[1])?;
    let zeros = inputs.get(2).map_or(Ok(vec![0]), |zero| integers(zero))?;
    let rank = x.dims.len() as i64;
    let axis = node.attribute.iter().find(|a| a.name() == "axis").map_or(1, |a| a.i());
    let axis = if axis < 0 { axis + rank } else { axis };
    let (channels, inner) = if scales.len() == 1 && zeros.len() == 1 {
        (1, values.len().max(1))
    } else {
        let Some(&channels) = usize::try_from(axis).ok().and_then(|axis| x.dims.get(axis)) else {
            return Err(Error::Model(format!(
                "node '{}' has axis {axis} for a tensor of {rank} dimensions",
                node.name()
            )));
        };
        // The whole product is the number of values, unless that is 0.
        let inner = x.dims[axis as usize + 1..].iter().fold(1i64, |product, dim| product.wrapping_mul(*dim));
        (channels as usize, (inner as usize).max(1))
    };
    let bad = |what: &str, found: usize| {
        Error::Model(format!("node '{}' has {found} {what} for {channels} channels", node.name()))
    };
    if scales.len() != channels {
        return Err(bad("scales", scales.len()));
    }
    if zeros.len() != 1 && zeros.len() != channels {
        return Err(bad("zero points", zeros.len()));
    }
    let floats: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(i, &value)| {
            let channel = i / inner % channels;
            (value - zeros[channel % zeros.len()]) as f32 * scales[channel]
        })
        .collect();
    Ok(TensorProto {
        name: node.output.first().cloned(),
        dims: x.dims.clone(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(raw(&floats)),
        ..TensorProto::default()
    })
}

/// The values of an 8-bit integer tensor.
fn integers(tensor: &TensorProto) -> Result<Vec<i32>> {
    let signed = tensor.data_type() == DataType::Int8 as i32;
    let widen = |byte: u8| if signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
    let values: Vec<i32> = if tensor.raw_data().is_empty() {
        tensor.int32_data.clone()
    } else {
        tensor.raw_data().iter().map(|&byte| widen(byte)).collect()
    };
    expect_count(tensor, values.len())?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;

    /// A convolution of `input` with weights 2 x -3 and bias 2 x 5, both stored as integers.
    fn graph(input: &str, mut nodes: Vec<NodeProto>) -> GraphProto {
        nodes.push(build::node("DequantizeLinear", &["w.int8", "step"], "w", vec![]));
        nodes.push(build::node("DequantizeLinear", &["b.int8", "step"], "b", vec![]));
        nodes.push(build::node("Conv", &[input, "w", "b"], "y", vec![]));
        GraphProto {
            node: nodes,
            initializer: vec![
                build::int8s("w.int8", &[1, 1, 1, 1], &[-3]),
                build::int8s("b.int8", &[1], &[5]),
                build::floats("step", &[], &[2.0]),
                build::uint8s("zero", &[], &[7]),
            ],
            ..GraphProto::default()
        }
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|node| node.op_type()).collect()
    }

    #[test]
    fn weights_beside_floats_become_floats() {
        let mut graph = graph("x", vec![]);
        dequantize_weights(&mut graph).unwrap();
        assert_eq!(operators(&graph), ["Conv"]);
        let value = |name| floats(graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap()).unwrap();
        assert_eq!((value("w"), value("b")), (vec![-6.0], vec![10.0]));
        assert_eq!(graph.initializer.len(), 2);
    }

    #[test]
    fn weights_beside_stored_values_stay_integers() {
        let quantize = build::node("QuantizeLinear", &["x", "step", "zero"], "x.uint8", vec![]);
        let dequantize = build::node("DequantizeLinear", &["x.uint8", "step", "zero"], "x.stored", vec![]);
        let mut graph = graph("x.stored", vec![quantize, dequantize]);
        let before = graph.clone();
        dequantize_weights(&mut graph).unwrap();
        assert_eq!(graph, before);
    }
}
