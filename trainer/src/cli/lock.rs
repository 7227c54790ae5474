//! Allows one trainer at a time in a run's folder.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Keeps other trainers out of a folder while it lives. The kernel releases it when the process
/// ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _folder: File,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Lock> {
        let failed =
            |error: std::io::Error| Error::new(format!("the folder {} cannot be locked: {error}", folder.display()));
        let opened = File::open(folder).map_err(failed)?;
        match opened.try_lock() {
            Ok(()) => Ok(Lock { _folder: opened }),
            Err(TryLockError::WouldBlock) => {
                let inode = opened.metadata().map_err(failed)?.ino();
                let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
                let holder = holder(&locks, inode).map_or(String::new(), |process| format!(", process {process}"));
                Err(Error::new(format!(
                    "{} is in use by another trainer{holder}; wait until it ends, stop it, or choose another folder",
                    folder.display()
                )))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// The process that locks a file, from the kernel's list: `NUMBER: FLOCK ADVISORY WRITE PROCESS
/// DEVICE:INODE START END`.
fn holder(locks: &str, inode: u64) -> Option<&str> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, file, ..] = words.as_slice() else { return None };
        let (_, found) = file.rsplit_once(':')?;
        (found.parse() == Ok(inode)).then_some(*process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_the_holder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("another trainer, process {};", std::process::id())), "{error}");
        drop(lock);
        Lock::take(folder.path()).unwrap();
        assert!(Lock::take(&folder.path().join("none")).is_err());
    }
}
