//! Labels photos, several at once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use fcn::{Frame, Mask, PixelFormat, read_image};
use serde_json::{Value, json};

use crate::{
    Result,
    inputs::Input,
    plan::Job,
    run::{Context, make_parent, write_image},
};

/// Labels the photos with `workers` threads. Returns how many failed.
pub(crate) fn run(context: &Context, jobs: &[Job], workers: usize) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut mask = context.mask();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if context.stopped.load(Ordering::Relaxed) {
                break;
            }
            let outcome = match &mut mask {
                Ok(mask) => label(context, job, mask),
                Err(error) => Err(error.clone()),
            };
            if !context.report(job, outcome) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner()
}

/// Labels a photo, rotated according to its EXIF data, and writes its outputs.
fn label(context: &Context, job: &Job, mask: &mut Mask) -> Result<Value> {
    let Input::Photo(photo) = &job.input else { return Err("this is not a photo".into()) };
    let plain = |error: fcn::Error| error.to_string();
    let mut image = read_image(photo).map_err(plain)?;
    let start = Instant::now();
    let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0).map_err(plain)?;
    // No average over unrelated photos.
    mask.reset();
    context.segmenter.segment(&frame, mask).map_err(plain)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    if let Some(output) = job.outputs().next() {
        make_parent(output)?;
    }
    if let Some(path) = &job.labels {
        context.write_labels(path, mask)?;
    }
    if let Some(path) = &job.rle {
        fcn::file::write(path, context.encode(mask).to_string().as_bytes()).map_err(plain)?;
    }
    if let Some(path) = &job.overlay {
        context.draw(mask, &mut image)?;
        write_image(path, &image)?;
    }
    Ok(json!({"milliseconds": milliseconds, "shares": shares(context, mask)}))
}

/// Each class that occurs, with its share of the pixels.
fn shares(context: &Context, mask: &Mask) -> Value {
    let total = f64::from(mask.width()) * f64::from(mask.height());
    let classes = context.segmenter.classes().iter().zip(mask.pixels());
    classes
        .filter(|(_, pixels)| **pixels > 0)
        .map(|(class, &pixels)| (class.name.clone(), json!(pixels as f64 / total)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
