//! Reading a model that nobody vouches for: what it must be, and what it must not contain.

use prost::{Message, bytes::Bytes};

use super::types::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataLocation};
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
