#!/usr/bin/env python3
"""Labels photos with pyfcn on Ray Data and writes a Parquet data set; README.md describes both.

    examples/ray/label.py photos/ --model models/animals.onnx --out labelled --workers 2
"""

import argparse
import glob
import hashlib
import json
import math
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyfcn
import ray
from ray.data.checkpoint import CheckpointConfig

SCHEMA = pa.schema([
    ("path", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("mask", pa.binary()),
    ("classes", pa.list_(pa.struct([("name", pa.string()), ("pixels", pa.int64())]))),
    ("error", pa.string()),
])
#: What a photo itself can cause; other errors end the job.
BROKEN = (pyfcn.FileError, pyfcn.InvalidArgumentError, pyfcn.OutOfMemoryError, pyfcn.UnsupportedFormatError)
ENDINGS = ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"]
#: CPUs that Ray sets aside for a task that reads or writes.
READING = 0.5


def encode_rle(mask, classes):
    """The mask as JSON, as `fcn run --write rle` writes it: run lengths per class, as in COCO."""
    column_order = mask.labels.ravel(order="F")
    encoded = []
    for index in np.flatnonzero(mask.pixels).tolist():
        inside = np.concatenate(([False], column_order == index))
        starts = np.flatnonzero(inside[1:] != inside[:-1])
        counts = np.diff(starts, prepend=0, append=column_order.size)
        encoded.append({
            "area": int(mask.pixels[index]),
            "category": classes[index].name,
            "category_id": index,
            "segmentation": {"counts": counts.tolist(), "size": [mask.height, mask.width]},
        })
    whole = {"classes": encoded, "height": mask.height, "width": mask.width}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


class Labeller:
    """One per Ray actor: a segmenter, which labels one photo after another."""

    def __init__(self, model, mask_format, **options):
        self.segmenter = pyfcn.Segmenter(model, **options)
        self.classes = self.segmenter.classes
        self.mask_format = mask_format

    def __call__(self, batch):
        rows = [self.label(*row) for row in zip(batch["path"].to_pylist(), batch["bytes"].to_pylist())]
        return pa.Table.from_pylist(rows, SCHEMA)

    def label(self, path, photo):
        try:
            image = pyfcn.decode_image(photo)
        except BROKEN as error:
            return {"path": path, "error": str(error)}
        try:
            mask = self.segmenter.segment(image)
        except pyfcn.InvalidArgumentError as error:
            return {"path": path, "error": str(error)}
        pixels = [
            {"name": self.classes[index].name, "pixels": int(mask.pixels[index])}
            for index in np.flatnonzero(mask.pixels)
        ]
        return {"path": path, "width": mask.width, "height": mask.height, "mask": self.encode(mask), "classes": pixels}

    def encode(self, mask):
        if self.mask_format == "png":
            return mask.encode_png()
        return encode_rle(mask, self.classes) if self.mask_format == "rle" else None


def read(source):
    """The photos as a data set with the columns `path` and `bytes`."""
    if source.endswith(".parquet"):
        return ray.data.read_parquet(source, columns=["path", "bytes"], num_cpus=READING)
    if "://" in source:
        return ray.data.read_binary_files(source, include_paths=True, file_extensions=ENDINGS, num_cpus=READING)
    # Of folders, Ray would leave out names that begin with _ or contain a question mark.
    return ray.data.read_binary_files(photos(source), include_paths=True, num_cpus=READING)


def photos(source):
    """The photos of a folder on this machine, without subfolders and hidden files, as `fcn run` takes them, or
    the files that match a pattern."""
    if os.path.isdir(source):
        endings = tuple("." + ending for ending in ENDINGS)
        found = glob.glob(os.path.join(glob.escape(source), "*"))
        found = [path for path in found if path.lower().endswith(endings)]
    else:
        found = [source] if os.path.exists(source) else glob.glob(source)
    found = [os.path.abspath(path) for path in sorted(found) if os.path.isfile(path)]
    if not found:
        raise SystemExit(f"{source} has no photos")
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise SystemExit(f"{path!a}: rename it, because Parquet stores names in UTF-8") from None
    return found


def claim(out, record):
    """Keeps the masks of another model or format out of the data set."""
    filesystem, folder = pyarrow.fs.FileSystem.from_uri(out)
    filesystem.create_dir(folder, recursive=True)
    text = json.dumps(record, sort_keys=True).encode()
    path = f"{folder}/job.json"
    if filesystem.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
        with filesystem.open_output_stream(path) as file:
            file.write(text)
    with filesystem.open_input_stream(path) as file:
        if file.read() != text:
            raise SystemExit(f"{out} has masks of another model or other options; choose another --out")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="a folder, a pattern, a URI, or Parquet files (*.parquet) with path and bytes")
    parser.add_argument("--model", required=True, help="an ONNX file on this machine; Ray sends it to the workers")
    parser.add_argument("--out", required=True, help="a folder or a URI; the same one goes on with what is missing")
    parser.add_argument("--format", choices=["png", "rle", "none"], default="png", help="what the column mask has")
    parser.add_argument("--workers", type=int, default=2, help="actors; each has a segmenter")
    parser.add_argument("--cpus-per-worker", type=float, default=1, help="CPUs that Ray sets aside for a worker")
    parser.add_argument("--gpus-per-worker", type=float, default=0, help="0.5: two workers share a GPU")
    parser.add_argument("--threads", type=int, default=1, help="threads of a worker's network")
    parser.add_argument("--batch", type=int, default=64, help="photos per call of a worker")
    parser.add_argument("--address", help="the Ray cluster; without it and RAY_ADDRESS, Ray starts on this machine")
    args = parser.parse_args(arguments)

    try:
        model = pathlib.Path(args.model).read_bytes()
    except OSError as error:
        raise SystemExit(f"the model cannot be read: {error}") from None
    provider = "cuda" if args.gpus_per_worker else "cpu"
    out = args.out if "://" in args.out else os.path.abspath(args.out)
    claim(out, {"model": hashlib.sha256(model).hexdigest(), "format": args.format, "provider": provider})

    if args.address or "RAY_ADDRESS" in os.environ:
        ray.init(address=args.address)
    elif not ray.is_initialized():
        # Ray's CPUs are tickets. Reading and writing need one beside those of the workers, and the
        # filter that skips what is done needs another; without them, the job would wait forever.
        tickets = math.ceil(args.workers * args.cpus_per_worker) + 2
        ray.init(num_cpus=max(tickets, os.cpu_count()), include_dashboard=False)

    # Ray notes the paths of each file before writing it, and confirms them afterwards. The next
    # start deletes what was not confirmed and leaves out the photos that were.
    ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
        "path", f"{out}/checkpoint", delete_checkpoint_on_success=False
    )
    labelled = read(args.input).map_batches(
        Labeller,
        fn_constructor_args=(model, args.format),
        fn_constructor_kwargs={"threads": args.threads, "provider": provider},
        batch_format="pyarrow",
        batch_size=args.batch,
        compute=ray.data.ActorPoolStrategy(size=args.workers),
        num_cpus=args.cpus_per_worker,
        num_gpus=args.gpus_per_worker,
    )
    labelled.write_parquet(f"{out}/data", ray_remote_args={"num_cpus": READING})

    filesystem, folder = pyarrow.fs.FileSystem.from_uri(f"{out}/data")
    if filesystem.get_file_info(folder).type == pyarrow.fs.FileType.NotFound:
        raise SystemExit("there are no photos")
    written = pyarrow.dataset.dataset(folder, SCHEMA, filesystem=filesystem)
    failed = written.count_rows(filter=pyarrow.dataset.field("error").is_valid())
    print(f"{written.count_rows()} photos in {out}/data, {failed} of them with an error")


if __name__ == "__main__":
    main()
