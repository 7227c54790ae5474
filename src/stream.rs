//! [`Stream`]: the latest frame of a camera, segmented on a thread of its own.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::ThreadId,
    time::{Duration, Instant},
};

use crate::{
    Error, Frame, Mask, Result, Segmenter,
    frame::FrameCopy,
    mask::MaskSettings,
    runtime::{Limit, StopFlag, Subject},
    threads::Thread,
};

/// The outcome of a frame, for the callback of a [`Stream`].
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamResult<'a, T> {
    /// The result, or why the frame failed: [`Error::Timeout`] if it missed its deadline. To keep
    /// the mask, swap it for one with the same settings; the stream keeps the average of smoothing.
    pub mask: Result<&'a mut Mask>,
    /// As given with the frame.
    pub timestamp: i64,
    /// As given with the frame.
    pub user: &'a T,
}

/// The outcome of a frame, from [`Stream::poll`] or [`Stream::wait`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Polled<T> {
    /// Whether the mask has the frame's labels, or why it did not change.
    pub status: Result<()>,
    /// As given with the frame.
    pub timestamp: i64,
    /// As given with the frame.
    pub user: T,
}

/// Numbers of frames by outcome. `pushed` is the sum of the others plus the frames that are queued
/// or being processed, at most two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounters {
    /// Frames accepted.
    pub pushed: u64,
    /// Frames replaced by a newer one before processing, or without a result when the stream
    /// stopped.
    pub dropped: u64,
    /// Frames with a result.
    pub done: u64,
    /// Frames that missed their deadline.
    pub late: u64,
    /// Frames that failed for another reason.
    pub failed: u64,
}

/// Segments the latest frame of a camera on a thread of its own.
///
/// One frame at most is queued; a newer one replaces it. A result is therefore at most two
/// inferences old, however fast frames arrive. `T` is the caller's data for a frame.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use fcn::{Frame, Mask, Options, PixelFormat, Segmenter, Stream, StreamResult};
///
/// # fn main() -> fcn::Result<()> {
/// let segmenter = Arc::new(Segmenter::from_file("street.onnx", &Options::default())?);
/// let stream = Stream::new(segmenter, Mask::new(), |result: StreamResult<'_, ()>| {
///     if let Ok(mask) = result.mask {
///         println!("{}: {} labels", result.timestamp, mask.labels().len());
///     }
/// })?;
/// let pixels = vec![0u8; 480 * 320 * 3];
/// let frame = Frame::packed(PixelFormat::Bgr8, &pixels, 480, 320, 0)?;
/// stream.push(&frame, 0, ())?; // once per frame
/// # Ok(())
/// # }
/// ```
///
/// Any number of threads may use it at once, including the callback, which may push, stop and drop
/// it. Memory is freed when stream and segmenter are dropped and the callback has returned. In a
/// child process after `fork`, the parent's streams can be neither used nor freed.
pub struct Stream<T: Send + 'static = ()> {
    shared: Arc<StreamShared<T>>,
    worker: Mutex<Option<Thread>>,
    thread: ThreadId,
    /// Whether results are polled, because there is no callback.
    polled: bool,
}

struct StreamShared<T> {
    segmenter: Arc<Segmenter>,
    state: Mutex<StreamState<T>>,
    /// Signals that a frame is queued or the stream has stopped.
    pushed: Condvar,
    /// Signals that a result is ready, the stream has stopped, or its thread has ended.
    changed: Condvar,
    stopped: StopFlag,
    /// The settings of results.
    settings: MaskSettings,
}

struct StreamState<T> {
    /// The queued frame.
    waiting: Option<QueuedFrame<T>>,
    /// The latest result that has not been polled.
    result: Option<Polled<T>>,
    /// The mask of that result.
    mask: Mask,
    /// Unused buffers for copies of frames.
    spare: Vec<FrameCopy>,
    counters: StreamCounters,
    deadline: Option<Duration>,
    begun: bool,
    ended: bool,
}

/// A frame in the stream.
struct QueuedFrame<T> {
    pixels: Pixels,
    timestamp: i64,
    limit: Option<Limit>,
    tag: Tag<T>,
}

enum Pixels {
    Copied(FrameCopy),
    Borrowed(Frame<'static>),
}

/// The caller's value, and the function that releases a borrowed frame.
#[must_use]
struct Tag<T> {
    user: T,
    release: Option<fn(&T)>,
}

impl<T> Tag<T> {
    /// Releases the frame's pixels. Call it without holding a lock: it runs the caller's code.
    fn give_back(&mut self) {
        if let Some(release) = self.release.take() {
            // There is no one to report a panic to: any thread may release a frame.
            let _ = catch_unwind(AssertUnwindSafe(|| release(&self.user)));
        }
    }
}

impl<T: Send + 'static> Stream<T> {
    /// Creates a stream that calls `callback` on its own thread with the outcome of each frame that
    /// was not dropped. Results get the settings of `mask`.
    ///
    /// No frame is processed while the callback runs. A panic in the callback is caught and
    /// ignored.
    pub fn new(
        segmenter: Arc<Segmenter>,
        mask: Mask,
        callback: impl FnMut(StreamResult<'_, T>) + Send + 'static,
    ) -> Result<Self> {
        Stream::start(segmenter, mask, Some(Box::new(callback)))
    }

    /// Creates a stream whose results are fetched with [`Stream::poll`] or [`Stream::wait`]. They
    /// get the settings of `mask`.
    pub fn polling(segmenter: Arc<Segmenter>, mask: Mask) -> Result<Self> {
        Stream::start(segmenter, mask, None)
    }

    fn start(segmenter: Arc<Segmenter>, mask: Mask, callback: Option<ResultCallback<T>>) -> Result<Self> {
        segmenter.check_process()?;
        let polled = callback.is_none();
        let state = StreamState {
            waiting: None,
            result: None,
            mask: Mask::new(),
            spare: Vec::with_capacity(8),
            counters: StreamCounters::default(),
            deadline: None,
            begun: false,
            ended: false,
        };
        let shared = Arc::new(StreamShared {
            settings: mask.settings.clone(),
            segmenter,
            state: Mutex::new(state),
            pushed: Condvar::new(),
            changed: Condvar::new(),
            stopped: StopFlag::new(),
        });
        let worker = StreamWorker { shared: Arc::clone(&shared), mask, callback };
        let worker = Thread::start("fcn-stream", move || worker.work())
            .map_err(|error| Error::Runtime(format!("cannot start the stream's thread: {error}")))?;
        Ok(Stream { shared, thread: worker.id(), worker: Mutex::new(Some(worker)), polled })
    }

    /// Queues a copy of a frame: only the pixels inside its crop, in reused memory. A frame already
    /// queued is replaced and counted as dropped. Never blocks on inference.
    ///
    /// Errors that can be detected without running the network are returned, and the frame is not
    /// accepted; others are its result.
    pub fn push(&self, frame: &Frame<'_>, timestamp: i64, user: T) -> Result<()> {
        let StreamShared { segmenter, settings, .. } = &*self.shared;
        segmenter.check(frame, settings)?;
        let mut copy = {
            let mut state = self.open()?;
            state.spare.pop().unwrap_or_default()
        };
        if let Err(error) = copy.fill(frame) {
            self.shared.lock().spare.push(copy);
            return Err(error);
        }
        self.put(Pixels::Copied(copy), timestamp, Tag { user, release: None })
    }

    /// Queues a frame without copying. `release` is called exactly once per accepted frame, once
    /// its pixels are no longer read: after the callback, or for polled streams when inference has
    /// finished, or when the frame is dropped. It may run on any thread, including one that is
    /// inside a push or stop.
    ///
    /// Otherwise as [`Stream::push`]. On failure, `release` is not called.
    pub fn push_borrowed(&self, frame: Frame<'static>, timestamp: i64, user: T, release: fn(&T)) -> Result<()> {
        self.shared.segmenter.check(&frame, &self.shared.settings)?;
        self.put(Pixels::Borrowed(frame), timestamp, Tag { user, release: Some(release) })
    }

    fn put(&self, pixels: Pixels, timestamp: i64, tag: Tag<T>) -> Result<()> {
        let now = Instant::now();
        let mut state = self.open()?;
        let limit = state.deadline.and_then(|allowed| Limit::new(Subject::Frame, now, allowed));
        state.counters.pushed += 1;
        let dropped = state.waiting.replace(QueuedFrame { pixels, timestamp, limit, tag });
        let dropped = dropped.map(|item| state.drop_item(item));
        drop(state);
        self.shared.pushed.notify_one();
        if let Some(mut tag) = dropped {
            tag.give_back();
        }
        Ok(())
    }

    /// The state of the stream, unless it has stopped.
    fn open(&self) -> Result<MutexGuard<'_, StreamState<T>>> {
        let state = self.shared.lock();
        if self.shared.is_stopped() {
            return Err(Error::Cancelled(
                "the stream has stopped and accepts no more frames; create another one".into(),
            ));
        }
        Ok(state)
    }

    /// Sets the deadline of frames pushed from now on, measured from their push; `None` (default)
    /// means none.
    ///
    /// A frame that misses its deadline yields [`Error::Timeout`], whether inference had not
    /// started (it then does not run), was aborted, or had just finished.
    pub fn set_deadline(&self, deadline: Option<Duration>) -> Result<()> {
        self.shared.segmenter.check_process()?;
        if deadline.is_some() {
            self.shared.segmenter.watch_limits()?;
        }
        self.shared.lock().deadline = deadline;
        Ok(())
    }

    /// Fetches the newest result that was not fetched yet: exchanges its mask with `mask`. `None`
    /// if there is no new result.
    ///
    /// A frame that failed is returned as well, and leaves `mask` as it is; one that was late or
    /// cancelled is only counted. Fails with [`Error::Cancelled`] if the stream is stopped and has
    /// no more results, and with [`Error::InvalidArgument`] if it has a callback.
    pub fn poll(&self, mask: &mut Mask) -> Result<Option<Polled<T>>> {
        self.wait(mask, Duration::ZERO)
    }

    /// [`Stream::poll`] that waits up to `time` for a result.
    pub fn wait(&self, mask: &mut Mask, time: Duration) -> Result<Option<Polled<T>>> {
        self.shared.segmenter.check_process()?;
        if !self.polled {
            return Err(Error::InvalidArgument(
                "the results of this stream go to its callback; create the stream without a \
                 callback to poll them"
                    .into(),
            ));
        }
        let until = Instant::now().checked_add(time);
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.result.take() {
                if result.status.is_ok() {
                    std::mem::swap(&mut state.mask.data, &mut mask.data);
                }
                return Ok(Some(result));
            }
            if self.shared.is_stopped() {
                return Err(Error::Cancelled("the stream has stopped and has no more results".into()));
            }
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether this process was forked after the stream was created.
    pub(crate) fn is_of_another_process(&self) -> bool {
        self.shared.segmenter.is_of_another_process()
    }

    /// Numbers of frames so far.
    pub fn counters(&self) -> Result<StreamCounters> {
        self.shared.segmenter.check_process()?;
        Ok(self.shared.lock().counters)
    }

    /// Stops the stream: drops frames without a result, aborts inference and rejects further
    /// frames. The last result can still be fetched.
    ///
    /// When it returns, the callback has returned and is not called again, and all borrowed frames
    /// were released, except one that another thread's push or stop is releasing at this moment.
    /// From the stream's own callback, it returns at once, and the above holds when the callback
    /// has returned. May be called repeatedly and from several threads.
    pub fn stop(&self) {
        if self.shared.segmenter.is_of_another_process() {
            return;
        }
        let dropped = {
            let mut state = self.shared.lock();
            self.shared.stopped.set();
            let waiting = state.waiting.take();
            waiting.map(|item| state.drop_item(item))
        };
        self.shared.pushed.notify_all();
        self.shared.changed.notify_all();
        self.shared.segmenter.stop(&self.shared.stopped);
        if let Some(mut tag) = dropped {
            tag.give_back();
        }
        if std::thread::current().id() == self.thread {
            return;
        }
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            worker.join();
        }
        // Another thread may also be waiting for the worker.
        let mut state = self.shared.lock();
        while state.begun && !state.ended {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send + 'static> Drop for Stream<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<T: Send + 'static> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("polled", &self.polled).finish_non_exhaustive()
    }
}

impl<T> StreamShared<T> {
    fn lock(&self) -> MutexGuard<'_, StreamState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.is_set()
    }
}

impl<T> StreamState<T> {
    /// Counts a dropped frame and keeps its buffer. Returns the rest, for release.
    fn drop_item(&mut self, item: QueuedFrame<T>) -> Tag<T> {
        self.counters.dropped += 1;
        self.keep(item.pixels);
        item.tag
    }

    fn keep(&mut self, pixels: Pixels) {
        if let Pixels::Copied(copy) = pixels {
            self.spare.push(copy);
        }
    }
}

type ResultCallback<T> = Box<dyn FnMut(StreamResult<'_, T>) + Send>;

/// The thread of a stream.
struct StreamWorker<T> {
    shared: Arc<StreamShared<T>>,
    /// The mask that frames are labelled into.
    mask: Mask,
    callback: Option<ResultCallback<T>>,
}

impl<T> StreamWorker<T> {
    fn work(mut self) {
        let shared = Arc::clone(&self.shared);
        shared.lock().begun = true;
        // Only the caller's destructors can panic here. That ends the stream; waiting threads are
        // still woken below.
        let _ = catch_unwind(AssertUnwindSafe(move || {
            while let Some(item) = self.next() {
                let result = self.segment(&item);
                self.deliver(item, result);
            }
        }));
        // The callback and everything it owned, which belongs to the caller, has been dropped.
        let mut state = shared.lock();
        shared.stopped.set();
        state.ended = true;
        drop(state);
        shared.changed.notify_all();
    }

    /// Waits for the next frame; `None` if the stream has stopped.
    fn next(&self) -> Option<QueuedFrame<T>> {
        let mut state = self.shared.lock();
        loop {
            if self.shared.is_stopped() {
                return None;
            }
            if let Some(item) = state.waiting.take() {
                return Some(item);
            }
            state = self.shared.pushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn segment(&mut self, item: &QueuedFrame<T>) -> Result<()> {
        let late = || item.limit.filter(Limit::is_over).map(|limit| limit.error());
        if let Some(error) = late() {
            return Err(error);
        }
        let frame = match &item.pixels {
            Pixels::Copied(copy) => copy.frame().ok_or_else(|| Error::Internal("the frame was just copied".into()))?,
            Pixels::Borrowed(frame) => *frame,
        };
        let StreamWorker { shared, mask, .. } = self;
        let work = || shared.segmenter.segment_within(&frame, mask, None, Some(&shared.stopped), item.limit);
        // No caller could catch a panic, so it becomes the frame's result.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(Error::Internal("a bug in fcn, please report it: the thread of a stream panicked".into()))
        })?;
        late().map_or(Ok(()), Err)
    }

    fn deliver(&mut self, item: QueuedFrame<T>, status: Result<()>) {
        let StreamWorker { shared, mask, callback } = self;
        let QueuedFrame { pixels, timestamp, limit, mut tag } = item;
        if callback.is_none() {
            tag.give_back();
        }
        let mut state = shared.lock();
        state.keep(pixels);
        let outcome = match &status {
            _ if shared.is_stopped() => FrameOutcome::Dropped,
            Ok(()) => FrameOutcome::Done,
            Err(Error::Timeout(_)) if limit.is_some_and(|limit| limit.is_over()) => FrameOutcome::Late,
            Err(error) => FrameOutcome::Failed { ended: matches!(error, Error::Timeout(_) | Error::Cancelled(_)) },
        };
        let StreamCounters { dropped, done, late, failed, .. } = &mut state.counters;
        *match outcome {
            FrameOutcome::Dropped => dropped,
            FrameOutcome::Done => done,
            FrameOutcome::Late => late,
            FrameOutcome::Failed { .. } => failed,
        } += 1;
        match (callback, outcome) {
            (Some(callback), FrameOutcome::Done | FrameOutcome::Late | FrameOutcome::Failed { .. }) => {
                drop(state);
                // The average of earlier frames stays with the stream if the callback exchanges the
                // mask.
                let history = std::mem::take(&mut mask.history);
                let result = StreamResult { mask: status.map(|()| &mut *mask), timestamp, user: &tag.user };
                // There is no one to report the callback's panic to.
                let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
                mask.history = history;
            }
            (None, FrameOutcome::Done | FrameOutcome::Failed { ended: false }) => {
                if status.is_ok() {
                    std::mem::swap(&mut mask.data, &mut state.mask.data);
                }
                let older = state.result.replace(Polled { status, timestamp, user: tag.user });
                drop(state);
                shared.changed.notify_one();
                // Dropping it may run the caller's code.
                return drop(older);
            }
            _ => drop(state),
        }
        tag.give_back();
    }
}

/// The result of a frame.
enum FrameOutcome {
    Dropped,
    Done,
    Late,
    /// `ended`: whether the frame was cancelled or timed out.
    Failed {
        ended: bool,
    },
}
