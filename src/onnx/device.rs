//! The network as it is best for a device with memory of its own: bytes of the frame in, bytes of labels out, so that nothing else
//! crosses the bus.

use super::{
    build::{self, Dim},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::UNKNOWN;

/// The names of the graph's inputs and of its output.
pub(crate) mod names {
    /// uint8, 1 x H x W x bytes of a pixel.
    pub(crate) const FRAME: &str = "fcn.frame";
    /// int64, 3: which byte of a pixel is which channel of the network.
    pub(crate) const ORDER: &str = "fcn.order";
    /// int64, 8: zeros to put around 1 x 3 x H x W, as ONNX's Pad takes them.
    pub(crate) const PADS: &str = "fcn.pads";
    /// int64, 2: H and W of the labels.
    pub(crate) const SIZE: &str = "fcn.size";
    /// uint8, 1 x 1 x H x W.
    pub(crate) const LABELS: &str = "fcn.labels";
}

/// The oldest version of ONNX's operators whose forms are used here.
const MIN_OPSET: i64 = 13;

/// From this version on, ReduceMax takes its axes as an input.
const AXES_ARE_INPUTS: i64 = 18;

/// Puts normalisation (`byte * scale + offset` for each channel) in front of a network with the image input `input`, and argmax
/// behind its only output, which must be `classes` scores at the size of its input; pixels whose scores are not all finite are
/// [`UNKNOWN`]. `None` where the model's operators are too old for that.
///
/// ONNX Runtime has no ArgMax of these versions for CUDA, so the best class is the one whose score equals the highest, and of
/// several the first.
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
        // A sum is finite where all its scores are, and only what is finite less itself is a number.
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
