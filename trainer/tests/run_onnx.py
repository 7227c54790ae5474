"""Checks an ONNX file with the onnx package, runs it with ONNX Runtime, and writes its scores as raw float32.

run_onnx.py MODEL IMAGE HEIGHT WIDTH SCORES: IMAGE holds 3 x HEIGHT x WIDTH raw float32. Prints the versions and the
shape of the scores, and how many convolutions ONNX Runtime computes in integers.
"""

import sys

import numpy as np
import onnx
import onnxruntime

model_path, image_path, height, width, scores_path = sys.argv[1:]
model = onnx.load(model_path)
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
assert {node.domain for node in inferred.graph.node} <= {"", "ai.onnx"}, "standard operators only"
dims = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
assert dims == ["N", 3, "H", "W"], dims

image = np.fromfile(image_path, dtype=np.float32).reshape(1, 3, int(height), int(width))
options = onnxruntime.SessionOptions()
options.optimized_model_filepath = scores_path + ".onnx"
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
integer = sum(node.op_type == "QLinearConv" for node in onnx.load(scores_path + ".onnx").graph.node)
scores = session.run(["scores"], {"image": image})[0]
two = session.run(["scores"], {"image": np.concatenate([image, image[:, :, ::-1]])})[0]
assert np.allclose(two[0], scores[0], atol=1e-4 * np.ptp(scores)), "a batch of two is scored as one by one"
scores.tofile(scores_path)
print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, scores {list(scores.shape)}, {integer} integer")
