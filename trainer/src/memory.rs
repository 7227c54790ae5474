//! How the process's memory is managed.

/// Makes the C library keep what is freed. Each step allocates and frees the same hundreds of megabytes: glibc would give
/// them back to the kernel, which clears them page by page for the next step, a third of the time of training on a CPU.
/// To be called first of all.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes plain integers. It locks glibc's memory while it changes them.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // -1 is no limit.
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}
