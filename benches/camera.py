"""Camera frame to network input, libfcn against OpenCV: 1920 x 1080 NV12 to a normalised tensor of
480 x 320, 2 threads each.

    python3 benches/camera.py [target/release/libfcn.so]      needs numpy and opencv-python-headless

OpenCV converts (cvtColor), resizes (INTER_LINEAR) and normalises (blobFromImage with mean, scale and
swapped channels). libfcn's time is fcn_timings.preprocess of whole frames. The two take turns, so that
each finds the caches as a network leaves them; on a busy machine, the fastest run is the most meaningful.
"""

import ctypes
import pathlib
import statistics
import sys
import time

import cv2
import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1920, 1080
SIZE = (480, 320)
ROUNDS = 300


class Frame(ctypes.Structure):
    _fields_ = [("planes", ctypes.c_void_p * 3), ("strides", ctypes.c_size_t * 3), ("numbers", ctypes.c_uint32 * 15)]


def segmenter(fcn):
    """Returns a function that labels a frame and returns its preprocessing time in milliseconds."""
    for name in ("fcn_options_new", "fcn_mask_new"):
        getattr(fcn, name).restype = ctypes.c_void_p
    fcn.fcn_frame_contiguous.restype = Frame
    fcn.fcn_last_error.restype = ctypes.c_char_p
    options, mask = ctypes.c_void_p(fcn.fcn_options_new()), ctypes.c_void_p(fcn.fcn_mask_new())
    handle, timings = ctypes.c_void_p(), (ctypes.c_uint32 * 4)()

    def check(status):
        assert status == 0, fcn.fcn_last_error().decode()

    check(fcn.fcn_options_set_threads(options, 2))
    check(fcn.fcn_options_set_resize(options, *SIZE))
    check(fcn.fcn_create(str(ROOT / "models/animals.onnx").encode(), options, ctypes.byref(handle)))

    def run(nv12):
        number = ctypes.c_uint32()
        check(fcn.fcn_format_from_name(b"NV12", ctypes.byref(number)))
        pixels = nv12.ctypes.data_as(ctypes.c_void_p)
        frame = fcn.fcn_frame_contiguous(number, pixels, WIDTH, HEIGHT, ctypes.c_size_t(WIDTH))
        check(fcn.fcn_segment(handle, ctypes.byref(frame), mask))
        check(fcn.fcn_mask_timings(mask, timings))
        return timings[0] / 1000

    return run


def opencv(nv12):
    start = time.perf_counter()
    bgr = cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12)
    small = cv2.resize(bgr, SIZE, interpolation=cv2.INTER_LINEAR)
    cv2.dnn.blobFromImage(small, 1 / (255 * 0.226), SIZE, (123.7, 116.3, 103.5), swapRB=True)
    return (time.perf_counter() - start) * 1000


def main():
    library = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/release/libfcn.so")
    cv2.setNumThreads(2)
    nv12 = numpy.random.default_rng(0).integers(0, 256, (HEIGHT * 3 // 2, WIDTH), dtype=numpy.uint8)
    rows = {"libfcn": segmenter(ctypes.CDLL(library)), f"OpenCV {cv2.__version__}": opencv}
    times = {name: [] for name in rows}
    for round_ in range(ROUNDS):
        for name, run in rows.items():
            took = run(nv12)
            if round_ >= ROUNDS // 10:
                times[name].append(took)
    for name, values in times.items():
        print(f"{name}: fastest {min(values):.2f} ms, median {statistics.median(values):.2f} ms")
    ours, theirs = times.values()
    print(f"ratio: fastest {min(theirs) / min(ours):.1f}, median {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
