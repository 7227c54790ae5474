//! [`Segmenter`]: frame in, mask out.

mod session_slot;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    path::Path,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Error, Frame, LogLevel, Mask, Options, PixelFormat, Provider, Result, SizeMode,
    error::plain,
    frame::plane_layout,
    head::Fit,
    mask::{LabelBuffer, MaskSettings, Outputs, Target, label_stride},
    memory::set_length,
    model::{Model, PreparedModel},
    onnx::{self, Loaded, ModelCard},
    palette::Class,
    pool::Pool,
    process::{Busy, Process},
    runtime::{self, Call, Interrupts, Limit, Networks, Request, Runtime, StopFlag, Subject, log},
    threads,
    tiles::TileSide,
};
use session_slot::{FrameContext, SessionSlot, TileGrid};

/// The maximum number of pixels of a frame.
const MAX_FRAME_PIXELS: usize = 1 << 28;

/// The maximum size of a model in bytes, including external data: what ONNX's format can hold.
const MAX_MODEL_BYTES: u64 = 1 << 31;

/// The time limit of all runs that find out shapes during creation, if there is no timeout.
const TRIAL: Duration = Duration::from_secs(30);

/// The minimum time limit of creation, because timeouts are chosen for frames.
const LEAST_CREATION: Duration = Duration::from_secs(10);

/// The number of the next segmenter.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A loaded model.
///
/// Any number of threads may call [`Segmenter::segment`] at once: calls share the sessions
/// ([`Options::sessions`](crate::Options)). In a child process after `fork`, the parent's segmenter
/// can be neither used nor freed: ONNX Runtime's threads do not exist there.
pub struct Segmenter {
    model: Model,
    mode: SizeMode,
    provider: &'static str,
    precision: &'static str,
    reason: String,
    version: &'static str,
    pool: Pool,
    sessions: usize,
    slots: Mutex<Vec<SessionSlot>>,
    returned: Condvar,
    interrupts: Interrupts,
    timeout: Option<Duration>,
    process: Process,
    /// A number that is unique in this process.
    number: u64,
}

impl fmt::Debug for Segmenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segmenter")
            .field("provider", &self.provider)
            .field("precision", &self.precision)
            .field("size_mode", &self.mode)
            .field("sessions", &self.sessions)
            .field("timeout", &self.timeout)
            .field("classes", &self.model.classes.len())
            .finish_non_exhaustive()
    }
}

impl Segmenter {
    /// Loads the model in an ONNX file. Model files are untrusted input: the manual of
    /// `fcn_create()` in `include/fcn.h` lists the limits. Tensors may be in other files in the
    /// model's folder (external data).
    pub fn from_file(path: impl AsRef<Path>, options: &Options) -> Result<Segmenter> {
        let path = path.as_ref();
        Segmenter::new(|| onnx::from_file(path, MAX_MODEL_BYTES), options).map_err(|error| match error {
            Error::Model(message) => Error::Model(format!("'{}': {}", path.display(), plain(&message))),
            Error::InvalidArgument(message) => Error::InvalidArgument(plain(&message)),
            other => other,
        })
    }

    /// Loads a model from the content of an ONNX file, without external data.
    pub fn from_memory(bytes: &[u8], options: &Options) -> Result<Segmenter> {
        Segmenter::new(|| onnx::from_memory(bytes), options).map_err(|error| match error {
            Error::Model(message) => Error::Model(plain(&message)),
            Error::InvalidArgument(message) => Error::InvalidArgument(plain(&message)),
            other => other,
        })
    }

    fn new(read: impl FnOnce() -> Result<Loaded>, options: &Options) -> Result<Segmenter> {
        let start = Instant::now();
        options.check()?;
        let (file, model) = read()?;
        let _busy = Busy::creating()?;
        let creation = Interrupts::new(1);
        // TensorRT builds its engines, which takes minutes.
        let limited = options.timeout.filter(|_| options.provider != Provider::TensorRt);
        let limit = limited.and_then(|timeout| Limit::new(Subject::Creation, start, timeout.max(LEAST_CREATION)));
        if limit.is_some() {
            creation.start_timer()?;
        }
        let call = creation.call(None, limit);
        let mut trial = Trial { creation: &creation, limit };
        let mut prepared = Model::prepare(model, options, &mut |network, sizes| {
            let runtime = Runtime::load(options.runtime_library.as_deref())?;
            runtime::run_once(runtime, network, &file, options, sizes, &trial.call()?)
        })?;
        // On this thread: if the caller is the constructor of a library that is being loaded, other
        // threads wait for the loader's lock.
        let runtime = Runtime::load(options.runtime_library.as_deref())?;
        runtime.report(options.log.as_ref());
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let thread_count = if options.threads == 0 { cpus().min(256) } else { options.threads as usize };
        // The threads of each session, and of the head.
        threads::check_available((thread_count - 1) * (options.sessions.max(1) as usize + 1))?;
        let load = |prepared: &PreparedModel| {
            let (network, on_device) = (&prepared.network, || prepared.on_device());
            Networks::new(
                runtime,
                &Request { network, on_device: &on_device, file: &file, options, threads: thread_count, call: &call },
            )
        };
        call.check()?;
        let pool = Pool::new(thread_count)?;
        let mut loaded = load(&prepared)?;
        match prepared.try_out(&mut loaded.networks[0].0, &mut || trial.call()) {
            Ok(true) => {}
            Ok(false) => {
                prepared.uncut();
                pool.free(loaded.networks);
                loaded = load(&prepared)?;
            }
            Err(error) => {
                pool.free(loaded.networks);
                return Err(error);
            }
        }
        let Networks { networks, provider, format, reason } = loaded;
        let mut assumed = std::mem::take(&mut prepared.assumed);
        let finished = networks[0].0.output_kind().and_then(|output| {
            let model = prepared.finish(output, options)?;
            let mode = model.size_mode(options.size_mode)?;
            Ok((model, mode))
        });
        let (model, mode) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                pool.free(networks);
                return Err(error);
            }
        };
        if mode == SizeMode::Auto && model.native_side.is_none() {
            assumed.push(
                "frames of any size, which are padded and not resampled, because the size that the model labels best is not known \
                 (option native_side)"
                    .into(),
            );
        }
        if options.size_mode.is_none()
            && let SizeMode::Resize { .. } = mode
        {
            assumed.push("frames are resampled to the one size that the model takes".into());
        }
        if !assumed.is_empty() {
            let assumed = assumed.join(", ");
            let message = format!("assumed, because neither a model card nor an option says it: {assumed}");
            log(options.log.as_ref(), LogLevel::Info, &plain(&message));
        }
        let slots: Vec<SessionSlot> = networks.into_iter().map(SessionSlot::new).collect();
        let interrupts = Interrupts::new(slots.len());
        if options.timeout.is_some() {
            interrupts.start_timer()?;
        }
        Ok(Segmenter {
            model,
            mode,
            provider: provider.name(),
            precision: format.name(),
            reason,
            version: runtime.version(),
            pool,
            sessions: slots.len(),
            slots: Mutex::new(slots),
            returned: Condvar::new(),
            interrupts,
            timeout: options.timeout,
            process: Process::current(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Labels every pixel of a frame and stores the result in `mask`, which has the frame's size or
    /// that of [`Mask::set_size`]. On failure, the mask does not change.
    pub fn segment(&self, frame: &Frame<'_>, mask: &mut Mask) -> Result<()> {
        self.segment_within(frame, mask, None, None, None)
    }

    /// [`Segmenter::segment`] with labels written to `labels`, whose rows are `stride` bytes apart;
    /// 0 means no padding. The last row needs no padding, and padding is not written. Labels are
    /// written directly, except in the size mode tile. Once the first label is written, the call
    /// cannot fail any more.
    pub fn segment_into(&self, frame: &Frame<'_>, mask: &mut Mask, labels: &mut [u8], stride: usize) -> Result<()> {
        let stride = label_stride(labels.len(), mask.settings.size(frame.size()), stride)?;
        self.segment_within(frame, mask, Some(LabelBuffer { labels, stride }), None, None)
    }

    /// [`Segmenter::segment_into`] if rows are given, else [`Segmenter::segment`], that ends early
    /// when [`Segmenter::stop`] sets `stop`, or at the limit. A limit requires a previous call of
    /// [`Segmenter::watch_limits`].
    pub(crate) fn segment_within(
        &self,
        frame: &Frame<'_>,
        mask: &mut Mask,
        labels: Option<LabelBuffer<'_>>,
        stop: Option<&StopFlag>,
        limit: Option<Limit>,
    ) -> Result<()> {
        let start = Instant::now();
        self.check(frame, &mask.settings)?;
        let timeout = self.timeout.and_then(|timeout| Limit::new(Subject::Frame, start, timeout));
        let call = self.interrupts.call(stop, Limit::stricter(timeout, limit));
        // The slot that was used last: its buffers are still in cache.
        let mut slot = self.take(&call, Vec::pop)?;
        self.run(&mut slot, &self.context(frame, &call), start, mask, labels)
    }

    /// Cancels all [`Segmenter::segment`] and [`Segmenter::warm_up`] calls that are running or
    /// waiting for a session: they fail with [`Error::Cancelled`]. Later calls are not affected.
    ///
    /// Returns at once. Checked before each run, between layers and between tiles: a layer in
    /// progress is not interrupted, and a frame whose inference has finished still returns its
    /// result.
    pub fn cancel(&self) -> Result<()> {
        self.check_process()?;
        self.interrupts.cancel_all();
        self.wake_waiting();
        Ok(())
    }

    /// Sets the flag and ends the calls that have it.
    pub(crate) fn stop(&self, flag: &StopFlag) {
        self.interrupts.stop(flag);
        self.wake_waiting();
    }

    /// Starts the timer that ends calls at their limits.
    pub(crate) fn watch_limits(&self) -> Result<()> {
        self.interrupts.start_timer()
    }

    /// Wakes calls that wait for a session, so that they check whether they have to end.
    fn wake_waiting(&self) {
        // A call that has checked and is about to wait holds the lock.
        drop(self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        self.returned.notify_all();
    }

    /// Allocates buffers and runs one dummy inference per session, so that the first frame of this
    /// size is not slower than later ones.
    pub fn warm_up(&self, width: u32, height: u32) -> Result<()> {
        let mut pixels = Vec::new();
        set_length(&mut pixels, plane_layout(PixelFormat::Gray8, 0, width, height, 0)?.1, "an empty frame")?;
        let frame = Frame::packed(PixelFormat::Gray8, &pixels, width, height, 0)?;
        self.check(&frame, &MaskSettings::default())?;
        let call = self.interrupts.call(None, None);
        for _ in 0..self.sessions {
            // Slots are returned to the end of the list, so this uses each of them once.
            let mut slot = self.take(&call, |slots| (!slots.is_empty()).then(|| slots.remove(0)))?;
            let mut mask = Mask::new();
            self.run(&mut slot, &self.context(&frame, &call), Instant::now(), &mut mask, None)?;
            std::mem::swap(&mut mask.data, &mut slot.mask);
        }
        Ok(())
    }

    fn context<'a>(&'a self, frame: &'a Frame<'a>, call: &'a Call<'a>) -> FrameContext<'a> {
        let Segmenter { model, pool, number, .. } = self;
        FrameContext { model, pool, segmenter: *number, frame, call }
    }

    fn run(
        &self,
        slot: &mut SessionSlot,
        context: &FrameContext<'_>,
        start: Instant,
        mask: &mut Mask,
        mut labels: Option<LabelBuffer<'_>>,
    ) -> Result<()> {
        let frame = context.frame.size();
        let (settings, size) = (&mask.settings, mask.settings.size(frame));
        let mut rules = settings.rules(self.model.classes.len())?;
        rules.sharpness = self.model.sharpness();
        let tiled = matches!(self.mode, SizeMode::Tile { .. });
        // Labels of tiles are copied to the caller after the last tile has succeeded.
        let direct = if tiled { None } else { labels.as_mut().map(LabelBuffer::reborrow) };
        slot.mask.prepare(size, self.model.classes.len(), settings.outputs(), direct.is_none())?;
        let min_region = settings.min_region();
        if min_region.is_some() {
            slot.specks.prepare(size)?;
        }
        let target = &mut Target { rules, labels: direct, before: &mask.history };
        slot.history.clear();
        match self.mode {
            SizeMode::Tile { width: columns, height: rows, overlap } => {
                let stride = self.model.stride;
                let side = |length, tile| TileSide::new(length, tile, overlap as usize, stride);
                let (rows, columns) = (side(frame.height, rows as usize), side(frame.width, columns as usize));
                slot.tiled(context, &TileGrid { rows, columns }, target)
            }
            mode => {
                let working = self.model.working_size(mode, frame)?;
                let usual = target.rules.plain() && size == frame && context.frame.contiguous_row(0).is_some();
                match &mut slot.device {
                    Some(device) if usual && working.fit == Fit::Crop => {
                        session_slot::on_device(device, context, working.size, &mut slot.mask, target)
                    }
                    _ => slot.whole(context, working, target),
                }
            }
        }?;
        if let Some(least) = min_region {
            slot.remove_specks(least, target);
        }
        if let Some(LabelBuffer { labels, stride }) = labels.filter(|_| tiled) {
            for (row, own) in labels.chunks_mut(stride).zip(slot.mask.labels.chunks_exact(size.width)) {
                row[..size.width].copy_from_slice(own);
            }
            slot.mask.labels.clear();
        }
        slot.mask.timings.total = start.elapsed();
        std::mem::swap(&mut mask.data, &mut slot.mask);
        std::mem::swap(&mut mask.history, &mut slot.history);
        Ok(())
    }

    /// The classes in index order.
    pub fn classes(&self) -> &[Class] {
        &self.model.classes
    }

    /// The background class, which overlays do not draw: that of the model card, or the class named
    /// background; without a card, class 0 if it has such a name.
    pub fn background(&self) -> Option<u8> {
        self.model.background
    }

    /// Whether the model outputs scores, so that masks may have confidence, margin and scores, and
    /// settings that need them. Models that end in an argmax do not.
    #[must_use]
    pub fn has_scores(&self) -> bool {
        !self.model.answers_labels
    }

    /// The model card.
    pub fn card(&self) -> Option<&ModelCard> {
        self.model.card.as_ref()
    }

    /// The provider in use: `cpu`, `cuda`, `tensorrt` or `openvino`.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// The format in which the network's float32 layers are computed: `float32`, `tf32`, `bfloat16`
    /// or `float16`. Quantized layers are computed in integers.
    pub fn precision(&self) -> &'static str {
        self.precision
    }

    /// Why [`Provider::Auto`] did not choose a better provider; empty if there is none better.
    pub fn provider_reason(&self) -> &str {
        &self.reason
    }

    /// ONNX Runtime's version, for example `1.32.0`.
    pub fn runtime_version(&self) -> &str {
        self.version
    }

    /// The model's stride: sides of the network's input are multiples of this many pixels.
    pub fn stride(&self) -> u32 {
        self.model.stride as u32
    }

    /// Fails in a forked child: only the thread that forked exists there, and locks that other
    /// threads held are never released.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.is_of_another_process() {
            return Err(Error::Runtime(format!(
                "the segmenter was made in process {} and cannot be used in its child {}; make one there",
                self.process.id,
                std::process::id()
            )));
        }
        Ok(())
    }

    pub(crate) fn is_of_another_process(&self) -> bool {
        self.process.is_over()
    }

    pub(crate) fn check(&self, frame: &Frame<'_>, settings: &MaskSettings) -> Result<()> {
        self.check_process()?;
        let size = frame.size();
        for (what, size) in [("frame", size), ("mask", settings.size(size))] {
            let pixels = size.pixels();
            if pixels > MAX_FRAME_PIXELS {
                return Err(Error::InvalidArgument(format!(
                    "the {what} has {pixels} pixels; at most {MAX_FRAME_PIXELS} are possible"
                )));
            }
        }
        settings.rules(self.model.classes.len())?;
        if self.model.answers_labels && settings.outputs() != Outputs::default() {
            return Err(Error::InvalidArgument(
                "the model answers class indices, so there is neither confidence nor scores nor margin to ask for"
                    .into(),
            ));
        }
        if self.model.answers_labels && settings.needs_scores() {
            return Err(Error::InvalidArgument(
                "the model answers class indices, so there is neither threshold nor choice of classes nor smoothing, which need \
                 scores"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The free slot that `choose` takes. Waits if all are in use, unless the call ends.
    fn take(
        &self,
        call: &Call<'_>,
        choose: impl Fn(&mut Vec<SessionSlot>) -> Option<SessionSlot>,
    ) -> Result<Taken<'_>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Before the check: a call that was woken for a free slot must take it, or another one
            // could sleep although a slot is free.
            if let Some(slot) = choose(&mut slots) {
                return Ok(Taken { segmenter: self, slot: Some(slot) });
            }
            call.check()?;
            slots = match call.time_left() {
                None => self.returned.wait(slots).unwrap_or_else(PoisonError::into_inner),
                Some(time) => self.returned.wait_timeout(slots, time).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        let slots = std::mem::take(self.slots.get_mut().unwrap_or_else(PoisonError::into_inner));
        // In a forked child, the threads that ONNX Runtime would join do not exist.
        if self.is_of_another_process() {
            std::mem::forget(slots);
        } else {
            let _busy = Busy::freeing();
            self.pool.free(slots);
        }
    }
}

/// The runs of the network during a segmenter's creation.
struct Trial<'a> {
    creation: &'a Interrupts,
    limit: Option<Limit>,
}

impl<'a> Trial<'a> {
    /// The next run. The first one starts the time limit of all.
    fn call(&mut self) -> Result<Call<'a>> {
        if self.limit.is_none() {
            self.creation.start_timer()?;
            self.limit = Limit::new(Subject::Trial, Instant::now(), TRIAL);
        }
        Ok(self.creation.call(None, self.limit))
    }
}

/// A slot in use, returned on drop.
struct Taken<'a> {
    segmenter: &'a Segmenter,
    slot: Option<SessionSlot>,
}

impl Deref for Taken<'_> {
    type Target = SessionSlot;

    fn deref(&self) -> &SessionSlot {
        self.slot.as_ref().expect("only drop takes the slot")
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut SessionSlot {
        self.slot.as_mut().expect("only drop takes the slot")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.segmenter.slots.lock().unwrap_or_else(PoisonError::into_inner).extend(self.slot.take());
        self.segmenter.returned.notify_one();
    }
}
