//! Queries and edits of a graph.

use std::collections::{HashMap, HashSet};

use super::types::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};

/// The nodes and constants of a graph by name of their values.
pub(super) struct Index<'a> {
    pub(super) graph: &'a GraphProto,
    producers: HashMap<&'a str, &'a NodeProto>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Index<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Index<'a> {
        let producers = graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (&output[..], node)));
        let constants = graph.initializer.iter().map(|tensor| (tensor.name(), tensor));
        Index { graph, producers: producers.collect(), constants: constants.collect() }
    }

    /// The node that computes `value`. Following producers always ends: models with cycles are
    /// rejected when they are read.
    pub(super) fn producer(&self, value: &str) -> Option<&'a NodeProto> {
        self.producers.get(value).copied()
    }

    /// The constant `name`.
    pub(super) fn named(&self, name: &str) -> Option<&'a TensorProto> {
        self.constants.get(name).copied()
    }

    /// The constant that is input `index` of a node.
    pub(super) fn constant(&self, node: &NodeProto, index: usize) -> Option<&'a TensorProto> {
        self.named(node.input.get(index)?)
    }

    /// The axes of a Squeeze or an Unsqueeze: an attribute, or since opset 13 an input.
    pub(super) fn axes(&self, node: &NodeProto) -> Option<Vec<i64>> {
        ints(node, "axes").map(<[i64]>::to_vec).or_else(|| whole_numbers(self.constant(node, 1)?))
    }
}

pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// An integer attribute.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, AttributeProto::i)
}

/// An attribute with a list of integers.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| &attribute.ints[..])
}

/// A string attribute.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    attribute(node, name).and_then(|attribute| std::str::from_utf8(attribute.s()).ok()).unwrap_or(default)
}

/// The maximum length of a shape or a part of one. ONNX Runtime's tensors have at most eight
/// dimensions.
pub(super) const MAX_LIST: usize = 100;

/// The values of an int64 constant in any storage, if it is short enough to be a shape.
pub(super) fn whole_numbers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let is_long = tensor.int64_data.len() > MAX_LIST || tensor.raw_data().len() > MAX_LIST * size_of::<i64>();
    if tensor.data_type() != DataType::Int64 as i32 || is_long {
        return None;
    }
    if tensor.raw_data().is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let (values, rest) = tensor.raw_data().as_chunks::<8>();
    rest.is_empty().then(|| values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

/// Makes `value` the graph's only output, and removes nodes that it does not depend on.
pub(super) fn end_at(graph: &mut GraphProto, value: &str) {
    set_output(graph, value);
    drop_unused(graph);
}

/// Makes `value`, a float32 tensor, the graph's only output. ONNX Runtime infers its shape.
pub(super) fn set_output(graph: &mut GraphProto, value: &str) {
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: None };
    graph.output = vec![ValueInfoProto {
        name: Some(value.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }];
}

/// Removes the declared shape of an output.
pub(super) fn forget_shape(output: &mut ValueInfoProto) {
    if let Some(type_proto::Value::TensorType(tensor)) = output.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        tensor.shape = None;
    }
}

/// Removes the nodes that no output depends on, and their weights.
pub(super) fn drop_unused(graph: &mut GraphProto) {
    let mut used: HashSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    // Nodes are in topological order: a value's readers come after its producer.
    let mut kept: Vec<NodeProto> = std::mem::take(&mut graph.node)
        .into_iter()
        .rev()
        .filter(|node| {
            let needed = node.output.iter().any(|output| used.contains(output));
            if needed {
                collect_inputs(node, &mut used);
            }
            needed
        })
        .collect();
    kept.reverse();
    graph.node = kept;
    drop_unused_weights(graph);
}

/// Removes the weights that no node reads.
pub(super) fn drop_unused_weights(graph: &mut GraphProto) {
    let mut used = HashSet::new();
    collect_names(graph, &mut used);
    let GraphProto { initializer, input, .. } = graph;
    let unused: HashSet<String> =
        initializer.iter().map(|tensor| tensor.name().to_owned()).filter(|name| !used.contains(name)).collect();
    initializer.retain(|tensor| !unused.contains(tensor.name()));
    input.retain(|value| !unused.contains(value.name()));
}

/// Collects all names that the graph and its subgraphs read.
fn collect_names(graph: &GraphProto, used: &mut HashSet<String>) {
    used.extend(graph.output.iter().map(|output| output.name().to_owned()));
    graph.node.iter().for_each(|node| collect_inputs(node, used));
}

/// Collects all names that a node and its subgraphs read.
fn collect_inputs(node: &NodeProto, used: &mut HashSet<String>) {
    used.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
    for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        collect_names(inner, used);
    }
}

/// Turns Constant nodes into initializers, the only place where this module looks for constants.
pub(crate) fn hoist_constants(graph: &mut GraphProto) {
    let GraphProto { node, initializer, .. } = graph;
    node.retain_mut(|node| {
        let value = node.attribute.iter_mut().find(|attribute| attribute.name() == "value");
        let (true, [output], Some(value)) = (node.op_type.as_deref() == Some("Constant"), &node.output[..], value)
        else {
            return true;
        };
        let Some(tensor) = value.t.take() else { return true };
        initializer.push(TensorProto { name: Some(output.clone()), ..tensor });
        false
    });
}
