#!/usr/bin/env python3
"""Runs the checks that need a GPU. `make gpu-check` prepares their input and calls it.

    scripts/gpu/check.py BUNDLE OUT [STEP...]

BUNDLE is the folder that scripts/gpu/bundle.py made. Each step runs in its own process with its own time
limit; its output goes to OUT/gpu.log, its figures to OUT/gpu.json. All steps run unless some are named.
Without a GPU each step says so. This Python needs numpy, pillow and onnx; with torch, PyTorch is measured
as well. CUDA 13 and cuDNN 9 are the system's, or this Python's packages nvidia-*.
"""

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches"))
MODELS = ("efficientnet_lite0-fcn8s", "resnet18-fcn32s")
SIZES = ((320, 480), (1088, 1920))
SUITES = ("segment", "frames", "foreign_models", "outputs", "outputs_together", "size_modes", "external_data", "stream",
          "memory")


class Check:
    def __init__(self, bundle, out):
        self.bundle, self.out = bundle, out
        self.steps = []
        self.results = []
        self.log = open(out / "gpu.log", "w")
        runtime = bundle / "python" / "onnxruntime" / "capi"
        [library] = runtime.glob("libonnxruntime.so.1*")
        site = [Path(path) / "nvidia" for path in sys.path if (Path(path) / "nvidia").is_dir()]
        folders = [bundle / "lib", *sorted({path.parent for top in site for path in top.glob("*/lib/*.so*")})]
        folders += [Path(path) / "torch" / "lib" for path in sys.path if (Path(path) / "torch" / "lib").is_dir()]
        inherited = os.environ.get("LD_LIBRARY_PATH")
        self.environment = {
            **os.environ,
            "CARGO_MANIFEST_DIR": str(ROOT),
            "ORT_DYLIB_PATH": str(library),
            "LD_LIBRARY_PATH": ":".join([*map(str, folders), *([inherited] if inherited else [])]),
            "PYTHONPATH": str(bundle / "python"),
            "PYTHONUNBUFFERED": "1",
        }

    def step(self, name, limit, command, parse=None, **environment):
        """Adds a step: a command, its limit in seconds, and a function that turns its output into figures."""
        self.steps.append((name, limit, [str(word) for word in command], parse, environment))

    def run(self, wanted):
        unknown = [name for name in wanted if name not in [step[0] for step in self.steps]]
        if unknown:
            sys.exit(f"scripts/gpu/check.py: there is no step {unknown[0]}; there are {' '.join(s[0] for s in self.steps)}")
        for name, limit, command, parse, environment in self.steps:
            if wanted and name not in wanted:
                continue
            start = time.monotonic()
            try:
                done = subprocess.run(command, env={**self.environment, **environment}, cwd=ROOT, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit)
                code, text = done.returncode, done.stdout
            except subprocess.TimeoutExpired as over:
                code, text = f"stopped after {limit} s", (over.stdout or b"").decode(errors="replace")
            except OSError as error:
                code, text = str(error), ""
            seconds = round(time.monotonic() - start, 1)
            figures = None
            if parse and code == 0:
                try:
                    figures = parse(text)
                except Exception as error:  # What a step printed is no reason to lose the others.
                    code = f"no figures: {error}"
            self.results.append({"step": name, "result": code, "seconds": seconds, "figures": figures})
            self.log.write(f"=== {name}: {code} after {seconds} s\n{text[-6000:]}\n")
            self.log.flush()
            (self.out / "gpu.json").write_text(json.dumps(self.results, indent=1))
            print(f"{name:32} {code!s:6} {seconds:6.1f} s  {json.dumps(figures) if figures else ''}", flush=True)
        return all(result["result"] == 0 for result in self.results)


def suite(text):
    """A test program's figures: passed and skipped tests, and the lines that it marks as figures."""
    lines = text.splitlines()
    told = [line.removeprefix("figure: ") for line in lines if line.startswith("figure: ")]
    [summary] = [line.removeprefix("test result: ") for line in lines if line.startswith("test result: ")]
    skipped = sum(line.startswith("skipped: ") for line in lines)
    return {"result": ",".join(summary.split(";")[:2]), "skipped": skipped, "told": told}


def times(text):
    """Medians of a benchmark's JSON."""
    found = json.loads(text.strip().splitlines()[-1])
    result = {"ms": round(statistics.median(found["frames"]), 3), "frames": len(found["frames"]),
              "create_ms": round(found["create"]), "first_ms": round(found["first"], 1)}
    if "steps" in found:
        result["steps_us"] = [round(statistics.median(step)) for step in zip(*found["steps"])]
    return result


def last_lines(count):
    return lambda text: text.strip().splitlines()[-count:]


def has_gpu():
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def benches(check, provider):
    from prepare import frame

    bundle = check.bundle
    for height, width in SIZES:
        path = check.out / f"{height}x{width}.bgr"
        path.write_bytes(frame(bundle / "photos" / "chelsea.png", height, width).tobytes())
        for model in MODELS:
            for suffix in ("", "-fp16", "-int8"):
                file = bundle / "models" / f"{model}{suffix}.onnx"
                name = f"{model}{suffix} {height}x{width}"
                check.step(f"libfcn {name}", 20, [bundle / "bin/bench", file, path, width, height, 2, 1.5,
                                                  check.out / "labels", "", provider], times)
                card = json.loads((bundle / "models" / f"{model}.json").read_text())
                job = {**card, "model": str(file), "frame": str(path), "height": height, "width": width, "threads": 2,
                       "seconds": 1.5, "labels": str(check.out / "labels"), "device": provider}
                for row in ("ort", "ort-device", "pytorch"):
                    if row == "pytorch" and suffix == "-int8":
                        continue
                    if row == "pytorch":
                        job = {**job, "model": str(bundle / "models" / f"{model}.onnx"), "half": suffix == "-fp16"}
                    check.step(f"{row} {name}", 25, [sys.executable, ROOT / "benches/peers.py", row, json.dumps(job)], times)


def main():
    bundle, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    # Where the suites look for photos.
    photos = ROOT / ".deps" / "photos"
    if not photos.exists():
        photos.parent.mkdir(exist_ok=True)
        photos.symlink_to(bundle / "photos")
    check = Check(bundle, out)
    gpu = has_gpu()
    provider = "cuda" if gpu else "cpu"
    print("GPU found" if gpu else "no GPU: every step runs on the CPU, to try the steps themselves", flush=True)
    describe = ("nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader" if gpu else "echo no GPU")
    check.step("machine", 20, ["sh", "-c", f"{describe}; nproc; grep -m1 'model name' /proc/cpuinfo"], last_lines(3))
    check.step("demo", 40, [bundle / "bin/segment", ROOT / "models/street.onnx", bundle / "photos/chelsea.png", out / "overlay.png",
                            200], last_lines(4))
    for how in ("free", "leak", "stream", "busy", "atexit"):
        check.step(f"exit {how}", 20, [bundle / "bin/exit", ROOT / "models/street.onnx", how], last_lines(1))
    for name in ("gpu", *SUITES):
        # The suites compare with more than the 10 bits of TF32, the default in cuDNN and cuBLAS.
        exact = {} if name == "gpu" else {"NVIDIA_TF32_OVERRIDE": "0"}
        check.step(f"test {name}", 90, [bundle / "tests" / name, "--nocapture"], suite, FCN_TEST_PROVIDER=provider, **exact)
    if (bundle / "bin/trainer").exists():
        trainer(check, gpu)
    benches(check, provider)
    sys.exit(0 if check.run(sys.argv[3:]) else 1)


def trainer(check, gpu):
    bundle, out = check.bundle, check.out
    program, data = bundle / "bin/trainer", bundle / "data"
    train = [program, "train", "--data", data, "--weights", bundle / "weights.pth"]
    device = "cuda" if gpu else "cpu"
    runs = {"float32": (device, []), "float32 batch 32": (device, ["--batch", 32])}
    if gpu:
        runs |= {"autocast": (device, ["--autocast"]), "cpu": ("cpu", [])}
    for name, (where, more) in runs.items():
        run, epochs = out / f"run-{name.replace(' ', '-')}", 8 if where == "cuda" else 1
        shutil.rmtree(run, ignore_errors=True)
        check.step(f"trainer {name}", 90, [*train, "--device", where, "--epochs", epochs, "--val-every", epochs, "--workers",
                                           max(2, (os.cpu_count() or 2) - 2), "--out", run, *more], last_lines(3))
    check.step("trainer evaluate", 60, [program, "evaluate", out / "run-float32", "--data", data, "--device", device], last_lines(3))


if __name__ == "__main__":
    main()
