#!/usr/bin/env python3
"""Leaves one weight of -128 in each channel of an int8 model's depthwise convolutions; the others become -127.

    .deps/python/bin/python scripts/single_minimum.py MODEL.onnx...

Changes the files in place. On 64-bit Arm, ONNX Runtime adds two products of int8 in 16 bits in depthwise convolutions.
Two products of -128 and -128 wrap around there, which puts the result off by 65536 (docs/platforms.md). The trainer
exports no weight of -128.
"""

import sys

import numpy as np
import onnx
from onnx import numpy_helper


def stored_weights(graph):
    """The names of the stored weights of depthwise convolutions, behind their DequantizeLinear."""
    groups = {node.output[0]: {field.name: field.i for field in node.attribute}.get("group", 1) for node in graph.node}
    # QLinearConv: x, its scale and zero point, then the weight.
    weights = {node.input[1 if node.op_type == "Conv" else 3] for node in graph.node
               if node.op_type in ("Conv", "QLinearConv") and groups[node.output[0]] > 1}
    behind = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {behind.get(name, name) for name in weights}


def main():
    if len(sys.argv) < 2:
        sys.exit("scripts/single_minimum.py: name one or more models")
    for path in sys.argv[1:]:
        model = onnx.load(path)
        names = stored_weights(model.graph)
        changed = 0
        for tensor in model.graph.initializer:
            if tensor.name in names and tensor.data_type == onnx.TensorProto.INT8:
                values = numpy_helper.to_array(tensor).copy()
                for channel in values.reshape(len(values), -1):
                    surplus = np.flatnonzero(channel == -128)[1:]
                    channel[surplus] = -127
                    changed += len(surplus)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        if changed:
            onnx.save(model, path)
        print(f"{path}: {changed} weights changed")


if __name__ == "__main__":
    main()
