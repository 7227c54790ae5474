//! Small networks for the tests, written with the crate's own ONNX types.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "each suite takes what it needs")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use fcn::{
    Provider,
    onnx::{
        ModelCard,
        build::{self, Dim},
        types::{
            AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
            attribute_proto::AttributeType, tensor_proto::DataType,
        },
    },
};
use prost::Message;

/// The provider to test: the CPU, or the one in FCN_TEST_PROVIDER.
pub fn provider() -> Provider {
    match std::env::var("FCN_TEST_PROVIDER").as_deref() {
        Err(_) | Ok("cpu") => Provider::Cpu,
        Ok("cuda") => Provider::Cuda,
        Ok("tensorrt") => Provider::TensorRt,
        Ok("openvino") => Provider::OpenVino,
        Ok(other) => panic!("FCN_TEST_PROVIDER is '{other}', and may be cpu, cuda, tensorrt or openvino"),
    }
}

/// The files in the private folder that a cache creates in `parent`, sorted; none if there is no
/// folder.
pub fn cache_entries(parent: &Path) -> Vec<PathBuf> {
    let folders: Vec<_> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).collect();
    let folder = match &folders[..] {
        [] => return Vec::new(),
        [folder] => folder,
        _ => panic!("one folder, not {folders:?}"),
    };
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Splits the content of a cache entry after its header of five lines.
pub fn split_header(content: &[u8]) -> (&[u8], &[u8]) {
    content.split_at(content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(4).unwrap().0 + 1)
}

/// The size of the checksum that follows the header of a cache entry.
pub const CACHE_CHECKSUM: usize = 32;

/// The last upsampling of a [`Spec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A dense transposed convolution, classes x classes.
    Transposed,
    /// A dense one with zeros off the diagonal.
    Diagonal,
    /// One per class (group = classes).
    Grouped,
    /// A bilinear Resize.
    Resize,
    /// None: scores at a fraction of the size.
    Low,
    /// ArgMax: class indices (int64) at a fraction of the size.
    Labels,
}

/// A network of a strided convolution, an upsampling by `stride`, and random weights.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub classes: usize,
    pub stride: usize,
    pub end: End,
    /// Whether a Clip without bounds follows, so that the graph is not cut and ONNX Runtime
    /// computes all of it.
    pub uncut: bool,
    /// Height and width, if the network has a fixed size.
    pub fixed: Option<(i64, i64)>,
    pub card: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Spec { classes: 5, stride: 8, end: End::Transposed, uncut: false, fixed: None, card: true }
    }
}

/// Pseudo-random values in -1 to 1, the same for the same seed (SplitMix64).
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

/// Pseudo-random bytes.
pub fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    random(seed, count).into_iter().map(|value| ((value + 1.0) * 127.9) as u8).collect()
}

/// The card of a test network.
pub fn card(classes: usize, stride: usize) -> ModelCard {
    let mut names = fcn::palette::voc_classes();
    names.truncate(classes);
    ModelCard {
        version: 1,
        architecture: "test".into(),
        classes: names,
        background: None,
        void_index: 255,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        channels: "rgb".into(),
        stride: stride as u32,
        training_crop: [64, 96],
        native_side: None,
        temperature: None,
        dataset: "none".into(),
        metrics: Default::default(),
    }
}

/// The bytes of a network.
pub fn network(spec: Spec) -> Vec<u8> {
    model(spec).encode_to_vec()
}

/// A network as ONNX messages.
pub fn model(spec: Spec) -> ModelProto {
    let Spec { classes, stride, end, fixed, .. } = spec;
    let (c, s) = (classes as i64, stride as i64);
    let k = 2 * s;
    let taps = 4 * stride * stride;
    let mut nodes = vec![build::node(
        "Conv",
        &["image", "score.weight", "score.bias"],
        "low",
        vec![build::ints("kernel_shape", &[s, s]), build::ints("strides", &[s, s])],
    )];
    let mut weights = vec![
        build::floats("score.weight", &[c, 3, s, s], &random(1, classes * 3 * stride * stride)),
        build::floats("score.bias", &[c], &random(2, classes)),
    ];
    let transposed = |output: &str, group: i64| {
        build::node(
            "ConvTranspose",
            &["low", "upsample.weight", "upsample.bias"],
            output,
            vec![
                build::ints("kernel_shape", &[k, k]),
                build::ints("strides", &[s, s]),
                build::ints("pads", &[s / 2; 4]),
                build::int("group", group),
            ],
        )
    };
    let dense = random(3, classes * classes * taps);
    let on_diagonal = |index: usize| (index / taps) / classes == (index / taps) % classes;
    let diagonal = dense.iter().enumerate().map(|(i, w)| if on_diagonal(i) { *w } else { 0.0 }).collect::<Vec<_>>();
    let grouped = dense.iter().enumerate().filter(|(i, _)| on_diagonal(*i)).map(|(_, w)| *w).collect::<Vec<_>>();
    let bias = build::floats("upsample.bias", &[c], &random(4, classes));
    let (scores, labels) = ((DataType::Float, "scores"), (DataType::Int64, "labels"));
    let (element, output) = if end == End::Labels { labels } else { scores };
    match end {
        End::Transposed => {
            nodes.push(transposed("scores", 1));
            weights.extend([build::floats("upsample.weight", &[c, c, k, k], &dense), bias]);
        }
        End::Diagonal => {
            nodes.push(transposed("scores", 1));
            weights.extend([build::floats("upsample.weight", &[c, c, k, k], &diagonal), bias]);
        }
        End::Grouped => {
            nodes.push(transposed("scores", c));
            weights.extend([build::floats("upsample.weight", &[c, 1, k, k], &grouped), bias]);
        }
        End::Resize => {
            nodes.push(build::node(
                "Resize",
                &["low", "", "scales"],
                "scores",
                vec![build::string("mode", "linear"), build::string("coordinate_transformation_mode", "half_pixel")],
            ));
            weights.push(build::floats("scales", &[4], &[1.0, 1.0, stride as f32, stride as f32]));
        }
        End::Low => nodes.push(build::node("Identity", &["low"], "scores", vec![])),
        End::Labels => {
            let attributes = vec![build::int("axis", 1), build::int("keepdims", 0)];
            nodes.push(build::node("ArgMax", &["low"], "labels", attributes));
        }
    }
    if spec.uncut {
        let last = nodes.last_mut().expect("there is at least one node");
        (last.name, last.output) = (Some("uncut".into()), vec!["uncut".into()]);
        nodes.push(build::node("Clip", &["uncut"], output, vec![]));
    }
    let side = |value: Option<i64>, name| value.map_or(Dim::Named(name), Dim::Fixed);
    let (height, width) = (side(fixed.map(|f| f.0), "H"), side(fixed.map(|f| f.1), "W"));
    let input = build::value("image", DataType::Float, &[Dim::Named("N"), Dim::Fixed(3), height, width]);
    let output = match end {
        End::Labels => build::value(output, element, &[Dim::Named("N"), Dim::Named("h"), Dim::Named("w")]),
        _ => build::value(output, element, &[Dim::Named("N"), Dim::Fixed(c), Dim::Named("h"), Dim::Named("w")]),
    };
    let graph = graph(nodes, weights, input, output);
    let card = spec.card.then(|| card(classes, stride));
    build::model(graph, card.as_ref())
}

/// A graph of one input and one output.
pub fn graph(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    input: ValueInfoProto,
    output: ValueInfoProto,
) -> GraphProto {
    let name = Some("test".to_owned());
    GraphProto { name, node, initializer, input: vec![input], output: vec![output], ..GraphProto::default() }
}

/// A slow network with many layers: about 10 ms for 256 x 256 pixels. It works at an eighth of the
/// image's size and ends with `end`.
pub fn slow(end: End) -> ModelProto {
    const LAYERS: usize = 40;
    let classes = 16;
    let mut model = model(Spec { classes, end, ..Spec::default() });
    let graph = model.graph.as_mut().expect("every model has a graph");
    (graph.node[0].name, graph.node[0].output) = (Some("deep0".into()), vec!["deep0".into()]);
    for layer in 0..LAYERS {
        let from = format!("deep{layer}");
        let to = if layer + 1 == LAYERS { "low".to_owned() } else { format!("deep{}", layer + 1) };
        let attributes = vec![build::ints("kernel_shape", &[3, 3]), build::ints("pads", &[1; 4])];
        graph.node.insert(layer + 1, build::node("Conv", &[&from, "deep.weight"], &to, attributes));
    }
    let side = classes as i64;
    let weights: Vec<f32> = random(9, classes * classes * 9).iter().map(|weight| weight / 7.0).collect();
    graph.initializer.push(build::floats("deep.weight", &[side, side, 3, 3], &weights));
    model
}

/// A node that changes the sign of the scalar `zero` this many times.
pub fn turning(rounds: &str, zero: &str, turned: &str) -> NodeProto {
    let scalar = |name, element| build::value(name, element, &[]);
    let body = GraphProto {
        name: Some("body".to_owned()),
        node: vec![
            build::node("Identity", &["condition"], "condition.next", vec![]),
            build::node("Neg", &["value"], "value.next", vec![]),
        ],
        input: vec![
            scalar("round", DataType::Int64),
            scalar("condition", DataType::Bool),
            scalar("value", DataType::Float),
        ],
        output: vec![scalar("condition.next", DataType::Bool), scalar("value.next", DataType::Float)],
        ..GraphProto::default()
    };
    let body = AttributeProto {
        name: Some("body".to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(body),
        ..AttributeProto::default()
    };
    build::node("Loop", &[rounds, "", zero], turned, vec![body])
}

/// A network that labels bright frames; a black frame runs in a loop until its run is aborted.
pub fn endless() -> ModelProto {
    let mut model = model(Spec { end: End::Low, ..Spec::default() });
    let graph = model.graph.as_mut().expect("every model has a graph");
    graph.node.pop();
    graph.node.extend([
        build::node("ReduceMax", &["image"], "brightest", vec![build::int("keepdims", 0)]),
        build::node("Less", &["brightest", "dark"], "is.black", vec![]),
        build::node("Cast", &["is.black"], "one.or.none", vec![build::int("to", DataType::Int64 as i64)]),
        build::node("Mul", &["one.or.none", "many"], "rounds", vec![]),
        turning("rounds", "zero", "turned"),
        build::node("Add", &["low", "turned"], "scores", vec![]),
    ]);
    // Black is at most -1.8 after normalisation.
    graph.initializer.extend([
        build::floats("dark", &[], &[-1.5]),
        build::floats("zero", &[], &[0.0]),
        build::int64s("many", &[], &[1 << 50]),
    ]);
    model
}

/// A network that fails when it runs, unless the frame has 64 rows and 96 columns.
pub fn picky() -> ModelProto {
    let mut model = model(Spec { end: End::Low, ..Spec::default() });
    let graph = model.graph.as_mut().expect("every model has a graph");
    graph.node[1] = build::node("Add", &["low", "offsets"], "scores", vec![]);
    graph.initializer.push(build::floats("offsets", &[1, 5, 8, 12], &random(10, 5 * 8 * 12)));
    model
}
