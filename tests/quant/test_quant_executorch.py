"""Quantized ExecuTorch programs, run by XNNPACK and held against the simulation in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk.runtime as runtime
from edgesdk.errors import QuantizationError, UnsupportedRecipeError
from edgesdk.quant.executorch.artefact import read_back, stored_weights
from edgesdk.quant.executorch.program import quantize_program
from edgesdk.quant.plan import Arrays, Quantized, QuantPlan
from edgesdk.quant.recipes import RECIPES
from edgesdk.quant.support import supported_recipes

pytest.importorskip("executorch.exir")

PlanOf = Callable[..., QuantPlan]
Closeness = Callable[[np.ndarray, np.ndarray], float]
XNNPACK = "executorch:xnnpack"


def lowered(plan: QuantPlan, path: Path) -> Quantized:
    """Write the quantized program of a plan, as the converter does, and look into the file."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program, quantized = quantize_program(plan, "xnnpack")
    manager = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with path.open("wb") as file:
        manager.to_executorch().write_to_file(file)
    return read_back(quantized, path)


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


@pytest.mark.parametrize("recipe", supported_recipes(XNNPACK))
def test_the_runtime_answers_what_the_integers_say(
    plan_of: PlanOf,
    every_layer: nn.Module,
    closeness: Closeness,
    tmp_path: Path,
    recipe: str,
) -> None:
    plan = plan_of(every_layer, recipe)
    quantized = lowered(plan, tmp_path / "net.pte")
    assert worst(plan, quantized, tmp_path / "net.pte", closeness) > 0.9999
    for found, sample in zip(quantized.simulated, plan.samples, strict=True):
        exact = every_layer(torch.from_numpy(sample["x"]))
        for name, value in zip(plan.outputs, exact, strict=True):
            assert closeness(found[name], value.detach().numpy()) > 0.97
    bits = {layer.path: (layer.bits, layer.activation_bits) for layer in quantized.layers}
    assert len(quantized.layers) == 9
    reasons = {layer.path: layer.reason for layer in quantized.layers if layer.bits >= 16}
    if recipe == "w8a8_static":
        assert set(bits.values()) == {(8, 8)}
        assert quantized.float_operators == {"hardswish": 1, "sigmoid": 1}
    elif recipe == "w8a32_dynamic":
        assert bits["head"] == bits["project"] == bits["same"] == (8, 8)
        assert bits["depthwise.0"] == (32, 32)
        assert "depthwise" in reasons["depthwise.0"]
    elif recipe == "w4a32_dynamic":
        assert bits["head"] == bits["project"] == bits["expand"] == (4, 8)
        assert any("every 32 inputs" in note for note in quantized.notes)
    else:
        # XNNPACK computes in halves, and keeps weights of convolutions as they are.
        assert bits["stem.0"] == (32, 16)
        assert bits["head"] == (16, 16)


def test_weights_in_the_file_are_small_and_the_file_is_the_same_again(
    plan_of: PlanOf, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3)).eval()
    weights = sum(math.prod(p.shape) for p in net.parameters() if p.dim() > 1)
    contents = []
    for name in ("a.pte", "b.pte"):
        plan = plan_of(net, "w8a8_static")
        lowered(plan, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert weights < len(contents[0]) < 1.15 * weights
    stored = stored_weights(tmp_path / "a.pte")
    assert [item.kind for item in stored] == ["XNNConv2d", "XNNConv2d"]
    assert stored[0].shape == (64, 3, 3, 3)
    assert {item.bits for item in stored} == {8}


@pytest.mark.parametrize(
    "recipe",
    [
        "w8a8_static",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("w8a32_dynamic", "w4a32_dynamic", "fp16")
        ),
    ],
)
def test_layers_that_are_kept_float_are_float_in_the_file(
    plan_of: PlanOf, every_layer: nn.Module, closeness: Closeness, tmp_path: Path, recipe: str
) -> None:
    kept = ("stem", "project", "head")
    plan = plan_of(every_layer, recipe, float_layers=kept)
    quantized = lowered(plan, tmp_path / "net.pte")
    for layer in quantized.layers:
        if plan.spec.keeps_float(layer.path):
            assert (layer.bits, layer.activation_bits) == (32, 32)
            assert recipe == "fp16" or layer.reason == "kept float as requested"
        elif recipe == "w8a8_static":
            assert layer.bits == 8
    assert worst(plan, quantized, tmp_path / "net.pte", closeness) > 0.9999


class HugeChannel(nn.Module):
    """One channel a million times the others, and a residual of such a one with a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.first.weight[2] *= 1e6
            self.first.weight[5] = 0
            self.first.weight[6] *= 1e-12
            self.first.bias[6] = 3.0  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + torch.relu(self.second(x)) * 1e-7


@pytest.mark.parametrize("recipe", ["w8a8_static", "w8a32_dynamic"])
def test_a_huge_channel_is_computed_as_its_integers_say(
    plan_of: PlanOf, closeness: Closeness, tmp_path: Path, recipe: str
) -> None:
    torch.manual_seed(0)
    plan = plan_of(HugeChannel(), recipe)
    quantized = lowered(plan, tmp_path / "net.pte")
    assert worst(plan, quantized, tmp_path / "net.pte", closeness) > 0.9999
    # Where each layer gives floats, small channels survive beside the huge one.
    if recipe == "w8a32_dynamic":
        exact = plan.program.module()(torch.from_numpy(plan.samples[0]["x"]))["output"]
        found = quantized.simulated[0]["output"]
        assert closeness(found[:, 6], exact[:, 6].detach().numpy()) > 0.99


def test_black_calibration_gives_a_program_that_runs(
    plan_of: PlanOf, every_layer: nn.Module, tmp_path: Path
) -> None:
    black = [{"x": np.zeros((1, 3, 16, 16), np.float32)}]
    plan = plan_of(every_layer, "w8a8_static", calibration=black, samples=black)
    quantized = lowered(plan, tmp_path / "net.pte")
    (found,) = answers(tmp_path / "net.pte", plan)
    exact = every_layer(torch.zeros(1, 3, 16, 16))
    for name, value in zip(plan.outputs, exact, strict=True):
        assert np.isfinite(found[name]).all()
        scale = float(value.abs().max()) / 255
        assert np.abs(found[name] - value.detach().numpy()).max() < 10 * scale
        np.testing.assert_allclose(found[name], quantized.simulated[0][name], atol=2 * scale)


def test_an_int8_face_takes_and_gives_integers(
    plan_of: PlanOf, closeness: Closeness, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    plan = plan_of(net, "w8a8_static", io_dtype="int8")
    quantized = lowered(plan, tmp_path / "net.pte")
    taken, given = quantized.io_scales
    session = runtime.open(tmp_path / "net.pte")
    assert [spec.dtype for spec in (*session.inputs, *session.outputs)] == ["int8", "int8"]
    for sample, expected in zip(plan.samples, quantized.simulated, strict=True):
        steps = np.round(sample["x"] / np.float32(taken.scale)) + taken.zero_point
        feed = {session.inputs[0].name: np.clip(steps, -128, 127).astype(np.int8)}
        (found,) = session.run(feed).values()
        decoded = (found.astype(np.float32) - given.zero_point) * np.float32(given.scale)
        assert closeness(decoded, expected["output"]) > 0.9999


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3)),
        (nn.Conv2d(3, 4, 4, padding="same"),),
    ],
)
def test_a_convolution_whose_layout_would_be_mislaid_stays_float(
    plan_of: PlanOf, closeness: Closeness, tmp_path: Path, layers: tuple[nn.Module, ...]
) -> None:
    plan = plan_of(nn.Sequential(*layers), "w8a32_dynamic")
    quantized = lowered(plan, tmp_path / "net.pte")
    assert quantized.layers[0].bits == 32
    assert "lose the memory layout" in quantized.layers[0].reason
    assert worst(plan, quantized, tmp_path / "net.pte", closeness) > 0.99999


def test_inputs_that_are_no_multiple_of_32_are_filled_up_for_4_bits(
    plan_of: PlanOf, closeness: Closeness, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 24, 1), nn.Flatten(), nn.Linear(4704, 5)
    )
    plan = plan_of(net, "w4a32_dynamic")
    quantized = lowered(plan, tmp_path / "net.pte")
    assert [layer.bits for layer in quantized.layers] == [8, 4, 4]
    assert [item.shape for item in stored_weights(tmp_path / "net.pte")][1:] == [
        (24, 64),
        (5, 4704),
    ]
    assert worst(plan, quantized, tmp_path / "net.pte", closeness) > 0.9999


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(supported_recipes(XNNPACK))))
def test_what_xnnpack_lacks_is_refused(plan_of: PlanOf, recipe: str) -> None:
    plan = plan_of(nn.Conv2d(3, 4, 1), recipe)
    with pytest.raises(UnsupportedRecipeError, match=f"does not support {recipe}"):
        quantize_program(plan, "xnnpack")


def test_other_backends_are_refused(plan_of: PlanOf) -> None:
    with pytest.raises(UnsupportedRecipeError, match="only the XNNPACK variant"):
        quantize_program(plan_of(nn.Conv2d(3, 4, 1), "w8a8_static"), "vulkan")


def test_what_torchao_raises_is_told_with_a_remedy(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchao.quantization.pt2e import quantize_pt2e

    def fail(*_: Any) -> None:
        raise RuntimeError("no pattern\nsecond line")

    monkeypatch.setattr(quantize_pt2e, "prepare_pt2e", fail)
    with pytest.raises(QuantizationError, match="no pattern") as caught:
        quantize_program(plan_of(nn.Conv2d(3, 4, 1), "w8a8_static"), "xnnpack")
    assert "second line" not in caught.value.message
    assert caught.value.remedy
