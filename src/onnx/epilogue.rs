//! The epilogue of a network, its last nodes: removes those that the head makes
//! redundant, and converts the rest to one form, scores with channels first whose softmax is the
//! probability of each class.
//!
//! A final argmax, softmax or sigmoid is removed: it does not change the argmax, and the head
//! computes probabilities on request. The node before it is often an upsampling that [`super::cut`]
//! recognises. If a softmax or sigmoid cannot be removed because other nodes follow it, a logarithm
//! undoes it.

use super::{
    build,
    cut::{Tail, cut},
    graph::{self, Index},
    input::ImageInput,
    output::{Form, Kind},
    shape::TensorLayout,
    types::{AttributeProto, GraphProto, ModelProto, NodeProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// Probabilities are clipped to at least this distance from 0 and 1.
const CLOSEST: f32 = 1e-7;

/// Probabilities are clipped to at least this value before their logarithm is taken.
const LEAST: f32 = 1e-30;

/// A network after its epilogue has been simplified and cut off.
#[derive(Debug, Clone)]
pub(crate) struct Epilogue {
    pub(crate) kind: Kind,
    /// The number of scores per pixel, if the file declares it.
    pub(crate) channels: Option<usize>,
    /// The network up to its last upsampling.
    pub(crate) short: ModelProto,
    /// The network with its last upsampling, if that was cut off.
    pub(crate) whole: Option<ModelProto>,
    /// The upsampling that `short` lacks.
    pub(crate) tail: Tail,
    /// Whether each of several classes has its own sigmoid.
    pub(crate) sigmoids: bool,
}

/// Simplifies and cuts off the epilogue of a network with a single output of this form.
/// `probabilities`: whether the output's values are probabilities or logits, if known.
/// `multilabel`: the minimum probability of independent classes; pixels below it belong to the
/// background, a class that is added in front.
pub(crate) fn end(
    mut model: ModelProto,
    form: Form,
    input: &ImageInput,
    probabilities: Option<bool>,
    multilabel: Option<f32>,
) -> Result<Epilogue> {
    let opset = opset(&model);
    let mut graph = model.graph.take().unwrap_or_default();
    let mut end = End {
        kind: form.kind,
        layout: form.layout,
        rank: form.rank.unwrap_or(4),
        cast: form.element != DataType::Float,
        argmax: false,
        values: None,
        last: None,
    };
    let output = graph.output.first().map(|output| output.name().to_owned()).unwrap_or_default();
    let value = end.peel(&Index::of(&graph), &output, form.rank, opset);
    if value != output {
        graph::end_at(&mut graph, &value);
    }
    let is_scores = !matches!(end.kind, Kind::Labels { .. });
    let last = end.last.or_else(|| last_function(&Index::of(&graph), &value));
    let values = end.values.unwrap_or(if probabilities.unwrap_or(last.is_some()) {
        Values::Probabilities
    } else {
        Values::Logits
    });
    let background = match multilabel {
        Some(_) if !is_scores => {
            return Err(Error::InvalidArgument(
                "the option multilabel needs scores, but the model answers class indices".into(),
            ));
        }
        Some(_) if last == Some(Function::Softmax) => {
            return Err(Error::InvalidArgument(
                "the option multilabel is for classes with a sigmoid each, but the model ends with a softmax over its classes"
                    .into(),
            ));
        }
        // The logit of this probability.
        Some(least) => Some((least / (1.0 - least)).ln()),
        // The softmax of 0 and a logit is the logit's sigmoid.
        None => (end.kind == Kind::Foreground).then_some(0.0),
    };
    let simple = is_scores && end.rank == 4 && end.layout == TensorLayout::Nchw && values == Values::Logits;
    let (tail, mut whole) = if simple { cut(&mut graph, input)? } else { (Tail::Whole, None) };
    let tail = match background {
        None => tail,
        Some(score) => tail.with_background(score)?,
    };
    if is_scores {
        for graph in std::iter::once(&mut graph).chain(&mut whole) {
            end.append(graph, values, background, opset);
        }
    }
    let channels = match end.kind {
        Kind::Foreground => Some(2),
        // The declared shape was that of labels.
        _ if end.argmax => None,
        _ => form.channels.map(|channels| channels + usize::from(background.is_some())),
    };
    let sigmoids = end.kind == Kind::Scores && last == Some(Function::Sigmoid);
    let whole = whole.map(|whole| ModelProto { graph: Some(whole), ..model.clone() });
    let short = ModelProto { graph: Some(graph), ..model };
    Ok(Epilogue { kind: end.kind, channels, short, whole, tail, sigmoids })
}

/// The ONNX opset version of a model.
fn opset(model: &ModelProto) -> i64 {
    model
        .opset_import
        .iter()
        .find(|import| matches!(import.domain(), "" | "ai.onnx"))
        .map_or(1, |import| import.version())
}

/// The meaning of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Logits,
    Probabilities,
}

/// The form of a value in the epilogue.
struct End {
    kind: Kind,
    layout: TensorLayout,
    /// The number of dimensions.
    rank: usize,
    /// Whether a cast to float32 may be needed.
    cast: bool,
    /// Whether an argmax of it was removed.
    argmax: bool,
    /// The meaning of its values, if known.
    values: Option<Values>,
    /// The function that turned it into probabilities, which was removed.
    last: Option<Function>,
}

/// A function from logits to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Softmax,
    Sigmoid,
}

impl End {
    /// Follows redundant nodes back from `output`. Returns the value before them.
    fn peel(&mut self, index: &Index<'_>, output: &str, rank: Option<usize>, opset: i64) -> String {
        let mut value = output.to_owned();
        let computed = |value: &String| index.producer(value).is_some();
        if let Some((scores, rank, layout)) =
            rank.and_then(|rank| before_argmax(index, output, rank)).filter(|f| computed(&f.0))
        {
            value = scores;
            (self.kind, self.layout, self.rank) = (Kind::Scores, layout, rank);
            (self.cast, self.argmax) = (true, true);
        }
        while let Some(before) = self.step(index, &value, opset).filter(computed) {
            value = before;
        }
        value
    }

    /// The input of the node that computes `value`, if that node is redundant.
    fn step(&mut self, index: &Index<'_>, value: &str, opset: i64) -> Option<String> {
        let node = index.producer(value)?;
        // Dropout may output a mask as well.
        node.output.first().filter(|output| *output == value)?;
        let before = node.input.first()?.clone();
        match (node.op_type(), self.kind) {
            (_, Kind::Labels { .. }) => return None,
            ("Transpose", _) => match (graph::ints(node, "perm")?, self.layout) {
                ([0, 2, 3, 1] | [1, 2, 0], TensorLayout::Nhwc) => self.layout = TensorLayout::Nchw,
                ([0, 3, 1, 2] | [2, 0, 1], TensorLayout::Nchw) => self.layout = TensorLayout::Nhwc,
                ([0, 3, 2, 1], TensorLayout::Nchw) if self.values.is_none() && self.kind == Kind::Scores => {
                    let before = between_swaps(index, &before, opset)?;
                    (self.values, self.last) = (Some(Values::Logits), Some(Function::Softmax));
                    return Some(before);
                }
                _ => return None,
            },
            ("Squeeze", _) if self.rank == 3 && index.axes(node)? == [0] => self.rank = 4,
            ("Softmax" | "LogSoftmax", Kind::Scores) if self.values.is_none() => {
                let channels = match self.layout {
                    TensorLayout::Nchw => self.rank - 3,
                    TensorLayout::Nhwc => self.rank - 1,
                };
                if softmax_axis(node, self.rank, opset)? != channels {
                    return None;
                }
                (self.values, self.last) = (Some(Values::Logits), Some(Function::Softmax));
            }
            ("Sigmoid", _) if self.values.is_none() => {
                (self.values, self.last) = (Some(Values::Logits), Some(Function::Sigmoid));
            }
            ("Identity" | "Dropout", _) => {}
            ("Cast", _) => self.cast = true,
            _ => return None,
        }
        Some(before)
    }

    /// Appends nodes that convert the graph's output from this form to scores with channels first.
    /// If there is a background, adds its score in front; then the classes are independent of each
    /// other.
    fn append(&self, graph: &mut GraphProto, values: Values, background: Option<f32>, opset: i64) {
        let mut nodes = Nodes { value: graph.output.first().map(|o| o.name().to_owned()).unwrap_or_default(), graph };
        if self.cast {
            nodes.push("Cast", &[], vec![build::int("to", DataType::Float as i64)]);
        }
        if self.layout == TensorLayout::Nhwc {
            let perm: &[i64] = if self.rank == 4 { &[0, 3, 1, 2] } else { &[2, 0, 1] };
            nodes.push("Transpose", &[], vec![build::ints("perm", perm)]);
        }
        if values == Values::Probabilities {
            let least = nodes.number("fcn.least", if background.is_some() { CLOSEST } else { LEAST });
            nodes.push("Max", &[&least], vec![]);
            if background.is_some() {
                // p => log(p / (1 - p)), the inverse of the sigmoid
                let (most, one) = (nodes.number("fcn.most", 1.0 - CLOSEST), nodes.number("fcn.one", 1.0));
                nodes.push("Min", &[&most], vec![]);
                let probability = nodes.value.clone();
                nodes.push("Neg", &[], vec![]);
                nodes.push("Add", &[&one], vec![]);
                let other = std::mem::replace(&mut nodes.value, probability);
                nodes.push("Div", &[&other], vec![]);
            }
            nodes.push("Log", &[], vec![]);
        }
        if let Some(score) = background {
            let mut pads = vec![0; 2 * self.rank];
            pads[self.rank - 3] = 1;
            if opset < 11 {
                nodes.push("Pad", &[], vec![build::ints("pads", &pads), build::float("value", score)]);
            } else {
                nodes.graph.initializer.push(build::int64s("fcn.background", &[pads.len() as i64], &pads));
                let score = nodes.number("fcn.score", score);
                nodes.push("Pad", &["fcn.background", &score], vec![]);
            }
        }
    }
}

/// Appends nodes to a graph's output.
struct Nodes<'a> {
    graph: &'a mut GraphProto,
    value: String,
}

impl Nodes<'_> {
    /// Appends a node that reads the current output and `others`, and makes its result the graph's
    /// output.
    fn push(&mut self, operator: &str, others: &[&str], attributes: Vec<AttributeProto>) {
        let output = format!("fcn.end.{}.{operator}", self.graph.node.len());
        let inputs: Vec<_> = std::iter::once(&self.value[..]).chain(others.iter().copied()).collect();
        self.graph.node.push(build::node(operator, &inputs, &output, attributes));
        graph::set_output(self.graph, &output);
        self.value = output;
    }

    /// Adds a scalar constant and returns its name.
    fn number(&mut self, name: &str, value: f32) -> String {
        self.graph.initializer.push(build::floats(name, &[], &[value]));
        name.to_owned()
    }
}

/// The scores that `output`, of `rank` dimensions, is the argmax of over channels, with their rank
/// and layout.
fn before_argmax(index: &Index<'_>, output: &str, rank: usize) -> Option<(String, usize, TensorLayout)> {
    let (mut value, mut rank) = (output, rank as i64);
    loop {
        let node = index.producer(value)?;
        value = node.input.first()?;
        match node.op_type() {
            "Cast" if graph::int(node, "to", 0) != DataType::Bool as i64 => {}
            "Identity" => {}
            "Squeeze" => rank += index.axes(node)?.len() as i64,
            "Unsqueeze" => rank -= index.axes(node)?.len() as i64,
            "ArgMax" if graph::int(node, "select_last_index", 0) == 0 => {
                rank += i64::from(graph::int(node, "keepdims", 1) == 0);
                let axis = graph::int(node, "axis", 0);
                let layout = match if axis < 0 { axis.checked_add(rank)? } else { axis } {
                    axis if axis == rank - 3 => TensorLayout::Nchw,
                    axis if axis == rank - 1 => TensorLayout::Nhwc,
                    _ => return None,
                };
                return matches!(rank, 3 | 4).then(|| (value.to_owned(), rank as usize, layout));
            }
            _ => return None,
        }
    }
}

/// The axis that a Softmax or LogSoftmax of `rank` dimensions normalises; `None` if there are
/// several.
fn softmax_axis(node: &NodeProto, rank: usize, opset: i64) -> Option<usize> {
    let axis = graph::int(node, "axis", if opset < 13 { 1 } else { -1 });
    let axis = usize::try_from(if axis < 0 { axis.checked_add(rank as i64)? } else { axis }).ok()?;
    // Before opset 13, it normalised over this axis and all following ones together.
    (opset >= 13 || axis + 1 == rank).then_some(axis)
}

/// The scores before Transpose and softmax, given the softmax's output before the second Transpose:
/// PyTorch's export of a softmax over channels before opset 13. It swaps C and w of N x C x h x w,
/// takes the softmax over the last axis, and swaps them back.
fn between_swaps(index: &Index<'_>, value: &str, opset: i64) -> Option<String> {
    let softmax = index.producer(value).filter(|node| matches!(node.op_type(), "Softmax" | "LogSoftmax"))?;
    let swap = index.producer(softmax.input.first()?).filter(|node| node.op_type() == "Transpose")?;
    let is_swap = graph::ints(swap, "perm")? == [0, 3, 2, 1] && softmax_axis(softmax, 4, opset)? == 3;
    is_swap.then(|| swap.input.first().cloned())?
}

/// The function that produced the probabilities in `value`, ignoring nodes after it that only move
/// values.
fn last_function(index: &Index<'_>, value: &str) -> Option<Function> {
    let mut value = value;
    loop {
        let node = index.producer(value)?;
        match node.op_type() {
            "Softmax" => return Some(Function::Softmax),
            "Sigmoid" | "HardSigmoid" => return Some(Function::Sigmoid),
            "Identity" | "Transpose" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Resize" | "Upsample"
            | "Cast" | "Slice" | "Gather" | "Split" | "Clip" => value = node.input.first()?,
            _ => return None,
        }
    }
}
