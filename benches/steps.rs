//! Time of preprocess and head, from [`Mask::timings`]: `cargo bench`.
//!
//! The networks in between are a single convolution; sizes and classes are realistic.

#[path = "../tests/common/models.rs"]
mod models;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcn::{Frame, Mask, Options, Outputs, PixelFormat, Provider, Rotation, Segmenter, SizeMode, Timings};
use models::{End, Spec, network, random_bytes};

/// Width and height of most frames.
const SMALL: (u32, u32) = (480, 320);
const BGR: PixelFormat = PixelFormat::Bgr8;

/// One benchmark: a step's share of whole frames at 2 threads.
struct Case<'a> {
    name: &'a str,
    spec: Spec,
    format: PixelFormat,
    /// Width and height of the frame.
    size: (u32, u32),
    rotation: Rotation,
    size_mode: Option<SizeMode>,
    outputs: Outputs,
    min_region: u32,
    step: fn(&Timings) -> Duration,
}

fn spec(stride: usize, end: End) -> Spec {
    Spec { classes: 21, stride, end, ..Spec::default() }
}

fn preprocess(criterion: &mut Criterion) {
    let step = |timings: &Timings| timings.preprocess;
    let (outputs, rotation) = (Outputs::default(), Rotation::None);
    let small = Case {
        name: "",
        spec: spec(32, End::Low),
        format: BGR,
        size: SMALL,
        rotation,
        size_mode: None,
        outputs,
        min_region: 0,
        step,
    };
    let resize = |width, height| Some(SizeMode::Resize { width, height });
    let camera = Case { size: (1920, 1080), size_mode: resize(480, 320), ..small };
    let turned = Rotation::Clockwise90;
    for case in [
        Case { name: "bgr8", ..small },
        Case { name: "rgba8", format: PixelFormat::Rgba8, ..small },
        Case { name: "gray8", format: PixelFormat::Gray8, ..small },
        Case { name: "nv12", format: PixelFormat::Nv12, ..small },
        Case { name: "bgr8, turned", rotation: turned, ..small },
        Case { name: "bgr8 to 320 x 224", size_mode: resize(320, 224), ..small },
        Case { name: "nv12 to 480 x 320", format: PixelFormat::Nv12, ..camera },
        Case { name: "yuyv to 480 x 320", format: PixelFormat::Yuyv, ..camera },
        Case { name: "bgr8 to 480 x 320", ..camera },
        Case {
            name: "nv12, turned, to 320 x 480",
            format: PixelFormat::Nv12,
            rotation: turned,
            size_mode: resize(320, 480),
            ..camera
        },
        Case { name: "nv12", format: PixelFormat::Nv12, size_mode: None, ..camera },
        Case { name: "nv12, turned", format: PixelFormat::Nv12, size_mode: None, rotation: turned, ..camera },
        Case { name: "bgr8", size_mode: None, ..camera },
        Case { name: "bgr8, turned", size_mode: None, rotation: turned, ..camera },
    ] {
        measure(criterion, "preprocess", &case);
    }
}

fn head(criterion: &mut Criterion) {
    let labels = Outputs::default();
    let confidence = Outputs { confidence: true, ..labels };
    let step = |timings: &Timings| timings.head;
    let small = Case {
        name: "",
        spec: spec(8, End::Transposed),
        format: BGR,
        size: SMALL,
        rotation: Rotation::None,
        size_mode: None,
        outputs: labels,
        min_region: 0,
        step,
    };
    // Random weights give noise: the best class changes from pixel to pixel, the slowest case.
    let camera = Case { size: (1920, 1080), size_mode: Some(SizeMode::Resize { width: 480, height: 320 }), ..small };
    for case in [
        Case { name: "learned, stride 32", spec: spec(32, End::Transposed), ..small },
        Case { name: "learned, stride 8", ..small },
        Case { name: "learned, stride 8, without specks of less than 64 pixels", min_region: 64, ..small },
        Case { name: "bilinear, stride 32", spec: spec(32, End::Diagonal), ..small },
        Case { name: "bilinear, stride 8", spec: spec(8, End::Diagonal), ..small },
        Case { name: "resize, stride 8", spec: spec(8, End::Resize), ..small },
        Case {
            name: "learned, stride 32, with confidence",
            spec: spec(32, End::Transposed),
            outputs: confidence,
            ..small
        },
        Case { name: "learned, stride 8, from 480 x 320", ..camera },
        Case { name: "resize, stride 8, from 480 x 320", spec: spec(8, End::Resize), ..camera },
        Case { name: "learned, stride 8, from 480 x 320, with confidence", outputs: confidence, ..camera },
        Case {
            name: "learned, stride 8, from 480 x 320, without specks of less than 64 pixels",
            min_region: 64,
            ..camera
        },
    ] {
        measure(criterion, "head", &case);
    }
}

/// The default model (fcn8s, 21 classes) on a photo, at a camera frame's size and small, if the
/// photo has been downloaded (`make deps-runtime`).
#[cfg(feature = "image")]
fn photo(criterion: &mut Criterion) {
    let Ok(photo) = fcn::read_image(".deps/photos/chelsea.png") else { return };
    let mut options = Options::default();
    (options.provider, options.threads) = (Provider::Cpu, 2);
    options.size_mode = Some(SizeMode::Resize { width: 480, height: 320 });
    let segmenter = Segmenter::from_file("models/animals.onnx", &options).expect("the model is sound");
    for (width, height) in [(1920, 1080), SMALL] {
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width * photo.width / width, i / width * photo.height / height);
                photo.pixels[(y * photo.width + x) as usize * 3..][..3].to_vec()
            })
            .collect();
        let frame = Frame::packed(PixelFormat::Rgb8, &pixels, width, height, 0).expect("the frame is sound");
        let confidence = Outputs { confidence: true, ..Outputs::default() };
        // The last row minus the first is the time for removing specks.
        for (name, outputs, min_region) in [
            ("photo, fcn8s, from 480 x 320", Outputs::default(), 0),
            ("photo, fcn8s, from 480 x 320, with confidence", confidence, 0),
            ("photo, fcn8s, from 480 x 320, without specks of less than 64 pixels", Outputs::default(), 64),
        ] {
            let mut mask = Mask::with_outputs(outputs);
            mask.set_min_region(min_region);
            time(criterion, "head", name, &segmenter, &frame, mask, |timings| timings.head);
        }
    }
}

#[cfg(not(feature = "image"))]
fn photo(_: &mut Criterion) {}

fn measure(criterion: &mut Criterion, step: &str, case: &Case<'_>) {
    let mut options = Options::default();
    (options.provider, options.threads, options.size_mode) = (Provider::Cpu, 2, case.size_mode);
    let segmenter = Segmenter::from_memory(&network(case.spec), &options).expect("the network is sound");
    let (width, height) = case.size;
    let pixels = random_bytes(1, (width * height) as usize * 4);
    let frame =
        Frame::contiguous(case.format, &pixels, width, height, 0).expect("the frame is sound").rotate(case.rotation);
    let mut mask = Mask::with_outputs(case.outputs);
    mask.set_min_region(case.min_region);
    time(criterion, step, case.name, &segmenter, &frame, mask, case.step);
}

fn time(
    criterion: &mut Criterion,
    step: &str,
    name: &str,
    segmenter: &Segmenter,
    frame: &Frame<'_>,
    mut mask: Mask,
    of: fn(&Timings) -> Duration,
) {
    let (width, height) = (frame.width(), frame.height());
    let mut group = criterion.benchmark_group(format!("{step} of {width} x {height}"));
    group.throughput(Throughput::Elements(u64::from(width * height)));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|frames| {
            (0..frames)
                .map(|_| {
                    segmenter.segment(frame, &mut mask).expect("a frame like the one before");
                    of(&mask.timings())
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(steps, preprocess, head, photo);
criterion_main!(steps);
