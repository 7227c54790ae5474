//! Files that are whole or not there.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file: beside its place first, flushed to the disk, then renamed, so that a crash never leaves half of it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let attempt = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        // The rename itself is on the disk once the folder is.
        File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    attempt().map_err(|error: std::io::Error| {
        // Half a file is no use to anyone; where it cannot be removed either, the first failure is the one to tell.
        let _ = std::fs::remove_file(&beside);
        Error::new(format!("{} cannot be written: {error}", path.display()))
    })
}
