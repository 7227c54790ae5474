#!/usr/bin/env python3
"""Counts specks in labels and contours, and measures how removing them affects accuracy.

    benches/specks.py LIBFCN MODEL DATA [SPLIT [PHOTOS]]

LIBFCN is the library, with ONNX Runtime next to it or in ORT_DYLIB_PATH. Labels the first PHOTOS (40) of a
split of DATA (Pascal VOC layout, palette PNG masks) with default options, and counts the contours of all
classes except background, and those with at most 6 corners. Needs NumPy and Pillow.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path

import numpy as np
from PIL import Image

RGB8 = 1

# min_region and min_area, grouped by min_region, which starts with 0.
SETTINGS = ((0, 0), (0, 64), (16, 0), (64, 0), (64, 64), (256, 0))


class Frame(ctypes.Structure):
    """`fcn_frame`; its layout is frozen."""

    _fields_ = [
        ("planes", c_void_p * 3), ("strides", c_size_t * 3), ("width", c_uint32), ("height", c_uint32), ("format", c_uint32),
        ("crop", c_uint32 * 4), ("rotation", c_uint32), ("mirror", c_uint32), ("matrix", c_uint32), ("range", c_uint32),
        ("reserved", c_uint32 * 4),
    ]


class Fcn:
    def __init__(self, library, model):
        self.library = ctypes.CDLL(library)
        for name, result in {
            "fcn_last_error": c_char_p, "fcn_mask_new": c_void_p, "fcn_mask_labels": POINTER(c_uint8),
            "fcn_contours_count": c_size_t, "fcn_contours_points": c_void_p,
        }.items():
            self[name].restype = result
        self.segmenter, self.mask = c_void_p(), c_void_p(self["fcn_mask_new"]())
        self.check("fcn_create", str(model).encode(), None, byref(self.segmenter))
        self.classes = self["fcn_segmenter_class_count"](self.segmenter)
        self.background = self["fcn_segmenter_background"](self.segmenter)

    def __getitem__(self, name):
        return getattr(self.library, name)

    def check(self, name, *arguments):
        if self[name](*arguments) != 0:
            raise SystemExit(self["fcn_last_error"]().decode())

    def labels(self, picture, min_region):
        height, width, _ = picture.shape
        frame = Frame(format=RGB8, width=width, height=height)
        frame.planes[0] = picture.ctypes.data
        self.check("fcn_mask_set_min_region", self.mask, c_uint32(min_region))
        self.check("fcn_segment", self.segmenter, byref(frame), self.mask)
        return np.ctypeslib.as_array(self["fcn_mask_labels"](self.mask), (height, width)).copy()

    def contours(self, min_area):
        """The number of contours, and of those with at most 6 corners."""
        counts = [0, 0]
        for label in set(range(self.classes)) - {self.background}:
            contours, corners = c_void_p(), c_size_t()
            self.check("fcn_mask_contours_filtered", self.mask, c_uint32(label), c_uint32(min_area), byref(contours))
            for index in range(self["fcn_contours_count"](contours)):
                self["fcn_contours_points"](contours, c_size_t(index), byref(corners))
                counts[0] += 1
                counts[1] += corners.value <= 6
            self["fcn_contours_free"](contours)
        return counts


def main():
    library, model, data, split, photos = (*sys.argv[1:], *("val", "40")[len(sys.argv) - 4 :])
    data, fcn = Path(data), Fcn(library, model)
    ids = (data / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()[: int(photos)]
    print(f"{len(ids)} photos\nmin_region  min_area  contours  of at most 6 corners  changed pixels  pixel accuracy  mean IoU")
    # For each setting: contours, those with few corners, changed pixels, and the confusion matrix.
    sums = {setting: [np.zeros(2, int), 0, np.zeros((fcn.classes, fcn.classes), int)] for setting in SETTINGS}
    for name in ids:
        with Image.open(data / "JPEGImages" / f"{name}.jpg") as photo:
            picture = np.ascontiguousarray(photo.convert("RGB"))
        with Image.open(data / "SegmentationClass" / f"{name}.png") as mask:
            truth = np.asarray(mask)
        for (min_region, min_area), sum_ in sums.items():
            if min_area == 0:
                labels = fcn.labels(picture, min_region)
            if (min_region, min_area) == (0, 0):
                plain = labels
            known = truth < fcn.classes
            pairs = truth[known].astype(int) * fcn.classes + labels[known]
            sum_[0] += fcn.contours(min_area)
            sum_[1] += np.count_nonzero(labels != plain)
            sum_[2] += np.bincount(pairs, minlength=fcn.classes**2).reshape(sum_[2].shape)
    for (min_region, min_area), (counts, changed, confusion) in sums.items():
        right, total = confusion.diagonal(), confusion.sum()
        union = confusion.sum(0) + confusion.sum(1) - right
        # The mean over the classes in the masks.
        shown = confusion.sum(1) > 0
        iou = (right[shown] / union[shown]).mean()
        print(
            f"{min_region:10}  {min_area:8}  {counts[0]:8}  {counts[1]:20}  {changed:14}  {right.sum() / total:14.4f}  {iou:8.4f}"
        )


if __name__ == "__main__":
    main()
