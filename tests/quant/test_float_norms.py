"""Normalisations by the moments of their own input: found, and float where ranges are fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk.runtime as runtime
from edgesdk.converters.conversion import ConversionRequest
from edgesdk.frontend.capture import capture
from edgesdk.models.multi_style import StyleNorm
from edgesdk.models.style import MomentNorm
from edgesdk.quant.float_norms import float_norm_modules, with_float_norms
from edgesdk.quant.plan import Arrays, QuantPlan
from edgesdk.quant.recipes import parse_recipe
from edgesdk.spec import TensorSpec

SIZE = 16


class Painter(nn.Module):
    """Channels of very different reach in front of a normalisation, as after a training."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = MomentNorm(8)
        self.paint = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.paint(torch.relu(self.norm(self.mix(x - 0.5))))


class Styled(nn.Module):
    """A normalisation with layers of its own, on vectors alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)
        self.norm = StyleNorm(4, 2)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.norm(self.mix(x), style)


class Block(nn.Module):
    """Normalises in passing, between convolutions of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        centred = x - x.mean(dim=(2, 3), keepdim=True)
        deviation = torch.sqrt((centred * centred).mean(dim=(2, 3), keepdim=True) + 1e-5)
        return self.second(centred / deviation)


class Deviation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (x.std(dim=(2, 3), keepdim=True) + 1e-3)


class Root(nn.Module):
    """A root of something else."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(torch.relu(x))


def exported(model: nn.Module, *args: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model.eval(), args)


def test_what_counts() -> None:
    picture = torch.rand(1, 3, 8, 8)
    assert float_norm_modules(exported(Painter(), picture)) == ("norm",)
    assert float_norm_modules(exported(Styled(), picture, torch.rand(1, 2, 1, 1))) == ("norm",)
    inside = nn.Sequential(nn.Conv2d(3, 4, 1), Deviation(), Root(), nn.ReLU())
    assert float_norm_modules(exported(inside, picture)) == ("1",)


def test_what_does_not_count() -> None:
    picture = torch.rand(1, 3, 8, 8)
    # Its convolutions would stay float with it.
    assert float_norm_modules(exported(nn.Sequential(Block()), picture)) == ()
    # The model as a whole has no path.
    assert float_norm_modules(exported(Deviation(), picture)) == ()
    assert float_norm_modules(exported(nn.Sequential(Root(), nn.BatchNorm2d(3)), picture)) == ()


def test_only_fixed_ranges_spare_them() -> None:
    program = exported(Painter(), torch.rand(1, 3, 8, 8))
    for name in ("fp16", "w8_only", "w8a32_dynamic"):
        assert with_float_norms(parse_recipe(name), program) == parse_recipe(name)
    recipe_with_norms = with_float_norms(parse_recipe("w8a8_static"), program)
    assert recipe_with_norms.float_norms == ("norm",)
    assert recipe_with_norms.keeps_float("norm.scale") and not recipe_with_norms.keeps_float(
        "normal"
    )
    assert "statistics" in recipe_with_norms.why_float("norm")
    asked = replace(recipe_with_norms, float_layers=("norm", "mix"))
    assert asked.why_float("norm") == asked.why_float("mix") == "kept float as requested"
    assert asked.why_float("paint") == ""


def painter() -> Painter:
    torch.manual_seed(0)
    model = Painter().eval()
    with torch.no_grad():
        model.mix.weight.mul_(torch.logspace(0, -1, 8)[:, None, None, None])
    return model


def photographs(count: int) -> list[Arrays]:
    """Blotches of 0 to 1, both ends among them."""
    random = np.random.default_rng(4)
    found = []
    for _ in range(count):
        coarse = random.random((1, 3, 4, 4))
        coarse.flat[0], coarse.flat[1] = 0, 1
        found.append({"x": np.kron(coarse, np.ones((4, 4))).astype(np.float32)})
    return found


def _onnx() -> tuple[Callable[..., object], Callable[..., object], str]:
    from edgesdk.converters.onnx import convert
    from edgesdk.quant.onnx.quantizer import quantize

    return convert, quantize, "onnx"


def _litert() -> tuple[Callable[..., object], Callable[..., object], str]:
    from edgesdk.converters.litert import convert
    from edgesdk.quant.litert.quantizer import quantize

    return convert, quantize, "tflite"


@pytest.mark.parametrize("tools", [_onnx, _litert])
@pytest.mark.parametrize(("recipe", "least_db"), [("w8a8_static", 27), ("w8a16_static", 44)])
def test_channels_of_every_reach_survive_in_the_runtime(
    tools: Callable[[], tuple[Callable[..., object], Callable[..., object], str]],
    recipe: str,
    least_db: float,
    tmp_path: Path,
) -> None:
    convert, quantize, suffix = tools()
    model, samples = painter(), photographs(12)
    captured = capture(
        model, [TensorSpec("x", (1, 3, SIZE, SIZE))], [torch.zeros(1, 3, SIZE, SIZE)]
    )
    path, program = tmp_path / f"float.{suffix}", tmp_path / "program.pt2"
    torch.export.save(captured.program, program)
    faces = (captured.inputs, captured.outputs, captured.inputs)
    target = "litert" if suffix == "tflite" else "onnx"
    convert(ConversionRequest(target, "", program, path, *faces, coverage=False))
    with torch.no_grad():
        expected = [model(torch.from_numpy(sample["x"])).numpy() for sample in samples[8:]]
    power = float(np.mean(np.square(expected)))

    def decibels(recipe_with_norms: bool) -> float:
        plain = parse_recipe(recipe)
        plan = QuantPlan(
            with_float_norms(plain, captured.program) if recipe_with_norms else plain,
            captured.program,
            ("x",),
            (captured.outputs[0].name,),
            samples[:8],
        )
        output = tmp_path / f"{recipe_with_norms}.{suffix}"
        quantize(path, output, plan)
        with runtime.open(output) as session:
            answers = [next(iter(session.run(sample).values())) for sample in samples[8:]]
        return -10 * np.log10(np.square(np.subtract(answers, expected)).mean() / power)

    recipe_with_norms = decibels(recipe_with_norms=True)
    assert recipe_with_norms > least_db
    # What it is for: squares in one range for all channels leave little of the small ones.
    assert decibels(recipe_with_norms=False) < recipe_with_norms - 2
