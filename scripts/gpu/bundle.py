#!/usr/bin/env python3
"""Puts what scripts/gpu/check.py needs into target/gpu/bundle: programs, ONNX Runtime for CUDA, networks, photos.

    scripts/gpu/bundle.py [--torch FOLDER --data FOLDER] [--python 312] [--pack ARCH]

--torch is a libtorch built for CUDA to link the trainer with (its version is not checked); --data is a data
set in the Pascal VOC layout to train on. Without both, the trainer is left out. --python is the version that
runs check.py, by default this one. --pack is for a machine without a network that accepts only small files:
it packs the bundle into parts of at most 52 MiB in target/gpu/parts, one per transfer, and keeps only the
CUDA kernels for compute capability ARCH, for example 90. There, `scripts/gpu/unpack.sh PARTS FOLDER`
restores the bundle.
"""

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches"))

from prepare import describe  # noqa: E402
from rows import MODELS  # noqa: E402

GPU = ROOT / "target" / "gpu"
BUNDLE = GPU / "bundle"
WHEEL = "onnxruntime-gpu==1.31.1"
TESTS = ("gpu", "segment", "frames", "foreign_models", "outputs", "outputs_together", "size_modes", "external_data", "stream",
         "memory")
# One transfer is limited to 64 MiB, including the repository.
PART = 52 << 20
# Without link-time optimization, which takes minutes: the suites only check results. Timings use
# target/release/libfcn.so.
QUICK = {"CARGO_TARGET_DIR": str(GPU / "build"), "CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_STRIP": "symbols",
         "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}


def run(*command, **environment):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"scripts/gpu/bundle.py: {' '.join(map(str, command))} failed")
    return done.stdout.decode()


def tests():
    text = run("cargo", "test", "--release", "--no-run", "--message-format=json", *(f"--test={name}" for name in TESTS), **QUICK)
    for line in text.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] in TESTS:
            shutil.copy(message["executable"], BUNDLE / "tests" / message["target"]["name"])


def programs():
    run("cargo", "build", "--release")
    library = BUNDLE / "lib" / "libfcn.so.0.1"
    shutil.copy(ROOT / "target/release/libfcn.so", library)
    run("strip", "--strip-unneeded", library)
    for source in ("examples/segment.c", "examples/bench.c", "tests/c/exit.c"):
        run("cc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Iinclude", source, "-o", BUNDLE / "bin" / Path(source).stem, library,
            "-pthread", "-Wl,-rpath,$ORIGIN/../lib")


def torch_sys(torch):
    """Copies the crate torch-sys with functions that this libtorch lacks replaced by throws; returns its folder."""
    metadata = json.loads(run("cargo", "metadata", "--format-version=1"))
    [crate] = [package for package in metadata["packages"] if package["name"] == "torch-sys"]
    folder = GPU / "torch-sys"
    if folder.exists():
        return folder
    shutil.copytree(Path(crate["manifest_path"]).parent, folder)
    source = folder / "libtch/torch_api_generated.cpp"
    include = torch / "include"
    command = ["g++", "-std=c++20", "-fsyntax-only", "-fmax-errors=0", f"-I{include}", f"-I{include}/torch/csrc/api/include", source]
    done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    lines = source.read_text().split("\n")
    for at in sorted({int(found) for found in re.findall(r"torch_api_generated\.cpp:(\d+):\d+: error:", done.stderr)}):
        first = max(index for index in range(at) if lines[index].strip() == "PROTECT(")
        last = min(index for index in range(at, len(lines)) if lines[index].strip() == ")")
        lines[first + 1:last] = ['throw std::runtime_error("this libtorch has no such function");'] + [""] * (last - first - 2)
    source.write_text("\n".join(lines))
    return folder


def trainer(torch, data):
    # In a copy, because the patch changes Cargo.lock.
    copy = GPU / "source"
    shutil.rmtree(copy, ignore_errors=True)
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    # libtorch's own dependencies come from the other machine.
    run("cargo", "build", "--release", "--package", "fcn-trainer", "--manifest-path", copy / "Cargo.toml",
        "--config", f"patch.crates-io.torch-sys.path='{torch_sys(torch)}'", LIBTORCH=str(torch), LIBTORCH_BYPASS_VERSION_CHECK="1",
        RUSTFLAGS="-C link-arg=-Wl,--allow-shlib-undefined", **QUICK)
    shutil.copy(GPU / "build/release/trainer", BUNDLE / "bin")
    lists = BUNDLE / "data/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for name, count in (("train", 48), ("val", 16)):
        ids = (data / f"ImageSets/Segmentation/{name}.txt").read_text().split()[:count]
        (lists / f"{name}.txt").write_text("\n".join(ids) + "\n")
        for id in ids:
            for folder in ("JPEGImages", "SegmentationClass"):
                (BUNDLE / "data" / folder).mkdir(exist_ok=True)
                for file in (data / folder).glob(f"{id}.*"):
                    shutil.copy(file, BUNDLE / "data" / folder)
    if (data / "labelmap.txt").exists():
        shutil.copy(data / "labelmap.txt", BUNDLE / "data")
    shutil.copy(ROOT / ".deps/weights/efficientnet-lite0-57934424.pth", BUNDLE / "weights.pth")


def runtime(python):
    """ONNX Runtime with its Python interface, without the TensorRT provider, which needs 2 GB more."""
    folder = GPU / f"wheel-{python}"
    if not list(folder.glob("*.whl")):
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", python, "--dest", folder,
            "--platform", "manylinux_2_28_x86_64", WHEEL)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = [name for name in files.namelist() if name.startswith("onnxruntime/") and "/transformers/" not in name
                 and "/tools/" not in name and "tensorrt" not in name]
        files.extractall(BUNDLE / "python", names)


def models():
    folder = BUNDLE / "models"
    (ROOT / "target/gpu/calibration").mkdir(exist_ok=True)
    run("cargo", "run", "--package", "fcn-trainer", "--example", "bench_models", "--", folder,
        ".deps/weights/efficientnet-lite0-57934424.pth", ".deps/photos/chelsea.png")
    shutil.rmtree(folder / "calibration", ignore_errors=True)
    (folder / "resnet18-fcn32s-frozen.onnx").unlink()
    for name in MODELS:
        card = describe(onnx.load(folder / f"{name}.onnx"))
        (folder / f"{name}.json").write_text(json.dumps(card))


def slim(path, arch):
    """Zeroes the kernels of other compute capabilities, so that they compress to nothing; CUDA selects by the headers.

    A fat binary is a header (magic, version, header's size, size) and entries (kind, header's size, size, architecture)."""
    data = bytearray(path.read_bytes())
    at = 0
    while (at := data.find(struct.pack("<I", 0xBA55ED50), at)) >= 0:
        version, header, size = struct.unpack_from("<HHQ", data, at + 4)
        entry, end = at + header, at + header + size
        if version != 1 or header != 16 or end > len(data):
            at += 4
            continue
        while entry < end:
            kind, _, header, size = struct.unpack_from("<HHIQ", data, entry)
            if kind != 2 or struct.unpack_from("<I", data, entry + 28)[0] != arch:
                data[entry + header:entry + header + size] = bytes(size)
            entry += header + size
        at = end
    path.write_bytes(data)


def coarsen(path):
    """Clears the low bits of a network's random weights, so that they compress; its speed is unchanged."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        words = {onnx.TensorProto.FLOAT: ("<u4", 0xFFFF0000), onnx.TensorProto.FLOAT16: ("<u2", 0xFFC0)}.get(tensor.data_type)
        if words and len(tensor.raw_data) > 4096:
            values = numpy.frombuffer(tensor.raw_data, words[0])
            tensor.raw_data = (values & values.dtype.type(words[1])).tobytes()
    onnx.save(model, path)


def pack(arch):
    for path in (BUNDLE / "models").glob("*.onnx"):
        coarsen(path)
    capi = BUNDLE / "python/onnxruntime/capi"
    slim(capi / "libonnxruntime_providers_cuda.so", arch)
    shutil.rmtree(GPU / "parts", ignore_errors=True)
    archive = GPU / "bundle.tar.xz"
    run("tar", "-C", BUNDLE, "-cf", archive, "-I", "xz -T2 -4", ".")
    with open(archive, "rb") as whole:
        for number in range(1, 100):
            part = whole.read(PART)
            if not part:
                break
            folder = GPU / "parts" / str(number)
            folder.mkdir(parents=True)
            (folder / "part").write_bytes(part)
            print(f"call {number}: carry target/gpu/parts/{number}, {len(part) / (1 << 20):.1f} MiB")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--torch", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--python", default=f"{sys.version_info.major}{sys.version_info.minor}")
    parser.add_argument("--pack", type=int)
    options = parser.parse_args()
    shutil.rmtree(BUNDLE, ignore_errors=True)
    (GPU / "build").mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "models", "photos", "python", "tests"):
        (BUNDLE / name).mkdir(parents=True)
    for photo in ("chelsea.png", "china.jpg"):
        shutil.copy(ROOT / ".deps/photos" / photo, BUNDLE / "photos")
    runtime(options.python)
    tests()
    programs()
    models()
    if options.torch and options.data:
        trainer(options.torch.resolve(), options.data.resolve())
    if options.pack:
        pack(options.pack)


if __name__ == "__main__":
    main()
