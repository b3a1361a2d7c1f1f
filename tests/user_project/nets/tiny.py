"""Small networks as users write them, sound and unsound."""

import torch
from torch import Tensor, nn

from .blocks import Block


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block(3, 8)
        self.second = Block(8, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.second(self.first(image))
        return {"scores": self.head(features.mean((2, 3))), "features": features}


def build() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


class Accumulating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.total = Total()

    def forward(self, x: Tensor) -> Tensor:
        return self.total(x * 2.0)


class Total(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.logcumsumexp(x, dim=1)  # the line of the sum


def accumulating() -> Accumulating:
    return Accumulating().eval()


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:  # the line of the branch
            return x * 2
        return x


def branching() -> Branching:
    return Branching().eval()


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x) + 1  # the line of the logarithm


def logarithm() -> Logarithm:
    return Logarithm().eval()


def raising() -> nn.Module:
    raise RuntimeError("the weights are on another machine")  # the line that raises


def number() -> int:
    return 7


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 3.0


def scaled() -> tuple[nn.Module, tuple[Tensor, ...]]:
    print("a factory that talks")
    return Scaled().eval(), (torch.ones(1, 4),)


class Tokens(nn.Module):
    """Two inputs, one of them int64; an output with the name of an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor, scale: Tensor) -> dict[str, Tensor]:
        embedding = self.table(ids) * scale
        return {"logits": self.head(embedding.mean(1)), "embedding": embedding}


def tokens() -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    return Tokens().eval(), {"ids": torch.randint(0, 50, (1, 6)), "scale": torch.rand(1, 6, 1)}


class Wide(nn.Module):
    """Weights of 1.4 MB, so that a small disk is full."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(600, 600)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def wide() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Wide().eval(), (torch.randn(1, 600),)


class Drifting(nn.Module):
    """Needs float64 where some targets have float32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x))
        wide = y.double() + 1e9  # the line that float32 cannot hold
        return (wide - 1e9).float() * 2.0


def drifting() -> Drifting:
    torch.manual_seed(0)
    return Drifting().eval()
