//! Host programs: built against the host's packages, run, and compared with the plain functions.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{build_with, have, have_packages, make, root, run};
use fcn::{
    ColorMatrix, ColorRange, Frame, Image, Mask, Options, OverlayStyle, PixelFormat, Precision, Provider, Segmenter,
    SizeMode, overlay_styled,
};
use models::{Spec, random_bytes};
use prost::Message;

/// Writes the tests' model to `folder`: 5 classes, two of them pure red and blue, stride 8, a card.
fn model(folder: &Path) -> PathBuf {
    let mut model = models::model(Spec::default());
    let [card] = &mut model.metadata_props[..] else { panic!("one entry") };
    let value = card.value.as_mut().unwrap();
    let bright = value.replace("[128,0,0]", "[255,0,0]").replace("[0,0,128]", "[0,0,255]");
    assert_eq!(bright.matches("255").count(), value.matches("255").count() + 2, "{bright}");
    *value = bright;
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// Labels an image without padding and draws the overlay into it like examples/opencv, with libfcn
/// only.
fn draw(segmenter: &Segmenter, format: PixelFormat, pixels: &mut [u8], width: u32, height: u32) -> Mask {
    let mut mask = Mask::new();
    segmenter.segment(&Frame::packed(format, pixels, width, height, 0).unwrap(), &mut mask).unwrap();
    let (labels, style) = (mask.label_map().unwrap(), OverlayStyle { alpha: 0.4, outline: 1, legend: true });
    overlay_styled(pixels, format, 0, labels, segmenter.classes(), segmenter.background(), style).unwrap();
    mask
}

/// pkg-config's flags for the packages, with their headers as system headers to suppress warnings.
fn flags(packages: &[&str]) -> Vec<String> {
    let answer = run(Command::new("pkg-config").args(["--cflags", "--libs"]).args(packages));
    answer.split_whitespace().map(|flag| flag.replacen("-I", "-isystem", 1)).collect()
}

/// Builds a C++ program with the oldest and the newest standard and runs both, one under valgrind.
fn check_in_cpp(what: &str, source: &str, more: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    for (compiler, standard) in [("clang++", "c++20"), ("g++", "c++11")] {
        if have(what, &[compiler]) {
            let program = build_with(folder.path(), compiler, standard, source, more);
            assert_eq!(run(Command::new(program).arg(&model)), "0 failures\n", "{compiler} {standard}");
        }
    }
    // gcc comes last: valgrind reads its debug information.
    if let Some(mut valgrind) = common::valgrind(what) {
        let program = folder.path().join(Path::new(source).file_stem().unwrap());
        assert_eq!(run(valgrind.arg(program).arg(&model)), "0 failures\n");
    }
}

#[test]
fn opencv_gives_and_takes_matrices_without_a_copy() {
    let what = "C++ with OpenCV";
    if !have_packages(what, &["opencv4"]) {
        return;
    }
    let mut more = flags(&["opencv4"]);
    // The header needs only one of OpenCV's many libraries.
    more.retain(|flag| !flag.starts_with("-lopencv_") || flag == "-lopencv_core");
    more.extend(["-I".into(), root().join("examples/opencv").display().to_string()]);
    check_in_cpp(what, "tests/c/opencv.cpp", &more);
}

#[test]
fn opencv_example_is_built_with_cmake_alone() {
    let what = "examples/opencv";
    if !have_packages(what, &["opencv4"]) || !have(what, &["cmake", "make", "c++"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make("install", &[format!("PREFIX={}", path("prefix").display())]);
    let source = root().join("examples/opencv");
    run(Command::new("cmake").env("CMAKE_PREFIX_PATH", path("prefix")).args([
        "-S".as_ref(),
        source.as_os_str(),
        "-B".as_ref(),
        path("build").as_os_str(),
    ]));
    run(Command::new("cmake").arg("--build").arg(path("build")));

    let model = model(folder.path());
    let segmenter = Segmenter::from_file(&model, &Options::default()).unwrap();
    let (width, height) = (90, 60);
    let picture = Image { width, height, pixels: random_bytes(5, 90 * 60 * 3) };
    fcn::write_png(path("picture.png"), &picture).unwrap();
    for part in [None, Some([13, 5, 50, 37])] {
        let numbers = part.iter().flatten().map(u32::to_string).collect::<Vec<_>>();
        let files = [&model, &path("picture.png"), &path("overlay.png")];
        let answer = run(Command::new(path("build/segment")).args(files).args(numbers));

        // The same with libfcn only: the region is cut out by hand.
        let [x, y, w, h] = part.unwrap_or([0, 0, width, height]).map(|value| value as usize);
        let row = |row: usize| (row * width as usize + x) * 3..(row * width as usize + x + w) * 3;
        let mut pixels: Vec<u8> = (y..y + h).flat_map(|y| &picture.pixels[row(y)]).copied().collect();
        let mask = draw(&segmenter, PixelFormat::Rgb8, &mut pixels, w as u32, h as u32);
        let counts = mask.pixels().iter().zip(segmenter.classes()).filter(|(count, _)| **count > 0);
        let expected: String = counts.map(|(count, class)| format!("{count} {}\n", class.name)).collect();
        assert_eq!(answer, expected);
        let mut overlay = picture.pixels.clone();
        for (index, line) in pixels.chunks_exact(w * 3).enumerate() {
            overlay[row(y + index)].copy_from_slice(line);
        }
        let drawn = fcn::read_image(path("overlay.png")).unwrap();
        assert!(drawn.pixels == overlay && overlay != picture.pixels);
    }
    let wrong = Command::new(path("build/segment"))
        .args([&model, &path("picture.png"), &path("overlay.png")])
        .args(["50", "0", "50", "10"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn ros_messages_are_frames_and_labels() {
    let more = ["-I".to_owned(), root().join("examples/ros2/include").display().to_string()];
    check_in_cpp("ROS 2's messages", "tests/c/ros2.cpp", &more);
}

/// The words in quotes of a line like `  name: ["one", "two"]`.
fn list(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

#[test]
fn costmap_parameters_name_the_classes_of_street() {
    let path = root().join("examples/ros2/config/costmap.yaml");
    let text = fs::read_to_string(path).unwrap();
    let lines = |key: &str| text.lines().map(str::trim).filter(move |line| line.starts_with(key)).collect::<Vec<_>>();
    let types: Vec<&str> = lines("class_types:").into_iter().flat_map(list).collect();
    let mut classes: Vec<&str> = lines("classes:").into_iter().flat_map(list).collect();
    assert_eq!(lines("classes:").len(), types.len());
    for name in types {
        assert_eq!(lines(&format!("{name}:")).len(), 1, "{name}");
    }
    // The sky has no points that could cost anything.
    classes.push("sky");
    classes.sort_unstable();
    let segmenter = Segmenter::from_file(root().join("models/street.onnx"), &Options::default()).unwrap();
    let mut names: Vec<&str> = segmenter.classes().iter().map(|class| class.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(classes, names);
    for topic in ["mask", "confidence", "label_info"] {
        assert_eq!(text.matches(&format!("\"/segmentation/{topic}\"")).count(), 1, "{topic}");
    }
}

/// What the element's property `metadata` needs, for pkg-config.
const ANALYTICS: &str = "gstreamer-analytics-1.0 >= 1.26";

fn have_analytics() -> bool {
    Command::new("pkg-config").args(["--exists", ANALYTICS]).status().unwrap().success()
}

/// GStreamer with the element of examples/gstreamer.
struct Gstreamer {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Gstreamer {
    /// `None` if something is missing; the test is then listed as skipped.
    fn new() -> Option<Gstreamer> {
        Gstreamer::build(false)
    }

    /// With the element's property `metadata`, if `analytics` is true.
    fn build(analytics: bool) -> Option<Gstreamer> {
        let what = "GStreamer";
        if !have_packages(what, &["gstreamer-1.0", "gstreamer-video-1.0"]) || !have(what, &["cc", "gst-launch-1.0"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut more = flags(&["gstreamer-1.0", "gstreamer-video-1.0"]);
        more.extend(["-shared", "-fPIC", "-o"].map(str::to_owned));
        more.push(folder.path().join("libgstfcn.so").display().to_string());
        if analytics {
            more.push("-DHAVE_GST_ANALYTICS".to_owned());
            more.extend(flags(&[ANALYTICS]));
        }
        build_with(folder.path(), "cc", "c11", "examples/gstreamer/gstfcn.c", &more);
        let model = model(folder.path());
        Some(Gstreamer { folder, model })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a pipeline to a command as gst-launch-1.0's arguments; FOLDER and FCN stand for the
    /// folder and for the element with the model.
    fn launch(&self, mut command: Command, pipeline: &str) -> Command {
        let pipeline = pipeline
            .replace("FOLDER", &self.folder.path().display().to_string())
            .replace("FCN", &format!("fcn alpha=0.5 outline=1 model={}", self.model.display()));
        command
            .env("GST_PLUGIN_PATH", self.folder.path())
            .env("GST_REGISTRY", self.path("registry.bin"))
            .args(pipeline.split_whitespace());
        command
    }

    fn command(&self, pipeline: &str) -> Command {
        let mut command = Command::new("gst-launch-1.0");
        command.arg("--quiet");
        self.launch(command, pipeline)
    }

    fn run(&self, pipeline: &str) {
        run(&mut self.command(pipeline));
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

/// Whether the pixel to the left, right, top or bottom has another label.
fn is_border(labels: &[u8], width: usize, pixel: usize) -> bool {
    let (x, differs) = (pixel % width, |other: usize| labels.get(other).is_some_and(|label| *label != labels[pixel]));
    (x > 0 && differs(pixel - 1))
        || (x + 1 < width && differs(pixel + 1))
        || (pixel >= width && differs(pixel - width))
        || differs(pixel + width)
}

/// The layout of frames in a file.
struct Layout {
    format: PixelFormat,
    width: usize,
    height: usize,
    /// Bytes before the first row, and between rows.
    offset: usize,
    stride: usize,
    /// Bytes of a frame.
    size: usize,
}

impl Layout {
    /// GStreamer's default layout: rows are padded to multiples of 4 bytes.
    fn plain(format: PixelFormat, width: usize, height: usize) -> Layout {
        let stride = (width * format.bytes()).next_multiple_of(4);
        Layout { format, width, height, offset: 0, stride, size: stride * height }
    }

    /// Compares frames before and after the element with plain arithmetic on the Rust API's labels,
    /// byte by byte: the class colour at borders, halfway to it elsewhere; background is unchanged.
    fn check(&self, segmenter: &Segmenter, before: &[u8], after: &[u8], frames: usize) {
        let Layout { format, width, height, offset, stride, size } = *self;
        assert_eq!((before.len(), after.len()), (frames * size, frames * size), "{frames} frames of {size} bytes");
        let (bytes, order) = match format {
            PixelFormat::Rgb8 => (3, [0, 1, 2]),
            PixelFormat::Bgr8 => (3, [2, 1, 0]),
            PixelFormat::Bgra8 => (4, [2, 1, 0]),
            _ => panic!("no test uses {format:?}"),
        };
        let mut mask = Mask::new();
        let mut changed = [0usize; 256];
        for (number, (before, after)) in before.chunks_exact(size).zip(after.chunks_exact(size)).enumerate() {
            let frame = Frame::packed(format, &before[offset..], width as u32, height as u32, stride).unwrap();
            segmenter.segment(&frame, &mut mask).unwrap();
            let mut expected = before.to_vec();
            for (pixel, &label) in mask.labels().iter().enumerate() {
                let class = &segmenter.classes()[label as usize];
                if class.name == "background" {
                    continue;
                }
                let first = offset + pixel / width * stride + pixel % width * bytes;
                for (channel, place) in order.into_iter().enumerate() {
                    let value = &mut expected[first + place];
                    let color = class.display_color()[channel];
                    let half = (u16::from(*value) + u16::from(color)).div_ceil(2) as u8;
                    *value = if is_border(mask.labels(), width, pixel) { color } else { half };
                }
                changed[label as usize] += usize::from(before[first..first + bytes] != after[first..first + bytes]);
            }
            let differs = expected.iter().zip(after).position(|(expected, found)| expected != found);
            assert_eq!(differs, None, "frame {number}: the first byte that differs");
        }
        let classes = changed.iter().filter(|count| **count > 0).count();
        assert!(classes > 1, "the frames show one class only, so this test says little: {changed:?}");
    }
}

#[test]
fn gstreamer_element_draws_into_every_frame() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    for (name, format) in [("RGB", PixelFormat::Rgb8), ("BGR", PixelFormat::Bgr8), ("BGRx", PixelFormat::Bgra8)] {
        // The same buffers go to a file and to the element, which therefore must not write to them.
        gstreamer.run(&format!(
            "videotestsrc num-buffers=5 pattern=smpte75 ! video/x-raw,format={name},width=90,height=61 ! tee name=t \
             t. ! queue ! filesink location=FOLDER/before t. ! queue ! FCN ! filesink location=FOLDER/after"
        ));
        let layout = Layout::plain(format, 90, 61);
        layout.check(&segmenter, &gstreamer.read("before"), &gstreamer.read("after"), 5);
    }
}

#[test]
fn gstreamer_element_takes_a_clip_and_changing_sizes() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    gstreamer.run(
        "videotestsrc num-buffers=12 pattern=ball ! video/x-raw,width=96,height=64,framerate=10/1 ! jpegenc ! avimux \
         ! filesink location=FOLDER/clip.avi",
    );
    gstreamer.run(
        "filesrc location=FOLDER/clip.avi ! decodebin ! videoconvert ! video/x-raw,format=BGR ! tee name=t \
         t. ! queue ! filesink location=FOLDER/before t. ! queue ! FCN ! filesink location=FOLDER/after",
    );
    let layout = Layout::plain(PixelFormat::Bgr8, 96, 64);
    let before = gstreamer.read("before");
    layout.check(&segmenter, &before, &gstreamer.read("after"), 12);
    assert!(before[..layout.size] != before[11 * layout.size..], "the picture of the clip does not move");

    let sizes = [(64, 48), (40, 72)];
    let source = |(width, height)| {
        format!("videotestsrc num-buffers=3 ! video/x-raw,format=RGB,width={width},height={height} ! c. ")
    };
    let sources = sizes.map(source).concat();
    for (element, file) in [("", "before"), ("FCN !", "after")] {
        gstreamer.run(&format!("concat name=c ! {element} filesink location=FOLDER/{file} {sources}"));
    }
    let (before, after) = (gstreamer.read("before"), gstreamer.read("after"));
    let layouts = sizes.map(|(width, height)| Layout::plain(PixelFormat::Rgb8, width, height));
    let end = 3 * layouts[0].size;
    layouts[0].check(&segmenter, &before[..end], &after[..end], 3);
    layouts[1].check(&segmenter, &before[end..], &after[end..], 3);
}

#[test]
fn gstreamer_element_follows_strides_and_offsets() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    // rawvideoparse attaches a GstVideoMeta with this layout; nothing repacks the buffers on the
    // way.
    let layout =
        Layout { format: PixelFormat::Bgr8, width: 50, height: 37, offset: 24, stride: 300, size: 24 + 300 * 37 };
    let before = random_bytes(3, 3 * layout.size);
    fs::write(gstreamer.path("before"), &before).unwrap();
    gstreamer.run(
        "filesrc location=FOLDER/before ! rawvideoparse use-sink-caps=false format=bgr width=50 height=37 frame-size=11124 \
         plane-strides=<300> plane-offsets=<24> ! FCN ! filesink location=FOLDER/after",
    );
    layout.check(&segmenter, &before, &gstreamer.read("after"), 3);
}

#[test]
fn gstreamer_element_tells_what_is_wrong() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let wrong = [
        ("fcn", "Set the property \"model\""),
        ("fcn model=FOLDER/missing.onnx", "missing.onnx' cannot be opened"),
        ("fcn model=FOLDER/libgstfcn.so", "The model cannot be used"),
        ("FCN width=64", "need size-mode=resize"),
        ("FCN short-side=64", "needs size-mode=short-side"),
        ("FCN size-mode=short-side", "short side"),
        ("FCN size-mode=tile width=32 overlap=32", "overlap"),
    ];
    for (element, words) in wrong {
        let output = gstreamer.command(&format!("videotestsrc num-buffers=1 ! {element} ! fakesink")).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(words), "{element}: {errors}");
    }
    if let Some(mut valgrind) = common::valgrind("GStreamer's element under valgrind") {
        valgrind.args(["gst-launch-1.0", "--quiet"]);
        let pipeline = "videotestsrc num-buffers=3 ! video/x-raw,format=RGB,width=64,height=48 ! FCN ! fakesink";
        run(&mut gstreamer.launch(valgrind, pipeline));
    }
    // A frame that is too large stops the pipeline, not the process. With a sink that waits for its
    // first frame, gst-launch 1.22 hangs at times: the thread that fails quits the main loop, which
    // has no effect if the main thread has not entered it yet, and the sink waits forever. On a
    // busy machine, 20 of 265 runs of this pipeline hung, and 17 of 264 with GStreamer's own
    // `identity error-after=1` instead; with async=false, none of 200.
    let output = gstreamer
        .command(
            "videotestsrc num-buffers=1 ! video/x-raw,format=RGB,width=40000,height=2 ! FCN ! fakesink async=false",
        )
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("40000"), "{:?}: {errors}", output.status);
}

/// The layout of NV12 frames in a file.
struct Nv12 {
    width: usize,
    height: usize,
    /// Bytes before the first row of each plane, and between rows.
    offsets: [usize; 2],
    strides: [usize; 2],
    /// Bytes of a frame.
    size: usize,
    matrix: ColorMatrix,
    range: ColorRange,
}

impl Nv12 {
    /// A class's Y, Cb and Cr, by the formulas of ITU-R BT.601 and BT.709.
    fn color(&self, [r, g, b]: [u8; 3]) -> [f64; 3] {
        let (kr, kb) = if self.matrix == ColorMatrix::Bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let [r, g, b] = [r, g, b].map(|value| f64::from(value) / 255.0);
        let y = kr * r + (1.0 - kr - kb) * g + kb * b;
        let (black, white, chroma) =
            if self.range == ColorRange::Full { (0.0, 255.0, 127.5) } else { (16.0, 219.0, 112.0) };
        [black + white * y, 128.0 + chroma * (b - y) / (1.0 - kb), 128.0 + chroma * (r - y) / (1.0 - kr)]
            .map(|value| value.min(255.0))
    }

    /// As [`Layout::check`]; chroma samples follow the first of the pixels that share them.
    fn check(&self, segmenter: &Segmenter, before: &[u8], after: &[u8], frames: usize) {
        let Nv12 { width, height, offsets, strides, size, matrix, range } = *self;
        assert_eq!((before.len(), after.len()), (frames * size, frames * size), "{frames} frames of {size} bytes");
        let mut mask = Mask::new();
        for (number, (before, after)) in before.chunks_exact(size).zip(after.chunks_exact(size)).enumerate() {
            let planes = [0, 1].map(|plane| (&before[offsets[plane]..], strides[plane]));
            let frame = Frame::planar(PixelFormat::Nv12, &planes, width as u32, height as u32).unwrap();
            segmenter.segment(&frame.color(matrix, range), &mut mask).unwrap();
            let mut expected: Vec<f64> = before.iter().copied().map(f64::from).collect();
            let mut drawn = 0;
            for (pixel, &label) in mask.labels().iter().enumerate() {
                let class = &segmenter.classes()[label as usize];
                let (x, y) = (pixel % width, pixel / width);
                if class.name == "background" {
                    continue;
                }
                let color = self.color(class.display_color());
                let share = if is_border(mask.labels(), width, pixel) { 1.0 } else { 0.5 };
                let mut blend = |place: usize, color: f64| expected[place] += (color - expected[place]) * share;
                blend(offsets[0] + y * strides[0] + x, color[0]);
                if x % 2 == 0 && y % 2 == 0 {
                    let first = offsets[1] + y / 2 * strides[1] + x;
                    blend(first, color[1]);
                    blend(first + 1, color[2]);
                }
                drawn += 1;
            }
            assert!(
                drawn > 0 && drawn < width * height,
                "frame {number}: {drawn} pixels of classes, so this says little"
            );
            let far = |(place, expected): (usize, &f64)| {
                let allowed = if *expected == f64::from(before[place]) { 0.0 } else { 1.0 };
                (expected - f64::from(after[place])).abs() > allowed
            };
            let differs = expected.iter().enumerate().position(far);
            assert_eq!(differs, None, "frame {number}: the first byte that differs");
        }
    }
}

#[test]
fn gstreamer_element_takes_nv12_as_it_lies() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    // As from a camera: an odd size, planes anywhere in the buffer, rows with padding.
    let layout = Nv12 {
        width: 51,
        height: 37,
        offsets: [16, 2600],
        strides: [64, 72],
        size: 2600 + 72 * 19,
        matrix: ColorMatrix::Bt601,
        range: ColorRange::Limited,
    };
    let before = random_bytes(9, 3 * layout.size);
    fs::write(gstreamer.path("before"), &before).unwrap();
    gstreamer.run(
        "filesrc location=FOLDER/before ! rawvideoparse use-sink-caps=false format=nv12 width=51 height=37 frame-size=3968 \
         plane-strides=<64,72> plane-offsets=<16,2600> ! FCN ! filesink location=FOLDER/after",
    );
    layout.check(&segmenter, &before, &gstreamer.read("after"), 3);

    let (offsets, strides, size) = ([0, 96 * 64], [96, 96], 96 * 96);
    for (colorimetry, matrix, range) in
        [("bt709", ColorMatrix::Bt709, ColorRange::Limited), ("1:4:0:0", ColorMatrix::Bt601, ColorRange::Full)]
    {
        let layout = Nv12 { width: 96, height: 64, offsets, strides, size, matrix, range };
        gstreamer.run(&format!(
            "videotestsrc num-buffers=2 pattern=smpte75 ! video/x-raw,format=NV12,width=96,height=64,colorimetry={colorimetry} \
             ! tee name=t t. ! queue ! filesink location=FOLDER/before t. ! queue ! FCN ! filesink location=FOLDER/after"
        ));
        layout.check(&segmenter, &gstreamer.read("before"), &gstreamer.read("after"), 2);
    }
}

#[test]
fn gstreamer_element_gives_labels() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    // Rows of 90 bytes are padded to 92.
    let (width, height, stride) = (90, 61, 92);
    for (name, format) in [("GRAY8", PixelFormat::Gray8), ("BGR", PixelFormat::Bgr8)] {
        for (threshold, unknown) in [(0.0f32, false), (0.9, true)] {
            gstreamer.run(&format!(
                "videotestsrc num-buffers=2 pattern=smpte75 ! video/x-raw,format={name},width=90,height=61 ! tee name=t \
                 t. ! queue ! filesink location=FOLDER/before \
                 t. ! queue ! FCN output=labels threshold={threshold} ! video/x-raw,format=GRAY8 \
                 ! filesink location=FOLDER/after"
            ));
            let (before, after) = (gstreamer.read("before"), gstreamer.read("after"));
            let layout = Layout::plain(format, width, height);
            assert_eq!(after.len(), 2 * stride * height);
            let mut mask = Mask::new();
            mask.set_threshold(threshold).unwrap();
            for (before, after) in before.chunks_exact(layout.size).zip(after.chunks_exact(stride * height)) {
                let frame = Frame::packed(format, before, width as u32, height as u32, layout.stride).unwrap();
                segmenter.segment(&frame, &mut mask).unwrap();
                let rows = after.chunks_exact(stride).map(|row| &row[..width]);
                assert!(rows.eq(mask.labels().chunks_exact(width)), "{name} {threshold}");
                assert_eq!(mask.labels().contains(&255), unknown, "{name} {threshold}");
            }
        }
    }
    // Colours cannot be drawn into grey frames.
    let pipeline = "videotestsrc num-buffers=1 ! video/x-raw,format=GRAY8 ! FCN ! fakesink";
    assert!(!gstreamer.command(pipeline).output().unwrap().status.success());
}

#[test]
fn gstreamer_element_attaches_labels_as_metadata() {
    // The element, the threshold that it has, how often its labels are attached, and the bytes of a
    // row of labels that it gives.
    type Case = (&'static str, f32, usize, Option<usize>);
    // Built without the library, the element has no such property.
    let Some(plain) = Gstreamer::new() else { return };
    let pipeline = "videotestsrc num-buffers=1 ! FCN metadata=true ! fakesink";
    let output = plain.command(pipeline).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("no property \"metadata\""), "{errors}");
    if !have_analytics() {
        return common::skip_data("GStreamer's analytics metadata", &format!("pkg-config does not find {ANALYTICS}"));
    }

    let gstreamer = Gstreamer::build(true).expect("the other one was built");
    let more = flags(&[ANALYTICS, "gstreamer-1.0", "gstreamer-video-1.0"]);
    let program = build_with(gstreamer.folder.path(), "cc", "c11", "tests/c/analytics.c", &more);
    let segmenter = Segmenter::from_file(&gstreamer.model, &Options::default()).unwrap();
    let names = segmenter.classes().iter().enumerate().map(|(index, class)| format!("{index} {}\n", class.name));
    let names: String = names.collect();

    let cases: [Case; 4] = [
        ("FCN alpha=0 outline=0 metadata=true", 0.0, 1, None),
        ("FCN output=labels metadata=true", 0.0, 1, Some(92)),
        ("FCN output=labels threshold=0.9 metadata=true", 0.9, 1, Some(92)),
        ("FCN alpha=0 outline=0 metadata=true ! FCN alpha=0 outline=0 metadata=true", 0.0, 2, None),
    ];
    let (width, height) = (90, 61);
    let layout = Layout::plain(PixelFormat::Bgr8, width, height);
    for (element, threshold, times, labels) in cases {
        let pipeline = format!(
            "videotestsrc num-buffers=4 pattern=ball ! video/x-raw,format=BGR,width=90,height=61 ! tee name=t \
             t. ! queue ! filesink location=FOLDER/before t. ! queue ! {element} ! filesink name=sink location=FOLDER/after"
        );
        let mut command = Command::new(&program);
        command.arg(gstreamer.path("masks"));
        let printed = run(&mut gstreamer.launch(command, &pipeline));
        assert_eq!(printed, format!("90x61 for 90x61 at 0,0\n{names}").repeat(4 * times), "{element}");

        let (before, after, masks) = (gstreamer.read("before"), gstreamer.read("after"), gstreamer.read("masks"));
        assert_eq!((before.len(), masks.len()), (4 * layout.size, 4 * times * width * height), "{element}");
        let mut mask = Mask::new();
        mask.set_threshold(threshold).unwrap();
        let frames = before.chunks_exact(layout.size).zip(masks.chunks_exact(times * width * height));
        for (number, (before, masks)) in frames.enumerate() {
            let frame = Frame::packed(layout.format, before, width as u32, height as u32, layout.stride).unwrap();
            segmenter.segment(&frame, &mut mask).unwrap();
            assert!(masks == mask.labels().repeat(times), "{element}: frame {number}");
            assert_eq!(mask.labels().contains(&255), threshold > 0.0, "{element}: frame {number}");
        }
        let frame = times * width * height;
        assert!(masks[..frame] != masks[3 * frame..], "{element}: the labels of all frames are the same");
        // Labels that the element gives are those that it attaches; otherwise it left the frames
        // alone.
        if let Some(stride) = labels {
            let rows: Vec<u8> = after.chunks_exact(stride).flat_map(|row| &row[..width]).copied().collect();
            assert!(rows == masks, "{element}");
        } else {
            assert!(after == before, "{element}");
        }
    }

    // Drawing goes on as without metadata, and masks follow the size of the frames.
    let sources = [(64, 48), (40, 72)].map(|(width, height)| {
        format!("videotestsrc num-buffers=2 ! video/x-raw,format=NV12,width={width},height={height} ! c. ")
    });
    let pipeline = |settings, file| {
        format!("concat name=c ! FCN {settings} ! filesink name=sink location=FOLDER/{file} {}", sources.concat())
    };
    gstreamer.run(&pipeline("", "before"));
    // Without valgrind, env only runs the program.
    let mut command = common::valgrind("GStreamer's metadata under valgrind").unwrap_or_else(|| Command::new("env"));
    command.args([&program, &gstreamer.path("masks")]);
    let printed = run(&mut gstreamer.launch(command, &pipeline("metadata=true", "after")));
    let sizes = ["64x48", "64x48", "40x72", "40x72"];
    assert_eq!(printed, sizes.map(|size| format!("{size} for {size} at 0,0\n{names}")).concat());
    assert!(gstreamer.read("before") == gstreamer.read("after"));
}

#[test]
fn gstreamer_element_takes_the_librarys_settings() {
    type Case = (&'static str, Options, fn(&mut Mask));
    let Some(gstreamer) = Gstreamer::new() else { return };
    let (resize, tile) =
        (SizeMode::Resize { width: 48, height: 40 }, SizeMode::Tile { width: 48, height: 40, overlap: 16 });
    let cpu = Options::default().with_provider(Provider::Cpu);
    let mode = |mode| Options::default().with_size_mode(mode);
    let cases: [Case; 7] = [
        ("size-mode=pad", mode(SizeMode::Pad), |_| ()),
        ("size-mode=resize width=48 height=40", mode(resize), |_| ()),
        ("size-mode=short-side short-side=40", mode(SizeMode::ShortSide(40)), |_| ()),
        ("size-mode=tile width=48 height=40 overlap=16", mode(tile), |_| ()),
        ("smoothing=0.3", cpu.clone(), |mask| mask.set_smoothing(0.3).unwrap()),
        ("min-region=40", cpu.clone(), |mask| mask.set_min_region(40)),
        ("provider=cpu precision=fast threads=2", cpu.with_precision(Precision::Fast).with_threads(2), |_| ()),
    ];
    let (width, height, stride) = (90, 61, 92);
    let layout = Layout::plain(PixelFormat::Bgr8, width, height);
    let mut found = Vec::new();
    for (settings, options, set) in cases {
        gstreamer.run(&format!(
            "videotestsrc num-buffers=3 pattern=ball ! video/x-raw,format=BGR,width=90,height=61 ! tee name=t \
             t. ! queue ! filesink location=FOLDER/before \
             t. ! queue ! FCN output=labels {settings} ! filesink location=FOLDER/after"
        ));
        let (before, after) = (gstreamer.read("before"), gstreamer.read("after"));
        assert_eq!(after.len(), 3 * stride * height);
        let segmenter = Segmenter::from_file(&gstreamer.model, &options).unwrap();
        let mut mask = Mask::new();
        set(&mut mask);
        for (before, after) in before.chunks_exact(layout.size).zip(after.chunks_exact(stride * height)) {
            let frame = Frame::packed(PixelFormat::Bgr8, before, width as u32, height as u32, layout.stride).unwrap();
            segmenter.segment(&frame, &mut mask).unwrap();
            let rows = after.chunks_exact(stride).map(|row| &row[..width]);
            assert!(rows.eq(mask.labels().chunks_exact(width)), "{settings}");
        }
        found.push(after);
    }
    // Each of these changes the labels, so one that is ignored is noticed.
    let plain = found.pop().unwrap();
    for (index, other) in found.iter().enumerate().skip(1) {
        assert!(*other != plain, "case {index} is the default's labels");
    }
}

#[test]
fn gstreamer_element_negotiates_every_format() {
    let Some(gstreamer) = Gstreamer::new() else { return };
    for format in "NV12 NV21 I420 YUY2 UYVY RGB BGR RGBx BGRx RGBA BGRA".split(' ') {
        for (element, file) in [("", "before"), ("FCN !", "after")] {
            gstreamer.run(&format!(
                "videotestsrc num-buffers=1 ! video/x-raw,format={format},width=95,height=63 ! {element} \
                 filesink location=FOLDER/{file}"
            ));
        }
        let (before, after) = (gstreamer.read("before"), gstreamer.read("after"));
        assert!(before.len() == after.len() && before != after, "{format}");
    }
}
