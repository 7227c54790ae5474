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
enum Kind {
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

impl Kind {
    /// The message type of a field, if the field is a message.
    fn inner(self, field: u32) -> Option<Kind> {
        use Kind::*;
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
            Kind::Model => size_of::<ModelProto>(),
            Kind::Graph => size_of::<GraphProto>(),
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor => size_of::<TensorProto>(),
            Kind::Sparse => size_of::<SparseTensorProto>(),
            Kind::Value => size_of::<ValueInfoProto>(),
            Kind::Type => size_of::<TypeProto>(),
            Kind::TensorType | Kind::Nested => size_of::<type_proto::Value>(),
            Kind::Shape => size_of::<TensorShapeProto>(),
            Kind::Dimension => size_of::<Dimension>(),
            Kind::Function => size_of::<FunctionProto>(),
            Kind::Training => size_of::<TrainingInfoProto>(),
            Kind::Annotation => size_of::<TensorAnnotation>(),
            Kind::Sharding => size_of::<NodeDeviceConfigurationProto>(),
            Kind::Texts(size) | Kind::Numbers(size) => size,
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
    fn message(&mut self, kind: Kind, mut bytes: &[u8], depth: usize) -> Option<()> {
        self.description = self.description.saturating_add(list(kind.size()));
        self.nodes += usize::from(kind == Kind::Node);
        self.tensors += usize::from(kind == Kind::Tensor);
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
                    let inside = depth + usize::from(inner == Kind::Graph) + usize::from(inner == Kind::Nested);
                    self.depth = self.depth.max(inside);
                    // Models with deeper nesting are rejected without being decoded.
                    if inside <= MAX_DEPTH + 1 {
                        self.message(inner, content, inside)?;
                    }
                    0
                }
                _ if wire != WireType::LengthDelimited => list(size_of::<u64>()),
                // The bytes of a tensor are not copied.
                (None, Kind::Tensor, 9) => 0,
                // Packed varints: the last byte of each has its highest bit clear.
                (None, Kind::Tensor, 1 | 5 | 7 | 11) | (None, Kind::Attribute, 8) => {
                    let size = if field == 5 { size_of::<i32>() } else { size_of::<i64>() };
                    list(size * content.iter().filter(|byte| **byte < 0x80).count())
                }
                (None, Kind::Numbers(_), _) => list(4 * size_of::<u64>() * content.len()),
                (None, Kind::Tensor, 4 | 10) | (None, Kind::Attribute, 7) => list(content.len()),
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
    let _ = measure.message(Kind::Model, bytes, 0);
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
