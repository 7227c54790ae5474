//! segment: labels a photo, prints each class's share of it, and writes the photo with an overlay.
//!
//!     cargo run --release --example segment -- MODEL.onnx PHOTO.jpg OVERLAY.png [RUNS [PROVIDER]]
//!
//! RUNS (default 5) is the number of frames that are timed. PROVIDER is auto (default), cpu, cuda,
//! tensorrt or openvino.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use fcn::{
    Frame, LabelMap, Mask, Options, OverlayStyle, PixelFormat, Result, Segmenter, overlay_styled, read_image, write_png,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runs = arguments.get(3).map_or(Ok(5), |runs| runs.parse());
    let ([model, photo, overlay, rest @ ..], Ok(runs @ 1..=100_000), ..=5) = (&arguments[..], runs, arguments.len())
    else {
        eprintln!("usage: segment MODEL.onnx PHOTO OVERLAY.png [RUNS, 1 to 100000 [PROVIDER]]");
        return ExitCode::from(2);
    };
    match run(model, photo, overlay, runs, rest.get(1).map_or("auto", String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("segment: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(model: &str, photo: &str, overlay_file: &str, runs: usize, provider: &str) -> Result<()> {
    let segmenter = Segmenter::from_file(model, &Options::default().with_provider(provider.parse()?))?;
    let mut image = read_image(photo)?;
    let (width, height) = (image.width, image.height);
    let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, width, height, 0)?;
    let mut mask = Mask::new();
    // Without specks. The first frame of a size is slower because it allocates buffers.
    mask.set_min_region(width * height / 2000);
    segmenter.segment(&frame, &mut mask)?;

    println!("photo    {width} x {height} pixels");
    println!("running  ONNX Runtime {} on {}", segmenter.runtime_version(), segmenter.provider());
    for (class, &pixels) in segmenter.classes().iter().zip(mask.pixels()) {
        let share = 100.0 * pixels as f64 / (f64::from(width) * f64::from(height));
        // Skip what would be printed as 0.00.
        if share >= 0.005 {
            println!("{share:7.2} %  {}", class.name);
        }
    }

    let mut times: Vec<Duration> = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        segmenter.segment(&frame, &mut mask)?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("time     {:.1} ms per frame (median of {runs})", times[runs / 2].as_secs_f64() * 1e3);

    let style = OverlayStyle { legend: true, ..OverlayStyle::visible(width, height) };
    let labels = LabelMap::new(mask.labels(), width, height, 0)?;
    let (classes, background) = (segmenter.classes(), segmenter.background());
    overlay_styled(&mut image.pixels, PixelFormat::Rgb8, 0, labels, classes, background, style)?;
    write_png(overlay_file, &image)?;
    println!("overlay  {overlay_file}");
    Ok(())
}
