#!/usr/bin/env python3
"""Runs the benchmark: libfcn and its peers on the same networks and the same photo. `make bench` prepares
its input and calls it.

    scripts/bench.py [--peers "libfcn ort ..."] [--rounds N] [--seconds S] [--quick] [--report]

Each measurement runs in its own process. Within a setting (network, size, threads) the rows take turns,
round by round, and never run concurrently, so that other load on the machine affects all of them. Results
go to TARGET/bench/results.json after each setting; --report rewrites the report from that file without
measuring.
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
sys.path.insert(0, str(ROOT / "benches"))

import report  # noqa: E402
from rows import MANY_CLASSES, MODELS, PEERS, ROWS, SIZES, THREADS  # noqa: E402

FOLDER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "bench"
DEPS = ROOT / ".deps"
# A row this slow (milliseconds per frame at the smallest size) is skipped at the others, which would take
# hours.
SLOW = 1000


def python(part):
    return str(DEPS / part / "bin" / "python")


def prepare():
    subprocess.run(
        [python("bench"), str(ROOT / "benches" / "prepare.py"), str(FOLDER), str(DEPS / "photos" / "chelsea.png"),
         str(DEPS / "bench" / "bin" / "pnnx"), *(f"{height}x{width}" for height, width in SIZES)], check=True)


def model_file(row, model):
    return FOLDER / f"{model}{row.suffix}.onnx"


def measure(row, model, size, threads, seconds):
    height, width = size
    path, frame = model_file(row, model), FOLDER / f"{height}x{width}.bgr"
    labels = FOLDER / f"{row.name}.labels"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if row.peer == "libfcn":
        command = [str(FOLDER / "bench"), *map(str, (path, frame, width, height, threads, seconds, labels))]
        command += [str(FOLDER / "cache")] if row.cached else []
        if row.openvino:
            command += ["", "openvino", row.openvino]
            environment["ORT_DYLIB_PATH"] = str(DEPS / "onnxruntime-openvino" / "lib" / "libonnxruntime.so.1")
        environment.setdefault("ORT_DYLIB_PATH", str(DEPS / "onnxruntime" / "lib" / "libonnxruntime.so.1"))
    else:
        card = json.loads((FOLDER / f"{model}.json").read_text())
        job = {**card, "model": str(path), "frame": str(frame), "height": height, "width": width, "threads": threads,
               "seconds": seconds, "labels": str(labels)}
        part = "bench-torch" if row.peer == "pytorch" else "bench"
        command = [python(part), str(ROOT / "benches" / "peers.py"), row.runner, json.dumps(job)]
    labels.unlink(missing_ok=True)
    done = subprocess.run(command, env=environment, cwd=FOLDER, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"scripts/bench.py: {row.name} failed on {path.name}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def agreement(row, reference):
    """The share of pixels with libfcn's label; None if a row yields no labels of the frame."""
    paths = [FOLDER / f"{name}.labels" for name in (row.name, reference)]
    if not row.labels or not all(path.exists() for path in paths):
        return None
    ours, theirs = (path.read_bytes() for path in paths)
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def setting(rows, model, size, threads, options):
    """All rounds of one setting: {row name: its figures}."""
    for row in rows:
        if row.cached:
            (FOLDER / "cache").mkdir(exist_ok=True)
            measure(row, model, size, threads, 0)
    runs = {row.name: [] for row in rows}
    agreements = {}
    for index in range(options.rounds):
        # Each round starts with a different row.
        turn = index % len(rows)
        for row in rows[turn:] + rows[:turn]:
            runs[row.name].append(measure(row, model, size, threads, options.seconds))
        if index == 0:
            agreements = {row.name: agreement(row, "libfcn") for row in rows}
    return {name: {**figures(list_), "agreement": agreements[name]} for name, list_ in runs.items()}


def figures(runs):
    """Medians over all frames of all rounds; the peak is the highest."""
    frames = [time for run in runs for time in run["frames"]]
    tenths = statistics.quantiles(frames, n=10) if len(frames) > 1 else [frames[0]] * 9
    result = {
        "version": runs[0]["version"], "rounds": len(runs), "frames": len(frames), "median": statistics.median(frames),
        "low": tenths[0], "high": tenths[-1], "create": statistics.median(run["create"] for run in runs),
        "first": statistics.median(run["first"] for run in runs), "peak": max(run["peak"] for run in runs),
    }
    if "load" in runs[0]:
        result["load"] = statistics.median(run["load"] for run in runs)
    if "steps" in runs[0]:
        steps = [step for run in runs for step in run["steps"]]
        names = ("preprocess", "inference", "head")
        result["steps"] = {name: statistics.median(column) / 1000 for name, column in zip(names, zip(*steps))}
    return result


def machine():
    pairs = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    # All cores are alike: keep the last one's values.
    processor = {name.strip(): value.strip() for name, _, value in pairs if name}
    flags = processor.get("flags", "").split()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    system = os.uname()
    return {
        "processor": processor.get("model name", system.machine),
        "family": f"family {processor.get('cpu family')}, model {processor.get('model')}",
        "cores": len(os.sched_getaffinity(0)), "memory": round(memory), "system": f"{system.sysname} {system.release}",
        "has": [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16") if flag in flags]}


def commit():
    git = lambda *words: subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")


def run(options):
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): times will be too long, and ratios uncertain", flush=True)
    prepare()
    results = {
        "date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine(), "load": load,
        "command": options.command, "rounds": options.rounds, "seconds": options.seconds, "settings": []}
    sizes, counts = (SIZES[:1], (2,)) if options.quick else (SIZES, THREADS)
    slow = set()
    for model in MODELS:
        for size in sizes[:1] if model == MANY_CLASSES else sizes:
            for threads in counts:
                rows = [
                    row for row in ROWS
                    if row.peer in options.peers and model_file(row, model).exists()
                    and (size == SIZES[0] or not (row.smallest_only or (model, row.name) in slow))]
                print(f"{model}, {size[0]} x {size[1]}, {threads} threads", flush=True)
                found = setting(rows, model, size, threads, options)
                slow |= {(model, name) for name, row in found.items() if size == SIZES[0] and row["median"] > SLOW}
                for name, row in found.items():
                    print(f"    {name:16} {row['median']:9.2f} ms", flush=True)
                results["settings"].append(
                    {"model": model, "height": size[0], "width": size[1], "threads": threads, "rows": found})
                results["load_after"] = os.getloadavg()[0]
                new = FOLDER / "results.json.new"
                new.write_text(json.dumps(results, indent=1))
                new.rename(FOLDER / "results.json")


def main():
    parser = argparse.ArgumentParser(description="Runs the benchmark; `make bench` prepares it.")
    parser.add_argument("--peers", default=" ".join(PEERS), help=f"some of: {' '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, help="processes per row and setting (3; 2 with --quick)")
    parser.add_argument("--seconds", type=float, help="time for warm frames per process (2; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="320 x 480, 2 threads; the report stays in target/")
    parser.add_argument("--report", action="store_true", help="rewrite the report of the last run")
    options = parser.parse_args()
    options.peers = options.peers.split()
    options.rounds = options.rounds or (2 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 2)
    if unknown := [peer for peer in options.peers if peer not in PEERS]:
        parser.error(f"there is no peer {' '.join(unknown)}; choose from: {' '.join(PEERS)}")
    if "libfcn" not in options.peers:
        parser.error("libfcn must be among the peers: ratios are to it")
    left_out = [] if options.peers == list(PEERS) else [f'PEERS="{" ".join(options.peers)}"']
    rounds = [] if options.rounds == (2 if options.quick else 3) else [f"RUNS={options.rounds}"]
    options.command = " ".join(["make bench", *left_out, *rounds, *(["QUICK=1"] if options.quick else [])])
    if not options.report:
        run(options)
    results = json.loads((FOLDER / "results.json").read_text())
    quick = "QUICK" in results["command"]
    text, plot = (FOLDER / "BENCHMARKS.md", FOLDER / "benchmark.png") if quick else (
        ROOT / "BENCHMARKS.md", ROOT / "docs" / "benchmark.png")
    text.write_text(report.markdown(results, None if quick else "docs/benchmark.png"))
    print(report.bars_text(results))
    subprocess.run(
        [python("bench"), str(ROOT / "benches" / "plot.py"), str(FOLDER / "results.json"), str(plot)], check=True)
    print(f"written: {text} and {plot}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/bench.py: {error}")
