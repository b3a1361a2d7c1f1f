"""Networks of every kind of layer, and plans for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesdk.frontend.capture import capture
from edgesdk.quant.plan import Arrays, QuantPlan
from edgesdk.quant.recipes import RECIPES
from edgesdk.spec import TensorSpec


class EveryLayer(nn.Module):
    """Folded norms, a depthwise layer, a residual, a concatenation, a gate, an upward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(32, 32, 4, padding="same", groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Conv2d(32, 32, 1)
        self.same = nn.Conv2d(32, 16, (3, 2), padding="same")
        self.down, self.expand = nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1)
        self.act = nn.Hardswish()
        self.up = nn.ConvTranspose2d(48, 16, 2, 2)
        self.kernel = nn.Parameter(torch.randn(16, 16, 1, 1) / 4)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = x + self.project(self.depthwise(x))
        x = torch.cat([x, self.same(x)], 1)
        gate = self.expand(torch.relu(self.down(x.mean((2, 3), keepdim=True))))
        x = self.up(self.act(x * torch.sigmoid(gate)))
        x = nn.functional.conv2d(x, self.kernel)
        return self.head(x.mean((2, 3))), x


def prepared(net: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics of its norms that fit its activations."""
    torch.manual_seed(1)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(8, 3, 16, 16))
    return net.eval()


@pytest.fixture(scope="session")
def every_layer() -> nn.Module:
    torch.manual_seed(0)
    return prepared(EveryLayer())


@pytest.fixture(scope="session")
def pictures() -> list[Arrays]:
    generator = np.random.default_rng(5)
    return [{"x": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(6)]


PlanOf = Callable[..., QuantPlan]


@pytest.fixture(scope="session")
def plan_of(pictures: list[Arrays]) -> PlanOf:
    """Makes a plan: ``plan_of(net, "w8a8_static", ranges="mse")``."""

    def make(
        net: nn.Module,
        recipe: str,
        calibration: Sequence[Arrays] | None = None,
        samples: Sequence[Arrays] | None = None,
        **changes: Any,
    ) -> QuantPlan:
        given = pictures[:4] if calibration is None else calibration
        asked = pictures[4:] if samples is None else samples
        shape = asked[0]["x"].shape
        captured = capture(net.eval(), [TensorSpec("x", shape)], [torch.zeros(shape)])
        return QuantPlan(
            spec=replace(RECIPES[recipe], **changes),
            program=captured.program,
            inputs=("x",),
            outputs=tuple(spec.name for spec in captured.outputs),
            calibration=given,
            samples=asked,
        )

    return make


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    # Two outputs of zeros are the same.
    return float(x @ y) / norm if norm else float(np.array_equal(x, y))


@pytest.fixture(scope="session")
def closeness() -> Callable[[np.ndarray, np.ndarray], float]:
    return cosine
