"""The benchmark's networks, sizes and rows."""

from dataclasses import dataclass

MODELS = {
    "resnet18-fcn32s": "ResNet-18 FCN-32s",
    "efficientnet_lite0-fcn8s": "EfficientNet-Lite0 FCN-8s",
    "efficientnet_lite0-fcn8s-150": "EfficientNet-Lite0 FCN-8s, 150 classes",
}
# The network whose last upsampling is a bilinear Resize, as most exporters write it. It is measured
# at the smallest size only.
MANY_CLASSES = "efficientnet_lite0-fcn8s-150"
SIZES = [(320, 480), (720, 1280), (1088, 1920)]
THREADS = (1, 2)
PEERS = ("libfcn", "ort", "ort-numpy", "openvino", "ncnn", "opencv", "pytorch")


@dataclass(frozen=True)
class Row:
    name: str
    peer: str
    what: str
    # The class in peers.py; none for libfcn.
    runner: str = ""
    # The model's file is NAME + suffix + ".onnx"; a row without its file is skipped.
    suffix: str = ""
    # Whether its labels must equal libfcn's.
    labels: bool = True
    smallest_only: bool = False
    # Whether it uses a cache of optimized networks.
    cached: bool = False
    # For libfcn: "exact" or "fast" on OpenVINO; None is the CPU provider.
    openvino: str | None = None


ROWS = [
    Row("libfcn", "libfcn", "frame in, labels out, through the C interface (`examples/bench.c`)"),
    Row("libfcn-int8", "libfcn", "the same on the int8 file of the network", suffix="-int8", labels=False),
    Row("libfcn-cached", "libfcn", "libfcn with `fcn_options_set_cache_dir`, warm cache", smallest_only=True,
        cached=True),
    Row("libfcn-frozen", "libfcn", "libfcn on the network with a frozen bilinear upsampling",
        suffix="-frozen", labels=False, smallest_only=True),
    Row("libfcn-openvino", "libfcn", "libfcn on its provider OpenVINO", openvino="exact"),
    Row("libfcn-openvino-fast", "libfcn", "the same in the precision FAST", openvino="fast"),
    Row("libfcn-openvino-int8", "libfcn", "libfcn on OpenVINO, the int8 file", suffix="-int8", labels=False,
        openvino="exact"),
    Row("ort-backbone", "ort", "ONNX Runtime, the network without its last upsampling: tensor in, low-resolution "
        "scores out, both bound, so no allocation or copy per frame", "ort", "-backbone", labels=False),
    Row("ort-whole", "ort", "ONNX Runtime, the whole network: tensor in, scores out, both bound", "ort"),
    Row("ort-int8", "ort", "the same on the int8 file", "ort", "-int8", labels=False),
    Row("ort-numpy", "ort-numpy", "ONNX Runtime from Python in the usual way: frame, normalisation in numpy, "
        "network, argmax in numpy, labels", "ort-numpy"),
    Row("openvino", "openvino", "OpenVINO, frame in, labels out: colours and normalisation compiled into the graph "
        "(PrePostProcessor), argmax in numpy", "openvino"),
    Row("openvino-default", "openvino", "the row openvino in the precision that OpenVINO chooses", "openvino-default"),
    Row("openvino-whole", "openvino", "OpenVINO, the whole network: tensor in, scores out, in OpenVINO's own memory",
        "openvino-whole"),
    Row("openvino-int8", "openvino", "the same on the int8 file", "openvino-whole", "-int8", labels=False),
    Row("ncnn", "ncnn", "ncnn, frame in, labels out: converted by pnnx, its own normalisation and Winograd "
        "convolutions, argmax in numpy", "ncnn"),
    Row("ncnn-default", "ncnn", "the same with ncnn's own choice of storage and arithmetic", "ncnn-default"),
    Row("opencv", "opencv", "OpenCV's dnn module with its default engine, frame in, labels out: "
        "blobFromImageWithParams, argmax in numpy", "opencv"),
    Row("pytorch", "pytorch", "PyTorch, frame in, labels out: eager and inference mode, channels last", "pytorch"),
    Row("pytorch-autocast", "pytorch", "the same with `torch.autocast` in bfloat16", "pytorch-autocast"),
]
