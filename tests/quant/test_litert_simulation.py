"""Single operators, written into files by hand: the simulation against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import DataError, QuantizationError
from edgesdk.quant.litert.file import read_model
from edgesdk.quant.litert.simulation import Simulation, simulate

_TYPES = {
    "bool": schema.TensorType.BOOL,
    "float16": schema.TensorType.FLOAT16,
    "float32": schema.TensorType.FLOAT32,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
}


@dataclass
class Value:
    """A tensor of a file: computed where it has no values."""

    shape: Sequence[int]
    values: np.ndarray | None = None
    dtype: str = "float32"
    scales: Sequence[float] = ()
    zeros: Sequence[int] = ()
    axis: int = 0
    bits: int = 0


@dataclass
class Node:
    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: dict[str, Any] = field(default_factory=dict)


def constant(values: Any, **changes: Any) -> Value:
    array = np.asarray(values)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype == np.int64 and "dtype" not in changes:
        array = array.astype(np.int32)
    return Value(array.shape, array, **{"dtype": array.dtype.name, **changes})


#: Tables of options whose names are not those of their operators.
_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"), "ReducerOptions"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
    "BATCH_MATMUL": "BatchMatMulOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "LEAKY_RELU": "LeakyReluOptions",
}


def write(path: Path, values: Sequence[Value], nodes: Sequence[Node], faces: Sequence[int]) -> Path:
    """Write a model; the first face is its input, the last its output."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []
    for number, value in enumerate(values):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"tensor{number}", list(value.shape)
        tensor.type = schema.TensorType.INT4 if value.bits == 4 else _TYPES[value.dtype]
        if value.scales:
            details = schema.QuantizationParametersT()
            details.scale, details.quantizedDimension = list(value.scales), value.axis
            details.zeroPoint = list(value.zeros) or [0] * len(value.scales)
            tensor.quantization = details
        if value.values is not None:
            buffer = schema.BufferT()
            data = value.values
            if value.bits == 4:
                flat = np.append(data.ravel(), [0] * (data.size % 2)).astype(np.uint8) & 15
                data = flat[::2] | flat[1::2] << 4
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    for node in nodes:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, node.name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        operator.inputs, operator.outputs = list(node.inputs), list(node.outputs)
        plain = "".join(part.capitalize() for part in node.name.lower().split("_"))
        kind = _OPTIONS.get(node.name, f"{plain.replace('2d', '2D')}Options")
        if hasattr(schema, f"{kind}T"):
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            for name, value in node.options.items():
                assert hasattr(operator.builtinOptions, name)
                setattr(operator.builtinOptions, name, value)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [faces[0]], [faces[-1]]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def both(
    path: Path, given: np.ndarray, *, delegate: bool = True
) -> tuple[np.ndarray, np.ndarray, float]:
    """What the interpreter and the simulation answer, and the size of a step of the answer."""
    kind = OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kind, num_threads=1)
    interpreter.allocate_tensors()
    [taken], [told] = interpreter.get_input_details(), interpreter.get_output_details()
    encoded, step = given, 0.0
    if taken["quantization"][0]:
        scale, zero = taken["quantization"]
        encoded = np.clip(np.round(given / scale) + zero, -128, 127)
    interpreter.set_tensor(taken["index"], encoded.astype(taken["dtype"]))
    interpreter.invoke()
    answer = interpreter.get_tensor(told["index"])
    if told["quantization"][0]:
        step, zero = told["quantization"]
        answer = (answer.astype(np.float32) - zero) * np.float32(step)
    [simulated] = simulate(path, {taken["name"]: given.astype(np.float32)}).values()
    return answer, simulated, float(step)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


WINDOW = {"strideH": 1, "strideW": 1}
DILATED = {**WINDOW, "dilationHFactor": 1, "dilationWFactor": 1}
NAMED = {"padding": 0, **DILATED}
AXES = constant([1, 2])

#: Operators with options, further constants, and the shape of the result for an image of 6 x 8.
FORMS: dict[str, tuple[str, dict[str, Any], list[Value], tuple[int, ...]]] = {
    "average pool, padded": (
        *("AVERAGE_POOL_2D", {**WINDOW, "filterHeight": 3, "filterWidth": 3, "padding": 0}),
        *([], (1, 6, 8, 4)),
    ),
    "convolution, strides": (
        *("CONV_2D", {**NAMED, "strideH": 2, "strideW": 2}),
        *([constant(image(5, 3, 2, 4)), constant(image(5))], (1, 3, 4, 5)),
    ),
    "convolution, dilation, fused": (
        *("CONV_2D", {**NAMED, "padding": 1, "dilationHFactor": 2, "fusedActivationFunction": 3}),
        *([constant(image(5, 3, 3, 4)), constant(image(5))], (1, 2, 6, 5)),
    ),
    "depthwise, multiplier": (
        *("DEPTHWISE_CONV_2D", {**NAMED, "depthMultiplier": 2}),
        *([constant(image(1, 3, 3, 8)), constant(image(8))], (1, 6, 8, 8)),
    ),
    "depth to space": ("DEPTH_TO_SPACE", {"blockSize": 2}, [], (1, 12, 16, 1)),
    "gather": ("GATHER", {"axis": 3}, [constant([3, 0])], (1, 6, 8, 2)),
    "leaky": ("LEAKY_RELU", {"alpha": 0.1}, [], (1, 6, 8, 4)),
    "max": ("REDUCE_MAX", {"keepDims": False}, [AXES], (1, 4)),
    "max pool": (
        "MAX_POOL_2D",
        {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 2, "padding": 0},
        *([], (1, 3, 4, 4)),
    ),
    "mean": ("MEAN", {"keepDims": True}, [AXES], (1, 1, 1, 4)),
    "mirror, reflect": (
        *("MIRROR_PAD", {"mode": 0}),
        *([constant([[0, 0], [2, 1], [0, 3], [0, 0]])], (1, 9, 11, 4)),
    ),
    "mirror, symmetric": (
        *("MIRROR_PAD", {"mode": 1}),
        *([constant([[0, 0], [2, 1], [0, 3], [0, 0]])], (1, 9, 11, 4)),
    ),
    "nearest, half pixels": (
        *("RESIZE_NEAREST_NEIGHBOR", {"halfPixelCenters": True}),
        *([constant([9, 4])], (1, 9, 4, 4)),
    ),
    "nearest, corners": (
        *("RESIZE_NEAREST_NEIGHBOR", {"alignCorners": True}),
        *([constant([9, 4])], (1, 9, 4, 4)),
    ),
    "pad": ("PAD", {}, [constant([[0, 0], [1, 0], [0, 2], [0, 0]])], (1, 7, 10, 4)),
    "resize": ("RESIZE_BILINEAR", {}, [constant([9, 11])], (1, 9, 11, 4)),
    "resize, corners": (
        *("RESIZE_BILINEAR", {"alignCorners": True}),
        *([constant([9, 11])], (1, 9, 11, 4)),
    ),
    "resize, half pixels": (
        *("RESIZE_BILINEAR", {"halfPixelCenters": True}),
        *([constant([9, 11])], (1, 9, 11, 4)),
    ),
    "slice": ("SLICE", {}, [constant([0, 2, 1, 0]), constant([1, 3, -1, 2])], (1, 3, 7, 2)),
    "space to depth": ("SPACE_TO_DEPTH", {"blockSize": 2}, [], (1, 3, 4, 16)),
    "squeeze": ("SQUEEZE", {"squeezeDims": [0]}, [], (6, 8, 4)),
    "strided slice": (
        *("STRIDED_SLICE", {"beginMask": 1, "endMask": 3, "shrinkAxisMask": 8}),
        [constant([0, 5, 0, 1]), constant([1, 0, 8, 2]), constant([1, -2, 3, 1])],
        (1, 3, 3),
    ),
    "tile": ("TILE", {}, [constant([1, 2, 1, 3])], (1, 12, 8, 12)),
    "transpose": ("TRANSPOSE", {}, [constant([0, 3, 1, 2])], (1, 4, 6, 8)),
}


@pytest.mark.parametrize("form", FORMS)
def test_operator(tmp_path: Path, form: str) -> None:
    name, options, constants, shape = FORMS[form]
    values = [Value((1, 6, 8, 4)), *constants, Value(shape)]
    last = len(values) - 1
    node = Node(name, [*range(last)], [last], options)
    path = write(tmp_path / "op.tflite", values, [node], (0, last))
    answer, simulated, _ = both(path, image(1, 6, 8, 4))
    np.testing.assert_allclose(simulated, answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *("ABS", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOGISTIC", "LOG_SOFTMAX"),
        *("NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "SIN", "SQUARE", "TANH"),
    ],
)
def test_operator_of_one_value(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / "op.tflite", [Value((3, 8)), Value((3, 8))], [Node(name, [0], [1])], (0, 1)
    )
    answer, simulated, _ = both(path, 4 * image(3, 8))
    np.testing.assert_allclose(simulated, answer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [True, False], ids=["with options", "without options"])
@pytest.mark.parametrize(
    ("source", "result"), [("uint8", "float32"), ("float32", "int32"), ("int32", "float32")]
)
def test_a_cast_goes_to_the_type_of_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, result: str, options: bool
) -> None:
    if not options:
        # Converters write casts without a table of options.
        monkeypatch.delattr(schema, "CastOptionsT")
    values = [Value((3, 8), dtype=source), Value((3, 8), dtype=result)]
    node = Node("CAST", [0], [1], {"outDataType": _TYPES[result]} if options else {})
    path = write(tmp_path / "op.tflite", values, [node], (0, 1))
    monkeypatch.undo()
    assert (read_model(path).operators[0].options is not None) == options
    given = (100 * image(3, 8)).clip(0, 255).astype(source)
    answer, simulated, _ = both(path, given)
    assert answer.dtype == simulated.dtype == result
    np.testing.assert_array_equal(simulated, answer)


@pytest.mark.parametrize(
    "name", ["ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"]
)
def test_operator_of_two_values(tmp_path: Path, name: str) -> None:
    values = [Value((3, 8)), constant(image(1, 8, seed=1)), Value((3, 8))]
    path = write(tmp_path / "op.tflite", values, [Node(name, [0, 1], [2])], (0, 2))
    answer, simulated, _ = both(path, image(3, 8))
    np.testing.assert_allclose(simulated, answer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("padding", "size"), [(0, (12, 16)), (1, (13, 17)), (0, (11, 15))])
def test_transposed_convolution(tmp_path: Path, padding: int, size: tuple[int, int]) -> None:
    values = [
        constant([1, *size, 3]),
        constant(image(3, 3, 3, 4)),
        Value((1, 6, 8, 4)),
        constant(image(3)),
        Value((1, *size, 3)),
    ]
    options = {"padding": padding, "strideH": 2, "strideW": 2}
    node = Node("TRANSPOSE_CONV", [0, 1, 2, 3], [4], options)
    path = write(tmp_path / "op.tflite", values, [node], (2, 4))
    answer, simulated, _ = both(path, image(1, 6, 8, 4))
    np.testing.assert_allclose(simulated, answer, rtol=1e-5, atol=1e-5)


def integer_convolution(
    path: Path, bits: int, *, kernel: int = 3, static: bool = True, stride: int = 1
) -> Path:
    generator = np.random.default_rng(5)
    reach = 2 ** (bits - 1) - 1
    weights = generator.integers(-reach, reach + 1, (6, kernel, kernel, 4)).astype(np.int8)
    scales = [0.01 * (1 + channel) for channel in range(6)]
    shape = (1, -(-6 // stride), -(-8 // stride), 6)
    values = [
        Value((1, 6, 8, 4)),
        constant(weights, scales=scales, bits=bits if bits < 8 else 0),
        constant(generator.standard_normal(6)),
        Value(shape),
    ]
    if static:
        values[0] = Value((1, 6, 8, 4), None, "int8", [0.02], [-3])
        bias = generator.integers(-1000, 1000, 6).astype(np.int32)
        values[2] = constant(bias, scales=[0.02 * scale for scale in scales])
        values[3] = Value(shape, None, "int8", [0.05 * 2**bits], [7])
    options = {**NAMED, "strideH": stride, "strideW": stride}
    return write(path, values, [Node("CONV_2D", [0, 1, 2], [3], options)], (0, 3))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("delegate", [True, False])
def test_integer_convolution(tmp_path: Path, bits: int, delegate: bool) -> None:
    path = integer_convolution(tmp_path / "op.tflite", bits)
    answer, simulated, step = both(path, image(1, 6, 8, 4), delegate=delegate)
    steps = np.round((simulated - answer) / step)
    # The interpreter's own kernels round twice where XNNPACK rounds once.
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() < (0.05 if delegate is False and bits == 8 else 0.005)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (1, 2)])
def test_convolution_that_measures_its_input(
    tmp_path: Path, bits: int, kernel: int, stride: int
) -> None:
    path = integer_convolution(
        tmp_path / "op.tflite", bits, kernel=kernel, static=False, stride=stride
    )
    # Rows of very different ranges: it matters what shares one.
    given = image(1, 6, 8, 4) * np.logspace(-2, 0, 8, dtype=np.float32)[:, None]
    answer, simulated, _ = both(path, given)
    np.testing.assert_allclose(simulated, answer, rtol=1e-4, atol=1e-4 * np.abs(answer).max())
    exact = simulate_in_floats(path, given)
    assert np.abs(exact - answer).max() > 1e-3 * np.abs(answer).max()


def simulate_in_floats(path: Path, given: np.ndarray) -> np.ndarray:
    """The same without rounding what the operator takes."""
    simulation = Simulation(path)
    simulation._round_dynamically = lambda operator, taken: None  # type: ignore[method-assign]
    [answer] = simulation.run({"tensor0": given}).values()
    return answer


def test_fully_connected_measures_each_row(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).integers(-127, 128, (5, 8)).astype(np.int8)
    values = [
        Value((3, 8)),
        constant(weights, scales=[0.01, 0.02, 0.03, 0.04, 0.05]),
        Value((3, 5)),
    ]
    node = Node("FULLY_CONNECTED", [0, 1, -1], [2])
    path = write(tmp_path / "op.tflite", values, [node], (0, 2))
    given = image(3, 8) * np.array([[1.0], [0.01], [100.0]], np.float32)
    answer, simulated, _ = both(path, given)
    for row in range(3):
        np.testing.assert_allclose(simulated[row], answer[row], rtol=1e-4)


@pytest.mark.parametrize("factor", [0.37, 1.9, 1.0])
def test_another_scale(tmp_path: Path, factor: float) -> None:
    values = [
        Value((1, 256), None, "int8", [0.1], [4]),
        Value((1, 256), None, "int8", [0.1 * factor], [-9]),
    ]
    path = write(tmp_path / "op.tflite", values, [Node("QUANTIZE", [0], [1])], (0, 1))
    every = ((np.arange(256) - 128 - 4) * np.float32(0.1)).reshape(1, -1)
    answer, simulated, step = both(path, every)
    np.testing.assert_array_equal(np.round(simulated / step), np.round(answer / step))


def test_halves_of_an_average_go_away_from_zero(tmp_path: Path) -> None:
    shape, pooled = (1, 16, 16, 8), (1, 8, 8, 8)
    values = [Value(shape, None, "int8", [0.05], [3]), Value(pooled, None, "int8", [0.05], [3])]
    options = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2, "padding": 1}
    node = Node("AVERAGE_POOL_2D", [0], [1], options)
    path = write(tmp_path / "op.tflite", values, [node], (0, 1))
    answer, simulated, step = both(path, image(*shape))
    np.testing.assert_array_equal(np.round(simulated / step), np.round(answer / step))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-8, 7), min_size=1, max_size=9),
    st.floats(0.0078125, 10.0, width=32),
)
def test_packed_integers_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, integers: list[int], scale: float
) -> None:
    path = tmp_path_factory.mktemp("packed") / "op.tflite"
    stored = np.array([integers], np.int8)
    values = [
        Value((1, len(integers))),
        constant(stored, scales=[scale], bits=4),
        Value((1, 1)),
    ]
    write(path, values, [Node("FULLY_CONNECTED", [0, 1, -1], [2])], (0, 2))
    tensor = read_model(path).tensors[1]
    np.testing.assert_array_equal(tensor.stored, stored)
    np.testing.assert_allclose(tensor.values(), stored * np.float32(scale), rtol=1e-6)


def test_scales_of_channels_go_with_their_axis(tmp_path: Path) -> None:
    path = integer_convolution(tmp_path / "op.tflite", 8)
    weight = read_model(path).tensors[1]
    assert weight.stored is not None
    expected = weight.stored * np.arange(0.01, 0.07, 0.01).reshape(6, 1, 1, 1)
    np.testing.assert_allclose(weight.values(), expected, rtol=1e-5)


def test_every_tensor_inside_is_told_when_asked(tmp_path: Path) -> None:
    values = [Value((1, 4)), Value((1, 4)), Value((1, 4))]
    nodes = [Node("RELU", [0], [1]), Node("NEG", [1], [2])]
    path = write(tmp_path / "op.tflite", values, nodes, (0, 2))
    given = np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)
    found = simulate(path, {"tensor0": given}, keep_all=True)
    np.testing.assert_array_equal(found["tensor1"], [[0, 2, 0, 4]])
    np.testing.assert_array_equal(found["tensor2"], [[0, -2, 0, -4]])
    assert simulate(path, {"tensor0": given}).keys() == {"tensor2"}


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "op.tflite",
        [Value((2, 2)), Value((2, 2))],
        [Node("ZEROS_LIKE", [0], [1])],
        (0, 1),
    )
    with pytest.raises(QuantizationError, match="ZEROS_LIKE"):
        simulate(path, {"tensor0": np.zeros((2, 2), np.float32)})


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "op.tflite", [Value((2, 2)), Value((2, 2))], [Node("NEG", [0], [1])], (0, 1)
    )
    with pytest.raises(DataError, match="tensor0"):
        simulate(path, {"picture": np.zeros((2, 2), np.float32)})


@pytest.mark.parametrize(
    "node",
    [
        Node("CONV_2D", [0, 1, 2], [3], {**NAMED, "fusedActivationFunction": 5}),
        Node("CONV_2D", [0, 1, 2], [3], {**NAMED, "padding": 7}),
    ],
)
def test_unknown_forms_are_refused(tmp_path: Path, node: Node) -> None:
    values = [
        *(Value((1, 4, 4, 1)), constant(image(1, 3, 3, 1)), constant(image(1))),
        Value((1, 4, 4, 1)),
    ]
    path = write(tmp_path / "op.tflite", values, [node], (0, 3))
    with pytest.raises(QuantizationError, match="unknown"):
        simulate(path, {"tensor0": image(1, 4, 4, 1)})


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = integer_convolution(tmp_path / "op.tflite", 8)
    whole = path.read_bytes()
    for kept in (0, 7, 40, len(whole) // 2):
        path.write_bytes(whole[:kept])
        with pytest.raises(QuantizationError):
            Simulation(path)


def test_scales_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    values = [
        Value((1, 3)),
        constant(np.ones((2, 3), np.int8), scales=[0.1, 0.2, 0.3]),
        Value((1, 2)),
    ]
    path = write(tmp_path / "op.tflite", values, [Node("FULLY_CONNECTED", [0, 1, -1], [2])], (0, 2))
    with pytest.raises(QuantizationError, match="do not fit"):
        Simulation(path)
