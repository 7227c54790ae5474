//! Identifies the current process. A forked child has its parent's memory but not its threads, and
//! the locks that these held at the fork are never released, so the child must not use or free its
//! parent's handles.
//!
//! Unsafe code: `pthread_atfork`, `geteuid`.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::{Error, Result};

/// The number of forks between this process and the one that loaded the library.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Whether the fork handler is registered.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Threads that are creating or freeing sessions. They may hold process-wide locks of ONNX Runtime
/// and the loader.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Whether a fork happened while such a thread was running.
static LOST: AtomicBool = AtomicBool::new(false);

/// Identifies a process. The id alone is not enough: in another PID namespace, a child can have its
/// parent's id. Nor is the number of forks: a raw `clone` does not run the handlers of
/// `pthread_atfork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) forks: u64,
}

impl Process {
    /// The current process.
    pub(crate) fn current() -> Process {
        Process { id: std::process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// Whether the current process is a forked child of this one.
    pub(crate) fn is_over(self) -> bool {
        self != Process::current()
    }
}

/// The effective user id of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Guards work that may hold ONNX Runtime's locks.
pub(crate) struct Busy(Process);

impl Busy {
    /// Guards work that frees sessions.
    pub(crate) fn freeing() -> Busy {
        BUSY.fetch_add(1, Ordering::SeqCst);
        Busy(Process::current())
    }

    /// Guards work that creates sessions. Fails if that could deadlock.
    pub(crate) fn creating() -> Result<Busy> {
        watch()?;
        if LOST.load(Ordering::SeqCst) {
            return Err(Error::Runtime(
                "this process was forked while another thread created or freed a segmenter, so ONNX \
                 Runtime could deadlock here; fork while no thread does that, or call exec in the \
                 child"
                    .into(),
            ));
        }
        Ok(Busy::freeing())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // If this thread forked, the child's count was reset to 0.
        if !self.0.is_over() {
            BUSY.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Registers the fork handler.
fn watch() -> Result<()> {
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        if BUSY.swap(0, Ordering::SeqCst) > 0 {
            LOST.store(true, Ordering::SeqCst);
        }
    }
    if WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    // If two threads register the handler, each fork counts twice, which is harmless. A lock
    // instead could be held during a fork.
    // SAFETY: the handler only uses atomics, and this library is never unloaded.
    match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
        0 => WATCHED.store(true, Ordering::Release),
        failure => {
            let error = std::io::Error::from_raw_os_error(failure);
            return Err(Error::OutOfMemory(format!("cannot register a fork handler: {error}")));
        }
    }
    Ok(())
}
