//! Keeps ONNX Runtime's telemetry off.
//!
//! ONNX Runtime 1.32 writes a device id and a database of events below the user's cache folder, and sends them. Its switch
//! `DisableTelemetryEvents` comes too late: all that begins when the process's `OrtEnv` is created, unless the environment
//! variable `ORT_DISABLE_TELEMETRY` is set by then. Unsafe code: the process's array of environment variables.

use std::{
    ffi::{CStr, c_char},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

const NAME: &CStr = c"ORT_DISABLE_TELEMETRY";
const ENTRY: &CStr = c"ORT_DISABLE_TELEMETRY=1";

/// The array with the entry, which stays although another `setenv` may replace it: other threads may be reading it.
static ARRAY: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    /// Pointers to texts `NAME=value`, then NULL; NULL itself after `clearenv`.
    static mut environ: *mut *mut c_char;
}

/// Sets the variable unless it has a value, which is then the host's. Returns whether it had one.
///
/// Not by `setenv`: before glibc 2.41 that frees the array which another thread's `getenv` may be reading. Instead, an array
/// with one more entry takes the place of the old one in one store, and the old one is left as it is.
pub(super) fn switch_off() -> bool {
    if is_set() {
        return true;
    }
    // SAFETY: `environ` is an aligned pointer that lives as long as the process.
    let array = unsafe { AtomicPtr::from_ptr(&raw mut environ) };
    // Another thread's `setenv` may put an array without the entry into this place, so look again.
    while !is_set() {
        let old = array.load(Ordering::Acquire);
        // SAFETY: this reads what `getenv` reads: the entries before NULL.
        let entries = (0..).map(|index| unsafe { *old.add(index) }).take_while(|entry| !entry.is_null());
        let entries = entries.take(if old.is_null() { 0 } else { usize::MAX });
        let new: Box<[_]> = entries.chain([ENTRY.as_ptr().cast_mut(), ptr::null_mut()]).collect();
        let new = Box::into_raw(new);
        match array.compare_exchange(old, new.cast(), Ordering::AcqRel, Ordering::Relaxed) {
            // The volatile store keeps the compiler from leaving out what nothing reads.
            // SAFETY: only the thread that loads ONNX Runtime comes here.
            Ok(_) => unsafe { ptr::write_volatile(ARRAY.as_ptr(), new.cast()) },
            // SAFETY: it was just made, and no other thread has seen it.
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

    /// What a child process inherits, which is the array itself and not what Rust or C remember of it.
    fn inherited() -> Vec<String> {
        let output = Command::new("env").output().unwrap();
        let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("_="));
        lines.sort();
        lines
    }

    #[test]
    fn the_variable_joins_the_others() {
        // One test, because the variables are the process's.
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
