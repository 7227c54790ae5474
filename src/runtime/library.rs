//! Which file a library was loaded from, and which version it is. Unsafe code: `dlopen`, `dlsym` and `dladdr`.

use std::{
    ffi::{CStr, CString, OsStr, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The file that holds the code at `address`.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr takes any address and writes `info` where it knows the address.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) } != 0;
    // SAFETY: all-zero bytes are a valid Dl_info, so it is initialised either way.
    let info = unsafe { info.assume_init() };
    if !found || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gives a NUL-terminated name that lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    std::path::absolute(OsStr::from_bytes(name.to_bytes())).ok()
}

/// The file of libfcn itself.
pub(super) fn own_path() -> Option<PathBuf> {
    file_of(own_path as *const c_void)
}

/// The name under which programs and the system's linker look for ONNX Runtime.
pub(super) const SONAME: &CStr = c"libonnxruntime.so.1";

/// The library that the system's linker finds under ONNX Runtime's name.
pub(super) fn system_path() -> Option<PathBuf> {
    // SAFETY: the name is NUL-terminated. The handle is kept open: the library is about to be used for good.
    let handle = unsafe { libc::dlopen(SONAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    file_of(api_base(handle)?)
}

/// Whether the process has loaded the library `name`, a SONAME or a path.
pub(super) fn is_loaded(name: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated; with RTLD_NOLOAD nothing new is loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: the handle was just opened; whoever loaded the library has another one.
    unsafe { libc::dlclose(handle) };
    true
}

/// The function that every ONNX Runtime exports.
fn api_base(handle: *mut c_void) -> Option<*const c_void> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is one that dlopen gave, the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    (!symbol.is_null()).then_some(symbol.cast_const())
}

/// A path for C; one with a NUL inside names no file, nor does the empty one that it becomes.
pub(super) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// What the loaded library says of its version.
pub(super) fn version(path: &Path) -> Option<String> {
    let name = c_path(path);
    // SAFETY: the name is NUL-terminated; with RTLD_NOLOAD nothing new is loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let symbol = api_base(handle)?;
    // SAFETY: OrtGetApiBase has had this type in every version of ONNX Runtime.
    let get_base: extern "C" fn() -> *const ort::sys::OrtApiBase = unsafe { std::mem::transmute(symbol) };
    let base = get_base();
    if base.is_null() {
        return None;
    }
    // SAFETY: OrtGetApiBase gives a table that lives as long as the library, as does the text it hands out.
    let text = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
    Some(text.to_string_lossy().into_owned())
}
