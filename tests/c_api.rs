//! The C API from C and C++ programs: the headers compile with every compiler and standard, and the
//! programs in `tests/c` run with the library built for these tests.

mod common;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/models.rs"]
mod models;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use common::{WARNINGS, build, have, root, run};
use fcn::onnx::{
    ModelCard,
    build::{self, Dim},
    types::{StringStringEntryProto, ValueInfoProto, tensor_proto::DataLocation, tensor_proto::DataType},
};
use models::{End, Spec, network};
use prost::Message;

/// The valid model of these tests: 5 classes, stride 8, a card.
fn good_model() -> Vec<u8> {
    network(Spec::default())
}

#[test]
fn headers_compile_alone_in_every_standard() {
    let folder = tempfile::tempdir().unwrap();
    let (c, cpp) = (folder.path().join("alone.c"), folder.path().join("alone.cpp"));
    let (wrapped, plain) = (folder.path().join("wrapped.cpp"), folder.path().join("without_image.c"));
    fs::write(&c, "#include <fcn.h>\nint main(void) { return fcn_version() == 0; }\n").unwrap();
    fs::write(&cpp, "#include <fcn.h>\nint main() { return fcn_version() == nullptr; }\n").unwrap();
    fs::write(&wrapped, "#include <fcn.hpp>\nint main() { return fcn_version() == nullptr; }\n").unwrap();
    // Without the cargo feature, the functions for image files are not declared.
    let own = "#define FCN_WITHOUT_IMAGE\n#include <fcn.h>\nint fcn_image_read(void);\nint main(void) { return 0; }\n";
    fs::write(&plain, own).unwrap();
    let compile = |compiler: &str, standard: &str, source: &Path| {
        run(Command::new(compiler)
            .arg(format!("-std={standard}"))
            .args(WARNINGS)
            .arg("-I")
            .arg(root().join("include"))
            .args(["-fsyntax-only".as_ref(), source.as_os_str()]));
    };
    let mut compiled = 0;
    for (c_compiler, cpp_compiler) in [("gcc", "g++"), ("clang", "clang++")] {
        let what = format!("headers with {c_compiler}");
        if !have(&what, &[c_compiler, cpp_compiler]) {
            continue;
        }
        for standard in ["c99", "c11", "c17"] {
            compile(c_compiler, standard, &c);
            compile(c_compiler, standard, &plain);
        }
        for standard in ["c++11", "c++14", "c++17", "c++20"] {
            compile(cpp_compiler, standard, &cpp);
            compile(cpp_compiler, standard, &wrapped);
        }
        compiled += 1;
    }
    assert!(compiled > 0, "no C compiler at all");
}

/// Models and images with one defect each, for `tests/c/bad_input.c`.
fn write_bad_files(folder: &Path) {
    let write = |name: &[u8], content: &[u8]| fs::write(folder.join(OsStr::from_bytes(name)), content).unwrap();
    let good = good_model();
    write(b"good.onnx", &good);
    write(b"\xff.onnx", &good);
    write(b"empty.onnx", b"");
    write(b"truncated.onnx", &good[..good.len() / 2]);
    write(b"text.onnx", b"This is no model, but a sentence in English.\n");
    write(b"labels.onnx", &network(Spec { end: End::Labels, uncut: true, ..Spec::default() }));

    let mut model = models::model(Spec::default());
    let weight = &mut model.graph.as_mut().unwrap().initializer[0];
    weight.raw_data = None;
    weight.data_location = Some(DataLocation::External as i32);
    weight.external_data =
        vec![StringStringEntryProto { key: Some("location".into()), value: Some("weights.bin".into()) }];
    write(b"external.onnx", &model.encode_to_vec());

    for (name, dims) in [
        (&b"four_channels.onnx"[..], &[Dim::Fixed(1), Dim::Fixed(4), Dim::Named("H"), Dim::Named("W")][..]),
        (b"vector.onnx", &[Dim::Named("N"), Dim::Fixed(10)]),
    ] {
        let mut model = models::model(Spec::default());
        model.graph.as_mut().unwrap().input = vec![build::value("image", DataType::Float, dims)];
        write(name, &model.encode_to_vec());
    }

    let mut model = models::model(Spec::default());
    model.graph.as_mut().unwrap().node[0].op_type = Some("NoSuchOperator".into());
    write(b"unknown_operator.onnx", &model.encode_to_vec());

    let mut model = models::model(Spec::default());
    let card = ModelCard { version: 7, ..models::card(5, 8) };
    model.metadata_props[0].value = Some(card.to_json());
    write(b"card.onnx", &model.encode_to_vec());

    let picture = |width: u32, height: u32| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        // A header that declares more pixels than follow: only the start of an empty zlib stream.
        encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
        file
    };
    write(b"truncated.png", &picture(8, 4));
    write(b"huge.png", &picture(30000, 30000));
    write(b"long.png", &picture(40000, 1));
}

#[test]
fn bad_input_is_answered_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    write_bad_files(folder.path());
    let program = build(folder.path(), "cc", "c99", "tests/c/bad_input.c");
    let output = run(Command::new(program).arg(folder.path()));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn bad_input_leaks_nothing() {
    let Some(mut valgrind) = common::valgrind("bad input under valgrind") else { return };
    let folder = tempfile::tempdir().unwrap();
    write_bad_files(folder.path());
    let program = build(folder.path(), "cc", "c99", "tests/c/bad_input.c");
    under_valgrind(valgrind.arg(program).arg(folder.path()));
}

/// Runs a program that must succeed without output on stderr from valgrind or the library.
fn under_valgrind(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

/// Writes the models of `tests/c/stream.c` to `folder`.
fn stream_models(folder: &Path) -> [PathBuf; 2] {
    let models = [("endless.onnx", models::endless()), ("picky.onnx", models::picky())];
    models.map(|(name, model)| {
        fs::write(folder.join(name), model.encode_to_vec()).unwrap();
        folder.join(name)
    })
}

#[test]
fn streams_keep_their_promises() {
    let folder = tempfile::tempdir().unwrap();
    let models = stream_models(folder.path());
    let program = build(folder.path(), "cc", "c11", "tests/c/stream.c");
    let output = run(Command::new(program).args(models));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn streams_leak_nothing() {
    let Some(mut valgrind) = common::valgrind("streams under valgrind") else { return };
    let folder = tempfile::tempdir().unwrap();
    let models = stream_models(folder.path());
    let program = build(folder.path(), "cc", "c11", "tests/c/stream.c");
    under_valgrind(valgrind.arg(program).args(models));
}

#[test]
fn many_threads_share_a_handle() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/threads.c");
    for sessions in ["1", "3"] {
        let output = run(Command::new(&program).arg(&model).arg(sessions));
        assert!(output.ends_with(" 0 failures\n"), "{sessions} sessions: {output}");
    }
}

#[test]
fn a_program_may_end_with_everything_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/exit.c");
    for how in ["free", "leak", "stream", "busy", "atexit"] {
        let output = run(Command::new(&program).arg(&model).arg(how));
        assert!(output.starts_with(&format!("{how}: ran on ")), "{output}");
    }
}

#[test]
fn a_forked_child_leaves_the_parents_handle_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/fork.c");
    let output = run(Command::new(&program).arg(&model));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn a_child_forked_while_another_thread_creates_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/fork_create.c");
    let output = run(Command::new(&program).arg(&model));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn calls_that_enter_a_stream_too_late_get_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/stream_free.c");
    let output = run(Command::new(&program).arg(&model));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn as_little_stack_as_the_header_says_is_enough() {
    let header = fs::read_to_string(root().join("include/fcn.h")).unwrap();
    assert!(header.contains("needs 256 KiB of stack"), "the test is for another figure than the header's");
    let folder = tempfile::tempdir().unwrap();
    let (good, street) = (folder.path().join("good.onnx"), root().join("models/street.onnx"));
    fs::write(&good, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/stack.c");
    let output = run(Command::new(&program).arg("256").args([&good, &street]));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn a_constructor_may_use_the_library_while_dlopen_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let plugin =
        common::build_with(folder.path(), "c++", "c++11", "tests/c/plugin.cpp", &["-shared".into(), "-fPIC".into()]);
    let host = common::build_with(folder.path(), "cc", "c99", "tests/c/load_plugin.c", &["-ldl".into()]);
    assert_eq!(run(Command::new(host).arg(plugin).env("MODEL", model)), "works\n");
}

#[test]
fn too_few_threads_are_an_error_and_not_a_wait() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    // Libraries must use the program's own pthread_create().
    let program = common::build_with(
        folder.path(),
        "cc",
        "gnu11",
        "tests/c/thread_limit.c",
        &["-rdynamic".into(), "-ldl".into()],
    );
    let output = run(Command::new(program).arg(&model));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn too_little_address_space_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/address_space.c");
    let output = run(Command::new(program).arg(&model));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn threads_follow_the_affinity() {
    if !have("threads of a process that is bound to one CPU", &["taskset"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/affinity.c");
    let all = std::thread::available_parallelism().unwrap().get();
    for (cpus, count) in [("0".to_owned(), 1), (format!("0-{}", all - 1), all)] {
        let output = run(Command::new("taskset").args(["-c", &cpus]).arg(&program).arg(&model));
        // The threads of ONNX Runtime and of the head, and the caller's.
        assert_eq!(output, format!("{} threads\n", 2 * (count - 1) + 1), "on {count} CPUs");
    }
}

#[test]
fn a_wrong_onnx_runtime_is_an_error_and_the_right_one_still_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("good.onnx"), good_model()).unwrap();
    fs::write(path("text.so"), "no library").unwrap();
    run(Command::new("cc")
        .args(["-std=c99", "-shared", "-fPIC"])
        .args(WARNINGS)
        .arg(root().join("tests/c/old_runtime.c"))
        .arg("-o")
        .arg(path("libold.so")));
    let program = build(folder.path(), "cc", "c17", "tests/c/runtime.c");
    let right = env::var_os("ORT_DYLIB_PATH").expect("cargo sets ORT_DYLIB_PATH to the library in .deps");
    let other = common::library_dir().join("libfcn.so");
    let wrong: [(OsString, &str); 6] = [
        (path("missing.so").into(), "no such file"),
        (path("missing.so").into(), "get it with `make deps`"),
        (folder.path().into(), "no such file"),
        (path("text.so").into(), "1.24 or newer"),
        (other.into(), "1.24 or newer"),
        (path("libold.so").into(), "1.16.3"),
    ];
    let mut command = Command::new(&program);
    command.env_remove("ORT_DYLIB_PATH").arg(path("good.onnx")).arg(&right);
    for (library, words) in &wrong {
        command.arg(library).arg(words);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");

    // A file named by the environment variable is as binding as the option, and the message names
    // the variable.
    let program = build(folder.path(), "cc", "c99", "examples/segment.c");
    let arguments = [path("good.onnx"), path("photo.png"), path("overlay.png")];
    let said = |library: &str| {
        let output = Command::new(&program).env("ORT_DYLIB_PATH", library).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let errors = said(path("missing.so").to_str().unwrap());
    assert!(errors.contains("missing.so") && errors.contains("ORT_DYLIB_PATH"), "{errors}");
    // For a library that exists but is not ONNX Runtime, the message does not explain how to get
    // one.
    let errors = said(path("text.so").to_str().unwrap());
    assert!(errors.contains("1.24 or newer") && !errors.contains("make deps"), "{errors}");
    // None is named, and none is next to libfcn: the message explains how to get one.
    let errors = said("");
    if errors.contains("photo.png") {
        return common::skip_data("no ONNX Runtime at all", "this system has one");
    }
    for words in
        ["was not found: tried ", "`make deps`", "`pip install onnxruntime`", "runtime_library", "ORT_DYLIB_PATH"]
    {
        assert!(errors.contains(words), "{words}: {errors}");
    }
}

#[test]
fn wrapper_works_for_cpp() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("good.onnx");
    fs::write(&model, good_model()).unwrap();
    for standard in ["c++11", "c++20"] {
        let program = build(folder.path(), "c++", standard, "tests/c/wrapper.cpp");
        let output = run(Command::new(program).arg(&model).arg(folder.path()));
        assert_eq!(output, "0 failures\n", "{standard}");
    }
}

#[test]
fn options_say_what_a_foreign_model_expects() {
    // Values of 0 to 255 in BGR order, channels last, three outputs of which the middle one is
    // selected.
    let scaled =
        foreign::Foreign { layout: fcn::TensorLayout::Nhwc, last: foreign::Last::Probability, ..foreign::PLAIN };
    let mut model = scaled.model();
    let graph = model.graph.as_mut().unwrap();
    let probability = graph.output[0].clone();
    graph.initializer.push(build::floats("fcn.test.one", &[], &[1.0]));
    for name in ["other", "third"] {
        graph.node.push(build::node("Sub", &["fcn.test.one", probability.name()], name, vec![]));
        graph.output.push(ValueInfoProto { name: Some(name.into()), ..probability.clone() });
    }
    let open = [Dim::Named("a"), Dim::Named("b"), Dim::Named("c"), Dim::Named("d")];
    graph.input = vec![build::value("picture", DataType::Float, &open)];
    let pixels: Vec<u8> = (0..40 * 24 * 3u32).map(|i| (i * 7 + i / 50) as u8).collect();
    let normal = foreign::Normal { scale: 0.01, mean: [1.0, 1.5, 0.5], std: [0.5, 1.0, 2.0], bgr: true };
    let truth = scaled.logits(&pixels, 24, 40, &normal);
    // One minus a sigmoid is the sigmoid of the negated value.
    let labels: Vec<u8> = (0..40 * 24).map(|i| u8::from(truth[[1, i / 40, i % 40]] < 0.0)).collect();
    assert!(labels.contains(&0) && labels.contains(&1), "all of one class proves nothing");
    let folder = tempfile::tempdir().unwrap();
    // Three classes with a sigmoid each; the threshold 0.7 is the logit ln(7 / 3).
    let sigmoids = foreign::Foreign { last: foreign::Last::Sigmoid, classes: 3, ..foreign::PLAIN };
    let raw = foreign::Normal { scale: 1.0 / 255.0, mean: [0.0; 3], std: [1.0; 3], bgr: false };
    let truth = sigmoids.logits(&pixels, 24, 40, &raw);
    let best = |i: usize| {
        let all = (0..3).map(|class| truth[[class, i / 40, i % 40]]).enumerate();
        all.fold(
            (0, (7.0f64 / 3.0).ln()),
            |best, (class, score)| if score > best.1 { (class as u8 + 1, score) } else { best },
        )
    };
    let independent: Vec<u8> = (0..40 * 24).map(|i| best(i).0).collect();
    assert!(independent.contains(&0) && independent.iter().any(|label| *label > 0), "all of one class proves nothing");
    fs::write(folder.path().join("multilabel.onnx"), sigmoids.bytes()).unwrap();
    fs::write(folder.path().join("multilabel"), independent).unwrap();
    fs::write(folder.path().join("foreign.onnx"), model.encode_to_vec()).unwrap();
    fs::write(folder.path().join("labels"), labels).unwrap();
    for (compiler, standard, source) in [("cc", "c99", "tests/c/foreign.c"), ("c++", "c++11", "tests/c/foreign.cpp")] {
        let output = run(Command::new(build(folder.path(), compiler, standard, source)).arg(folder.path()));
        assert_eq!(output, "0 failures\n", "{source}");
    }
}

#[test]
fn example_and_its_rust_twin_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("good.onnx"), good_model()).unwrap();
    let pixels = models::random_bytes(5, 60 * 44 * 3);
    fcn::write_png(path("photo.png"), &fcn::Image { width: 60, height: 44, pixels }).unwrap();
    let program = build(folder.path(), "cc", "c99", "examples/segment.c");
    let twin = common::profile_dir().join("examples/segment");
    if !twin.is_file() {
        return common::skip(
            "segment.rs beside segment.c",
            "only `cargo test` of everything builds examples/segment.rs",
        );
    }
    let mut answers = Vec::new();
    for (program, overlay) in [(&program, "c.png"), (&twin, "rust.png")] {
        let arguments = [path("good.onnx"), path("photo.png"), path(overlay)];
        let answer = run(Command::new(program).args(&arguments).arg("3"));
        assert!(answer.contains("60 x 44 pixels") && answer.contains("median of 3"), "{answer}");
        // Times and the path of the overlay differ.
        let stays = |line: &&str| !line.starts_with("time ") && !line.starts_with("overlay ");
        answers.push(answer.lines().filter(stays).map(str::to_owned).collect::<Vec<_>>());
        for wrong in [vec![], vec!["0"], vec!["-1"]] {
            let complete = if wrong.is_empty() { &arguments[..2] } else { &arguments[..] };
            let output = Command::new(program).args(complete).args(wrong).output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: segment"));
        }
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].iter().any(|line| line.contains('%')), "{answers:?}");
    assert_eq!(fs::read(path("c.png")).unwrap(), fs::read(path("rust.png")).unwrap());
    assert_ne!(fs::read(path("c.png")).unwrap(), fs::read(path("photo.png")).unwrap());
}
