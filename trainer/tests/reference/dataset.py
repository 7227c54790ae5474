"""Makes dataset.json, COCO masks and what pycocotools reads in them, for the tests of `trainer dataset import coco`.

Run in the project's folder: python trainer/tests/reference/dataset.py
Made with pycocotools 2.0.11 and numpy.
"""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
from pycocotools import mask

random = np.random.default_rng(5)


def text(pixels):
    """Row by row, a digit a pixel."""
    return "".join(map(str, pixels.flatten().tolist()))


def plain(pixels):
    """Lengths of runs down the columns, outside first."""
    column = pixels.flatten(order="F").tolist()
    lengths = [len(list(run)) for _, run in groupby(column)]
    return lengths if column[0] == 0 else [0, *lengths]


def runs():
    """Noise, blobs, nothing, everything, single pixels."""
    blobs = np.zeros((70, 150), np.uint8)
    blobs[5:60, 10:140] = 1
    blobs[20:30, 50:90] = 0
    blobs[69, 149] = 1
    corner = np.zeros((9, 4), np.uint8)
    corner[0, 0] = 1
    pictures = [
        random.integers(0, 2, (13, 17), dtype=np.uint8),
        (random.random((40, 31)) < 0.03).astype(np.uint8),
        blobs, corner, np.zeros((5, 6), np.uint8), np.ones((5, 6), np.uint8),
    ]
    cases = []
    for pixels in pictures:
        encoded = mask.encode(np.asfortranarray(pixels))
        assert (mask.decode(encoded) == pixels).all()
        assert (mask.decode(mask.frPyObjects({"size": list(pixels.shape), "counts": plain(pixels)}, *pixels.shape)) == pixels).all()
        cases.append({
            "size": encoded["size"],
            "compressed": encoded["counts"].decode(),
            "plain": plain(pixels),
            "pixels": text(pixels),
        })
    return cases


def polygons():
    """Polygons on 60 x 80 pixels, and the pixels that pycocotools fills."""
    cases = []
    for corners in [3, 4, 5, 7, 12]:
        angle = np.sort(random.random(corners)) * 2 * np.pi
        radius = random.uniform(12, 28, corners)
        points = np.stack([40 + radius * np.cos(angle), 30 + radius * np.sin(angle)], 1)
        flat = [round(value, 2) for value in points.flatten().tolist()]
        pixels = mask.decode(mask.merge(mask.frPyObjects([flat], 60, 80)))
        cases.append({"polygon": flat, "pixels": text(pixels)})
    return cases


reference = {"runs": runs(), "polygons": polygons()}
Path(__file__).with_suffix(".json").write_text(json.dumps(reference) + "\n")
