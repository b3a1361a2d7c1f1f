"""A network of two layers as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_onnx(path: Path, name: str = "tiny") -> Path:
    """Write ``y = relu(x @ weight)`` for ``x: 1x4``, ``weight[i, j] = i - j``, ``y: 1x3``."""
    weight = np.subtract.outer(np.arange(4), np.arange(3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["product"], "product"),
            helper.make_node("Relu", ["product"], ["y"], "relu"),
        ],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path
