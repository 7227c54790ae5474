//! Atomic file writes, and reads that accept only regular files.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::{NamedTempFile, TempPath};

use crate::{Error, Result, memory, signals};

/// Opens a regular file for reading. Never blocks: a FIFO or a device is an error.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The content of a regular file, opened by [`open`].
pub fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Writes a file atomically: to a temporary file in the same folder, flushed to disk and then
/// renamed. Follows links. Fails if the path exists and is not a regular file, for example a
/// device.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    target(path)
        .and_then(|path| replace(&path, &[content]))
        .map_err(|error| Error::io(format!("{} cannot be written: {error}", path.display()), error))
}

/// As [`write`], from several parts and to `path` itself: a link there is replaced.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    signals::without_file_size_signal(|| {
        let mut file = create_temporary(path, 0o666)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The rename is on the disk only once the folder is.
        File::open(folder_of(path))?.sync_all()
    })
}

/// The file that `path` leads to, which may be missing.
fn target(path: &Path) -> io::Result<PathBuf> {
    let is_in_place = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        found => found?.is_file(),
    };
    if is_in_place {
        return Ok(path.to_path_buf());
    }
    let target = fs::canonicalize(path)?;
    if fs::metadata(&target)?.is_file() {
        Ok(target)
    } else {
        Err(io::Error::other("it exists and is not a regular file, so it is not replaced"))
    }
}

/// The content of a file of at most `limit` bytes. Fails if it does not fit into memory.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Arc<[u8]>> {
    let failed =
        |what: &str, error: io::Error| Error::io(format!("'{}' cannot be {what}: {error}", path.display()), error);
    let mut file = open(path).map_err(|error| failed("opened", error))?;
    let metadata = file.metadata().map_err(|error| failed("inspected", error))?;
    if metadata.len() > limit {
        let message = format!("'{}' has {} bytes; at most {limit} are supported", path.display(), metadata.len());
        return Err(Error::Io(message.into()));
    }
    read_exactly(&mut file, metadata.len(), |error| failed("read", error))
}

/// The next `length` bytes of a file.
pub(crate) fn read_exactly(file: &mut File, length: u64, failed: impl Fn(io::Error) -> Error) -> Result<Arc<[u8]>> {
    let mut content = zeros(length as usize)?;
    let bytes = Arc::get_mut(&mut content).ok_or_else(|| Error::Internal("the bytes are shared already".into()))?;
    file.read_exact(bytes).map_err(failed)?;
    Ok(content)
}

/// Allocates `length` zero bytes. Fails if there is not enough memory.
pub(crate) fn zeros(length: usize) -> Result<Arc<[u8]>> {
    memory::check_available(length, "the content of a file")?;
    Ok(std::iter::repeat_n(0, length).collect())
}

/// Opens a regular file in `folder` by name, and returns it with its size. A link must lead to
/// another name in the same folder. Never blocks, whatever the type of the file.
pub(crate) fn open_beside(folder: &Path, name: &str) -> io::Result<(File, u64)> {
    let open = |name: &Path| {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).custom_flags(flags).open(folder.join(name))
    };
    let file = match open(Path::new(name)) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let target = fs::read_link(folder.join(name))?;
            if target.file_name() != Some(target.as_os_str()) {
                let message = format!("it is a link to '{}', which leaves the folder", target.display());
                return Err(io::Error::other(message));
            }
            open(&target)?
        }
        other => other?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((file, metadata.len()))
}

/// Removes the temporary files of writers of `path` that were killed. No other process may be
/// writing `path`.
pub fn remove_leftovers(path: &Path) -> Result<()> {
    let start = temporary_start(path);
    let remove = || {
        for entry in fs::read_dir(folder_of(path))? {
            let entry = entry?;
            let name = entry.file_name();
            let rest = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes());
            let random = rest.and_then(|rest| rest.strip_suffix(TEMPORARY_END.as_bytes()));
            if random.is_some_and(|random| random.iter().all(u8::is_ascii_alphanumeric)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error: io::Error| {
        Error::io(format!("cannot remove temporary files of {}: {error}", path.display()), error)
    })
}

/// The suffix of temporary files.
const TEMPORARY_END: &str = ".tmp";

/// How the names of temporary files of `path` start; random letters and digits follow.
fn temporary_start(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".fcn-");
    name
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new, empty file next to `path`, which is removed when this is dropped.
fn create_temporary(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&temporary_start(path))
        .suffix(TEMPORARY_END)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder_of(path))
}

/// A new, empty file next to `path` for this user alone, which is removed when this is dropped.
pub(crate) fn temporary_next_to(path: &Path) -> io::Result<TempPath> {
    Ok(create_temporary(path, 0o600)?.into_temp_path())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, thread};

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_plain_files_are_read_and_replaced_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fifo = std::ffi::CString::new(path("fifo").as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the name is NUL-terminated.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("file"), "old").unwrap();
        for (link, to) in [("link", "file"), ("to fifo", "fifo"), ("to nothing", "nothing"), ("to device", "/dev/null")]
        {
            std::os::unix::fs::symlink(to, path(link)).unwrap();
        }
        for name in ["fifo", "folder", "to fifo", "to device"] {
            let (read, written) = (read_whole(&path(name)).unwrap_err(), write(&path(name), b"new").unwrap_err());
            assert_eq!(read.to_string(), "it is not a regular file", "{name}");
            assert!(written.to_string().ends_with("not a regular file, so it is not replaced"), "{name}: {written}");
            assert!(
                super::read(&path(name), 9).unwrap_err().to_string().ends_with("it is not a regular file"),
                "{name}"
            );
        }
        assert!(write(&path("to nothing"), b"new").is_err() && !path("nothing").exists());
        write(&path("link"), b"new").unwrap();
        assert_eq!(read_whole(&path("file")).unwrap(), b"new");
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        let mut left = names(folder.path());
        left.retain(|name| name.to_string_lossy().ends_with(TEMPORARY_END));
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content = |number: u8| vec![number; 1_000_000];
        write(&path, &content(0)).unwrap();
        // As any file that a program creates.
        let created = File::create(folder.path().join("created")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode(), created.metadata().unwrap().mode());
        fs::remove_file(folder.path().join("created")).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| (1..60).for_each(|number| write(&path, &content(number)).unwrap()));
            let mut seen = 0;
            while !writer.is_finished() {
                let bytes = fs::read(&path).unwrap();
                assert_eq!(bytes, content(bytes[0]), "half a file");
                assert!(bytes[0] >= seen, "an older file came back");
                seen = bytes[0];
            }
        });
        assert_eq!(names(folder.path()), ["file"]);

        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let message = write(&taken, b"x").unwrap_err().to_string();
        assert!(message.starts_with(&format!("{} cannot be written: ", taken.display())), "{message}");
        assert_eq!(names(folder.path()), ["file", "taken"]);

        // Those of writers that were killed; the last three are other files.
        let left = [".file.fcn-a1B2c3.tmp", ".file.fcn-000000.tmp", ".taken.fcn-zzzzzz.tmp"];
        let others = [".file.fcn-a.b.tmp", ".file.txt.tmp", ".files.fcn-a1B2c3.tmp"];
        left.iter().chain(&others).for_each(|name| fs::write(folder.path().join(name), "half").unwrap());
        drop(temporary_next_to(&path).unwrap());
        remove_leftovers(&path).unwrap();
        remove_leftovers(&taken).unwrap();
        assert_eq!(names(folder.path())[..3], others);
        assert_eq!(names(folder.path())[3..], ["file", "taken"]);
    }
}
