//! Keeps SIGXFSZ, the signal of the file size limit, from the host.
//!
//! Unsafe code: POSIX signal functions.

use std::{mem::MaybeUninit, ptr};

/// Runs `write`. If a file grows past the process's limit (`ulimit -f`) meanwhile, the write fails
/// with EFBIG. Without this, the kernel also sends SIGXFSZ, whose default action ends the process.
pub(crate) fn without_file_size_signal<T>(write: impl FnOnce() -> T) -> T {
    let _blocked = Blocked::new();
    write()
}

/// Blocks SIGXFSZ on this thread until it is dropped. The kernel sends the signal to the thread
/// that writes.
struct Blocked {
    set: libc::sigset_t,
    /// The thread's previous signal mask.
    mask: libc::sigset_t,
    /// Whether a signal was pending before; the host has to receive it.
    was_pending: bool,
}

impl Blocked {
    fn new() -> Blocked {
        let mut set = MaybeUninit::uninit();
        let mut mask = MaybeUninit::uninit();
        // SAFETY: sigemptyset initializes the set. pthread_sigmask initializes the mask and cannot
        // fail with SIG_BLOCK.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), mask.as_mut_ptr());
            Blocked { set: set.assume_init(), mask: mask.assume_init(), was_pending: is_pending() }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both sets are initialized, and NULL for the signal's information is allowed.
        unsafe {
            if !self.was_pending && is_pending() {
                libc::sigtimedwait(&self.set, ptr::null_mut(), &now);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut());
        }
    }
}

/// Whether SIGXFSZ is pending on this thread.
fn is_pending() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending initializes the set.
    unsafe { libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), libc::SIGXFSZ) == 1 }
}
