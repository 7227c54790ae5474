"""A network of the benchmark as a PyTorch module: the ONNX graph's nodes in order, each a module of torch.nn."""

import numpy
import onnx
import torch
from onnx import numpy_helper
from torch import nn


def attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def padding(module, pads):
    """`pads` are top, left, bottom, right; torch's convolutions only pad both ends equally."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        module.padding = (top, left)
        return module
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), module)


def convolution(node, weights):
    values = attributes(node)
    weight = weights[node.input[1]]
    groups = values.get("group", 1)
    if node.op_type == "Conv":
        outputs, inputs, kernel = weight.shape[0], weight.shape[1] * groups, weight.shape[2:]
        module = nn.Conv2d(inputs, outputs, kernel, values["strides"], groups=groups, bias=len(node.input) == 3)
        result = padding(module, values["pads"])
    else:
        inputs, outputs, kernel = weight.shape[0], weight.shape[1] * groups, weight.shape[2:]
        module = nn.ConvTranspose2d(
            inputs, outputs, kernel, values["strides"], values["pads"][:2], groups=groups, bias=len(node.input) == 3)
        result = module
    module.weight.data = torch.from_numpy(weight)
    if len(node.input) == 3:
        module.bias.data = torch.from_numpy(weights[node.input[2]])
    return result


def layer(node, weights):
    if node.op_type in ("Conv", "ConvTranspose"):
        return convolution(node, weights)
    if node.op_type == "MaxPool":
        values = attributes(node)
        return nn.MaxPool2d(values["kernel_shape"], values["strides"], values["pads"][:2])
    if node.op_type == "Resize":
        return nn.Upsample(scale_factor=tuple(weights[node.input[2]][2:].tolist()), mode="bilinear")
    if node.op_type == "Relu":
        return nn.ReLU(inplace=True)
    if node.op_type == "Clip" and [float(weights[name]) for name in node.input[1:]] == [0, 6]:
        return nn.ReLU6(inplace=True)
    raise SystemExit(f"torch_network.py: {node.op_type} is no operator of the benchmark's networks")


class Network(nn.Module):
    def __init__(self, path):
        super().__init__()
        graph = onnx.load(path).graph
        weights = {tensor.name: numpy.array(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        self.layers = nn.ModuleList()
        self.steps = []
        self.input, self.output = graph.input[0].name, graph.output[0].name
        for node in graph.node:
            inputs = [name for name in node.input if name and name not in weights]
            if node.op_type == "Add":
                self.steps.append((None, inputs, node.output[0]))
            else:
                self.steps.append((len(self.layers), inputs, node.output[0]))
                self.layers.append(layer(node, weights))
        # A value is dropped after its last use, as in a hand-written forward().
        last = {name: index for index, (_, inputs, _) in enumerate(self.steps) for name in inputs}
        self.unused = [[name for name in step[1] if last[name] == index] for index, step in enumerate(self.steps)]

    def forward(self, image):
        values = {self.input: image}
        for (index, inputs, output), unused in zip(self.steps, self.unused):
            arguments = [values[name] for name in inputs]
            values[output] = torch.add(*arguments) if index is None else self.layers[index](*arguments)
            for name in unused:
                values.pop(name, None)
        return values[self.output]
