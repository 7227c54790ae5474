#!/usr/bin/env python3
"""Measures the sum of a network's gradients over ranks on this machine, for docs/scaling.md. Needs
`cargo build --release --package fcn-trainer --example bench_train`.

    scripts/bench_sums.py
"""

import json
import os
import statistics
import subprocess
import sys

from bench_train import CLASSES, NETWORKS, TARGET, free_port

SECONDS = 3


def measure(architecture, backbone, ranks):
    """Median seconds of a sum over this many processes of one thread."""
    numbers = map(str, (CLASSES, 8, 32, 64, 1, SECONDS))
    command = [str(TARGET / "release" / "examples" / "bench_train"), "sums", architecture, backbone, *numbers]
    launch = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            command, env=os.environ | launch | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(ranks)]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode != 0 for process in started):
        sys.exit("scripts/bench_sums.py: a rank failed")
    return statistics.median(json.loads(outputs[0])["steps"])


for architecture, backbone in NETWORKS:
    for ranks in (2, 4, 8):
        print(f"{backbone} {architecture}, {ranks} ranks: {1000 * measure(architecture, backbone, ranks):.2f} ms", flush=True)
