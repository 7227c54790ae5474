//! `fcn_stream`: the latest frame of a camera, segmented on a thread of its own.

use std::{
    collections::VecDeque,
    ffi::c_void,
    mem, ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Result, answer, fcn_frame, fcn_mask, fcn_segmenter, fcn_status, guard, required, status};
use crate::{Error, Frame, Mask, Polled, Stream, StreamCounters, StreamResult};

/// Segments the latest frame of a camera on a thread of its own. Created by fcn_stream_create(),
/// freed by fcn_stream_free(). Any number of threads may use it at once, including its callback,
/// which may push, stop and free it.
///
/// ```c
/// static void on_result(void *context, fcn_status status, const fcn_mask *mask,
///                       int64_t timestamp, void *user) {
///     if (status == FCN_OK) show(fcn_mask_labels(mask), timestamp);
/// }
///
/// fcn_stream *stream = NULL;
/// if (fcn_stream_create(segmenter, NULL, on_result, NULL, &stream) == FCN_OK) {
///     while (camera_read(&frame, &timestamp))
///         fcn_stream_push(stream, &frame, timestamp, NULL);
///     fcn_stream_free(stream);
/// }
/// ```
///
/// One frame at most is queued; a newer one replaces it. A result is therefore at most two
/// inferences old, however fast frames arrive. Several streams may share a segmenter: give it as
/// many sessions. In a forked child, freeing the parent's streams does nothing.
///
/// Calls with a stream that another thread has just freed return FCN_ERROR_CANCELLED, because
/// handles are reused only after 1024 more streams were freed. Do not rely on this to free a stream
/// twice.
pub struct fcn_stream {
    /// From [`Arc::into_raw`]; NULL once freed.
    stream: AtomicPtr<Stream<User>>,
    /// Calls that are about to take a reference to the stream; freeing it waits for them.
    entering: AtomicUsize,
}

/// Handles of freed streams, the oldest first. Their memory is kept for late calls.
static FREED: Mutex<VecDeque<&'static fcn_stream>> = Mutex::new(VecDeque::new());

/// Number of freed handles that wait before the oldest is reused.
const RESTING: usize = 1024;

impl fcn_stream {
    fn new(stream: Stream<User>) -> *mut fcn_stream {
        let stream = Arc::into_raw(Arc::new(stream)).cast_mut();
        // If another thread holds the list, or held it during a fork, a new handle is allocated.
        let rested = FREED.try_lock().ok().and_then(|mut freed| match freed.len() {
            0..=RESTING => None,
            _ => freed.pop_front(),
        });
        let handle = rested.unwrap_or_else(|| {
            Box::leak(Box::new(fcn_stream { stream: AtomicPtr::new(ptr::null_mut()), entering: AtomicUsize::new(0) }))
        });
        handle.stream.store(stream, Ordering::SeqCst);
        ptr::from_ref(handle).cast_mut()
    }
}

/// Receives the outcome of each frame that was not dropped.
///
/// - `context`: as given to fcn_stream_create().
/// - `status`: FCN_OK, or why the frame failed, with fcn_last_error() as the message.
///   FCN_ERROR_TIMEOUT if it missed its deadline, FCN_ERROR_CANCELLED after fcn_segmenter_cancel().
/// - `mask`: the result, valid until the callback returns; NULL unless `status` is FCN_OK.
/// - `timestamp`, `user`: as given with the frame.
///
/// Called from the stream's thread, one call at a time; no frame is processed meanwhile. May call
/// any function of this library.
pub type fcn_stream_callback = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        status: fcn_status,
        mask: *const fcn_mask,
        timestamp: i64,
        user: *mut c_void,
    ),
>;

/// Returns the pixels of a borrowed frame to the caller; `user` is the one pushed with it. Called
/// from any thread, including one that is inside fcn_stream_push(), fcn_stream_stop() or
/// fcn_stream_free().
pub type fcn_release_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Numbers of frames by outcome. Filled by fcn_stream_get_counters(). `pushed` is the sum of the
/// others plus the frames that are queued or being processed, at most two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_stream_counters {
    /// Frames accepted.
    pub pushed: u64,
    /// Frames replaced by a newer one before processing, or without a result when the stream
    /// stopped.
    pub dropped: u64,
    /// Frames with a result.
    pub done: u64,
    /// Frames that missed their deadline.
    pub late: u64,
    /// Frames that failed for another reason.
    pub failed: u64,
}

/// The caller's data for a frame.
#[derive(Clone, Copy)]
struct User {
    pointer: *mut c_void,
    release: fcn_release_callback,
}

// SAFETY: the library never dereferences the pointer; fcn_stream_push_borrowed() requires a
// callback that any thread may call with it.
unsafe impl Send for User {}

/// A callback with its context.
struct HostCallback {
    function: unsafe extern "C" fn(*mut c_void, fcn_status, *const fcn_mask, i64, *mut c_void),
    context: *mut c_void,
    /// Holds the result during a call.
    mask: fcn_mask,
}

// SAFETY: fcn_stream_create() requires a callback that the stream's thread may call.
unsafe impl Send for HostCallback {}

impl HostCallback {
    fn call(&mut self, result: StreamResult<'_, User>) {
        let StreamResult { mask, timestamp, user, .. } = result;
        let say = |status, mask| {
            // SAFETY: fcn_stream_create() requires that the callback and its context stay valid
            // until the stream has stopped.
            unsafe { (self.function)(self.context, status, mask, timestamp, user.pointer) }
        };
        match mask {
            Ok(mask) => {
                mem::swap(mask, &mut self.mask.0);
                say(fcn_status::FCN_OK, &self.mask);
                mem::swap(mask, &mut self.mask.0);
            }
            Err(error) => {
                let failure = status::Failure::from(error);
                status::remember(&failure);
                say(fcn_status::of(&failure), ptr::null());
            }
        }
    }
}

/// Returns a borrowed frame to the caller.
fn release(user: &User) {
    if let Some(release) = user.release {
        // SAFETY: fcn_stream_push_borrowed() requires a callback that any thread may call with this
        // pointer.
        unsafe { release(user.pointer) }
    }
}

/// The stream of a handle, kept alive during a call: another thread or a callback may free the
/// handle meanwhile.
///
/// # Safety
/// `stream` is NULL or comes from fcn_stream_create().
unsafe fn held(stream: *const fcn_stream) -> Result<Arc<Stream<User>>> {
    // SAFETY: the memory of handles is never freed.
    let handle = required(unsafe { stream.as_ref() }, "stream")?;
    handle.entering.fetch_add(1, Ordering::SeqCst);
    let stream = handle.stream.load(Ordering::SeqCst);
    let held = (!stream.is_null()).then(|| {
        // SAFETY: it comes from Arc::into_raw, and fcn_stream_free() waits until this call has
        // entered.
        unsafe {
            Arc::increment_strong_count(stream);
            Arc::from_raw(stream)
        }
    });
    handle.entering.fetch_sub(1, Ordering::SeqCst);
    held.ok_or_else(|| Error::Cancelled("the stream was freed; create another one".into()).into())
}

/// Creates a stream for frames to be segmented by `segmenter`, and stores it in `*stream`.
///
/// - `segmenter`: shared with the stream, so it may be freed at any time.
/// - `like`: a mask whose settings the results get (fcn_mask_set_outputs() and the other setters,
///   but no buffer); NULL for labels only.
/// - `callback`: receives the results; NULL to fetch them with fcn_stream_poll() or
///   fcn_stream_wait().
/// - `context`: passed to `callback`. Both must stay valid until the stream has stopped: see
///   fcn_stream_stop().
///
/// Errors: FCN_ERROR_RUNTIME if the thread cannot be started.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter, `like` NULL or a live mask that no other thread writes
/// to, `stream` NULL or a place to write to. `callback` and `context` stay valid until the stream
/// has ended: see fcn_stream_stop().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_create(
    segmenter: Option<&fcn_segmenter>,
    like: Option<&fcn_mask>,
    callback: fcn_stream_callback,
    context: *mut c_void,
    stream: *mut *mut fcn_stream,
) -> fcn_status {
    guard(|| {
        let segmenter = required(segmenter, "segmenter")?.shared();
        required((!stream.is_null()).then_some(()), "stream")?;
        let mask = like.map_or_else(Mask::new, |like| like.0.like());
        let made = match callback {
            Some(function) => {
                let mut callback = HostCallback { function, context, mask: fcn_mask::from(Mask::new()) };
                Stream::new(segmenter, mask, move |result| callback.call(result))
            }
            None => Stream::polling(segmenter, mask),
        }?;
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { stream.write(fcn_stream::new(made)) };
        Ok(())
    })
}

/// Queues a copy of `frame`: only the pixels inside its crop, in reused memory. A frame already
/// queued is replaced and counted as dropped. Never blocks on inference.
///
/// - `frame`: no thread may write to its pixels during the call.
/// - `timestamp`, `user`: returned with the result and not interpreted. Timestamps are
///   conventionally nanoseconds of the caller's clock.
///
/// Errors: those of fcn_segment() that can be detected without running the network (then the frame
/// is not accepted; other errors are its result). FCN_ERROR_CANCELLED if the stream is stopped.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that nobody writes to
/// during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_push(
    stream: *mut fcn_stream,
    frame: Option<&fcn_frame>,
    timestamp: i64,
    user: *mut c_void,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a live stream.
        let stream = unsafe { held(stream) }?;
        // SAFETY: the caller promises that the frame's pixels stay valid and unchanged during the
        // call.
        let frame = unsafe { required(frame, "frame")?.checked() }?;
        Ok(stream.push(&frame, timestamp, User { pointer: user, release: None })?)
    })
}

/// Queues `frame` without copying. `release(user)` is called exactly once per accepted frame, once
/// its pixels are no longer read; until then they must stay valid and unchanged.
///
/// That is after the callback, or for polled streams when inference has finished. A dropped frame
/// is released within the fcn_stream_push(), fcn_stream_stop() or fcn_stream_free() call that drops
/// it. Otherwise as fcn_stream_push().
///
/// Errors: as fcn_stream_push(). On failure, `release` is not called and the frame stays the
/// caller's.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that stay, and that
/// nobody writes to, until `release` is called, which any thread may do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_push_borrowed(
    stream: *mut fcn_stream,
    frame: Option<&fcn_frame>,
    timestamp: i64,
    user: *mut c_void,
    release: fcn_release_callback,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a live stream.
        let stream = unsafe { held(stream) }?;
        let frame = required(frame, "frame")?;
        required(release.map(|_| ()), "release")?;
        // SAFETY: the caller promises that the frame's pixels stay valid and unchanged until
        // `release` is called.
        let frame = unsafe { frame.checked() }?;
        // SAFETY: as above; the stream does not use a frame after releasing it.
        let frame = unsafe { mem::transmute::<Frame<'_>, Frame<'static>>(frame) };
        Ok(stream.push_borrowed(frame, timestamp, User { pointer: user, release }, self::release)?)
    })
}

/// Sets the deadline of frames pushed from now on, in milliseconds after their push; 0 (default)
/// means none. Call it before a push to give a frame its own.
///
/// A frame that misses its deadline yields FCN_ERROR_TIMEOUT, whether inference had not started (it
/// then does not run), was aborted, or had just finished.
///
/// Errors: FCN_ERROR_RUNTIME if the thread that watches deadlines cannot be started.
///
/// # Safety
/// `stream` is NULL or a live stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_set_deadline(stream: *mut fcn_stream, milliseconds: u32) -> fcn_status {
    let deadline = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
    // SAFETY: the caller promises a live stream.
    guard(|| Ok(unsafe { held(stream) }?.set_deadline(deadline)?))
}

/// fcn_stream_wait() without waiting.
///
/// # Safety
/// As for fcn_stream_wait().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_poll(
    stream: *mut fcn_stream,
    mask: Option<&mut fcn_mask>,
    timestamp: Option<&mut i64>,
    user: Option<&mut *mut c_void>,
) -> fcn_status {
    // SAFETY: the caller promises a live stream.
    guard(|| fetch(&*unsafe { held(stream) }?, 0, mask, timestamp, user))
}

/// Fetches the newest result that was not fetched yet, and waits up to `milliseconds` for one. Only
/// for streams without a callback.
///
/// - `mask`: exchanged with the stream's mask, without copying.
/// - `timestamp`, `user`: receive those of the frame; either may be NULL.
///
/// Errors: FCN_ERROR_TIMEOUT if there is no new result; frames that missed a deadline or timeout or
/// were cancelled are only counted. FCN_ERROR_CANCELLED if the stream is stopped and its last
/// result was fetched. FCN_ERROR_INVALID_ARGUMENT if the stream has a callback. Any other status is
/// the outcome of the newest frame: `*timestamp` and `*user` are then that frame's, and `mask` does
/// not change.
///
/// # Safety
/// `stream` is NULL or a live stream, `mask` NULL or a live mask that no other thread uses,
/// `timestamp` and `user` NULL or places to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_wait(
    stream: *mut fcn_stream,
    milliseconds: u32,
    mask: Option<&mut fcn_mask>,
    timestamp: Option<&mut i64>,
    user: Option<&mut *mut c_void>,
) -> fcn_status {
    // SAFETY: the caller promises a live stream.
    guard(|| fetch(&*unsafe { held(stream) }?, milliseconds, mask, timestamp, user))
}

fn fetch(
    stream: &Stream<User>,
    milliseconds: u32,
    mask: Option<&mut fcn_mask>,
    timestamp: Option<&mut i64>,
    user: Option<&mut *mut c_void>,
) -> Result<()> {
    let mask = required(mask, "mask")?;
    let result = stream.wait(&mut mask.0, Duration::from_millis(milliseconds.into()))?;
    let Polled { status, timestamp: time, user: User { pointer, .. }, .. } =
        result.ok_or_else(|| Error::Timeout(format!("the stream had no new result within {milliseconds} ms")))?;
    if status.is_ok() {
        mask.exchanged();
    }
    if let Some(timestamp) = timestamp {
        *timestamp = time;
    }
    if let Some(user) = user {
        *user = pointer;
    }
    Ok(status?)
}

/// Stores the numbers of frames so far in `*counters`.
///
/// # Safety
/// `stream` is NULL or a live stream. `counters` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_get_counters(
    stream: *const fcn_stream,
    counters: Option<&mut fcn_stream_counters>,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a live stream.
        let stream = unsafe { held(stream) }?;
        let counters = required(counters, "counters")?;
        let StreamCounters { pushed, dropped, done, late, failed } = stream.counters()?;
        *counters = fcn_stream_counters { pushed, dropped, done, late, failed };
        Ok(())
    })
}

/// Stops the stream: drops frames without a result, aborts inference and rejects further frames.
/// The last result can still be fetched.
///
/// When it returns, the callback has returned and is not called again, and all borrowed frames were
/// released, except one that another thread's push or stop is releasing at this moment. From the
/// stream's own callback, it returns at once, and the above holds when the callback has returned.
/// May be called repeatedly and from several threads. Callbacks that stop each other's streams
/// deadlock.
///
/// # Safety
/// `stream` is NULL or a live stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_stop(stream: *mut fcn_stream) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises a live stream.
        unsafe { held(stream) }?.stop();
        Ok(())
    })
}

/// Stops the stream as fcn_stream_stop() does, and frees it. NULL is allowed. Other threads may be
/// inside its functions or about to call one: pushes and waits return FCN_ERROR_CANCELLED.
///
/// From the stream's own callback, it returns at once; memory and a borrowed frame are released
/// when the callback has returned.
///
/// # Safety
/// `stream` is NULL or comes from fcn_stream_create() and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_free(stream: *mut fcn_stream) {
    answer((), || {
        // SAFETY: the memory of handles is never freed.
        let handle = unsafe { stream.as_ref() }?;
        let stream = handle.stream.swap(ptr::null_mut(), Ordering::SeqCst);
        if stream.is_null() {
            return None;
        }
        // SAFETY: it comes from Arc::into_raw, and only this call took it out of the handle.
        let stream = unsafe { Arc::from_raw(stream) };
        // In a forked child, calls of the parent's other threads never finish entering.
        if stream.is_of_another_process() {
            mem::forget(stream);
            return None;
        }
        stream.stop();
        while handle.entering.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        if let Ok(mut freed) = FREED.try_lock() {
            freed.push_back(handle);
        }
        None
    });
}
