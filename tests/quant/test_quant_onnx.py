"""Quantized ONNX files, run in ONNX Runtime and held against the simulation in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import edgesdk.runtime as runtime
from edgesdk.converters.conversion import ConversionRequest
from edgesdk.converters.onnx import convert
from edgesdk.errors import (
    DataError,
    QuantizationError,
    UnknownNameError,
    UnsupportedRecipeError,
)
from edgesdk.frontend.capture import capture
from edgesdk.quant.onnx.quantizer import quantize
from edgesdk.quant.plan import Arrays, IoScale, Quantized, QuantPlan
from edgesdk.quant.recipes import RECIPES, parse_recipe
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.support import supported_recipes
from edgesdk.spec import TensorSpec

SIZE = 16


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
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding="same", groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
        )
        self.project = nn.Conv2d(32, 32, 1)
        self.same = nn.Conv2d(32, 16, (3, 2), padding="same")
        self.gate = Gate(48)
        self.act = nn.Hardswish()
        self.up = nn.ConvTranspose2d(48, 16, 3, 2, 1, 1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.depthwise(x))
        x = torch.cat([x, self.same(x)], 1)
        x = self.act(self.gate(x))
        x = self.pool(self.up(x))
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """A table, a product of tokens and one of two activations; int64 in, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 32)
        self.norm = nn.LayerNorm(32)
        self.inner = nn.Linear(32, 64)
        self.outer = nn.Linear(64, 32, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.table(tokens)
        x = x + self.outer(nn.functional.gelu(self.inner(self.norm(x))))
        return x, torch.softmax(x @ x.transpose(1, 2) * 0.2, -1)


class Single(nn.Module):
    """One layer whose numbers can be reckoned by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.weight = nn.Parameter(torch.tensor([[1.27, -0.64], [0.0, 0.254]]))
        self.layer.bias = nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Huge(nn.Module):
    """An output channel whose weights are a thousand times larger than its neighbours'."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 8, 1)
        with torch.no_grad():
            self.last.weight[3] *= 1000

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


class Embedding(nn.Module):
    """Answers a layer's output and what comes of it behind a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.first(image)
        return inner, self.second(torch.relu(inner))


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


def tokens(count: int, seed: int) -> list[Arrays]:
    generator = np.random.default_rng(seed)
    return [{"tokens": generator.integers(0, 40, (1, 6))} for _ in range(count)]


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
        plan = QuantPlan(
            parse_recipe(spec) if isinstance(spec, str) else spec,
            self.program,
            self.inputs,
            self.outputs,
            self.calibration,
            self.samples,
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
        specs = [
            TensorSpec(name, array.shape, array.dtype.name) for name, array in samples[0].items()
        ]
        example = [torch.from_numpy(array) for array in samples[0].values()]
        captured = capture(settle(model), specs, example)
        torch.export.save(captured.program, folder / "program.pt2")
        path = folder / "float.onnx"
        faces = (captured.inputs, captured.outputs, captured.inputs)
        convert(ConversionRequest("onnx", "", folder / "program.pt2", path, *faces, coverage=False))
        names = (tuple(spec.name for spec in part) for part in (captured.inputs, captured.outputs))
        return Converted(path, captured.program, *names, calibration, samples)

    return build


@pytest.fixture(scope="module")
def everything(make: Make) -> Converted:
    torch.manual_seed(0)
    return make(Everything(), images(8, 1), images(3, 2))


@pytest.fixture(scope="module")
def language(make: Make) -> Converted:
    torch.manual_seed(1)
    return make(Tokens(), tokens(8, 1), tokens(2, 2))


@pytest.fixture(scope="module")
def single(make: Make) -> Converted:
    x = [{"x": np.asarray([[2.55, 0.0]], np.float32)}, {"x": np.asarray([[0, 1.0]], np.float32)}]
    return make(Single(), x, x)


def run(path: Path, samples: Sequence[Arrays]) -> list[Arrays]:
    with runtime.open(path) as session:
        return [session.run(sample) for sample in samples]


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    a, b = left.ravel().astype(np.float64), right.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def agreement(path: Path, quantized: Quantized, samples: Sequence[Arrays]) -> float:
    """The lowest cosine between runtime and simulation over samples and outputs."""
    return min(
        cosine(answer[name], simulated[name])
        for answer, simulated in zip(run(path, samples), quantized.simulated, strict=True)
        for name in simulated
    )


def bits_by_path(quantized: Quantized) -> dict[str, tuple[str, int, int]]:
    return {
        layer.path: (layer.operator, layer.bits, layer.activation_bits)
        for layer in quantized.layers
    }


@pytest.mark.parametrize("recipe", supported_recipes("onnx"))
def test_the_runtime_answers_as_simulated_and_near_the_float_model(
    everything: Converted, tmp_path: Path, recipe: str
) -> None:
    path, quantized = everything.quantize(tmp_path / "q.onnx", recipe)
    assert agreement(path, quantized, everything.samples) >= 0.999
    floats = run(everything.path, everything.samples)
    answers = run(path, everything.samples)
    near = min(
        cosine(answer["output"], exact["output"])
        for answer, exact in zip(answers, floats, strict=True)
    )
    assert near >= (0.9 if recipe.startswith("w4") else 0.98)
    assert answers[0]["output"].dtype == np.float32


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic", "w4_only_block32", "fp16"])
def test_tokens(language: Converted, tmp_path: Path, recipe: str) -> None:
    path, quantized = language.quantize(tmp_path / "q.onnx", recipe)
    assert agreement(path, quantized, language.samples) >= 0.999
    found = bits_by_path(quantized)
    bits = {"fp16": 16, "w4_only_block32": 4}.get(recipe, 8)
    assert found["table"][:2] == ("embedding", bits)
    assert found["inner"][:2] == found["outer"][:2] == ("linear", bits)


def test_layers_are_told_as_the_file_has_them(everything: Converted, tmp_path: Path) -> None:
    _, static = everything.quantize(tmp_path / "static.onnx", "w8a8_static")
    assert bits_by_path(static) == {
        "stem.0": ("conv2d", 8, 8),
        "depthwise.0": ("depthwise", 8, 8),
        "project": ("conv2d", 8, 8),
        "same": ("conv2d", 8, 8),
        "gate.down": ("conv2d", 8, 8),
        "gate.up": ("conv2d", 8, 8),
        "up": ("conv_transpose2d", 8, 32),
        "head": ("linear", 8, 8),
    }
    assert [layer.weights for layer in static.layers][:3] == [32 * 27, 32 * 9, 32 * 32]
    reasons = {layer.path: layer.reason for layer in static.layers if layer.reason}
    assert list(reasons) == ["up"]
    assert "ConvTranspose" in reasons["up"]
    assert static.float_operators["ConvTranspose"] == 1
    assert static.float_operators["HardSwish"] == 1
    assert not {"Conv", "Gemm", "Add", "Concat"} & static.float_operators.keys()


def test_dynamic_layers_without_a_good_kernel_compute_in_floats(
    everything: Converted, tmp_path: Path
) -> None:
    path, quantized = everything.quantize(tmp_path / "q.onnx", "w8a32_dynamic")
    floats = {layer.path: layer for layer in quantized.layers if layer.activation_bits == 32}
    assert set(floats) == {"depthwise.0", "up"}
    assert all(layer.bits == 8 and layer.reason for layer in floats.values())
    operators = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert operators.count("ConvInteger") == 5
    assert operators.count("MatMulInteger") == 1
    # The two layers that take the output of the stem measure it once.
    assert operators.count("DynamicQuantizeLinear") == 6


def test_few_bits_leave_short_rows_wide(everything: Converted, tmp_path: Path) -> None:
    _, quantized = everything.quantize(tmp_path / "q.onnx", "w4_only")
    bits = {path: bits for path, (_, bits, _) in bits_by_path(quantized).items()}
    # Rows of 27, 9, 8 and 16 weights.
    assert {path for path, number in bits.items() if number == 8} == {
        "stem.0",
        "depthwise.0",
        "gate.up",
        "head",
    }
    assert {bits[path] for path in ("project", "same", "gate.down", "up")} == {4}
    assert "4 layers" in quantized.notes[0]


def stored_bits(path: Path) -> int:
    """Bits of all constants of a file."""
    total = 0
    for weight in onnx.load(str(path)).graph.initializer:
        total += 8 * len(weight.raw_data) or 32 * int(np.prod(weight.dims))
    return total


@pytest.mark.parametrize(
    ("recipe", "share"),
    [("w8_only", 0.30), ("w8a8_static", 0.33), ("w8a32_dynamic", 0.30), ("fp16", 0.52)],
)
def test_weights_are_small_in_the_file(
    everything: Converted, tmp_path: Path, recipe: str, share: float
) -> None:
    path, _ = everything.quantize(tmp_path / "q.onnx", recipe)
    assert stored_bits(path) <= share * stored_bits(everything.path)


def test_the_same_plan_gives_the_same_bytes(everything: Converted, tmp_path: Path) -> None:
    for recipe in ("w8a8_static", "w8a32_dynamic", "w4_only_block32", "fp16"):
        first, _ = everything.quantize(tmp_path / "first.onnx", recipe)
        again, _ = everything.quantize(tmp_path / "again.onnx", recipe)
        assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic", "w8_only", "fp16"])
def test_layers_that_are_kept_float(everything: Converted, tmp_path: Path, recipe: str) -> None:
    spec = replace(RECIPES[recipe], float_layers=("gate", "same"))
    path, quantized = everything.quantize(tmp_path / "q.onnx", spec)
    kept = {layer.path: layer for layer in quantized.layers if layer.bits == 32}
    assert list(kept) == ["same", "gate.down", "gate.up"]
    assert {layer.reason for layer in kept.values()} == {"kept float as requested"}
    assert {layer.activation_bits for layer in kept.values()} == {32}
    assert "Conv" not in quantized.float_operators
    assert agreement(path, quantized, everything.samples) >= 0.999
    floats = {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
    assert "model.same.weight" in floats


def test_a_layer_that_does_not_exist(everything: Converted, tmp_path: Path) -> None:
    spec = replace(RECIPES["w8_only"], float_layers=("gate.dwn",))
    with pytest.raises(UnknownNameError, match=r"gate\.dwn"):
        everything.quantize(tmp_path / "q.onnx", spec)


def test_numbers_of_one_layer_with_stored_weights(single: Converted, tmp_path: Path) -> None:
    path, quantized = single.quantize(tmp_path / "q.onnx", "w8_only", calibration=())
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(path)).graph.initializer
    }
    integers = constants["model.layer.weight_quantized"]
    assert integers.dtype == np.int8
    # Each row by its largest weight: 1.27 / 127 = 0.01 and 0.254 / 127 = 0.002.
    assert integers.tolist() == [[127, -64], [0, 127]]
    scales = constants["model.layer.weight_scale"]
    assert scales.ravel() == pytest.approx([0.01, 0.002])
    answer = run(path, [{"x": np.asarray([[1, 10]], np.float32)}])[0]["output"]
    assert answer == pytest.approx(np.array([[1.27 - 6.4 + 0.5, 2.54 - 0.25]]), abs=1e-5)
    assert quantized.layers[0].weights == 4


def test_numbers_of_one_layer_that_measures_its_input(single: Converted, tmp_path: Path) -> None:
    path, _ = single.quantize(tmp_path / "q.onnx", "w8a32_dynamic", calibration=())
    # 0..2.55 in steps of 0.01: 0.014 becomes 0.01.
    answer = run(path, [{"x": np.asarray([[2.55, 0.014]], np.float32)}])[0]["output"]
    expected = [[2.55 * 1.27 - 0.01 * 0.64 + 0.5, 0.01 * 0.254 - 0.25]]
    assert answer == pytest.approx(np.array(expected), abs=1e-5)


def test_numbers_of_int8_io(single: Converted, tmp_path: Path) -> None:
    spec = replace(RECIPES["w8a8_static"], io_dtype="int8", ranges="min_max")
    path, quantized = single.quantize(tmp_path / "q.onnx", spec)
    x, output = quantized.io_scales
    assert x == IoScale("x", pytest.approx(0.01), -128)  # type: ignore[arg-type]
    # Outputs of the two samples: 3.7385, -0.25 and -0.14, 0.004.
    assert output.name == "output"
    assert output.scale == pytest.approx((3.7385 + 0.25) / 255, rel=1e-3)
    assert output.zero_point == round(-128 + 0.25 / output.scale)
    with runtime.open(path) as session:
        assert [spec.dtype for spec in (*session.inputs, *session.outputs)] == ["int8", "int8"]
        answer = session.run({"x": np.asarray([[127, -128]], np.int8)})["output"]
    assert answer.dtype == np.int8
    floats = (answer.astype(float) - output.zero_point) * output.scale
    assert floats == pytest.approx(np.array([[3.7385, -0.25]]), abs=output.scale)
    # The simulation speaks floats all the same.
    assert quantized.simulated[0]["output"] == pytest.approx(
        np.array([[3.7385, -0.25]]), abs=output.scale
    )


def test_int8_io_of_a_whole_network(everything: Converted, tmp_path: Path) -> None:
    spec = replace(RECIPES["w8a8_static"], io_dtype="int8", float_layers=("stem", "head"))
    path, quantized = everything.quantize(tmp_path / "q.onnx", spec)
    given, told = quantized.io_scales
    inputs = [
        {
            "image": np.clip(
                np.rint(sample["image"] / np.float32(given.scale)) + given.zero_point, -128, 127
            ).astype(np.int8)
        }
        for sample in everything.samples
    ]
    for answer, simulated in zip(run(path, inputs), quantized.simulated, strict=True):
        floats = (answer["output"].astype(np.float32) - told.zero_point) * told.scale
        assert cosine(floats, simulated["output"]) >= 0.999


def test_integers_are_not_int8_io(language: Converted, tmp_path: Path) -> None:
    spec = replace(RECIPES["w8a8_static"], io_dtype="int8")
    path, quantized = language.quantize(tmp_path / "q.onnx", spec)
    assert {scale.name for scale in quantized.io_scales} == set(language.outputs)
    with runtime.open(path) as session:
        assert [spec.dtype for spec in session.inputs] == ["int64"]


def test_ranges_come_from_the_method_that_was_asked(single: Converted, tmp_path: Path) -> None:
    """Extremes over all samples are 0..2.55; their moving average is 0..2.55 - 0.1 * 1.55."""
    faces = {}
    for method in ("min_max", "moving_average"):
        spec = replace(RECIPES["w8a8_static"], io_dtype="int8", ranges=method)
        faces[method] = single.quantize(tmp_path / "q.onnx", spec)[1].io_scales[0].scale
    assert faces["min_max"] == pytest.approx(0.01)
    assert faces["moving_average"] == pytest.approx((2.55 - 0.155) / 255)


def test_a_huge_channel_does_not_drown_the_others(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(3)
    converted = make(Huge(), images(4, 1, 8), images(2, 2, 8))
    floats = run(converted.path, converted.samples)
    for recipe in ("w8_only", "w8a32_dynamic"):
        path, quantized = converted.quantize(tmp_path / "q.onnx", recipe)
        assert agreement(path, quantized, converted.samples) >= 0.999
        for answer, exact in zip(run(path, converted.samples), floats, strict=True):
            for channel in range(8):
                left, right = answer["output"][:, channel], exact["output"][:, channel]
                assert cosine(left - left.mean(), right - right.mean()) > 0.999


def test_an_output_in_front_of_a_rectifier_keeps_its_negative_values(
    make: Make, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    converted = make(Embedding(), images(4, 1, 8), images(2, 2, 8))
    spec = replace(RECIPES["w8a8_static"], ranges="min_max")
    path, _ = converted.quantize(tmp_path / "q.onnx", spec)
    floats = run(converted.path, converted.samples)
    for answer, exact in zip(run(path, converted.samples), floats, strict=True):
        for name in converted.outputs:
            assert cosine(answer[name], exact[name]) > 0.999


def test_black_calibration_gives_a_model_that_runs(everything: Converted, tmp_path: Path) -> None:
    black = [{"image": np.zeros((1, 3, SIZE, SIZE), np.float32)}]
    path, quantized = everything.quantize(
        tmp_path / "q.onnx", "w8a8_static", calibration=black, samples=black
    )
    answer = run(path, black)[0]["output"]
    assert np.isfinite(answer).all()
    assert agreement(path, quantized, black) >= 0.999


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "no samples"),
        ([{"image": np.full((1, 3, SIZE, SIZE), np.nan, np.float32)}], "NaN"),
        ([{"image": np.zeros((1, 3, SIZE + 1, SIZE), np.float32)}], "cannot run on"),
        ([{"other": np.zeros((1, 3, SIZE, SIZE), np.float32)}], "no input 'image'"),
    ],
)
def test_bad_calibration(
    everything: Converted, tmp_path: Path, calibration: list[Arrays], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        everything.quantize(tmp_path / "q.onnx", "w8a8_static", calibration=calibration)


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic", "w4_only_block32", "fp16"])
def test_what_is_quantized_is_refused(single: Converted, tmp_path: Path, recipe: str) -> None:
    path, _ = single.quantize(tmp_path / "q.onnx", recipe)
    with pytest.raises(QuantizationError, match="already quantized"):
        quantize(path, tmp_path / "again.onnx", single.plan("w8_only"))


def test_a_model_without_weights_is_refused(make: Make, tmp_path: Path) -> None:
    plain = make(nn.ReLU(), images(1, 1), images(1, 1))
    with pytest.raises(QuantizationError, match="no operator with constant weights"):
        plain.quantize(tmp_path / "q.onnx", "w8_only")


def test_palettes_are_refused(single: Converted, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedRecipeError, match="palettes"):
        single.quantize(tmp_path / "q.onnx", "palette4")


def test_a_file_that_is_no_model(single: Converted, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(QuantizationError, match=r"broken\.onnx"):
        quantize(broken, tmp_path / "q.onnx", single.plan("w8_only"))


def test_sums_of_extreme_bytes_do_not_saturate(make: Make, tmp_path: Path) -> None:
    """255 * 127 twice is more than 16 bits hold, and kernels without VNNI add pairs in 16 bits."""
    model = nn.Conv2d(16, 4, 1, bias=False)
    nn.init.constant_(model.weight, 1.27)
    ones = [{"image": np.full((1, 16, 4, 4), 2.55, np.float32)}]
    converted = make(model, ones, ones)
    for recipe in ("w8a8_static", "w8a32_dynamic"):
        path, _ = converted.quantize(tmp_path / "q.onnx", recipe)
        answer = run(path, ones)[0]["output"]
        assert answer == pytest.approx(np.full((1, 4, 4, 4), 16 * 2.55 * 1.27), rel=1e-3)
