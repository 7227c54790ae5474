"""What the tests share: the folder that tests/python.rs fills, and a small model."""

import json
import os
import pathlib

import numpy as np
import pyfcn

DATA = pathlib.Path(os.environ["PYFCN_TEST_DATA"])
#: 5 classes, stride 8, with a model card.
MODEL = DATA / "model.onnx"
CASES = json.loads((DATA / "cases.json").read_text())


def segmenter(**options):
    return pyfcn.Segmenter(MODEL, **{"provider": "cpu", "threads": 1, **options})


def image(*shape, seed=1, dtype=np.uint8):
    limit = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, limit, shape, dtype=dtype)
