import os
from types import TracebackType
from typing import (
    Any,
    AsyncIterator,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    final,
)

import numpy
from numpy.typing import NDArray

from ._errors import Error
from ._types import Class, Contour, Region, StreamCounters, Timings

__all__ = [
    "Frame",
    "Mask",
    "Segmenter",
    "Smoothing",
    "Stream",
    "StreamResult",
    "__version__",
    "_stop_streams",
    "decode_image",
    "read_image",
]

__version__: str

_Layout = Literal["nchw", "nhwc"]
_SizeMode = Union[
    Literal["auto", "pad"],
    Tuple[Literal["resize"], int, int],
    Tuple[Literal["short_side"], int],
    Tuple[Literal["tile"], int, int, int],
]

@final
class Frame:
    def __new__(
        cls,
        data: Any,
        format: Optional[str] = None,
        *,
        size: Optional[Tuple[int, int]] = None,
        stride: int = 0,
        crop: Optional[Tuple[int, int, int, int]] = None,
        rotation: int = 0,
        mirror: bool = False,
        matrix: str = "bt601",
        range: str = "limited",
    ) -> Frame: ...
    @property
    def copied(self) -> bool: ...
    @property
    def format(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

@final
class Mask:
    @property
    def confidence(self) -> Optional[NDArray[numpy.float32]]: ...
    @property
    def confidence_u8(self) -> Optional[NDArray[numpy.uint8]]: ...
    @property
    def height(self) -> int: ...
    @property
    def labels(self) -> NDArray[numpy.uint8]: ...
    @property
    def margin(self) -> Optional[NDArray[numpy.float32]]: ...
    @property
    def not_finite(self) -> int: ...
    @property
    def pixels(self) -> NDArray[numpy.uint64]: ...
    @property
    def scores(self) -> Optional[NDArray[numpy.float32]]: ...
    @property
    def timings(self) -> Timings: ...
    @property
    def width(self) -> int: ...
    @property
    def working_size(self) -> Tuple[int, int]: ...
    def contours(self, label: int, min_area: int = 0) -> List[Contour]: ...
    def draw(
        self,
        image: NDArray[numpy.uint8],
        format: Optional[str] = None,
        *,
        alpha: float = 0.5,
        outline: int = 0,
        legend: bool = False,
    ) -> None: ...
    def overlay(
        self,
        image: Any,
        format: Optional[str] = None,
        *,
        alpha: float = 0.5,
        outline: int = 0,
        legend: bool = False,
    ) -> NDArray[numpy.uint8]: ...
    def regions(self, min_area: int = 0) -> Dict[int, Region]: ...
    def encode_png(self) -> bytes: ...
    def write_png(self, path: Union[str, os.PathLike[str]]) -> None: ...

@final
class Smoothing:
    def __new__(cls, share: float) -> Smoothing: ...
    @property
    def share(self) -> float: ...
    def reset(self) -> None: ...

@final
class Segmenter:
    def __new__(
        cls,
        model: Union[str, os.PathLike[str], bytes, bytearray, memoryview],
        *,
        provider: Optional[Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]] = "auto",
        device: Optional[int] = 0,
        openvino_device: Optional[str] = None,
        precision: Optional[Literal["exact", "fast"]] = "exact",
        threads: Optional[int] = 0,
        sessions: Optional[int] = 0,
        timeout: Optional[float] = None,
        gpu_memory_limit: Optional[int] = 0,
        runtime_library: Union[str, os.PathLike[str], None] = None,
        cache_dir: Union[str, os.PathLike[str], None] = None,
        size_mode: Optional[_SizeMode] = None,
        native_side: Optional[int] = None,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        class_names: Optional[Sequence[str]] = None,
        palette: Optional[Literal["voc", "cityscapes"]] = None,
        scale: Optional[float] = None,
        channel_order: Optional[Literal["rgb", "bgr"]] = None,
        input_layout: Optional[_Layout] = None,
        output: Optional[str] = None,
        output_layout: Optional[_Layout] = None,
        output_values: Optional[Literal["logits", "probabilities"]] = None,
        multilabel: Optional[float] = None,
    ) -> Segmenter: ...
    def __getnewargs_ex__(self) -> Tuple[Tuple[Union[str, bytes]], Dict[str, Any]]: ...
    @property
    def background(self) -> Optional[int]: ...
    @property
    def card(self) -> Optional[Dict[str, Any]]: ...
    @property
    def classes(self) -> List[Class]: ...
    @property
    def model(self) -> Union[str, bytes]: ...
    @property
    def model_stride(self) -> int: ...
    @property
    def options(self) -> Dict[str, Any]: ...
    @property
    def precision(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def provider_reason(self) -> str: ...
    @property
    def runtime_version(self) -> str: ...
    def cancel(self) -> None: ...
    def segment(
        self,
        frame: Any,
        format: Optional[str] = None,
        *,
        confidence: bool = False,
        confidence_u8: bool = False,
        margin: bool = False,
        scores: bool = False,
        size: Optional[Tuple[int, int]] = None,
        threshold: float = 0.0,
        classes: Optional[Iterable[Union[int, str]]] = None,
        remap: Optional[Sequence[int]] = None,
        min_region: int = 0,
        smoothing: Optional[Smoothing] = None,
    ) -> Mask: ...
    def warm_up(self, width: int, height: int) -> None: ...

@final
class StreamResult:
    @property
    def error(self) -> Optional[Error]: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def user(self) -> Any: ...

@final
class Stream:
    def __new__(
        cls,
        segmenter: Segmenter,
        callback: Optional[Callable[[StreamResult], object]] = None,
        *,
        deadline: Optional[float] = None,
        smoothing: float = 1.0,
        confidence: bool = False,
        confidence_u8: bool = False,
        margin: bool = False,
        scores: bool = False,
        size: Optional[Tuple[int, int]] = None,
        threshold: float = 0.0,
        classes: Optional[Iterable[Union[int, str]]] = None,
        remap: Optional[Sequence[int]] = None,
        min_region: int = 0,
    ) -> Stream: ...
    def _wake(self, waker: Callable[[], object]) -> bool: ...
    def __aiter__(self) -> AsyncIterator[StreamResult]: ...
    def __enter__(self) -> Stream: ...
    def __exit__(
        self,
        type: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
        /,
    ) -> None: ...
    def __iter__(self) -> Stream: ...
    def __next__(self) -> StreamResult: ...
    @property
    def counters(self) -> StreamCounters: ...
    def poll(self) -> Optional[StreamResult]: ...
    def push(
        self,
        frame: Any,
        timestamp: int = 0,
        user: Any = None,
        *,
        format: Optional[str] = None,
        copy: bool = True,
    ) -> None: ...
    def set_deadline(self, deadline: Optional[float]) -> None: ...
    def stop(self) -> None: ...
    def wait(self, timeout: Optional[float] = None) -> Optional[StreamResult]: ...

def _stop_streams() -> None: ...
def decode_image(file: Union[bytes, bytearray]) -> NDArray[numpy.uint8]: ...
def read_image(path: Union[str, os.PathLike[str]]) -> NDArray[numpy.uint8]: ...
