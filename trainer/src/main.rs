//! The command `trainer`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    keep_freed_memory();
    match trainer::cli::run(trainer::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Where even stderr is closed, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "trainer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each step allocates and frees the same hundreds of megabytes. glibc would give them back to the kernel, which clears
/// them page by page for the next step: a third of the time of training on a CPU.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes plain integers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
