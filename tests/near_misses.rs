//! Networks just outside the forms that libfcn recognises, next to those just inside. Their labels
//! must equal those of the same graph with a hidden end, which ONNX Runtime computes completely.

#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use fcn::{
    Error, Mask, Options, Outputs, Segmenter, SizeMode,
    onnx::{
        self,
        build::{self, Dim},
        types::{
            AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto,
            StringStringEntryProto, TensorProto, TrainingInfoProto, tensor_proto::DataLocation, tensor_proto::DataType,
        },
    },
};
use models::{random, random_bytes};
use prost::Message;
use truth::rgb;

const CLASSES: usize = 5;
const WIDTH: usize = 72;
const HEIGHT: usize = 48;

fn pixels() -> Vec<u8> {
    random_bytes(101, 3 * WIDTH * HEIGHT)
}

fn options() -> Options {
    let mut options = truth::options(Some(SizeMode::Pad));
    options.threads = 1;
    options
}

fn segment(name: &str, model: &ModelProto, options: &Options, outputs: Outputs) -> Mask {
    let segmenter =
        Segmenter::from_memory(&model.encode_to_vec(), options).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut mask = Mask::with_outputs(outputs);
    segmenter
        .segment(&rgb(&pixels(), WIDTH as u32, HEIGHT as u32), &mut mask)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    mask
}

/// Appends two nodes that libfcn does not recognise, so that ONNX Runtime computes the whole graph.
/// Each undoes the other.
fn hidden(mut model: ModelProto, operator: &str) -> ModelProto {
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(build::node(operator, &["scores"], "hidden", vec![]));
    graph.node.push(build::node(operator, &["hidden"], "answer", vec![]));
    graph.output[0].name = Some("answer".into());
    model
}

/// Checks that labels are the argmax of ONNX Runtime's scores, interpolated to the image's size,
/// unless the two best scores are too close.
fn check(name: &str, model: &ModelProto) {
    check_with(name, model, hidden(model.clone(), "Neg"));
}

fn check_with(name: &str, model: &ModelProto, truth: ModelProto) {
    let truth = segment(name, &truth, &options(), Outputs { scores: true, ..Outputs::default() });
    let scores = truth.scores().unwrap();
    let range = scores.iter().fold(f32::MIN, |a, &b| a.max(b)) - scores.iter().fold(f32::MAX, |a, &b| a.min(b));
    let mask = segment(name, model, &options(), Outputs::default());
    let mut counted = vec![0; scores.dim().0];
    for (place, &label) in mask.labels().iter().enumerate() {
        let (y, x) = (place / WIDTH, place % WIDTH);
        let best = (0..scores.dim().0).map(|class| scores[[class, y, x]]).fold(f32::MIN, f32::max);
        let found = scores[[usize::from(label), y, x]];
        assert!(best - found < 1e-4 * range, "{name}: pixel {x}, {y} is {label}, whose score is {found}, not {best}");
        counted[usize::from(label)] += 1;
    }
    assert!(counted.iter().filter(|count| **count > 0).count() > 1, "{name}: all of one class proves nothing");
}

/// Scores at a fraction of the image's size, `low`, and nodes that compute `scores` from them.
struct Net {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Net {
    fn new(channels: usize, strides: [i64; 2]) -> Net {
        let [down, across] = strides;
        let attributes = vec![build::ints("kernel_shape", &strides), build::ints("strides", &strides)];
        let count = channels * 3 * (down * across) as usize;
        Net {
            nodes: vec![build::node("Conv", &["image", "kernel"], "low", attributes)],
            constants: vec![build::floats("kernel", &[channels as i64, 3, down, across], &random(1, count))],
        }
    }

    fn node(mut self, operator: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> Net {
        self.nodes.push(build::node(operator, inputs, output, attributes));
        self
    }

    fn constant(mut self, constant: TensorProto) -> Net {
        self.constants.push(constant);
        self
    }

    fn random(self, seed: u64, name: &str, dims: &[i64]) -> Net {
        let values = random(seed, dims.iter().product::<i64>() as usize);
        self.constant(build::floats(name, dims, &values))
    }

    fn model(self, element: DataType, dims: &[Dim]) -> ModelProto {
        let (h, w) = (Dim::Named("H"), Dim::Named("W"));
        let graph = GraphProto {
            name: Some("near".into()),
            node: self.nodes,
            initializer: self.constants,
            input: vec![build::value("image", DataType::Float, &[Dim::Fixed(1), Dim::Fixed(3), h, w])],
            output: vec![build::value("scores", element, dims)],
            ..GraphProto::default()
        };
        build::model(graph, None)
    }

    fn scores(self, channels: usize) -> ModelProto {
        let dims = [Dim::Fixed(1), Dim::Fixed(channels as i64), Dim::Named("h"), Dim::Named("w")];
        self.model(DataType::Float, &dims)
    }
}

#[test]
fn transposed_convolutions_label_as_onnx_runtime_does() {
    struct Case {
        name: &'static str,
        /// Channels before and after.
        channels: [usize; 2],
        strides: [i64; 2],
        weight: [i64; 4],
        attributes: Vec<AttributeProto>,
    }
    let pads = |pads: &[i64]| build::ints("pads", pads);
    let case = |name, attributes: Vec<AttributeProto>| {
        let start = vec![build::ints("strides", &[4, 4])];
        let attributes = start.into_iter().chain(attributes).collect();
        Case { name, channels: [CLASSES; 2], strides: [4, 4], weight: [5, 5, 8, 8], attributes }
    };
    let two = [2i64; 4];
    let cases = [
        case("as it is", vec![pads(&two)]),
        Case { weight: [5, 1, 8, 8], ..case("each class by itself", vec![pads(&two), build::int("group", 5)]) },
        Case { channels: [4, 4], weight: [4, 2, 8, 8], ..case("two groups", vec![pads(&two), build::int("group", 2)]) },
        Case { channels: [3, 5], weight: [3, 5, 8, 8], ..case("more classes than scores", vec![pads(&two)]) },
        Case { channels: [5, 3], weight: [5, 3, 8, 8], ..case("fewer classes than scores", vec![pads(&two)]) },
        Case { weight: [5, 5, 10, 10], ..case("a larger kernel", vec![pads(&[3; 4])]) },
        Case { weight: [5, 5, 10, 8], ..case("a taller kernel", vec![pads(&[3, 2, 3, 2])]) },
        Case { weight: [5, 5, 8, 10], ..case("a wider kernel", vec![pads(&[2, 3, 2, 3])]) },
        case("padding of two sizes", vec![pads(&[1, 2, 3, 2])]),
        case("less padding", vec![pads(&[1; 4])]),
        case("dilations", vec![pads(&[5, 5, 6, 6]), build::ints("dilations", &[2, 2])]),
        case("output padding", vec![pads(&[2, 2, 3, 3]), build::ints("output_padding", &[1, 1])]),
        case("an output shape", vec![build::ints("output_shape", &[47, 71])]),
        case("padding as for the same size", vec![build::string("auto_pad", "SAME_UPPER")]),
        case("no padding", vec![build::string("auto_pad", "VALID")]),
        Case {
            strides: [3, 3],
            weight: [5, 5, 6, 6],
            attributes: vec![build::ints("strides", &[3, 3]), pads(&[1; 4])],
            ..case("an odd stride", vec![])
        },
        Case {
            strides: [4, 2],
            weight: [5, 5, 8, 4],
            attributes: vec![build::ints("strides", &[4, 2]), pads(&[2, 1, 2, 1])],
            ..case("two strides", vec![])
        },
    ];
    for Case { name, channels: [before, behind], strides, weight, attributes } in cases {
        let kernel = build::ints("kernel_shape", &weight[2..]);
        let attributes: Vec<_> = attributes.into_iter().chain([kernel]).collect();
        let net = |weight_name, bias_name| {
            Net::new(before, strides)
                .node("ConvTranspose", &["low", weight_name, bias_name], "scores", attributes.clone())
                .random(2, "weight", &weight)
                .random(3, "bias", &[behind as i64])
        };
        check(name, &net("weight", "bias").scores(behind));
        // Neither computed weights nor a computed bias can be taken from the graph.
        for [weight, bias] in [["same.weight", "bias"], ["weight", "same.bias"]] {
            let mut computed = net(weight, bias);
            for value in ["weight", "bias"] {
                let same = format!("same.{value}");
                computed.nodes.insert(0, build::node("Mul", &[value, "one"], &same, vec![]));
            }
            check(name, &computed.constant(build::floats("one", &[], &[1.0])).scores(behind));
        }
    }
}

#[test]
fn resizes_label_as_onnx_runtime_does() {
    struct Case {
        name: &'static str,
        strides: [i64; 2],
        attributes: Vec<AttributeProto>,
        scales: Vec<f32>,
        sizes: Vec<i64>,
    }
    const MODE: &str = "coordinate_transformation_mode";
    let linear = |more: Vec<AttributeProto>| {
        [build::string("mode", "linear"), build::string(MODE, "half_pixel")].into_iter().chain(more).collect()
    };
    let case =
        |name, attributes| Case { name, strides: [4, 4], attributes, scales: vec![1.0, 1.0, 4.0, 4.0], sizes: vec![] };
    let mapped = |mapping| vec![build::string("mode", "linear"), build::string(MODE, mapping)];
    let sized = |name, sizes: &[i64]| Case { scales: vec![], sizes: sizes.to_vec(), ..case(name, linear(vec![])) };
    let whole = [1, 5, 48, 72];
    let cases = [
        case("as it is", linear(vec![])),
        case("pytorch_half_pixel", mapped("pytorch_half_pixel")),
        case("align_corners", mapped("align_corners")),
        case("asymmetric", mapped("asymmetric")),
        case("cubic", vec![build::string("mode", "cubic"), build::string(MODE, "half_pixel")]),
        case("nearest", vec![build::string("mode", "nearest")]),
        case("no mode", vec![]),
        case("antialias", linear(vec![build::int("antialias", 1)])),
        Case { scales: vec![4.0, 4.0], ..case("axes", linear(vec![build::ints("axes", &[2, 3])])) },
        Case { scales: vec![1.0, 1.0, 2.0, 2.0], ..case("half of the way", linear(vec![])) },
        Case { scales: vec![1.0, 1.0, 2.5, 2.5], ..case("a broken factor", linear(vec![])) },
        Case { scales: vec![1.0, 1.0, 4.0, 2.0], strides: [4, 2], ..case("two factors", linear(vec![])) },
        Case { scales: vec![1.0, 1.0, 4.0, 2.0], ..case("two factors of one stride", linear(vec![])) },
        sized("to a size", &whole),
        sized("to half of it", &[1, 5, 24, 36]),
        Case {
            scales: vec![],
            sizes: whole.to_vec(),
            ..case("not larger", linear(vec![build::string("keep_aspect_ratio_policy", "not_larger")]))
        },
    ];
    for Case { name, strides, attributes, scales, sizes } in cases {
        let mut inputs = vec!["low", "", if scales.is_empty() { "" } else { "scales" }];
        inputs.extend((!sizes.is_empty()).then_some("sizes"));
        let mut model = Net::new(CLASSES, strides)
            .node("Resize", &inputs, "scores", attributes)
            .constant(build::floats("scales", &[scales.len() as i64], &scales))
            .constant(build::int64s("sizes", &[sizes.len() as i64], &sizes))
            .scores(CLASSES);
        model.opset_import[0].version = Some(18);
        check(name, &model);
    }
}

#[test]
fn sizes_that_nodes_put_together_label_as_onnx_runtime_does() {
    // Which element of the image's shape is the size, and of which tensor's shape.
    for (name, of, indices) in [
        ("of the picture", "image", [2, 3]),
        ("from the end", "image", [-2, -1]),
        ("rows and columns exchanged", "image", [3, 2]),
        ("rows twice", "image", [2, 2]),
        ("of a quarter", "low", [2, 3]),
    ] {
        let model = Net::new(CLASSES, [4, 4])
            .node("Shape", &[of], "shape", vec![])
            .node("Gather", &["shape", "indices"], "sides", vec![])
            .node("Concat", &["channels", "sides"], "sizes", vec![build::int("axis", 0)])
            .node(
                "Resize",
                &["low", "", "", "sizes"],
                "scores",
                vec![build::string("mode", "linear"), build::string("coordinate_transformation_mode", "half_pixel")],
            )
            .constant(build::int64s("indices", &[2], &indices))
            .constant(build::int64s("channels", &[2], &[1, 5]))
            .scores(CLASSES);
        check(name, &model);
    }
}

#[test]
fn ends_of_networks_label_as_onnx_runtime_does() {
    type Node = (&'static str, Vec<AttributeProto>);
    let axis = |axis| vec![build::int("axis", axis)];
    let perm = |perm: &[i64]| ("Transpose", vec![build::ints("perm", perm)]);
    let swap = || perm(&[0, 3, 2, 1]);
    let plain = |operator| (operator, vec![]);
    let cases: Vec<(&str, Vec<Node>, bool)> = vec![
        ("a softmax", vec![("Softmax", axis(1))], false),
        ("a softmax over the rows", vec![("Softmax", axis(2))], false),
        ("a softmax over the columns", vec![("Softmax", axis(3))], false),
        ("a logarithm over the rows", vec![("LogSoftmax", axis(2))], false),
        ("two of them", vec![("Softmax", axis(2)), ("Softmax", axis(1))], false),
        ("a sigmoid of a softmax", vec![("Softmax", axis(3)), plain("Sigmoid")], false),
        ("a softmax of sigmoids over the rows", vec![plain("Sigmoid"), ("Softmax", axis(2))], false),
        ("a softmax between swaps", vec![swap(), ("Softmax", axis(3)), swap()], false),
        ("over another axis between swaps", vec![swap(), ("Softmax", axis(2)), swap()], false),
        ("swaps and a sigmoid", vec![swap(), ("Softmax", axis(2)), swap(), plain("Sigmoid")], false),
        ("a negation between swaps", vec![swap(), plain("Neg"), swap()], false),
        ("channels last", vec![perm(&[0, 2, 3, 1])], true),
        ("a softmax of channels last", vec![perm(&[0, 2, 3, 1]), ("Softmax", axis(3))], true),
        ("over the rows of channels last", vec![perm(&[0, 2, 3, 1]), ("Softmax", axis(1))], true),
        ("columns before rows", vec![perm(&[0, 1, 3, 2])], false),
        ("a rectifier", vec![("Relu", vec![])], false),
        ("a negation of sigmoids", vec![plain("Sigmoid"), plain("Neg")], false),
    ];
    for (name, nodes, channels_last) in cases {
        let count = nodes.len();
        let mut net = Net::new(CLASSES, [1, 1]);
        for (place, (operator, attributes)) in nodes.into_iter().enumerate() {
            let from = if place == 0 { "low".to_owned() } else { format!("value{place}") };
            let to = if place + 1 == count { "scores".to_owned() } else { format!("value{}", place + 1) };
            net = net.node(operator, &[&from], &to, attributes);
        }
        let (c, h, w) = (Dim::Fixed(CLASSES as i64), Dim::Named("h"), Dim::Named("w"));
        let dims = if channels_last { [Dim::Fixed(1), h, w, c] } else { [Dim::Fixed(1), c, h, w] };
        check(name, &net.model(DataType::Float, &dims));
    }
}

#[test]
fn certain_probabilities_are_labelled() {
    // Values so large that the sigmoid is exactly 1 or 0.
    let net = || {
        let mut net = Net::new(1, [1, 1]).node("Mul", &["low", "thousand"], "large", vec![]);
        net.constants =
            vec![build::floats("kernel", &[1, 3, 1, 1], &[1.0, -1.0, 0.1]), build::floats("thousand", &[], &[1000.0])];
        net
    };
    let all = Outputs { scores: true, ..Outputs::default() };
    let truth = net().node("Identity", &["large"], "scores", vec![]).scores(1);
    let truth = segment("scores", &truth, &options(), all);
    let logits = truth.scores().unwrap();
    let expected: Vec<u8> = logits.index_axis(ndarray::Axis(0), 1).iter().map(|&logit| u8::from(logit > 0.0)).collect();
    let model = net().node("Sigmoid", &["large"], "sigmoid", vec![]).node("Clip", &["sigmoid"], "scores", vec![]);
    let mask = segment("probabilities", &model.scores(1), &options(), Outputs::default());
    assert_eq!(mask.not_finite(), 0);
    assert!(mask.labels() == expected && expected.contains(&0) && expected.contains(&1));
}

#[test]
fn class_indices_are_those_of_onnx_runtime() {
    let argmax = |last| {
        let (axis, keep) = (build::int("axis", 1), build::int("keepdims", 0));
        vec![axis, keep, build::int("select_last_index", last)]
    };
    for (name, last, bool) in [("the first of equal ones", 0, false), ("the last", 1, false), ("above 0", 0, true)] {
        // Whole numbers, with many ties.
        let mut net = Net::new(CLASSES, [1, 1]).node("Round", &["low"], "rounded", vec![]);
        let best = if bool { "best" } else { "scores" };
        net = net.node("ArgMax", &["rounded"], best, argmax(last));
        if bool {
            net = net.node("Cast", &["best"], "scores", vec![build::int("to", DataType::Bool as i64)]);
        }
        let element = if bool { DataType::Bool } else { DataType::Int64 };
        let model = net.model(element, &[Dim::Fixed(1), Dim::Named("h"), Dim::Named("w")]);
        let mut options = options();
        options.class_names = (!bool).then(|| ["a", "b", "c", "d", "e"].map(String::from).to_vec());
        let truth = hidden(model.clone(), if bool { "Not" } else { "Neg" });
        let truth = segment(name, &truth, &options, Outputs::default());
        let labels = [0, 1, 2, 3, 4].map(|label| truth.labels().iter().filter(|&&found| found == label).count());
        assert!(labels.iter().filter(|count| **count > 0).count() > 1, "{name}: {labels:?}");
        assert!(segment(name, &model, &options, Outputs::default()).labels() == truth.labels(), "{name}");
    }
}

#[test]
fn quantized_weights_label_as_onnx_runtime_does() {
    let bytes: Vec<i8> = random(5, CLASSES * 3 * 16).iter().map(|value| (value * 127.0) as i8).collect();
    let scales: Vec<f32> = (1..=15).map(|scale| scale as f32 / 500.0).collect();
    let scale = |name: &str, count: usize| match count {
        1 => build::floats(name, &[], &scales[..1]),
        _ => build::floats(name, &[count as i64], &scales[..count]),
    };
    let zeros = |count: usize| match count {
        1 => build::int8s("zero", &[], &[3]),
        _ => build::int8s("zero", &[count as i64], &[3, -7, 12, 0, 1][..count]),
    };
    // The scale 1 / 32 in half precision.
    let half = || build::halves("scale", &[], &[0x2800]);
    struct Case {
        name: &'static str,
        scale: TensorProto,
        zero: Option<TensorProto>,
        axis: i64,
    }
    let cases = [
        Case { name: "one scale", scale: scale("scale", 1), zero: None, axis: 1 },
        Case { name: "a zero point", scale: scale("scale", 1), zero: Some(zeros(1)), axis: 1 },
        Case { name: "scales of the classes", scale: scale("scale", 5), zero: None, axis: 0 },
        Case { name: "zero points of the classes", scale: scale("scale", 5), zero: Some(zeros(5)), axis: 0 },
        Case { name: "scales of the colours", scale: scale("scale", 3), zero: Some(zeros(3)), axis: 1 },
        Case { name: "scales of the rows", scale: scale("scale", 4), zero: Some(zeros(4)), axis: -2 },
        Case { name: "half precision", scale: half(), zero: None, axis: 1 },
    ];
    for Case { name, scale, zero, axis } in cases {
        let is_half = scale.data_type() == DataType::Float16 as i32;
        let mut net = Net::new(CLASSES, [4, 4]);
        let inputs: &[&str] = if zero.is_some() { &["stored", "scale", "zero"] } else { &["stored", "scale"] };
        let weight = if is_half { "half" } else { "weight" };
        net = net.node("DequantizeLinear", inputs, weight, vec![build::int("axis", axis)]);
        if is_half {
            net = net.node("Cast", &["half"], "weight", vec![build::int("to", DataType::Float as i64)]);
        }
        let strides = vec![build::ints("kernel_shape", &[4, 4]), build::ints("strides", &[4, 4])];
        let mut model = net
            .node("Conv", &["image", "weight"], "more", strides)
            .node("Add", &["low", "more"], "scores", vec![])
            .constant(build::int8s("stored", &[5, 3, 4, 4], &bytes))
            .constant(scale)
            .scores(CLASSES);
        model.graph.as_mut().unwrap().initializer.extend(zero);
        model.opset_import[0].version = Some(19);
        model.ir_version = Some(9);
        // Computed values stay integers.
        let mut truth = hidden(model.clone(), "Neg");
        let graph = truth.graph.as_mut().unwrap();
        graph.initializer.iter_mut().filter(|t| t.name() == "stored").for_each(|t| t.name = Some("constant".into()));
        graph.node.insert(0, build::node("Identity", &["constant"], "stored", vec![]));
        check_with(name, &model, truth);
    }
}

/// A tensor with external data, or which claims to have it.
fn away(location: Option<DataLocation>, entries: usize) -> TensorProto {
    let entry = StringStringEntryProto { key: Some("location".into()), value: Some("weights.bin".into()) };
    TensorProto {
        data_location: location.map(|location| location as i32),
        external_data: vec![entry; entries],
        ..build::floats("tensor", &[1], &[0.5])
    }
}

#[test]
fn files_beside_a_model_in_memory_are_refused_wherever_they_are_named() {
    fn graph(tensor: TensorProto) -> GraphProto {
        GraphProto { initializer: vec![tensor], ..GraphProto::default() }
    }
    fn values(tensor: TensorProto) -> SparseTensorProto {
        SparseTensorProto { values: Some(tensor), ..SparseTensorProto::default() }
    }
    fn indices(tensor: TensorProto) -> SparseTensorProto {
        SparseTensorProto { indices: Some(tensor), ..SparseTensorProto::default() }
    }
    fn node(attribute: AttributeProto) -> NodeProto {
        build::node("Operator", &[], "value", vec![attribute])
    }
    fn own() -> AttributeProto {
        AttributeProto::default()
    }
    type Put = fn(&mut ModelProto, TensorProto);
    fn body(model: &mut ModelProto) -> &mut GraphProto {
        model.graph.as_mut().unwrap()
    }
    let places: [(&str, Put); 13] = [
        ("a weight", |m, t| body(m).initializer.push(t)),
        ("values of a sparse weight", |m, t| body(m).sparse_initializer.push(values(t))),
        ("indices of a sparse weight", |m, t| body(m).sparse_initializer.push(indices(t))),
        ("an attribute", |m, t| body(m).node.push(node(AttributeProto { t: Some(t), ..own() }))),
        ("the last of several", |m, t| {
            let tensors = vec![away(None, 0), t];
            body(m).node.push(node(AttributeProto { tensors, ..own() }));
        }),
        ("a sparse attribute", |m, t| {
            body(m).node.push(node(AttributeProto { sparse_tensor: Some(values(t)), ..own() }))
        }),
        ("sparse attributes", |m, t| {
            body(m).node.push(node(AttributeProto { sparse_tensors: vec![indices(t)], ..own() }))
        }),
        ("a graph in a node", |m, t| body(m).node.push(node(AttributeProto { g: Some(graph(t)), ..own() }))),
        ("graphs in a node", |m, t| body(m).node.push(node(AttributeProto { graphs: vec![graph(t)], ..own() }))),
        ("a graph in that", |m, t| {
            let inner = AttributeProto { g: Some(graph(t)), ..own() };
            let outer = GraphProto { node: vec![node(inner)], ..GraphProto::default() };
            body(m).node.push(node(AttributeProto { g: Some(outer), ..own() }));
        }),
        ("a function", |m, t| {
            let node = vec![node(AttributeProto { t: Some(t), ..own() })];
            m.functions.push(FunctionProto { node, ..FunctionProto::default() });
        }),
        ("the start of a training", |m, t| {
            m.training_info.push(TrainingInfoProto { initialization: Some(graph(t)), ..TrainingInfoProto::default() });
        }),
        ("a step of it", |m, t| {
            m.training_info.push(TrainingInfoProto { algorithm: Some(graph(t)), ..TrainingInfoProto::default() });
        }),
    ];
    let start = || Net::new(CLASSES, [4, 4]).node("Identity", &["low"], "scores", vec![]).scores(CLASSES);
    for (name, put) in places {
        for (location, entries, refused) in [
            (None, 0, false),
            (Some(DataLocation::Default), 0, false),
            (Some(DataLocation::External), 0, true),
            (Some(DataLocation::External), 1, true),
            (Some(DataLocation::Default), 1, true),
            (None, 1, true),
        ] {
            let mut model = start();
            put(&mut model, away(location, entries));
            let parsed = onnx::parse(&model.encode_to_vec());
            match parsed {
                Ok(parsed) => assert!(!refused && parsed == model, "{name}, {location:?}, {entries}"),
                Err(Error::Model(message)) => {
                    let named = if entries == 0 { "in ''" } else { "in 'weights.bin'" };
                    assert!(
                        refused && message.contains("'tensor' is stored outside") && message.contains(named),
                        "{message}"
                    );
                }
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
    }
    // Compiled contexts, in the same places.
    type PutNode = fn(&mut ModelProto, NodeProto);
    let places: [(&str, PutNode); 4] = [
        ("a node", |m, n| body(m).node.push(n)),
        ("in a graph", |m, n| {
            let inner = GraphProto { node: vec![n], ..GraphProto::default() };
            body(m).node.push(node(AttributeProto { g: Some(inner), ..own() }));
        }),
        ("in a function", |m, n| m.functions.push(FunctionProto { node: vec![n], ..FunctionProto::default() })),
        ("in a training", |m, n| {
            let inner = GraphProto { node: vec![n], ..GraphProto::default() };
            m.training_info.push(TrainingInfoProto { algorithm: Some(inner), ..TrainingInfoProto::default() });
        }),
    ];
    for (name, put) in places {
        for (operator, refused) in [("EPContext", true), ("EPContexts", false), ("Context", false)] {
            let mut model = start();
            put(&mut model, build::node(operator, &[], "compiled", vec![]));
            let message = onnx::parse(&model.encode_to_vec()).err().map(|error| error.to_string());
            assert_eq!(message.is_some(), refused, "{name}, {operator}: {message:?}");
            assert!(message.is_none_or(|text| text.contains("'compiled' is a compiled context")), "{name}");
        }
    }
}

#[test]
fn what_holds_no_network_is_refused() {
    let whole = Net::new(CLASSES, [4, 4]).node("Identity", &["low"], "scores", vec![]).scores(CLASSES);
    type Change = fn(&mut ModelProto);
    let rows: [(&str, Change, bool); 4] = [
        ("as it is", |_| (), true),
        ("no graph", |m| m.graph = None, false),
        ("no node", |m| m.graph.as_mut().unwrap().node.clear(), false),
        ("no output", |m| m.graph.as_mut().unwrap().output.clear(), false),
    ];
    for (name, change, fits) in rows {
        let mut model = whole.clone();
        change(&mut model);
        let message = onnx::parse(&model.encode_to_vec()).err().map(|error| error.to_string());
        assert_eq!(message.is_none(), fits, "{name}: {message:?}");
        assert!(message.is_none_or(|text| text.contains("contain no network")), "{name}");
    }
    assert!(onnx::parse(&[]).unwrap_err().to_string().contains("0 bytes"));
    let mut cut = whole.encode_to_vec();
    cut.pop();
    assert!(onnx::parse(&cut).unwrap_err().to_string().contains("are not a complete ONNX file"));
}
