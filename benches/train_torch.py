"""Measures training steps in PyTorch for `make bench-train`: the trainer's networks in idiomatic PyTorch.

    train_torch.py ARCH BACKBONE CLASSES BATCH HEIGHT WIDTH THREADS SECONDS [contiguous]

Tensors are channels last unless "contiguous" is given. Prints a JSON object: the seconds of each step and
the process's peak memory in KiB. Ranks, started by torchrun, divide BATCH
(DistributedDataParallel, Gloo); the first one prints its seconds and the memory of all.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

WARM_UP = 3


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    channels = (128, 256, 512)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        stages, inputs = [], 64
        for index in range(4):
            outputs = 64 << index
            stages.append(nn.Sequential(BasicBlock(inputs, outputs, 2 if index else 1), BasicBlock(outputs, outputs, 1)))
            inputs = outputs
        self.stages = nn.ModuleList(stages)

    def forward(self, x):
        x = self.stages[0](self.stem(x))
        features = []
        for stage in self.stages[1:]:
            x = stage(x)
            features.append(x)
        return features


class Convolution(nn.Sequential):
    """TensorFlow's SAME padding, batch normalisation, and ReLU6 if `activate` is set."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, activate=True):
        total = kernel - stride
        before, after = total // 2, total - total // 2
        layers = [nn.ZeroPad2d((before, after, before, after))] if before != after else []
        padding = 0 if before != after else before
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]
        super().__init__(*layers, *([nn.ReLU6(inplace=True)] if activate else []))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expand):
        super().__init__()
        wide = inputs * expand
        self.layers = nn.Sequential(
            *([Convolution(inputs, wide, 1)] if expand > 1 else []),
            Convolution(wide, wide, kernel, stride, groups=wide), Convolution(wide, outputs, 1, activate=False))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    channels = (40, 112, 320)
    # repeats, kernel, stride, expansion, outputs
    table = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
             (1, 3, 1, 6, 320)]

    def __init__(self):
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        stages, inputs = [], 32
        for repeats, kernel, stride, expand, outputs in self.table:
            blocks = []
            for index in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if index == 0 else 1, expand))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x):
        x = self.stem(x)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in (2, 4, 6):
                features.append(x)
        return features


class Fcn(nn.Module):
    def __init__(self, architecture, backbone, classes):
        super().__init__()
        skips = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2}[architecture]
        self.backbone = backbone
        self.scores = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in reversed(backbone.channels[2 - skips:]))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False) for _ in range(skips))
        stride = 32 >> skips
        self.upsample = nn.ConvTranspose2d(classes, classes, 2 * stride, stride, stride // 2)

    def forward(self, x):
        features = self.backbone(x)[::-1]
        scores = self.scores[0](features[0])
        for up, score, feature in zip(self.ups, self.scores[1:], features[1:]):
            scores = up(scores) + score(feature)
        return self.upsample(scores)


def main():
    architecture, backbone = sys.argv[1:3]
    classes, batch, height, width, threads, seconds = map(int, sys.argv[3:9])
    layout = torch.contiguous_format if sys.argv[9:] == ["contiguous"] else torch.channels_last
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    batch //= ranks
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    network = Fcn(architecture, {"resnet18": ResNet18, "efficientnet_lite0": EfficientNetLite0}[backbone](), classes)
    network = network.train().to(memory_format=layout)
    if ranks > 1:
        network = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    images = (torch.rand(batch, 3, height, width) * 2 - 1).to(memory_format=layout)
    labels = torch.randint(0, classes, (batch, height, width))

    times = []
    for index in range(1_000_000):
        start = time.perf_counter()
        loss = functional.cross_entropy(network(images), labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        if index >= WARM_UP:
            times.append(time.perf_counter() - start)
        done = torch.tensor(float(sum(times) >= seconds))
        if ranks > 1:
            torch.distributed.all_reduce(done)
        if done > 0:
            break
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    peak = torch.tensor(int(peak.split()[1]))
    if ranks > 1:
        torch.distributed.all_reduce(peak)
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps({"steps": times, "peak": int(peak)}))
    if ranks > 1:
        torch.distributed.barrier()
        # Now and then, PyTorch's threads abort the process when they are torn down.
        sys.stdout.flush()
        os._exit(0)


main()
