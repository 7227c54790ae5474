//! [`SessionSlot`]: a session and its buffers, and the steps of processing a frame.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Segmenter;
use crate::{
    Error, Frame, Rect, Result, UNKNOWN,
    head::{Fit, Workspace},
    mask::{History, MaskData, Specks, Target},
    model::{MAX_RUN_PIXELS, Model},
    pool::Queue,
    preprocess,
    resample::Axis,
    runtime::{Answer, Call, DeviceNetwork, FrameLayout, Labels, SessionNetwork},
    tiles::{Band, TileSide},
};

/// A session and its buffers.
pub(super) struct SessionSlot {
    network: SessionNetwork,
    /// The network in the form for GPUs, on a GPU.
    pub(super) device: Option<DeviceNetwork>,
    vertical: Axis,
    horizontal: Axis,
    head: Workspace,
    band: Band,
    pub(super) specks: Specks,
    /// The frame's result, swapped with the caller's mask on success, so that a failed call changes
    /// nothing.
    pub(super) mask: MaskData,
    pub(super) history: History,
}

impl SessionSlot {
    pub(super) fn new((network, device): (SessionNetwork, Option<DeviceNetwork>)) -> SessionSlot {
        SessionSlot {
            network,
            device,
            vertical: Axis::default(),
            horizontal: Axis::default(),
            head: Workspace::default(),
            band: Band::default(),
            specks: Specks::default(),
            mask: MaskData::default(),
            history: History::default(),
        }
    }

    /// Runs the network once on the whole frame at `size` (height, width).
    pub(super) fn whole(
        &mut self,
        segmenter: &Segmenter,
        call: &Call<'_>,
        frame: &Frame<'_>,
        size: (usize, usize),
        fit: Fit,
        target: &mut Target<'_>,
    ) -> Result<()> {
        let mut clock = Clock::start();
        self.load(segmenter, frame, size, fit)?;
        let SessionSlot { network, head, mask, history, .. } = self;
        let Segmenter { model, pool, .. } = segmenter;
        mask.working_size = (size.1, size.0);
        clock.add(&mut mask.timings.preprocess);
        network.run(call, |answer| {
            clock.add(&mut mask.timings.inference);
            match answer {
                Answer::Scores(scores) => {
                    model.expect_classes(scores.channels)?;
                    let covered = (frame.height() as usize, frame.width() as usize);
                    let scores = match target.rules.smoothing {
                        Some(share) => {
                            history.average(target.before, segmenter.source(frame, 1), (0, share), scores)?
                        }
                        None => scores,
                    };
                    head.label(&model.upsampling, scores, size, (covered, fit), mask, target, pool)
                }
                Answer::Labels { height, width, labels } => {
                    let covered = match fit {
                        Fit::Crop => size,
                        Fit::Resample => (frame.height() as usize, frame.width() as usize),
                    };
                    take_labels(labels, (height, width), (covered, frame), mask, target)
                }
            }
        })?;
        clock.add(&mut mask.timings.head);
        Ok(())
    }

    /// Runs the network on each tile, and labels rows as soon as no further tile covers them.
    pub(super) fn tiled(
        &mut self,
        segmenter: &Segmenter,
        call: &Call<'_>,
        frame: &Frame<'_>,
        rows: &TileSide,
        columns: &TileSide,
        target: &mut Target<'_>,
    ) -> Result<()> {
        let Segmenter { model, pool, .. } = segmenter;
        let size = (rows.tile, columns.tile);
        let (height, width) = (frame.height() as usize, frame.width() as usize);
        let mut clock = Clock::start();
        self.band.start(rows.tile.min(height), self.mask.classes, columns)?;
        self.mask.pixels.fill(0);
        self.mask.working_size = (columns.tile, rows.tile);
        for y in 0..rows.count {
            let lines = rows.range(y);
            for x in 0..columns.count {
                let across = columns.range(x);
                let tile = frame.crop(Rect {
                    x: across.start as u32,
                    y: lines.start as u32,
                    width: across.len() as u32,
                    height: lines.len() as u32,
                })?;
                self.load(segmenter, &tile, size, Fit::Crop)?;
                let SessionSlot { network, head, band, mask, history, .. } = self;
                clock.add(&mut mask.timings.preprocess);
                network.run(call, |answer| {
                    clock.add(&mut mask.timings.inference);
                    let Answer::Scores(scores) = answer else {
                        return Err(Error::Model("class indices of tiles cannot be averaged".into()));
                    };
                    model.expect_classes(scores.channels)?;
                    let scores = match target.rules.smoothing {
                        Some(share) => {
                            let source = segmenter.source(frame, rows.count * columns.count);
                            let run = y * columns.count + x;
                            history.average(target.before, source, (run, share), scores)?
                        }
                        None => scores,
                    };
                    head.add(&model.upsampling, scores, size, band.sums(), (width, across.start), pool)
                })?;
                clock.add(&mut mask.timings.head);
            }
            let done = lines.start..rows.start(y + 1);
            let means = self.band.mean(done.clone(), rows);
            self.head.finish(means, done.clone(), (height, width), &mut self.mask, target, pool)?;
            self.band.advance(done.len());
            clock.add(&mut self.mask.timings.head);
        }
        Ok(())
    }

    /// Removes regions of fewer than `least` pixels from the labels. `specks` must be prepared for
    /// their size.
    pub(super) fn remove_specks(&mut self, least: u32, target: &mut Target<'_>) {
        let mut clock = Clock::start();
        let SessionSlot { specks, mask, .. } = self;
        let size = (mask.width, mask.height);
        let mut counts = std::mem::take(&mut mask.pixels);
        let (labels, stride) = mask.label_rows(target);
        specks.remove(labels, stride, size, least, &mut counts);
        mask.pixels = counts;
        clock.add(&mut mask.timings.head);
    }

    /// Fills the network's input from a frame.
    fn load(&mut self, segmenter: &Segmenter, frame: &Frame<'_>, size: (usize, usize), fit: Fit) -> Result<()> {
        let (height, width) = size;
        check_run(size)?;
        let Segmenter { model: Model { normalise, .. }, pool, .. } = segmenter;
        let image = self.network.input(height, width)?;
        match fit {
            Fit::Crop => preprocess::copy(frame, normalise, image, size, pool),
            Fit::Resample => {
                self.vertical.prepare(frame.height() as usize, height);
                self.horizontal.prepare(frame.width() as usize, width);
                preprocess::resample(frame, normalise, image, (&self.vertical, &self.horizontal), pool);
            }
        }
        Ok(())
    }
}

/// Labels a frame with a network in the form for GPUs, which includes all steps.
pub(super) fn on_device(
    device: &mut DeviceNetwork,
    segmenter: &Segmenter,
    call: &Call<'_>,
    frame: &Frame<'_>,
    padded: (usize, usize),
    mask: &mut MaskData,
    target: &mut Target<'_>,
) -> Result<()> {
    check_run(padded)?;
    let mut clock = Clock::start();
    let (height, width) = (mask.height, mask.width);
    let order = segmenter.model.normalise.offsets(frame);
    let bytes = frame.format().bytes();
    mask.working_size = (padded.1, padded.0);
    preprocess::copy_bytes(frame, device.frame(FrameLayout { height, width, bytes, order, padded })?, &segmenter.pool);
    clock.add(&mut mask.timings.preprocess);
    device.run(call, |labels| {
        clock.add(&mut mask.timings.inference);
        let (rows, stride) = mask.label_rows(target);
        let total = Mutex::new([0; 256]);
        let rows = Queue::new(rows.chunks_mut(stride).zip(labels.chunks_exact(width)));
        segmenter.pool.run(&|| {
            let mut counts = [0; 256];
            while let Some((row, labels)) = rows.next() {
                row[..width].copy_from_slice(labels);
                count(labels, &mut counts);
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        });
        let mut counts = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        mask.not_finite = std::mem::take(&mut counts[usize::from(UNKNOWN)]);
        mask.pixels.copy_from_slice(&counts);
        Ok(())
    })?;
    clock.add(&mut mask.timings.head);
    Ok(())
}

/// Counts each label. Neighbouring labels are usually equal, and repeated increments of one counter
/// would wait for memory.
fn count(labels: &[u8], counts: &mut [u64; 256]) {
    let (runs, rest) = labels.as_chunks::<16>();
    for run in runs {
        if run.iter().all(|label| *label == run[0]) {
            counts[usize::from(run[0])] += 16;
        } else {
            run.iter().for_each(|&label| counts[usize::from(label)] += 1);
        }
    }
    rest.iter().for_each(|&label| counts[usize::from(label)] += 1);
}

/// Fails if an image of this size (height, width) is too large for one run.
fn check_run((height, width): (usize, usize)) -> Result<()> {
    if height * width > MAX_RUN_PIXELS {
        return Err(Error::InvalidArgument(format!(
            "{width} x {height} pixels are more than the limit of {MAX_RUN_PIXELS} per run; choose \
             the size mode tile or a smaller working size"
        )));
    }
    Ok(())
}

/// Measures consecutive steps.
struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Adds the time since the previous step to `total`.
    fn add(&mut self, total: &mut Duration) {
        let now = Instant::now();
        *total += now - self.0;
        self.0 = now;
    }
}

/// Takes the labels of a network that outputs class indices, by nearest neighbour. The output
/// covers `covered` (height, width) in frame pixels, at least the whole frame.
fn take_labels(
    labels: Labels<'_>,
    answered: (usize, usize),
    (covered, frame): ((usize, usize), &Frame<'_>),
    mask: &mut MaskData,
    target: &mut Target<'_>,
) -> Result<()> {
    // Check all labels before any is written: on an error, the caller's labels must not change.
    for index in 0..answered.0 * answered.1 {
        let class = labels.get(index);
        if usize::try_from(class).is_ok_and(|class| class < mask.classes) {
            continue;
        }
        return Err(Error::Model(format!(
            "the model outputs class {class} at column {}, row {} of {} x {}, but has only {} classes",
            index % answered.1,
            index / answered.1,
            answered.1,
            answered.0,
            mask.classes
        )));
    }
    let (width, height) = (mask.width, mask.height);
    // Maps the centre of a mask pixel to a frame pixel, and that to an output pixel.
    let nearest = |at: usize, to: usize, from: usize, answered: usize, covered: usize| {
        (2 * at + 1) * from * answered / (2 * to * covered)
    };
    let across = frame.width() as usize;
    let mut pixels = std::mem::take(&mut mask.pixels);
    pixels.fill(0);
    let rules = target.rules.table();
    let (rows, stride) = mask.label_rows(target);
    for (y, row) in rows.chunks_mut(stride).take(height).enumerate() {
        let source = nearest(y, height, frame.height() as usize, answered.0, covered.0) * answered.1;
        for (x, label) in row[..width].iter_mut().enumerate() {
            let class = labels.get(source + nearest(x, width, across, answered.1, covered.1));
            *label = rules[class as usize];
            pixels[usize::from(*label)] += 1;
        }
    }
    mask.pixels = pixels;
    Ok(())
}
