//! OpenVINO inside ONNX Runtime, compared with the CPU provider of the same library. Needs the
//! libraries that `make deps-openvino` installs; without them, each test is listed as skipped.

mod common;
#[path = "common/models.rs"]
mod models;
#[path = "common/trace.rs"]
mod trace;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use common::{build, have, root, run};
use fcn::{
    Error, Frame, LogLevel, Mask, Options, Outputs, PixelFormat, Precision, Provider, Segmenter, SizeMode,
    onnx::{
        build as onnx,
        types::{ModelProto, tensor_proto::DataType},
    },
};
use models::{End, Spec, cache_entries, network, random, random_bytes};
use prost::Message;
use trace::trace;

/// ONNX Runtime with OpenVINO. If it is missing, lists the test `what` as skipped.
fn library(what: &str) -> Option<PathBuf> {
    let library = root().join(".deps/onnxruntime-openvino/lib/libonnxruntime.so.1");
    if !library.is_file() {
        common::skip(what, "ONNX Runtime with OpenVINO is missing: `make deps-openvino` installs it");
        return None;
    }
    Some(library)
}

/// Options with that library, and the log messages.
fn options(library: &Path, provider: Provider, precision: Precision) -> (Options, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&said);
    let options = Options::default()
        .with_runtime_library(library)
        .with_provider(provider)
        .with_precision(precision)
        .with_threads(2)
        .with_log(Arc::new(move |level, message: &str| {
            if level != LogLevel::Info || !message.starts_with("assumed") {
                hears.lock().unwrap().push(message.to_owned());
            }
        }));
    (options, said)
}

fn with(library: &Path, provider: Provider, precision: Precision) -> Options {
    options(library, provider, precision).0
}

fn has_bfloat16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

/// The network of `tests/common/models.rs` with forty layers.
fn deep() -> Vec<u8> {
    models::slow(End::Low).encode_to_vec()
}

/// The labels and scores of a frame.
fn labelled(segmenter: &Segmenter, width: u32, height: u32) -> (Vec<u8>, Vec<f32>) {
    let pixels = random_bytes(u64::from(width), 3 * (width * height) as usize);
    let mut mask = Mask::with_outputs(Outputs { scores: true, ..Outputs::default() });
    segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, width, height, 0).unwrap(), &mut mask).unwrap();
    (mask.labels().to_vec(), mask.scores().unwrap().iter().copied().collect())
}

/// The largest difference between scores, as a share of their range.
fn difference(scores: &[f32], truth: &[f32]) -> f32 {
    assert_eq!(scores.len(), truth.len());
    let range = truth.iter().copied().fold(f32::MIN, f32::max) - truth.iter().copied().fold(f32::MAX, f32::min);
    scores.iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / range
}

const SIZES: [(u32, u32); 5] = [(96, 64), (160, 96), (96, 64), (33, 47), (160, 96)];

#[test]
fn exact_labels_are_the_cpus() {
    let Some(library) = library("exact_labels_are_the_cpus") else { return };
    for (name, model) in [
        ("transposed", network(Spec::default())),
        ("resize", network(Spec { end: End::Resize, ..Spec::default() })),
        ("uncut", network(Spec { uncut: true, ..Spec::default() })),
        ("fixed size", network(Spec { fixed: Some((64, 96)), ..Spec::default() })),
        ("deep", deep()),
    ] {
        let on = |provider| Segmenter::from_memory(&model, &with(&library, provider, Precision::Exact)).unwrap();
        let (openvino, cpu) = (on(Provider::OpenVino), on(Provider::Cpu));
        assert_eq!(
            (openvino.provider(), openvino.precision(), openvino.provider_reason()),
            ("openvino", "float32", "")
        );
        assert_eq!((cpu.provider(), cpu.precision()), ("cpu", "float32"));
        for (width, height) in SIZES {
            let ((found, scores), (labels, truth)) =
                (labelled(&openvino, width, height), labelled(&cpu, width, height));
            let apart = difference(&scores, &truth);
            assert!(apart < 1e-4, "{name}, {width} x {height}: scores differ by {apart}");
            let equal = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
            assert!(equal * 1000 >= 999 * labels.len(), "{name}, {width} x {height}: {equal} of {}", labels.len());
        }
    }
}

#[test]
fn class_indices_are_the_cpus() {
    let Some(library) = library("class_indices_are_the_cpus") else { return };
    // An argmax at the very end would be removed.
    let model = network(Spec { end: End::Labels, uncut: true, card: false, ..Spec::default() });
    let names: Vec<String> = (0..5).map(|class| format!("class {class}")).collect();
    let pixels = random_bytes(3, 3 * 96 * 64);
    let frame = Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap();
    let [found, truth] = [Provider::OpenVino, Provider::Cpu].map(|provider| {
        let options = with(&library, provider, Precision::Exact).with_class_names(names.clone());
        let mut mask = Mask::new();
        Segmenter::from_memory(&model, &options).unwrap().segment(&frame, &mut mask).unwrap();
        mask.labels().to_vec()
    });
    assert_eq!(found, truth);
    assert!(found.iter().any(|label| *label != found[0]));
}

#[test]
fn scores_that_are_no_numbers_are_unknown() {
    let Some(library) = library("scores_that_are_no_numbers_are_unknown") else { return };
    for uncut in [false, true] {
        let mut model = models::model(Spec { uncut, ..Spec::default() });
        let bias = model.graph.as_mut().unwrap().initializer.iter_mut().find(|tensor| tensor.name() == "score.bias");
        *bias.unwrap() = onnx::floats("score.bias", &[5], &[f32::NAN; 5]);
        let options = with(&library, Provider::OpenVino, Precision::Exact);
        let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options).unwrap();
        let pixels = random_bytes(3, 3 * 96 * 64);
        let mut mask = Mask::new();
        segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap(), &mut mask).unwrap();
        assert!(mask.labels().iter().all(|label| *label == fcn::UNKNOWN), "uncut {uncut}");
    }
}

#[test]
fn fast_computes_in_bfloat16_and_says_so() {
    let Some(library) = library("fast_computes_in_bfloat16_and_says_so") else { return };
    let (fast, said) = options(&library, Provider::OpenVino, Precision::Fast);
    let fast = Segmenter::from_memory(&deep(), &fast).unwrap();
    let exact = Segmenter::from_memory(&deep(), &with(&library, Provider::OpenVino, Precision::Exact)).unwrap();
    let apart = difference(&labelled(&fast, 96, 64).1, &labelled(&exact, 96, 64).1);
    let said = said.lock().unwrap();
    if has_bfloat16() {
        assert_eq!(fast.precision(), "bfloat16");
        assert!(apart > 1e-4 && apart < 0.03, "scores differ by {apart}");
        assert!(said.iter().any(|message| message.contains("computed in bfloat16")), "{said:?}");
    } else {
        assert_eq!((fast.precision(), apart), ("float32", 0.0));
        assert!(said.iter().any(|message| message.contains("has no effect")), "{said:?}");
    }
}

#[test]
fn fast_has_no_effect_on_the_cpu_provider_of_this_processor() {
    let Some(library) = library("fast_has_no_effect_on_the_cpu_provider_of_this_processor") else { return };
    let (fast, said) = options(&library, Provider::Cpu, Precision::Fast);
    let fast = Segmenter::from_memory(&deep(), &fast).unwrap();
    let exact = Segmenter::from_memory(&deep(), &with(&library, Provider::Cpu, Precision::Exact)).unwrap();
    assert_eq!(fast.precision(), "float32");
    assert_eq!(labelled(&fast, 96, 64), labelled(&exact, 96, 64));
    let said = said.lock().unwrap();
    assert!(said.iter().any(|message| message.contains("the precision fast has no effect")), "{said:?}");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let Some(library) = library("a_device_that_is_not_there_is_an_error") else { return };
    for device in ["GPU.97", "NPU.97", "CPU.97"] {
        let options = with(&library, Provider::OpenVino, Precision::Fast).with_openvino_device(device);
        let error = Segmenter::from_memory(&network(Spec::default()), &options).expect_err(device);
        let reason = format!("Device {device} is not available");
        assert!(matches!(&error, Error::Provider(message) if message.ends_with(&reason)), "{error}");
    }
    // Refused before the device is looked for.
    let npu = with(&library, Provider::OpenVino, Precision::Exact).with_openvino_device("NPU");
    let error = Segmenter::from_memory(&network(Spec::default()), &npu).expect_err("float32 on an NPU");
    assert!(matches!(&error, Error::Provider(message) if message.contains("float16")), "{error}");
    // Other providers ignore the device.
    let cpu = with(&library, Provider::Cpu, Precision::Exact).with_openvino_device("GPU.97");
    assert_eq!(Segmenter::from_memory(&network(Spec::default()), &cpu).unwrap().provider(), "cpu");
}

#[test]
fn auto_does_not_take_openvino_and_says_why() {
    let Some(library) = library("auto_does_not_take_openvino_and_says_why") else { return };
    for precision in [Precision::Exact, Precision::Fast] {
        let (automatic, said) = options(&library, Provider::Auto, precision);
        let segmenter = Segmenter::from_memory(&network(Spec::default()), &automatic).unwrap();
        let reason = segmenter.provider_reason();
        assert_eq!(segmenter.provider(), "cpu", "{reason}");
        assert!(reason.contains("cuda") && reason.contains("OpenVINO is used only if it is requested"), "{reason}");
        let said = said.lock().unwrap();
        assert!(said.iter().any(|message| message.ends_with(reason)), "{said:?}");
    }
}

/// A network with an operator that OpenVINO does not know.
fn with_operator(nodes: Vec<fcn::onnx::types::NodeProto>, side: i64) -> Vec<u8> {
    let weights = |name: &str, inputs: i64| {
        let values: Vec<f32> = random(7, (side * inputs * 9) as usize);
        onnx::floats(name, &[side, inputs, 3, 3], &values)
    };
    let shape = |channels: i64| {
        [onnx::Dim::Named("N"), onnx::Dim::Fixed(channels), onnx::Dim::Named("H"), onnx::Dim::Named("W")]
    };
    let graph = models::graph(
        nodes,
        vec![weights("first.weight", 3), weights("last.weight", side)],
        onnx::value("image", DataType::Float, &shape(3)),
        onnx::value("scores", DataType::Float, &shape(side)),
    );
    let model: ModelProto = onnx::model(graph, Some(&models::card(side as usize, 1)));
    model.encode_to_vec()
}

fn convolution(input: &str, weight: &str, output: &str) -> fcn::onnx::types::NodeProto {
    onnx::node("Conv", &[input, weight], output, vec![onnx::ints("kernel_shape", &[3, 3]), onnx::ints("pads", &[1; 4])])
}

fn pool(input: &str, output: &str) -> fcn::onnx::types::NodeProto {
    onnx::node("LpPool", &[input], output, vec![onnx::ints("kernel_shape", &[1, 1])])
}

/// A network of which OpenVINO runs all but one node.
fn partial() -> Vec<u8> {
    let nodes = vec![
        convolution("image", "first.weight", "first"),
        onnx::node("Relu", &["first"], "positive", vec![]),
        pool("positive", "pooled"),
        convolution("pooled", "last.weight", "last"),
        onnx::node("Relu", &["last"], "scores", vec![]),
    ];
    with_operator(nodes, 5)
}

#[test]
fn a_part_on_the_cpu_provider_is_told() {
    let Some(library) = library("a_part_on_the_cpu_provider_is_told") else { return };
    let (part, said) = options(&library, Provider::OpenVino, Precision::Exact);
    let part = Segmenter::from_memory(&partial(), &part).unwrap();
    let said = said.lock().unwrap();
    assert!(said.iter().any(|message| message.contains("does not run 1 of 5 nodes (LpPool)")), "{said:?}");
    let cpu = Segmenter::from_memory(&partial(), &with(&library, Provider::Cpu, Precision::Exact)).unwrap();
    assert!(difference(&labelled(&part, 96, 64).1, &labelled(&cpu, 96, 64).1) < 1e-4);
    // A whole network is not worth a message.
    let (whole, said) = options(&library, Provider::OpenVino, Precision::Exact);
    Segmenter::from_memory(&deep(), &whole).unwrap();
    assert_eq!(*said.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn a_network_without_a_part_for_openvino_is_an_error() {
    let Some(library) = library("a_network_without_a_part_for_openvino_is_an_error") else { return };
    let nodes = vec![convolution("image", "first.weight", "first"), pool("first", "scores")];
    let mut options = with(&library, Provider::OpenVino, Precision::Exact);
    let model = with_operator(nodes, 5);
    let error = Segmenter::from_memory(&model, &options).expect_err("nothing runs on OpenVINO");
    assert!(matches!(&error, Error::Provider(message) if message.contains("LpPool")), "{error}");
    options.provider = Provider::Auto;
    assert_eq!(Segmenter::from_memory(&model, &options).unwrap().provider(), "cpu");
}

/// The resident memory of this process in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_is_flat_over_many_sizes() {
    const NAME: &str = "memory_is_flat_over_many_sizes";
    let Some(library) = library(NAME) else { return };
    if std::env::var_os("FCN_TEST_ALONE").is_none() {
        return alone(NAME);
    }
    let options = with(&library, Provider::OpenVino, Precision::Exact).with_size_mode(SizeMode::Pad);
    let segmenter = Segmenter::from_file(root().join("models/street.onnx"), &options).unwrap();
    let pixels = random_bytes(1, 3 * 352 * 192);
    let mut mask = Mask::new();
    let mut frames = |rounds: usize| {
        for number in 0..50 * rounds {
            let (width, height) = (32 * (2 + number % 10) as u32, 32 * (2 + number / 10 % 5) as u32);
            let frame = Frame::packed(PixelFormat::Rgb8, &pixels, width, height, 0).unwrap();
            segmenter.segment(&frame, &mut mask).unwrap();
        }
    };
    frames(2);
    let before = memory();
    frames(10);
    let after = memory();
    // A page of slack per frame; a network per size would take 50 times some MiB.
    assert!(after <= before + 4 * 500, "{before} KiB after 100 frames, {after} KiB after 600");
}

/// Runs a test of this program in a process of its own.
fn alone(name: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("FCN_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{}: {said:?}", output.status);
}

#[test]
fn threads_share_sessions_and_can_be_cancelled() {
    let Some(library) = library("threads_share_sessions_and_can_be_cancelled") else { return };
    let mut options = with(&library, Provider::OpenVino, Precision::Exact);
    (options.sessions, options.timeout) = (3, Some(Duration::from_secs(600)));
    let segmenter = Segmenter::from_memory(&deep(), &options).unwrap();
    let truth = labelled(&segmenter, 96, 64);
    let pixels = random_bytes(96, 3 * 96 * 64);
    let frame = Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut mask = Mask::new();
                for _ in 0..20 {
                    match segmenter.segment(&frame, &mut mask) {
                        Ok(()) => assert_eq!(mask.labels(), truth.0),
                        Err(error) => assert!(matches!(error, Error::Cancelled(_)), "{error}"),
                    }
                }
            });
        }
        (0..5).for_each(|_| segmenter.cancel().unwrap());
    });
    assert_eq!(labelled(&segmenter, 96, 64), truth);
    // A limit that has passed before the run begins.
    options.timeout = Some(Duration::from_nanos(1));
    let hurried = Segmenter::from_memory(&deep(), &options).unwrap();
    let error = hurried.segment(&frame, &mut Mask::new()).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
}

#[test]
fn the_cache_has_no_entry_for_a_cpu() {
    let Some(library) = library("the_cache_has_no_entry_for_a_cpu") else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = with(&library, Provider::OpenVino, Precision::Exact).with_cache(folder.path());
    Segmenter::from_memory(&deep(), &options).unwrap();
    assert_eq!(cache_entries(folder.path()), Vec::<PathBuf>::new());
}

/// A command for a C program, with the library, a model and arguments.
fn c_program(library: &Path, folder: &Path, source: &str, arguments: &[&str]) -> Command {
    let model = folder.join("model.onnx");
    fs::write(&model, deep()).unwrap();
    let mut command = Command::new(build(folder, "cc", "c11", source));
    command.env("ORT_DYLIB_PATH", library).arg(&model).args(arguments);
    command
}

#[test]
fn a_program_may_end_with_everything_still_there() {
    let Some(library) = library("a_program_may_end_with_everything_still_there") else { return };
    for how in ["free", "leak", "stream", "busy", "atexit"] {
        let folder = tempfile::tempdir().unwrap();
        let output = c_program(&library, folder.path(), "tests/c/exit.c", &[how, "openvino"]).output().unwrap();
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{how}: {}: {said:?}", output.status);
        // Nothing but the program's own line is printed.
        assert_eq!((&*said[0], &*said[1]), (format!("{how}: ran on openvino\n").as_str(), ""), "{how}");
    }
}

#[test]
fn a_forked_child_is_refused() {
    let Some(library) = library("a_forked_child_is_refused") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = run(&mut c_program(&library, folder.path(), "tests/c/fork.c", &["openvino"]));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn threads_sleep_between_frames() {
    let Some(library) = library("threads_sleep_between_frames") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = run(&mut c_program(&library, folder.path(), "tests/c/asleep.c", &["openvino"]));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn nothing_leaves_the_machine() {
    const NAME: &str = "nothing_leaves_the_machine with OpenVINO";
    let Some(library) = library(NAME) else { return };
    if !have(NAME, &["strace"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    fs::write(&model, deep()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/telemetry.c");
    let arguments = [&model, Path::new("free"), Path::new("openvino")];
    let variables = [("ORT_DYLIB_PATH", library.to_str().unwrap())];
    let trace = trace(folder.path(), &program, &arguments, &variables);
    assert_eq!((trace.sockets, trace.writes, trace.files_at_home), (vec![], vec![], vec![]));
}
