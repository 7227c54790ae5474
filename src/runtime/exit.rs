//! Delays the end of the process while the GPU works. When main returns or `exit` is called, CUDA's
//! libraries clean up even if another thread is in a run, which crashes. So the exit waits for such
//! runs, and no new ones begin.
//!
//! Unsafe code: `atexit`.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Error, Result, process::Process};

/// The maximum time that the exit waits. Runs that take longer may crash it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process's number of forks plus 1 if it uses a GPU; 0 means that there is nothing to wait
/// for. A forked child has its parent's number and does not touch the gate, which may have been
/// locked during the fork.
static ARMED: AtomicU64 = AtomicU64::new(0);

static GATE: Gate = Gate {
    state: Mutex::new(GateState { process: Process { id: 0, forks: 0 }, runs: 0, ends: false }),
    idle: Condvar::new(),
};

struct Gate {
    state: Mutex<GateState>,
    idle: Condvar,
}

struct GateState {
    /// The process that counts runs. A forked child has its parent's counts, but not its threads.
    process: Process,
    runs: usize,
    ends: bool,
}

/// How many more times the wait can be registered: each registration takes memory that is never
/// freed.
static REGISTRATIONS_LEFT: AtomicU32 = AtomicU32::new(64);

/// A run that the exit waits for.
pub(super) struct Pass(bool);

/// Makes the exit wait for runs.
pub(super) fn arm() {
    GATE.begin();
    ARMED.store(Process::current().forks + 1, Ordering::Relaxed);
    register();
}

/// Call this after the first run of a network at a size, which may load more of CUDA's libraries.
/// They may register exit handlers, and the last handler registered runs first, so this registers
/// the wait again.
pub(super) fn libraries_may_be_new() {
    if is_armed() {
        register();
    }
}

fn is_armed() -> bool {
    let armed = ARMED.load(Ordering::Relaxed);
    armed > 0 && armed == Process::current().forks + 1
}

fn register() {
    extern "C" fn at_exit() {
        if is_armed() {
            GATE.close(PATIENCE);
        }
    }
    if REGISTRATIONS_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
        return;
    }
    // SAFETY: the function has no arguments, does not unwind, and stays loaded: this library is
    // never unloaded. If it cannot be registered, the process exits without waiting.
    let _ = unsafe { libc::atexit(at_exit) };
}

/// Begins a run, unless the process is exiting.
pub(super) fn enter() -> Result<Pass> {
    if is_armed() { GATE.enter() } else { Ok(Pass(false)) }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts counting for this process, without its parent's runs.
    fn begin(&self) {
        let mut state = self.lock();
        if state.process.is_over() {
            *state = GateState { process: Process::current(), runs: 0, ends: false };
        }
    }

    fn enter(&self) -> Result<Pass> {
        let mut state = self.lock();
        if state.ends {
            return Err(Error::Cancelled("the frame was cancelled because the process is exiting".into()));
        }
        state.runs += 1;
        Ok(Pass(true))
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.runs = state.runs.saturating_sub(1);
        if state.runs == 0 {
            self.idle.notify_all();
        }
    }

    fn close(&self, patience: Duration) {
        let mut state = self.lock();
        if !state.process.is_over() {
            state.ends = true;
            drop(self.idle.wait_timeout_while(state, patience, |state| state.runs > 0));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0 {
            GATE.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Instant};

    use super::*;

    fn gate(process: Process) -> Gate {
        Gate { state: Mutex::new(GateState { process, runs: 0, ends: false }), idle: Condvar::new() }
    }

    #[test]
    fn the_end_waits_for_runs_and_lets_none_begin() {
        let gate = gate(Process::current());
        for _ in 0..2 {
            std::mem::forget(gate.enter().unwrap());
        }
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.close(Duration::from_secs(600));
                send.send(()).unwrap();
            });
            while !gate.lock().ends {
                thread::yield_now();
            }
            assert!(matches!(gate.enter(), Err(Error::Cancelled(_))));
            gate.leave();
            assert!(receive.try_recv().is_err());
            gate.leave();
            receive.recv().unwrap();
        });
    }

    #[test]
    fn the_end_of_a_forked_child_waits_for_nothing() {
        let gate = gate(Process { forks: Process::current().forks + 1, ..Process::current() });
        std::mem::forget(gate.enter().unwrap());
        gate.close(Duration::from_secs(600));
        assert!(!gate.lock().ends);
        // A child with its own GPU does not count its parent's runs.
        gate.begin();
        assert_eq!(gate.lock().runs, 0);
        std::mem::forget(gate.enter().unwrap());
        gate.begin();
        assert_eq!(gate.lock().runs, 1);
    }

    #[test]
    fn patience_has_an_end() {
        let gate = gate(Process::current());
        std::mem::forget(gate.enter().unwrap());
        let start = Instant::now();
        gate.close(Duration::from_millis(1));
        assert!(start.elapsed() >= Duration::from_millis(1) && gate.lock().ends);
    }
}
