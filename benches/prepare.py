"""Prepares the benchmark's input: frames of one photo, and the models in each peer's format.

    prepare.py FOLDER PHOTO PNNX HEIGHTxWIDTH...

Each FOLDER/NAME.onnx, except the frozen ones that only libfcn measures, yields NAME.json (from its card),
NAME-backbone.onnx (without the last upsampling), and ncnn/NAME.ncnn.param and .bin, in which pnnx
replaces "-" by "_". The network with 150 classes gets a Resize as its last node.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
from PIL import Image
from rows import MANY_CLASSES, MODELS


def frame(photo, height, width):
    """The photo at its own scale, mirrored at its edges to fill the frame, so that objects have the same
    size in pixels in every frame. HWC, BGR."""
    rgb = numpy.asarray(Image.open(photo).convert("RGB"))
    pads = [(0, max(0, height - rgb.shape[0])), (0, max(0, width - rgb.shape[1])), (0, 0)]
    return numpy.ascontiguousarray(numpy.pad(rgb, pads, mode="symmetric")[:height, :width, ::-1])


def take_last(graph, operator):
    """Removes the last node, the output's upsampling, with its weights."""
    last = graph.node[-1]
    if last.op_type != operator or last.output[0] != graph.output[0].name:
        sys.exit(f"prepare.py: the last node of {graph.name} is {last.op_type}, not the output's {operator}")
    last = onnx.NodeProto.FromString(graph.node.pop().SerializeToString())
    # Quantized weights come from a node.
    for weight in last.input[1:]:
        for unused in [node for node in graph.node if weight in node.output]:
            graph.node.remove(unused)
    used = {name for node in graph.node for name in node.input}
    for unused in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(unused)
    return last


def with_resize(model):
    """Replaces the last node, a bilinear transposed convolution, by torch.nn.functional.interpolate as torch.onnx
    exports it."""
    graph = model.graph
    last = take_last(graph, "ConvTranspose")
    [strides] = [attribute.ints for attribute in last.attribute if attribute.name == "strides"]
    graph.initializer.append(onnx.numpy_helper.from_array(numpy.array([1, 1, *strides], numpy.float32), "scales"))
    graph.node.append(onnx.helper.make_node(
        "Resize", [last.input[0], "", "scales"], list(last.output), mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel"))
    onnx.checker.check_model(model)
    return model


def cut(model, operator):
    """The backbone and the score layers, without the upsampling at the end."""
    graph = model.graph
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    last = take_last(graph, operator)
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, ["N", classes, "h", "w"]))
    return model


def describe(model):
    card = json.loads({entry.key: entry.value for entry in model.metadata_props}["fcn.model_card"])
    return {key: card[key] for key in ("mean", "std", "stride")}


def ncnn(path, pnnx):
    """pnnx writes its files next to the model; two shapes mark height and width as variable."""
    folder = path.parent / "ncnn"
    folder.mkdir(exist_ok=True)
    param = folder / path.with_suffix(".ncnn.param").name.replace("-", "_")
    if param.exists() and param.stat().st_mtime >= path.stat().st_mtime:
        return
    link = folder / path.name
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..", path.name))
    # fp16=0: float32 weights, as in every other row.
    command = [pnnx, path.name, "inputshape=[1,3,320,480]f32", "inputshape2=[1,3,640,960]f32", "fp16=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0 or not param.exists():
        sys.exit(f"prepare.py: pnnx failed on {path.name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main():
    folder, photo, pnnx = map(Path, sys.argv[1:4])
    for size in sys.argv[4:]:
        height, width = map(int, size.split("x"))
        (folder / f"{size}.bgr").write_bytes(frame(photo, height, width).tobytes())
    for name in MODELS:
        path = folder / f"{name}.onnx"
        operator = "Resize" if name == MANY_CLASSES else "ConvTranspose"
        if name == MANY_CLASSES:
            for each in (path, folder / f"{name}-int8.onnx"):
                if (model := onnx.load(each)).graph.node[-1].op_type != operator:
                    onnx.save(with_resize(model), each)
        model = onnx.load(path)
        path.with_suffix(".json").write_text(json.dumps(describe(model)))
        ncnn(path, pnnx.resolve())
        onnx.save(cut(model, operator), folder / f"{name}-backbone.onnx")


if __name__ == "__main__":
    main()
