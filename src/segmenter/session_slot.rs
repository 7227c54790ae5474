//! [`SessionSlot`]: a session and its buffers, and the steps of processing a frame.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Error, Frame, Rect, Result, Size, UNKNOWN,
    head::{Fit, NetworkOutput, TileSums, WorkingSize, Workspace},
    mask::{History, LabelBuffer, MaskData, ScoreOrigin, Specks, Target},
    model::{MAX_RUN_PIXELS, Model},
    pool::{Pool, Queue},
    preprocess,
    resample::Axis,
    runtime::{Answer, Call, FrameLayout, GpuNetwork, Labels, SessionNetwork},
    tiles::{Band, TileSide},
};

/// A frame, the call that labels it, and the parts of the segmenter that the steps use.
pub(super) struct FrameContext<'a> {
    pub(super) model: &'a Model,
    pub(super) pool: &'a Pool,
    /// The segmenter's number.
    pub(super) segmenter: u64,
    pub(super) frame: &'a Frame<'a>,
    pub(super) call: &'a Call<'a>,
}

impl FrameContext<'_> {
    /// The origin of the frame's scores, for averaging.
    fn score_origin(&self, runs: usize) -> ScoreOrigin {
        ScoreOrigin { segmenter: self.segmenter, view: self.frame.view(), runs, channels: 0, size: Size::default() }
    }
}

/// The tiles that cover a frame.
pub(super) struct TileGrid {
    pub(super) rows: TileSide,
    pub(super) columns: TileSide,
}

/// A session and its buffers.
pub(super) struct SessionSlot {
    network: SessionNetwork,
    /// The network in the form for GPUs, on a GPU.
    pub(super) device: Option<GpuNetwork>,
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
    pub(super) fn new((network, device): (SessionNetwork, Option<GpuNetwork>)) -> SessionSlot {
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

    /// Runs the network once on the whole frame.
    pub(super) fn whole(
        &mut self,
        context: &FrameContext<'_>,
        working: WorkingSize,
        target: &mut Target<'_>,
    ) -> Result<()> {
        let &FrameContext { model, pool, call, .. } = context;
        let WorkingSize { size, fit } = working;
        let frame = context.frame.size();
        let mut clock = Clock::start();
        self.load(context, context.frame, working)?;
        let SessionSlot { network, head, mask, history, .. } = self;
        mask.working_size = size;
        clock.add(&mut mask.timings.preprocess);
        network.run(call, |answer| {
            clock.add(&mut mask.timings.inference);
            match answer {
                Answer::Scores(scores) => {
                    model.expect_classes(scores.channels)?;
                    let scores = match target.rules.smoothing {
                        Some(share) => history.average(target.before, context.score_origin(1), 0, share, scores)?,
                        None => scores,
                    };
                    let output = NetworkOutput { scores, upsampling: &model.upsampling, size };
                    head.label(output, fit, frame, mask, target, pool)
                }
                Answer::Labels { size: own, labels } => {
                    let covered = match fit {
                        Fit::Crop => size,
                        Fit::Resample => frame,
                    };
                    take_labels(LabelOutput { labels, size: own, covered }, frame, mask, target)
                }
            }
        })?;
        clock.add(&mut mask.timings.head);
        Ok(())
    }

    /// Runs the network on each tile, and labels rows as soon as no further tile covers them.
    pub(super) fn tiled(&mut self, context: &FrameContext<'_>, grid: &TileGrid, target: &mut Target<'_>) -> Result<()> {
        let &FrameContext { model, pool, frame, call, .. } = context;
        let TileGrid { rows, columns } = grid;
        let working = WorkingSize { size: Size::new(columns.tile, rows.tile), fit: Fit::Crop };
        let size = frame.size();
        let mut clock = Clock::start();
        self.band.start(rows.tile.min(size.height), self.mask.classes, columns)?;
        self.mask.pixels.fill(0);
        self.mask.working_size = working.size;
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
                self.load(context, &tile, working)?;
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
                            let origin = context.score_origin(rows.count * columns.count);
                            history.average(target.before, origin, y * columns.count + x, share, scores)?
                        }
                        None => scores,
                    };
                    let output = NetworkOutput { scores, upsampling: &model.upsampling, size: working.size };
                    let sums = TileSums { sums: band.sums(), width: size.width, left: across.start };
                    head.add(output, sums, pool)
                })?;
                clock.add(&mut mask.timings.head);
            }
            let done = lines.start..rows.start(y + 1);
            let means = self.band.mean(done.clone(), rows);
            self.head.finish(means, done.clone(), size, &mut self.mask, target, pool)?;
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
        let size = mask.size;
        let mut counts = std::mem::take(&mut mask.pixels);
        specks.remove(mask.label_rows(target), size, least, &mut counts);
        mask.pixels = counts;
        clock.add(&mut mask.timings.head);
    }

    /// Fills the network's input from a frame or a part of it.
    fn load(&mut self, context: &FrameContext<'_>, frame: &Frame<'_>, working: WorkingSize) -> Result<()> {
        let WorkingSize { size, fit } = working;
        check_run(size)?;
        let &FrameContext { model: Model { normalise, .. }, pool, .. } = context;
        let image = self.network.input(size)?;
        match fit {
            Fit::Crop => preprocess::copy(frame, normalise, image, size, pool),
            Fit::Resample => {
                self.vertical.prepare(frame.height() as usize, size.height);
                self.horizontal.prepare(frame.width() as usize, size.width);
                preprocess::resample(frame, normalise, image, (&self.vertical, &self.horizontal), pool);
            }
        }
        Ok(())
    }
}

/// Labels a frame with a network in the form for GPUs, which includes all steps.
pub(super) fn on_device(
    device: &mut GpuNetwork,
    context: &FrameContext<'_>,
    padded: Size,
    mask: &mut MaskData,
    target: &mut Target<'_>,
) -> Result<()> {
    let &FrameContext { model, pool, frame, call, .. } = context;
    check_run(padded)?;
    let mut clock = Clock::start();
    let size = mask.size;
    let order = model.normalise.offsets(frame);
    let bytes = frame.format().bytes();
    mask.working_size = padded;
    preprocess::copy_bytes(frame, device.frame(FrameLayout { size, bytes, order, padded })?, pool);
    clock.add(&mut mask.timings.preprocess);
    device.run(call, |labels| {
        clock.add(&mut mask.timings.inference);
        let LabelBuffer { labels: rows, stride } = mask.label_rows(target);
        let total = Mutex::new([0; 256]);
        let rows = Queue::new(rows.chunks_mut(stride).zip(labels.chunks_exact(size.width)));
        pool.run(&|| {
            let mut counts = [0; 256];
            while let Some((row, labels)) = rows.next() {
                row[..size.width].copy_from_slice(labels);
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

/// Fails if an image of this size is too large for one run.
fn check_run(size: Size) -> Result<()> {
    if size.pixels() > MAX_RUN_PIXELS {
        return Err(Error::InvalidArgument(format!(
            "{size} pixels are more than the limit of {MAX_RUN_PIXELS} per run; choose \
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

/// The output of a network that outputs class indices.
struct LabelOutput<'a> {
    labels: Labels<'a>,
    size: Size,
    /// What it covers in pixels of the frame: at least the whole frame.
    covered: Size,
}

/// Takes the labels of a frame from the network's output, by nearest neighbour.
fn take_labels(
    LabelOutput { labels, size: answered, covered }: LabelOutput<'_>,
    frame: Size,
    mask: &mut MaskData,
    target: &mut Target<'_>,
) -> Result<()> {
    // Check all labels before any is written: on an error, the caller's labels must not change.
    for index in 0..answered.pixels() {
        let class = labels.get(index);
        if usize::try_from(class).is_ok_and(|class| class < mask.classes) {
            continue;
        }
        return Err(Error::Model(format!(
            "the model outputs class {class} at column {}, row {} of {answered}, but has only {} classes",
            index % answered.width,
            index / answered.width,
            mask.classes
        )));
    }
    let Size { width, height } = mask.size;
    // Maps the centre of a mask pixel to a frame pixel, and that to an output pixel.
    let nearest = |at: usize, to: usize, from: usize, answered: usize, covered: usize| {
        (2 * at + 1) * from * answered / (2 * to * covered)
    };
    let mut pixels = std::mem::take(&mut mask.pixels);
    pixels.fill(0);
    let rules = target.rules.table();
    let LabelBuffer { labels: rows, stride } = mask.label_rows(target);
    for (y, row) in rows.chunks_mut(stride).take(height).enumerate() {
        let source = nearest(y, height, frame.height, answered.height, covered.height) * answered.width;
        for (x, label) in row[..width].iter_mut().enumerate() {
            let class = labels.get(source + nearest(x, width, frame.width, answered.width, covered.width));
            *label = rules[class as usize];
            pixels[usize::from(*label)] += 1;
        }
    }
    mask.pixels = pixels;
    Ok(())
}
