//! The image input of a network, and the nodes that are added before it to convert the form that
//! frames have, 1 x 3 x H x W float32, to the form of the input.
//!
//! ONNX's convolutions need channels first, so a network with channels last has a Transpose near
//! its input. The Transpose added here precedes it, and ONNX Runtime removes both.

use std::collections::HashSet;

use super::{
    build::{self, Dim},
    graph,
    shape::{Declared, TensorLayout},
    types::{GraphProto, NodeProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// The image input of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageInput {
    pub(crate) name: String,
    /// The height, if the model fixes it.
    pub(crate) height: Option<usize>,
    /// The width, if the model fixes it.
    pub(crate) width: Option<usize>,
    pub(super) layout: TensorLayout,
    /// Whether it has a single channel.
    pub(super) grey: bool,
    /// The type of its values: float32, another float type, or bytes from 0 to 255.
    pub(super) element: DataType,
}

/// The supported inputs, for error messages.
const EXPECTED: &str = "one image of float32, float16, float64 or uint8 is supported, N x C x H x W or N x H x W x C \
     with N = 1 and C = 3 (colour) or 1 (grey)";

/// Finds the network's only image input. An error describes what the model has instead. `usual` is
/// the layout of a network whose shape allows both.
pub(crate) fn image_input(
    graph: &GraphProto,
    asked: Option<TensorLayout>,
    usual: Option<TensorLayout>,
) -> Result<ImageInput> {
    // Older files list weights among the inputs.
    let weights: HashSet<&str> = graph.initializer.iter().map(|weight| weight.name()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name())).collect();
    let [input] = inputs[..] else {
        let list: Vec<_> = inputs.iter().map(|input| format!("'{}', {}", input.name(), Declared::of(input))).collect();
        return Err(Error::Model(format!("the model has {} inputs ({}); {EXPECTED}", inputs.len(), list.join("; "))));
    };
    let declared = Declared::of(input);
    let wrong = |why: &str| Error::Model(format!("input '{}' is {declared}{why}; {EXPECTED}", input.name()));
    let Declared::Tensor { element: Some(element), dims: Some(dims) } = &declared else { return Err(wrong("")) };
    if !(is_float(*element) || *element == DataType::Uint8) {
        return Err(wrong(""));
    }
    let [None | Some(1), first, middle, last] = dims[..] else { return Err(wrong("")) };
    let is_picture = |channels: Option<usize>| matches!(channels, Some(1 | 3));
    // An unknown number of channels can be 3.
    let open =
        |channels: Option<usize>, a: Option<usize>, b: Option<usize>| channels.is_none() && a.is_some() == b.is_some();
    let open = open(first, middle, last) || open(last, first, middle);
    let layout = match (asked, is_picture(first), is_picture(last)) {
        (Some(asked), _, _) => asked,
        (None, true, false) => TensorLayout::Nchw,
        (None, false, true) => TensorLayout::Nhwc,
        (None, both, _) if both || open => {
            usual.ok_or_else(|| wrong(", so any dimension could be the channels; set the option input_layout"))?
        }
        _ => return Err(wrong("")),
    };
    let (channels, height, width) = match layout {
        TensorLayout::Nchw => (first, middle, last),
        TensorLayout::Nhwc => (last, first, middle),
    };
    if !is_picture(channels) && channels.is_some() {
        return Err(wrong(""));
    }
    Ok(ImageInput {
        name: input.name().to_owned(),
        height,
        width,
        layout,
        grey: channels == Some(1),
        element: *element,
    })
}

/// Whether Cast converts this type to float32 and back. bfloat16 is excluded, because ONNX Runtime
/// supports it in hardly any operator.
pub(super) fn is_float(element: DataType) -> bool {
    matches!(element, DataType::Float | DataType::Float16 | DataType::Double)
}

impl ImageInput {
    pub(crate) fn layout(&self) -> TensorLayout {
        self.layout
    }

    /// Whether the input has a single channel.
    pub(crate) fn is_grey(&self) -> bool {
        self.grey
    }

    /// Whether the input takes bytes, 0 to 255.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.element == DataType::Uint8
    }

    /// Adds nodes before the network that compute its image from 1 x 3 x H x W float32. Returns the
    /// new input.
    pub(crate) fn adapt(&self, graph: &mut GraphProto) -> AdaptedInput {
        let ImageInput { ref name, height, width, layout, grey, element } = *self;
        let mut before = Vec::new();
        let mut push = |operator, inputs: &[&str], output: &str, attributes| {
            before.push(build::node(operator, inputs, output, attributes));
        };
        let mut from = "fcn.image";
        if grey {
            // The weights of red, green and blue in ITU-R BT.601 luma.
            graph.initializer.push(build::floats("fcn.luma", &[1, 3, 1, 1], &[0.299, 0.587, 0.114]));
            push("Conv", &[from, "fcn.luma"], "fcn.grey", vec![build::ints("kernel_shape", &[1, 1])]);
            from = "fcn.grey";
        }
        // If the network converts the input to float32 anyway, no cast is needed before.
        let cast = element != DataType::Float && !become_floats(graph, name, true);
        if element != DataType::Float {
            // The declared types of values in between may no longer be correct.
            graph.value_info.clear();
        }
        if cast {
            push("Cast", &[from], "fcn.cast", vec![build::int("to", element as i64)]);
            from = "fcn.cast";
        }
        if layout == TensorLayout::Nhwc {
            push("Transpose", &[from], "fcn.last", vec![build::ints("perm", &[0, 2, 3, 1])]);
        }
        let input = match before.last_mut() {
            Some(last) => {
                last.output = vec![name.clone()];
                "fcn.image"
            }
            None => name,
        };
        let side = |side: Option<usize>, name| side.map_or(Dim::Named(name), |side| Dim::Fixed(side as i64));
        let shape = [Dim::Fixed(1), Dim::Fixed(3), side(height, "fcn.rows"), side(width, "fcn.columns")];
        let changed = element != DataType::Float || !before.is_empty();
        if let Some(value) = graph.input.iter_mut().find(|value| changed && value.name() == name.as_str()) {
            *value = build::value(input, DataType::Float, &shape);
        }
        let name = input.to_owned();
        graph.node.splice(0..0, before);
        let bytes = element == DataType::Uint8;
        AdaptedInput { name, height, width, grey, bytes, truncates: bytes && cast }
    }
}

/// The input of an adapted network: 1 x 3 x H x W float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdaptedInput {
    pub(crate) name: String,
    /// The height, if the model fixes it.
    pub(crate) height: Option<usize>,
    /// The width, if the model fixes it.
    pub(crate) width: Option<usize>,
    /// Whether the image is converted to grey.
    pub(crate) grey: bool,
    /// Whether the network takes values from 0 to 255 without normalisation.
    pub(crate) bytes: bool,
    /// Whether the conversion to the input's type truncates.
    pub(crate) truncates: bool,
}

/// Whether all nodes that read `value` only convert it to float32; if `transposed`, possibly after
/// a Transpose.
fn become_floats(graph: &GraphProto, value: &str, transposed: bool) -> bool {
    let inside = |node: &NodeProto| node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
    let mut readers = graph.node.iter().filter(|node| node.input.iter().any(|name| name == value)).peekable();
    readers.peek().is_some()
        && !graph.node.iter().any(inside)
        && graph.output.iter().all(|output| output.name() != value)
        && readers.all(|node| match (node.op_type(), &node.output[..]) {
            ("Cast", _) => graph::int(node, "to", 0) == DataType::Float as i64,
            ("Transpose", [output]) => transposed && become_floats(graph, output, false),
            _ => false,
        })
}
