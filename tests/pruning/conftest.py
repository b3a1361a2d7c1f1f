"""Small networks whose channels are linked in every way that users link them."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Concat(nn.Module):
    """Two branches, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 3, padding=1)
        self.right = nn.Sequential(nn.Conv2d(3, 10, 1, bias=False), nn.BatchNorm2d(10))
        self.join = nn.Conv2d(16, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        return self.head(torch.relu(self.join(x)).mean((2, 3)))


class SharedStream(nn.Module):
    """Three layers add to one stream that two heads read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.first = nn.Sequential(
            nn.Conv2d(12, 20, 1), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 12, 1)
        )
        self.second = nn.Sequential(nn.Conv2d(12, 7, 1), nn.PReLU(7), nn.Conv2d(7, 12, 1))
        self.near = nn.Linear(12, 3)
        self.far = nn.Conv2d(12, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        x = x + self.first(torch.relu(x))
        x = x + self.second(torch.relu(x))
        return {"near": self.near(x.mean((2, 3))), "far": self.far(x)}


class Depthwise(nn.Module):
    """Expand, depthwise, project, and a flatten in front of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.project = nn.Conv2d(16, 9, 1)
        self.head = nn.Linear(9 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.relu6(self.norm(self.expand(x)))
        x = torch.nn.functional.hardswish(self.depthwise(x))
        return self.head(torch.relu(self.project(x)).flatten(1))


class Grouped(nn.Module):
    """A convolution of four groups between two others, and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(24, 10, 2, stride=2)
        self.last = nn.Conv2d(10, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        return self.last(torch.relu(self.up(x)))


USER_NETS = {"concat": Concat, "shared stream": SharedStream, "depthwise": Depthwise}


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random weights and statistics that differ from channel to channel."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(
                torch.rand(module.running_var.shape, generator=generator) + 0.5
            )
    return model.eval()


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net():
    """Builds a small network by name."""

    def build(name: str) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return settled({**USER_NETS, "grouped": Grouped}[name]())

    return build
