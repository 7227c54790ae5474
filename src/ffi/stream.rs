//! `fcn_stream`: frames as a camera delivers them, the latest first.

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

use super::{answer, fcn_frame, fcn_mask, fcn_segmenter, fcn_status, guard, required, status};
use crate::{Error, Frame, Mask, Polled, Result, Stream, StreamCounters, StreamResult};

/// A thread that labels the latest frame: push frames as fast as they come, and get results that are as fresh as the
/// network allows. Made by fcn_stream_create(), freed by fcn_stream_free().
///
/// ```c
/// static void labelled(void *context, fcn_status status, const fcn_mask *mask, int64_t timestamp, void *user);
///
/// fcn_stream_create(segmenter, NULL, labelled, NULL, &stream);
/// while (camera_read(&frame, &timestamp)) fcn_stream_push(stream, &frame, timestamp, NULL);
/// fcn_stream_free(stream);
/// ```
///
/// One frame at most waits; a newer one replaces it. So a result is never older than the time of two frames through the
/// network, however fast frames come. Several streams may share a segmenter, which then should have as many sessions.
///
/// Any thread may use a stream, several at once, also its callback: it may push, stop the stream and free it. After
/// fork() the child cannot use its parent's streams; freeing them there does nothing.
///
/// A function that is called with a stream that another thread has just freed returns FCN_ERROR_CANCELLED: handles are used again
/// only after 1024 other streams were freed. Do not rely on it to free a stream twice.
pub struct fcn_stream {
    /// From [`Arc::into_raw`]; NULL once it is freed.
    stream: AtomicPtr<Stream<User>>,
    /// Calls that are about to take part in the stream: freeing it waits for them.
    entering: AtomicUsize,
}

/// The handles of freed streams, the oldest first. Their memory stays, for calls that come late.
static FREED: Mutex<VecDeque<&'static fcn_stream>> = Mutex::new(VecDeque::new());

/// How many freed handles wait before the oldest is used again.
const RESTING: usize = 1024;

impl fcn_stream {
    fn new(stream: Stream<User>) -> *mut fcn_stream {
        let stream = Arc::into_raw(Arc::new(stream)).cast_mut();
        // Where another thread has the list, or had it when this process was forked, there are new handles.
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

/// Receives what became of a frame that was not dropped: `context` as given to fcn_stream_create(), `timestamp` and `user`
/// as given with the frame. `mask` holds the result where `status` is FCN_OK, and stays only until the callback returns;
/// else it is NULL and fcn_last_error() has the sentence: FCN_ERROR_TIMEOUT for a frame that was late, FCN_ERROR_CANCELLED
/// after fcn_segmenter_cancel().
///
/// It is called from the stream's own thread, one call at a time, and no frame is in work meanwhile. It may use any function
/// of this library. It must return: no C++ exception and no longjmp may leave it.
pub type fcn_stream_callback = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        status: fcn_status,
        mask: *const fcn_mask,
        timestamp: i64,
        user: *mut c_void,
    ),
>;

/// Gives back the pixels of a frame: `user` as given with the frame. It is called from whichever thread is done with the
/// frame, and must return, as fcn_stream_callback.
pub type fcn_release_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// What became of the frames of a stream. Filled by fcn_stream_get_counters(). `pushed` is the sum of the others and of the at
/// most two frames that wait or are in work.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_stream_counters {
    /// Frames that the stream has taken.
    pub pushed: u64,
    /// Frames that a newer one replaced before they were begun, or that had no result when the stream stopped.
    pub dropped: u64,
    /// Frames with a result.
    pub done: u64,
    /// Frames whose deadline passed before they had a result.
    pub late: u64,
    /// Frames that failed for another reason.
    pub failed: u64,
}

/// What C knows a frame by.
#[derive(Clone, Copy)]
struct User {
    pointer: *mut c_void,
    release: fcn_release_callback,
}

// SAFETY: the library hands the pointer on and never looks at it; fcn_stream_push_borrowed asks for a callback that any
// thread may call with it.
unsafe impl Send for User {}

/// A callback with its context.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, fcn_status, *const fcn_mask, i64, *mut c_void),
    context: *mut c_void,
    /// Holds the result during a call.
    mask: fcn_mask,
}

// SAFETY: fcn_stream_create asks for a callback that the stream's thread may call with its context.
unsafe impl Send for Callback {}

impl Callback {
    fn call(&mut self, result: StreamResult<'_, User>) {
        let StreamResult { mask, timestamp, user, .. } = result;
        let say = |status, mask| {
            // SAFETY: fcn_stream_create asks for a callback that stays valid with its context until the stream has ended.
            unsafe { (self.function)(self.context, status, mask, timestamp, user.pointer) }
        };
        match mask {
            Ok(mask) => {
                mem::swap(mask, &mut self.mask.0);
                say(fcn_status::FCN_OK, &self.mask);
                mem::swap(mask, &mut self.mask.0);
            }
            Err(error) => {
                status::remember(&error);
                say(fcn_status::of(&error), ptr::null());
            }
        }
    }
}

/// Gives a borrowed frame back to C.
fn release(user: &User) {
    if let Some(release) = user.release {
        // SAFETY: fcn_stream_push_borrowed asks for a callback that can be called with this pointer from any thread.
        unsafe { release(user.pointer) }
    }
}

/// The stream behind a handle, kept alive during a call: another thread, or a callback, may free the handle meanwhile.
///
/// # Safety
/// `stream` is NULL or comes from fcn_stream_create().
unsafe fn held(stream: *const fcn_stream) -> Result<Arc<Stream<User>>> {
    // SAFETY: the memory of handles is never given back.
    let handle = required(unsafe { stream.as_ref() }, "stream")?;
    handle.entering.fetch_add(1, Ordering::SeqCst);
    let stream = handle.stream.load(Ordering::SeqCst);
    let held = (!stream.is_null()).then(|| {
        // SAFETY: it comes from Arc::into_raw, and fcn_stream_free waits until this call is no longer entering.
        unsafe {
            Arc::increment_strong_count(stream);
            Arc::from_raw(stream)
        }
    });
    handle.entering.fetch_sub(1, Ordering::SeqCst);
    held.ok_or_else(|| Error::Cancelled("the stream was freed; make another one".into()))
}

/// Makes a stream that labels frames with `segmenter`, and stores it in `*stream`, to be freed by fcn_stream_free(). The
/// stream shares the segmenter, which may be freed at any time.
///
/// `like` is a mask that is set up as results are to be, say by fcn_mask_set_outputs(); NULL means labels only. `callback`
/// receives what becomes of each frame, and `context`; without one (NULL) fcn_stream_poll() and fcn_stream_wait() do. Where
/// it fails, `*stream` stays as it was.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter, `like` NULL or a live mask that no other thread writes to, `stream` NULL or a
/// place to write to. `callback` and `context` stay valid until the stream has ended: see fcn_stream_stop().
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
                let mut callback = Callback { function, context, mask: fcn_mask::from(Mask::new()) };
                Stream::new(segmenter, mask, move |result| callback.call(result))
            }
            None => Stream::polling(segmenter, mask),
        }?;
        // SAFETY: not NULL, and the caller promises a place to write to.
        unsafe { stream.write(fcn_stream::new(made)) };
        Ok(())
    })
}

/// Hands a copy of `frame` to the stream: only the pixels inside its crop are copied, to memory that is used again. The
/// frame that waited, if one did, is dropped without a word. Never waits for the network.
///
/// `timestamp` and `user` come back with the result and mean nothing to the library; a timestamp is nanoseconds of the
/// caller's clock by custom. A frame that is wrong in itself fails here, and the stream does not take it; what else can go
/// wrong comes as its result. FCN_ERROR_CANCELLED means that the stream is stopped.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that nobody writes to during the call.
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
        // SAFETY: the caller promises that the frame describes pixels which stay and do not change during the call.
        let frame = unsafe { required(frame, "frame")?.checked() }?;
        stream.push(&frame, timestamp, User { pointer: user, release: None })
    })
}

/// Hands `frame` to the stream without a copy. `release` is called with `user`, exactly once for each frame that the stream
/// takes, when it does not look at the pixels any more: after the callback, or for a stream that is polled when the network
/// is done; for a frame that is dropped at once, within the fcn_stream_push(), fcn_stream_stop() or fcn_stream_free() that
/// drops it. Otherwise as fcn_stream_push(); where this fails, the frame stays the caller's and `release` is not called.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that stay, and that nobody writes to, until
/// `release` is called, which any thread may do.
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
        // SAFETY: the caller promises that the frame describes pixels which stay and do not change until `release` is called.
        let frame = unsafe { frame.checked() }?;
        // SAFETY: as above; the stream uses no frame any more that it has released.
        let frame = unsafe { mem::transmute::<Frame<'_>, Frame<'static>>(frame) };
        stream.push_borrowed(frame, timestamp, User { pointer: user, release }, self::release)
    })
}

/// Gives frames that are pushed from now on this many milliseconds, from their push on, to get a result; 0, the default,
/// means for ever. Call it before a push to give that frame its own.
///
/// A frame is late, and its result FCN_ERROR_TIMEOUT, where its time is over before it is begun (the network then does not
/// run), while the network runs (which is ended, as by fcn_segmenter_cancel()), or when its labels are there. So a result that comes is
/// one in time.
///
/// # Safety
/// `stream` is NULL or a live stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_set_deadline(stream: *mut fcn_stream, milliseconds: u32) -> fcn_status {
    let deadline = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
    // SAFETY: the caller promises a live stream.
    guard(|| unsafe { held(stream) }?.set_deadline(deadline))
}

/// fcn_stream_wait() that does not wait: FCN_ERROR_TIMEOUT where there is no new result.
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

/// Fetches the newest result of a stream without callback that nobody has had yet; waits for one at most `milliseconds`.
/// FCN_OK: `mask` holds it, without a copy (its old memory goes to the stream), and `*timestamp` and `*user` are those of
/// the frame; either may be NULL.
///
/// - FCN_ERROR_TIMEOUT: there is no new result. A frame that was late, or ended by a timeout or fcn_segmenter_cancel(), is only
///   counted.
/// - FCN_ERROR_CANCELLED: the stream is stopped, and its last result was fetched.
/// - FCN_ERROR_INVALID_ARGUMENT where the stream has a callback.
/// - Anything else is why the newest frame failed; `*timestamp` and `*user` are that frame's, and `mask` stays as it was.
///
/// # Safety
/// `stream` is NULL or a live stream, `mask` NULL or a live mask that no other thread uses, `timestamp` and `user` NULL or
/// places to write to.
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
    status
}

/// Stores how many frames were pushed so far, and what became of them.
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

/// Ends the stream: frames without a result are dropped, a run of the network is ended, and nothing more can be pushed. The
/// last result can still be polled.
///
/// When this returns, the callback has returned and is not called again, and all borrowed frames were released, but for one
/// that another thread's push or stop is just releasing. Called by the stream's own callback, it returns at once, and all
/// this holds when the callback has returned. Stopping twice is fine, also at the same time. Callbacks that stop each
/// other's streams wait for each other for ever.
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

/// Stops the stream as fcn_stream_stop() does, and frees it. NULL is fine. Other threads may be inside functions of this
/// stream, or just enter them: pushes and waits end with FCN_ERROR_CANCELLED.
///
/// In the stream's own callback, this returns at once; the rest is freed when the callback has returned, and a frame that
/// was borrowed is released then.
///
/// # Safety
/// `stream` is NULL or comes from fcn_stream_create() and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_stream_free(stream: *mut fcn_stream) {
    answer((), || {
        // SAFETY: the memory of handles is never given back.
        let handle = unsafe { stream.as_ref() }?;
        let stream = handle.stream.swap(ptr::null_mut(), Ordering::SeqCst);
        if stream.is_null() {
            return None;
        }
        // SAFETY: it comes from Arc::into_raw, and only this call has taken it out of the handle.
        let stream = unsafe { Arc::from_raw(stream) };
        // In a forked child, calls of other threads enter for ever.
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
