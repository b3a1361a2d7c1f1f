"""Quantized Core ML packages, evaluated and held against the simulation in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk.runtime as runtime
from edgesdk.errors import DataError, QuantizationError, UnsupportedRecipeError
from edgesdk.quant.coreml.package import packed_weights
from edgesdk.quant.coreml.program import compress_model, quantize_program, read_back
from edgesdk.quant.plan import Arrays, Quantized, QuantPlan
from edgesdk.quant.recipes import RECIPES
from edgesdk.quant.support import supported_recipes

ct = pytest.importorskip("coremltools")

PlanOf = Callable[..., QuantPlan]
Closeness = Callable[[np.ndarray, np.ndarray], float]
#: How near the float network a recipe must stay here, and the bits of most of its weights.
RECIPES_HERE = {
    "w8a8_static": (0.98, 8),
    "w4_only_block32": (0.95, 4),
    "palette4": (0.95, 4),
}
OTHERS = {
    "fp16": (0.9999, 16),
    "w8_only": (0.999, 8),
    "w4a8": (0.90, 4),
    "w4_only": (0.90, 4),
    "palette8": (0.999, 8),
    "palette6": (0.99, 6),
    "palette2": (0.50, 2),
    "palette1": (0.10, 1),
}


def packaged(plan: QuantPlan, path: Path) -> Quantized:
    """Write the quantized package of a plan, as the converter does, and look into it."""
    work = quantize_program(plan)
    halved = plan.spec.precision == "fp16"
    model = ct.convert(
        work.program.run_decompositions({}),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if halved else ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, work.system),
        skip_model_load=True,
        outputs=[ct.TensorType(dtype=np.float32) for _ in plan.outputs],
    )
    compress_model(plan, work, model).save(str(path))
    return read_back(plan, work, path)


def answers(path: Path, plan: QuantPlan) -> list[Arrays]:
    session = runtime.open(path)
    name = session.inputs[0].name
    results = [session.run({name: sample["x"]}) for sample in plan.samples]
    return [dict(zip(plan.outputs, result.values(), strict=True)) for result in results]


def worst(plan: QuantPlan, quantized: Quantized, path: Path, closeness: Closeness) -> float:
    return min(
        closeness(found[name], expected[name])
        for found, expected in zip(answers(path, plan), quantized.simulated, strict=True)
        for name in plan.outputs
    )


@pytest.mark.parametrize(
    "recipe", [*RECIPES_HERE, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_the_package_answers_what_its_weights_say(
    plan_of: PlanOf,
    every_layer: nn.Module,
    closeness: Closeness,
    tmp_path: Path,
    recipe: str,
) -> None:
    plan = plan_of(every_layer, recipe)
    path = tmp_path / "net.mlpackage"
    quantized = packaged(plan, path)
    assert worst(plan, quantized, path, closeness) > 0.9999
    near, bits = (RECIPES_HERE | OTHERS)[recipe]
    for found, sample in zip(quantized.simulated, plan.samples, strict=True):
        exact = every_layer(torch.from_numpy(sample["x"]))
        for name, value in zip(plan.outputs, exact, strict=True):
            assert closeness(found[name], value.detach().numpy()) > near
    assert len(quantized.layers) == 9
    by_path = {layer.path: layer for layer in quantized.layers}
    assert by_path["stem.0"].bits in (bits, 8)
    assert by_path["project"].bits == bits
    if recipe in ("w8a8_static", "w4a8"):
        assert {layer.activation_bits for layer in quantized.layers} == {8}


def test_every_recipe_of_core_ml_is_tried_here() -> None:
    assert {*RECIPES_HERE, *OTHERS} == set(supported_recipes("coreml"))


@pytest.mark.parametrize("recipe", ["w8a8_static", "palette4"])
def test_layers_that_are_kept_float_are_float_in_the_package(
    plan_of: PlanOf, every_layer: nn.Module, closeness: Closeness, tmp_path: Path, recipe: str
) -> None:
    plan = plan_of(every_layer, recipe, float_layers=("stem", "project", "head"))
    path = tmp_path / "net.mlpackage"
    quantized = packaged(plan, path)
    for layer in quantized.layers:
        kept = plan.spec.keeps_float(layer.path)
        assert (layer.bits == 32) == kept
        assert (layer.reason == "kept float as requested") == kept
    assert worst(plan, quantized, path, closeness) > 0.9999


def test_a_package_is_as_small_as_its_weights(plan_of: PlanOf, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3)).eval()
    weights = 3 * 64 * 9 + 64 * 128 * 9
    for recipe, each in (("w8_only", 1.0), ("w4_only", 0.5), ("palette4", 0.5)):
        path = tmp_path / f"{recipe}.mlpackage"
        packaged(plan_of(net, recipe), path)
        size = (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        assert each * weights < size < each * weights + 4000


def test_weights_are_read_back_as_they_were_written(plan_of: PlanOf, tmp_path: Path) -> None:
    """Weights that a form holds exactly come back exactly."""
    levels = torch.arange(-7, 8, dtype=torch.float32)
    weight = levels[torch.randint(0, 15, (4, 32, 1, 1), generator=torch.Generator().manual_seed(2))]
    weight[:, 0] = 7.0  # the largest of each channel: the scale is 1
    net = nn.Conv2d(32, 4, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(weight)
    sample = {"x": np.random.default_rng(0).normal(size=(1, 32, 4, 4)).astype(np.float32)}
    for recipe, bits in (("w4_only", 4), ("w4_only_block32", 4), ("palette4", 4), ("fp16", 16)):
        plan = plan_of(net, recipe, calibration=[], samples=[sample])
        path = tmp_path / f"{recipe}.mlpackage"
        packaged(plan, path)
        (found,) = packed_weights(path)
        assert (found.operator, found.bits) == ("conv", bits)
        np.testing.assert_allclose(found.values, weight.numpy(), atol=1e-5)


def test_black_calibration_gives_a_package_that_runs(
    plan_of: PlanOf, every_layer: nn.Module, tmp_path: Path
) -> None:
    black = [{"x": np.zeros((1, 3, 16, 16), np.float32)}]
    plan = plan_of(every_layer, "w8a8_static", calibration=black, samples=black)
    path = tmp_path / "net.mlpackage"
    quantized = packaged(plan, path)
    (found,) = answers(path, plan)
    exact = every_layer(torch.zeros(1, 3, 16, 16))
    for name, value in zip(plan.outputs, exact, strict=True):
        scale = float(value.detach().abs().max()) / 255
        np.testing.assert_allclose(found[name], value.detach().numpy(), atol=10 * scale)
        np.testing.assert_allclose(found[name], quantized.simulated[0][name], atol=2 * scale)


class HugeChannel(nn.Module):
    """One channel a million times the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.first.weight[2] *= 1e6
            self.first.weight[5] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def test_a_huge_channel_is_computed_as_its_integers_say(
    plan_of: PlanOf, closeness: Closeness, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    plan = plan_of(HugeChannel(), "w8a8_static")
    quantized = packaged(plan, tmp_path / "net.mlpackage")
    assert worst(plan, quantized, tmp_path / "net.mlpackage", closeness) > 0.9999


def test_an_int8_face_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(QuantizationError, match="does not support int8 inputs") as caught:
        quantize_program(plan_of(nn.Conv2d(3, 4, 1), "w8a8_static", io_dtype="int8"))
    assert "--io-dtype float" in caught.value.remedy


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(supported_recipes("coreml"))))
def test_what_core_ml_lacks_is_refused(plan_of: PlanOf, recipe: str) -> None:
    with pytest.raises(UnsupportedRecipeError, match=f"does not support {recipe}"):
        quantize_program(plan_of(nn.Conv2d(3, 4, 1), recipe))


def test_calibration_with_nan_is_refused(plan_of: PlanOf) -> None:
    spoilt = {"x": np.full((1, 3, 16, 16), np.nan, np.float32)}
    with pytest.raises(DataError, match="NaN"):
        quantize_program(plan_of(nn.Conv2d(3, 4, 1), "w8a8_static", calibration=[spoilt]))


def test_a_damaged_weight_file_is_told(plan_of: PlanOf, tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"
    packaged(plan_of(nn.Conv2d(3, 64, 3), "w8_only"), path)
    file = path / "Data/com.apple.CoreML/weights/weight.bin"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(QuantizationError, match="no record at byte"):
        packed_weights(path)


def test_what_coremltools_raises_is_told_with_a_remedy(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import coremltools.optimize.coreml as optimize

    def fail(*_: Any) -> None:
        raise RuntimeError("no such mode\nsecond line")

    monkeypatch.setattr(optimize, "palettize_weights", fail)
    with pytest.raises(QuantizationError, match="no such mode") as caught:
        packaged(plan_of(nn.Conv2d(3, 4, 1), "palette4"), tmp_path / "net.mlpackage")
    assert "second line" not in caught.value.message
    assert caught.value.remedy
