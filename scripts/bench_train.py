#!/usr/bin/env python3
"""Compares the trainer's speed and memory with PyTorch's, on the same networks, batches and crops. `make bench-train`
prepares everything it needs and calls it.

    scripts/bench_train.py [--data FOLDER] [--rounds N] [--seconds S]

Each measurement is a process of its own, and the rows of a network take turns, so that whatever else the machine does
meets all of them. Prints a table and writes it to docs/training-speed.md. --data is a folder in the Pascal VOC layout; without it
the rows of real photos are left out.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
sys.path.insert(0, str(ROOT / "scripts"))

from bench import commit, machine  # noqa: E402

NETWORKS = [("fcn32s", "resnet18"), ("fcn8s", "efficientnet_lite0")]
BATCH, HEIGHT, WIDTH, THREADS = 8, 320, 480, 2
CLASSES = 21
ROWS = {
    "trainer": "the trainer, one batch in memory: scores, loss, accuracy, gradients, the optimizer, and its checks for NaN",
    "trainer, photos": "the trainer on photos: decoded and augmented (scale, crop, share of classes, mirror, colours, blur) by "
                       "two threads beside the network's",
    "PyTorch": "PyTorch's eager mode, channels last, one batch in memory: scores, loss, gradients, the optimizer",
    "PyTorch, contiguous": "the same in PyTorch's own layout of memory",
    "PyTorch, memory kept": "PyTorch, channels last, with glibc told to keep what is freed (MALLOC_MMAP_MAX_, "
                            "MALLOC_TRIM_THRESHOLD_), as the trainer tells it by itself",
}


def measure(row, architecture, backbone, options):
    numbers = map(str, (CLASSES, BATCH, HEIGHT, WIDTH, THREADS, options.seconds))
    network = [architecture, backbone, *numbers]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    if row.startswith("trainer"):
        source = str(options.data) if row.endswith("photos") else "memory"
        command = [str(TARGET / "release" / "examples" / "bench_train"), source, *network]
    else:
        python = str(ROOT / ".deps" / "bench-torch" / "bin" / "python")
        command = [python, str(ROOT / "benches" / "train_torch.py"), *network, *(["contiguous"] if "contiguous" in row else [])]
        if row.endswith("kept"):
            environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"scripts/bench_train.py: {row} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(options, architecture, backbone):
    rows = [row for row in ROWS if options.data or not row.endswith("photos")]
    runs = {row: [] for row in rows}
    for index in range(options.rounds):
        # Each round begins with another row.
        turn = index % len(rows)
        for row in rows[turn:] + rows[:turn]:
            runs[row].append(measure(row, architecture, backbone, options))
    speed = lambda run: BATCH * len(run["steps"]) / sum(run["steps"])
    return {
        row: {"speed": statistics.median(map(speed, list_)), "peak": max(run["peak"] for run in list_) / 1024}
        for row, list_ in runs.items()}


def report(options, results):
    at = machine()
    lines = [
        "# Training speed", "",
        f"Written by `make bench-train{' DATA=...' if options.data else ''}`; change nothing here by hand.", "",
        f"{datetime.date.today().isoformat()}, commit {commit()}, {at['processor']} ({at['family']}), {at['cores']} cores; load "
        f"before the run {options.load:.2f}.", "",
        f"{BATCH} crops of {HEIGHT} x {WIDTH} pixels in a step, {CLASSES} classes, {THREADS} threads, SGD with momentum, PyTorch "
        f"{options.version} and the trainer's libtorch of the same version. Each measurement is a process of its own: three steps "
        f"to warm up, then {options.seconds} s. Rows take turns, {options.rounds} rounds; speed is the median of the rounds, memory "
        "the highest peak (VmHWM). The random numbers in memory have no void pixels.", ""]
    lines += [f"- **{row}**: {what}." for row, what in ROWS.items() if row in next(iter(results.values()))]
    for name, rows in results.items():
        best = max(rows[row]["speed"] for row in rows if row.startswith("PyTorch"))
        lines += ["", f"## {name}", "", "| | images/s | of the fastest PyTorch | peak MiB |", "|---|---|---|---|"]
        lines += [
            f"| {row} | {figures['speed']:.2f} | {figures['speed'] / best:.2f} x | {figures['peak']:.0f} |"
            for row, figures in rows.items()]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Compares training speed with PyTorch's; `make bench-train` prepares it.")
    parser.add_argument("--data", type=Path, help="a folder in the Pascal VOC layout with a split train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="time of each process")
    options = parser.parse_args()
    options.load = os.getloadavg()[0]
    python = str(ROOT / ".deps" / "bench-torch" / "bin" / "python")
    options.version = subprocess.run(
        [python, "-c", "import torch; print(torch.__version__)"], check=True, capture_output=True, text=True).stdout.strip()
    results = {f"{backbone} {architecture}": rows_of(options, architecture, backbone) for architecture, backbone in NETWORKS}
    text = report(options, results)
    print(text)
    (ROOT / "docs" / "training-speed.md").write_text(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/bench_train.py: {error}")
