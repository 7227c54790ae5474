//! The trainer's error: one sentence for the person at the terminal.

/// The result of everything in the trainer that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: one sentence with the value, its bound and the file's name. No program branches on the kind of
/// failure, so the sentence is all there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Error {
        Error(message.into())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error(error.to_string())
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Error {
        // libtorch appends its own stack trace to the sentence.
        let text = error.to_string();
        Error(text.lines().next().unwrap_or("libtorch failed").to_owned())
    }
}

impl From<fcn::Error> for Error {
    fn from(error: fcn::Error) -> Error {
        Error(error.to_string())
    }
}
