//! The command `fcn` as users call it.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

#[path = "../../tests/common/mod.rs"]
mod common;

use fcn::{Frame, Image, Mask, Options, PixelFormat, Segmenter, read_image, write_png};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn model() -> PathBuf {
    root().join("models/animals.onnx")
}

fn fcn(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fcn")).args(arguments).current_dir(folder).output().unwrap()
}

/// Runs a command that must work; returns what it printed.
fn works(arguments: &[&str], folder: &Path) -> String {
    let output = fcn(arguments, folder);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail; returns its message, one line.
fn fails(arguments: &[&str], folder: &Path) -> String {
    let output = fcn(arguments, folder);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    let last = message.lines().last().unwrap_or_default();
    assert!(last.starts_with("fcn: "), "{message}");
    message
}

/// A folder with copies of the model as `m.onnx` and `photos` different photos in `photos`.
fn folder(photos: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(model(), folder.path().join("m.onnx")).unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    let photo = read_image(root().join("docs/cat.jpg")).unwrap();
    for number in 0..photos {
        // Rows are left out at the top, so that each photo differs.
        let height = photo.height - 10 * number;
        let pixels = photo.pixels[(photo.width * 3 * 10 * number) as usize..].to_vec();
        let image = Image { width: photo.width, height, pixels };
        write_png(folder.path().join(format!("photos/p{number}.png")), &image).unwrap();
    }
    folder
}

/// The labels of an image through the library.
fn labels(image: &Image) -> Vec<u8> {
    let segmenter = Segmenter::from_file(model(), &Options::default()).unwrap();
    let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0).unwrap();
    let mut mask = Mask::new();
    segmenter.segment(&frame, &mut mask).unwrap();
    mask.labels().to_vec()
}

/// The class indices in a palette PNG.
fn indices(path: &Path) -> Vec<u8> {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Indexed, png::BitDepth::Eight));
    bytes.truncate(info.buffer_size());
    bytes
}

/// Decodes COCO's run lengths to a mask, row by row.
fn decode(mask: &Value) -> Vec<bool> {
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let (height, width) = (number(&mask["size"][0]), number(&mask["size"][1]));
    let mut column_order = Vec::new();
    for (index, count) in mask["counts"].as_array().unwrap().iter().enumerate() {
        column_order.extend(std::iter::repeat_n(index % 2 == 1, number(count)));
    }
    assert_eq!(column_order.len(), width * height);
    (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| column_order[x * height + y]).collect()
}

#[test]
fn photos_get_the_librarys_labels_in_every_form() {
    let folder = folder(3);
    let at = |name: &str| folder.path().join(name);
    works(
        &["run", "m.onnx", "photos", "--out", "out/new", "--write", "overlay,labels,rle", "--jobs", "2"],
        folder.path(),
    );
    for number in 0..3 {
        let photo = read_image(at(&format!("photos/p{number}.png"))).unwrap();
        let expected = labels(&photo);
        assert_eq!(indices(&at(&format!("out/new/p{number}.png"))), expected);
        let overlay = read_image(at(&format!("out/new/p{number}_overlay.png"))).unwrap();
        assert_eq!((overlay.width, overlay.height), (photo.width, photo.height));
        // Background pixels stay as they are, some others do not.
        let pixels = photo.pixels.chunks(3).zip(overlay.pixels.chunks(3)).zip(&expected);
        assert!(pixels.clone().all(|((old, new), &label)| label != 0 || old == new));
        assert!(pixels.clone().any(|((old, new), &label)| label != 0 && old != new));
        let text = fs::read(at(&format!("out/new/p{number}.json"))).unwrap();
        let rle: Value = serde_json::from_slice(&text).unwrap();
        let mut seen = 0;
        for class in rle["classes"].as_array().unwrap() {
            let label = class["category_id"].as_u64().unwrap() as u8;
            let mask = decode(&class["segmentation"]);
            assert!(mask.iter().zip(&expected).all(|(&inside, &of)| inside == (of == label)));
            seen += class["area"].as_u64().unwrap() as usize;
        }
        assert_eq!(seen, expected.len());
    }
}

/// Latin-1 is not UTF-8.
#[test]
fn names_that_are_not_utf_8_are_kept() {
    let folder = folder(1);
    let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    fs::rename(at(b"m.onnx"), at(b"m\xfc.onnx")).unwrap();
    fs::rename(at(b"photos/p0.png"), at(b"photos/p\xe4.png")).unwrap();
    let photos = [("named", &b"photos/p\xe4.png"[..]), ("found", b"photos"), ("matching", b"ph*/p*.png")];
    for (out, photo) in photos {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fcn"));
        command.arg("run").args([b"m\xfc.onnx", photo].map(OsStr::from_bytes)).args(["--out", out, "--json"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success());
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(line["outputs"][0], format!("{out}/p\u{fffd}_overlay.png"));
        assert!(at(&[out.as_bytes(), b"/p\xe4_overlay.png"].concat()).exists());
    }
}

#[test]
fn a_closed_output_is_an_error() {
    let folder = folder(1);
    for arguments in [&["info", "m.onnx"][..], &["run", "m.onnx", "photos", "--out", "out", "--json"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fcn"));
        let output = command.args(arguments).current_dir(folder.path()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the output: No space left"));
    }
}

#[test]
fn results_do_not_go_among_the_photos() {
    let folder = folder(1);
    let message = fails(&["run", "m.onnx", "photos", "--out", "photos/"], folder.path());
    assert!(message.contains("--out is the folder of the photos"), "{message}");
    works(&["run", "m.onnx", "photos", "--out", "photos", "--write", "rle"], folder.path());
    let again = works(&["run", "m.onnx", "photos", "--out", "photos", "--write", "rle", "--json"], folder.path());
    let line: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&line["input"], &line["done"]), (&Value::from("photos/p0.png"), &Value::from(true)));
}

#[test]
fn what_is_there_is_not_made_again_and_broken_photos_stop_no_others() {
    let folder = folder(2);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("photos/broken.png"), "no image").unwrap();
    let run = ["run", "m.onnx", "photos", "--out", "out"];
    let message = fails(&run, folder.path());
    assert!(message.contains("broken.png") && message.contains("1 of 3 inputs failed"), "{message}");
    let old = fs::metadata(at("out/p1_overlay.png")).unwrap().modified().unwrap();
    fs::remove_file(at("out/p0_overlay.png")).unwrap();
    fs::remove_file(at("photos/broken.png")).unwrap();
    works(&run, folder.path());
    assert!(at("out/p0_overlay.png").exists());
    assert_eq!(fs::metadata(at("out/p1_overlay.png")).unwrap().modified().unwrap(), old);
    // Other settings: an error, or everything again.
    let other = ["run", "m.onnx", "photos", "--out", "out", "--alpha", "1"];
    assert!(fails(&other, folder.path()).contains("other settings"));
    works(&[&other[..], &["--force"]].concat(), folder.path());
    assert_ne!(fs::metadata(at("out/p1_overlay.png")).unwrap().modified().unwrap(), old);
    // No temporary file is left.
    let mut names: Vec<_> = fs::read_dir(at("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".fcn-run.json", "p0_overlay.png", "p1_overlay.png"]);
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let folder = folder(1);
    fs::write(folder.path().join("bad.onnx"), "no model").unwrap();
    for (arguments, message) in [
        (&["run", "m.onnx", "--out", "out"][..], "nothing to label"),
        (&["run", "m.onnx", "nowhere.jpg", "--out", "out"], "nowhere.jpg cannot be read"),
        (&["run", "nowhere.onnx", "photos", "--out", "out"], "nowhere.onnx"),
        (&["run", "bad.onnx", "photos", "--out", "out"], "bad.onnx"),
        (&["run", "m.onnx", "photos", "--out", "x.mp4"], "is a file"),
        (&["run", "m.onnx", "photos", "--out", "out", "--show"], "--show is for videos"),
        (&["run", "m.onnx", "photos/p0.png", "--out", "photos", "--write", "labels"], "would replace the input"),
        (&["run", "photos", "--out", "out"], "there is no model animals"),
        (&["info", "nowhere"], "there is no model nowhere"),
        (&["bench", "bad.onnx", "--seconds", "0.01"], "nothing runs here"),
    ] {
        let printed = fails(arguments, folder.path());
        assert!(printed.contains(message), "{arguments:?}: {printed}");
    }
}

#[test]
fn info_and_bench_describe_the_model_and_the_machine() {
    let folder = folder(1);
    let info = works(&["info", "m.onnx"], folder.path());
    for part in ["fcn8s-efficientnet_lite0", "classes     21", "background", "cat", "cpu"] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let printed =
        works(&["bench", "m.onnx", "photos/p0.png", "--threads", "1,2", "--seconds", "0.05", "--json"], folder.path());
    let rows: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let cpu: Vec<_> = rows.iter().filter(|row| row["provider"] == "cpu").collect();
    assert_eq!(cpu.len(), 2);
    for row in cpu {
        assert_eq!(row["equal_labels"], 1.0);
        assert!(row["figures"]["median"].as_f64().unwrap() > 0.0 && row["figures"]["memory"].as_f64().unwrap() > 1.0);
    }
    let table = works(&["bench", "m.onnx", "--size", "64x64", "--threads", "1", "--seconds", "0.05"], folder.path());
    assert!(table.contains("frames of 64 x 64 pixels") && table.contains("100.00 %"), "{table}");
}

/// A video of `frames` frames that ffmpeg makes, with sound.
fn video(path: &Path, frames: u32) {
    let seconds = f64::from(frames) / 10.0;
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10", "-f", "lavfi"])
        .args(["-i", "sine=frequency=440", "-t", &seconds.to_string()])
        .args(["-frames:v", &frames.to_string()])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// The kind of each stream, and the number of frames of the first.
fn probe(path: &Path) -> (Vec<String>, u64) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "json", "-show_entries", "stream=codec_type,nb_read_frames"])
        .arg(path)
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = found["streams"].as_array().unwrap();
    let kinds = streams.iter().map(|stream| stream["codec_type"].as_str().unwrap().to_owned()).collect();
    (kinds, streams[0]["nb_read_frames"].as_str().unwrap().parse().unwrap())
}

#[test]
fn videos_keep_their_frames_and_sound() {
    if !common::have("labelled videos", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = folder(0);
    let at = |name: &str| folder.path().join(name);
    video(&at("clip.mp4"), 7);
    works(&["run", "m.onnx", "clip.mp4", "--out", "labelled.mp4"], folder.path());
    assert_eq!(probe(&at("labelled.mp4")), (vec!["video".to_owned(), "audio".to_owned()], 7));
    assert!(fails(&["run", "m.onnx", "clip.mp4", "--out", "labelled.mp4"], folder.path()).contains("exists already"));

    works(&["run", "m.onnx", "clip.mp4", "--out", "out", "--write", "labels,rle"], folder.path());
    // ffmpeg decodes the video to PNG files, which the library labels.
    fs::create_dir(at("frames")).unwrap();
    let status =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(at("clip.mp4")).arg(at("frames/%06d.png")).status();
    assert!(status.unwrap().success());
    for number in 1..=7 {
        let frame = read_image(at(&format!("frames/{number:06}.png"))).unwrap();
        assert_eq!(indices(&at(&format!("out/clip_labels/{number:06}.png"))), labels(&frame), "{number}");
    }
    assert!(!at("out/clip_labels/000008.png").exists());
    assert_eq!(fs::read_to_string(at("out/clip.jsonl")).unwrap().lines().count(), 7);
}

#[test]
fn videos_are_shown_in_a_window() {
    if !common::have("a window with labelled frames", &["ffmpeg", "ffprobe", "ffplay"]) {
        return;
    }
    let folder = folder(0);
    let at = |name: &str| folder.path().join(name);
    video(&at("clip.mp4"), 7);
    let output = Command::new(env!("CARGO_BIN_EXE_fcn"))
        .args(["run", "m.onnx", "clip.mp4", "--out", "labelled.mp4", "--show", "--json"])
        .current_dir(folder.path())
        // ffplay draws into memory.
        .env("SDL_VIDEODRIVER", "dummy")
        .output()
        .unwrap();
    // ffplay writes errors to the same stderr.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    assert_eq!(probe(&at("labelled.mp4")).1, 7);
}

#[test]
fn a_killed_run_leaves_no_half_video() {
    if !common::have("videos of runs that are killed", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = folder(0);
    let at = |name: &str| folder.path().join(name);
    video(&at("clip.mp4"), 5);
    // A video that does not end before the run is killed: it comes through a pipe that stays open.
    let status = Command::new("mkfifo").arg(at("endless.y4m")).status().unwrap();
    assert!(status.success());
    assert!(fails(&["run", "m.onnx", "endless.y4m", "--out", "out"], folder.path()).contains("is not a file"));

    video(&at("long.mp4"), 3000);
    let mut run = Command::new(env!("CARGO_BIN_EXE_fcn"))
        .args(["run", "m.onnx", "long.mp4", "clip.mp4", "--out", "out", "--write", "labels"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = at("out/.long_labels.part/000001.png");
    common::wait_for(|| first.exists());
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!at("out/long_labels").exists());
    // The next run starts it again and finishes it.
    video(&at("long.mp4"), 4);
    works(&["run", "m.onnx", "long.mp4", "clip.mp4", "--out", "out", "--write", "labels"], folder.path());
    assert_eq!(fs::read_dir(at("out/long_labels")).unwrap().count(), 4);
    assert_eq!(fs::read_dir(at("out/clip_labels")).unwrap().count(), 5);
    assert!(!at("out/.long_labels.part").exists());
}

#[test]
fn files_without_video_are_errors() {
    if !common::have("broken videos", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = folder(0);
    let at = |name: &str| folder.path().join(name);
    fs::File::create(at("no.mp4")).unwrap().write_all(b"no video").unwrap();
    let message = fails(&["run", "m.onnx", "no.mp4", "--out", "out"], folder.path());
    assert!(message.contains("no.mp4: ffprobe cannot open it"), "{message}");
    assert!(!at("out/no_overlay.mp4").exists());
    // Nor is a pipe replaced by a video.
    assert!(Command::new("mkfifo").arg(at("pipe.mp4")).status().unwrap().success());
    let message = fails(&["run", "m.onnx", "no.mp4", "--out", "pipe.mp4", "--force"], folder.path());
    assert!(message.contains("pipe.mp4 is not a regular file"), "{message}");
}

#[test]
fn the_installed_command_needs_no_settings() {
    if !common::have("the installed command", &["make"]) {
        return;
    }
    let folder = folder(1);
    let at = |name: &str| folder.path().join(name);
    // A folder as `cargo build` leaves it, with the library and the command.
    let from = at("built");
    fs::create_dir(&from).unwrap();
    fs::copy(common::library_dir().join("libfcn.so"), from.join("libfcn.so")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_fcn"), from.join("fcn")).unwrap();
    let arguments = [format!("FROM={}", from.display()), format!("PREFIX={}", at("prefix").display())];
    common::run(Command::new("make").current_dir(root()).arg("install").args(arguments));

    let installed = |arguments: &[&str]| {
        let mut command = Command::new(at("prefix/bin/fcn"));
        common::run(command.env_remove("ORT_DYLIB_PATH").current_dir(folder.path()).args(arguments))
    };
    assert!(installed(&["info", "street"]).contains("pavement"));
    // Without a model: animals, also where a folder is called so.
    fs::create_dir(at("animals")).unwrap();
    installed(&["run", "photos", "--out", "out", "--write", "labels"]);
    assert_eq!(indices(&at("out/p0.png")), labels(&read_image(at("photos/p0.png")).unwrap()));
}

/// A program that is killed at the end, also of a test that fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_live_source_is_recorded_until_ctrl_c() {
    if !common::have("live sources", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = folder(0);
    let at = |name: &str| folder.path().join(name);
    // A port that is free now.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("udp://127.0.0.1:{port}");
    let _sender = Killed(
        Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10"])
            .args(["-c:v", "mpeg2video", "-g", "5", "-f", "mpegts", &address])
            .spawn()
            .unwrap(),
    );
    let mut run = Command::new(env!("CARGO_BIN_EXE_fcn"))
        .args(["run", "m.onnx", &address, "--out", "out", "--write", "labels", "--json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let parts = || fs::read_dir(at("out")).ok()?.flatten().find(|entry| entry.path().is_dir());
    common::wait_for(|| parts().is_some_and(|part| part.path().join("000003.png").exists()));
    // SAFETY: the process was started above and has not been waited for.
    assert_eq!(unsafe { libc::kill(run.id() as i32, libc::SIGINT) }, 0);
    assert!(run.wait().unwrap().success());
    let mut line = String::new();
    std::io::Read::read_to_string(run.stdout.as_mut().unwrap(), &mut line).unwrap();
    let report: Value = serde_json::from_str(line.trim()).unwrap();
    let frames = report["figures"]["frames"].as_u64().unwrap();
    let labels = Path::new(report["outputs"][0].as_str().unwrap());
    assert!(frames >= 3);
    assert_eq!(fs::read_dir(at("").join(labels)).unwrap().count() as u64, frames);
}
