//! The form of a network for devices with their own memory: the frame's bytes in, one byte per
//! label out, so that nothing else crosses the bus.

use super::{
    build::{self, Dim},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::palette::UNKNOWN;

/// The names of the graph's inputs and output.
pub(crate) mod names {
    /// uint8, 1 x H x W x bytes per pixel.
    pub(crate) const FRAME: &str = "fcn.frame";
    /// int64, 3: for each channel of the network, the index of its byte in a pixel.
    pub(crate) const ORDER: &str = "fcn.order";
    /// int64, 8: the zero padding of 1 x 3 x H x W, in the form of ONNX's Pad.
    pub(crate) const PADS: &str = "fcn.pads";
    /// int64, 2: H and W of the labels.
    pub(crate) const SIZE: &str = "fcn.size";
    /// uint8, 1 x 1 x H x W.
    pub(crate) const LABELS: &str = "fcn.labels";
}

/// The first ONNX opset with the operators used here.
const MIN_OPSET: i64 = 13;

/// The first ONNX opset in which ReduceMax takes its axes as an input.
const AXES_ARE_INPUTS: i64 = 18;

/// Adds normalisation (`byte * scale + offset` for each channel) before a network with the image
/// input `input`, and argmax after its only output, which must have `classes` scores at the size of
/// the input. Pixels with a score that is not finite become [`UNKNOWN`]. Returns `None` if the
/// model's opset is too old.
///
/// For CUDA, ONNX Runtime has no ArgMax of these opsets. So the graph takes the first class whose
/// score equals the maximum.
pub(crate) fn on_device(
    model: &ModelProto,
    (input, classes): (&str, usize),
    scale: [f32; 3],
    offset: [f32; 3],
) -> Option<ModelProto> {
    let opset = model.opset_import.iter().find(|import| import.domain().is_empty())?.version();
    let mut model = model.clone();
    let graph = model.graph.as_mut().filter(|_| opset >= MIN_OPSET)?;
    let [output] = &graph.output[..] else { return None };
    let scores = output.name().to_owned();
    let highest = |input: &str, output: &str| {
        let keep = build::int("keepdims", 1);
        if opset >= AXES_ARE_INPUTS {
            build::node("ReduceMax", &[input, "fcn.channel"], output, vec![keep])
        } else {
            build::node("ReduceMax", &[input], output, vec![build::ints("axes", &[1]), keep])
        }
    };
    let before = [
        build::node("Gather", &[names::FRAME, names::ORDER], "fcn.channels", vec![build::int("axis", 3)]),
        build::node("Cast", &["fcn.channels"], "fcn.float", vec![build::int("to", DataType::Float as i64)]),
        build::node("Mul", &["fcn.float", "fcn.scale"], "fcn.scaled", vec![]),
        build::node("Add", &["fcn.scaled", "fcn.offset"], "fcn.normalised", vec![]),
        build::node("Transpose", &["fcn.normalised"], "fcn.planes", vec![build::ints("perm", &[0, 3, 1, 2])]),
        build::node("Pad", &["fcn.planes", names::PADS], input, vec![]),
    ];
    let after = [
        highest(&scores, "fcn.highest"),
        build::node("Equal", &[&scores, "fcn.highest"], "fcn.is_highest", vec![]),
        build::node("Where", &["fcn.is_highest", "fcn.classes_left", "fcn.none"], "fcn.candidates", vec![]),
        highest("fcn.candidates", "fcn.first"),
        build::node("Sub", &["fcn.class_count", "fcn.first"], "fcn.best", vec![]),
        build::node("Cast", &["fcn.best"], "fcn.classes", vec![build::int("to", DataType::Uint8 as i64)]),
        // The sum is finite if all scores are; subtracting a value that is not finite from itself
        // yields NaN.
        build::node("ReduceSum", &[&scores, "fcn.channel"], "fcn.sum", vec![build::int("keepdims", 1)]),
        build::node("Sub", &["fcn.sum", "fcn.sum"], "fcn.zero", vec![]),
        build::node("IsNaN", &["fcn.zero"], "fcn.not_finite", vec![]),
        build::node("Where", &["fcn.not_finite", "fcn.unknown", "fcn.classes"], "fcn.padded", vec![]),
        build::node("Slice", &["fcn.padded", "fcn.start", names::SIZE, "fcn.axes"], names::LABELS, vec![]),
    ];
    graph.node.splice(0..0, before);
    graph.node.extend(after);
    graph.initializer.extend([
        build::floats("fcn.scale", &[3], &scale),
        build::floats("fcn.offset", &[3], &offset),
        build::int64s("fcn.start", &[2], &[0, 0]),
        build::int64s("fcn.axes", &[2], &[2, 3]),
        build::int64s("fcn.channel", &[1], &[1]),
        build::uint8s("fcn.unknown", &[], &[UNKNOWN]),
        build::floats("fcn.none", &[], &[0.0]),
        build::floats("fcn.class_count", &[], &[classes as f32]),
        build::floats(
            "fcn.classes_left",
            &[1, classes as i64, 1, 1],
            &(1..=classes).rev().map(|left| left as f32).collect::<Vec<_>>(),
        ),
    ]);
    let (one, h, w, bytes) = (Dim::Fixed(1), Dim::Named("fcn.H"), Dim::Named("fcn.W"), Dim::Named("fcn.bytes"));
    graph.input.retain(|value| value.name() != input);
    graph.input.extend([
        build::value(names::FRAME, DataType::Uint8, &[one, h, w, bytes]),
        build::value(names::ORDER, DataType::Int64, &[Dim::Fixed(3)]),
        build::value(names::PADS, DataType::Int64, &[Dim::Fixed(8)]),
        build::value(names::SIZE, DataType::Int64, &[Dim::Fixed(2)]),
    ]);
    graph.output = vec![build::value(names::LABELS, DataType::Uint8, &[one, one, h, w])];
    Some(model)
}
