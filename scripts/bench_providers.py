#!/usr/bin/env python3
"""Compares the providers cpu and openvino of one ONNX Runtime, and writes a table in Markdown.

    scripts/bench_providers.py [--rounds N] [--library FOLDER] [MODEL...]

MODEL defaults to models/street.onnx, quantized and in float32. Each row is a new process
(examples/bench.c) with 2 threads, a photo of 480 x 320 and 3 s of frames. Rows take turns N times
(default 5), so that other programs on the machine slow down all of them. FOLDER (default
target/release) contains libfcn.so. Needs `make deps-openvino` and the packages of `make test`:

    .deps/python/bin/python scripts/bench_providers.py
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ONNXRUNTIME = ROOT / ".deps" / "onnxruntime-openvino" / "lib" / "libonnxruntime.so.1"
WIDTH, HEIGHT, THREADS, SECONDS = 480, 320, 2, 3
ROWS = [("cpu", "exact"), ("openvino", "exact"), ("openvino", "fast")]


def dequantized(model):
    """The model with float32 weights and activations. A Clip to the range of the integers, which is also the
    activation function (ReLU6), takes the place of each QuantizeLinear."""
    graph = model.graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    renamed, nodes = {}, []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            values, scale, *zero = (arrays[name].astype(np.float32) for name in node.input)
            zero = zero[0] if zero else np.zeros_like(scale)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            if scale.ndim:
                shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            graph.initializer.append(onnx.numpy_helper.from_array((values - zero) * scale, node.output[0]))
        elif node.op_type == "QuantizeLinear":
            scale, zero = (arrays[name] for name in node.input[1:])
            limits, bounds = np.iinfo(zero.dtype), []
            for name, limit in (("low", limits.min), ("high", limits.max)):
                bounds.append(f"{node.output[0]}.{name}")
                bound = np.float32((limit - int(zero)) * float(scale))
                graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(bound), bounds[-1]))
            source = renamed.get(node.input[0], node.input[0])
            nodes.append(onnx.helper.make_node("Clip", [source, *bounds], [node.output[0]]))
        elif node.op_type == "DequantizeLinear":
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--library", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("models", nargs="*", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        temp = Path(temp)
        models = {path.name: path for path in arguments.models}
        if not models:
            street = ROOT / "models" / "street.onnx"
            onnx.save(dequantized(onnx.load(street)), temp / "street-float32.onnx")
            models = {"street.onnx, int8": street, "street.onnx, float32": temp / "street-float32.onnx"}
        photo = Image.open(ROOT / ".deps" / "photos" / "china.jpg").convert("RGB").resize((WIDTH, HEIGHT))
        (temp / "frame.bgr").write_bytes(np.asarray(photo)[:, :, ::-1].tobytes())
        program, library = temp / "bench", arguments.library.resolve() / "libfcn.so"
        (temp / f"libfcn.so.{soname()}").symlink_to(library)
        subprocess.run(
            ["cc", "-std=c99", "-O2", f"-I{ROOT / 'include'}", ROOT / "examples" / "bench.c", "-o", program,
             temp / f"libfcn.so.{soname()}", f"-Wl,-rpath,{temp}"], check=True)
        results = {(name, row): [] for name in models for row in ROWS}
        labels = {}
        for _ in range(arguments.rounds):
            for name, row in results:
                command = [program, models[name], temp / "frame.bgr", WIDTH, HEIGHT, THREADS, SECONDS, temp / "labels", "", *row]
                output = subprocess.run(
                    [str(word) for word in command], check=True, capture_output=True, text=True,
                    env={**os.environ, "ORT_DYLIB_PATH": str(ONNXRUNTIME)})
                results[name, row].append(json.loads(output.stdout))
                labels[name, row] = (temp / "labels").read_bytes()
        print("| model | provider | frame, ms | processor time of a frame, ms | create, ms | processor time of create, ms "
              "| peak memory, MB | labels as the CPU's |")
        print("|---|---|---|---|---|---|---|---|")
        for (name, row), runs in results.items():
            def median(value):
                return statistics.median(value(run) for run in runs)
            frame = median(lambda run: statistics.median(run["frames"]))
            truth, own = labels[name, ROWS[0]], labels[name, row]
            equal = 100 * sum(a == b for a, b in zip(truth, own)) / len(own)
            print(f"| {name} | {runs[0]['provider']}, {runs[0]['precision']} | {frame:.1f} "
                  f"| {median(lambda run: run['processor']):.1f} | {median(lambda run: run['create']):.0f} "
                  f"| {median(lambda run: run['create_processor']):.0f} | {median(lambda run: run['peak']) / 1024:.0f} "
                  f"| {equal:.2f} % |")


def soname():
    """The SONAME's version."""
    version = next(line for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version"))
    return ".".join(version.split('"')[1].split(".")[:2])


if __name__ == "__main__":
    main()
