"""Plain values that functions return."""

from typing import NamedTuple, Optional, Tuple

import numpy


class Class(NamedTuple):
    """A class of a model."""

    #: The name, for example "cat".
    name: str
    #: The palette colour, which label files use: red, green and blue.
    color: Tuple[int, int, int]
    #: The overlay colour: the palette colour, brightened so that it is visible over an image.
    display_color: Tuple[int, int, int]


class Rect(NamedTuple):
    """A rectangle of pixels."""

    #: Leftmost column.
    x: int
    #: Topmost row.
    y: int
    #: Columns.
    width: int
    #: Rows.
    height: int


class Region(NamedTuple):
    """Area, centroid and bounds of the pixels with one label."""

    #: Number of pixels.
    pixels: int
    #: Mean column and row, where (0, 0) is the centre of the upper left pixel.
    centroid: Tuple[float, float]
    #: Bounding box.
    bounds: Rect


class Contour(NamedTuple):
    """The border of a region or of a hole in it, as a closed polygon."""

    #: The vertices, column and row: an N x 2 array of int32, as OpenCV's functions take it.
    points: numpy.ndarray
    #: True if this is the border of a hole, False if it is the outer border of a region.
    hole: bool
    #: The index of the directly enclosing contour: a hole's parent is its region's outer border, a
    #: region's parent is the hole around it. None if there is none.
    parent: Optional[int]


class Timings(NamedTuple):
    """Duration of the steps of a frame, in seconds."""

    #: From the frame to the network's input.
    preprocess: float
    #: The network, in ONNX Runtime.
    inference: float
    #: From the network's output to labels.
    head: float
    #: Everything, including the wait for a free session.
    total: float


class StreamCounters(NamedTuple):
    """Numbers of frames by outcome. `pushed` is the sum of the others plus the frames that are queued
    or being processed, at most two."""

    #: Frames accepted.
    pushed: int
    #: Frames replaced by a newer one before processing, or without a result when the stream stopped.
    dropped: int
    #: Frames with a result.
    done: int
    #: Frames that missed their deadline.
    late: int
    #: Frames that failed for another reason.
    failed: int
