//! Tests that need a GPU. `make gpu-check` runs them with FCN_TEST_PROVIDER=cuda; without that
//! variable, each one is listed as skipped.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{path::PathBuf, process::Command, thread, time::Duration};

use fcn::{Error, Frame, Image, Mask, Options, Outputs, PixelFormat, Provider, Segmenter, SizeMode};
use models::{Spec, network, provider, random_bytes};

const ALL: Outputs = Outputs { confidence: true, confidence_u8: true, margin: true, scores: true };

/// Whether there is a GPU. If not, lists the test `what` as skipped.
fn have_gpu(what: &str) -> bool {
    let there = provider() != Provider::Cpu;
    if !there {
        common::skip_data(what, "it needs a GPU; make gpu-check runs it");
    }
    there
}

fn options(provider: Provider, size_mode: Option<SizeMode>) -> Options {
    let mut options = Options::default();
    (options.provider, options.size_mode) = (provider, size_mode);
    options
}

/// The CPU in the form that a GPU gets: an int8 file's weights as float32. Its own integer
/// arithmetic rounds otherwise.
fn on_cpu(size_mode: SizeMode) -> Options {
    let mut options = options(Provider::Cpu, Some(size_mode));
    options.device_graph = true;
    options
}

fn model(name: &str) -> PathBuf {
    common::root().join("models").join(name)
}

fn photo(name: &str) -> Image {
    fcn::read_image(common::root().join(".deps/photos").join(name)).unwrap()
}

fn frame(image: &Image) -> Frame<'_> {
    Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0).unwrap()
}

/// The GPU memory in use by all processes, in MiB.
fn used_memory() -> u64 {
    let text =
        common::run(Command::new("nvidia-smi").args(["--query-gpu=memory.used", "--format=csv,noheader,nounits"]));
    text.lines().next().unwrap().trim().parse().unwrap()
}

fn tell(line: &str) {
    #[expect(clippy::print_stdout, reason = "figures for the report, with --nocapture")]
    {
        println!("figure: {line}");
    }
}

#[test]
fn auto_chooses_the_gpu() {
    if !have_gpu("auto_chooses_the_gpu") {
        return;
    }
    let segmenter = Segmenter::from_memory(&network(Spec::default()), &options(Provider::Auto, None)).unwrap();
    assert_eq!((segmenter.provider(), segmenter.provider_reason()), ("cuda", ""));
}

#[test]
fn the_models_label_photos_as_on_the_cpu() {
    if !have_gpu("the_models_label_photos_as_on_the_cpu") {
        return;
    }
    for name in ["street.onnx", "animals.onnx"] {
        for mode in [SizeMode::Pad, SizeMode::Auto, SizeMode::Tile { width: 320, height: 320, overlap: 32 }] {
            let on = |options| Segmenter::from_file(model(name), &options).unwrap();
            let (gpu, cpu) = (on(options(provider(), Some(mode))), on(on_cpu(mode)));
            for picture in ["chelsea.png", "china.jpg"] {
                let image = photo(picture);
                let mut truth = Mask::new();
                cpu.segment(&frame(&image), &mut truth).unwrap();
                for outputs in [Outputs::default(), ALL] {
                    let mut mask = Mask::with_outputs(outputs);
                    gpu.segment(&frame(&image), &mut mask).unwrap();
                    let equal = mask.labels().iter().zip(truth.labels()).filter(|(a, b)| a == b).count();
                    let share = equal as f64 / truth.labels().len() as f64;
                    let line =
                        format!("{name} {mode:?} {picture} scores {}: {share:.4} of labels equal", outputs.scores);
                    tell(&line);
                    assert!(share > 0.99, "{line}");
                }
            }
        }
    }
}

#[test]
fn memory_stays_as_it_is() {
    if !have_gpu("memory_stays_as_it_is") {
        return;
    }
    let image = photo("chelsea.png");
    let create = |mode| Segmenter::from_file(model("street.onnx"), &options(provider(), Some(mode))).unwrap();
    for (name, mode, outputs) in [("device", SizeMode::Pad, Outputs::default()), ("plain", SizeMode::Auto, ALL)] {
        let segmenter = create(mode);
        let mut mask = Mask::with_outputs(outputs);
        let mut frames = |count| (0..count).for_each(|_| segmenter.segment(&frame(&image), &mut mask).unwrap());
        frames(100);
        let before = used_memory();
        frames(1000);
        let after = used_memory();
        tell(&format!("{name}: {before} MiB after 100 frames, {after} MiB after 1100"));
        assert!(after <= before, "{name}: {before} MiB, then {after} MiB");
    }
    let cycle = || {
        let segmenter = create(SizeMode::Pad);
        segmenter.segment(&frame(&image), &mut Mask::new()).unwrap();
    };
    (0..3).for_each(|_| cycle());
    let before = used_memory();
    (0..12).for_each(|_| cycle());
    let after = used_memory();
    tell(&format!("{before} MiB after 3 segmenters, {after} MiB after 15"));
    // The driver allocates in units of 2 MiB.
    assert!(after <= before + 4, "{before} MiB, then {after} MiB");
}

#[test]
fn what_a_gpu_lacks_is_an_error() {
    if !have_gpu("what_a_gpu_lacks_is_an_error") {
        return;
    }
    let network = network(Spec::default());
    let mut absent = options(provider(), None);
    absent.device = 63;
    let error = Segmenter::from_memory(&network, &absent).err().unwrap();
    tell(&format!("device 63: {error}"));
    assert!(matches!(error, Error::Provider(_)), "{error}");
    let image = photo("china.jpg");
    for mode in [SizeMode::Pad, SizeMode::Resize { width: 1920, height: 1280 }] {
        let mut small = options(provider(), Some(mode));
        small.gpu_memory_limit = 8 << 20;
        let segmenter = Segmenter::from_file(model("street.onnx"), &small);
        let error = segmenter.and_then(|segmenter| segmenter.segment(&frame(&image), &mut Mask::new())).unwrap_err();
        tell(&format!("8 MiB of memory, {mode:?}: {error}"));
    }
    // Other segmenters keep working.
    let segmenter = Segmenter::from_memory(&network, &options(provider(), None)).unwrap();
    segmenter.segment(&frame(&image), &mut Mask::new()).unwrap();
}

#[test]
fn threads_share_a_gpu() {
    if !have_gpu("threads_share_a_gpu") {
        return;
    }
    let image = photo("chelsea.png");
    for mode in [SizeMode::Pad, SizeMode::Auto] {
        let mut options = options(provider(), Some(mode));
        (options.sessions, options.timeout) = (3, Some(Duration::from_secs(60)));
        let segmenter = Segmenter::from_file(model("animals.onnx"), &options).unwrap();
        let mut truth = Mask::new();
        segmenter.segment(&frame(&image), &mut truth).unwrap();
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut mask = Mask::new();
                    for _ in 0..50 {
                        segmenter.segment(&frame(&image), &mut mask).unwrap();
                        let equal = mask.labels().iter().zip(truth.labels()).filter(|(a, b)| a == b).count();
                        assert!(equal * 1000 >= 999 * truth.labels().len(), "{equal} equal labels");
                    }
                });
            }
        });
    }
}

#[test]
fn frames_of_many_sizes_and_formats_take_the_same_way() {
    if !have_gpu("frames_of_many_sizes_and_formats_take_the_same_way") {
        return;
    }
    let on = |options| Segmenter::from_file(model("street.onnx"), &options).unwrap();
    let (gpu, cpu) = (on(options(provider(), Some(SizeMode::Pad))), on(on_cpu(SizeMode::Pad)));
    let pixels = random_bytes(5, 4 * 640 * 480);
    let (mut found, mut truth) = (Mask::new(), Mask::new());
    let mut worst: f64 = 1.0;
    use PixelFormat::{Bgr8, Bgra8, Gray8, Nv12, Rgb8, Rgba8, Yuyv};
    for (width, height) in [(640, 480), (33, 47), (320, 240), (640, 480), (64, 64), (510, 333)] {
        for format in [Rgb8, Bgr8, Rgba8, Bgra8, Gray8, Nv12, Yuyv] {
            if width % 2 + height % 2 > 0 && matches!(format, Nv12 | Yuyv) {
                continue;
            }
            let frame = Frame::contiguous(format, &pixels, width, height, 0).unwrap();
            gpu.segment(&frame, &mut found).unwrap();
            cpu.segment(&frame, &mut truth).unwrap();
            let equal = found.labels().iter().zip(truth.labels()).filter(|(a, b)| a == b).count();
            worst = worst.min(equal as f64 / truth.labels().len() as f64);
        }
    }
    tell(&format!("street.onnx on noise of many sizes and formats: at least {worst:.4} of labels equal"));
    assert!(worst > 0.99, "{worst}");
}
