//! Optimized networks on disk, so that the next start can skip ONNX Runtime's optimizer.
//!
//! An entry replaces the model, so a user who can write entries controls the labels. Entries
//! therefore lie in a folder that only this user can write, and are opened relative to that
//! folder's descriptor, so that changes to its path have no effect.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::bytes::Bytes;
use tempfile::TempPath;

use crate::{Error, Result, file, process};

/// An optimized network, as the content of its file.
pub(crate) struct Cached {
    pub(crate) content: Arc<[u8]>,
    /// Offset of the network, after the header and the checksum.
    start: usize,
}

impl Cached {
    /// The network in ONNX format.
    pub(crate) fn network(&self) -> Bytes {
        Bytes::from_owner(Arc::clone(&self.content)).slice(self.start..)
    }
}

/// A folder of entries that only this user can write.
pub(crate) struct Folder {
    /// The path, for messages.
    path: PathBuf,
    /// The descriptor of the folder that was checked; the path may lead to another folder by now.
    opened: File,
}

impl Folder {
    /// Opens `fcn-cache-UID` in `parent`, and creates it with mode 0700 if it is missing. Fails if
    /// it is a link, belongs to another user, or can be written by others.
    pub(crate) fn open(parent: &Path) -> Result<Folder> {
        let user = process::effective_user();
        let path = parent.join(format!("fcn-cache-{user}"));
        let open = || {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let opened = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
            check_owner(&opened.metadata()?, user)?;
            Ok(opened)
        };
        let opened = open()
            .map_err(|error| Error::io(format!("the cache folder '{}' is not used: {error}", path.display()), error))?;
        Ok(Folder { path, opened })
    }

    /// The folder's path, for files that are written after the folder has been closed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder that was checked.
    fn join(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.opened.as_raw_fd()))
    }
}

/// Fails unless `user` owns the file or folder and no other user can write it.
fn check_owner(metadata: &Metadata, user: u32) -> io::Result<()> {
    if metadata.uid() != user {
        return Err(io::Error::other(format!("it belongs to user {}, not to user {user}", metadata.uid())));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!("other users can write it: its mode is {mode:04o}")));
    }
    Ok(())
}

/// The cache entry of one network.
pub(crate) struct CacheEntry<'a> {
    folder: &'a Folder,
    name: String,
    /// The first bytes of the file, which identify the network.
    header: String,
}

impl<'a> CacheEntry<'a> {
    /// The entry of the network `graph`, whose weights are in `model`, as this version of ONNX
    /// Runtime optimizes it for this provider and processor. Options change the graph, so it is
    /// part of the key.
    pub(crate) fn new(folder: &'a Folder, model: &[u8], graph: &[u8], runtime: &str, provider: &str) -> CacheEntry<'a> {
        let mut hash = blake3::Hasher::new();
        hash.update(&(graph.len() as u64).to_le_bytes());
        hash.update(graph);
        hash.update(model);
        let hash = hash.finalize().to_hex();
        let header = format!(
            "fcn {} cache\nmodel {hash}\nONNX Runtime {runtime}\nprovider {provider}\nprocessor {}\n",
            env!("CARGO_PKG_VERSION"),
            processor()
        );
        CacheEntry { folder, name: format!("{}-{provider}.fcn-cache", &hash[..16]), header }
    }

    /// The network, if its file exists, is intact, belongs to this user and matches this entry.
    pub(crate) fn read(&self) -> Option<Cached> {
        let content = self.content().ok()?;
        let network = content.strip_prefix(self.header.as_bytes())?;
        let (checksum, network) = network.split_first_chunk::<32>()?;
        let start = content.len() - network.len();
        (blake3::hash(network) == *checksum).then_some(Cached { content, start })
    }

    fn content(&self) -> Result<Arc<[u8]>> {
        let opened = || {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
            let path = self.folder.join(&self.name);
            let opened = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let metadata = opened.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            check_owner(&metadata, process::effective_user())?;
            Ok((opened, metadata.len()))
        };
        let (mut opened, length) = opened().map_err(|error| self.error(error))?;
        file::read_exactly(&mut opened, length, |error| self.error(error))
    }

    fn error(&self, error: io::Error) -> Error {
        let path = self.folder.path.join(&self.name);
        Error::io(format!("the cache entry '{}': {error}", path.display()), error)
    }

    /// A new, empty file that ONNX Runtime can write the network to, for [`CacheEntry::keep`].
    pub(crate) fn temporary(&self) -> Result<TempPath> {
        file::temporary_next_to(&self.folder.join(&self.name)).map_err(|error| self.error(error))
    }

    /// Makes the content of `temporary` the entry's network.
    pub(crate) fn keep(&self, temporary: TempPath) -> Result<()> {
        let mut network = Vec::new();
        let read = file::open(&temporary).and_then(|mut opened| opened.read_to_end(&mut network));
        read.map_err(|error| self.error(error))?;
        drop(temporary);
        let checksum = blake3::hash(&network);
        file::replace(&self.folder.join(&self.name), &[self.header.as_bytes(), checksum.as_bytes(), &network])
            .map_err(|error| self.error(error))
    }
}

/// The processor features that the optimized network depends on: those that ONNX Runtime has own
/// kernels for, which expect weights in other layouts.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let features = [
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let features: [(&str, bool); 0] = [];
    let present = features.into_iter().filter(|(_, present)| *present);
    present.fold(std::env::consts::ARCH.to_owned(), |processor, (name, _)| processor + " " + name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's list of the processor's features is an independent one. Its names differ.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_processor_is_told_by_its_features() {
        let names: &[(&str, &str)] = match std::env::consts::ARCH {
            "x86_64" => &[("avx2", "avx2"), ("avx512f", "avx512f")],
            "aarch64" => &[("asimddp", "dotprod"), ("i8mm", "i8mm"), ("bf16", "bf16"), ("sve", "sve")],
            _ => &[],
        };
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = information.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        let found: Vec<&str> = line.map_or(vec![], |line| line.split_whitespace().collect());
        let present = names.iter().filter(|(theirs, _)| found.contains(theirs)).map(|(_, own)| *own);
        let expected: Vec<&str> = [std::env::consts::ARCH].into_iter().chain(present).collect();
        assert_eq!(processor(), expected.join(" "));
    }
}
