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
    output::{Form, PixelValues},
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
    pub(crate) kind: PixelValues,
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
    let mut end = EpilogueForm {
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
    let is_scores = !matches!(end.kind, PixelValues::Labels { .. });
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
        None => (end.kind == PixelValues::Foreground).then_some(0.0),
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
        PixelValues::Foreground => Some(2),
        // The declared shape was that of labels.
        _ if end.argmax => None,
        _ => form.channels.map(|channels| channels + usize::from(background.is_some())),
    };
    let sigmoids = end.kind == PixelValues::Scores && last == Some(Function::Sigmoid);
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
struct EpilogueForm {
    kind: PixelValues,
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

impl EpilogueForm {
    /// Follows redundant nodes back from `output`. Returns the value before them.
    fn peel(&mut self, index: &Index<'_>, output: &str, rank: Option<usize>, opset: i64) -> String {
        let mut value = output.to_owned();
        let computed = |value: &String| index.producer(value).is_some();
        let scores = rank.and_then(|rank| before_argmax(index, output, rank));
        if let Some(Argument { value: scores, rank, layout }) = scores.filter(|scores| computed(&scores.value)) {
            value = scores;
            (self.kind, self.layout, self.rank) = (PixelValues::Scores, layout, rank);
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
            (_, PixelValues::Labels { .. }) => return None,
            ("Transpose", _) => match (graph::ints(node, "perm")?, self.layout) {
                ([0, 2, 3, 1] | [1, 2, 0], TensorLayout::Nhwc) => self.layout = TensorLayout::Nchw,
                ([0, 3, 1, 2] | [2, 0, 1], TensorLayout::Nchw) => self.layout = TensorLayout::Nhwc,
                ([0, 3, 2, 1], TensorLayout::Nchw) if self.values.is_none() && self.kind == PixelValues::Scores => {
                    let before = between_swaps(index, &before, opset)?;
                    (self.values, self.last) = (Some(Values::Logits), Some(Function::Softmax));
                    return Some(before);
                }
                _ => return None,
            },
            ("Squeeze", _) if self.rank == 3 && index.axes(node)? == [0] => self.rank = 4,
            ("Softmax" | "LogSoftmax", PixelValues::Scores) if self.values.is_none() => {
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

/// The input of an argmax over channels.
struct Argument {
    value: String,
    rank: usize,
    layout: TensorLayout,
}

/// The scores that `output`, of `rank` dimensions, is the argmax of over channels.
fn before_argmax(index: &Index<'_>, output: &str, rank: usize) -> Option<Argument> {
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
                let argument = || Argument { value: value.to_owned(), rank: rank as usize, layout };
                return matches!(rank, 3 | 4).then(argument);
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

#[cfg(test)]
mod tests {
    use super::{
        super::{build::Dim, types::OperatorSetIdProto},
        *,
    };

    const NCHW: TensorLayout = TensorLayout::Nchw;
    const NHWC: TensorLayout = TensorLayout::Nhwc;
    const LABELS: PixelValues = PixelValues::Labels { binary: false };

    fn form(kind: PixelValues, layout: TensorLayout, rank: usize) -> Form {
        let element = if kind == LABELS { DataType::Int64 } else { DataType::Float };
        Form { kind, layout, element, rank: Some(rank), channels: Some(5) }
    }

    fn scores() -> Form {
        form(PixelValues::Scores, NCHW, 4)
    }

    fn ints(name: &str, values: &[i64]) -> Vec<AttributeProto> {
        vec![build::ints(name, values)]
    }

    fn axis(axis: i64) -> Vec<AttributeProto> {
        vec![build::int("axis", axis)]
    }

    fn perm(perm: &[i64]) -> Vec<AttributeProto> {
        ints("perm", perm)
    }

    /// A node of a chain.
    type Node = (&'static str, Vec<AttributeProto>);

    fn plain(operator: &'static str) -> Node {
        (operator, vec![])
    }

    /// A convolution of the image followed by these nodes.
    fn chain(nodes: Vec<Node>, opset: i64) -> ModelProto {
        let mut graph =
            GraphProto { node: vec![build::node("Conv", &["image", "kernel"], "0", vec![])], ..GraphProto::default() };
        for (place, (operator, attributes)) in nodes.into_iter().enumerate() {
            graph.node.push(build::node(operator, &[&place.to_string()], &(place + 1).to_string(), attributes));
        }
        let last = graph.node.last().unwrap().output[0].clone();
        graph.output = vec![build::value(&last, DataType::Float, &[Dim::Named("x")])];
        let mut model = build::model(graph, None);
        model.opset_import[0].version = Some(opset);
        model
    }

    fn input() -> ImageInput {
        let element = DataType::Float;
        ImageInput { name: "image".into(), height: None, width: None, layout: NCHW, grey: false, element }
    }

    fn operators(model: &ModelProto) -> String {
        let nodes = &model.graph.as_ref().unwrap().node;
        nodes.iter().map(|node| node.op_type()).collect::<Vec<_>>().join(" ")
    }

    fn ended(model: ModelProto, form: Form) -> Epilogue {
        end(model, form, &input(), None, None).unwrap()
    }

    /// The nodes at the end of a network, and those that remain.
    struct Case {
        name: &'static str,
        opset: i64,
        form: Form,
        nodes: Vec<Node>,
        left: &'static str,
    }

    fn case(name: &'static str, form: Form, nodes: Vec<Node>, left: &'static str) -> Case {
        Case { name, opset: 17, form, nodes, left }
    }

    #[test]
    fn what_the_head_makes_needless_and_what_it_does_not() {
        let old = |case: Case| Case { opset: 12, ..case };
        let swap = || ("Transpose", perm(&[0, 3, 2, 1]));
        let softmax = |along| ("Softmax", axis(along));
        let rank3 = |layout| form(PixelValues::Scores, layout, 3);
        let cases = [
            case("nothing", scores(), vec![], "Conv"),
            case("a softmax over the classes", scores(), vec![softmax(1)], "Conv"),
            case("counted from the end", scores(), vec![softmax(-3)], "Conv"),
            case("over the rows", scores(), vec![softmax(2)], "Conv Softmax Max Log"),
            case("over columns, the default", scores(), vec![plain("Softmax")], "Conv Softmax Max Log"),
            case("over an axis that is not there", scores(), vec![softmax(-5)], "Conv Softmax Max Log"),
            case("of three dimensions", rank3(NCHW), vec![softmax(0)], "Conv"),
            case("of three, over the rows", rank3(NCHW), vec![softmax(1)], "Conv Softmax Max Log"),
            case("over the last axis", form(PixelValues::Scores, NHWC, 4), vec![softmax(3)], "Conv Transpose"),
            case("over the last of three", rank3(NHWC), vec![softmax(2)], "Conv Transpose"),
            case("over another one", rank3(NHWC), vec![softmax(0)], "Conv Softmax Transpose Max Log"),
            old(case("over all axes together", scores(), vec![softmax(1)], "Conv Softmax Max Log")),
            old(case(
                "over the last one alone",
                form(PixelValues::Scores, NHWC, 4),
                vec![softmax(-1)],
                "Conv Transpose",
            )),
            old(case(
                "of version 12 by default",
                form(PixelValues::Scores, NHWC, 4),
                vec![plain("Softmax")],
                "Conv Softmax Transpose Max Log",
            )),
            Case { opset: 13, ..case("of version 13", scores(), vec![softmax(1)], "Conv") },
            case("a logarithm of it", scores(), vec![("LogSoftmax", axis(1))], "Conv"),
            case("one over the rows", scores(), vec![("LogSoftmax", axis(2))], "Conv LogSoftmax"),
            case(
                "a softmax of one score",
                form(PixelValues::Foreground, NCHW, 4),
                vec![softmax(1)],
                "Conv Softmax Max Min Neg Add Div Log Pad",
            ),
            case("two of them", scores(), vec![softmax(1), softmax(1)], "Conv Softmax"),
            case("a sigmoid", scores(), vec![plain("Sigmoid")], "Conv"),
            case("a sigmoid of one score", form(PixelValues::Foreground, NCHW, 4), vec![plain("Sigmoid")], "Conv Pad"),
            case("two sigmoids", scores(), vec![plain("Sigmoid"), plain("Sigmoid")], "Conv Sigmoid"),
            case("both", scores(), vec![softmax(1), plain("Sigmoid")], "Conv Softmax"),
            case("both in the other order", scores(), vec![plain("Sigmoid"), softmax(1)], "Conv Sigmoid"),
            case("nothing twice", scores(), vec![plain("Identity"), plain("Dropout")], "Conv"),
            case("a cast", scores(), vec![plain("Sigmoid"), ("Cast", vec![build::int("to", 1)])], "Conv Cast"),
            case("a rectifier", scores(), vec![plain("Relu")], "Conv Relu"),
            case("one behind a sigmoid", scores(), vec![plain("Sigmoid"), plain("Relu")], "Conv Sigmoid Relu"),
            case(
                "channels to the back",
                form(PixelValues::Scores, NHWC, 4),
                vec![("Transpose", perm(&[0, 2, 3, 1]))],
                "Conv",
            ),
            case("of three dimensions to the back", rank3(NHWC), vec![("Transpose", perm(&[1, 2, 0]))], "Conv"),
            case(
                "channels to the front",
                scores(),
                vec![plain("Sigmoid"), ("Transpose", perm(&[0, 3, 1, 2]))],
                "Conv Transpose",
            ),
            case(
                "of three to the front",
                rank3(NCHW),
                vec![plain("Sigmoid"), ("Transpose", perm(&[2, 0, 1]))],
                "Conv Transpose",
            ),
            case(
                "to where they are not",
                scores(),
                vec![plain("Sigmoid"), ("Transpose", perm(&[0, 2, 3, 1]))],
                "Conv Sigmoid Transpose Max Log",
            ),
            case(
                "to where they are not, either",
                form(PixelValues::Scores, NHWC, 4),
                vec![plain("Sigmoid"), ("Transpose", perm(&[0, 3, 1, 2]))],
                "Conv Sigmoid Transpose Transpose Max Log",
            ),
            case("without a perm", scores(), vec![plain("Transpose")], "Conv Transpose"),
            case(
                "there and back",
                scores(),
                vec![("Transpose", perm(&[0, 2, 3, 1])), ("Transpose", perm(&[0, 3, 1, 2]))],
                "Conv",
            ),
            case("rows and columns exchanged", scores(), vec![("Transpose", perm(&[0, 1, 3, 2]))], "Conv Transpose"),
            case("a softmax between swaps", scores(), vec![swap(), softmax(3), swap()], "Conv"),
            case("a logarithm between swaps", scores(), vec![swap(), ("LogSoftmax", axis(3)), swap()], "Conv"),
            old(case("between swaps of version 12", scores(), vec![swap(), softmax(3), swap()], "Conv")),
            case(
                "over another axis",
                scores(),
                vec![swap(), softmax(2), swap()],
                "Conv Transpose Softmax Transpose Max Log",
            ),
            case(
                "another operator between swaps",
                scores(),
                vec![swap(), plain("Relu"), swap()],
                "Conv Transpose Relu Transpose",
            ),
            case(
                "no swap before",
                scores(),
                vec![plain("Relu"), softmax(3), swap()],
                "Conv Relu Softmax Transpose Max Log",
            ),
            case(
                "another transposition before",
                scores(),
                vec![("Transpose", perm(&[0, 2, 3, 1])), softmax(3), swap()],
                "Conv Transpose Softmax Transpose Max Log",
            ),
            case(
                "swaps of channels last",
                form(PixelValues::Scores, NHWC, 4),
                vec![swap(), softmax(3), swap()],
                "Conv Transpose Softmax Transpose Transpose Max Log",
            ),
            case(
                "swaps before a sigmoid",
                scores(),
                vec![swap(), softmax(3), swap(), plain("Sigmoid")],
                "Conv Transpose Softmax Transpose",
            ),
            case(
                "swaps of one score",
                form(PixelValues::Foreground, NCHW, 4),
                vec![swap(), softmax(3), swap()],
                "Conv Transpose Softmax Transpose Max Min Neg Add Div Log Pad",
            ),
            case("a batch that is taken off", rank3(NCHW), vec![("Squeeze", ints("axes", &[0]))], "Conv"),
            case("another axis", rank3(NCHW), vec![("Squeeze", ints("axes", &[1]))], "Conv Squeeze"),
            case("a batch of five dimensions", scores(), vec![("Squeeze", ints("axes", &[0]))], "Conv Squeeze"),
            case("a probability by other means", scores(), vec![plain("HardSigmoid")], "Conv HardSigmoid Max Log"),
            case("class indices", form(LABELS, NCHW, 3), vec![plain("Identity")], "Conv Identity"),
        ];
        for Case { name, opset, form, nodes, left } in cases {
            assert_eq!(operators(&ended(chain(nodes, opset), form).short), left, "{name}");
        }
    }

    #[test]
    fn an_argmax_over_the_classes_goes_and_others_stay() {
        let argmax = |along, keep| ("ArgMax", vec![build::int("axis", along), build::int("keepdims", keep)]);
        let cast = |to: DataType| ("Cast", vec![build::int("to", to as i64)]);
        let (squeeze, unsqueeze) =
            (|axes: &[i64]| ("Squeeze", ints("axes", axes)), |axes: &[i64]| ("Unsqueeze", ints("axes", axes)));
        let last = |select| {
            ("ArgMax", vec![build::int("axis", 1), build::int("keepdims", 0), build::int("select_last_index", select)])
        };
        // With the output's rank, and whether the argmax is removed.
        let rows: [(&str, usize, Vec<Node>, Option<&str>); 22] = [
            ("over the classes", 3, vec![argmax(1, 0)], Some("Conv Cast")),
            ("and kept", 4, vec![argmax(1, 1)], Some("Conv Cast")),
            ("kept by default", 4, vec![("ArgMax", axis(1))], Some("Conv Cast")),
            ("over the first axis by default", 2, vec![("ArgMax", vec![build::int("keepdims", 0)])], Some("Conv Cast")),
            ("counted from the end", 3, vec![argmax(-3, 0)], Some("Conv Cast")),
            ("over the last axis", 3, vec![argmax(3, 0)], Some("Conv Cast Transpose")),
            ("over the last of three", 2, vec![argmax(-1, 0)], Some("Conv Cast Transpose")),
            ("over the rows", 3, vec![argmax(2, 0)], None),
            ("over the pictures", 3, vec![argmax(0, 0)], None),
            ("over the rows of three", 2, vec![argmax(1, 0)], None),
            ("of five dimensions", 4, vec![argmax(2, 0)], None),
            ("of two dimensions", 1, vec![argmax(1, 0)], None),
            ("the last of equal ones", 3, vec![last(1)], None),
            ("the first of equal ones", 3, vec![last(0)], Some("Conv Cast")),
            ("to other integers", 3, vec![argmax(1, 0), cast(DataType::Int32)], Some("Conv Cast")),
            ("to whether it is above 0", 3, vec![argmax(1, 0), cast(DataType::Bool)], None),
            ("through nothing", 3, vec![argmax(1, 0), plain("Identity")], Some("Conv Cast")),
            ("an axis less", 2, vec![argmax(1, 0), squeeze(&[0])], Some("Conv Cast")),
            ("two less", 2, vec![argmax(1, 1), squeeze(&[0, 1])], Some("Conv Cast")),
            ("an axis more", 4, vec![argmax(1, 0), unsqueeze(&[1])], Some("Conv Cast")),
            ("axes that are computed", 2, vec![argmax(1, 0), plain("Squeeze")], None),
            ("behind something else", 3, vec![argmax(1, 0), plain("Relu")], None),
        ];
        for (name, rank, nodes, left) in rows {
            let model = chain(nodes, 17);
            let before = operators(&model);
            let ending = ended(model, form(LABELS, NCHW, rank));
            assert_eq!(operators(&ending.short), left.unwrap_or(&before), "{name}");
            let kind = if left.is_some() { PixelValues::Scores } else { LABELS };
            // The number of scores is unknown: the declared shape was that of labels.
            let channels = if left.is_some() { None } else { Some(5) };
            assert_eq!((ending.kind, ending.channels), (kind, channels), "{name}");
        }
        let unknown = Form { rank: None, ..form(LABELS, NCHW, 3) };
        assert_eq!(operators(&ended(chain(vec![argmax(1, 0)], 17), unknown).short), "Conv ArgMax");
        // Of the image itself.
        let mut model = chain(vec![argmax(1, 0)], 17);
        model.graph.as_mut().unwrap().node[1].input[0] = "image".into();
        assert_eq!(operators(&ended(model, form(LABELS, NCHW, 3)).short), "Conv ArgMax");
    }

    #[test]
    fn what_the_picture_or_another_output_says_stays() {
        // The image itself is not an output.
        let mut model = chain(vec![plain("Sigmoid")], 17);
        model.graph.as_mut().unwrap().node[1].input[0] = "image".into();
        assert_eq!(operators(&ended(model, scores()).short), "Conv Sigmoid");
        // The mask of a Dropout.
        let mut model = chain(vec![plain("Dropout")], 17);
        let graph = model.graph.as_mut().unwrap();
        graph.node[1].output.push("mask".into());
        graph.output[0].name = Some("mask".into());
        assert_eq!(operators(&ended(model, scores()).short), "Conv Dropout");
    }

    #[test]
    fn probabilities_are_seen_through_what_only_moves_them() {
        let moving = [
            "Identity",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Reshape",
            "Flatten",
            "Resize",
            "Upsample",
            "Cast",
            "Slice",
            "Gather",
            "Split",
            "Clip",
        ];
        for (function, sigmoids) in [("Softmax", false), ("Sigmoid", true), ("HardSigmoid", true)] {
            // Over the rows, so that it cannot be removed.
            let made = || (function, axis(2));
            for operator in moving {
                let ending = ended(chain(vec![made(), plain("Clip"), plain(operator), plain("Clip")], 17), scores());
                let left = format!("Conv {function} Clip {operator} Clip Max Log");
                assert_eq!((operators(&ending.short), ending.sigmoids), (left, sigmoids));
            }
            let ending = ended(chain(vec![made(), plain("Neg"), plain("Clip")], 17), scores());
            assert_eq!((operators(&ending.short), ending.sigmoids), (format!("Conv {function} Neg Clip"), false));
        }
        // The option takes precedence.
        for (function, said, left) in [
            ("Sigmoid", Some(false), "Conv Sigmoid Clip"),
            ("Relu", Some(true), "Conv Relu Clip Max Log"),
            ("Relu", None, "Conv Relu Clip"),
        ] {
            let model = chain(vec![plain(function), plain("Clip")], 17);
            let ending = end(model, scores(), &input(), said, None).unwrap();
            assert_eq!(operators(&ending.short), left, "{function}");
        }
        // But a removed node leaves no doubt.
        let ending = end(chain(vec![plain("Sigmoid")], 17), scores(), &input(), Some(true), None).unwrap();
        assert_eq!((operators(&ending.short), ending.sigmoids), ("Conv".to_owned(), true));
        let one = ended(chain(vec![plain("Sigmoid")], 17), form(PixelValues::Foreground, NCHW, 4));
        assert_eq!((one.sigmoids, one.channels), (false, Some(2)));
    }

    #[test]
    fn a_background_is_added_in_the_way_of_the_model_s_version() {
        let pads = |model: &ModelProto| {
            let graph = model.graph.clone().unwrap();
            let pad = graph.node.last().unwrap();
            assert_eq!(pad.op_type(), "Pad");
            let index = Index::of(&graph);
            let inputs = |at| index.constant(pad, at);
            let pads = graph::ints(pad, "pads").map(<[i64]>::to_vec);
            let value = graph::attribute(pad, "value").map(|value| value.f());
            let score = inputs(2).map(|score| super::super::floats(score).unwrap()[0]);
            (pads.or_else(|| graph::whole_numbers(inputs(1)?)).unwrap(), value.or(score).unwrap(), pad.input.len())
        };
        let probability = 0.8f32;
        for (opset, rank, place, inputs) in [(10, 4, 1, 1), (11, 4, 1, 3), (17, 3, 0, 3)] {
            let form = form(PixelValues::Scores, NCHW, rank);
            let ending = end(chain(vec![], opset), form, &input(), None, Some(probability)).unwrap();
            let mut expected = vec![0; 2 * rank];
            expected[place] = 1;
            let (pads, score, count) = pads(&ending.short);
            assert_eq!((pads, count), (expected, inputs), "version {opset}");
            // The sigmoid of the score is that probability.
            assert!((1.0 / (1.0 + (-score).exp()) - probability).abs() < 1e-6, "{score}");
            assert_eq!(ending.channels, Some(6));
        }
        let (_, score, _) = pads(&ended(chain(vec![], 17), form(PixelValues::Foreground, NCHW, 4)).short);
        assert_eq!(score, 0.0);
        // Versions of other domains do not count.
        for (domain, inputs) in [("", 1), ("ai.onnx", 1), ("ai.onnx.ml", 3)] {
            let mut model = chain(vec![], 17);
            let version =
                |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
            model.opset_import = vec![version("other", 3), version(domain, 10), version("", 17)];
            let ending = ended(model, form(PixelValues::Foreground, NCHW, 4));
            assert_eq!(pads(&ending.short).2, inputs, "{domain}");
        }
    }

    #[test]
    fn classes_that_exclude_each_other_have_no_background() {
        let refused = |nodes, form| match end(chain(nodes, 17), form, &input(), None, Some(0.5)) {
            Err(Error::InvalidArgument(message)) => message,
            other => panic!("{:?}", other.map(|ending| operators(&ending.short))),
        };
        assert!(refused(vec![("Softmax", axis(1))], scores()).contains("ends with a softmax"));
        assert!(refused(vec![("Softmax", axis(1)), plain("Clip")], scores()).contains("ends with a softmax"));
        assert!(refused(vec![], form(LABELS, NCHW, 3)).contains("answers class indices"));
        // An argmax of sigmoids is replaced by their scores.
        let nodes = vec![plain("Sigmoid"), ("ArgMax", vec![build::int("axis", 1), build::int("keepdims", 0)])];
        let ending = end(chain(nodes, 17), form(LABELS, NCHW, 3), &input(), None, Some(0.5)).unwrap();
        assert_eq!((operators(&ending.short), ending.kind), ("Conv Cast Pad".to_owned(), PixelValues::Scores));
    }

    #[test]
    fn only_scores_in_the_one_form_are_cut() {
        let resize = || {
            (
                "Resize",
                vec![build::string("mode", "linear"), build::string("coordinate_transformation_mode", "half_pixel")],
            )
        };
        let whole = |nodes: Vec<Node>, form: Form, probabilities: Option<bool>| {
            let mut model = chain(nodes, 17);
            let graph = model.graph.as_mut().unwrap();
            graph.initializer.push(build::floats("scales", &[4], &[1.0, 1.0, 8.0, 8.0]));
            for node in graph.node.iter_mut().filter(|node| node.op_type() == "Resize") {
                node.input.extend([String::new(), "scales".into()]);
            }
            let ending = end(model, form, &input(), probabilities, None).unwrap();
            assert_eq!(ending.whole.is_some(), ending.tail != Tail::Whole);
            ending.whole.as_ref().map(operators)
        };
        let cut = |operators: &str| Some(operators.to_owned());
        let scores = scores();
        assert_eq!(whole(vec![resize()], scores, None), cut("Conv Resize"));
        assert_eq!(whole(vec![resize(), plain("Sigmoid")], scores, Some(true)), cut("Conv Resize"));
        let (rank3, last) = (form(PixelValues::Scores, NCHW, 3), form(PixelValues::Scores, NHWC, 4));
        assert_eq!(whole(vec![resize()], Form { rank: None, ..scores }, None), cut("Conv Resize"));
        assert_eq!(whole(vec![resize()], form(PixelValues::Foreground, NCHW, 4), None), cut("Conv Resize Pad"));
        for (name, form, probabilities) in [
            ("three dimensions", rank3, None),
            ("channels last", last, None),
            ("probabilities", scores, Some(true)),
            ("class indices", form(LABELS, NCHW, 4), None),
        ] {
            assert_eq!(whole(vec![resize()], form, probabilities), None, "{name}");
        }
        // A Squeeze of the batch and a Transpose to channels last are removed first.
        assert_eq!(whole(vec![resize(), ("Squeeze", ints("axes", &[0]))], rank3, None), cut("Conv Resize"));
        assert_eq!(whole(vec![resize(), ("Transpose", perm(&[0, 2, 3, 1]))], last, None), cut("Conv Resize"));
    }

    #[test]
    fn channels_come_first_and_certain_probabilities_have_logits() {
        for (rank, perm) in [(4, &[0, 3, 1, 2][..]), (3, &[2, 0, 1])] {
            let graph = ended(chain(vec![], 17), form(PixelValues::Scores, NHWC, rank)).short.graph.unwrap();
            assert_eq!(graph::ints(graph.node.last().unwrap(), "perm"), Some(perm));
        }
        let bounds = |kind| {
            let graph =
                ended(chain(vec![plain("Sigmoid"), plain("Clip")], 17), form(kind, NCHW, 4)).short.graph.unwrap();
            let index = Index::of(&graph);
            ["fcn.least", "fcn.most", "fcn.one"].map(|name| Some(super::super::floats(index.named(name)?).unwrap()[0]))
        };
        let [Some(least), Some(most), Some(one)] = bounds(PixelValues::Foreground) else {
            panic!("a bound is missing")
        };
        assert_eq!(one, 1.0);
        for p in [least, most] {
            assert!(0.0 < p && p < 1.0 && (p / (1.0 - p)).ln().abs() > 10.0, "{p}");
        }
        let [Some(least), None, None] = bounds(PixelValues::Scores) else { panic!("only one bound is needed") };
        assert!(least.is_normal() && least < 1e-20);
    }

    #[test]
    fn halves_become_floats() {
        for (element, left) in
            [(DataType::Float, "Conv"), (DataType::Float16, "Conv Cast"), (DataType::Double, "Conv Cast")]
        {
            assert_eq!(operators(&ended(chain(vec![], 17), Form { element, ..scores() }).short), left);
        }
    }
}
