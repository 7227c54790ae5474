//! How many classes a network tells apart that answers class indices.

use super::{
    graph,
    input::ImageInput,
    output::Kind,
    trial::{self, Run},
    types::{GraphProto, ModelProto, tensor_proto::DataType},
};

/// What class indices are made of.
enum Source<'a> {
    /// The place of the best of the scores along an axis.
    Best { scores: &'a str, axis: i64 },
    /// Whether a condition holds.
    Condition,
}

/// The kind of the only output, class indices, with the number of classes where its nodes tell it.
pub(crate) fn label_classes(model: &ModelProto, input: &ImageInput, run: &mut Run<'_>) -> (Kind, Option<usize>) {
    let untold = (Kind::Labels { binary: false }, None);
    let output = model.graph.as_ref().and_then(|graph| Some((graph, graph.output.first()?)));
    match output.and_then(|(graph, output)| source(graph, output.name())) {
        None => untold,
        Some(Source::Condition) => (Kind::Labels { binary: true }, None),
        // A network that does not run has its error when it is loaded.
        Some(Source::Best { scores, axis }) => trial::shape(model, input, scores, run).map_or(untold, |found| {
            let axis = if axis < 0 { axis.saturating_add(found.dims.len() as i64) } else { axis };
            (untold.0, usize::try_from(axis).ok().and_then(|axis| *found.dims.get(axis)?))
        }),
    }
}

/// Goes back from `output` over nodes that leave indices what they are.
fn source<'a>(graph: &'a GraphProto, output: &'a str) -> Option<Source<'a>> {
    let mut value = output;
    // As many steps as there are nodes: a file need not be free of circles.
    for _ in 0..graph.node.len() {
        let node = graph::producer(graph, value)?;
        let before = node.input.first()?;
        match node.op_type() {
            "ArgMax" => return Some(Source::Best { scores: before, axis: graph::int(node, "axis", 0) }),
            // The second of its outputs.
            "TopK" if node.output.get(1).is_some_and(|indices| indices == value) => {
                return Some(Source::Best { scores: before, axis: graph::int(node, "axis", -1) });
            }
            "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" | "Not" | "And" | "Or" | "Xor" => {
                return Some(Source::Condition);
            }
            "Cast" if graph::int(node, "to", 0) == DataType::Bool as i64 => return Some(Source::Condition),
            "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Transpose" | "Slice"
            | "Gather" | "Split" | "Expand" | "Resize" | "Upsample" => value = before,
            _ => return None,
        }
    }
    None
}
