//! Disables ONNX Runtime's telemetry.
//!
//! ONNX Runtime 1.32 writes a device id and a database of events to the user's cache folder, and
//! uploads them. Its function `DisableTelemetryEvents` comes too late: all of that begins when the
//! process's `OrtEnv` is created, unless the environment variable `ORT_DISABLE_TELEMETRY` is set.
//!
//! Unsafe code: the process's array of environment variables.

use std::{
    ffi::{CStr, c_char},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

const NAME: &CStr = c"ORT_DISABLE_TELEMETRY";
const ENTRY: &CStr = c"ORT_DISABLE_TELEMETRY=1";

/// The array with the entry. It is never freed, even after another `setenv` has replaced it: other
/// threads may be reading it.
static ARRAY: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    /// Pointers to strings `NAME=value`, then NULL. NULL itself after `clearenv`.
    static mut environ: *mut *mut c_char;
}

/// Sets the variable unless the host has set it. Returns whether the host had.
///
/// Does not use `setenv`: before glibc 2.41, that frees the array while another thread's `getenv`
/// may be reading it. Instead, a longer copy replaces the array in one atomic store, and the old
/// one is not freed.
pub(super) fn switch_off() -> bool {
    if is_set() {
        return true;
    }
    // SAFETY: `environ` is an aligned pointer that lives as long as the process.
    let array = unsafe { AtomicPtr::from_ptr(&raw mut environ) };
    // Another thread's `setenv` may have stored an array without the entry, so check again.
    while !is_set() {
        let old = array.load(Ordering::Acquire);
        // SAFETY: this reads what `getenv` reads: the entries before NULL.
        let entries = (0..).map(|index| unsafe { *old.add(index) }).take_while(|entry| !entry.is_null());
        let entries = entries.take(if old.is_null() { 0 } else { usize::MAX });
        let new: Box<[_]> = entries.chain([ENTRY.as_ptr().cast_mut(), ptr::null_mut()]).collect();
        let new = Box::into_raw(new);
        match array.compare_exchange(old, new.cast(), Ordering::AcqRel, Ordering::Relaxed) {
            // A volatile store, because the compiler may remove an ordinary one: nothing reads the
            // value.
            // SAFETY: only the thread that loads ONNX Runtime runs this.
            Ok(_) => unsafe { ptr::write_volatile(ARRAY.as_ptr(), new.cast()) },
            // SAFETY: the array was just created, and no other thread has seen it.
            Err(_) => drop(unsafe { Box::from_raw(new) }),
        }
    }
    false
}

fn is_set() -> bool {
    // SAFETY: the name is NUL-terminated.
    unsafe { !libc::getenv(NAME.as_ptr()).is_null() }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The environment that a child process inherits: the array itself, not copies in Rust or C.
    fn inherited() -> Vec<String> {
        let output = Command::new("env").output().unwrap();
        let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("_="));
        lines.sort();
        lines
    }

    #[test]
    fn the_variable_joins_the_others() {
        // A single test, because the variables belong to the whole process.
        let before = inherited();
        assert!(!before.iter().any(|line| line.starts_with("ORT_DISABLE_TELEMETRY")), "set outside: {before:?}");
        assert!(!switch_off());
        let mut expected = before;
        expected.push("ORT_DISABLE_TELEMETRY=1".into());
        expected.sort();
        assert_eq!(inherited(), expected);
        assert!(switch_off());
        assert_eq!(inherited(), expected);
    }
}
