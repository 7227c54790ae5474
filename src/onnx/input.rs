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

#[cfg(test)]
mod tests {
    use super::{
        super::types::{AttributeProto, ValueInfoProto},
        *,
    };

    const NCHW: TensorLayout = TensorLayout::Nchw;
    const NHWC: TensorLayout = TensorLayout::Nhwc;
    const OPEN: Dim = Dim::Named("x");

    fn three() -> Dim {
        Dim::Fixed(3)
    }

    fn graph(inputs: Vec<ValueInfoProto>) -> GraphProto {
        GraphProto { input: inputs, ..GraphProto::default() }
    }

    fn picture(element: DataType, dims: &[Dim]) -> ValueInfoProto {
        build::value("image", element, dims)
    }

    #[test]
    fn pictures_and_their_near_misses() {
        use Dim::Fixed;
        struct Case {
            name: &'static str,
            dims: Vec<Dim>,
            asked: Option<TensorLayout>,
            usual: Option<TensorLayout>,
            /// Layout, height, width and whether it is grey.
            expected: Option<(TensorLayout, Option<usize>, Option<usize>, bool)>,
        }
        let case =
            |name, dims: &[Dim], expected| Case { name, dims: dims.to_vec(), asked: None, usual: None, expected };
        let asked = |layout, case: Case| Case { asked: Some(layout), ..case };
        let usual = |layout, case: Case| Case { usual: Some(layout), ..case };
        let any = |layout| Some((layout, None, None, false));
        let one = Fixed(1);
        let cases = [
            case("N x 3 x H x W", &[OPEN, three(), OPEN, OPEN], any(NCHW)),
            case("1 x 3 x H x W", &[one, three(), OPEN, OPEN], any(NCHW)),
            case("2 x 3 x H x W", &[Fixed(2), three(), OPEN, OPEN], None),
            case("N x H x W x 3", &[OPEN, OPEN, OPEN, three()], any(NHWC)),
            case("N x 1 x H x W", &[OPEN, one, OPEN, OPEN], Some((NCHW, None, None, true))),
            case("N x H x W x 1", &[OPEN, OPEN, OPEN, one], Some((NHWC, None, None, true))),
            case("N x 2 x H x W", &[OPEN, Fixed(2), OPEN, OPEN], None),
            case("N x 4 x H x W", &[OPEN, Fixed(4), OPEN, OPEN], None),
            case("N x H x W x 4", &[OPEN, OPEN, OPEN, Fixed(4)], None),
            case("three dimensions", &[three(), OPEN, OPEN], None),
            case("five dimensions", &[one, one, three(), OPEN, OPEN], None),
            case("a height", &[OPEN, three(), Fixed(32), OPEN], Some((NCHW, Some(32), None, false))),
            case("both sides", &[OPEN, three(), Fixed(32), Fixed(64)], Some((NCHW, Some(32), Some(64), false))),
            case("both sides, last", &[OPEN, Fixed(32), Fixed(64), three()], Some((NHWC, Some(32), Some(64), false))),
            case("3 and 3", &[OPEN, three(), OPEN, three()], None),
            usual(NCHW, case("3 and 3, as usual", &[OPEN, three(), OPEN, three()], Some((NCHW, None, Some(3), false)))),
            asked(NHWC, case("3 and 3, as asked", &[OPEN, three(), OPEN, three()], Some((NHWC, Some(3), None, false)))),
            case("all open", &[OPEN; 4], None),
            usual(NCHW, case("all open, as usual", &[OPEN; 4], any(NCHW))),
            usual(NHWC, case("channels last as usual", &[OPEN; 4], any(NHWC))),
            asked(NHWC, case("all open, as asked", &[OPEN; 4], any(NHWC))),
            asked(NHWC, usual(NCHW, case("asked before usual", &[OPEN; 4], any(NHWC)))),
            usual(
                NCHW,
                case(
                    "both sides or none",
                    &[OPEN, OPEN, Fixed(64), Fixed(64)],
                    Some((NCHW, Some(64), Some(64), false)),
                ),
            ),
            usual(NCHW, case("the first two", &[OPEN, Fixed(64), Fixed(64), OPEN], None)),
            usual(
                NHWC,
                case(
                    "the first two, last",
                    &[OPEN, Fixed(64), Fixed(64), OPEN],
                    Some((NHWC, Some(64), Some(64), false)),
                ),
            ),
            usual(NCHW, case("the middle alone", &[OPEN, OPEN, Fixed(64), OPEN], None)),
            usual(NCHW, case("no side open", &[OPEN, Fixed(5), Fixed(64), Fixed(64)], None)),
            asked(NCHW, case("asked for what is not", &[OPEN, Fixed(32), OPEN, three()], None)),
            asked(NHWC, case("asked for the other", &[OPEN, three(), OPEN, Fixed(64)], None)),
            usual(NHWC, case("a shape that tells", &[OPEN, three(), OPEN, OPEN], any(NCHW))),
        ];
        for Case { name, dims, asked, usual, expected } in cases {
            for element in [DataType::Float, DataType::Float16, DataType::Double, DataType::Uint8] {
                let found = image_input(&graph(vec![picture(element, &dims)]), asked, usual);
                let expected = expected.map(|(layout, height, width, grey)| ImageInput {
                    name: "image".into(),
                    height,
                    width,
                    layout,
                    grey,
                    element,
                });
                assert_eq!(found.ok(), expected, "{name}, {element:?}");
            }
            for element in [DataType::Int8, DataType::Bfloat16, DataType::Int64, DataType::Bool, DataType::Undefined] {
                assert!(
                    image_input(&graph(vec![picture(element, &dims)]), asked, usual).is_err(),
                    "{name}, {element:?}"
                );
            }
        }
    }

    #[test]
    fn weights_are_no_pictures() {
        let input = || picture(DataType::Float, &[OPEN, three(), OPEN, OPEN]);
        let weight = || build::value("weight", DataType::Float, &[three()]);
        let mut both = graph(vec![weight(), input()]);
        assert!(image_input(&both, None, None).unwrap_err().to_string().contains("has 2 inputs ('weight', a float32"));
        both.initializer.push(build::floats("weight", &[3], &[0.0; 3]));
        assert_eq!(image_input(&both, None, None).unwrap().name, "image");
        assert!(image_input(&graph(vec![]), None, None).unwrap_err().to_string().contains("has 0 inputs"));
        let kinds = |input: &ImageInput| (input.is_grey(), input.takes_bytes(), input.layout());
        let read = |element, channels| {
            image_input(&graph(vec![picture(element, &[OPEN, OPEN, OPEN, Dim::Fixed(channels)])]), None, None)
        };
        assert_eq!(kinds(&read(DataType::Uint8, 1).unwrap()), (true, true, NHWC));
        assert_eq!(kinds(&read(DataType::Float, 3).unwrap()), (false, false, NHWC));
    }

    /// The operators before `nodes`, and the adapted input.
    fn adapted(input: &ImageInput, nodes: Vec<NodeProto>) -> (GraphProto, AdaptedInput) {
        let mut graph = graph(vec![picture(input.element, &[OPEN; 4])]);
        graph.value_info = vec![build::value("between", input.element, &[])];
        graph.node = nodes;
        let adapted = input.adapt(&mut graph);
        (graph, adapted)
    }

    fn cast(from: &str, to: &str, element: DataType) -> NodeProto {
        build::node("Cast", &[from], to, vec![build::int("to", element as i64)])
    }

    fn node(operator: &str, from: &str, to: &str) -> NodeProto {
        build::node(operator, &[from], to, vec![])
    }

    #[test]
    fn a_cast_stands_in_front_unless_nothing_but_floats_become_of_the_picture() {
        let branch = || AttributeProto {
            name: Some("then_branch".into()),
            g: Some(GraphProto::default()),
            ..AttributeProto::default()
        };
        let branches = || AttributeProto { graphs: vec![GraphProto::default()], ..AttributeProto::default() };
        let (float, half) = (DataType::Float, DataType::Float16);
        let rows: [(&str, Vec<NodeProto>, bool); 13] = [
            ("a cast to float", vec![cast("image", "a", float)], false),
            ("a cast to half precision", vec![cast("image", "a", half)], true),
            ("a cast and another", vec![cast("image", "a", float), cast("image", "b", half)], true),
            ("two casts", vec![cast("image", "a", float), cast("image", "b", float)], false),
            ("another node", vec![node("Identity", "image", "a")], true),
            ("a cast beside another node", vec![cast("image", "a", float), node("Shape", "image", "b")], true),
            ("no node", vec![], true),
            ("a transposition first", vec![node("Transpose", "image", "a"), cast("a", "b", float)], false),
            (
                "two first",
                vec![node("Transpose", "image", "a"), node("Transpose", "a", "b"), cast("b", "c", float)],
                true,
            ),
            (
                "one of which another node reads",
                vec![node("Transpose", "image", "a"), cast("a", "b", float), node("Shape", "a", "c")],
                true,
            ),
            ("a transposition that nobody reads", vec![node("Transpose", "image", "a")], true),
            (
                "a graph that may read it",
                vec![cast("image", "a", float), build::node("If", &["x"], "b", vec![branch()])],
                true,
            ),
            (
                "graphs that may read it",
                vec![cast("image", "a", float), build::node("If", &["x"], "b", vec![branches()])],
                true,
            ),
        ];
        for (name, nodes, needed) in rows {
            for element in [DataType::Uint8, DataType::Float16, DataType::Float] {
                let input =
                    ImageInput { name: "image".into(), height: None, width: None, layout: NCHW, grey: false, element };
                let (graph, adapted) = adapted(&input, nodes.clone());
                let in_front = graph.node.len() - nodes.len();
                let needed = needed && element != float;
                assert_eq!(in_front, usize::from(needed), "{name}, {element:?}");
                assert_eq!(adapted.name, if needed { "fcn.image" } else { "image" }, "{name}, {element:?}");
                let bytes = element == DataType::Uint8;
                assert_eq!((adapted.bytes, adapted.truncates), (bytes, bytes && needed), "{name}, {element:?}");
                // The declared type between the nodes is no longer correct.
                assert_eq!(graph.value_info.is_empty(), element != float, "{name}, {element:?}");
                let Declared::Tensor { element: now, .. } = Declared::of(&graph.input[0]) else { panic!("{name}") };
                assert_eq!((now, graph.input[0].name()), (Some(float), &adapted.name[..]), "{name}, {element:?}");
            }
        }
        // As the output, it must not change.
        let bytes = ImageInput {
            name: "image".into(),
            height: None,
            width: None,
            layout: NCHW,
            grey: false,
            element: DataType::Uint8,
        };
        let mut answer = graph(vec![picture(DataType::Uint8, &[OPEN; 4])]);
        (answer.node, answer.output) = (vec![cast("image", "a", float)], vec![picture(DataType::Uint8, &[])]);
        assert!(bytes.adapt(&mut answer).truncates);
    }

    #[test]
    fn what_stands_in_front_comes_in_the_order_in_which_it_runs() {
        for (grey, element, layout, operators) in [
            (false, DataType::Float, NCHW, ""),
            (true, DataType::Float, NCHW, "Conv"),
            (false, DataType::Uint8, NCHW, "Cast"),
            (false, DataType::Float, NHWC, "Transpose"),
            (true, DataType::Uint8, NHWC, "Conv Cast Transpose"),
        ] {
            let input = ImageInput { name: "image".into(), height: Some(32), width: None, layout, grey, element };
            let (graph, adapted) = adapted(&input, vec![node("Identity", "image", "scores")]);
            let found: Vec<_> = graph.node.iter().map(|node| node.op_type()).collect();
            assert_eq!(found.join(" "), format!("{operators} Identity").trim_start());
            // Each node reads the previous one.
            let mut from = adapted.name.clone();
            for node in &graph.node {
                assert_eq!(node.input[0], from, "{operators}");
                from.clone_from(&node.output[0]);
            }
            assert_eq!((adapted.height, adapted.width, adapted.grey), (Some(32), None, grey));
            let Declared::Tensor { dims, .. } = Declared::of(&graph.input[0]) else { panic!("{operators}") };
            let expected = if operators.is_empty() { vec![None; 4] } else { vec![Some(1), Some(3), Some(32), None] };
            assert_eq!(dims, Some(expected), "{operators}");
        }
    }
}
