//! [`Stream`]: the latest frame of a camera, segmented on a thread of its own.
//!
//! That thread runs without the interpreter. It attaches itself only to call a callback or to wake
//! an event loop that waits; results that are polled wait in a slot.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use fcn::Error;
use pyo3::{
    PyTraverseError, PyVisit,
    prelude::*,
    types::{PyAny, PyTuple},
};

use crate::{
    error::{invalid, raise},
    frame::{Frame, Input},
    mask::{Classes, Mask, type_of},
    options::seconds,
    segmenter::Segmenter,
};

/// The time between checks for signals such as Ctrl-C while a thread waits.
const SIGNALS: Duration = Duration::from_millis(100);

/// The streams. They have to stop before the interpreter ends, because their threads attach to it.
static ALL: Mutex<Vec<Weak<Running>>> = Mutex::new(Vec::new());

/// The outcome of a frame of a Stream.
#[pyclass(frozen, module = "pyfcn", name = "StreamResult")]
pub(crate) struct FrameResult {
    mask: PyResult<Py<Mask>>,
    /// As given with the frame.
    #[pyo3(get)]
    timestamp: i64,
    /// As given with the frame.
    #[pyo3(get)]
    user: Py<PyAny>,
}

#[pymethods]
impl FrameResult {
    /// The result. If the frame failed, its error is raised.
    #[getter]
    fn mask(&self, py: Python<'_>) -> PyResult<Py<Mask>> {
        match &self.mask {
            Ok(mask) => Ok(mask.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        }
    }

    /// Why the frame failed, or None: TimeoutError if it missed its deadline, CancelledError after
    /// Segmenter.cancel().
    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let error = self.mask.as_ref().err()?;
        Some(error.value(py).clone().into_any().unbind())
    }
}

/// The caller's data for a frame.
struct Tag {
    /// Shared, because a Python object cannot be referenced again without the interpreter.
    user: Arc<Py<PyAny>>,
    /// Keeps the pixels of a frame that was not copied.
    _frame: Option<Py<Frame>>,
}

/// A result that was not fetched yet.
struct Outcome {
    mask: fcn::Result<fcn::Mask>,
    timestamp: i64,
    user: Arc<Py<PyAny>>,
}

impl Outcome {
    fn into_result(self, py: Python<'_>, classes: &Arc<Classes>) -> PyResult<FrameResult> {
        let mask = match self.mask {
            Ok(mask) => Ok(Py::new(py, Mask::new(mask, Arc::clone(classes)))?),
            Err(error) => Err(raise(error)),
        };
        Ok(FrameResult { mask, timestamp: self.timestamp, user: self.user.clone_ref(py) })
    }
}

/// What the stream's thread shares with Python.
struct Shared {
    classes: Arc<Classes>,
    /// Whether results are polled, because there is no callback.
    polled: bool,
    /// None when it was cleared by Python's garbage collector.
    callback: Mutex<Option<Py<PyAny>>>,
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot {
    result: Option<Outcome>,
    /// Functions to call once when there is a result.
    wakers: Vec<Py<PyAny>>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the stream's thread.
    fn receive(&self, outcome: Outcome) {
        if !self.polled {
            // Nobody is left to call in an interpreter that is ending.
            Python::try_attach(|py| self.call(py, outcome));
            return;
        }
        if matches!(outcome.mask, Err(Error::Timeout(_) | Error::Cancelled(_))) {
            // Only counted.
            return;
        }
        let (older, wakers) = {
            let mut slot = self.lock();
            (slot.result.replace(outcome), mem::take(&mut slot.wakers))
        };
        drop(older);
        self.wake(wakers);
    }

    fn call(&self, py: Python<'_>, outcome: Outcome) {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.clone_ref(py));
        let Some(callback) = callback else { return };
        let called = outcome.into_result(py, &self.classes).and_then(|result| callback.call1(py, (result,)));
        if let Err(error) = called {
            error.write_unraisable(py, Some(callback.bind(py)));
        }
    }

    fn wake(&self, wakers: Vec<Py<PyAny>>) {
        self.changed.notify_all();
        if wakers.is_empty() {
            return;
        }
        Python::try_attach(|py| {
            for waker in wakers {
                if let Err(error) = waker.call0(py) {
                    error.write_unraisable(py, Some(waker.bind(py)));
                }
            }
        });
    }

    /// Waits up to `time`. `Ok(None)` if there is no result, an error if there will be none.
    fn wait(&self, time: Duration) -> fcn::Result<Option<Outcome>> {
        let until = Instant::now() + time;
        let mut slot = self.lock();
        loop {
            if let Some(outcome) = slot.result.take() {
                return Ok(Some(outcome));
            }
            if slot.stopped {
                return Err(Error::Cancelled("the stream has stopped and has no more results".into()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            slot = self.changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A stream and its results.
struct Running {
    stream: fcn::Stream<Tag>,
    shared: Arc<Shared>,
}

impl Running {
    /// Call it without the interpreter: the stream's thread may be waiting for it.
    fn stop(&self) {
        self.stream.stop();
        let wakers = {
            let mut slot = self.shared.lock();
            slot.stopped = true;
            mem::take(&mut slot.wakers)
        };
        self.shared.wake(wakers);
    }
}

/// Stops all streams: called when the interpreter ends.
#[pyfunction]
pub(crate) fn _stop_streams(py: Python<'_>) {
    let all: Vec<_> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    py.detach(|| {
        for running in all {
            running.stop();
        }
    });
}

/// Segments the latest frame of a camera on a thread of its own. Any number of threads may use it
/// at once, including its callback.
///
/// One frame at most is queued; a newer one replaces it. A result is therefore at most two
/// inferences old, however fast frames arrive. Several streams may share a segmenter: give it as
/// many sessions.
///
/// Results go to the callback, or are fetched: with poll() or wait(), as an iterator
/// (`for result in stream`) or with `async for result in stream`. Iteration ends when the stream is
/// stopped. Only the newest result that was not fetched yet is kept. `with Stream(...) as stream`
/// stops it at the end.
///
/// segmenter:
///     Shared with the stream.
/// callback:
///     Called with a StreamResult for each frame that was not dropped, from the stream's thread,
///     one call at a time; no frame is processed meanwhile. Exceptions go to sys.unraisablehook.
/// deadline:
///     As for set_deadline().
/// smoothing:
///     The weight of the newest frame in an average over frames, greater than 0 and at most 1,
///     which disables it.
/// confidence and others:
///     As for Segmenter.segment().
#[pyclass(frozen, module = "pyfcn")]
pub(crate) struct Stream {
    /// None only while it is dropped.
    running: Option<Arc<Running>>,
}

impl Stream {
    fn running(&self) -> &Running {
        self.running.as_ref().expect("only drop takes it")
    }

    fn shared(&self) -> PyResult<&Shared> {
        let shared = &*self.running().shared;
        if !shared.polled {
            return Err(invalid(
                "the results of this stream go to its callback; create the stream without a callback to fetch them",
            ));
        }
        Ok(shared)
    }

    /// Waits for a result, or until the time is over; None means for ever. Signals such as Ctrl-C
    /// end it.
    fn fetch(&self, py: Python<'_>, time: Option<Duration>) -> PyResult<Option<FrameResult>> {
        let shared = self.shared()?;
        let until = time.and_then(|time| Instant::now().checked_add(time));
        loop {
            let left = until.map_or(SIGNALS, |until| until.saturating_duration_since(Instant::now()).min(SIGNALS));
            if let Some(outcome) = py.detach(|| shared.wait(left)).map_err(raise)? {
                return outcome.into_result(py, &shared.classes).map(Some);
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(None);
            }
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Stream {
    #[new]
    #[pyo3(signature = (segmenter, callback=None, *, deadline=None, smoothing=1.0, confidence=false, confidence_u8=false,
                        margin=false, scores=false, size=None, threshold=0.0, classes=None, remap=None, min_region=0))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        segmenter: &Bound<'_, Segmenter>,
        callback: Option<Py<PyAny>>,
        deadline: Option<f64>,
        smoothing: f32,
        confidence: bool,
        confidence_u8: bool,
        margin: bool,
        scores: bool,
        size: Option<(u32, u32)>,
        threshold: f32,
        classes: Option<&Bound<'_, PyAny>>,
        remap: Option<Vec<u8>>,
        min_region: u32,
    ) -> PyResult<Stream> {
        let segmenter = segmenter.get();
        let settings = segmenter.settings(
            confidence,
            confidence_u8,
            margin,
            scores,
            size,
            threshold,
            classes,
            remap,
            min_region,
        )?;
        let mut mask = fcn::Mask::new();
        settings.apply(&mut mask).map_err(raise)?;
        mask.set_smoothing(smoothing).map_err(raise)?;
        let shared = Arc::new(Shared {
            classes: Arc::clone(segmenter.classes()),
            polled: callback.is_none(),
            callback: Mutex::new(callback),
            slot: Mutex::default(),
            changed: Condvar::new(),
        });
        let (inner, receiver) = (Arc::clone(segmenter.inner()), Arc::clone(&shared));
        let stream = py
            .detach(|| {
                fcn::Stream::new(inner, mask, move |result: fcn::StreamResult<'_, Tag>| {
                    let mask = result.mask.map(fcn::Mask::take_result);
                    let user = Arc::clone(&result.user.user);
                    receiver.receive(Outcome { mask, timestamp: result.timestamp, user });
                })
            })
            .map_err(raise)?;
        let running = Arc::new(Running { stream, shared });
        {
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|running| running.strong_count() > 0);
            all.push(Arc::downgrade(&running));
        }
        let stream = Stream { running: Some(running) };
        stream.set_deadline(py, deadline)?;
        Ok(stream)
    }

    /// Queues a frame. A frame already queued is replaced and counted as dropped. Never blocks on
    /// inference. Raises CancelledError if the stream is stopped.
    ///
    /// frame, format:
    ///     As for Segmenter.segment().
    /// timestamp, user:
    ///     Returned with the result and not interpreted. Timestamps are conventionally nanoseconds
    ///     of the caller's clock.
    /// copy:
    ///     True copies the pixels inside the frame's crop, in reused memory; the array may be
    ///     reused after the call. False keeps the array instead: it must not change until the
    ///     frame's result has come or the frame was dropped, as with a camera that returns a new
    ///     array each time.
    #[pyo3(signature = (frame, timestamp=0, user=None, *, format=None, copy=true))]
    fn push(
        &self,
        py: Python<'_>,
        frame: &Bound<'_, PyAny>,
        timestamp: i64,
        user: Option<Py<PyAny>>,
        format: Option<&str>,
        copy: bool,
    ) -> PyResult<()> {
        let input = Input::new(frame, format)?;
        let user = Arc::new(user.unwrap_or_else(|| py.None()));
        let stream = &self.running().stream;
        if copy {
            let view = input.get().look().map_err(raise)?;
            return py.detach(|| stream.push(&view, timestamp, Tag { user, _frame: None })).map_err(raise);
        }
        let frame = input.keep(py)?;
        // SAFETY: the tag keeps the frame, and the stream keeps the tag for longer than the view.
        let view = unsafe { frame.get().look_long() }.map_err(raise)?;
        let tag = Tag { user, _frame: Some(frame) };
        py.detach(|| stream.push_borrowed(view, timestamp, tag, |_| {})).map_err(raise)
    }

    /// Fetches the newest result that was not fetched yet: wait() without waiting.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<FrameResult>> {
        self.fetch(py, Some(Duration::ZERO))
    }

    /// Fetches the newest result that was not fetched yet, and waits up to `timeout` seconds for
    /// one; None means for ever. Returns None if there is no new result; frames that missed a
    /// deadline or timeout or were cancelled are only counted. Raises CancelledError if the stream
    /// is stopped and its last result was fetched. Only for streams without a callback.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<FrameResult>> {
        self.fetch(py, timeout.map(seconds).transpose()?)
    }

    /// Sets the deadline of frames pushed from now on, in seconds after their push; None means
    /// none.
    ///
    /// A frame that misses its deadline yields TimeoutError, whether inference had not started (it
    /// then does not run), was aborted, or had just finished.
    #[pyo3(signature = (deadline))]
    fn set_deadline(&self, py: Python<'_>, deadline: Option<f64>) -> PyResult<()> {
        let deadline = deadline.map(seconds).transpose()?;
        py.detach(|| self.running().stream.set_deadline(deadline)).map_err(raise)
    }

    /// The numbers of frames so far: see StreamCounters.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let counters = py.detach(|| self.running().stream.counters()).map_err(raise)?;
        let fcn::StreamCounters { pushed, dropped, done, late, failed } = counters;
        type_of(py, "StreamCounters")?.call1((pushed, dropped, done, late, failed))
    }

    /// Stops the stream: drops frames without a result, aborts inference and rejects further
    /// frames. The last result can still be fetched.
    ///
    /// When it returns, the callback has returned and is not called again. From the stream's own
    /// callback, it returns at once, and the above holds when the callback has returned. May be
    /// called repeatedly and from several threads.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.running().stop());
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_details))]
    fn __exit__(&self, py: Python<'_>, _details: &Bound<'_, PyTuple>) {
        self.stop(py);
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.shared()?;
        Ok(slf)
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<FrameResult>> {
        let shared = self.shared()?;
        loop {
            match py.detach(|| shared.wait(SIGNALS)) {
                Ok(Some(outcome)) => return outcome.into_result(py, &shared.classes).map(Some),
                Ok(None) => py.check_signals()?,
                Err(_) => return Ok(None),
            }
        }
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().shared()?;
        slf.py().import("pyfcn._results")?.call_method1("AsyncResults", (slf,))
    }

    /// Calls `waker` once when there is a result. False, and no call, if there may be one already.
    fn _wake(&self, waker: Py<PyAny>) -> PyResult<bool> {
        let mut slot = self.shared()?.lock();
        let waits = slot.result.is_none() && !slot.stopped;
        if waits {
            slot.wakers.push(waker);
        }
        Ok(waits)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The lock is only held by threads that are attached, and no other one is attached now.
        if let Some(running) = &self.running
            && let Ok(callback) = running.shared.callback.try_lock()
        {
            visit.call(&*callback)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        if let Some(running) = &self.running {
            let callback = running.shared.callback.lock().unwrap_or_else(PoisonError::into_inner).take();
            // It may run code that comes back here.
            drop(callback);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let running = self.running.take();
        // The stream's thread may be waiting for the interpreter. If that is ending, all streams
        // have stopped.
        let _ = Python::try_attach(move |py| py.detach(move || drop(running)));
    }
}
