//! Limits on models. The memory for a model's description is computed before it is decoded, because
//! one byte of the file can take hundreds of bytes in memory. The decoded graph must be free of
//! cycles.

use std::collections::{HashMap, HashSet};

use prost::encoding::{WireType, decode_key, decode_varint};

use super::{
    graph,
    types::{
        AttributeProto, DeviceConfigurationProto, FunctionProto, GraphProto, ModelProto, NodeDeviceConfigurationProto,
        NodeProto, OperatorSetIdProto, ShardingSpecProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation,
        TensorProto, TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension,
        type_proto,
    },
};
use crate::{Error, Result, error::plain};

/// The maximum number of nodes of a model; nodes of functions count once per call.
pub(crate) const MAX_NODES: usize = 1 << 15;

/// The maximum number of tensors.
const MAX_TENSORS: usize = 1 << 16;

/// The maximum number of outputs of a graph.
const MAX_OUTPUTS: usize = 256;

/// The maximum nesting depth of subgraphs and of function calls.
const MAX_DEPTH: usize = 16;

/// The maximum memory of a model's decoded description, excluding the bytes of tensors: this much,
/// plus [`MAX_MULTIPLE`] times the size of the file.
const MAX_DESCRIPTION: usize = 256 << 20;
const MAX_MULTIPLE: usize = 8;

/// The maximum number of values that nodes compute from shapes alone, in total: 1 GiB of float32.
const MAX_FILLED: u64 = 1 << 28;

/// The maximum number of values of a Resize with constant sizes: 4 GiB of float32.
const MAX_RESIZED: u64 = 1 << 30;

/// The types of ONNX's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MessageType {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    /// The type of a dense or a sparse tensor.
    TensorType,
    /// The type of a value that contains others.
    Nested,
    Shape,
    Dimension,
    Function,
    Training,
    Annotation,
    Sharding,
    /// A message that contains only strings.
    Texts(usize),
    /// A message of number lists and small messages of these.
    Numbers(usize),
}

impl MessageType {
    /// The message type of a field, if the field is a message.
    fn inner(self, field: u32) -> Option<MessageType> {
        use MessageType::*;
        let entry = Texts(size_of::<StringStringEntryProto>());
        Some(match (self, field) {
            (Model, 7) | (Attribute, 6 | 11) | (Training, 1 | 2) => Graph,
            (Model, 8) | (Function, 9) => Texts(size_of::<OperatorSetIdProto>()),
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Model, 26) => Texts(size_of::<DeviceConfigurationProto>()),
            (Graph, 1) | (Function, 7) => Node,
            (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
            (Graph, 15) | (Attribute, 22 | 23) => Sparse,
            (Graph, 11..=13) | (Function, 12) => Value,
            (Graph, 14) => Annotation,
            (Node, 5) | (Function, 11) => Attribute,
            (Node, 10) => Sharding,
            (Sharding, 2) => Numbers(size_of::<ShardingSpecProto>()),
            (Attribute, 14 | 15) | (Value, 2) | (Nested, 1 | 2) => Type,
            (Type, 1 | 8) => TensorType,
            (Type, 4 | 5 | 9) => Nested,
            (TensorType, 2) => Shape,
            (Shape, 1) => Dimension,
            (Model, 14) | (Graph, 16) | (Node, 9) | (Tensor, 13 | 16) | (Value, 4) | (Function, 14) => entry,
            (Training, 3 | 4) | (Annotation, 2) => entry,
            _ => return None,
        })
    }

    /// The size of the message in memory, without what it points to.
    fn size(self) -> usize {
        match self {
            MessageType::Model => size_of::<ModelProto>(),
            MessageType::Graph => size_of::<GraphProto>(),
            MessageType::Node => size_of::<NodeProto>(),
            MessageType::Attribute => size_of::<AttributeProto>(),
            MessageType::Tensor => size_of::<TensorProto>(),
            MessageType::Sparse => size_of::<SparseTensorProto>(),
            MessageType::Value => size_of::<ValueInfoProto>(),
            MessageType::Type => size_of::<TypeProto>(),
            MessageType::TensorType | MessageType::Nested => size_of::<type_proto::Value>(),
            MessageType::Shape => size_of::<TensorShapeProto>(),
            MessageType::Dimension => size_of::<Dimension>(),
            MessageType::Function => size_of::<FunctionProto>(),
            MessageType::Training => size_of::<TrainingInfoProto>(),
            MessageType::Annotation => size_of::<TensorAnnotation>(),
            MessageType::Sharding => size_of::<NodeDeviceConfigurationProto>(),
            MessageType::Texts(size) | MessageType::Numbers(size) => size,
        }
    }
}

/// The maximum memory of a vector that grows to `bytes`: its capacity doubles.
fn list(bytes: usize) -> usize {
    2 * bytes
}

/// Computes the memory of the decoded model.
#[derive(Default)]
struct Measure {
    description: usize,
    nodes: usize,
    tensors: usize,
    /// The nesting depth of graphs or types.
    depth: usize,
}

impl Measure {
    /// Counts the fields of a message; `None` if it is malformed, where the decoder fails, too.
    fn message(&mut self, kind: MessageType, mut bytes: &[u8], depth: usize) -> Option<()> {
        self.description = self.description.saturating_add(list(kind.size()));
        self.nodes += usize::from(kind == MessageType::Node);
        self.tensors += usize::from(kind == MessageType::Tensor);
        while !bytes.is_empty() {
            let (field, wire) = decode_key(&mut bytes).ok()?;
            let skipped = match wire {
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
                WireType::Varint => {
                    decode_varint(&mut bytes).ok()?;
                    0
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                // No ONNX message has groups; their fields count as the message's own.
                WireType::StartGroup | WireType::EndGroup => 0,
            };
            let content = bytes.split_off(..skipped)?;
            let cost = match (kind.inner(field).filter(|_| wire == WireType::LengthDelimited), kind, field) {
                (Some(inner), ..) => {
                    let inside =
                        depth + usize::from(inner == MessageType::Graph) + usize::from(inner == MessageType::Nested);
                    self.depth = self.depth.max(inside);
                    // Models with deeper nesting are rejected without being decoded.
                    if inside <= MAX_DEPTH + 1 {
                        self.message(inner, content, inside)?;
                    }
                    0
                }
                _ if wire != WireType::LengthDelimited => list(size_of::<u64>()),
                // The bytes of a tensor are not copied.
                (None, MessageType::Tensor, 9) => 0,
                // Packed varints: the last byte of each has its highest bit clear.
                (None, MessageType::Tensor, 1 | 5 | 7 | 11) | (None, MessageType::Attribute, 8) => {
                    let size = if field == 5 { size_of::<i32>() } else { size_of::<i64>() };
                    list(size * content.iter().filter(|byte| **byte < 0x80).count())
                }
                (None, MessageType::Numbers(_), _) => list(4 * size_of::<u64>() * content.len()),
                (None, MessageType::Tensor, 4 | 10) | (None, MessageType::Attribute, 7) => list(content.len()),
                _ => list(size_of::<String>()) + content.len(),
            };
            self.description = self.description.saturating_add(cost);
        }
        Some(())
    }
}

/// Rejects an encoded model that would take too much memory, before it is decoded.
pub(super) fn check_encoded(bytes: &[u8]) -> Result<()> {
    let mut measure = Measure::default();
    // Malformed messages are left to the decoder, which fails at the same position.
    let _ = measure.message(MessageType::Model, bytes, 0);
    let most = MAX_DESCRIPTION.saturating_add(bytes.len().saturating_mul(MAX_MULTIPLE));
    let Measure { description, nodes, tensors, depth } = measure;
    let wrong = |message: String| Err(Error::Model(message));
    if description > most {
        return wrong(format!(
            "the model's {} bytes describe nodes, attributes and tensors that take {description} \
             bytes of memory; at most {most} ({MAX_MULTIPLE} per byte, and {MAX_DESCRIPTION}) are \
             supported, so export a smaller graph, with weights as raw data",
            bytes.len()
        ));
    }
    if nodes > MAX_NODES {
        return wrong(too_many("nodes", nodes, MAX_NODES));
    }
    if tensors > MAX_TENSORS {
        return wrong(too_many("tensors", tensors, MAX_TENSORS));
    }
    // The model's own graph counts as a level.
    if depth > MAX_DEPTH + 1 {
        return wrong(format!(
            "the model nests graphs more than {MAX_DEPTH} deep, which is the limit; export a graph \
             without nested If and Loop nodes"
        ));
    }
    Ok(())
}

fn too_many(what: &str, found: usize, most: usize) -> String {
    format!("the model has {found} {what}; at most {most} are supported, so simplify the graph before exporting it")
}

/// Rejects a decoded model whose graph has cycles or is too large.
pub(super) fn check(model: &ModelProto) -> Result<()> {
    let Some(graph) = &model.graph else { return Ok(()) };
    if graph.output.len() > MAX_OUTPUTS {
        return Err(Error::Model(too_many("outputs", graph.output.len(), MAX_OUTPUTS)));
    }
    check_order(graph)?;
    let mut functions = Functions {
        by_name: model.functions.iter().map(|function| ((function.domain(), function.name()), function)).collect(),
        counts: HashMap::new(),
    };
    let nodes = functions.nodes(&graph.node, 0)?;
    if nodes > MAX_NODES {
        return Err(Error::Model(too_many("nodes after inlining its functions", nodes, MAX_NODES)));
    }
    check_sizes(model)
}

/// Rejects nodes that create too many values from sizes in the model.
fn check_sizes(model: &ModelProto) -> Result<()> {
    let mut sizes = Sizes::default();
    model.graph.iter().for_each(|graph| sizes.collect(graph));
    model.functions.iter().flat_map(|function| &function.node).for_each(|node| sizes.node(node));
    let mut filled = 0u64;
    for sparse in sizes.sparse {
        filled = filled.saturating_add(product(&sparse.dims));
    }
    for node in sizes.nodes {
        let shape = |index: usize| {
            let name = node.input.get(index).filter(|name| !name.is_empty())?;
            graph::whole_numbers(sizes.constants.get(&name[..])?).map(|shape| product(&shape))
        };
        let values = match node.op_type() {
            "ConstantOfShape" => shape(0),
            "Expand" | "Tile" => shape(1),
            "RandomNormal" | "RandomUniform" => graph::ints(node, "shape").map(product),
            "Resize" => {
                if let Some(values) = shape(3).filter(|values| *values > MAX_RESIZED) {
                    return Err(Error::Model(format!(
                        "node '{}' of the model creates a tensor of {values} values; at most \
                         {MAX_RESIZED} are supported, so export the model for smaller images",
                        plain(node.name())
                    )));
                }
                None
            }
            _ => None,
        };
        filled = filled.saturating_add(values.unwrap_or(0));
    }
    if filled > MAX_FILLED {
        return Err(Error::Model(format!(
            "the model creates {filled} values from shapes alone (ConstantOfShape, Expand, Tile, \
             sparse tensors); at most {MAX_FILLED} are supported, so export the model for smaller \
             images"
        )));
    }
    Ok(())
}

/// The number of values of a shape. Negative sides, for example -1 for an unknown size, count as
/// one.
fn product(shape: &[i64]) -> u64 {
    if shape.contains(&0) {
        return 0;
    }
    shape.iter().fold(1u64, |product, &side| product.saturating_mul(u64::try_from(side).unwrap_or(1)))
}

/// The nodes and tensors of a model, subgraphs included, that can contain sizes.
#[derive(Default)]
struct Sizes<'a> {
    nodes: Vec<&'a NodeProto>,
    constants: HashMap<&'a str, &'a TensorProto>,
    sparse: Vec<&'a SparseTensorProto>,
}

impl<'a> Sizes<'a> {
    fn collect(&mut self, graph: &'a GraphProto) {
        self.constants.extend(graph.initializer.iter().map(|tensor| (tensor.name(), tensor)));
        self.sparse.extend(&graph.sparse_initializer);
        graph.node.iter().for_each(|node| self.node(node));
    }

    fn node(&mut self, node: &'a NodeProto) {
        self.nodes.push(node);
        for attribute in &node.attribute {
            self.sparse.extend(attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors));
            if let (Some(tensor), [output]) = (&attribute.t, &node.output[..])
                && node.op_type() == "Constant"
            {
                self.constants.insert(output, tensor);
            }
        }
        graphs(node).for_each(|graph| self.collect(graph));
    }
}

/// Rejects a graph in which a value depends on itself or is computed twice, so that following
/// values to their producers always ends.
fn check_order(graph: &GraphProto) -> Result<()> {
    let given =
        graph.input.iter().map(|input| input.name()).chain(graph.initializer.iter().map(|tensor| tensor.name()));
    let given: HashSet<&str> = given.collect();
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if given.contains(&output[..]) || producers.insert(&output[..], index).is_some() {
                return Err(Error::Model(format!(
                    "the value '{}' of the model is computed by node '{}' and defined elsewhere, \
                     too; each value must have one definition",
                    plain(output),
                    plain(node.name())
                )));
            }
        }
    }
    let mut done = vec![false; graph.node.len()];
    let mut on_path = vec![false; graph.node.len()];
    for start in 0..graph.node.len() {
        // A stack of nodes, each with the number of its inputs visited.
        let mut path = vec![(start, 0)];
        while let Some((index, input)) = path.last_mut() {
            if done[*index] {
                path.pop();
                continue;
            }
            on_path[*index] = true;
            let node = &graph.node[*index];
            let Some(name) = node.input.get(*input) else {
                (done[*index], on_path[*index]) = (true, false);
                path.pop();
                continue;
            };
            *input += 1;
            match producers.get(&name[..]) {
                Some(&before) if on_path[before] => {
                    return Err(Error::Model(format!(
                        "the nodes of the model form a cycle: node '{}' needs its own result '{}'; \
                         an acyclic graph is expected",
                        plain(graph.node[before].name()),
                        plain(name)
                    )));
                }
                Some(&before) if !done[before] => path.push((before, 0)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Counts nodes after inlining functions.
struct Functions<'a> {
    by_name: HashMap<(&'a str, &'a str), &'a FunctionProto>,
    /// The number of nodes that each function expands to; `None` while it is being counted.
    counts: HashMap<(&'a str, &'a str), Option<usize>>,
}

impl<'a> Functions<'a> {
    fn nodes(&mut self, nodes: &'a [NodeProto], depth: usize) -> Result<usize> {
        let mut total = 0usize;
        for node in nodes {
            total = total.saturating_add(1).saturating_add(self.called(node, depth)?);
            for inner in graphs(node) {
                total = total.saturating_add(self.nodes(&inner.node, depth)?);
            }
        }
        Ok(total)
    }

    /// The number of nodes of the function that a node calls.
    fn called(&mut self, node: &'a NodeProto, depth: usize) -> Result<usize> {
        let Some((&name, &function)) = self.by_name.get_key_value(&(node.domain(), node.op_type())) else {
            return Ok(0);
        };
        let refused = || {
            Error::Model(format!(
                "the function '{}' of the model calls itself, or functions call each other more than {MAX_DEPTH} deep, which is \
                 the limit",
                plain(name.1)
            ))
        };
        match self.counts.get(&name) {
            Some(count) => return count.ok_or_else(refused),
            None if depth >= MAX_DEPTH => return Err(refused()),
            None => {}
        }
        self.counts.insert(name, None);
        let count = self.nodes(&function.node, depth + 1)?;
        self.counts.insert(name, Some(count));
        Ok(count)
    }
}

fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

#[cfg(test)]
mod tests {
    use prost::{Message, encoding::encode_varint};

    use super::{
        super::{
            build,
            types::{AttributeProto, attribute_proto::AttributeType, tensor_proto::DataType},
        },
        *,
    };

    fn measured(kind: MessageType, bytes: &[u8]) -> Measure {
        let mut measure = Measure::default();
        measure.message(kind, bytes, 0);
        measure
    }

    /// A message with a single field, whose content is `bytes`.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![number << 3 | 2];
        encode_varint(bytes.len() as u64, &mut all);
        all.extend(bytes);
        all
    }

    /// Vectors double their capacity.
    const fn twice<T>() -> usize {
        2 * size_of::<T>()
    }

    const ENTRY: usize = twice::<StringStringEntryProto>();

    #[test]
    fn every_message_counts_as_much_as_it_takes() {
        fn one<T: Default>() -> Vec<T> {
            vec![T::default()]
        }
        fn row<M: Message>(kind: MessageType, message: &M, inside: usize) -> (MessageType, Vec<u8>, usize) {
            (kind, message.encode_to_vec(), twice::<M>() + inside)
        }
        let form = |value| TypeProto { value: Some(value), ..TypeProto::default() };
        let (graph, node) = (Some(GraphProto::default()), twice::<GraphProto>());
        let (model, inner) = (ModelProto::default, twice::<NodeProto>());
        let attribute = AttributeProto::default;
        let (tensor, sparse) = (twice::<TensorProto>(), twice::<SparseTensorProto>());
        let (values, types) = (twice::<ValueInfoProto>(), twice::<TypeProto>());
        let opsets = twice::<OperatorSetIdProto>();
        let configuration = twice::<DeviceConfigurationProto>();
        let training = twice::<TrainingInfoProto>();
        let part = twice::<type_proto::Value>();
        let shape = Some(TensorShapeProto::default());
        let boxed = || Some(Box::default());
        let (sequence, optional, map) = (
            type_proto::Sequence { elem_type: boxed() },
            type_proto::Optional { elem_type: boxed() },
            type_proto::Map { value_type: boxed(), ..Default::default() },
        );
        // A message that contains its own type counts as `type_proto::Value`.
        let held = |kind, bytes: Vec<u8>, inside: usize| (kind, bytes, part + inside);
        let tensor_type = type_proto::Tensor { shape: shape.clone(), ..Default::default() };
        let sparse_type = type_proto::SparseTensor { shape, ..Default::default() };
        let rows = [
            row(MessageType::Model, &ModelProto { graph: graph.clone(), ..model() }, node),
            row(MessageType::Model, &ModelProto { opset_import: one(), ..model() }, opsets),
            row(MessageType::Model, &ModelProto { metadata_props: one(), ..model() }, ENTRY),
            row(MessageType::Model, &ModelProto { training_info: one(), ..model() }, training),
            row(MessageType::Model, &ModelProto { functions: one(), ..model() }, twice::<FunctionProto>()),
            row(MessageType::Model, &ModelProto { configuration: one(), ..model() }, configuration),
            row(MessageType::Graph, &GraphProto { node: one(), ..Default::default() }, inner),
            row(MessageType::Graph, &GraphProto { initializer: one(), ..Default::default() }, tensor),
            row(MessageType::Graph, &GraphProto { sparse_initializer: one(), ..Default::default() }, sparse),
            row(MessageType::Graph, &GraphProto { input: one(), ..Default::default() }, values),
            row(MessageType::Graph, &GraphProto { output: one(), ..Default::default() }, values),
            row(MessageType::Graph, &GraphProto { value_info: one(), ..Default::default() }, values),
            row(
                MessageType::Graph,
                &GraphProto { quantization_annotation: one(), ..Default::default() },
                twice::<TensorAnnotation>(),
            ),
            row(MessageType::Graph, &GraphProto { metadata_props: one(), ..Default::default() }, ENTRY),
            row(MessageType::Node, &NodeProto { attribute: one(), ..Default::default() }, twice::<AttributeProto>()),
            row(MessageType::Node, &NodeProto { metadata_props: one(), ..Default::default() }, ENTRY),
            row(
                MessageType::Node,
                &NodeProto { device_configurations: one(), ..Default::default() },
                twice::<NodeDeviceConfigurationProto>(),
            ),
            row(MessageType::Attribute, &AttributeProto { t: Some(TensorProto::default()), ..attribute() }, tensor),
            row(MessageType::Attribute, &AttributeProto { g: graph.clone(), ..attribute() }, node),
            row(MessageType::Attribute, &AttributeProto { sparse_tensor: one().pop(), ..attribute() }, sparse),
            row(MessageType::Attribute, &AttributeProto { tp: one().pop(), ..attribute() }, types),
            row(MessageType::Attribute, &AttributeProto { tensors: one(), ..attribute() }, tensor),
            row(MessageType::Attribute, &AttributeProto { graphs: one(), ..attribute() }, node),
            row(MessageType::Attribute, &AttributeProto { sparse_tensors: one(), ..attribute() }, sparse),
            row(MessageType::Attribute, &AttributeProto { type_protos: one(), ..attribute() }, types),
            row(MessageType::Tensor, &TensorProto { external_data: one(), ..Default::default() }, ENTRY),
            row(MessageType::Tensor, &TensorProto { metadata_props: one(), ..Default::default() }, ENTRY),
            row(MessageType::Sparse, &SparseTensorProto { values: one().pop(), ..Default::default() }, tensor),
            row(MessageType::Sparse, &SparseTensorProto { indices: one().pop(), ..Default::default() }, tensor),
            row(MessageType::Value, &ValueInfoProto { r#type: one().pop(), ..Default::default() }, types),
            row(MessageType::Value, &ValueInfoProto { metadata_props: one(), ..Default::default() }, ENTRY),
            row(MessageType::Type, &form(type_proto::Value::TensorType(Default::default())), part),
            row(MessageType::Type, &form(type_proto::Value::SparseTensorType(Default::default())), part),
            row(MessageType::Type, &form(type_proto::Value::SequenceType(Default::default())), part),
            row(MessageType::Type, &form(type_proto::Value::MapType(Default::default())), part),
            row(MessageType::Type, &form(type_proto::Value::OptionalType(Default::default())), part),
            held(MessageType::TensorType, tensor_type.encode_to_vec(), twice::<TensorShapeProto>()),
            held(MessageType::TensorType, sparse_type.encode_to_vec(), twice::<TensorShapeProto>()),
            held(MessageType::Nested, sequence.encode_to_vec(), types),
            held(MessageType::Nested, optional.encode_to_vec(), types),
            held(MessageType::Nested, map.encode_to_vec(), types),
            row(MessageType::Shape, &TensorShapeProto { dim: one() }, twice::<Dimension>()),
            (MessageType::Dimension, vec![], twice::<Dimension>()),
            row(
                MessageType::Function,
                &FunctionProto { attribute_proto: one(), ..Default::default() },
                twice::<AttributeProto>(),
            ),
            row(MessageType::Function, &FunctionProto { node: one(), ..Default::default() }, inner),
            row(MessageType::Function, &FunctionProto { opset_import: one(), ..Default::default() }, opsets),
            row(MessageType::Function, &FunctionProto { value_info: one(), ..Default::default() }, values),
            row(MessageType::Function, &FunctionProto { metadata_props: one(), ..Default::default() }, ENTRY),
            row(
                MessageType::Training,
                &TrainingInfoProto { initialization: graph.clone(), ..Default::default() },
                node,
            ),
            row(MessageType::Training, &TrainingInfoProto { algorithm: graph, ..Default::default() }, node),
            row(
                MessageType::Training,
                &TrainingInfoProto { initialization_binding: one(), ..Default::default() },
                ENTRY,
            ),
            row(MessageType::Training, &TrainingInfoProto { update_binding: one(), ..Default::default() }, ENTRY),
            row(
                MessageType::Annotation,
                &TensorAnnotation { quant_parameter_tensor_names: one(), ..Default::default() },
                ENTRY,
            ),
            row(
                MessageType::Sharding,
                &NodeDeviceConfigurationProto { sharding_spec: one(), ..Default::default() },
                twice::<ShardingSpecProto>(),
            ),
        ];
        for (index, (kind, bytes, expected)) in rows.into_iter().enumerate() {
            assert_eq!(measured(kind, &bytes).description, expected, "row {index}: {bytes:?}");
        }
    }

    #[test]
    fn every_field_counts_as_much_as_it_takes() {
        const TENSOR: usize = twice::<TensorProto>();
        const ATTRIBUTE: usize = twice::<AttributeProto>();
        const NUMBER: usize = twice::<u64>();
        let two = [0x81, 1, 2];
        let rows = [
            ("bytes of a tensor", MessageType::Tensor, field(9, &[1; 100]), TENSOR),
            ("packed dimensions", MessageType::Tensor, field(1, &two), TENSOR + 2 * NUMBER),
            ("packed int32", MessageType::Tensor, field(5, &two), TENSOR + 2 * twice::<i32>()),
            ("packed int64", MessageType::Tensor, field(7, &two), TENSOR + 2 * NUMBER),
            ("packed uint64", MessageType::Tensor, field(11, &two), TENSOR + 2 * NUMBER),
            ("a byte below the highest bit", MessageType::Tensor, field(7, &[0x7f]), TENSOR + NUMBER),
            ("packed floats", MessageType::Tensor, field(4, &[0; 8]), TENSOR + 2 * 8),
            ("packed doubles", MessageType::Tensor, field(10, &[0; 16]), TENSOR + 2 * 16),
            ("a name", MessageType::Tensor, field(8, b"score"), TENSOR + twice::<String>() + 5),
            ("packed integers of an attribute", MessageType::Attribute, field(8, &two), ATTRIBUTE + 2 * NUMBER),
            ("packed floats of an attribute", MessageType::Attribute, field(7, &[0; 8]), ATTRIBUTE + 2 * 8),
            ("a text of an attribute", MessageType::Attribute, field(9, &[0; 8]), ATTRIBUTE + twice::<String>() + 8),
            ("small messages", MessageType::Numbers(10), field(2, &[0; 3]), 20 + 3 * 4 * NUMBER),
            ("a text in a message of texts", MessageType::Texts(10), field(2, &[0; 3]), 20 + twice::<String>() + 3),
            ("a number", MessageType::Attribute, vec![3 << 3, 0x81, 1, 3 << 3, 2], ATTRIBUTE + 2 * NUMBER),
            ("32 bits", MessageType::Attribute, vec![2 << 3 | 5, 8, 8, 8, 8, 3 << 3, 2], ATTRIBUTE + 2 * NUMBER),
            ("64 bits", MessageType::Tensor, [&[10 << 3 | 1][..], &[8; 8], &[16, 1]].concat(), TENSOR + 2 * NUMBER),
            ("a group", MessageType::Tensor, vec![15 << 3 | 3, 16, 1, 15 << 3 | 4], TENSOR + 3 * NUMBER),
            // The decoder fails there, too.
            (
                "cut off",
                MessageType::Tensor,
                [field(8, b"score"), vec![8 << 3 | 2, 9, 1]].concat(),
                TENSOR + twice::<String>() + 5,
            ),
            // A graph is not counted if its field has another wire type.
            ("a number for a message", MessageType::Attribute, vec![6 << 3, 1], ATTRIBUTE + NUMBER),
        ];
        for (name, kind, bytes, expected) in rows {
            assert_eq!(measured(kind, &bytes).description, expected, "{name}");
        }
        let model = build::model(
            GraphProto {
                node: vec![
                    NodeProto {
                        attribute: vec![branch(inside(vec![build::node("Neg", &[], "", vec![])]))],
                        ..Default::default()
                    };
                    2
                ],
                initializer: vec![TensorProto::default(); 3],
                ..GraphProto::default()
            },
            None,
        );
        let Measure { nodes, tensors, depth, .. } = measured(MessageType::Model, &model.encode_to_vec());
        assert_eq!((nodes, tensors, depth), (4, 3, 2));
    }

    fn inside(node: Vec<NodeProto>) -> GraphProto {
        GraphProto { node, ..GraphProto::default() }
    }

    fn branch(graph: GraphProto) -> AttributeProto {
        AttributeProto {
            name: Some("branch".into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(graph),
            ..AttributeProto::default()
        }
    }

    fn words(result: Result<()>) -> String {
        result.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_description_may_take_what_the_limit_says_and_no_more() {
        // Of two bytes each, and one byte.
        let (opset, group) = ([8 << 3 | 2, 0], 15 << 3 | 3);
        let (per_opset, per_group) = (twice::<OperatorSetIdProto>() - 8 * 2, twice::<u64>() - 8);
        let room = (256 << 20) - twice::<ModelProto>();
        let mut bytes = opset.repeat(room / per_opset);
        let rest = room % per_opset;
        assert_eq!(rest % per_group, 0);
        bytes.resize(bytes.len() + rest / per_group, group);
        assert_eq!(words(check_encoded(&bytes)), "");
        bytes.push(group);
        let message = words(check_encoded(&bytes));
        let most = (256 << 20) + 8 * bytes.len();
        assert!(message.contains(&format!("take {} bytes of memory; at most {most} ", most + 8)), "{message}");
    }

    /// Nested graphs, this many in total, with one more node in the innermost one.
    fn nested(graphs: usize) -> Vec<u8> {
        let mut graph = field(1, &[]);
        for _ in 1..graphs {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        field(7, &graph)
    }

    #[test]
    fn depths_have_a_limit() {
        assert_eq!(words(check_encoded(&nested(MAX_DEPTH + 1))), "");
        let Measure { nodes, depth, .. } = measured(MessageType::Model, &nested(MAX_DEPTH + 1));
        assert_eq!((nodes, depth), (MAX_DEPTH + 1, MAX_DEPTH + 1));
        // So many that recursion into each would overflow a thread's stack.
        for graphs in [MAX_DEPTH + 2, 6000] {
            let message = words(check_encoded(&nested(graphs)));
            assert!(message.contains("more than 16 deep"), "{graphs}: {message}");
        }
        // Nested types, in the type of an input.
        let types = |count| {
            let inner = (0..count).fold(vec![], |inner, _| field(4, &field(1, &inner)));
            field(7, &field(11, &field(2, &inner)))
        };
        assert_eq!(words(check_encoded(&types(MAX_DEPTH))), "");
        assert!(words(check_encoded(&types(MAX_DEPTH + 1))).contains("more than 16 deep"));
    }

    fn long(values: &[i64]) -> TensorProto {
        build::int64s("shape", &[values.len() as i64], values)
    }

    fn node(operator: &str, inputs: &[&str]) -> NodeProto {
        build::node(operator, inputs, "value", vec![])
    }

    fn model(nodes: Vec<NodeProto>, shape: &[i64]) -> ModelProto {
        build::model(GraphProto { node: nodes, initializer: vec![long(shape)], ..GraphProto::default() }, None)
    }

    fn constant(operator: &str, shape: &[i64]) -> NodeProto {
        let value = AttributeProto { name: Some("value".into()), t: Some(long(shape)), ..AttributeProto::default() };
        build::node(operator, &[], "shape", vec![value])
    }

    fn sparse(values: i64) -> SparseTensorProto {
        SparseTensorProto { dims: vec![values], ..SparseTensorProto::default() }
    }

    #[test]
    fn values_that_are_made_of_shapes_and_others() {
        struct Case {
            name: &'static str,
            /// A model that creates this many values, or appears to.
            model: fn(i64) -> ModelProto,
            counted: bool,
        }
        const fn case(name: &'static str, counted: bool, model: fn(i64) -> ModelProto) -> Case {
            Case { name, model, counted }
        }
        let cases = [
            case("ConstantOfShape", true, |n| model(vec![node("ConstantOfShape", &["shape"])], &[n])),
            case("a negative side", true, |n| model(vec![node("ConstantOfShape", &["shape"])], &[-1, n])),
            case("a side of 0", false, |n| model(vec![node("ConstantOfShape", &["shape"])], &[n, 0])),
            case("Expand", true, |n| model(vec![node("Expand", &["x", "shape"])], &[n])),
            case("Expand of such a list", false, |n| model(vec![node("Expand", &["shape", "x"])], &[n])),
            case("Tile", true, |n| model(vec![node("Tile", &["x", "shape"])], &[n])),
            case("Reshape", false, |n| model(vec![node("Reshape", &["x", "shape"])], &[n])),
            case("a shape without a name", false, |n| {
                let mut model = model(vec![node("ConstantOfShape", &[""])], &[n]);
                model.graph.as_mut().unwrap().initializer[0].name = Some(String::new());
                model
            }),
            case("RandomNormal", true, |n| {
                let node = build::node("RandomNormal", &[], "value", vec![build::ints("shape", &[n])]);
                model(vec![node], &[])
            }),
            case("RandomUniform", true, |n| {
                let node = build::node("RandomUniform", &[], "value", vec![build::ints("shape", &[n])]);
                model(vec![node], &[])
            }),
            case("RandomUniformLike", false, |n| {
                let node = build::node("RandomUniformLike", &["x"], "value", vec![build::ints("shape", &[n])]);
                model(vec![node], &[])
            }),
            case("two of them", true, |n| {
                let nodes = vec![node("ConstantOfShape", &["shape"]), constant("Constant", &[1])];
                let mut model = model(nodes, &[n / 2]);
                let graph = model.graph.as_mut().unwrap();
                graph.node[1].output[0] = "other".into();
                graph.node.push(build::node("Expand", &["x", "rest"], "more", vec![]));
                graph.initializer.push(build::int64s("rest", &[1], &[n - n / 2]));
                model
            }),
            case("the shape from a node", true, |n| {
                let mut model = model(vec![constant("Constant", &[n]), node("ConstantOfShape", &["shape"])], &[]);
                model.graph.as_mut().unwrap().initializer.clear();
                model
            }),
            case("the shape from another node", false, |n| {
                let mut model = model(vec![constant("Other", &[n]), node("ConstantOfShape", &["shape"])], &[]);
                model.graph.as_mut().unwrap().initializer.clear();
                model
            }),
            case("a shape of int32", false, |n| {
                let mut model = model(vec![node("ConstantOfShape", &["shape"])], &[]);
                model.graph.as_mut().unwrap().initializer[0] = build::int32s("shape", &[1], &[n as i32]);
                model
            }),
            case("in a graph of a node", true, |n| {
                let inner = inside(vec![node("ConstantOfShape", &["shape"])]);
                model(vec![build::node("If", &["x"], "y", vec![branch(inner)])], &[n])
            }),
            case("in a list of graphs", true, |n| {
                let graphs = vec![inside(vec![node("ConstantOfShape", &["shape"])])];
                model(vec![build::node("If", &["x"], "y", vec![AttributeProto { graphs, ..Default::default() }])], &[n])
            }),
            case("a constant of a graph in a node", true, |n| {
                let mut inner = inside(vec![node("ConstantOfShape", &["shape"])]);
                inner.initializer = vec![long(&[n])];
                let mut model = model(vec![build::node("If", &["x"], "y", vec![branch(inner)])], &[]);
                model.graph.as_mut().unwrap().initializer.clear();
                model
            }),
            case("in a function", true, |n| {
                let mut model = model(vec![], &[n]);
                let node = vec![node("ConstantOfShape", &["shape"])];
                model.functions = vec![FunctionProto { node, ..FunctionProto::default() }];
                model
            }),
            case("a sparse weight", true, |n| {
                let mut model = model(vec![], &[]);
                model.graph.as_mut().unwrap().sparse_initializer = vec![sparse(n)];
                model
            }),
            case("a sparse attribute", true, |n| {
                let attribute = AttributeProto { sparse_tensor: Some(sparse(n)), ..AttributeProto::default() };
                model(vec![build::node("Constant", &[], "y", vec![attribute])], &[])
            }),
            case("sparse attributes", true, |n| {
                let attribute =
                    AttributeProto { sparse_tensors: vec![sparse(n - 1), sparse(1)], ..AttributeProto::default() };
                model(vec![build::node("Constant", &[], "y", vec![attribute])], &[])
            }),
            case("sizes of a Resize", false, |n| model(vec![node("Resize", &["x", "", "", "shape"])], &[n])),
            case("scales of a Resize", false, |n| model(vec![node("Resize", &["x", "", "shape"])], &[n])),
        ];
        for Case { name, model, counted } in cases {
            let at = |values: u64| words(check(&model(values as i64)));
            assert_eq!(at(MAX_FILLED), "", "{name}");
            let above = at(MAX_FILLED + 1);
            assert_eq!(above.contains("creates 268435457 values from shapes alone"), counted, "{name}: {above}");
            assert_eq!(above.is_empty(), !counted, "{name}: {above}");
        }
        let resize = |shape: &[i64]| words(check(&model(vec![node("Resize", &["x", "", "", "shape"])], shape)));
        assert_eq!(resize(&[1, 1, 1 << 15, 1 << 15]), "");
        assert!(resize(&[1, 1, (1 << 15) + 1, 1 << 15]).contains("a tensor of 1073774592 values; at most 1073741824"));
        // Sides whose product overflows.
        assert!(resize(&[1 << 40, 1 << 40]).contains(&format!("a tensor of {} values", u64::MAX)));
    }

    #[test]
    fn what_comes_from_one_place_and_what_from_two() {
        let chain = |nodes: &[(&[&str], &[&str])]| {
            let nodes = nodes.iter().map(|(inputs, outputs)| NodeProto {
                name: Some(outputs[0].to_owned()),
                input: inputs.iter().map(|&name| name.to_owned()).collect(),
                output: outputs.iter().map(|&name| name.to_owned()).collect(),
                ..NodeProto::default()
            });
            let mut model = model(nodes.collect(), &[1]);
            model.graph.as_mut().unwrap().input = vec![build::value("image", DataType::Float, &[])];
            words(check(&model))
        };
        type Node = (&'static [&'static str], &'static [&'static str]);
        let rows: [(&str, &[Node], &str); 13] = [
            ("one after the other", &[(&["image"], &["a"]), (&["a"], &["b"])], ""),
            ("in another order", &[(&["b"], &["c"]), (&["a"], &["b"]), (&["image"], &["a"])], ""),
            ("two ways to one", &[(&["image"], &["a"]), (&["a"], &["b"]), (&["a"], &["c"]), (&["b", "c"], &["d"])], ""),
            ("the same twice", &[(&["image", "image"], &["a"]), (&["a", "a"], &["b"])], ""),
            ("outputs without names", &[(&["image"], &["a", ""]), (&["a", ""], &["b", ""])], ""),
            ("a value from nowhere", &[(&["nothing"], &["a"])], ""),
            ("itself", &[(&["a"], &["a"])], "form a cycle"),
            ("itself beside another", &[(&["image", "a"], &["a"])], "form a cycle"),
            ("each other", &[(&["b"], &["a"]), (&["a"], &["b"])], "form a cycle"),
            ("behind others", &[(&["image"], &["a"]), (&["a", "c"], &["b"]), (&["b"], &["c"])], "form a cycle"),
            ("two nodes", &[(&["image"], &["a"]), (&["image"], &["a"])], "and defined elsewhere"),
            ("the picture", &[(&["image"], &["image"])], "and defined elsewhere"),
            ("a constant", &[(&["image"], &["b", "shape"])], "and defined elsewhere"),
        ];
        for (name, nodes, expected) in rows {
            let message = chain(nodes);
            assert!(message.contains(expected) && message.is_empty() == expected.is_empty(), "{name}: {message}");
        }
    }

    /// A model that calls the first of this many functions in a domain. Each calls the next one;
    /// the last one has `more` nodes.
    fn calls(functions: usize, domain: &str, more: usize) -> ModelProto {
        let call = |index: usize| NodeProto { domain: Some("own".into()), ..node(&format!("f{index}"), &[]) };
        let mut model = model(vec![call(0)], &[]);
        model.functions = (0..functions)
            .map(|index| FunctionProto {
                name: Some(format!("f{index}")),
                domain: Some(domain.to_owned()),
                node: if index + 1 == functions { vec![node("Neg", &[]); more] } else { vec![call(index + 1)] },
                ..FunctionProto::default()
            })
            .collect();
        model
    }

    #[test]
    fn functions_count_with_what_they_call() {
        assert_eq!(words(check(&calls(MAX_DEPTH, "own", 1))), "");
        let message = words(check(&calls(MAX_DEPTH + 1, "own", 1)));
        assert!(message.contains("more than 16 deep"), "{message}");
        // Another domain has another function of the same name.
        assert_eq!(words(check(&calls(MAX_DEPTH + 1, "other", 1))), "");
        // The call, and the nodes that replace it.
        assert_eq!(words(check(&calls(1, "own", MAX_NODES - 1))), "");
        let message = words(check(&calls(1, "own", MAX_NODES)));
        assert!(message.contains("has 32769 nodes after inlining"), "{message}");
        // Called twice in a subgraph of a node, next to another node.
        let with_graph = |most: usize| {
            let mut model = calls(1, "own", most);
            let graph = model.graph.as_mut().unwrap();
            let calls = inside(vec![graph.node[0].clone(), node("Neg", &[]), graph.node[0].clone()]);
            graph.node = vec![build::node("If", &[], "y", vec![branch(calls)])];
            words(check(&model))
        };
        assert_eq!(with_graph((MAX_NODES - 4) / 2), "");
        let message = with_graph((MAX_NODES - 4) / 2 + 1);
        assert!(message.contains("has 32770 nodes after inlining"), "{message}");
    }
}
