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
