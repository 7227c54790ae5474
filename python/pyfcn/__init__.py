"""fcn labels every pixel of a camera frame.

    import pyfcn

    segmenter = pyfcn.Segmenter("street.onnx")
    mask = segmenter.segment(image)    # a NumPy array, height x width x 3 in RGB
    mask.labels                        # height x width class indices
"""

import logging as _logging

from ._errors import (
    CancelledError,
    Error,
    FileError,
    InternalError,
    InvalidArgumentError,
    ModelError,
    OnnxRuntimeError,
    OutOfMemoryError,
    ProviderError,
    TimeoutError,
    UnsupportedFormatError,
)
from ._pyfcn import (
    Frame,
    Mask,
    Segmenter,
    Smoothing,
    Stream,
    StreamResult,
    __version__,
    decode_image,
    read_image,
)
from ._types import Class, Contour, Rect, Region, StreamCounters, Timings

# Messages are not printed unless the program asks for them.
_logging.getLogger("pyfcn").addHandler(_logging.NullHandler())

#: The label of unknown pixels.
UNKNOWN = 255

__all__ = [
    "UNKNOWN",
    "CancelledError",
    "Class",
    "Contour",
    "Error",
    "FileError",
    "Frame",
    "InternalError",
    "InvalidArgumentError",
    "Mask",
    "ModelError",
    "OnnxRuntimeError",
    "OutOfMemoryError",
    "ProviderError",
    "Rect",
    "Region",
    "Segmenter",
    "Smoothing",
    "Stream",
    "StreamCounters",
    "StreamResult",
    "TimeoutError",
    "Timings",
    "UnsupportedFormatError",
    "__version__",
    "decode_image",
    "read_image",
]
