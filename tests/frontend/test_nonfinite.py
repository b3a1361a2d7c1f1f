"""NaN and infinity are led back to the operator that made them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgesdk.exporter.prepared import CaptureSpec, prepare
from edgesdk.frontend.capture import Capture
from edgesdk.frontend.nonfinite import first_not_finite

HERE = Path(__file__)


def line_of(text: str) -> str:
    """Where this file holds a line that ends with a mark, as errors show it."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))
    shown = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return f"{shown.as_posix()}:{number}"


def captured(model: nn.Module, *example: Tensor) -> Capture:
    return prepare(model, example).capture(CaptureSpec())


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        doubled = x * 2
        return self.layer(doubled)  # layer line


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        masked = x.masked_fill(x > 0.5, -math.inf)  # mask line
        shares = torch.softmax(masked, -1)
        wrong = torch.log(shares - 2)  # log line
        return wrong * 2 + 1


def test_the_operator_that_makes_nan_is_found() -> None:
    x = torch.tensor([[0.0, 0.2, 1.0]])
    found = captured(Log().eval(), x)
    error = first_not_finite(found.program, {"x": x.numpy()})
    assert "aten.log.default makes the first one" in error.message
    assert error.where == line_of("log line")


def test_an_infinity_that_reaches_the_output_is_the_origin() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(x > 0.5, -math.inf) + 1  # masked line

    x = torch.tensor([[0.0, 1.0]])
    error = first_not_finite(captured(Masked().eval(), x).program, {"x": x.numpy()})
    assert "aten.masked_fill" in error.message
    assert error.where == line_of("masked line")


def test_a_weight_that_is_nan_shows_at_its_operator() -> None:
    model = Scaled().eval()
    with torch.no_grad():
        model.layer.weight[0, 0] = math.nan
    error = first_not_finite(
        captured(model, torch.ones(1, 4)).program, {"x": np.ones((1, 4), np.float32)}
    )
    assert "aten.linear.default makes the first one" in error.message
    assert error.where == line_of("layer line")
