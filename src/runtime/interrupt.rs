//! Aborts runs of the network from other threads, when the host cancels a call or its deadline
//! passes.
//!
//! Unsafe code: `ort` does not let threads share run options with output tensors, not even to set
//! their terminate flag.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions,
    builder::{LoadCanceler, SessionBuilder},
};

use super::exit::{self, Pass};
use crate::{Error, Result, threads::Thread};

/// The run options of one session.
pub(super) struct SharedRunOptions(Arc<Flag>);

/// Run options whose terminate flag several threads set.
struct Flag(RunOptions<HasSelectedOutputs>);

// SAFETY: `RunOptions` with outputs is not Sync because two concurrent runs would write to the same
// tensors. Here only `SharedRunOptions`, which is exclusive, passes them to a run. Other threads
// only set and clear the terminate flag, which ONNX Runtime allows.
unsafe impl Sync for Flag {}

impl SharedRunOptions {
    pub(super) fn new(outputs: OutputSelector) -> ort::Result<SharedRunOptions> {
        Ok(SharedRunOptions(Arc::new(Flag(RunOptions::new()?.with_outputs(outputs)))))
    }

    /// The options to run a session with.
    pub(super) fn for_run(&mut self) -> &RunOptions<HasSelectedOutputs> {
        &self.0.0
    }
}

/// Ends the calls that have it: see [`Interrupts::stop`].
pub(crate) struct StopFlag {
    /// Unique in this process.
    id: u64,
    is_set: AtomicBool,
}

impl StopFlag {
    pub(crate) fn new() -> StopFlag {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        StopFlag { id: NEXT.fetch_add(1, Ordering::Relaxed), is_set: AtomicBool::new(false) }
    }

    /// Sets the flag. Runs in progress end only if [`Interrupts::stop`] sets it.
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }
}

/// The calls of one segmenter and their current runs.
pub(crate) struct Interrupts {
    shared: Arc<InterruptShared>,
    timer: Mutex<Option<Thread>>,
}

struct InterruptShared {
    state: Mutex<InterruptState>,
    /// Signals a deadline earlier than the one the timer waits for, or the end.
    sooner: Condvar,
}

#[derive(Default)]
struct InterruptState {
    /// How many times all calls have been cancelled.
    cancelled: u64,
    runs: Vec<ActiveRun>,
    /// The number of runs so far.
    number: u64,
    /// When the timer wakes up next.
    wake: Option<Instant>,
    stop: bool,
}

/// A run in progress.
struct ActiveRun {
    number: u64,
    /// The id of the flag that stops the call.
    stop: Option<u64>,
    deadline: Option<Instant>,
    handle: AbortHandle,
    /// Why the run was aborted.
    told: Option<Reason>,
}

/// Aborts a run or the loading of a network.
enum AbortHandle {
    Run(Arc<Flag>),
    Load(LoadCanceler),
}

#[derive(Clone, Copy)]
enum Reason {
    Cancelled,
    TimeOver,
}

/// The time limit of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// The subject of the error message.
    subject: Subject,
    pub(crate) deadline: Instant,
    /// The time from start to deadline, for messages.
    allowed: Duration,
}

/// The operation that has a time limit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Frame,
    Creation,
    /// The runs that find out shapes, if creation has no limit.
    Trial,
}

/// Messages include the excess time from this value on.
const NOTICED: Duration = Duration::from_millis(100);

impl Limit {
    /// The limit of an operation that started at `start`; `None` if the clock cannot represent the
    /// deadline.
    pub(crate) fn new(subject: Subject, start: Instant, allowed: Duration) -> Option<Limit> {
        start.checked_add(allowed).map(|deadline| Limit { subject, deadline, allowed })
    }

    /// The stricter one of two limits.
    pub(crate) fn stricter(one: Option<Limit>, other: Option<Limit>) -> Option<Limit> {
        one.into_iter().chain(other).min_by_key(|limit| limit.deadline)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.deadline <= Instant::now()
    }

    pub(crate) fn error(&self) -> Error {
        let allowed = self.allowed;
        Error::Timeout(match self.subject {
            Subject::Frame => format!("the frame had no result within its time limit of {allowed:?}"),
            Subject::Creation => {
                format!("the model was not ready within {allowed:?} (the option timeout, at least 10 s)")
            }
            Subject::Trial => format!(
                "the network did not finish within {allowed:?} on a blank image, which it was run \
                 on to find out shapes that the file does not declare; set the option timeout to a \
                 longer time"
            ),
        })
    }

    /// [`Limit::error`] for a run that was aborted at its deadline and has ended now.
    fn error_of_run(&self) -> Error {
        match (self.error(), self.deadline.elapsed()) {
            (Error::Timeout(message), late) if late >= NOTICED => {
                let took = (self.allowed + late).as_secs_f64();
                let step = match self.subject {
                    Subject::Creation => "layer, or a step of ONNX Runtime's optimizer,",
                    Subject::Frame | Subject::Trial => "layer",
                };
                Error::Timeout(format!(
                    "{message}; it took {took:.1} s, because a {step} in progress is not interrupted"
                ))
            }
            (error, _) => error,
        }
    }
}

/// A call of a segmenter.
pub(crate) struct Call<'a> {
    interrupts: &'a Interrupts,
    /// The value of `InterruptState::cancelled` at the start.
    cancelled: u64,
    /// A flag that also ends the call.
    stop: Option<&'a StopFlag>,
    limit: Option<Limit>,
}

impl Interrupts {
    /// Creates the state for a segmenter with this number of sessions.
    pub(crate) fn new(sessions: usize) -> Interrupts {
        let state = InterruptState { runs: Vec::with_capacity(sessions), ..InterruptState::default() };
        let shared = Arc::new(InterruptShared { state: Mutex::new(state), sooner: Condvar::new() });
        Interrupts { shared, timer: Mutex::new(None) }
    }

    /// Starts the timer thread, which aborts runs at their deadlines, unless it is running.
    pub(crate) fn start_timer(&self) -> Result<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = Thread::start("fcn-timer", move || shared.watch());
            *timer =
                Some(thread.map_err(|error| {
                    Error::Runtime(format!("cannot start the thread that watches deadlines: {error}"))
                })?);
        }
        Ok(())
    }

    /// Starts a call. If it has a limit, the timer must be running.
    pub(crate) fn call<'a>(&'a self, stop: Option<&'a StopFlag>, limit: Option<Limit>) -> Call<'a> {
        Call { interrupts: self, cancelled: self.shared.lock().cancelled, stop, limit }
    }

    /// Cancels all current calls. Wake up those that wait for a session, so that they notice.
    pub(crate) fn cancel_all(&self) {
        let mut state = self.shared.lock();
        state.cancelled += 1;
        state.runs.iter_mut().for_each(|run| run.end(Reason::Cancelled));
    }

    /// Stops current and later calls that have this flag. Wake up those that wait for a session, so
    /// that they notice.
    pub(crate) fn stop(&self, flag: &StopFlag) {
        flag.set();
        let mut state = self.shared.lock();
        state.runs.iter_mut().filter(|run| run.stop == Some(flag.id)).for_each(|run| run.end(Reason::Cancelled));
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let timer = self.timer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // In a forked child, the locks that the timer held at the fork are never released.
        if let Some(timer) = timer.filter(|timer| !timer.is_of_another_process()) {
            self.shared.lock().stop = true;
            self.shared.sooner.notify_one();
            timer.join();
        }
    }
}

impl InterruptShared {
    fn lock(&self) -> MutexGuard<'_, InterruptState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timer's main loop.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.stop {
            let now = Instant::now();
            let over = |run: &&mut ActiveRun| run.deadline.is_some_and(|deadline| deadline <= now);
            state.runs.iter_mut().filter(over).for_each(|run| {
                run.end(Reason::TimeOver);
                run.deadline = None;
            });
            state.wake = state.runs.iter().filter_map(|run| run.deadline).min();
            // A run that starts meanwhile wakes the timer only if its deadline is earlier. So if
            // frames are in time, the timer wakes up once per deadline interval, not once per
            // frame.
            state = match state.wake {
                None => self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wake) => {
                    let (state, _) =
                        self.sooner.wait_timeout(state, wake - now).unwrap_or_else(PoisonError::into_inner);
                    state
                }
            };
        }
    }
}

impl ActiveRun {
    fn end(&mut self, reason: Reason) {
        // The first reason counts. If the flag cannot be set, the run continues to its end.
        let tell = || match &self.handle {
            AbortHandle::Run(flag) => flag.0.terminate(),
            AbortHandle::Load(canceler) => canceler.cancel(),
        };
        if self.told.is_none() && tell().is_ok() {
            self.told = Some(reason);
        }
    }
}

impl Call<'_> {
    /// Fails if the call has to end.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_in(&self.interrupts.shared.lock())
    }

    fn check_in(&self, state: &InterruptState) -> Result<()> {
        if state.cancelled != self.cancelled || self.stop.is_some_and(StopFlag::is_set) {
            return Err(self.error(Reason::Cancelled));
        }
        match &self.limit {
            Some(limit) if limit.is_over() => Err(limit.error()),
            _ => Ok(()),
        }
    }

    fn error(&self, reason: Reason) -> Error {
        match (reason, &self.limit) {
            (Reason::TimeOver, Some(limit)) => limit.error_of_run(),
            _ => Error::Cancelled("the frame was cancelled before it had a result".into()),
        }
    }

    /// How long the call may still wait; `None` means no limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.deadline.saturating_duration_since(Instant::now()))
    }

    /// Begins a run of the network, unless the call has to end.
    pub(super) fn begin(&self, options: &SharedRunOptions) -> Result<RunGuard<'_>> {
        self.enter(AbortHandle::Run(Arc::clone(&options.0)))
    }

    /// Begins to load a network, unless the call has to end. Each attempt needs a new session
    /// builder.
    pub(super) fn begin_load(&self, builder: &SessionBuilder) -> Result<RunGuard<'_>> {
        self.enter(AbortHandle::Load(builder.canceler()))
    }

    fn enter(&self, handle: AbortHandle) -> Result<RunGuard<'_>> {
        let pass = exit::enter()?;
        let mut state = self.interrupts.shared.lock();
        self.check_in(&state)?;
        if let AbortHandle::Run(flag) = &handle {
            // Clear the flag if it aborted the previous run.
            flag.0.unterminate().map_err(|error| Error::Runtime(super::one_line(&error.to_string())))?;
        }
        state.number += 1;
        let number = state.number;
        let deadline = self.limit.map(|limit| limit.deadline);
        state.runs.push(ActiveRun { number, stop: self.stop.map(|flag| flag.id), deadline, handle, told: None });
        let sooner = deadline.is_some_and(|deadline| state.wake.is_none_or(|wake| deadline < wake));
        drop(state);
        if sooner {
            self.interrupts.shared.sooner.notify_one();
        }
        Ok(RunGuard { call: self, number, _pass: pass })
    }
}

/// A run of the network that other threads may abort.
pub(super) struct RunGuard<'a> {
    call: &'a Call<'a>,
    number: u64,
    _pass: Pass,
}

impl RunGuard<'_> {
    /// Ends the run. Returns its result, or an error if it was aborted.
    pub(super) fn end<T>(self, result: Result<T>) -> Result<T> {
        match self.leave() {
            Some(reason) => Err(self.call.error(reason)),
            None => result,
        }
    }

    fn leave(&self) -> Option<Reason> {
        let mut state = self.call.interrupts.shared.lock();
        let place = state.runs.iter().position(|run| run.number == self.number)?;
        state.runs.swap_remove(place).told
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_how_long_a_layer_exceeded_the_time() {
        let hour = Duration::from_secs(3600);
        let now = Instant::now();
        for (subject, name) in
            [(Subject::Frame, "the frame"), (Subject::Creation, "the model"), (Subject::Trial, "blank image")]
        {
            // An hour whose deadline is in an hour, and a minute whose deadline has passed.
            let in_time = Limit::new(subject, now, hour).unwrap();
            let late = Limit { allowed: Duration::from_secs(60), deadline: now, ..in_time };
            let late = Limit { deadline: late.deadline.checked_sub(NOTICED).unwrap_or(now), ..late };
            let (in_time, late) = (in_time.error_of_run().to_string(), late.error_of_run().to_string());
            assert!(in_time.contains(name) && in_time.contains("3600s") && !in_time.contains("took"), "{in_time}");
            assert!(late.contains("60s") && late.contains("; it took "), "{late}");
        }
    }
}
