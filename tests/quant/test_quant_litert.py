"""Quantized LiteRT files, run in the interpreter and held against the simulation in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk.runtime as runtime
from edgesdk.converters.conversion import ConversionRequest
from edgesdk.converters.litert import convert
from edgesdk.errors import (
    DataError,
    QuantizationError,
    UnknownNameError,
    UnsupportedRecipeError,
)
from edgesdk.frontend.capture import capture
from edgesdk.quant.litert.file import read_model
from edgesdk.quant.litert.layers import layer_paths
from edgesdk.quant.litert.quantizer import quantize
from edgesdk.quant.plan import Arrays, IoScale, Quantized, QuantPlan
from edgesdk.quant.recipes import parse_recipe
from edgesdk.quant.spec import RANGE_METHODS, QuantSpec
from edgesdk.quant.support import supported_recipes
from edgesdk.spec import TensorSpec

SIZE = 16
#: What recipes that keep enough must stay near to the float model.
NEAR = {"fp16": 0.99999, "w8_only": 0.999, "w8a32_dynamic": 0.999, "w8a8_static": 0.99}


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = torch.relu(self.down(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.up(small))


class Everything(nn.Module):
    """Folded norms, a depthwise layer, a residual, concatenation, a gate, an upward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding="same", groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
        )
        self.project = nn.Conv2d(32, 32, 1)
        self.same = nn.Conv2d(32, 16, (3, 2), padding="same")
        self.gate = Gate(48)
        self.act = nn.Hardswish()
        self.up = nn.ConvTranspose2d(48, 16, 2, 2)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.depthwise(x))
        x = torch.cat([x, self.same(x)], 1)
        x = self.act(self.gate(x))
        x = self.pool(self.up(x))
        return self.head(x.mean((2, 3)))


class Normed(nn.Module):
    """Norms and an exponential, which 8 bits cannot hold, and a mean of very many values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(torch.relu(self.norm(self.first(x))))
        return torch.exp(0.1 * x).mean((2, 3))


class Tokens(nn.Module):
    """A table, and a product of two activations; int64 in, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 32)
        self.inner = nn.Linear(32, 48, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inner(self.table(tokens))
        return x, torch.softmax(x @ x.transpose(1, 2) * 0.1, -1)


class Single(nn.Module):
    """One layer whose numbers can be reckoned by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.weight = nn.Parameter(torch.tensor([[1.27, -0.64], [0.0, 0.254]]))
        self.layer.bias = nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Extreme(nn.Module):
    """A channel a thousand times larger than its neighbours, and one without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 8, 1)
        with torch.no_grad():
            self.first.weight[3] *= 1000
            self.last.weight[:, 3] /= 1000
            self.first.weight[5] = 0
            self.first.bias[5] = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def settle(model: nn.Module) -> nn.Module:
    """Statistics of norms that are not those of a fresh network."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.1 * torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
            module.weight.data = torch.rand(module.num_features) + 0.5
            module.bias.data = 0.3 * torch.randn(module.num_features)
    return model.eval()


def images(count: int, seed: int, size: int = SIZE) -> list[Arrays]:
    generator = np.random.default_rng(seed)
    return [
        {"image": generator.standard_normal((1, 3, size, size)).astype(np.float32)}
        for _ in range(count)
    ]


def vectors(*rows: Sequence[float]) -> list[Arrays]:
    return [{"image": np.array([row], np.float32)} for row in rows]


@dataclass(frozen=True)
class Converted:
    """A float artefact with all that a plan needs."""

    path: Path
    program: torch.export.ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calibration: Sequence[Arrays]
    samples: Sequence[Arrays]

    def plan(self, spec: QuantSpec | str, **changes: object) -> QuantPlan:
        chosen = parse_recipe(spec) if isinstance(spec, str) else spec
        given = self.calibration if chosen.static else ()
        plan = QuantPlan(
            *(chosen, self.program, self.inputs, self.outputs, given, self.samples),
        )
        return replace(plan, **changes)  # type: ignore[arg-type]

    def quantize(
        self, output: Path, spec: QuantSpec | str, **changes: object
    ) -> tuple[Path, Quantized]:
        return output, quantize(self.path, output, self.plan(spec, **changes))


Make = Callable[[nn.Module, Sequence[Arrays], Sequence[Arrays]], Converted]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(
        model: nn.Module, calibration: Sequence[Arrays], samples: Sequence[Arrays]
    ) -> Converted:
        folder = tmp_path_factory.mktemp("float")
        [(name, array)] = samples[0].items()
        spec = TensorSpec(name, array.shape, array.dtype.name)
        captured = capture(settle(model), [spec], [torch.from_numpy(array)])
        torch.export.save(captured.program, folder / "program.pt2")
        path = folder / "float.tflite"
        faces = (captured.inputs, captured.outputs, captured.inputs)
        convert(
            ConversionRequest("litert", "", folder / "program.pt2", path, *faces, coverage=False)
        )
        inputs, outputs = (
            tuple(spec.name for spec in part) for part in (captured.inputs, captured.outputs)
        )
        return Converted(path, captured.program, inputs, outputs, calibration, samples)

    return build


@pytest.fixture(scope="module")
def everything(make: Make) -> Converted:
    torch.manual_seed(0)
    return make(Everything(), images(8, 1), images(3, 2))


@pytest.fixture(scope="module")
def language(make: Make) -> Converted:
    torch.manual_seed(1)
    generator = np.random.default_rng(4)
    tokens = [{"tokens": generator.integers(0, 40, (1, 6))} for _ in range(8)]
    return make(Tokens(), tokens[:6], tokens[6:])


@pytest.fixture(scope="module")
def single(make: Make) -> Converted:
    corners = ([1.0, -1.0], [-1.55, 1.0], [0.3, 0.2])
    return make(Single(), vectors(*corners), vectors([0.5, 0.25]))


@pytest.fixture(scope="module")
def extreme(make: Make) -> Converted:
    torch.manual_seed(3)
    return make(Extreme(), images(4, 1, 8), images(2, 2, 8))


def run(path: Path, samples: Sequence[Arrays], io_scales: Sequence[IoScale] = ()) -> list[Arrays]:
    """Answers of the interpreter; int8 inputs and outputs are converted."""
    scales = {scale.name: scale for scale in io_scales}
    answers = []
    with runtime.open(path) as session:
        for sample in samples:
            given = dict(sample)
            for name in scales.keys() & given.keys():
                encoded = np.round(given[name] / scales[name].scale) + scales[name].zero_point
                given[name] = np.clip(encoded, -128, 127).astype(np.int8)
            answer = dict(session.run(given))
            for name in scales.keys() & answer.keys():
                assert answer[name].dtype == np.int8
                steps = answer[name].astype(np.float32) - scales[name].zero_point
                answer[name] = steps * scales[name].scale
            answers.append(answer)
    return answers


def likeness(left: Sequence[Arrays], right: Sequence[Arrays]) -> float:
    """The smallest cosine of two lists of answers."""
    found = []
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            a, b = (np.ravel(values).astype(np.float64) for values in (array, other[name]))
            assert a.shape == b.shape
            found.append(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
    return min(found)


@pytest.mark.parametrize("recipe", supported_recipes("litert"))
def test_the_runtime_answers_as_simulated_and_near_the_float_model(
    everything: Converted, tmp_path: Path, recipe: str
) -> None:
    path, quantized = everything.quantize(tmp_path / "q.tflite", recipe)
    answers = run(path, everything.samples)
    assert likeness(answers, quantized.simulated) > 0.9999
    assert likeness(answers, run(everything.path, everything.samples)) > NEAR.get(recipe, 0.9)


def test_layers_are_told_as_the_file_has_them(everything: Converted, tmp_path: Path) -> None:
    _, quantized = everything.quantize(tmp_path / "q.tflite", "w8a8_static")
    told = [
        (layer.path, layer.operator, layer.weights, layer.bits, layer.activation_bits)
        for layer in quantized.layers
    ]
    assert told == [
        ("stem.0", "conv2d", 32 * 27, 8, 8),
        ("depthwise.0", "depthwise", 32 * 9, 8, 8),
        ("project", "conv2d", 32 * 32, 8, 8),
        ("same", "conv2d", 16 * 32 * 6, 8, 8),
        ("gate.down", "conv2d", 48 * 8, 8, 8),
        ("gate.up", "conv2d", 48 * 8, 8, 8),
        ("up", "conv_transpose2d", 48 * 16 * 4, 8, 8),
        ("head", "linear", 160, 8, 8),
    ]
    assert not any(layer.reason for layer in quantized.layers)


@pytest.mark.parametrize(
    ("recipe", "activation"), [("w4_only", 32), ("w4a32_dynamic", 8), ("w4a8", 8)]
)
def test_four_bits_where_there_are_kernels(
    everything: Converted, tmp_path: Path, recipe: str, activation: int
) -> None:
    path, quantized = everything.quantize(tmp_path / "q.tflite", recipe)
    wide = {layer.path for layer in quantized.layers if layer.bits == 8}
    assert wide == {"depthwise.0", "up"}
    assert {layer.bits for layer in quantized.layers} == {4, 8}
    assert {layer.activation_bits for layer in quantized.layers} == {activation}
    assert "4-bit weights of conv_transpose2d, depthwise" in " ".join(quantized.notes)
    types = {tensor.dtype for tensor in read_model(path).tensors if tensor.constant}
    assert "INT4" in types


@pytest.mark.parametrize(
    ("recipe", "share"), [("fp16", 0.51), ("w8_only", 0.26), ("w8a8_static", 0.26)]
)
def test_weights_are_small_in_the_file(
    everything: Converted, tmp_path: Path, recipe: str, share: float
) -> None:
    path, _ = everything.quantize(tmp_path / "q.tflite", recipe, samples=())
    held = [
        sum(
            tensor.stored.nbytes
            for tensor in read_model(file).tensors
            if tensor.stored is not None and tensor.stored.ndim > 1
        )
        for file in (path, everything.path)
    ]
    assert held[0] / held[1] < share
    assert path.stat().st_size < everything.path.stat().st_size


@pytest.mark.parametrize("recipe", ["w8a8_static", "w4_only"])
def test_the_same_plan_gives_the_same_bytes(
    everything: Converted, tmp_path: Path, recipe: str
) -> None:
    first, _ = everything.quantize(tmp_path / "1.tflite", recipe, samples=())
    second, _ = everything.quantize(tmp_path / "2.tflite", recipe, samples=())
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic", "w8_only", "fp16"])
def test_layers_that_are_kept_float(everything: Converted, tmp_path: Path, recipe: str) -> None:
    spec = replace(parse_recipe(recipe), float_layers=("gate", "head"))
    path, quantized = everything.quantize(tmp_path / "q.tflite", spec)
    kept = {layer.path: layer for layer in quantized.layers if layer.bits == 32}
    assert kept.keys() == {"gate.down", "gate.up", "head"}
    assert {layer.activation_bits for layer in kept.values()} == {32}
    assert {layer.reason for layer in kept.values()} == {"kept float as requested"}
    assert likeness(run(path, everything.samples), quantized.simulated) > 0.9999


def test_what_lies_between_float_layers_stays_float(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 1), nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.Hardswish()),
        nn.Conv2d(8, 4, 1),
    )
    converted = make(net, images(3, 1), images(1, 2))
    spec = replace(parse_recipe("w8a8_static"), float_layers=("0", "2"))
    path, quantized = converted.quantize(tmp_path / "q.tflite", spec)
    model = read_model(path)
    acts = [model.tensors[o.outputs[0]] for o in model.operators if o.name == "HARD_SWISH"]
    assert [tensor.dtype for tensor in acts] == ["FLOAT32", "INT8"]
    # What was asked to stay float is no lack of kernels.
    assert quantized.float_operators == {}


def test_a_layer_that_does_not_exist(everything: Converted, tmp_path: Path) -> None:
    spec = replace(parse_recipe("w8_only"), float_layers=("hed",))
    with pytest.raises(UnknownNameError, match="hed"):
        everything.quantize(tmp_path / "q.tflite", spec)


def test_operators_that_8_bits_cannot_hold_stay_float(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(2)
    # The mean of 16384 values overflows in the interpreter's kernel for integers.
    converted = make(Normed(), images(2, 1, 128), images(1, 2, 128))
    path, quantized = converted.quantize(tmp_path / "q.tflite", "w8a8_static")
    assert quantized.float_operators["EXP"] == 1
    assert quantized.float_operators["RSQRT"] == 1
    assert quantized.float_operators["MEAN"] >= 3
    assert {layer.bits for layer in quantized.layers} == {8}
    answers = run(path, converted.samples)
    assert likeness(answers, quantized.simulated) > 0.9999
    assert likeness(answers, run(converted.path, converted.samples)) > 0.999


@pytest.mark.parametrize("recipe", ["w8a8_static", "w4_only", "w8a32_dynamic"])
def test_a_table_of_tokens(language: Converted, tmp_path: Path, recipe: str) -> None:
    path, quantized = language.quantize(tmp_path / "q.tflite", recipe)
    layers = {layer.path: layer for layer in quantized.layers}
    assert layers.keys() == {"table", "inner"}
    assert layers["table"].bits <= 8
    assert layers["table"].activation_bits == 32
    # The artefact takes int32.
    given = [{"tokens": sample["tokens"].astype(np.int32)} for sample in language.samples]
    assert likeness(run(path, given), quantized.simulated) > 0.9999


def test_numbers_of_one_layer_with_stored_weights(single: Converted, tmp_path: Path) -> None:
    path, quantized = single.quantize(tmp_path / "q.tflite", "w8_only")
    [weight] = [t for t in read_model(path).tensors if t.dtype == "INT8"]
    # 1.27 / 127 and 0.254 / 127.
    np.testing.assert_allclose(weight.scales, [0.01, 0.002], rtol=1e-6)
    np.testing.assert_array_equal(weight.stored, [[127, -64], [0, 127]])
    # 0.5 * 1.27 - 0.25 * 0.64 + 0.5, and 0.25 * 0.254 - 0.25.
    [name] = single.outputs
    for answers in (quantized.simulated, run(path, single.samples)):
        np.testing.assert_allclose(answers[0][name], [[0.975, -0.1865]], atol=1e-6)


def test_numbers_of_int8_io(single: Converted, tmp_path: Path) -> None:
    spec = replace(parse_recipe("w8a8_static"), io_dtype="int8", ranges="min_max")
    path, quantized = single.quantize(tmp_path / "q.tflite", spec)
    taken, given = quantized.io_scales
    # From -1.55 to 1.0 in 255 steps.
    assert taken.name == "image"
    assert taken.scale == pytest.approx(0.01, rel=1e-6)
    assert taken.zero_point == 27
    [name] = single.outputs
    assert given.name == name
    # -1.55 * 1.27 - 0.64 + 0.5 to 1.27 + 0.64 + 0.5: the lowest and the highest of the first row.
    assert given.scale == pytest.approx((2.41 + 2.1085) / 255, rel=1e-5)
    with runtime.open(path) as session:
        assert [spec.dtype for spec in (*session.inputs, *session.outputs)] == ["int8", "int8"]
        # 0.5 and 0.25 are 50 and 25 steps from the zero point.
        [answer] = session.run({"image": np.array([[77, 52]], np.int8)}).values()
    expected = np.round(np.array([0.975, -0.1865]) / given.scale) + given.zero_point
    np.testing.assert_array_equal(answer, [expected])


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a16_static"])
def test_int8_io_of_a_whole_network(everything: Converted, tmp_path: Path, recipe: str) -> None:
    spec = replace(parse_recipe(recipe), io_dtype="int8")
    path, quantized = everything.quantize(tmp_path / "q.tflite", spec)
    assert [scale.name for scale in quantized.io_scales] == ["image", *everything.outputs]
    answers = run(path, everything.samples, quantized.io_scales)
    assert likeness(answers, quantized.simulated) > 0.9999


def test_float_io_has_no_scales(everything: Converted, tmp_path: Path) -> None:
    path, quantized = everything.quantize(tmp_path / "q.tflite", "w8a8_static", samples=())
    assert quantized.io_scales == ()
    with runtime.open(path) as session:
        assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"float32"}


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_ranges_come_from_the_method_that_was_asked(
    single: Converted, tmp_path: Path, method: str
) -> None:
    spec = replace(parse_recipe("w8a8_static"), io_dtype="int8", ranges=method)
    # Momentum 0.1 takes little of the wider second sample.
    _, quantized = single.quantize(
        tmp_path / "q.tflite", spec, calibration=vectors([1.0, -1.0], [-1.55, 1.0])
    )
    reach = quantized.io_scales[0].scale * 255
    if method == "moving_average":
        assert reach == pytest.approx(1.0 + 1.055, rel=1e-5)
    else:
        assert reach <= 2.55 * (1 + 1e-3)
    if method in ("min_max", "percentile"):
        assert reach == pytest.approx(2.55, rel=1e-2)


def test_calibration_serves_weights_too(everything: Converted, tmp_path: Path) -> None:
    floats = run(everything.path, everything.samples)
    losses = []
    for number, calibration in enumerate(((), everything.calibration)):
        path, quantized = everything.quantize(
            tmp_path / f"{number}.tflite", "w4_only", calibration=calibration
        )
        answers = run(path, everything.samples)
        assert likeness(answers, quantized.simulated) > 0.9999
        losses.append(1 - likeness(answers, floats))
    assert losses[1] < losses[0] / 2


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic", "w4_only"])
def test_extreme_channels_do_not_drown_the_others(
    extreme: Converted, tmp_path: Path, recipe: str
) -> None:
    path, quantized = extreme.quantize(tmp_path / "q.tflite", recipe)
    answers = run(path, extreme.samples)
    assert likeness(answers, quantized.simulated) > 0.9999
    weights = [t for t in read_model(path).tensors if t.constant and len(t.shape) == 4]
    first = next(t for t in weights if t.shape == (16, 3, 3, 3))
    assert first.scales[3] > 100 * np.median(first.scales)


def test_the_bias_of_a_channel_without_weights_survives(extreme: Converted, tmp_path: Path) -> None:
    path, _ = extreme.quantize(tmp_path / "q.tflite", "w8a8_static")
    biases = [t for t in read_model(path).tensors if t.dtype == "INT32" and t.shape == (16,)]
    [bias] = [t for t in biases if t.quantized]
    assert bias.values()[5] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("io_dtype", ["float", "int8"])
def test_black_calibration_gives_a_model_that_runs(
    everything: Converted, tmp_path: Path, io_dtype: str
) -> None:
    black = [{"image": np.zeros((1, 3, SIZE, SIZE), np.float32)}]
    spec = replace(parse_recipe("w8a8_static"), io_dtype=io_dtype)
    path, quantized = everything.quantize(
        tmp_path / "q.tflite", spec, calibration=black, samples=black
    )
    answers = run(path, black, quantized.io_scales)
    assert likeness(answers, quantized.simulated) > 0.9999
    assert likeness(answers, run(everything.path, black)) > 0.99


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        ([], "none were given"),
        ([{"picture": np.zeros((1, 3, SIZE, SIZE), np.float32)}], "has no input 'image'"),
        ([{"image": np.zeros((1, 3, SIZE, 8), np.float32)}], "not \\[1, 3, 16, 16\\]"),
        ([{"image": np.full((1, 3, SIZE, SIZE), np.nan, np.float32)}], "NaN"),
    ],
)
def test_bad_calibration(
    everything: Converted, tmp_path: Path, calibration: list[Arrays], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        everything.quantize(tmp_path / "q.tflite", "w8a8_static", calibration=calibration)
    assert not (tmp_path / "q.tflite").exists()


@pytest.mark.parametrize("recipe", ["w8a8_static", "fp16"])
def test_what_is_quantized_is_refused(single: Converted, tmp_path: Path, recipe: str) -> None:
    path, _ = single.quantize(tmp_path / "q.tflite", recipe)
    with pytest.raises(QuantizationError, match="already quantized"):
        quantize(path, tmp_path / "again.tflite", single.plan("w8a32_dynamic"))


def test_a_model_without_weights_is_refused(make: Make, tmp_path: Path) -> None:
    converted = make(nn.Hardswish(), (), images(1, 1))
    with pytest.raises(QuantizationError, match="no operator with constant weights"):
        converted.quantize(tmp_path / "q.tflite", "w8_only")


@pytest.mark.parametrize("recipe", ["palette4", "w4_only_block32"])
def test_what_litert_lacks_is_refused(single: Converted, tmp_path: Path, recipe: str) -> None:
    with pytest.raises(UnsupportedRecipeError, match="litert"):
        single.quantize(tmp_path / "q.tflite", recipe)


def test_a_file_that_is_no_model(single: Converted, tmp_path: Path) -> None:
    (tmp_path / "no.tflite").write_bytes(b"\0" * 64)
    with pytest.raises(QuantizationError, match=r"no\.tflite"):
        quantize(tmp_path / "no.tflite", tmp_path / "q.tflite", single.plan("w8_only"))


def test_layers_are_found_by_their_weights_whatever_their_order(everything: Converted) -> None:
    paths = layer_paths(read_model(everything.path), everything.program)
    expected = ["stem.0", "depthwise.0", "project", "same", "gate.down", "gate.up", "up", "head"]
    assert paths == expected
