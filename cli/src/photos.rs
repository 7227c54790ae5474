//! Labels photos, several at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use fcn::{Frame, Mask, PixelFormat, read_image};
use fcn_cli::{Result, plan::Job};
use serde_json::{Value, json};

use crate::run::{Context, make_parent};

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
    let plain = |error: fcn::Error| error.to_string();
    let mut image = read_image(job.input.path()).map_err(plain)?;
    let start = Instant::now();
    let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0).map_err(plain)?;
    // No average over unrelated photos.
    mask.reset();
    context.segmenter.segment(&frame, mask).map_err(plain)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    if let Some(output) = job.outputs().next() {
        make_parent(output)?;
    }
    let results = context.results();
    results.write(job, &mut image, mask.labels())?;
    let shares = results.shares(mask.labels()).into_iter().collect::<BTreeMap<_, _>>();
    Ok(json!({"milliseconds": milliseconds, "shares": shares}))
}
