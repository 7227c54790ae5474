#!/usr/bin/env python3
"""Replaces the learned last upsampling of a model by bilinear interpolation.

    scripts/bilinear_end.py MODEL OUT [EVALUATED]

A learned transposed convolution can fray the outlines of labels. This writes OUT with a 1x1 convolution that mixes the
classes as the learned kernels do for scores that do not vary (each kernel's sum over that of the bilinear kernel), and then
the bilinear kernel for each class, which is also cheaper. EVALUATED is what `trainer evaluate OUT` printed: its figures
replace those in the model card. Needs the packages onnx and NumPy.
"""

import json
import re
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper


def weights(graph, name):
    """The values of a constant, which may be stored as integers with one scale, or one for each channel."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if name in constants:
        return numpy_helper.to_array(constants[name])
    node = next(node for node in graph.node if name in node.output)
    if node.op_type != "DequantizeLinear" or len(node.input) != 2:
        sys.exit(f"'{name}' is neither a constant nor made of one by DequantizeLinear without a zero point")
    values, scale = (numpy_helper.to_array(constants[name]) for name in node.input)
    if scale.size > 1:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        scale = scale.reshape([-1 if dimension == axis else 1 for dimension in range(values.ndim)])
    return values.astype(np.float32) * scale


def bilinear(stride):
    """The kernel of bilinear interpolation, 2 stride x 2 stride (`bilinear_kernel` of d2l 13.11)."""
    line = 1 - np.abs(np.arange(2 * stride) - (stride - 0.5)) / stride
    return np.outer(line, line).astype(np.float32)


def replace_end(graph):
    node = graph.node[-1]
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type != "ConvTranspose" or attributes.get("group", 1) != 1:
        sys.exit(f"the last node is a {node.op_type}, not a ConvTranspose that mixes all classes")
    kernels = weights(graph, node.input[1])
    classes, _, size, _ = kernels.shape
    kernel = bilinear(size // 2)
    mix = kernels.sum(axis=(2, 3)) / kernel.sum()
    graph.initializer.extend([
        numpy_helper.from_array(mix.T.reshape(classes, classes, 1, 1).astype(np.float32), "mix.weight"),
        numpy_helper.from_array(np.tile(kernel, (classes, 1, 1, 1)), "bilinear.weight"),
    ])
    mixed = helper.make_node("Conv", [node.input[0], "mix.weight"], ["mixed"], kernel_shape=[1, 1])
    enlarged = helper.make_node(
        "ConvTranspose", ["mixed", "bilinear.weight", *node.input[2:]], list(node.output), **{**attributes, "group": classes})
    del graph.node[-1]
    graph.node.extend([mixed, enlarged])
    drop_unused(graph)


def drop_unused(graph):
    """Removes nodes and constants that nothing reads any more."""
    while True:
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        unused = [node for node in graph.node if not read.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def replace_metrics(model, text):
    """Puts the figures that `trainer evaluate` printed into the card."""
    figure = lambda name: float(re.search(rf"^{name}\s+([\d.]+)", text, re.MULTILINE)[1])
    card = next(entry for entry in model.metadata_props if entry.key == "fcn.model_card")
    content = json.loads(card.value)
    content["metrics"] = {
        **{f"iou/{name}": float(value) for name, value in re.findall(r"^IoU (\S+)\s+([\d.]+)", text, re.MULTILINE)},
        "mean_accuracy": figure("mean accuracy"),
        "miou": figure("mIoU"),
        "pixel_accuracy": figure("pixel accuracy"),
    }
    card.value = json.dumps(content, separators=(",", ":"))


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    model = onnx.load(sys.argv[1])
    replace_end(model.graph)
    if len(sys.argv) == 4:
        with open(sys.argv[3], encoding="utf-8") as file:
            replace_metrics(model, file.read())
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()
