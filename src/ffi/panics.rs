//! Panics become errors, and print nothing to stderr.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{Error, Result};

thread_local! {
    /// Whether this thread is inside a function of the C API.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Location of the last panic inside, `file:line`, on this thread or one of its workers.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Runs `work`; a panic in it is [`Error::Internal`].
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    silence();
    let before = INSIDE.replace(true);
    // Handles stay consistent when `work` unwinds: a mask is swapped in as a whole or not at all.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    result.map_err(|payload| {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        Error::Internal(format!("a bug in fcn, please report it: {} ({place})", message(&*payload)))
    })
}

/// Keeps Rust's panic hook from printing what [`caught`] reports.
///
/// libfcn.so has its own copy of Rust's standard library and hence its own hook. In a Rust program
/// the hook is shared: panics outside the C API still go to the previous one.
fn silence() {
    // No lock: a child forked while another thread held it would deadlock.
    static SET: AtomicBool = AtomicBool::new(false);
    // A panicking thread cannot set the hook; the next call does.
    if SET.load(Ordering::Relaxed) || thread::panicking() || SET.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Worker threads of a segmenter have names starting with `fcn-`; their panics are passed on
        // to its caller.
        let inside = INSIDE.get() || thread::current().name().is_some_and(|name| name.starts_with("fcn-"));
        if !inside {
            return before(info);
        }
        if let Some(location) = info.location() {
            let place = format!("{}:{}", location.file(), location.line());
            *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
        }
    }));
}

/// The message given to `panic!`.
fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

#[cfg(test)]
mod tests {
    use std::{env, ffi::CStr, process::Command, sync::Barrier};

    use super::*;
    use crate::{
        ffi::{fcn_last_error, fcn_status, guard},
        pool::Pool,
    };

    #[test]
    fn a_panic_is_an_internal_error_that_tells_where() {
        let pool = Pool::new(2).unwrap();
        let caller = thread::current().id();
        for (work, words) in [
            ((|| panic!("plain words")) as fn() -> crate::ffi::Result<()>, "plain words"),
            (|| panic!("index {}", 7), "index 7"),
            (|| panic::panic_any(1), "without a message"),
        ] {
            let on_worker = || {
                // The caller waits until the worker has the job.
                let taken = Barrier::new(2);
                pool.run(&|| {
                    taken.wait();
                    if thread::current().id() != caller {
                        work().unwrap();
                    }
                });
                Ok(())
            };
            for status in [guard(work), guard(on_worker)] {
                assert_eq!(status, fcn_status::FCN_ERROR_INTERNAL, "{words}");
                // SAFETY: a NUL-terminated string that lives until the next failure on this thread.
                let text = unsafe { CStr::from_ptr(fcn_last_error()) }.to_str().unwrap();
                assert!(text.contains(words) && text.contains("panics.rs:"), "{text}");
            }
        }
        assert!(!INSIDE.get());
    }

    #[test]
    fn a_caught_panic_prints_nothing() {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "ffi::panics::tests::a_panic_is_an_internal_error_that_tells_where", "--nocapture"])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    #[test]
    fn other_panics_go_to_the_hook_that_was_there() {
        let child = "FCN_TEST_HOST_PANIC";
        if env::var_os(child).is_some() {
            silence();
            panic!("a panic of the host");
        }
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "ffi::panics::tests::other_panics_go_to_the_hook_that_was_there", "--nocapture"])
            .env(child, "1")
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("a panic of the host"), "{output:?}");
    }
}
