//! [`Segmenter`]: frame in, mask out.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use crate::{
    Error, Frame, Mask, Options, PixelFormat, Rect, Result, SizeMode, file,
    frame::plane_layout,
    head::{Fit, Workspace},
    mask::{MaskData, Outputs, resize},
    model::{Model, PreparedModel},
    onnx::ModelCard,
    palette::Class,
    pool::Pool,
    preprocess,
    resample::Axis,
    runtime::{Answer, Call, DeviceNetwork, Interrupts, Labels, Layout, Limit, Network, Networks, Request, Runtime},
    tiles::{Band, Side},
};

/// The most pixels that one run of a network takes: 33.5 million, enough for 7680 x 4320.
const MAX_RUN_PIXELS: usize = 1 << 25;

/// The most pixels of a frame.
const MAX_FRAME_PIXELS: usize = 1 << 28;

/// The largest model file, in bytes: what ONNX's format can hold.
const MAX_MODEL_BYTES: u64 = 1 << 31;

/// A network that labels frames.
///
/// Any thread may call [`Segmenter::segment`] at any time: calls take turns on the sessions that
/// [`Options::sessions`](crate::Options) asked for. After `fork`, the child can neither use nor free it: ONNX Runtime's
/// threads do not live there.
pub struct Segmenter {
    model: Model,
    mode: SizeMode,
    provider: &'static str,
    reason: String,
    version: &'static str,
    pool: Pool,
    sessions: usize,
    lanes: Mutex<Vec<Lane>>,
    returned: Condvar,
    interrupts: Interrupts,
    timeout: Option<Duration>,
    process: u32,
}

/// One session and the memory it works in.
struct Lane {
    network: Network,
    /// The same network as it is best for a GPU, where there is one.
    device: Option<DeviceNetwork>,
    vertical: Axis,
    horizontal: Axis,
    head: Workspace,
    band: Band,
    /// Filled while a frame is in work, then exchanged with the caller's, which so changes only on success.
    mask: MaskData,
}

impl Segmenter {
    /// Loads a model from a file.
    pub fn from_file(path: impl AsRef<Path>, options: &Options) -> Result<Segmenter> {
        let path = path.as_ref();
        let read = || {
            file::read(path, MAX_MODEL_BYTES).map_err(|error| match error {
                // What kind of file it was meant to be.
                Error::Io(message) => Error::Io(format!("the model {message}")),
                other => other,
            })
        };
        Segmenter::new(read, options).map_err(|error| match error {
            Error::Model(message) => Error::Model(format!("'{}': {message}", path.display())),
            other => other,
        })
    }

    /// Loads a model from the bytes of an ONNX file.
    pub fn from_memory(bytes: &[u8], options: &Options) -> Result<Segmenter> {
        Segmenter::new(|| Ok(Arc::from(bytes)), options)
    }

    fn new(read: impl FnOnce() -> Result<Arc<[u8]>>, options: &Options) -> Result<Segmenter> {
        options.check()?;
        // The process's first segmenter also loads ONNX Runtime, which takes as long as reading a model.
        let (model, runtime) = Runtime::load_beside(options.runtime_library.as_deref(), || {
            let file = read()?;
            Ok((Model::prepare(&file, options)?, file))
        });
        let ((mut prepared, file), runtime) = (model?, runtime?);
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cpus().min(256) } else { options.threads as usize };
        let load = |prepared: &PreparedModel| {
            let (network, on_device) = (&prepared.network, || prepared.on_device());
            Networks::new(runtime, &Request { network, on_device: &on_device, file: &file, options, threads })
        };
        let mut loaded = load(&prepared)?;
        if !prepared.reaches_input(&mut loaded.networks[0].0)? {
            prepared.uncut();
            drop(loaded);
            loaded = load(&prepared)?;
        }
        let Networks { networks, provider, reason } = loaded;
        let model = prepared.finish(networks[0].0.output_kind()?, options)?;
        let mode = model.size_mode(options.size_mode)?;
        let pool = Pool::new(threads)?;
        let lanes: Vec<Lane> = networks.into_iter().map(Lane::new).collect();
        let interrupts = Interrupts::new(lanes.len());
        if options.timeout.is_some() {
            interrupts.start_timer()?;
        }
        Ok(Segmenter {
            model,
            mode,
            provider: provider.name(),
            reason,
            version: runtime.version(),
            pool,
            sessions: lanes.len(),
            lanes: Mutex::new(lanes),
            returned: Condvar::new(),
            interrupts,
            timeout: options.timeout,
            process: std::process::id(),
        })
    }

    /// Labels every pixel of a frame. `mask` holds the result at the frame's size, and changes only on success.
    pub fn segment(&self, frame: &Frame<'_>, mask: &mut Mask) -> Result<()> {
        self.segment_within(frame, mask, None, None)
    }

    /// [`Segmenter::segment`] that ends early when `stop` becomes true by [`Segmenter::stop`], or at the limit; for a limit,
    /// [`Segmenter::watch_limits`] must have been called.
    pub(crate) fn segment_within(
        &self,
        frame: &Frame<'_>,
        mask: &mut Mask,
        stop: Option<&AtomicBool>,
        limit: Option<Limit>,
    ) -> Result<()> {
        let start = Instant::now();
        self.check(frame, mask.outputs())?;
        let timeout = self.timeout.and_then(|timeout| Limit::new(start, timeout));
        let call = self.interrupts.call(stop, Limit::stricter(timeout, limit));
        // The lane that was used last: its memory is still in cache.
        let mut lane = self.take(&call, Vec::pop)?;
        self.run(&mut lane, &call, start, frame, mask)
    }

    /// Ends every call of [`Segmenter::segment`] and [`Segmenter::warm_up`] that runs or waits for a session now, with
    /// [`Error::Cancelled`]; later calls are not affected.
    ///
    /// It does not wait for them: a layer of the network that has begun is finished first, and a call whose network is
    /// done returns its result.
    pub fn cancel(&self) -> Result<()> {
        self.check_process()?;
        self.interrupts.cancel_all();
        self.wake_waiting();
        Ok(())
    }

    /// Sets the flag and ends the calls that were given it.
    pub(crate) fn stop(&self, flag: &AtomicBool) {
        self.interrupts.stop(flag);
        self.wake_waiting();
    }

    /// Starts what ends calls at their limits.
    pub(crate) fn watch_limits(&self) -> Result<()> {
        self.interrupts.start_timer()
    }

    /// Lets calls that wait for a session look whether they are to end.
    fn wake_waiting(&self) {
        // One that has looked and does not wait yet holds the lock.
        drop(self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        self.returned.notify_all();
    }

    /// Does for frames of this size what is only done for the first one: memory is set up and a picture goes through
    /// the network, once for each session.
    pub fn warm_up(&self, width: u32, height: u32) -> Result<()> {
        let mut pixels = Vec::new();
        resize(&mut pixels, plane_layout(PixelFormat::Gray8, 0, width, height, 0)?.1)?;
        let frame = Frame::packed(PixelFormat::Gray8, &pixels, width, height, 0)?;
        self.check(&frame, Outputs::default())?;
        let call = self.interrupts.call(None, None);
        for _ in 0..self.sessions {
            // Lanes go back to the end, so this meets each of them.
            let mut lane = self.take(&call, |lanes| (!lanes.is_empty()).then(|| lanes.remove(0)))?;
            let mut mask = Mask::new();
            self.run(&mut lane, &call, Instant::now(), &frame, &mut mask)?;
            std::mem::swap(&mut mask.data, &mut lane.mask);
        }
        Ok(())
    }

    fn run(&self, lane: &mut Lane, call: &Call<'_>, start: Instant, frame: &Frame<'_>, mask: &mut Mask) -> Result<()> {
        let (height, width) = (frame.height() as usize, frame.width() as usize);
        lane.mask.prepare(width, height, self.model.classes.len(), mask.outputs())?;
        match self.mode {
            SizeMode::Pad => {
                let size = self.model.padded(height, width)?;
                let labels_only = mask.outputs() == Outputs::default();
                match &mut lane.device {
                    Some(device) if labels_only && frame.contiguous_row(0).is_some() => {
                        on_device(device, self, call, frame, size, &mut lane.mask)
                    }
                    _ => lane.whole(self, call, frame, size, Fit::Crop),
                }
            }
            SizeMode::Resize { width: columns, height: rows } => {
                let size = (pick(rows, height), pick(columns, width));
                lane.whole(self, call, frame, self.model.rounded_up(size), Fit::Resample)
            }
            SizeMode::Tile { width: columns, height: rows, overlap } => {
                let stride = self.model.stride;
                let side = |length, tile| Side::new(length, tile, overlap as usize, stride);
                lane.tiled(self, call, frame, &side(height, rows as usize), &side(width, columns as usize))
            }
        }?;
        lane.mask.timings.total = start.elapsed();
        std::mem::swap(&mut mask.data, &mut lane.mask);
        Ok(())
    }

    /// The classes in index order.
    pub fn classes(&self) -> &[Class] {
        &self.model.classes
    }

    /// The model's card, where it has one.
    pub fn card(&self) -> Option<&ModelCard> {
        self.model.card.as_ref()
    }

    /// The provider that runs the network: `cpu`, `cuda` or `tensorrt`.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Why it is not a better provider: empty unless `Auto` found none.
    pub fn provider_reason(&self) -> &str {
        &self.reason
    }

    /// The version of ONNX Runtime, for example `1.32.0`.
    pub fn runtime_version(&self) -> &str {
        self.version
    }

    /// The network's input has sides that are multiples of this.
    pub fn stride(&self) -> u32 {
        self.model.stride as u32
    }

    /// In a forked child no thread but the one that forked lives, and what the others held stays locked.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.is_of_another_process() {
            return Err(Error::Runtime(format!(
                "the segmenter was made in process {} and cannot be used in its child {}; make one there",
                self.process,
                std::process::id()
            )));
        }
        Ok(())
    }

    pub(crate) fn is_of_another_process(&self) -> bool {
        self.process != std::process::id()
    }

    pub(crate) fn check(&self, frame: &Frame<'_>, outputs: Outputs) -> Result<()> {
        self.check_process()?;
        let pixels = frame.height() as usize * frame.width() as usize;
        if pixels > MAX_FRAME_PIXELS {
            return Err(Error::InvalidArgument(format!(
                "the frame has {pixels} pixels; at most {MAX_FRAME_PIXELS} are possible"
            )));
        }
        if self.model.answers_labels && (outputs.confidence || outputs.scores) {
            return Err(Error::InvalidArgument(
                "the model answers class indices, so there is neither confidence nor scores to ask for".into(),
            ));
        }
        Ok(())
    }

    /// The free lane that `choose` takes; waits where all are in use, as long as the call may go on.
    fn take(&self, call: &Call<'_>, choose: impl Fn(&mut Vec<Lane>) -> Option<Lane>) -> Result<Taken<'_>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Before the check: whoever was woken for a free lane takes it, else another one might sleep beside it.
            if let Some(lane) = choose(&mut lanes) {
                return Ok(Taken { segmenter: self, lane: Some(lane) });
            }
            call.check()?;
            lanes = match call.time_left() {
                None => self.returned.wait(lanes).unwrap_or_else(PoisonError::into_inner),
                Some(time) => self.returned.wait_timeout(lanes, time).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        // In a forked child the threads that ONNX Runtime would wait for do not exist.
        if self.is_of_another_process() {
            let lanes = self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(lanes));
            self.pool.forget();
            self.interrupts.forget();
        }
    }
}

/// A lane in use; it goes back however the use ends.
struct Taken<'a> {
    segmenter: &'a Segmenter,
    lane: Option<Lane>,
}

impl Deref for Taken<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.lane.as_ref().expect("only drop takes the lane")
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        self.lane.as_mut().expect("only drop takes the lane")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.segmenter.lanes.lock().unwrap_or_else(PoisonError::into_inner).extend(self.lane.take());
        self.segmenter.returned.notify_one();
    }
}

impl Lane {
    fn new((network, device): (Network, Option<DeviceNetwork>)) -> Lane {
        Lane {
            network,
            device,
            vertical: Axis::default(),
            horizontal: Axis::default(),
            head: Workspace::default(),
            band: Band::default(),
            mask: MaskData::default(),
        }
    }

    /// Runs the network once on the whole frame, at `size` (height, width).
    fn whole(
        &mut self,
        segmenter: &Segmenter,
        call: &Call<'_>,
        frame: &Frame<'_>,
        size: (usize, usize),
        fit: Fit,
    ) -> Result<()> {
        let mut clock = Clock::start();
        self.load(segmenter, frame, size, fit)?;
        let Lane { network, head, mask, .. } = self;
        let Segmenter { model, pool, .. } = segmenter;
        clock.add(&mut mask.timings.preprocess);
        network.run(call, |answer| {
            clock.add(&mut mask.timings.inference);
            match answer {
                Answer::Scores(scores) => {
                    model.expect_classes(scores.channels)?;
                    head.label(&model.upsampling, scores, size, fit, mask, pool)
                }
                Answer::Labels { height, width, labels } => take_labels(labels, (height, width), size, fit, mask),
            }
        })?;
        clock.add(&mut mask.timings.head);
        Ok(())
    }

    /// Runs the network on each tile, and labels rows as soon as no later tile reaches them.
    fn tiled(
        &mut self,
        segmenter: &Segmenter,
        call: &Call<'_>,
        frame: &Frame<'_>,
        rows: &Side,
        columns: &Side,
    ) -> Result<()> {
        let Segmenter { model, pool, .. } = segmenter;
        let size = (rows.tile, columns.tile);
        let (height, width) = (self.mask.height, self.mask.width);
        let mut clock = Clock::start();
        self.band.start(rows.tile.min(height), self.mask.classes, columns)?;
        self.mask.pixels.fill(0);
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
                let Lane { network, head, band, mask, .. } = self;
                clock.add(&mut mask.timings.preprocess);
                network.run(call, |answer| {
                    clock.add(&mut mask.timings.inference);
                    let Answer::Scores(scores) = answer else {
                        return Err(Error::Model("class indices of tiles cannot be averaged".into()));
                    };
                    model.expect_classes(scores.channels)?;
                    head.add(&model.upsampling, scores, size, band.sums(), (width, across.start), pool)
                })?;
                clock.add(&mut mask.timings.head);
            }
            let done = lines.start..rows.start(y + 1);
            self.head.finish(self.band.mean(done.clone(), rows), done.clone(), &mut self.mask, pool)?;
            self.band.advance(done.len());
            clock.add(&mut self.mask.timings.head);
        }
        Ok(())
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
                preprocess::resize(frame, normalise, image, (&self.vertical, &self.horizontal), pool);
            }
        }
        Ok(())
    }
}

/// Labels a frame by a network that does everything itself.
fn on_device(
    device: &mut DeviceNetwork,
    segmenter: &Segmenter,
    call: &Call<'_>,
    frame: &Frame<'_>,
    padded: (usize, usize),
    mask: &mut MaskData,
) -> Result<()> {
    check_run(padded)?;
    let mut clock = Clock::start();
    let (height, width) = (mask.height, mask.width);
    let order = segmenter.model.normalise.offsets(frame);
    let bytes = frame.format().bytes();
    preprocess::copy_bytes(frame, device.frame(Layout { height, width, bytes, order, padded })?);
    clock.add(&mut mask.timings.preprocess);
    device.run(call, |labels| {
        clock.add(&mut mask.timings.inference);
        mask.pixels.fill(0);
        for (label, &class) in mask.labels.iter_mut().zip(labels) {
            *label = class;
            mask.pixels[usize::from(class)] += 1;
        }
        Ok(())
    })?;
    clock.add(&mut mask.timings.head);
    Ok(())
}

/// Whether the network can take a picture of this size (height, width) in one run.
fn check_run((height, width): (usize, usize)) -> Result<()> {
    if height * width > MAX_RUN_PIXELS {
        return Err(Error::InvalidArgument(format!(
            "{width} x {height} pixels are more than the {MAX_RUN_PIXELS} that one run takes; choose the size mode tile or a \
             smaller working size"
        )));
    }
    Ok(())
}

/// Measures steps that follow each other.
struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Adds the time since the last step to `total`.
    fn add(&mut self, total: &mut Duration) {
        let now = Instant::now();
        *total += now - self.0;
        self.0 = now;
    }
}

/// A side that was asked for, or for 0 the frame's own.
fn pick(asked: u32, own: usize) -> usize {
    if asked == 0 { own } else { asked as usize }
}

/// The labels of a network that answers class indices, each pixel's from the nearest one of the answer.
fn take_labels(
    labels: Labels<'_>,
    answered: (usize, usize),
    size: (usize, usize),
    fit: Fit,
    mask: &mut MaskData,
) -> Result<()> {
    let covered = match fit {
        Fit::Crop => size,
        Fit::Resample => (mask.height, mask.width),
    };
    let nearest = |at: usize, answered: usize, covered: usize| (2 * at + 1) * answered / (2 * covered);
    mask.pixels.fill(0);
    for (y, row) in mask.labels.chunks_exact_mut(mask.width).enumerate() {
        let source = nearest(y, answered.0, covered.0) * answered.1;
        for (x, label) in row.iter_mut().enumerate() {
            let class = labels.get(source + nearest(x, answered.1, covered.1));
            let Some(count) = usize::try_from(class).ok().and_then(|class| mask.pixels.get_mut(class)) else {
                return Err(Error::Model(format!(
                    "the model answers class {class} at column {x}, row {y}, but has only {} classes",
                    mask.classes
                )));
            };
            *count += 1;
            *label = class as u8;
        }
    }
    Ok(())
}
