//! Text files in the encodings and line endings of all systems.

use std::path::Path;

use crate::error::{Error, Result};

/// The byte order mark that Windows editors write first. Concatenated files have it at the start of
/// later lines, too.
const MARK: char = '\u{feff}';

/// Reads a UTF-8 text file, without byte order marks and with `
/// ` as line ending.
pub fn read(path: &Path) -> Result<String> {
    let bytes = fcn::file::read_whole(path).map_err(|error| unreadable(path, error))?;
    decode(bytes).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(format!("{} cannot be read: {error}", path.display()))
}

/// Decodes a file's bytes.
fn decode(bytes: Vec<u8>) -> std::result::Result<String, String> {
    // UTF-16 without a byte order mark passes as UTF-8 with zeros in it.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return Err("it is UTF-16 or no text at all; save it as UTF-8".to_owned());
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        format!("line {line} is not UTF-8; save it as UTF-8")
    })?;
    if text.contains('\r') {
        text = text.replace("\r\n", "\n").replace('\r', "\n");
    }
    if text.contains(MARK) {
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_start_matches(MARK)).collect();
        text = lines.join("\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_of_all_systems_are_taken() {
        for (bytes, text) in [
            ("", ""),
            ("a\nb\n", "a\nb\n"),
            ("\u{feff}a\r\nb\r\n", "a\nb\n"),
            ("\u{feff}\u{feff}a\rb", "a\nb"),
            ("a\n\u{feff}b\n", "a\nb\n"),
            // Elsewhere in a line it belongs to a name.
            ("a\u{feff}b", "a\u{feff}b"),
            ("Stra\u{df}e", "Stra\u{df}e"),
        ] {
            assert_eq!(decode(bytes.as_bytes().to_vec()).as_deref(), Ok(text), "{bytes:?}");
        }
    }

    #[test]
    fn other_encodings_are_told() {
        let utf16 = |text: &str, swap: bool| -> Vec<u8> {
            let bytes = |unit: u16| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() };
            text.encode_utf16().flat_map(bytes).collect()
        };
        for (bytes, message) in [
            (utf16("\u{feff}a\n", false), "UTF-16"),
            (utf16("\u{feff}a\n", true), "UTF-16"),
            (utf16("a\n", false), "UTF-16"),
            (utf16("a\n", true), "UTF-16"),
            (vec![0xff, 0xfe], "UTF-16"),
            (b"sky\nStra\xdfe\n".to_vec(), "line 2 is not UTF-8"),
        ] {
            let error = decode(bytes.clone()).unwrap_err();
            assert!(error.contains(message) && error.ends_with("save it as UTF-8"), "{bytes:?}: {error}");
        }
    }
}
