//! Starting threads, also from a constructor of a library that is being loaded: until `dlopen` returns, new threads wait for
//! the loader's lock, so nothing may wait for them. Unsafe code: `pthread_create`, whose threads need no lock of the loader, and
//! `mmap`, to find out how much address space is left.

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

    /// Whether it runs its work.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits for its end, if its work has begun. Otherwise it must find out by itself that there is none.
    pub(crate) fn join(mut self) {
        if self.has_begun()
            && !self.is_of_another_process()
            && let Some(handle) = self.handle.take()
        {
            // Threads of libfcn catch the panics of what they run.
            let _ = handle.join();
        }
    }

    /// Whether it does not exist here, because this process was forked.
    pub(crate) fn is_of_another_process(&self) -> bool {
        self.process.is_over()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Dropping a handle detaches its thread, but in a forked child the thread's memory may be another thread's by now.
        if self.is_of_another_process() {
            std::mem::forget(self.handle.take());
        }
    }
}

/// Fails unless `count` threads can run at once. When ONNX Runtime can start some of its threads but not all, it waits forever
/// for the others, so this starts as many first, with the same stacks, and ends them. Call it right before ONNX Runtime starts
/// its own. Success is no promise: others may take the threads before ONNX Runtime does.
pub(crate) fn check_available(count: usize) -> Result<()> {
    let _heaps = Reserve::new(count)?;
    let mut gate = Box::new(MaybeUninit::<libc::sem_t>::uninit());
    let semaphore = gate.as_mut_ptr();
    // SAFETY: the memory is large enough, and stays in place until the semaphore is destroyed below.
    unsafe { libc::sem_init(semaphore, 0, 0) };
    let mut threads = Vec::<libc::pthread_t>::new();
    let mut failure = 0;
    while failure == 0 && threads.len() < count {
        let mut thread = MaybeUninit::uninit();
        // SAFETY: `wait` takes the semaphore, which is there until all threads have been joined.
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
        // SAFETY: each was started here and is joined once.
        unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    }
    // SAFETY: no thread uses it any more.
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

/// Address space for the heaps that threads get when they first allocate: taken while threads are tried out, so that heaps leave
/// enough for the stacks of the threads that follow. Only where address space is limited (`ulimit -v`).
struct Reserve(Option<(*mut c_void, usize)>);

/// glibc's HEAP_MAX_SIZE.
const HEAP: usize = 64 << 20;

/// glibc's M_ARENA_MAX for each processor: the most heaps that a process has.
const HEAPS_PER_PROCESSOR: usize = 8;

impl Reserve {
    fn new(threads: usize) -> Result<Reserve> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a place to write to.
        let is_known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
        if !is_known || limit.rlim_cur == libc::RLIM_INFINITY || threads == 0 {
            return Ok(Reserve(None));
        }
        // SAFETY: it only asks for a number.
        let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        let heaps = threads.min(HEAPS_PER_PROCESSOR * usize::try_from(processors).unwrap_or(1).max(1));
        let length = heaps * HEAP;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping that nobody reads or writes.
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
            // SAFETY: the mapping is this reserve's own.
            unsafe { libc::munmap(start, length) };
        }
    }
}

/// Uses nothing but the C library, so that it needs no lock of the loader.
extern "C" fn wait(semaphore: *mut c_void) -> *mut c_void {
    // SAFETY: `check_available` gives a live semaphore.
    while unsafe { libc::sem_wait(semaphore.cast()) } != 0 {}
    ptr::null_mut()
}
