//! Zip files as written by `torch.save`: uncompressed, below 4 GiB.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The signature at the start of a zip file.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
/// The signature of the end record.
const END: &[u8] = b"PK\x05\x06";
/// The length of the end record.
const END_LENGTH: usize = 22;
/// The signature of a directory entry.
const ENTRY: &[u8] = b"PK\x01\x02";
/// The length of a directory entry before its name.
const ENTRY_LENGTH: usize = 46;
/// The length of a file's header before its name and data.
const HEADER_LENGTH: usize = 30;
/// The placeholder for a number that does not fit 32 bits.
const TOO_LARGE: usize = u32::MAX as usize;

/// An opened zip file.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<&'a str, Entry>,
}

struct Entry {
    /// The offset of the file's header.
    header: usize,
    length: usize,
    method: usize,
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Archive<'a>> {
        let end = bytes.len().checked_sub(END_LENGTH).map(|start| &bytes[start..]).filter(|end| end.starts_with(END));
        let end = end.ok_or_else(|| Error::new("its end is missing: the zip file was cut short or extended"))?;
        let (count, mut at) = (number(end, 10, 2)?, number(end, 16, 4)?);
        if at == TOO_LARGE {
            return Err(too_large());
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let fixed = part(bytes, at, ENTRY_LENGTH)?;
            if !fixed.starts_with(ENTRY) {
                return Err(damaged());
            }
            let name_length = number(fixed, 28, 2)?;
            let name = part(bytes, at + ENTRY_LENGTH, name_length)?;
            let name = std::str::from_utf8(name).map_err(|_| damaged())?;
            let (header, length, method) = (number(fixed, 42, 4)?, number(fixed, 20, 4)?, number(fixed, 10, 2)?);
            entries.insert(name, Entry { header, length, method });
            at += ENTRY_LENGTH + name_length + number(fixed, 30, 2)? + number(fixed, 32, 2)?;
        }
        Ok(Archive { bytes, entries })
    }

    /// The names of all files.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The content of a file; `None` if it does not exist.
    pub(super) fn find(&self, name: &str) -> Result<Option<&'a [u8]>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        if entry.method != 0 {
            return Err(Error::new(format!("its part {name} is compressed, which torch.save never does")));
        }
        if entry.header == TOO_LARGE || entry.length == TOO_LARGE {
            return Err(too_large());
        }
        let header = part(self.bytes, entry.header, HEADER_LENGTH)?;
        if !header.starts_with(MAGIC) {
            return Err(damaged());
        }
        // The header's extra field differs from the directory's: it aligns the data to 64 bytes.
        let start = entry.header + HEADER_LENGTH + number(header, 26, 2)? + number(header, 28, 2)?;
        part(self.bytes, start, entry.length).map(Some)
    }
}

fn part(bytes: &[u8], start: usize, length: usize) -> Result<&[u8]> {
    bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or_else(damaged)
}

/// A little-endian number of up to 4 bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Result<usize> {
    Ok(part(bytes, at, width)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn damaged() -> Error {
    Error::new("the zip file is damaged")
}

fn too_large() -> Error {
    Error::new("it is a zip file of 4 GiB or more, which this does not read; save it as .safetensors")
}
