//! Process-wide memory settings.

/// Makes glibc keep freed memory. Each step allocates and frees the same hundreds of megabytes:
/// glibc would return them to the kernel, which zeroes them page by page for the next step, a third
/// of the training time on a CPU. Must be called before anything else.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes plain integers and locks glibc's arena while it changes them.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // -1: no limit.
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}
