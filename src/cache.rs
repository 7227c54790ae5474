//! Networks as ONNX Runtime has optimized them, kept on disk so that the next start need not do it again.

use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
};

use crate::{Result, file};

/// A place for one optimized network.
pub(crate) struct Entry {
    path: PathBuf,
    /// What the file must begin with to be the network that is wanted.
    header: String,
}

impl Entry {
    /// The place in `folder` for `model` as this version of ONNX Runtime optimizes it for this provider and processor.
    pub(crate) fn new(folder: &Path, model: &[u8], runtime: &str, provider: &str) -> Entry {
        let hash = hash(model);
        let header = format!(
            "fcn {} cache\nmodel {hash:016x} of {} bytes\nONNX Runtime {runtime}\nprovider {provider}\nprocessor {}\n",
            env!("CARGO_PKG_VERSION"),
            model.len(),
            processor()
        );
        Entry { path: folder.join(format!("{hash:016x}-{provider}.fcn-cache")), header }
    }

    /// The network, where the file is there, whole, and the one that is wanted.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let mut content = fs::read(&self.path).ok()?;
        let network = content.strip_prefix(self.header.as_bytes())?;
        let (check, network) = network.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*check) != hash(network) {
            return None;
        }
        let start = content.len() - network.len();
        content.drain(..start);
        Some(content)
    }

    /// Where ONNX Runtime can write the network, before [`Entry::keep`].
    pub(crate) fn temporary(&self) -> PathBuf {
        file::temporary_beside(&self.path)
    }

    /// Makes what ONNX Runtime wrote to `temporary` the entry's content.
    pub(crate) fn keep(&self, temporary: &Path) -> Result<()> {
        let network = fs::read(temporary);
        // Whether or not it could be read, nobody needs it any more.
        let _ = fs::remove_file(temporary);
        let network = network.map_err(|error| {
            crate::Error::Io(format!("{}: ONNX Runtime left no optimized network: {error}", self.path.display()))
        })?;
        let check = hash(&network).to_le_bytes();
        file::write(&self.path, &[self.header.as_bytes(), &check, &network].concat())
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What optimized networks depend on: the width of the processor's vectors.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "x86_64 avx512f";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "x86_64 avx2";
        }
    }
    std::env::consts::ARCH
}
