//! libtorch's store and process group of some ranks (`c10d.cpp`).
//!
//! Unsafe code: calls into C++, to which tensors are passed as tch's own handles, and `_exit`.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io::Write;
use std::ptr::{NonNull, null_mut};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tch::Tensor;

use super::{Launch, Rank};

#[repr(C)]
struct CGroup {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn fcn_trainer_group_open(
        host: *const c_char,
        port: u16,
        serves: bool,
        socket: c_int,
        prefix: *const c_char,
        milliseconds: i64,
        opened: *mut *mut CGroup,
    ) -> *mut c_char;
    fn fcn_trainer_group_connect(
        group: *mut CGroup,
        rank: c_int,
        size: c_int,
        on_gpu: bool,
        on_one_machine: bool,
    ) -> *mut c_char;
    fn fcn_trainer_group_sum(group: *mut CGroup, tensor: *mut c_void) -> *mut c_char;
    fn fcn_trainer_group_learned_sum(group: *mut CGroup, tensor: *mut c_void, total: *mut *mut c_void) -> *mut c_char;
    fn fcn_trainer_group_broadcast(group: *mut CGroup, tensor: *mut c_void) -> *mut c_char;
    fn fcn_trainer_store_set(group: *mut CGroup, key: *const c_char, value: *const u8, length: usize) -> *mut c_char;
    fn fcn_trainer_store_get(
        group: *mut CGroup,
        key: *const c_char,
        milliseconds: i64,
        value: *mut *mut u8,
        length: *mut usize,
    ) -> *mut c_char;
    fn fcn_trainer_group_disconnect(group: *mut CGroup);
    fn fcn_trainer_free(memory: *mut c_void);
    fn fcn_trainer_group_free(group: *mut CGroup);
}

type Result<T> = std::result::Result<T, String>;

/// How much longer than its limit a call to the store may take. libtorch waits without a limit for
/// the answer of a rank 0 that is stopped, or whose machine is gone.
const MARGIN: Duration = Duration::from_secs(10);

/// Ends the process if it is not dropped in time.
struct Watchdog(#[expect(dead_code, reason = "the thread notices that it is dropped")] Sender<()>);

impl Watchdog {
    fn start(limit: Duration) -> Result<Watchdog> {
        let (alive, end) = channel::<()>();
        let watch = move || {
            if end.recv_timeout(limit + MARGIN) == Err(RecvTimeoutError::Timeout) {
                // There is no one to report a closed stderr to.
                let _ = writeln!(
                    std::io::stderr(),
                    "trainer: rank 0, which keeps the ranks together, does not answer any more, so this rank ends, too"
                );
                // SAFETY: always safe; destructors would wait for the same answer.
                unsafe { libc::_exit(1) }
            }
        };
        let thread = thread::Builder::new().name("watchdog".into()).spawn(watch);
        thread.map(|_| Watchdog(alive)).map_err(|error| format!("the watchdog's thread cannot start: {error}"))
    }
}

/// Ranks that share a store and, once connected, collective operations. Errors are libtorch's
/// sentences.
#[derive(Debug)]
pub(super) struct Group(NonNull<CGroup>);

// SAFETY: libtorch's stores and process groups may be used from any thread; they lock internally.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// Opens the store of a launch, or serves it. Waits at most `timeout`, now and in all later
    /// calls without a limit of their own.
    pub(super) fn open(launch: &Launch, timeout: Duration) -> Result<Group> {
        let (host, prefix) = (text(&launch.host)?, text(&launch.prefix)?);
        let _watchdog = Watchdog::start(timeout)?;
        let mut opened = null_mut();
        // SAFETY: both texts end with NUL and outlive the call, which writes `opened`.
        check(unsafe {
            fcn_trainer_group_open(
                host.as_ptr(),
                launch.port,
                launch.serves,
                launch.socket.unwrap_or(-1),
                prefix.as_ptr(),
                milliseconds(timeout),
                &mut opened,
            )
        })?;
        NonNull::new(opened).map(Group).ok_or_else(|| "libtorch opened no store".to_owned())
    }

    /// Connects with all other ranks.
    pub(super) fn connect(&mut self, rank: Rank, on_gpu: bool, on_one_machine: bool) -> Result<()> {
        let (number, of) = (rank.number as c_int, rank.of as c_int);
        // SAFETY: the group is alive.
        check(unsafe { fcn_trainer_group_connect(self.0.as_ptr(), number, of, on_gpu, on_one_machine) })
    }

    pub(super) fn sum(&self, tensor: &mut Tensor) -> Result<()> {
        // SAFETY: the group is connected, and the handle is that of a tensor.
        check(unsafe { fcn_trainer_group_sum(self.0.as_ptr(), tensor.as_mut_ptr().cast()) })
    }

    pub(super) fn learned_sum(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut total = null_mut();
        // SAFETY: as above; the call writes a new tensor's handle, and does not change `tensor`.
        check(unsafe {
            fcn_trainer_group_learned_sum(self.0.as_ptr(), tensor.as_ptr().cast_mut().cast(), &mut total)
        })?;
        // SAFETY: this is the only owner of the new tensor.
        Ok(unsafe { Tensor::from_ptr(total.cast()) })
    }

    pub(super) fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { fcn_trainer_group_broadcast(self.0.as_ptr(), tensor.as_mut_ptr().cast()) })
    }

    /// Closes the connections with the other ranks, so that they do not wait for this one.
    pub(super) fn disconnect(&self) {
        // SAFETY: the group is alive; only its ranks' main threads use its connections.
        unsafe { fcn_trainer_group_disconnect(self.0.as_ptr()) }
    }

    /// Stores a value for all ranks.
    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = text(key)?;
        let _watchdog = Watchdog::start(Duration::ZERO)?;
        // SAFETY: the key ends with NUL, and the value has this length.
        check(unsafe { fcn_trainer_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    /// The value of `key`, once it is stored; `None` if it is not within `limit`.
    pub(super) fn get(&self, key: &str, limit: Duration) -> Result<Option<Vec<u8>>> {
        let key = text(key)?;
        let _watchdog = Watchdog::start(limit)?;
        let (mut value, mut length) = (null_mut(), 0);
        // SAFETY: the call writes memory of its own and its length, or null.
        check(unsafe {
            fcn_trainer_store_get(self.0.as_ptr(), key.as_ptr(), milliseconds(limit), &mut value, &mut length)
        })?;
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: `value` has `length` bytes until it is freed.
        let found = unsafe { std::slice::from_raw_parts(value, length) }.to_vec();
        // SAFETY: allocated by the call above.
        unsafe { fcn_trainer_free(value.cast()) };
        Ok(Some(found))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: no one uses the group after this.
        unsafe { fcn_trainer_group_free(self.0.as_ptr()) }
    }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| format!("{text:?} contains a NUL character"))
}

/// At least 1: 0 is no limit to libtorch.
fn milliseconds(duration: Duration) -> i64 {
    duration.as_millis().clamp(1, i64::MAX as u128) as i64
}

/// The first line of a failure's reason; libtorch appends stack traces.
fn check(failure: *mut c_char) -> Result<()> {
    if failure.is_null() {
        return Ok(());
    }
    // SAFETY: a failure is text that ends with NUL and was allocated for this caller.
    let reason = unsafe { std::ffi::CStr::from_ptr(failure) }.to_string_lossy().into_owned();
    // SAFETY: as above; it is not used any more.
    unsafe { fcn_trainer_free(failure.cast()) };
    Err(reason.lines().next().unwrap_or("libtorch failed without a reason").trim_end_matches('.').to_owned())
}
