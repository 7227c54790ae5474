//! Which process this is. A forked child has its parent's memory but not its threads, and whatever those held at the fork stays
//! locked: it must leave its parent's handles alone. Unsafe code: `pthread_atfork`, `geteuid`.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::{Error, Result};

/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Whether forks are counted.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Threads that create or free sessions, and so may hold locks that ONNX Runtime and the loader have for the whole process.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Whether such a thread was lost in a fork.
static LOST: AtomicBool = AtomicBool::new(false);

/// A process. Its id alone is not enough: in another PID namespace a child can have its parent's. Nor are counted forks: a raw
/// `clone` does not call the handlers of `pthread_atfork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) forks: u64,
}

impl Process {
    /// This one.
    pub(crate) fn current() -> Process {
        Process { id: std::process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// Whether this one is another one, a child.
    pub(crate) fn is_over(self) -> bool {
        self != Process::current()
    }
}

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Work that may hold ONNX Runtime's locks.
pub(crate) struct Busy(Process);

impl Busy {
    /// Work that frees sessions.
    pub(crate) fn freeing() -> Busy {
        BUSY.fetch_add(1, Ordering::SeqCst);
        Busy(Process::current())
    }

    /// Work that creates sessions; an error where it might wait for ever.
    pub(crate) fn creating() -> Result<Busy> {
        watch()?;
        if LOST.load(Ordering::SeqCst) {
            return Err(Error::Runtime(
                "this process was forked while another thread created or freed a segmenter, so locks of ONNX Runtime may be held \
                 for ever here; fork when no thread does, or call exec in the child"
                    .into(),
            ));
        }
        Ok(Busy::freeing())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A child that was forked by this very thread counts from 0.
        if !self.0.is_over() {
            BUSY.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Counts forks from now on.
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
    // Two threads may register it, which counts each fork twice and changes nothing: a lock here could be held at a fork.
    // SAFETY: the handler only uses atomics, and this library is never unloaded.
    match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
        0 => WATCHED.store(true, Ordering::Release),
        failure => {
            let error = std::io::Error::from_raw_os_error(failure);
            return Err(Error::OutOfMemory(format!("forks cannot be watched: {error}")));
        }
    }
    Ok(())
}
