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

#[cfg(test)]
mod tests {
    use super::{super::build, *};

    #[test]
    fn lists_that_can_be_shapes_and_their_near_misses() {
        let listed = |count: usize| {
            let mut list = build::int64s("list", &[count as i64], &[]);
            (list.raw_data, list.int64_data) = (None, vec![-3; count]);
            list
        };
        let raw = |count: usize| build::int64s("list", &[count as i64], &vec![-3; count]);
        let mut cut = raw(2);
        cut.raw_data = Some(vec![0; 15].into());
        for (name, list, expected) in [
            ("stored as bytes", raw(MAX_LIST), Some(MAX_LIST)),
            ("a list", listed(MAX_LIST), Some(MAX_LIST)),
            ("too many bytes", raw(MAX_LIST + 1), None),
            ("too long a list", listed(MAX_LIST + 1), None),
            ("nothing", listed(0), Some(0)),
            ("bytes of half a number", cut, None),
            ("shorter integers", build::int32s("list", &[2], &[-3; 2]), None),
        ] {
            assert_eq!(whole_numbers(&list), expected.map(|count| vec![-3; count]), "{name}");
        }
    }

    fn branch(graph: GraphProto) -> AttributeProto {
        AttributeProto { name: Some("branch".into()), g: Some(graph), ..AttributeProto::default() }
    }

    fn names(graph: &GraphProto) -> [String; 3] {
        let nodes: Vec<_> = graph.node.iter().map(|node| node.name()).collect();
        let weights: Vec<_> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
        let inputs: Vec<_> = graph.input.iter().map(|value| value.name()).collect();
        [nodes, weights, inputs].map(|names| names.join(" "))
    }

    #[test]
    fn what_an_output_needs_stays_and_nothing_else() {
        let inner = GraphProto {
            node: vec![build::node("Add", &["b", "w3"], "in", vec![])],
            output: vec![build::value("w4", DataType::Float, &[])],
            ..GraphProto::default()
        };
        let mut lists = branch(GraphProto::default());
        lists.graphs = vec![GraphProto { node: vec![build::node("Neg", &["w5"], "in", vec![])], ..inner.clone() }];
        lists.g = None;
        let mut graph = GraphProto {
            node: vec![
                build::node("Conv", &["image", "w1", ""], "a", vec![]),
                build::node("Conv", &["image", "w2"], "b", vec![]),
                build::node("Neg", &["a"], "c", vec![]),
                build::node("If", &["a"], "d", vec![branch(inner), lists]),
            ],
            initializer: ["w1", "w2", "w3", "w4", "w5", "w6"].map(|name| build::floats(name, &[], &[0.0])).to_vec(),
            input: ["image", "w1", "w6"].map(|name| build::value(name, DataType::Float, &[])).to_vec(),
            output: ["c", "d", "w6"].map(|name| build::value(name, DataType::Float, &[])).to_vec(),
            ..GraphProto::default()
        };
        drop_unused(&mut graph);
        assert_eq!(names(&graph), ["a b c d", "w1 w2 w3 w4 w5 w6", "image w1 w6"]);
        for (output, kept) in [
            ("d", ["a b d", "w1 w2 w3 w4 w5", "image w1"]),
            ("c", ["a c", "w1", "image w1"]),
            ("w1", ["", "w1", "image w1"]),
        ] {
            let mut graph = graph.clone();
            end_at(&mut graph, output);
            assert_eq!(names(&graph), kept, "{output}");
            assert_eq!((graph.output.len(), graph.output[0].name()), (1, output));
        }
    }

    #[test]
    fn constants_that_become_weights_and_their_near_misses() {
        let value = |name: &str| AttributeProto {
            name: Some(name.to_owned()),
            t: Some(build::floats("other", &[], &[2.0])),
            ..AttributeProto::default()
        };
        let mut two = build::node("Constant", &[], "two", vec![value("value")]);
        two.output.push("more".into());
        let mut graph = GraphProto {
            node: vec![
                build::node("Constant", &[], "first", vec![value("value")]),
                build::node("Constant", &[], "list", vec![build::ints("value_ints", &[1])]),
                build::node("Constant", &[], "none", vec![build::int("value", 1)]),
                build::node("Constant", &[], "sparse", vec![value("sparse_value")]),
                build::node("ConstantOfShape", &["shape"], "filled", vec![value("value")]),
                two,
                build::node("Constant", &[], "last", vec![build::int("more", 1), value("value")]),
            ],
            ..GraphProto::default()
        };
        hoist_constants(&mut graph);
        assert_eq!(names(&graph), ["list none sparse filled two", "first last", ""]);
    }

    #[test]
    fn axes_are_an_attribute_or_an_input() {
        let axes = build::int64s("axes", &[2], &[0, 3]);
        let graph = GraphProto { initializer: vec![axes], ..GraphProto::default() };
        let index = Index::of(&graph);
        let node = |inputs: &[&str], attributes| build::node("Squeeze", inputs, "y", attributes);
        assert_eq!(index.axes(&node(&["x", "axes"], vec![])), Some(vec![0, 3]));
        assert_eq!(index.axes(&node(&["x", "axes"], vec![build::ints("axes", &[1])])), Some(vec![1]));
        assert_eq!(index.axes(&node(&["axes"], vec![])), None);
        assert_eq!(index.axes(&node(&["x", "computed"], vec![])), None);
    }
}
