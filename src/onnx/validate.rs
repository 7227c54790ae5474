//! Validates untrusted models.

use prost::{Message, bytes::Bytes};

use super::{
    limits,
    types::{GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, tensor_proto::DataLocation},
};
use crate::{Error, Result};

/// Decodes an ONNX model. Rejects models that would make ONNX Runtime read other files: tensors
/// with external data, and compiled contexts of execution providers.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    parse_shared(Bytes::copy_from_slice(bytes))
}

/// As [`parse`], with tensors that refer to `bytes` instead of copies.
pub(crate) fn parse_shared(bytes: Bytes) -> Result<ModelProto> {
    let mut model = decode(bytes)?;
    each_tensor(&mut model, &mut |tensor| {
        if !is_external(tensor) {
            return Ok(());
        }
        let location = tensor.external_data.iter().find(|entry| entry.key() == "location").map_or("", |e| e.value());
        Err(Error::Model(format!(
            "tensor '{}' is stored outside the model, in '{location}', which requires that the \
             model is loaded by its path; load it so, or save it as one file, with \
             torch.onnx.export(..., external_data=False) or onnx.save_model()",
            tensor.name()
        )))
    })?;
    Ok(model)
}

/// Decodes an ONNX model whose tensors refer to `bytes` or are external. [`each_tensor`] checks its
/// nodes.
pub(super) fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::Model("the model is empty (0 bytes); an ONNX file is expected".into()));
    }
    limits::check_encoded(&bytes)?;
    let model = ModelProto::decode(bytes.clone()).map_err(|error| {
        Error::Model(format!("the model's {} bytes are not a complete ONNX file: {error}", bytes.len()))
    })?;
    if model.graph.as_ref().is_none_or(|graph| graph.node.is_empty() || graph.output.is_empty()) {
        return Err(Error::Model(format!(
            "the model's {} bytes contain no network; an ONNX file with a graph of at least one \
             node and one output is expected",
            bytes.len()
        )));
    }
    limits::check(&model)?;
    Ok(model)
}

/// Whether a tensor is stored in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty()
}

/// Visits every tensor of the model, including subgraphs, always in the same order. Compiled
/// contexts are an error.
pub(super) fn each_tensor(model: &mut ModelProto, visit: &mut Visit<'_>) -> Result<()> {
    model.graph.iter_mut().try_for_each(|graph| in_graph(graph, visit))?;
    for training in &mut model.training_info {
        let mut graphs = training.initialization.iter_mut().chain(&mut training.algorithm);
        graphs.try_for_each(|graph| in_graph(graph, visit))?;
    }
    model.functions.iter_mut().try_for_each(|function| in_nodes(&mut function.node, visit))
}

type Visit<'a> = dyn FnMut(&mut TensorProto) -> Result<()> + 'a;

fn in_graph(graph: &mut GraphProto, visit: &mut Visit<'_>) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    graph.sparse_initializer.iter_mut().try_for_each(|sparse| in_sparse(sparse, visit))?;
    in_nodes(&mut graph.node, visit)
}

fn in_nodes(nodes: &mut [NodeProto], visit: &mut Visit<'_>) -> Result<()> {
    for node in nodes {
        if node.op_type() == "EPContext" {
            return Err(Error::Model(format!(
                "node '{}' is a compiled context (EPContext), which can make ONNX Runtime read \
                 other files; use the network that it was compiled from",
                node.name()
            )));
        }
        for attribute in &mut node.attribute {
            attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
            attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| in_graph(graph, visit))?;
            let mut sparse = attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors);
            sparse.try_for_each(|sparse| in_sparse(sparse, visit))?;
        }
    }
    Ok(())
}

fn in_sparse(sparse: &mut SparseTensorProto, visit: &mut Visit<'_>) -> Result<()> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(visit)
}
