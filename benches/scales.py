#!/usr/bin/env python3
"""Accuracy with default options on photos smaller or larger than a model's training photos.

    benches/scales.py TRAINER MODEL DATA [SPLIT]

Writes copies of a split of DATA (Pascal VOC layout) at several scales, photos with bilinear interpolation
and masks with the nearest pixel, and measures each with `TRAINER evaluate MODEL`. Needs Pillow.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

SCALES = (0.25, 0.5, 1, 2, 3, 4)


def scaled(source, target, scale, resample):
    with Image.open(source) as image:
        size = [max(1, round(side * scale)) for side in image.size]
        image.resize(size, resample).save(target, **({"quality": 95} if target.suffix == ".jpg" else {}))


def copy(data, split, scale, target):
    ids = (data / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (target / folder).mkdir(parents=True)
    (target / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
    (target / "labelmap.txt").write_text((data / "labelmap.txt").read_text())
    for name in ids:
        scaled(data / "JPEGImages" / f"{name}.jpg", target / "JPEGImages" / f"{name}.jpg", scale, Image.BILINEAR)
        scaled(data / "SegmentationClass" / f"{name}.png", target / "SegmentationClass" / f"{name}.png", scale, Image.NEAREST)


def main():
    trainer, model, data, split = (*sys.argv[1:], "val")[:4]
    print("scale  pixel accuracy    mIoU")
    for scale in SCALES:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "data"
            copy(Path(data), split, scale, target)
            command = [trainer, "evaluate", model, "--data", target, "--split", split, "--json"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures = json.loads(output)
        print(f"{scale:5}  {figures['pixel_accuracy']:14.4f}  {figures['miou']:.4f}", flush=True)


if __name__ == "__main__":
    main()
