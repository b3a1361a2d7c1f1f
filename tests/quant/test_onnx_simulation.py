"""Every operator of the simulation against ONNX Runtime, in graphs of one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.simulation import simulate

GENERATOR = np.random.default_rng(0)
IMAGE = GENERATOR.standard_normal((2, 6, 9, 8)).astype(np.float32)
BYTES = GENERATOR.integers(0, 256, (2, 6, 9, 8)).astype(np.uint8)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def model_of(
    operator: str,
    x: np.ndarray,
    constants: Sequence[np.ndarray | None],
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> Any:
    names = ["" if array is None else f"c{place}" for place, array in enumerate(constants)]
    node = helper.make_node(
        operator,
        ["x", *names],
        [f"y{place}" for place in range(outputs)],
        name="only",
        domain=domain,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [onnx.ValueInfoProto(name=name) for name in node.output],
        [
            numpy_helper.from_array(array, name)
            for name, array in zip(names, constants, strict=True)
            if array is not None
        ],
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def compare(model: Any, x: np.ndarray, tolerance: float = 2e-6) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": x})
    answers = simulate(model, {"x": x})
    for value, array in zip(session.get_outputs(), expected, strict=True):
        answer = answers[value.name]
        assert answer.shape == array.shape
        assert answer.dtype == array.dtype
        if array.dtype.kind == "f":
            scale = max(1.0, float(np.abs(array).max()))
            np.testing.assert_allclose(answer, array, atol=tolerance * scale, rtol=0)
        else:
            assert (answer == array).all()


CASES: dict[str, tuple[str, list[np.ndarray | None], dict[str, Any]]] = {
    "conv": ("Conv", [normal(4, 6, 3, 3), normal(4)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "conv same upper": ("Conv", [normal(4, 6, 3, 2)], {"auto_pad": "SAME_UPPER"}),
    "conv same lower": (
        "Conv",
        [normal(4, 6, 3, 2)],
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    ),
    "conv valid": ("Conv", [normal(4, 6, 3, 2)], {"auto_pad": "VALID"}),
    "conv groups, dilated": (
        "Conv",
        [normal(9, 2, 3, 3), normal(9)],
        {"group": 3, "dilations": [2, 1], "pads": [2, 1, 2, 1]},
    ),
    "transposed": (
        "ConvTranspose",
        [normal(6, 2, 3, 3), normal(4)],
        {"group": 2, "strides": [2, 2], "pads": [1, 1, 0, 1], "output_padding": [1, 0]},
    ),
    "max pool": ("MaxPool", [], {"kernel_shape": [3, 2], "pads": [1, 1, 0, 0], "strides": [2, 2]}),
    "max pool ceil": ("MaxPool", [], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average pool": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average pool, padding counted": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "pads": [1, 0, 1, 0], "count_include_pad": 1, "strides": [2, 2]},
    ),
    "global pool": ("GlobalAveragePool", [], {}),
    "reflected": ("Pad", [whole(0, 0, 3, 2, 0, 0, 1, 4)], {"mode": "reflect"}),
    "edge": ("Pad", [whole(3, 2, 1, 4), None, whole(2, 3)], {"mode": "edge"}),
    "wrapped": ("Pad", [whole(0, 0, 3, 2, 0, 0, 1, 4)], {"mode": "wrap"}),
    "constant": ("Pad", [whole(0, 1, 0, 2, 0, 0, 1, 0), np.float32(3)], {}),
    "cropped": ("Pad", [whole(0, 0, -1, 0, 0, 0, 1, -2)], {}),
    "nearest": ("Resize", [None, np.asarray([1, 1, 2, 3], np.float32)], {"mode": "nearest"}),
    "nearest asymmetric": (
        "Resize",
        [None, np.asarray([1, 1, 2, 0.5], np.float32)],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
    ),
    "linear": ("Resize", [None, None, whole(2, 6, 5, 17)], {"mode": "linear"}),
    "linear corners": (
        "Resize",
        [None, None, whole(2, 6, 18, 16)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "slice": ("Slice", [whole(-1, 1), whole(-10, 100), whole(2, 3), whole(-2, 3)], {}),
    "gather": ("Gather", [np.asarray([[0, -1], [3, 3]])], {"axis": 1}),
    "reshape": ("Reshape", [whole(0, -1, 2)], {}),
    "transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    "flatten": ("Flatten", [], {"axis": 2}),
    "unsqueeze": ("Unsqueeze", [whole(-1, 0)], {}),
    "squeeze": ("Reshape", [whole(1, -1)], {}),
    "expand": ("Expand", [whole(3, 2, 1, 1, 1)], {}),
    "depth to space": ("DepthToSpace", [], {"blocksize": 1}),
    "reduced": ("ReduceMean", [whole(2, 3)], {"keepdims": 0}),
    "reduced, all": ("ReduceSum", [], {}),
    "batch norm": (
        "BatchNormalization",
        [normal(6), normal(6), normal(6), np.abs(normal(6)) + 0.1],
        {"epsilon": 1e-3},
    ),
    "instance norm": ("InstanceNormalization", [normal(6), normal(6)], {"epsilon": 1e-3}),
    "layer norm": ("LayerNormalization", [normal(8), normal(8)], {}),
    "layer norm, axes": ("LayerNormalization", [normal(9, 8)], {"axis": 2}),
    "matmul": ("MatMul", [normal(8, 5)], {}),
    "softmax": ("Softmax", [], {"axis": 1}),
    "log softmax": ("LogSoftmax", [], {}),
    "hard sigmoid": ("HardSigmoid", [], {"alpha": 1 / 6}),
    "hard swish": ("HardSwish", [], {}),
    "gelu": ("Gelu", [], {}),
    "gelu tanh": ("Gelu", [], {"approximate": "tanh"}),
    "leaky": ("LeakyRelu", [], {"alpha": 0.2}),
    "elu": ("Elu", [], {"alpha": 0.7}),
    "prelu": ("PRelu", [normal(6, 1, 1)], {}),
    "clip": ("Clip", [np.float32(-0.5), np.float32(0.7)], {}),
    "clip below": ("Clip", [None, np.float32(0.7)], {}),
    "shape": ("Shape", [], {"start": 1}),
    "to bytes": ("Cast", [], {"to": TensorProto.INT32}),
    "power": ("Pow", [np.float32(2)], {}),
    "quantized": ("QuantizeLinear", [np.float32(0.02), np.uint8(100)], {}),
    "quantized a channel": (
        "QuantizeLinear",
        [np.linspace(0.01, 0.2, 6, dtype=np.float32), np.arange(6, dtype=np.int8)],
        {"axis": 1},
    ),
    "quantized to 16 bits": ("QuantizeLinear", [np.float32(1e-4), np.int16(7)], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_operator(case: str) -> None:
    operator, constants, attributes = CASES[case]
    compare(model_of(operator, IMAGE, constants, **attributes), IMAGE)


@pytest.mark.parametrize(
    "name", ["Abs", "Erf", "Exp", "Identity", "Neg", "Relu", "Sigmoid", "Tanh"]
)
def test_operator_of_one_value(name: str) -> None:
    compare(model_of(name, IMAGE, []), IMAGE)


@pytest.mark.parametrize("name", ["Add", "Div", "Mul", "Sub"])
def test_operator_of_two_values(name: str) -> None:
    compare(model_of(name, IMAGE, [normal(6, 1, 1) + 3]), IMAGE)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    x = normal(2, 8, 3, 4)
    compare(model_of("DepthToSpace", x, [], blocksize=2, mode=mode), x)


@pytest.mark.parametrize("sizes", [None, whole(1, 3, 2)])
def test_split(sizes: np.ndarray | None) -> None:
    more = {} if sizes is not None else {"num_outputs": 3}
    constants = [] if sizes is None else [sizes]
    compare(model_of("Split", IMAGE, constants, outputs=3, axis=1, **more), IMAGE)


def test_gemm() -> None:
    x = normal(3, 5)
    constants = [normal(4, 5), normal(4)]
    compare(model_of("Gemm", x, constants, transB=1, alpha=0.5, beta=2.0), x)
    compare(model_of("Gemm", x, [normal(3, 4)], transA=1), x)


def test_dequantize() -> None:
    compare(model_of("DequantizeLinear", BYTES, [np.float32(0.1), np.uint8(7)]), BYTES)
    scales = np.linspace(0.1, 1, 6, dtype=np.float32)
    compare(model_of("DequantizeLinear", BYTES, [scales], axis=1), BYTES)
    small = GENERATOR.integers(-7, 8, (5, 70)).astype(ml_dtypes.int4)
    model = model_of("DequantizeLinear", BYTES, [normal(5, 3)], axis=1, block_size=32)
    # The weights are the constant here, and the input is not used.
    model.graph.initializer.append(numpy_helper.from_array(small, "weights"))
    model.graph.node[0].input[0] = "weights"
    compare(model, BYTES)


def test_biases_of_32_bits_are_decoded_exactly() -> None:
    bias = np.asarray([2**31 - 1, 2**24 + 1, -5], np.int32)
    compare(model_of("DequantizeLinear", bias, [np.float32(2**-20)]), bias, 1e-7)


@pytest.mark.parametrize("low", [-1.0, 0.5])
def test_dynamic_quantize(low: float) -> None:
    x = (IMAGE * 3).clip(low, None)
    compare(model_of("DynamicQuantizeLinear", x, [], outputs=3), x)
    compare(model_of("DynamicQuantizeLinear", x * 0, [], outputs=3), x * 0)


def test_integer_convolution_pads_with_what_stands_for_zero() -> None:
    weights = GENERATOR.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    constants = [weights, np.uint8(100), np.uint8(128)]
    model = model_of("ConvInteger", BYTES, constants, group=2, pads=[1, 1, 0, 2], strides=[2, 1])
    compare(model, BYTES)


def test_integer_product() -> None:
    x = BYTES.reshape(2, 6, -1)
    weights = GENERATOR.integers(0, 256, (72, 5)).astype(np.uint8)
    compare(model_of("MatMulInteger", x, [weights, np.uint8(3), np.uint8(128)]), x)


@pytest.mark.parametrize("points", [False, True])
def test_product_of_blocks(points: bool) -> None:
    x = normal(3, 64)
    packed = GENERATOR.integers(0, 256, (5, 2, 16)).astype(np.uint8)
    constants = [packed, normal(10)]
    if points:
        constants.append(GENERATOR.integers(0, 256, (5,)).astype(np.uint8))
    attributes = {"K": 64, "N": 5, "bits": 4, "block_size": 32, "domain": "com.microsoft"}
    compare(model_of("MatMulNBits", x, constants, **attributes), x, 1e-5)


def test_half_precision_is_rounded_to_halves() -> None:
    x = IMAGE.astype(np.float16)
    model = model_of("Conv", x, [normal(4, 6, 3, 3).astype(np.float16)])
    answer = simulate(model, {"x": x})["y0"]
    assert answer.dtype == np.float16
    single = model_of("Conv", IMAGE, [normal(4, 6, 3, 3).astype(np.float16).astype(np.float32)])
    exact = simulate(single, {"x": x.astype(np.float32)})["y0"]
    assert (answer == exact.astype(np.float16)).all()


def test_every_tensor_inside_is_told_when_asked() -> None:
    model = model_of("Relu", IMAGE, [])
    model.graph.node.append(helper.make_node("Neg", ["y0"], ["z"], name="second"))
    model.graph.output[0].name = "z"
    assert set(simulate(model, {"x": IMAGE})) == {"z"}
    inside = simulate(model, {"x": IMAGE}, keep_all=True)
    assert set(inside) == {"y0", "z"}
    assert (inside["y0"] == np.maximum(IMAGE, 0)).all()


def test_an_unknown_operator_is_named() -> None:
    model = model_of("LpNormalization", IMAGE, [])
    with pytest.raises(QuantizationError, match=r"LpNormalization \(node 'only'\)"):
        simulate(model, {"x": IMAGE})


def test_a_missing_input_is_named() -> None:
    with pytest.raises(QuantizationError, match="lacks the input 'x'"):
        simulate(model_of("Relu", IMAGE, []), {"image": IMAGE})


@pytest.mark.parametrize(
    ("operator", "constants", "attributes"),
    [
        ("Resize", [None, np.asarray([1, 1, 2, 2], np.float32)], {"mode": "cubic"}),
        ("AveragePool", [], {"kernel_shape": [2, 2], "ceil_mode": 1}),
        ("ConvTranspose", [normal(6, 2, 3, 3)], {"auto_pad": "SAME_UPPER"}),
        ("Conv", [normal(6, 6, 3, 3)], {"auto_pad": "WHATEVER"}),
    ],
)
def test_unknown_forms_are_refused(
    operator: str, constants: list[np.ndarray | None], attributes: dict[str, Any]
) -> None:
    with pytest.raises(QuantizationError):
        simulate(model_of(operator, IMAGE, constants, **attributes), {"x": IMAGE})
