#!/usr/bin/env python3
"""Compares a call of pyfcn's segment() with the C call fcn_segment().

    make build wheel && pip install target/wheels/pyfcn-*.whl
    benches/python_call.py [--model models/street.onnx] [--size 480x320] [--threads 1] [--calls 300]

Both run in this process, in turns, on the same frame. C writes into the same mask again and again, as
its manual says; Python returns a new mask each time. The third row also copies the labels, which is
what keeping them would cost if masks were reused. The time of the calling thread on a CPU is all of
the work with --threads 1, and depends less on what else the machine does.
"""

import argparse
import ctypes
import os
import statistics
import time
from pathlib import Path

import numpy as np
import pyfcn
import pyfcn._runtime

ROOT = Path(__file__).resolve().parent.parent
BGR8 = 2
CPU = 1


class Rect(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("x", "y", "width", "height")]


class Frame(ctypes.Structure):
    """fcn_frame."""

    _fields_ = [
        ("planes", ctypes.c_void_p * 3),
        ("strides", ctypes.c_size_t * 3),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("format", ctypes.c_uint32),
        ("crop", Rect),
        ("rotation", ctypes.c_uint32),
        ("mirror", ctypes.c_uint32),
        ("matrix", ctypes.c_uint32),
        ("range", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    ]


class C:
    """libfcn through ctypes."""

    def __init__(self, library, model, threads, image):
        self.lib = ctypes.CDLL(str(library))
        for name in ("fcn_options_new", "fcn_mask_new", "fcn_mask_labels", "fcn_last_error"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        options = ctypes.c_void_p(self.lib.fcn_options_new())
        self.check(self.lib.fcn_options_set_provider(options, CPU))
        self.check(self.lib.fcn_options_set_threads(options, threads))
        self.check(self.lib.fcn_options_set_runtime_library(options, pyfcn._runtime.find().encode()))
        segmenter = ctypes.c_void_p()
        self.check(self.lib.fcn_create(str(model).encode(), options, ctypes.byref(segmenter)))
        frame = Frame(width=image.shape[1], height=image.shape[0], format=BGR8)
        frame.planes[0] = image.ctypes.data
        self.image, self.frame = image, frame
        self.mask = ctypes.c_void_p(self.lib.fcn_mask_new())
        self.arguments = (segmenter, ctypes.byref(frame), self.mask)

    def check(self, status):
        if status != 0:
            raise RuntimeError(ctypes.string_at(self.lib.fcn_last_error()).decode())

    def segment(self):
        self.check(self.lib.fcn_segment(*self.arguments))

    def labels(self):
        address = self.lib.fcn_mask_labels(self.mask)
        return np.frombuffer(ctypes.string_at(address, self.image.shape[0] * self.image.shape[1]), np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, default=ROOT / "target" / "release" / "libfcn.so")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "street.onnx")
    parser.add_argument("--size", default="480x320")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)

    in_c = C(arguments.library, arguments.model, arguments.threads, image)
    segmenter = pyfcn.Segmenter(arguments.model, provider="cpu", threads=arguments.threads)
    kept = [None]

    def in_python():
        # The mask before is freed only now, as in a loop that assigns to one name.
        kept[0] = segmenter.segment(image, "BGR")
        kept[0].labels

    def with_copy():
        kept[0] = segmenter.segment(image, "BGR").labels.copy()

    rows = {"C": in_c.segment, "Python": in_python, "Python, labels copied": with_copy}
    times = {name: [] for name in rows}
    cpu_times = {name: [] for name in rows}
    for number in range(arguments.calls + 10):
        for name, call in rows.items():
            start, cpu_start = time.perf_counter(), time.thread_time()
            call()
            if number >= 10:
                times[name].append(time.perf_counter() - start)
                cpu_times[name].append(time.thread_time() - cpu_start)
    if not np.array_equal(in_c.labels(), segmenter.segment(image, "BGR").labels.ravel()):
        raise SystemExit("the labels differ")

    print(f"{arguments.model.name}, {width} x {height}, {arguments.threads} threads, ONNX Runtime "
          f"{segmenter.runtime_version}, {os.cpu_count()} CPUs, medians of {arguments.calls} calls in turns")
    for what, values in (("time", times), ("time on a CPU", cpu_times)):
        medians = {name: statistics.median(values[name]) for name in rows}
        for name, median in medians.items():
            print(f"{what:15}{name:24}{median * 1e3:9.3f} ms{median / medians['C']:8.3f} x")


if __name__ == "__main__":
    main()
