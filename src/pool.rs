//! The threads of a handle: they sleep until a frame has work for them, and nothing is allocated to wake them.
//!
//! Unsafe code: a job borrows from the caller's stack, and the workers see it through a pointer without lifetime.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{Error, Result, threads::Thread};

/// What all threads run at once.
type Work<'a> = &'a (dyn Fn() + Sync);

/// Threads that work on one frame together with the thread that brings it.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    /// Held by the frame that has the workers.
    turn: Mutex<()>,
}

struct Shared {
    state: Mutex<State>,
    /// There is a new job, or the end.
    start: Condvar,
    /// The last worker that took the job has finished it.
    done: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    /// How many jobs there were.
    number: u64,
    /// Workers that took the job and have not finished it.
    busy: usize,
    panic: Option<Box<dyn Any + Send>>,
    /// Freed with the last reference to the state.
    left: Vec<Box<dyn Any + Send>>,
    stop: bool,
}

#[derive(Clone, Copy)]
struct Job(*const (dyn Fn() + Sync));

// SAFETY: what it points to can be called from several threads, and lives until the last of them has finished (`run`).
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` threads, of which one is the caller's.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        let shared = Arc::new(Shared { state: Mutex::default(), start: Condvar::new(), done: Condvar::new() });
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = Thread::start(&format!("fcn-{index}"), move || shared.work());
            // If it fails, dropping the pool ends the threads that were started.
            pool.workers.push(
                worker.map_err(|error| {
                    Error::Runtime(format!("thread {index} of {threads} cannot be started: {error}"))
                })?,
            );
        }
        Ok(pool)
    }

    /// How many threads work on a frame.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` on this thread and on each worker that is free before this thread has finished; returns when all of them
    /// have. `work` shares out by itself what is to be done; any number of threads, also one, must be enough.
    pub(crate) fn run(&self, work: Work<'_>) {
        // Where another frame has the workers, this one is done by its own thread.
        let turn = self.turn.try_lock();
        if self.workers.is_empty() || turn.is_err() {
            return work();
        }
        {
            let mut state = self.shared.lock();
            // SAFETY: only the lifetime changes. This function does not return, nor unwind, before the job is taken back
            // below, when no worker has it any more.
            let job = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
            state.job = Some(Job(job));
            state.number += 1;
        }
        self.shared.start.notify_all();
        let own = catch_unwind(AssertUnwindSafe(work));
        let mut state = self.shared.lock();
        // From here on no worker can take it.
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

    /// Frees sessions, whose threads ONNX Runtime joins. While threads that have been started cannot begin, those could not
    /// end either: then the last worker frees the sessions as it ends.
    pub(crate) fn free(&self, sessions: impl Send + 'static) {
        if !self.workers.iter().all(Thread::has_begun) {
            self.shared.lock().left.push(Box::new(sessions));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a forked child what they held at the fork stays locked.
        if self.workers.iter().any(Thread::is_of_another_process) {
            return;
        }
        self.shared.lock().stop = true;
        self.shared.start.notify_all();
        self.workers.drain(..).for_each(Thread::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a worker.
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
            // SAFETY: `run` waits for this worker before it lets go of what the job points to.
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

/// Hands out the items of an iterator to several threads, one at a time.
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
