//! Reading a model that nobody vouches for: what it must be, and what it must not contain.

use prost::{Message, bytes::Bytes};

use super::types::{
    GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    tensor_proto::{DataLocation, DataType},
    tensor_shape_proto::dimension,
    type_proto,
};
use crate::{Error, Result};

/// Decodes an ONNX model and refuses what would make ONNX Runtime read other files: tensors with external data, and
/// compiled contexts of execution providers.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    parse_shared(Bytes::copy_from_slice(bytes))
}

/// [`parse`], whose tensors are parts of `bytes` instead of copies.
pub(crate) fn parse_shared(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::Model("the model is empty (0 bytes); an ONNX file is expected".into()));
    }
    let model = ModelProto::decode(bytes.clone()).map_err(|error| {
        Error::Model(format!("the model's {} bytes are not a whole ONNX file: {error}", bytes.len()))
    })?;
    let Some(graph) = model.graph.as_ref().filter(|graph| !graph.node.is_empty() && !graph.output.is_empty()) else {
        return Err(Error::Model(format!(
            "the model's {} bytes hold no network: an ONNX file with a graph of at least one node and one output is expected",
            bytes.len()
        )));
    };
    check_graph(graph)?;
    for training in &model.training_info {
        training.initialization.iter().chain(&training.algorithm).try_for_each(check_graph)?;
    }
    model.functions.iter().try_for_each(|function| check_nodes(&function.node))?;
    Ok(model)
}

fn check_graph(graph: &GraphProto) -> Result<()> {
    graph.initializer.iter().try_for_each(check_tensor)?;
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).try_for_each(check_tensor)?;
    }
    check_nodes(&graph.node)
}

fn check_nodes(nodes: &[NodeProto]) -> Result<()> {
    for node in nodes {
        if node.op_type() == "EPContext" {
            return Err(Error::Model(format!(
                "node '{}' is a compiled context (EPContext), which can make ONNX Runtime read other files; give the \
                 network that it was compiled from",
                node.name()
            )));
        }
        for attribute in &node.attribute {
            attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
            attribute.g.iter().chain(&attribute.graphs).try_for_each(check_graph)?;
            for sparse in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
                sparse.values.iter().chain(&sparse.indices).try_for_each(check_tensor)?;
            }
        }
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    if tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty() {
        let location = tensor.external_data.iter().find(|entry| entry.key() == "location").map_or("", |e| e.value());
        return Err(Error::Model(format!(
            "tensor '{}' is stored outside the model, in '{location}'; save the model as one file without external data",
            tensor.name()
        )));
    }
    Ok(())
}

/// The picture that a network takes: N x 3 x H x W float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageInput {
    pub(crate) name: String,
    /// Rows, where the network takes only one size.
    pub(crate) height: Option<usize>,
    /// Columns, where the network takes only one size.
    pub(crate) width: Option<usize>,
}

/// The one image input of a network, or a sentence on what was found instead.
pub(crate) fn image_input(graph: &GraphProto) -> Result<ImageInput> {
    // Older files list their weights among the inputs.
    let is_weight = |input: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name() == input.name());
    let inputs: Vec<_> = graph.input.iter().filter(|input| !is_weight(input)).collect();
    let [input] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|input| input.name()).collect();
        return Err(Error::Model(format!(
            "the model has {} inputs {names:?}; one image input is expected",
            inputs.len()
        )));
    };
    let wrong = |found: String| {
        Error::Model(format!("input '{}' is {found}; a float32 tensor N x 3 x H x W is expected", input.name()))
    };
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(wrong("not a tensor".into()));
    };
    if tensor.elem_type() != DataType::Float as i32 {
        return Err(wrong(format!("of ONNX element type {}", tensor.elem_type())));
    }
    let dims: Vec<Option<i64>> = tensor
        .shape
        .iter()
        .flat_map(|shape| &shape.dim)
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(value)) if value > 0 => Some(value),
            _ => None,
        })
        .collect();
    let shape = || dims.iter().map(|dim| dim.map_or("?".into(), |d| d.to_string())).collect::<Vec<_>>().join(" x ");
    let [batch, channels, height, width] = dims[..] else {
        return Err(wrong(format!("a tensor of {} dimensions", dims.len())));
    };
    if channels.is_some_and(|channels| channels != 3) || batch.is_some_and(|batch| batch != 1) {
        return Err(wrong(format!("a tensor {}", shape())));
    }
    let side = |dim: Option<i64>| dim.map(usize::try_from).transpose();
    match (side(height), side(width)) {
        (Ok(height), Ok(width)) if height.is_some() == width.is_some() => {
            Ok(ImageInput { name: input.name().to_owned(), height, width })
        }
        _ => Err(wrong(format!("a tensor {}, fixed along one side only", shape()))),
    }
}
