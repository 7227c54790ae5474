//! Signals that the trainer has an answer to.
#![expect(unsafe_code, reason = "POSIX is called here")]

/// Lets a file that grows past the limit of its size (`ulimit -f`) be an error of the write, which removes what it began, instead of
/// the end of the process.
pub fn ignore_file_size_limit() {
    // SAFETY: to ignore a signal installs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
