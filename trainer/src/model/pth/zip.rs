//! The zip files that `torch.save` writes: uncompressed, so that their parts are used in place.

use std::collections::BTreeMap;
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::error::{Error, Result};

/// The signature at the start of a zip file.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// An opened zip file.
pub(super) struct Archive<'a> {
    parts: BTreeMap<String, ZipPart<'a>>,
}

struct ZipPart<'a> {
    stored: bool,
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Archive<'a>> {
        let damaged = |error: ZipError| Error::new(format!("the zip file is damaged or was cut short: {error}"));
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        let mut parts = BTreeMap::new();
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(damaged)?;
            let name = file.name().map_err(damaged)?.into_owned();
            let (start, length) = (file.data_start().unwrap_or(u64::MAX), file.compressed_size());
            let part = usize::try_from(start).ok().zip(usize::try_from(length).ok());
            let part = part.and_then(|(start, length)| bytes.get(start..)?.get(..length));
            let bytes = part.ok_or_else(|| Error::new(format!("its part {name} reaches beyond the zip file")))?;
            parts.insert(name, ZipPart { stored: file.compression() == CompressionMethod::Stored, bytes });
        }
        Ok(Archive { parts })
    }

    /// The names of all parts.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// The content of a part; `None` if it does not exist.
    pub(super) fn find(&self, name: &str) -> Result<Option<&'a [u8]>> {
        match self.parts.get(name) {
            Some(part) if !part.stored => {
                Err(Error::new(format!("its part {name} is compressed, which torch.save never does")))
            }
            part => Ok(part.map(|part| part.bytes)),
        }
    }
}
