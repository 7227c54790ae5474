//! Untrusted models: creation ends, within the limits that fcn.h documents. Each limit is also
//! tested with a model just inside it.

#[path = "common/models.rs"]
mod models;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fcn::{
    Error, Frame, Mask, Options, PixelFormat, Provider, Segmenter,
    onnx::{
        self,
        build::{self, Dim},
        types::{
            AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
            attribute_proto::AttributeType, tensor_proto::DataType,
        },
    },
};
use models::{End, Spec};
use prost::Message;

/// Counts the bytes that Rust has allocated.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs one test at a time, because the count belongs to the whole program, and with a time limit.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: alarm only sets a timer, which ends a program that hangs.
    unsafe { libc::alarm(600) };
    turn
}

/// The maximum number of bytes that Rust allocated while `work` ran, in addition to those allocated
/// before.
fn most_held(work: impl FnOnce()) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

fn options() -> Options {
    let mut options = Options::default();
    (options.provider, options.threads) = (Provider::Cpu, 1);
    options
}

fn create(model: &ModelProto) -> fcn::Result<Segmenter> {
    Segmenter::from_memory(&model.encode_to_vec(), &options())
}

/// The error message for a model that is rejected.
fn refused(model: &ModelProto) -> String {
    match create(model) {
        Err(Error::Model(message)) => message,
        other => panic!("{:?} in place of an error of the model", other.map(|_| "a segmenter")),
    }
}

fn labels(segmenter: &Segmenter) -> fcn::Result<Mask> {
    let pixels = models::random_bytes(1, 3 * 96 * 64);
    let mut mask = Mask::new();
    segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0)?, &mut mask)?;
    Ok(mask)
}

/// Scores of five classes at an eighth of the size, `low`, and nodes that compute `scores` from
/// them.
fn with(nodes: Vec<NodeProto>, card: bool) -> ModelProto {
    let mut model = models::model(Spec { end: End::Low, card, ..Spec::default() });
    let graph = model.graph.as_mut().unwrap();
    graph.node.pop();
    graph.node.extend(nodes);
    model
}

/// A chain of `count` nodes from `low` to `scores`, including the convolution before it.
fn chain(count: usize) -> ModelProto {
    let name = |index: usize| match index {
        1 => "low".to_owned(),
        index if index == count => "scores".to_owned(),
        index => format!("value{index}"),
    };
    with((2..=count).map(|index| build::node("Identity", &[&name(index - 1)], &name(index), vec![])).collect(), true)
}

#[test]
fn circles_and_values_of_two_origins_are_refused() {
    let _turn = turn();
    let transpose =
        |from: &str, to: &str| build::node("Transpose", &[from], to, vec![build::ints("perm", &[0, 3, 1, 2])]);
    let identity = |from: &str, to: &str| build::node("Identity", &[from], to, vec![]);
    for (nodes, words) in [
        (vec![transpose("scores", "a"), transpose("a", "scores")], "form a cycle"),
        (vec![identity("scores", "scores")], "form a cycle"),
        (vec![identity("low", "scores"), identity("low", "scores")], "one definition"),
        (vec![identity("low", "score.bias"), identity("low", "scores")], "one definition"),
        (vec![identity("low", "image"), identity("low", "scores")], "one definition"),
    ] {
        let message = refused(&with(nodes, true));
        assert!(message.contains(words), "{message}");
    }
    // Not in topological order, but without a cycle.
    let model = with(vec![identity("low", "a"), identity("a", "scores")], true);
    let truth = labels(&create(&model).unwrap()).unwrap();
    let mut turned = model;
    turned.graph.as_mut().unwrap().node.reverse();
    assert_eq!(labels(&create(&turned).unwrap()).unwrap().labels(), truth.labels());
}

/// A network without a card that computes its scores in a loop with this number of rounds, or any
/// number. It does not declare their shape.
fn turning(rounds: Option<i64>, last: Vec<NodeProto>) -> ModelProto {
    let mut nodes =
        vec![models::turning("rounds", "zero", "turned"), build::node("Add", &["low", "turned"], "sum", vec![])];
    nodes.extend(last);
    let mut model = with(nodes, false);
    let graph = model.graph.as_mut().unwrap();
    graph
        .initializer
        .extend([build::int64s("rounds", &[], &[rounds.unwrap_or(i64::MAX)]), build::floats("zero", &[], &[0.0])]);
    model
}

#[test]
fn runs_that_find_out_shapes_end_with_the_timeout() {
    let _turn = turn();
    let scores = |dims: &[Dim]| vec![build::value("scores", DataType::Float, dims)];
    let open = |name| Dim::Named(name);
    let upsampled = || {
        build::node(
            "Resize",
            &["sum", "", "scales"],
            "scores",
            vec![build::string("mode", "linear"), build::string("coordinate_transformation_mode", "half_pixel")],
        )
    };
    let best = || build::node("ArgMax", &["sum"], "scores", vec![build::int("axis", 1), build::int("keepdims", 0)]);
    for rounds in [Some(3), None] {
        // The number of channels is unknown; the last upsampling is cut off; class indices do not
        // reveal the number of classes.
        let mut unknown = turning(rounds, vec![build::node("Identity", &["sum"], "scores", vec![])]);
        unknown.graph.as_mut().unwrap().output = scores(&[open("N"), open("C"), open("h"), open("w")]);
        let mut cut = turning(rounds, vec![upsampled()]);
        cut.graph.as_mut().unwrap().initializer.push(build::floats("scales", &[4], &[1.0, 1.0, 8.0, 8.0]));
        let mut indices = turning(rounds, vec![best()]);
        indices.graph.as_mut().unwrap().output =
            vec![build::value("scores", DataType::Int64, &[open("N"), open("h"), open("w")])];
        for (name, model) in [("unknown", unknown), ("cut", cut), ("indices", indices)] {
            let timeout = if rounds.is_none() { Duration::from_millis(300) } else { Duration::from_secs(500) };
            let mut options = options();
            options.timeout = Some(timeout);
            let created = Segmenter::from_memory(&model.encode_to_vec(), &options);
            match (rounds, created) {
                (Some(_), Ok(segmenter)) => assert_eq!(segmenter.classes().len(), 5, "{name}"),
                (None, Err(Error::Timeout(message))) => {
                    assert!(message.starts_with("the model was not ready within 10s (the option timeout"), "{message}");
                }
                (_, other) => panic!("{name}, {rounds:?}: {:?}", other.map(|_| "a segmenter")),
            }
        }
    }
}

#[test]
fn a_layer_that_exceeds_the_time_is_told() {
    let _turn = turn();
    const SIDE: i64 = 3000;
    let mut model = with(
        vec![
            build::node("ReduceMax", &["image"], "brightest", vec![build::int("keepdims", 0)]),
            build::node("Expand", &["brightest", "square"], "filled", vec![]),
            build::node("MatMul", &["filled", "filled"], "product", vec![]),
            build::node("ReduceMin", &["product"], "least", vec![build::int("keepdims", 0)]),
            build::node("Add", &["low", "least"], "scores", vec![]),
        ],
        true,
    );
    model.graph.as_mut().unwrap().initializer.push(build::int64s("square", &[2], &[SIDE, SIDE]));
    // A network with a card is not run during creation.
    let mut options = options();
    options.timeout = Some(Duration::from_millis(100));
    let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options).unwrap();
    // If the time is over before the network runs, the message does not mention excess time.
    let told = (0..5).any(|_| match labels(&segmenter).map(|_| ()) {
        Err(Error::Timeout(message)) => message.contains("s, because a layer in progress is not interrupted"),
        other => panic!("{other:?}"),
    });
    assert!(told);
}

#[test]
fn a_fixed_size_has_a_limit() {
    let _turn = turn();
    let model = |side| models::model(Spec { fixed: Some((side, side)), ..Spec::default() });
    // 2^25 is 33554432.
    assert!(create(&model(5792)).is_ok());
    let message = refused(&model(5793));
    assert!(message.contains("5793 x 5793") && message.contains("33554432"), "{message}");
    // A single side.
    let column = |rows| models::model(Spec { fixed: Some((rows, 64)), ..Spec::default() });
    assert!(create(&column(32767)).is_ok());
    let message = refused(&column(32768));
    assert!(message.contains("a side of 32768 pixels; at most 32767"), "{message}");
    // The size is created by a Resize: five values per pixel.
    let resize = |side| {
        let attributes = vec![build::string("mode", "linear")];
        let mut model = with(vec![build::node("Resize", &["low", "", "", "sizes"], "scores", attributes)], true);
        model.graph.as_mut().unwrap().initializer.push(build::int64s("sizes", &[4], &[1, 5, side, side]));
        model
    };
    assert!(create(&resize(14654)).is_ok());
    let message = refused(&resize(14655));
    assert!(message.contains("1073845125 values; at most 1073741824"), "{message}");
}

#[test]
fn values_made_of_shapes_have_a_limit() {
    let _turn = turn();
    let model = |nodes: &[(&str, i64)]| {
        let mut model = with(vec![build::node("Identity", &["low"], "scores", vec![])], true);
        let graph = model.graph.as_mut().unwrap();
        for (index, &(operator, side)) in nodes.iter().enumerate() {
            let shape = format!("shape{index}");
            let inputs: &[&str] = if operator == "ConstantOfShape" { &[&shape] } else { &["score.bias", &shape] };
            graph.node.push(build::node(operator, inputs, &format!("filled{index}"), vec![]));
            graph.initializer.push(build::int64s(&shape, &[2], &[side, 1 << 14]));
        }
        model
    };
    let parsed = |nodes: &[(&str, i64)]| onnx::parse(&model(nodes).encode_to_vec());
    parsed(&[("ConstantOfShape", 1 << 14)]).unwrap();
    parsed(&[("ConstantOfShape", 1 << 13), ("Expand", 1 << 13)]).unwrap();
    for nodes in [&[("ConstantOfShape", (1 << 14) + 1)][..], &[("ConstantOfShape", 1 << 13), ("Expand", (1 << 13) + 1)]]
    {
        let message = refused(&model(nodes));
        assert!(message.contains("creates 268451840 values") && message.contains("268435456"), "{message}");
    }
}

#[test]
fn nodes_tensors_and_outputs_have_limits() {
    let _turn = turn();
    // ONNX Runtime is slow with other chains of this length.
    assert!(labels(&create(&chain(1 << 15)).unwrap()).is_ok());
    let message = refused(&chain((1 << 15) + 1));
    assert!(message.contains("has 32769 nodes; at most 32768"), "{message}");

    let tensors = |count: usize| {
        let mut model = chain(2);
        let initializer = &mut model.graph.as_mut().unwrap().initializer;
        let more = count - initializer.len();
        initializer.extend((0..more).map(|index| build::floats(&format!("unused{index}"), &[1], &[0.0])));
        model
    };
    assert!(create(&tensors(1 << 16)).is_ok());
    let message = refused(&tensors((1 << 16) + 1));
    assert!(message.contains("has 65537 tensors; at most 65536"), "{message}");

    let outputs = |count: usize| {
        let mut model = chain(2);
        let output = &mut model.graph.as_mut().unwrap().output;
        *output = vec![output[0].clone(); count];
        onnx::parse(&model.encode_to_vec())
    };
    outputs(256).unwrap();
    let message = outputs(257).unwrap_err().to_string();
    assert!(message.contains("has 257 outputs; at most 256"), "{message}");
}

#[test]
fn functions_count_as_often_as_they_are_called() {
    let _turn = turn();
    // Each function calls the next one twice; the last one is a Neg.
    let doubling = |levels: usize, last: &str| {
        let opsets = ["", "local"].map(|domain| OperatorSetIdProto { domain: Some(domain.into()), version: Some(17) });
        let mut model = with(vec![], true);
        model.opset_import = opsets.to_vec();
        let call = |name: &str, from: &str, to: &str| {
            let domain = if name == "Neg" { "" } else { "local" };
            NodeProto { domain: Some(domain.into()), ..build::node(name, &[from], to, vec![]) }
        };
        model.functions = (0..levels)
            .map(|level| {
                let next = if level + 1 == levels { last.to_owned() } else { format!("f{}", level + 1) };
                FunctionProto {
                    name: Some(format!("f{level}")),
                    domain: Some("local".into()),
                    input: vec!["from".into()],
                    output: vec!["to".into()],
                    node: vec![call(&next, "from", "half"), call(&next, "half", "to")],
                    opset_import: opsets.to_vec(),
                    ..FunctionProto::default()
                }
            })
            .collect();
        model.graph.as_mut().unwrap().node.push(call("f0", "low", "scores"));
        model
    };
    let plain = labels(&create(&chain(2)).unwrap()).unwrap();
    // 2, 4 and 8 nodes that change the sign: an even number has no effect.
    assert_eq!(labels(&create(&doubling(3, "Neg")).unwrap()).unwrap().labels(), plain.labels());
    // The convolution, the call, and 2 + 4 + ... nodes.
    assert!(onnx::parse(&doubling(14, "Neg").encode_to_vec()).is_ok());
    let message = refused(&doubling(15, "Neg"));
    let words = "has 65536 nodes after inlining its functions; at most 32768";
    assert!(message.contains(words), "{message}");
    for model in [doubling(17, "Neg"), doubling(2, "f0"), doubling(1, "f0")] {
        let message = refused(&model);
        assert!(message.contains("calls itself, or functions call each other more than 16 deep"), "{message}");
    }
}

/// Nests graphs to this depth.
fn nested(depth: usize) -> ModelProto {
    let output = |name: &str| vec![build::value(name, DataType::Float, &[])];
    let branch = |name: &str, graph| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..AttributeProto::default()
    };
    let mut node = build::node("Identity", &["least"], "value0", vec![]);
    for level in 1..=depth {
        let then = GraphProto {
            name: Some("then".into()),
            output: output(&node.output[0]),
            node: vec![node],
            ..GraphProto::default()
        };
        let other = format!("other{level}");
        let or = GraphProto {
            name: Some("else".into()),
            output: output(&other),
            node: vec![build::node("Identity", &["least"], &other, vec![])],
            ..GraphProto::default()
        };
        let branches = vec![branch("then_branch", then), branch("else_branch", or)];
        node = build::node("If", &["is.dark"], &format!("value{level}"), branches);
    }
    let chosen = node.output[0].clone();
    with(
        vec![
            build::node("ReduceMin", &["low"], "least", vec![build::int("keepdims", 0)]),
            build::node("Cast", &["least"], "is.dark", vec![build::int("to", DataType::Bool as i64)]),
            node,
            build::node("Add", &["low", &chosen], "scores", vec![]),
        ],
        true,
    )
}

#[test]
fn graphs_in_graphs_have_a_limit() {
    let _turn = turn();
    assert!(labels(&create(&nested(16)).unwrap()).is_ok());
    for depth in [17, 30, 40] {
        let message = refused(&nested(depth));
        assert!(message.contains("more than 16 deep"), "{message}");
    }
}

/// Appends a field with the content `bytes` to a message.
fn field(number: u8, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(number << 3 | 2);
    prost::encoding::encode_varint(bytes.len() as u64, to);
    to.extend(bytes);
}

#[test]
fn what_becomes_more_in_memory_is_measured_before() {
    let _turn = turn();
    // A model whose first node has this many attributes, of two bytes each.
    let attributes = |count: usize| {
        let mut model = chain(2);
        let mut graph = model.graph.take().unwrap();
        let mut node = graph.node.remove(0).encode_to_vec();
        node.extend([0x2a, 0].repeat(count));
        let mut inner = graph.encode_to_vec();
        field(1, &node, &mut inner);
        let mut bytes = model.encode_to_vec();
        field(7, &inner, &mut bytes);
        bytes
    };
    let (small, large) = (attributes(50_000), attributes(2_000_000));
    assert!(large.len() < 5 << 20);
    // The file's bytes are held only once.
    let held = most_held(|| match Segmenter::from_memory(&large, &options()) {
        Err(Error::Model(message)) => assert!(message.contains("bytes of memory; at most"), "{message}"),
        other => panic!("{:?}", other.map(|_| "a segmenter")),
    });
    assert!(held < large.len() + (1 << 20), "{held} bytes");
    let held = most_held(|| drop(onnx::parse(&small).unwrap()));
    assert!(held > 20 << 20 && held < 256 << 20, "{held} bytes");
    // Weights may be of any number and do not count, in any storage.
    let mut model = chain(2);
    let weights = vec![1.0; 100 << 18];
    let raw = build::floats("raw", &[100 << 18], &weights);
    let mut listed = build::floats("listed", &[100 << 18], &[]);
    (listed.raw_data, listed.float_data) = (None, weights);
    model.graph.as_mut().unwrap().initializer.extend([raw, listed]);
    assert!(onnx::parse(&model.encode_to_vec()).is_ok());
}

#[test]
fn lists_that_are_no_shapes_are_not_copied() {
    let _turn = turn();
    const COUNT: usize = 1 << 20;
    let parts = vec!["part"; 90];
    let mut model = with(
        vec![
            build::node("Concat", &parts, "sizes", vec![build::int("axis", 0)]),
            build::node("Resize", &["low", "", "", "sizes"], "scores", vec![build::string("mode", "linear")]),
        ],
        true,
    );
    model.graph.as_mut().unwrap().initializer.push(build::int64s("part", &[COUNT as i64], &vec![1; COUNT]));
    let bytes = model.encode_to_vec();
    // ONNX Runtime may treat such sizes differently.
    let held = most_held(|| drop(Segmenter::from_memory(&bytes, &options())));
    assert!(held < 5 * bytes.len(), "{held} bytes for a model of {}", bytes.len());
}

#[test]
fn integers_become_floats_once_or_twice() {
    let _turn = turn();
    let model = |readers: usize| {
        let mut nodes = Vec::new();
        let mut from = "low".to_owned();
        for index in 0..readers {
            let (weight, to) = (format!("weight{index}"), format!("sum{index}"));
            nodes.push(build::node("DequantizeLinear", &["stored", "step"], &weight, vec![]));
            nodes.push(build::node("Add", &[&from, &weight], &to, vec![]));
            from = to;
        }
        nodes.push(build::node("Identity", &[&from], "scores", vec![]));
        let mut model = with(nodes, true);
        let mut weights: Vec<_> = ["score.bias", "score.weight"].map(String::from).into();
        let graph = model.graph.as_mut().unwrap();
        // Only the integers should count.
        for tensor in &mut graph.initializer {
            let values = tensor.raw_data.take().unwrap();
            tensor.float_data = values.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            weights.retain(|name| name != tensor.name());
        }
        assert!(weights.is_empty());
        let mut step = build::floats("step", &[], &[]);
        (step.raw_data, step.float_data) = (None, vec![0.5]);
        graph.initializer.extend([build::int8s("stored", &[5, 1, 1], &[1, -2, 3, -4, 5]), step]);
        model
    };
    assert!(labels(&create(&model(2)).unwrap()).is_ok());
    let message = refused(&model(3));
    assert!(message.contains("more than 2 times on average"), "{message}");
}

#[test]
fn cards_with_crops_of_no_pixels_are_refused() {
    let _turn = turn();
    let model = |crop| {
        let graph = chain(2).graph.unwrap();
        build::model(graph, Some(&onnx::ModelCard { training_crop: crop, ..models::card(5, 8) }))
    };
    for crop in [[1, 1], [32767, 1]] {
        assert!(create(&model(crop)).is_ok(), "{crop:?}");
    }
    for crop in [[0, 96], [64, 0], [32768, 64]] {
        let message = refused(&model(crop));
        assert!(message.contains("sides of 1 to 32767 are supported"), "{message}");
    }
}
