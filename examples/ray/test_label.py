#!/usr/bin/env python3
"""Tests of label.py on a Ray of this machine, which takes a minute.

    FCN_MODEL=models/animals.onnx FCN_COMMAND=target/release/fcn python -m unittest discover examples/ray

FCN_MODEL is the model. With FCN_COMMAND, masks are compared with those of `fcn run`, too, which must
load the same ONNX Runtime: set ORT_DYLIB_PATH.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy as np
import PIL.Image
import pyarrow.parquet
import pyfcn
import ray

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import label

MODEL = os.environ.get("FCN_MODEL", str(HERE.parent.parent / "models" / "animals.onnx"))
COMMAND = os.environ.get("FCN_COMMAND")
#: Whole photos that `photos` makes.
WHOLE = 40


def photos(folder):
    """Makes photos, and three files that are none."""
    random = np.random.default_rng(1)
    for index in range(WHOLE - 3):
        # Squares of colour: noise alone would be of one class everywhere.
        small = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        ending = "jpg" if index % 2 else "png"
        PIL.Image.fromarray(small).resize((120 + index, 90), PIL.Image.NEAREST).save(folder / f"{index:03}.{ending}")
    image = PIL.Image.open(folder / "000.png")
    (folder / "001.jpg").rename(folder / "_DSC0001.JPG")
    (folder / "002.png").rename(folder / "what?.png")
    image.convert("L").save(folder / "grey.png")
    exif = image.getexif()
    exif[0x0112] = 6  # The camera was turned by 90 degrees.
    image.save(folder / "turned.png", exif=exif)
    image.save(folder / "photo.jpg")
    whole = (folder / "photo.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("This is not a photo.")
    (folder / "empty.png").write_bytes(b"")


def rows(out):
    """The data set as a list, one dictionary per photo, ordered by file name."""
    found = pyarrow.parquet.read_table(out / "data").to_pylist()
    return sorted(found, key=lambda row: row["path"])


def name(row):
    return pathlib.Path(row["path"]).name


class Dying(label.Labeller):
    """Labels photos, and kills its process in the middle of a batch, once."""

    def label(self, path, photo):
        marker = pathlib.Path(path).parent / "killed"
        if path.endswith("020.png") and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().label(path, photo)


class Noting(label.Labeller):
    """Notes which photos are labelled."""

    def label(self, path, photo):
        (pathlib.Path(path).parent / "labelled").mkdir(exist_ok=True)
        (pathlib.Path(path).parent / "labelled" / pathlib.Path(path).name).write_text("")
        return super().label(path, photo)


class Labels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The workers know neither module.
        for module in (label, sys.modules[__name__]):
            ray.cloudpickle.register_pickle_by_value(module)
        # Ray leaves logs behind.
        folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        cls.addClassCleanup(folder.cleanup)
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder.name)

    @classmethod
    def tearDownClass(cls):
        ray.shutdown()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.photos = self.folder / "photos"
        self.photos.mkdir()
        photos(self.photos)

    def run_job(self, labeller=label.Labeller, mask_format="png"):
        out = self.folder / mask_format
        with mock.patch.object(label, "Labeller", labeller):
            label.main([str(self.photos), "--model", MODEL, "--out", str(out), "--batch", "8",
                        "--format", mask_format])
        return out

    def expected(self, path):
        """The mask of pyfcn in this process, and the bytes of its PNG file."""
        mask = self.segmenter.segment(pyfcn.read_image(path))
        mask.write_png(self.folder / "expected.png")
        return mask, (self.folder / "expected.png").read_bytes()

    def test_a_killed_worker_loses_and_doubles_nothing_and_a_restart_does_what_is_missing(self):
        out = self.run_job(Dying)
        self.assertTrue((self.photos / "killed").exists())
        first = rows(out)
        files = sorted(path.name for path in self.photos.iterdir() if path.suffix.lower() in (".png", ".jpg"))
        self.assertEqual([name(row) for row in first], files)

        self.segmenter = pyfcn.Segmenter(MODEL, provider="cpu", threads=1)
        classes = self.segmenter.classes
        broken = {name(row): row["error"] for row in first if row["error"] is not None}
        self.assertEqual(sorted(broken), ["empty.png", "text.jpg", "truncated.jpg"])
        self.assertIn("cut off", broken["truncated.jpg"])
        self.assertIn("neither a JPEG nor a PNG file", broken["text.jpg"])
        whole = [row for row in first if row["error"] is None]
        self.assertEqual(len(whole), WHOLE)
        for row in whole:
            mask, png = self.expected(self.photos / name(row))
            self.assertEqual(row["mask"], png, row["path"])
            self.assertEqual((row["width"], row["height"]), (mask.width, mask.height))
            pixels = {classes[index].name: count for index, count in enumerate(mask.pixels) if count}
            self.assertEqual({found["name"]: found["pixels"] for found in row["classes"]}, pixels)
        turned = next(row for row in whole if name(row) == "turned.png")
        self.assertEqual((turned["width"], turned["height"]), (90, 120))

        shutil.copy(self.photos / "000.png", self.photos / "new.png")
        self.run_job(Noting)
        self.assertEqual([path.name for path in (self.photos / "labelled").iterdir()], ["new.png"])
        both = rows(out)
        self.assertEqual(len(both), len(first) + 1)
        self.assertEqual([row for row in both if name(row) != "new.png"], first)

        # Mistakes are named.
        (self.photos / "none").mkdir()
        for wrong in ["none", "*.jpeg", "missing"]:
            with self.assertRaisesRegex(SystemExit, "has no photos"):
                label.photos(str(self.photos / wrong))
        for odd in ["line\nbreak.png", "\u200b.png", "a[1].png"]:
            (self.photos / odd).write_bytes(b"")
            self.assertIn(str(self.photos / odd), label.photos(str(self.photos)))
            self.assertEqual(label.photos(str(self.photos / odd)), [str(self.photos / odd)])
        pathlib.Path(os.fsdecode(os.fsencode(self.photos) + b"/\xe4.png")).write_bytes(b"")
        with self.assertRaisesRegex(SystemExit, "rename it"):
            label.photos(str(self.photos))
        # Other options for the same data set are refused.
        with self.assertRaisesRegex(SystemExit, "other options"):
            label.claim(str(out), {"format": "rle"})

    @unittest.skipUnless(COMMAND, "FCN_COMMAND is not set")
    def test_masks_are_those_of_fcn_run(self):
        for broken in ("empty.png", "text.jpg", "truncated.jpg"):
            (self.photos / broken).unlink()
        made = self.folder / "made"
        subprocess.run([COMMAND, "run", MODEL, str(self.photos), "--out", str(made), "--write", "labels,rle",
                        "--provider", "cpu", "--threads", "1"], check=True)
        for mask_format, ending in [("png", ".png"), ("rle", ".json")]:
            found = rows(self.run_job(mask_format=mask_format))
            self.assertEqual(len(found), WHOLE)
            for row in found:
                file = (made / name(row)).with_suffix(ending)
                self.assertEqual(row["mask"], file.read_bytes(), row["path"])


if __name__ == "__main__":
    unittest.main()
