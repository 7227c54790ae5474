"""Exceptions: one class per status of the C interface."""

import builtins


class Error(Exception):
    """An error of fcn. Its message is one sentence and names the value and the bound it violates."""

    #: The name of the status in fcn.h.
    status = "FCN_ERROR_INTERNAL"


class InvalidArgumentError(Error, ValueError):
    """An argument is out of its documented range, or does not suit the model."""

    status = "FCN_ERROR_INVALID_ARGUMENT"


class UnsupportedFormatError(Error, ValueError):
    """This version does not support the pixel format or the type of image file."""

    status = "FCN_ERROR_UNSUPPORTED_FORMAT"


class FileError(Error, OSError):
    """A file cannot be read or written."""

    status = "FCN_ERROR_IO"


class ModelError(Error):
    """The model file is damaged, exceeds a limit, or is not a segmentation network."""

    status = "FCN_ERROR_MODEL"


class OnnxRuntimeError(Error, RuntimeError):
    """ONNX Runtime is missing, too old, or failed; or a thread cannot be started; or the handle
    belongs to the parent of a forked process."""

    status = "FCN_ERROR_RUNTIME"


class ProviderError(Error, RuntimeError):
    """The requested execution provider is unavailable."""

    status = "FCN_ERROR_PROVIDER"


class OutOfMemoryError(Error, MemoryError):
    """Not enough memory for a frame of this size."""

    status = "FCN_ERROR_OUT_OF_MEMORY"


class InternalError(Error):
    """A bug in this library. Please report the message."""

    status = "FCN_ERROR_INTERNAL"


class CancelledError(Error):
    """Segmenter.cancel() ended the call, the stream is stopped, or the process is exiting."""

    status = "FCN_ERROR_CANCELLED"


class TimeoutError(Error, builtins.TimeoutError):
    """No result in time: see the option timeout (which also limits creation) and the deadline of a
    Stream."""

    status = "FCN_ERROR_TIMEOUT"
