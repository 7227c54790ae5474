//! The file, completeness and version of a shared library. Unsafe code: `dlopen`, `dlsym` and
//! `getauxval`.

use std::{
    ffi::{CStr, CString, OsStr, c_void},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};

/// The file that contains the code at `address`, according to the kernel's list of mappings.
/// `dladdr` would return the name under which the file was loaded. For a program that is argv[0],
/// which may be relative to a folder that is no longer the current one.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    file_in(&std::fs::read("/proc/self/maps").ok()?, address.addr())
}

/// Finds the file of an address in such a list, with lines `START-END PERMISSIONS OFFSET DEVICE
/// INODE PATH`.
fn file_in(maps: &[u8], address: usize) -> Option<PathBuf> {
    let line = maps.split(|byte| *byte == b'\n').find(|line| {
        let range = line.split(|byte| *byte == b' ').next().and_then(|range| str::from_utf8(range).ok());
        let Some((start, end)) = range.and_then(|range| range.split_once('-')) else { return false };
        let number = |text| usize::from_str_radix(text, 16);
        matches!((number(start), number(end)), (Ok(start), Ok(end)) if (start..end).contains(&address))
    })?;
    // Paths may contain spaces; the fields before them contain no slash.
    let path = &line[line.iter().position(|byte| *byte == b'/')?..];
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// The file of libfcn itself.
pub(super) fn own_path() -> Option<PathBuf> {
    file_of(own_path as *const c_void)
}

/// Whether this program has more privileges than the user who started it (setuid, setgid, file
/// capabilities).
pub(super) fn is_privileged() -> bool {
    // SAFETY: getauxval only returns a number.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The SONAME of ONNX Runtime, by which programs and the dynamic linker find it.
pub(super) const SONAME: &CStr = c"libonnxruntime.so.1";

/// The library that the dynamic linker finds under ONNX Runtime's SONAME.
pub(super) fn system_path() -> Option<PathBuf> {
    // SAFETY: the name is NUL-terminated. The handle stays open, because the library is used from
    // now on.
    let handle = unsafe { libc::dlopen(SONAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    file_of(api_base(handle)?)
}

/// Whether the process has loaded the library `name`, a SONAME or a path.
pub(super) fn is_loaded(name: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated; with RTLD_NOLOAD nothing is loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: the handle was just opened, and the host's own handle keeps the library loaded.
    unsafe { libc::dlclose(handle) };
    true
}

/// The function that every ONNX Runtime exports.
fn api_base(handle: *mut c_void) -> Option<*const c_void> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle comes from dlopen, and the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    (!symbol.is_null()).then_some(symbol.cast_const())
}

/// A path as a C string. A path with an interior NUL becomes the empty string; neither names a
/// file.
pub(super) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Checks that a library's file is as long as its ELF headers require: accessing mapped pages past
/// the end of a truncated file would crash the process.
pub(super) fn check_length(path: &Path) -> Result<(), String> {
    let cut_off = || "the file is cut off".to_owned();
    let file = crate::file::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let read = |place: u64, bytes: &mut [u8]| file.read_exact_at(bytes, place).map_err(|_| cut_off());
    let mut header = [0; 64];
    read(0, &mut header)?;
    // Other files are rejected by the loader.
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(());
    }
    let word = |bytes: &[u8], place: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[place + byte]));
    let half = |place: usize| u64::from(u16::from_le_bytes([header[place], header[place + 1]]));
    let end = |start: u64, count: u64, size: u64| count.checked_mul(size).and_then(|bytes| start.checked_add(bytes));
    let (programs, sections) = (word(&header, 32), word(&header, 40));
    let mut ends = vec![end(programs, half(56), half(54)), end(sections, half(60), half(58))];
    for number in 0..half(56) {
        let mut program = [0; 56];
        read(programs + number * half(54), &mut program)?;
        // PT_LOAD: offset and size in the file.
        if program[..4] == [1, 0, 0, 0] {
            ends.push(word(&program, 8).checked_add(word(&program, 32)));
        }
    }
    if ends.into_iter().all(|end| end.is_some_and(|end| end <= length)) { Ok(()) } else { Err(cut_off()) }
}

/// The version that the loaded library reports.
pub(super) fn version(path: &Path) -> Option<String> {
    let name = c_path(path);
    // SAFETY: the name is NUL-terminated; with RTLD_NOLOAD nothing is loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let symbol = api_base(handle)?;
    // SAFETY: OrtGetApiBase has had this type in every version of ONNX Runtime.
    let get_base: extern "C" fn() -> *const ort::sys::OrtApiBase = unsafe { std::mem::transmute(symbol) };
    let base = get_base();
    if base.is_null() {
        return None;
    }
    // SAFETY: OrtGetApiBase returns a table that lives as long as the library, as does the version
    // string.
    let text = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
    Some(text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_list_of_mappings() {
        let maps = b"1000-2000 r-xp 00000000 fe:00 12 /a folder/lib.so\n2000-3000 rw-p 00000000 00:00 0 \n\
            3000-4000 r--p 00001000 fe:00 13                         /b.so (deleted)\n7000-8000 r-xp 0 00:00 0 [vdso]\n";
        for (address, path) in [
            (0x0fff, None),
            (0x1000, Some("/a folder/lib.so")),
            (0x1fff, Some("/a folder/lib.so")),
            (0x2000, None),
            (0x3000, Some("/b.so (deleted)")),
            (0x7000, None),
            (0x9000, None),
        ] {
            assert_eq!(file_in(maps, address), path.map(PathBuf::from), "{address:x}");
        }
        // This program, independent of argv[0].
        assert_eq!(own_path(), std::fs::read_link("/proc/self/exe").ok());
    }

    #[test]
    fn libraries_that_are_cut_off_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        let library = std::fs::read("/proc/self/exe").unwrap();
        let length = library.len();
        for (kept, whole) in
            [(length, true), (length - 1, false), (length / 2, false), (64, false), (63, false), (0, false)]
        {
            std::fs::write(&path, &library[..kept]).unwrap();
            assert_eq!(check_length(&path).is_ok(), whole, "{kept} of {length} bytes");
        }
        // Not an ELF file of this kind: left to the loader.
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(check_length(&path), Ok(()));
        // Numbers that overflow.
        let mut broken = library[..64].to_vec();
        broken[40..48].fill(0xff);
        std::fs::write(&path, &broken).unwrap();
        assert!(check_length(&path).is_err());
    }
}
