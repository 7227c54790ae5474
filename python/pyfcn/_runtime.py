"""Finds ONNX Runtime's shared library inside its Python package."""

import importlib.util
import os
import re
from typing import List, Optional, Tuple


def find(name: str = "onnxruntime") -> Optional[str]:
    """The path of the newest capi/libonnxruntime.so.* in the package `name`, which is not imported;
    None if there is none. The packages for GPUs and OpenVINO install into the same folder."""
    spec = importlib.util.find_spec(name)
    found: List[str] = []
    for folder in (spec and spec.submodule_search_locations) or []:
        capi = os.path.join(folder, "capi")
        if os.path.isdir(capi):
            found += [os.path.join(capi, file) for file in os.listdir(capi) if _version(file)]
    return max(found, key=lambda path: _version(os.path.basename(path)), default=None)


def _version(file: str) -> Tuple[int, ...]:
    """(1, 24, 0) for libonnxruntime.so.1.24.0; empty for other files, such as those of providers."""
    match = re.fullmatch(r"libonnxruntime\.so((?:\.\d+)+)", file)
    return tuple(int(number) for number in match[1].split(".")[1:]) if match else ()
