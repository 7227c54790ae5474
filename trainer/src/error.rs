//! The trainer's error: one sentence for the user.

/// The result of fallible functions in the trainer.
pub type Result<T> = std::result::Result<T, Error>;

/// One sentence with the offending value, its bound and the file's name. No code branches on the
/// kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error with this message.
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
        // libtorch appends its stack trace to the message.
        let text = error.to_string();
        Error(text.lines().next().unwrap_or("libtorch failed").to_owned())
    }
}

impl From<fcn::Error> for Error {
    fn from(error: fcn::Error) -> Error {
        Error(error.to_string())
    }
}
