//! [`Error`]: one variant per status of the C API, but for the one that only C can cause.

use std::{fmt, sync::Arc};

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// An error. Its message is one sentence that names the value and the bound it violates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of its documented range, or does not suit the model.
    #[error("{0}")]
    InvalidArgument(String),
    /// This version does not support the pixel format or the type of image file.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(IoError),
    /// The model file is damaged, exceeds a limit, or is not a segmentation network.
    #[error("{0}")]
    Model(String),
    /// ONNX Runtime is missing, too old, or failed; or a thread cannot be started; or the segmenter
    /// belongs to the parent of a forked process.
    #[error("{0}")]
    Runtime(String),
    /// The requested execution provider is unavailable.
    #[error("{0}")]
    Provider(String),
    /// Not enough memory for a frame of this size.
    #[error("{0}")]
    OutOfMemory(String),
    /// A bug in this library, such as a panic caught by the C API.
    #[error("{0}")]
    Internal(String),
    /// The call was cancelled, the stream is stopped, or the process is exiting.
    #[error("{0}")]
    Cancelled(String),
    /// No result in time.
    #[error("{0}")]
    Timeout(String),
}

/// Why a file cannot be read or written. Its source is the error of the operating system or of the
/// file's decoder or encoder, if there is one.
#[derive(Debug, Clone)]
pub struct IoError {
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl IoError {
    /// Adds words before the message.
    pub(crate) fn prefixed(self, words: &str) -> IoError {
        IoError { message: format!("{words} {}", self.message), ..self }
    }
}

impl From<String> for IoError {
    fn from(message: String) -> IoError {
        IoError { message, source: None }
    }
}

/// Errors with the same message are equal.
impl PartialEq for IoError {
    fn eq(&self, other: &IoError) -> bool {
        self.message == other.message
    }
}

impl Eq for IoError {}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl Error {
    /// [`Error::Io`] with its source.
    pub(crate) fn io(message: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Io(IoError { message, source: Some(Arc::new(source)) })
    }
}

/// The most bytes of a foreign text in a message.
const MAX_TEXT: usize = 1024;

/// Makes a foreign text, such as a name in a model, safe to be part of a message: escapes control
/// characters and those that change the writing direction, and truncates long texts.
#[must_use]
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
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_of_a_file_has_its_source() {
        let missing = crate::file::read(std::path::Path::new("/nonexistent"), 1).unwrap_err();
        let source = missing.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
        assert!(missing.to_string().starts_with("'/nonexistent' cannot be opened: "), "{missing}");
        assert!(Error::Io("too long".to_owned().into()).source().is_none());
    }

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
