//! Time of preprocess and head, as [`Mask::timings`] tells it: `cargo bench`.
//!
//! The networks between the two are a single convolution; sizes and classes are those of real ones.

#[path = "../tests/common/models.rs"]
mod models;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcn::{Frame, Mask, Options, Outputs, PixelFormat, Provider, Segmenter, SizeMode, Timings};
use models::{End, Spec, network, random_bytes};

const WIDTH: usize = 480;
const HEIGHT: usize = 320;

/// One benchmark: a step's share of whole frames at 2 threads.
struct Case<'a> {
    name: &'a str,
    spec: Spec,
    format: PixelFormat,
    size_mode: Option<SizeMode>,
    outputs: Outputs,
    step: fn(&Timings) -> Duration,
}

fn spec(stride: usize, end: End) -> Spec {
    Spec { classes: 21, stride, end, ..Spec::default() }
}

fn preprocess(criterion: &mut Criterion) {
    let resize = Some(SizeMode::Resize { width: 320, height: 224 });
    for (name, format, size_mode) in [
        ("preprocess/bgr8", PixelFormat::Bgr8, None),
        ("preprocess/rgba8", PixelFormat::Rgba8, None),
        ("preprocess/gray8", PixelFormat::Gray8, None),
        ("preprocess/bgr8 resized to 320 x 224", PixelFormat::Bgr8, resize),
    ] {
        let step = |timings: &Timings| timings.preprocess;
        let spec = spec(32, End::Low);
        measure(criterion, &Case { name, spec, format, size_mode, outputs: Outputs::default(), step });
    }
}

fn head(criterion: &mut Criterion) {
    let labels = Outputs::default();
    let confidence = Outputs { confidence: true, ..labels };
    for (name, spec, outputs) in [
        ("head/learned, stride 32", spec(32, End::Transposed), labels),
        ("head/learned, stride 8", spec(8, End::Transposed), labels),
        ("head/bilinear, stride 32", spec(32, End::Diagonal), labels),
        ("head/bilinear, stride 8", spec(8, End::Diagonal), labels),
        ("head/resize, stride 8", spec(8, End::Resize), labels),
        ("head/learned, stride 32, with confidence", spec(32, End::Transposed), confidence),
    ] {
        let step = |timings: &Timings| timings.head;
        measure(criterion, &Case { name, spec, format: PixelFormat::Bgr8, size_mode: None, outputs, step });
    }
}

fn measure(criterion: &mut Criterion, case: &Case<'_>) {
    let mut options = Options::default();
    (options.provider, options.threads, options.size_mode) = (Provider::Cpu, 2, case.size_mode);
    let segmenter = Segmenter::from_memory(&network(case.spec), &options).expect("the network is sound");
    let pixels = random_bytes(1, WIDTH * HEIGHT * case.format.bytes());
    let frame = Frame::packed(case.format, &pixels, WIDTH as u32, HEIGHT as u32, 0).expect("the frame is sound");
    let mut mask = Mask::new();
    mask.set_outputs(case.outputs);

    let mut group = criterion.benchmark_group("320 x 480");
    group.throughput(Throughput::Elements((WIDTH * HEIGHT) as u64));
    group.bench_function(case.name, |bencher| {
        bencher.iter_custom(|frames| {
            (0..frames)
                .map(|_| {
                    segmenter.segment(&frame, &mut mask).expect("a frame like the one before");
                    (case.step)(&mask.timings())
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(steps, preprocess, head);
criterion_main!(steps);
