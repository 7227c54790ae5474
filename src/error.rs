//! What can go wrong, as one enum whose variants are the statuses of the C API.

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Each message is one sentence that names the value and the bound it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A required argument was NULL (C API only).
    #[error("{0}")]
    NullArgument(String),
    /// An argument is outside its documented range.
    #[error("{0}")]
    InvalidArgument(String),
    /// The pixel format or frame feature is not one that this version takes.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// A file could not be read or written.
    #[error("{0}")]
    Io(String),
    /// The model file is broken, or is no segmentation network.
    #[error("{0}")]
    Model(String),
    /// ONNX Runtime is missing, too old, or failed while running.
    #[error("{0}")]
    Runtime(String),
    /// The execution provider that was asked for does not work here.
    #[error("{0}")]
    Provider(String),
    /// Memory for a frame of this size could not be had.
    #[error("{0}")]
    OutOfMemory(String),
    /// A defect in this library: a panic that was caught at the border.
    #[error("{0}")]
    Internal(String),
    /// The call was cancelled while it ran or waited, or the stream is stopped.
    #[error("{0}")]
    Cancelled(String),
    /// The frame had no result within the time that it was given.
    #[error("{0}")]
    Timeout(String),
}

/// The most bytes of a text that somebody else wrote in a message of ours.
const MAX_TEXT: usize = 1024;

/// A text that somebody else wrote, such as the names in a model, so that it can be a part of a message: control characters, and
/// those that change the direction of writing, are escaped, and what is too long is cut off.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len().min(MAX_TEXT + 16));
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
        if plain.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT - 3).rev().find(|&end| plain.is_char_boundary(end)).unwrap_or(0);
            plain.truncate(end);
            plain += "...";
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_plain_and_short() {
        assert_eq!(plain("Conv 'a b' \u{e4}\u{4e00}"), "Conv 'a b' \u{e4}\u{4e00}");
        assert_eq!(plain("\u{1b}[31m\n\0\u{7f}\u{9b}\u{202e}"), "\\u{1b}[31m\\n\\u{0}\\u{7f}\\u{9b}\\u{202e}");
        assert_eq!(plain(&"x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
        assert_eq!(plain(&"x".repeat(MAX_TEXT + 1)), "x".repeat(MAX_TEXT - 3) + "...");
        let long = plain(&"\u{4e00}".repeat(MAX_TEXT));
        assert!(long.len() <= MAX_TEXT && long.ends_with("\u{4e00}..."), "{long}");
    }
}
