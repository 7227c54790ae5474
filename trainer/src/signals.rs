//! Signal handling.
#![expect(unsafe_code, reason = "POSIX is called here")]

/// Turns writing past the file size limit (`ulimit -f`) into a write error, which removes the
/// partial file, instead of ending the process.
pub fn ignore_file_size_limit() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
