//! Panics end at the border, and without a word on stderr.

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

/// Where the last panic inside happened, `file:line`: on this thread or on one that worked for it.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Runs `work`; a panic in it is [`Error::Internal`].
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    silence();
    let before = INSIDE.replace(true);
    // Whatever `work` left half done is a handle's own business: a mask is swapped in whole or not at all.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    result.map_err(|payload| {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        Error::Internal(format!("a defect in fcn, please report it: {} ({place})", message(&*payload)))
    })
}

/// Keeps Rust's panic hook from printing what [`caught`] is going to report.
///
/// The hook belongs to the copy of Rust's standard library inside libfcn.so, so a host never sees it. Where the crate
/// is part of a Rust program there is one hook for all; every panic outside the C API still goes to the one before.
fn silence() {
    // No lock: a child that was forked while another thread held it would wait for ever.
    static SET: AtomicBool = AtomicBool::new(false);
    // A panicking thread may not set the hook; then the next call does.
    if SET.load(Ordering::Relaxed) || thread::panicking() || SET.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // The names of the worker threads of a segmenter start with `fcn-`; their panics arrive at its caller.
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

/// The words given to `panic!`.
fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without words",
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
            ((|| panic!("plain words")) as fn() -> Result<()>, "plain words"),
            (|| panic!("index {}", 7), "index 7"),
            (|| panic::panic_any(1), "without words"),
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
