//! Files that are whole or not there.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result};

/// Writes a file: beside its place first, flushed to the disk, then renamed, so that no crash leaves half of it.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    let attempt = || {
        let mut file = File::create_new(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is on the disk once the folder is.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    attempt().map_err(|error: io::Error| {
        // Nothing to clean up where not even the temporary file could be made.
        let _ = fs::remove_file(&temporary);
        Error::Io(format!("{} cannot be written: {error}", path.display()))
    })
}

/// A name in the same folder that no other call uses.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.tmp", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}
