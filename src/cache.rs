//! Networks as ONNX Runtime has optimized them, kept on disk so that the next start need not do it again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::bytes::Bytes;

use crate::{Result, file};

/// An optimized network, in the bytes of its file.
pub(crate) struct Kept {
    pub(crate) content: Arc<[u8]>,
    /// Where behind the header the network starts.
    start: usize,
}

impl Kept {
    /// The network as ONNX.
    pub(crate) fn network(&self) -> Bytes {
        Bytes::from_owner(Arc::clone(&self.content)).slice(self.start..)
    }
}

/// A place for one optimized network.
pub(crate) struct Entry {
    path: PathBuf,
    /// What the file must begin with to be the network that is wanted.
    header: String,
}

impl Entry {
    /// The place in `folder` for the network `graph`, whose weights lie in the bytes of `model`, as this version of ONNX Runtime
    /// optimizes it for this provider and processor. Options make different graphs of one model.
    pub(crate) fn new(folder: &Path, model: &[u8], graph: &[u8], runtime: &str, provider: &str) -> Entry {
        let hash = twox_hash::XxHash3_64::oneshot_with_seed(hash(graph), model);
        let header = format!(
            "fcn {} cache\nmodel {hash:016x} of {} bytes\nONNX Runtime {runtime}\nprovider {provider}\nprocessor {}\n",
            env!("CARGO_PKG_VERSION"),
            model.len(),
            processor()
        );
        Entry { path: folder.join(format!("{hash:016x}-{provider}.fcn-cache")), header }
    }

    /// The network, where the file is there, whole, and the one that is wanted.
    pub(crate) fn read(&self) -> Option<Kept> {
        let content = file::read(&self.path, u64::MAX).ok()?;
        let network = content.strip_prefix(self.header.as_bytes())?;
        let (check, network) = network.split_first_chunk::<8>()?;
        let start = content.len() - network.len();
        (u64::from_le_bytes(*check) == hash(network)).then_some(Kept { content, start })
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
    twox_hash::XxHash3_64::oneshot(bytes)
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
