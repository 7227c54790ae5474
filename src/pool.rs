//! A handle's worker threads. They sleep between frames, and waking them does not allocate.
//!
//! Unsafe code: a job borrows from the caller's stack, and the workers access it through a pointer
//! without a lifetime.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{Error, Result, threads::Thread};

/// A closure that several threads run at once.
type Work<'a> = &'a (dyn Fn() + Sync);

/// Threads that process a frame together with the calling thread.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
    workers: Vec<Thread>,
    /// Held by the frame that uses the workers.
    turn: Mutex<()>,
}

struct PoolShared {
    state: Mutex<PoolState>,
    /// Signals a new job or the end of the pool.
    start: Condvar,
    /// Signals that the last busy worker has finished the job.
    done: Condvar,
}

#[derive(Default)]
struct PoolState {
    job: Option<WorkPointer>,
    /// The number of jobs so far.
    number: u64,
    /// Workers that have taken the job and not yet finished it.
    busy: usize,
    panic: Option<Box<dyn Any + Send>>,
    /// Values to free with the last reference to the state.
    left: Vec<Box<dyn Any + Send>>,
    stop: bool,
}

#[derive(Clone, Copy)]
struct WorkPointer(*const (dyn Fn() + Sync));

// SAFETY: the closure is `Sync`, and `run` keeps it alive until the last worker has finished.
unsafe impl Send for WorkPointer {}

impl Pool {
    /// A pool of `threads` threads, including the calling thread.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        let shared = Arc::new(PoolShared { state: Mutex::default(), start: Condvar::new(), done: Condvar::new() });
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = Thread::start(&format!("fcn-{index}"), move || shared.work());
            // On an error, dropping the pool ends the threads that have started.
            pool.workers.push(
                worker.map_err(|error| Error::Runtime(format!("cannot start thread {index} of {threads}: {error}")))?,
            );
        }
        Ok(pool)
    }

    /// The number of threads that process a frame, including the calling thread.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` on this thread and on each worker that becomes free before this thread
    /// finishes. Returns when all of them have finished. `work` divides the job itself and must
    /// complete it on any number of threads, including one.
    pub(crate) fn run(&self, work: Work<'_>) {
        // If another frame uses the workers, this thread does the whole job.
        let turn = self.turn.try_lock();
        if self.workers.is_empty() || turn.is_err() {
            return work();
        }
        {
            let mut state = self.shared.lock();
            // SAFETY: only the lifetime changes. This function neither returns nor unwinds before
            // it has withdrawn the job below and no worker uses it.
            let job = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
            state.job = Some(WorkPointer(job));
            state.number += 1;
        }
        self.shared.start.notify_all();
        let own = catch_unwind(AssertUnwindSafe(work));
        let mut state = self.shared.lock();
        // From here on, no worker can take the job.
        state.job = None;
        while state.busy > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let panic = state.panic.take();
        drop(state);
        drop(turn);
        if let Some(panic) = own.err().or(panic) {
            resume_unwind(panic);
        }
    }

    /// Frees sessions. ONNX Runtime joins their threads, which cannot end while started threads are
    /// blocked by the loader's lock. In that case the last worker frees the sessions when it ends.
    pub(crate) fn free(&self, sessions: impl Send + 'static) {
        if !self.workers.iter().all(Thread::has_begun) {
            self.shared.lock().left.push(Box::new(sessions));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a forked child, the locks that the workers held at the fork are never released.
        if self.workers.iter().any(Thread::is_of_another_process) {
            return;
        }
        self.shared.lock().stop = true;
        self.shared.start.notify_all();
        self.workers.drain(..).for_each(Thread::join);
    }
}

impl PoolShared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's main loop.
    fn work(&self) {
        let mut seen = 0;
        loop {
            let mut state = self.lock();
            while !state.stop && (state.number == seen || state.job.is_none()) {
                state = self.start.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(job) = state.job.filter(|_| !state.stop) else { return };
            seen = state.number;
            state.busy += 1;
            drop(state);
            // SAFETY: `run` waits for this worker before the job's borrows end.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*job.0)() }));
            let mut state = self.lock();
            state.panic = result.err().or(state.panic.take());
            state.busy -= 1;
            if state.busy == 0 {
                self.done.notify_one();
            }
        }
    }
}

/// Distributes the items of an iterator among threads.
pub(crate) struct Queue<I>(Mutex<I>);

impl<I: Iterator> Queue<I> {
    pub(crate) fn new(items: I) -> Self {
        Queue(Mutex::new(items))
    }

    pub(crate) fn next(&self) -> Option<I::Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn every_item_is_done_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for count in [0, 1, 3, 1000] {
                let mut done = vec![0u32; count];
                let queue = Queue::new(done.iter_mut());
                pool.run(&|| {
                    while let Some(item) = queue.next() {
                        *item += 1;
                    }
                });
                assert!(done.iter().all(|&times| times == 1), "{count} items, {threads} threads");
            }
        }
    }

    #[test]
    fn frames_that_come_at_once_share_the_pool() {
        let pool = Pool::new(3).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let queue = Queue::new(0..10usize);
                        pool.run(&|| {
                            while let Some(item) = queue.next() {
                                total.fetch_add(item, Ordering::Relaxed);
                            }
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 200 * 45);
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(4).unwrap();
        let caller = std::thread::current().id();
        for _ in 0..20 {
            // The caller waits until a worker has the job.
            let taken = Barrier::new(2);
            let first = AtomicBool::new(true);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|| {
                    if std::thread::current().id() == caller {
                        taken.wait();
                    } else if first.swap(false, Ordering::Relaxed) {
                        taken.wait();
                        resume_unwind(Box::new("worker"));
                    }
                });
            }));
            assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"worker"));
        }
        pool.run(&|| {});
    }
}
