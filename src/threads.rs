//! Starts threads, even from a constructor of a library that is being loaded: until `dlopen`
//! returns, new threads wait for the loader's lock, so nothing may wait for them.
//!
//! Unsafe code: `pthread_create`, whose threads need no lock of the loader, and `mmap`, which finds
//! out how much address space is left.

use std::{
    ffi::c_void,
    io,
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, ThreadId},
};

use crate::{Error, Result, process::Process};

/// A thread of libfcn.
#[derive(Debug)]
pub(crate) struct Thread {
    handle: Option<JoinHandle<()>>,
    id: ThreadId,
    begun: Arc<AtomicBool>,
    process: Process,
}

impl Thread {
    pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let begun = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&begun);
        let handle = thread::Builder::new().name(name.into()).spawn(move || {
            flag.store(true, Ordering::Release);
            work();
        })?;
        Ok(Thread { id: handle.thread().id(), handle: Some(handle), begun, process: Process::current() })
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.id
    }

    /// Whether the thread has started its work.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits for the thread to end if its work has started. Otherwise the work must notice by
    /// itself that nothing is left to do.
    pub(crate) fn join(mut self) {
        if self.has_begun()
            && !self.is_of_another_process()
            && let Some(handle) = self.handle.take()
        {
            // Threads of libfcn catch panics themselves.
            let _ = handle.join();
        }
    }

    /// Whether this process was forked after the thread started, so that the thread does not exist
    /// here.
    pub(crate) fn is_of_another_process(&self) -> bool {
        self.process.is_over()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Dropping a `JoinHandle` detaches its thread. In a forked child, that thread's memory may
        // be in use by another thread.
        if self.is_of_another_process() {
            std::mem::forget(self.handle.take());
        }
    }
}

/// Fails unless `count` threads can run at once. If ONNX Runtime can start only some of its
/// threads, it waits for the others forever. So this starts the same number of threads with the
/// same stacks first, and ends them. Call it right before ONNX Runtime starts its own. Another
/// process may still take the threads in between.
pub(crate) fn check_available(count: usize) -> Result<()> {
    let _heaps = Reserve::new(count)?;
    let mut gate = Box::new(MaybeUninit::<libc::sem_t>::uninit());
    let semaphore = gate.as_mut_ptr();
    // SAFETY: the memory is large enough, and does not move until the semaphore is destroyed below.
    unsafe { libc::sem_init(semaphore, 0, 0) };
    let mut threads = Vec::<libc::pthread_t>::new();
    let mut failure = 0;
    while failure == 0 && threads.len() < count {
        let mut thread = MaybeUninit::uninit();
        // SAFETY: `wait` gets the semaphore, which exists until all threads have been joined.
        failure = unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), wait, semaphore.cast()) };
        if failure == 0 {
            // SAFETY: pthread_create has succeeded.
            threads.push(unsafe { thread.assume_init() });
        }
    }
    for _ in &threads {
        // SAFETY: the semaphore is initialised.
        unsafe { libc::sem_post(semaphore) };
    }
    for &thread in &threads {
        // SAFETY: each thread was started above and is joined once.
        unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    }
    // SAFETY: no thread uses the semaphore any more.
    unsafe { libc::sem_destroy(semaphore) };
    match failure {
        0 => Ok(()),
        failure => Err(Error::Runtime(format!(
            "{count} threads are needed, but only {} more can be started ({}); ask for fewer threads or sessions, or raise the \
             limit on threads (ulimit -u, pids of the container) or memory (ulimit -v)",
            threads.len(),
            io::Error::from_raw_os_error(failure)
        ))),
    }
}

/// Reserves address space for the heaps that threads get on their first allocation, while
/// `check_available` starts its threads, so that enough remains for the stacks. Does nothing unless
/// address space is limited (`ulimit -v`).
struct Reserve(Option<(*mut c_void, usize)>);

/// glibc's HEAP_MAX_SIZE.
const HEAP: usize = 64 << 20;

/// The maximum number of glibc heaps per processor (M_ARENA_MAX).
const HEAPS_PER_PROCESSOR: usize = 8;

impl Reserve {
    fn new(threads: usize) -> Result<Reserve> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid for writes.
        let is_known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
        if !is_known || limit.rlim_cur == libc::RLIM_INFINITY || threads == 0 {
            return Ok(Reserve(None));
        }
        // SAFETY: sysconf only returns a number.
        let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        let heaps = threads.min(HEAPS_PER_PROCESSOR * usize::try_from(processors).unwrap_or(1).max(1));
        let length = heaps * HEAP;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: this creates a new mapping that is never accessed.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::Runtime(format!(
                "{threads} threads may take {} MB of address space for their heaps, more than the limit of {} MB (ulimit -v) \
                 leaves; ask for fewer threads or sessions, or raise the limit",
                length >> 20,
                limit.rlim_cur >> 20
            )));
        }
        Ok(Reserve(Some((start, length))))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Some((start, length)) = self.0 {
            // SAFETY: this `Reserve` owns the mapping.
            unsafe { libc::munmap(start, length) };
        }
    }
}

/// Calls only the C library, so it needs no lock of the loader.
extern "C" fn wait(semaphore: *mut c_void) -> *mut c_void {
    // SAFETY: `check_available` passes a live semaphore.
    while unsafe { libc::sem_wait(semaphore.cast()) } != 0 {}
    ptr::null_mut()
}
