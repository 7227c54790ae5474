//! The number of classes of a network that outputs class indices.

use super::{
    graph::{self, Index},
    input::ImageInput,
    output::Kind,
    trial::{self, Run},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// The origin of class indices.
enum Source<'a> {
    /// The argmax of scores along an axis.
    Best { scores: &'a str, axis: i64 },
    /// A boolean condition.
    Condition,
}

/// The kind of the only output, which has class indices, and the number of classes if it can be
/// derived from the graph.
pub(crate) fn label_classes(
    model: &ModelProto,
    input: &ImageInput,
    run: &mut Run<'_>,
) -> Result<(Kind, Option<usize>)> {
    let untold = (Kind::Labels { binary: false }, None);
    let output = model.graph.as_ref().and_then(|graph| Some((graph, graph.output.first()?)));
    let (scores, axis) = match output.and_then(|(graph, output)| source(&Index::of(graph), output.name())) {
        None => return Ok(untold),
        Some(Source::Condition) => return Ok((Kind::Labels { binary: true }, None)),
        Some(Source::Best { scores, axis }) => (scores, axis),
    };
    match trial::shape(model, input, scores, run) {
        Ok(found) => {
            let axis = if axis < 0 { axis.saturating_add(found.dims.len() as i64) } else { axis };
            Ok((untold.0, usize::try_from(axis).ok().and_then(|axis| *found.dims.get(axis)?)))
        }
        Err(error @ Error::Timeout(_)) => Err(error),
        // If the network cannot run, loading it will report the error.
        Err(_) => Ok(untold),
    }
}

/// Follows nodes back from `output` that do not change indices.
fn source<'a>(index: &Index<'a>, output: &'a str) -> Option<Source<'a>> {
    let mut value = output;
    loop {
        let node = index.producer(value)?;
        let before = node.input.first()?;
        match node.op_type() {
            "ArgMax" => return Some(Source::Best { scores: before, axis: graph::int(node, "axis", 0) }),
            // The second output.
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
}
