"""Programs captured in training mode, and programs that are captured a second time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgesdk.errors import CaptureError
from edgesdk.exporter.prepared import CaptureSpec, prepare
from edgesdk.frontend.capture import Capture, capture
from edgesdk.frontend.flatten import flat_example
from edgesdk.frontend.provenance import PREPROCESSING, module_path, where
from edgesdk.spec import ImageSpec, TensorSpec

HERE = Path(__file__)


def line_of(text: str) -> str:
    """Where this file holds a line that ends with a mark, as errors show it."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))
    shown = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return f"{shown.as_posix()}:{number}"


def captured(model: nn.Module, *example: Tensor) -> Capture:
    return prepare(model, example).capture(CaptureSpec())


class Lambda(nn.Module):
    """Any function as a model."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        return self.function(*xs)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, bias: Tensor) -> dict[str, Any]:
        features = self.stem(image)  # stem line
        pooled = features.mean((2, 3))  # mean line
        return {
            "logits": self.head(pooled) + bias,  # head line
            "both": (features, pooled),
        }


TRAINING = [
    nn.Dropout(),
    nn.Dropout2d(),
    nn.AlphaDropout(),
    nn.FeatureAlphaDropout(),
    nn.BatchNorm2d(3),
    nn.RReLU(),
]


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # wrapped line


@pytest.mark.parametrize("layer", TRAINING, ids=lambda layer: type(layer).__name__)
def test_a_program_that_was_captured_in_training_mode(layer: nn.Module) -> None:
    x = torch.ones(2, 3, 4, 4)
    trained = torch.export.export(Wrapped(layer).train(), (x,)).module()
    with pytest.raises(CaptureError, match="captured in training mode") as caught:
        captured(trained, x)
    assert caught.value.where == line_of("wrapped line")
    fixed = torch.export.export(Wrapped(layer).eval(), (x,)).module()
    assert captured(fixed, x).outputs[0].shape == x.shape


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.InstanceNorm2d(3),
        Lambda(lambda x: nn.functional.dropout(x, 0.0)),
    ],
)
def test_layers_that_only_look_as_if_they_trained(layer: nn.Module) -> None:
    assert captured(layer.eval(), torch.rand(2, 3, 4, 4)).outputs[0].shape == (2, 3, 4, 4)


def test_a_dropout_that_is_always_on_is_refused() -> None:
    model = Lambda(lambda x: nn.functional.dropout(x, 0.5)).eval()
    with pytest.raises(CaptureError, match="dropout trains") as caught:
        captured(model, torch.ones(2, 3))
    assert "training=self.training" in (caught.value.remedy or "")


def test_a_program_keeps_its_origins_when_it_is_captured_again() -> None:
    x = torch.rand(1, 3, 8, 8)
    program = torch.export.export(Net().eval(), (x, torch.ones(2))).module()
    names, _, structure = flat_example(program, (x, torch.ones(2)))
    found = capture(
        program,
        [
            TensorSpec(names[0], (1, 8, 8, 3), "uint8", layout="NHWC", image=ImageSpec()),
            TensorSpec(names[1], (2,)),
        ],
        [torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.ones(2)],
        structure,
        (0, ImageSpec()),
    )
    places = {
        str(node.target).split(".")[1]: (where(node), module_path(node.meta["nn_module_stack"]))
        for node in found.program.graph.nodes
        if node.op == "call_function"
    }
    assert places["conv2d"] == (line_of("stem line"), "stem.0")
    assert places["linear"] == (line_of("head line"), "head")
    assert places["permute"] == (PREPROCESSING, "")
