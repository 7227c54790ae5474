#!/usr/bin/env python3
"""Labels photos with networks of the usual packages, with random weights, and compares pyfcn's labels
with those of plain ONNX Runtime. Prints the table of docs/models.md.

    pip install -r benches/requirements-families.in target/wheels/pyfcn-*.whl
    benches/families.py FOLDER PHOTO... [--only NAME]

FOLDER receives the ONNX files; networks that are already there are not made again. Photos are resized to
512 x 384 in advance, so that both sides see the same pixels. The plain side normalises with NumPy, runs
the file, interpolates scores as torch.nn.functional.interpolate(mode="bilinear") does, and takes the
argmax.

Random networks have one class nearly everywhere. Therefore BatchNorm takes its statistics from the
photos, and the last convolution is scaled so that the scores of every class have mean 0 and deviation 1.
"""

import argparse
import importlib.metadata
import logging
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pyfcn
import torch
from PIL import Image
from torch import nn

WIDTH, HEIGHT = 512, 384
OPTIONS = {
    "mean and std of ImageNet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "mean and std 0.5": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "channel order BGR": {"channel_order": "bgr"},
    "none": {},
}
IMAGENET, HALF, BGR, NONE = OPTIONS
# A pixel is a tie if its two highest scores differ by less than this share of all scores' range.
TIE = 1e-3


def torchvision(name):
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=21)


def smp(name, encoder):
    import segmentation_models_pytorch

    return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None, classes=19)


def transformers(name, **config):
    import transformers

    network = getattr(transformers, f"{name}ForSemanticSegmentation")
    return network(network.config_class(num_labels=19, **config))


def upernet():
    from transformers import ConvNextConfig

    sizes = [96, 192, 384, 768]
    backbone = ConvNextConfig(hidden_sizes=sizes, out_features=["stage1", "stage2", "stage3", "stage4"])
    return transformers("UperNet", backbone_config=backbone, hidden_size=128, use_auxiliary_head=False)


def timm(name):
    """A backbone of timm and one convolution: scores at stride 32."""
    import timm

    backbone = timm.create_model(name, features_only=True, out_indices=[-1])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = backbone, nn.Conv2d(backbone.feature_info.channels()[-1], 19, 1)

        def forward(self, image):
            return self.head(self.backbone(image)[0])

    return Network()


def ultralytics(name):
    """With the class names of Cityscapes, which the export writes into the file."""
    import ultralytics
    from ultralytics.utils import ROOT, YAML

    model = ultralytics.YOLO(name, task="semantic")
    model.model.names = YAML.load(ROOT / "cfg" / "datasets" / "cityscapes8.yaml")["names"]
    return model


# Name, package, how to make the network, options for pyfcn, and whether the file leaves height and
# width open.
CASES = (
    ("FCN, ResNet-50", "torchvision", lambda: torchvision("fcn_resnet50"), IMAGENET, False),
    ("DeepLabV3, MobileNetV3", "torchvision", lambda: torchvision("deeplabv3_mobilenet_v3_large"), IMAGENET, False),
    ("LR-ASPP, MobileNetV3", "torchvision", lambda: torchvision("lraspp_mobilenet_v3_large"), IMAGENET, True),
    ("U-Net, MobileNetV2", "segmentation_models_pytorch", lambda: smp("Unet", "mobilenet_v2"), IMAGENET, True),
    ("FPN, ResNet-18", "segmentation_models_pytorch", lambda: smp("FPN", "resnet18"), IMAGENET, False),
    ("DeepLabV3+, ResNet-18", "segmentation_models_pytorch", lambda: smp("DeepLabV3Plus", "resnet18"), IMAGENET, True),
    ("PSPNet, ResNet-18", "segmentation_models_pytorch", lambda: smp("PSPNet", "resnet18"), IMAGENET, False),
    ("SegFormer, MiT-B0", "segmentation_models_pytorch", lambda: smp("Segformer", "mit_b0"), IMAGENET, False),
    ("UPerNet, ResNet-18", "segmentation_models_pytorch", lambda: smp("UPerNet", "resnet18"), IMAGENET, False),
    ("SegFormer-B0", "transformers", lambda: transformers("Segformer"), IMAGENET, True),
    ("DeepLabV3, MobileViT", "transformers", lambda: transformers("MobileViT"), BGR, False),
    ("DeepLabV3+, MobileNetV2", "transformers", lambda: transformers("MobileNetV2"), HALF, False),
    ("UPerNet, ConvNeXt-T", "transformers", upernet, IMAGENET, False),
    ("1 x 1 convolution, EfficientNet-B0", "timm", lambda: timm("efficientnet_b0"), IMAGENET, False),
    ("1 x 1 convolution, MobileNetV4", "timm", lambda: timm("mobilenetv4_conv_small"), HALF, True),
    ("YOLO26n-sem", "ultralytics", lambda: ultralytics("yolo26n-sem.yaml"), NONE, False),
)


def normalised(photo, options):
    """1 x 3 x H x W of float32, as libfcn's options describe it."""
    pixels = photo[..., ::-1] if options.get("channel_order") == "bgr" else photo
    values = (pixels / 255 - options.get("mean", 0)) / options.get("std", 1)
    return values.transpose(2, 0, 1)[None].astype(np.float32)


def scores_of(result):
    if isinstance(result, (tuple, list)):
        return result[0]
    return result if isinstance(result, torch.Tensor) else next(iter(result.values()))


def adapt(network, photos, options):
    """Lets BatchNorm measure the photos, and scales the scores of every class."""
    images = torch.from_numpy(np.concatenate([normalised(photo, options) for photo in photos]))
    modules = list(network.modules())
    with torch.no_grad():
        for norm in (module for module in modules if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 1.0
        network.train()(images)
        network.eval()
        ran = []
        convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
        hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in convolutions]
        scores = scores_of(network(images))
        for hook in hooks:
            hook.remove()
        # The scores of LR-ASPP are the sum of two convolutions.
        last = [module for module in ran if module.out_channels == scores.shape[1]]
        last = last[-2:] if type(network).__name__ == "LRASPP" else last[-1:]
        deviation, mean = torch.std_mean(scores, (0, 2, 3))
        for module in last:
            module.weight /= deviation[:, None, None, None]
            if module.bias is None:
                module.bias = nn.Parameter(torch.zeros(len(deviation)))
            module.bias /= deviation
        last[-1].bias -= mean / deviation


def export(make, package, path, photos, options, free):
    torch.manual_seed(0)
    network = make()
    if package == "ultralytics":
        adapt(network.model, photos, options)
        os.replace(network.export(format="onnx", imgsz=(HEIGHT, WIDTH)), path)
        return
    adapt(network, photos, options)
    example = torch.from_numpy(normalised(photos[0], options))
    sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if free else None
    torch.onnx.export(network, (example,), path, dynamic_shapes=(sizes,) if free else None, verbose=False)


def interpolated(scores, height, width):
    """C x h x w of scores, as torch.nn.functional.interpolate(mode="bilinear", align_corners=False)."""

    def weights(small, large):
        position = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
        return np.maximum(0, 1 - abs(position[:, None] - np.arange(small)))

    rows, columns = weights(scores.shape[1], height), weights(scores.shape[2], width)
    return rows @ scores.astype(np.float64) @ columns.T


def plain(session, photo, options):
    """The labels, which pixels are no ties, and the output's shape."""
    output = session.run(None, {session.get_inputs()[0].name: normalised(photo, options)})[0]
    if output.ndim == 3:
        return output[0], np.ones(output[0].shape, bool), output.shape
    scores = interpolated(output[0], *photo.shape[:2])
    highest = np.partition(scores, -2, axis=0)[-2:]
    return scores.argmax(0), highest[1] - highest[0] > TIE * np.ptp(scores), output.shape


class Log(logging.Handler):
    """Keeps what libfcn assumed about the file."""

    def emit(self, record):
        before, _, assumed = record.getMessage().partition("says it: ")
        if before.startswith("assumed"):
            self.assumed = assumed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    photos = [np.asarray(Image.open(path).convert("RGB").resize((WIDTH, HEIGHT))) for path in arguments.photos]
    log = Log()
    logging.getLogger("pyfcn").addHandler(log)
    logging.getLogger("pyfcn").setLevel(logging.DEBUG)

    print("| network | package | output | options | equal labels | without ties | assumed |")
    print("|---|---|---|---|---|---|---|")
    for name, package, make, given, free in CASES:
        if arguments.only.lower() not in f"{package} {name}".lower():
            continue
        options = OPTIONS[given]
        path = arguments.folder / f"{package} {name}.onnx".lower().replace(",", "").replace(" ", "-")
        if not path.exists():
            export(make, package, path, photos, options, free)
        session = onnxruntime.InferenceSession(path)
        segmenter = pyfcn.Segmenter(path, provider="cpu", size_mode=("resize", WIDTH, HEIGHT), **options)
        shares, firm, seen = [], [], set()
        for photo in photos:
            labels, clear, shape = plain(session, photo, options)
            same = segmenter.segment(photo).labels == labels
            shares.append(same.mean())
            firm.append(same[clear].mean())
            seen |= set(np.unique(labels).tolist())
        size = " x ".join(map(str, shape)) + (", any size" if free else "")
        package = f"{package} {importlib.metadata.version(package)}"
        shares = f"{np.mean(shares):.4f} | {np.mean(firm):.4f}"
        print(f"| {name} | {package} | {size} | {given} | {shares} | {log.assumed} |", flush=True)
        if len(seen) < 2:
            raise SystemExit(f"{name}: one class everywhere says little")
        if package.startswith("ultralytics") and segmenter.classes[0].name != "road":
            raise SystemExit(f"{name}: the class names are not those in the file")


if __name__ == "__main__":
    main()
