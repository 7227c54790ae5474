//! Checks that a PNG file is complete, and finds its EXIF data, wherever it is stored.

const SIGNATURE: usize = 8;

/// A chunk of the file.
struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    /// The CRC of the chunk's type and data.
    checksum: u32,
}

/// The chunks of a file up to IEND; an error for a chunk that is cut off.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, String>> {
    let mut rest = bytes.get(SIGNATURE..).unwrap_or_default();
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let chunk = next(rest);
        ended = chunk.as_ref().map_or(true, |chunk| chunk.kind == *b"IEND");
        if let Ok(chunk) = &chunk {
            rest = &rest[12 + chunk.data.len()..];
        }
        Some(chunk)
    })
}

fn next(bytes: &[u8]) -> Result<Chunk<'_>, String> {
    let cut = || "it is cut off".to_owned();
    let (length, after) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let (kind, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
    let (data, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
    let checksum = u32::from_be_bytes(*after.first_chunk::<4>().ok_or_else(cut)?);
    Ok(Chunk { kind: *kind, data, checksum })
}

/// Describes the damage to a file's chunks: one that is cut off, has a wrong CRC, or a missing
/// IEND. Data after IEND is ignored.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    for chunk in chunks(bytes) {
        let Chunk { kind, data, checksum } = chunk?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&kind);
        hasher.update(data);
        if hasher.finalize() != checksum {
            return Err(format!("the CRC of its chunk {} is wrong", kind.escape_ascii()));
        }
    }
    Ok(())
}

/// The EXIF data, without the header that some programs copy from JPEG files.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let chunk = chunks(bytes).filter_map(Result::ok).find(|chunk| chunk.kind == *b"eXIf")?;
    Some(chunk.data.strip_prefix(b"Exif\0\0").unwrap_or(chunk.data))
}
