//! The number of classes of a network that outputs class indices.

use super::{
    graph::{self, Index},
    input::ImageInput,
    output::PixelValues,
    trial::{self, TrialRun},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// The origin of class indices.
enum IndexOrigin<'a> {
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
    run: &mut TrialRun<'_>,
) -> Result<(PixelValues, Option<usize>)> {
    let untold = (PixelValues::Labels { binary: false }, None);
    let output = model.graph.as_ref().and_then(|graph| Some((graph, graph.output.first()?)));
    let (scores, axis) = match output.and_then(|(graph, output)| source(&Index::of(graph), output.name())) {
        None => return Ok(untold),
        Some(IndexOrigin::Condition) => return Ok((PixelValues::Labels { binary: true }, None)),
        Some(IndexOrigin::Best { scores, axis }) => (scores, axis),
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
fn source<'a>(index: &Index<'a>, output: &'a str) -> Option<IndexOrigin<'a>> {
    let mut value = output;
    loop {
        let node = index.producer(value)?;
        let before = node.input.first()?;
        match node.op_type() {
            "ArgMax" => return Some(IndexOrigin::Best { scores: before, axis: graph::int(node, "axis", 0) }),
            // The second output.
            "TopK" if node.output.get(1).is_some_and(|indices| indices == value) => {
                return Some(IndexOrigin::Best { scores: before, axis: graph::int(node, "axis", -1) });
            }
            "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" | "Not" | "And" | "Or" | "Xor" => {
                return Some(IndexOrigin::Condition);
            }
            "Cast" if graph::int(node, "to", 0) == DataType::Bool as i64 => return Some(IndexOrigin::Condition),
            "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Transpose" | "Slice"
            | "Gather" | "Split" | "Expand" | "Resize" | "Upsample" => value = before,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            build,
            types::{AttributeProto, GraphProto, NodeProto},
        },
        *,
    };

    #[test]
    fn nodes_that_tell_classes_apart_and_their_near_misses() {
        let node =
            |operator: &str, attributes: Vec<AttributeProto>| build::node(operator, &["low"], "made", attributes);
        let axis = |axis| vec![build::int("axis", axis)];
        let best = |place: usize, attributes| {
            let mut node = build::node("TopK", &["low", "k"], "value", attributes);
            node.output.insert(place, "made".into());
            node
        };
        let to = |element: DataType| vec![build::int("to", element as i64)];
        let mut rows: Vec<(String, NodeProto, &str)> = vec![
            ("an argmax".into(), node("ArgMax", axis(1)), "low, axis 1"),
            ("along the first axis".into(), node("ArgMax", vec![]), "low, axis 0"),
            ("along the last one".into(), node("ArgMax", axis(-1)), "low, axis -1"),
            ("the places of the best".into(), best(1, axis(1)), "low, axis 1"),
            ("along the last axis".into(), best(1, vec![]), "low, axis -1"),
            ("the best itself".into(), best(0, axis(1)), "nothing"),
            ("a cast to bool".into(), node("Cast", to(DataType::Bool)), "a condition"),
            ("a cast to integers".into(), node("Cast", to(DataType::Int64)), "nothing"),
            ("the least".into(), node("ArgMin", axis(1)), "nothing"),
        ];
        for operator in ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And", "Or", "Xor"] {
            rows.push((operator.into(), node(operator, vec![]), "a condition"));
        }
        let moving = [
            "Identity",
            "Cast",
            "Squeeze",
            "Unsqueeze",
            "Reshape",
            "Flatten",
            "Transpose",
            "Slice",
            "Gather",
            "Split",
            "Expand",
            "Resize",
            "Upsample",
        ];
        for (name, made, expected) in rows {
            // At the end, behind each node that keeps indices, and behind one that does not.
            for operator in moving.into_iter().chain(["Add"]) {
                let last = build::node(operator, &["made"], "labels", vec![]);
                let graph = GraphProto { node: vec![made.clone(), last], ..GraphProto::default() };
                let index = Index::of(&graph);
                let told = |output| match source(&index, output) {
                    None => "nothing".to_owned(),
                    Some(IndexOrigin::Condition) => "a condition".to_owned(),
                    Some(IndexOrigin::Best { scores, axis }) => format!("{scores}, axis {axis}"),
                };
                assert_eq!(told("made"), expected, "{name}");
                assert_eq!(told("labels"), if operator == "Add" { "nothing" } else { expected }, "{name}, {operator}");
            }
        }
    }
}
