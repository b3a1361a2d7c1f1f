"""Networks with one operator each that some target cannot take as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

__all__ = ["INPUT", "NETWORKS", "build"]

#: Shape of the input of every network.
INPUT = (1, 3, 16, 24)


class Applied(nn.Module):
    """A convolution, so that the output depends on the input, and a function of its result."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module, channels: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.first(x), *self.layers)


class StandardizedWeights(nn.Module):
    """A convolution whose weights are standardized at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.conv.weight.reshape(1, 6, -1)
        normal = functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        return functional.conv2d(x, normal.reshape_as(self.conv.weight), self.conv.bias)


class Assigns(nn.Module):
    """Swaps colours and dims rows in place, as preprocessing does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, [0, 2]] = x[:, [2, 0]]
        x[:, :, :2] *= 0.5
        return self.conv(x)


class Returned(nn.Module):
    """Returns its input, or its result twice, beside the result."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x).sigmoid()
        return {"mask": y, "image": x if self.kind == "input" else y}


def upsampling(kernel: Any, stride: Any, **options: Any) -> Applied:
    inner, outer = options.pop("inner", 12), options.pop("outer", 12)
    layer = nn.ConvTranspose2d(inner, outer, kernel, stride, **options)
    return Applied(lambda y, up: up(y), layer, channels=inner)


def volume(y: Tensor) -> Tensor:
    return y.view(1, 2, 3, 16, 24)


def windows(y: Tensor) -> Tensor:
    return y.unfold(2, 3, 2).amax(-1)


def resize(**options: Any) -> Applied:
    return Applied(lambda y: functional.interpolate(y, **options))


def pad(sides: tuple[int, ...], mode: str) -> Applied:
    return Applied(lambda y: functional.pad(y, sides, mode))


def pad_volume(mode: str) -> Applied:
    return Applied(lambda y: functional.pad(volume(y), (1, 1, 2, 1, 1, 1), mode))


def instance_norm() -> Applied:
    norm = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.4, 2.0)
    return Applied(lambda y, layer: layer(y), norm)


def fold(y: Tensor) -> Tensor:
    patches = functional.unfold(y, 4, stride=2, padding=1) * 0.5
    return functional.fold(patches, y.shape[-2:], 4, stride=2, padding=1)


def masked(y: Tensor) -> Tensor:
    y = y.clone()
    y[y > 0.5] = -1.0
    y[y[:, :, :, 0] < 0] = 0.25
    return y


def marked(y: Tensor) -> Tensor:
    """Mark the greatest element of each row, whose place is known at run time only."""
    y = y.flatten(2).clone()
    rows, columns = torch.arange(1).view(1, 1), torch.arange(6).view(1, 6)
    y[rows, columns, y.argmax(2)] = 9.0
    return y


def added(y: Tensor) -> Tensor:
    places = torch.tensor([2, 0, 2, 1, 0, 2])
    return torch.zeros(1, 3, 16, 24).index_add(1, places, y)


def scattered(y: Tensor) -> Tensor:
    index = y.argmax(3, keepdim=True) % 5
    return torch.zeros(1, 6, 16, 5).scatter_add(3, index, y[..., :1])


def searched(y: Tensor) -> dict[str, Tensor]:
    edges = torch.tensor([-0.4, -0.1, 0.0, 0.2])
    y = torch.where(y > 0.2, 0.2, y)  # on an edge
    return {
        "below": torch.bucketize(y, edges),
        "on": torch.bucketize(y, edges, right=True),
        "found": torch.searchsorted(edges, y, side="right"),
    }


def special(y: Tensor) -> dict[str, Tensor]:
    return {
        "powers": torch.exp2(y) + torch.erfc(y) * 3 + torch.special.erfc(y - 1),
        "gates": functional.logsigmoid(y) + torch.hypot(y, y + 1),
        "edges": functional.softshrink(y) + functional.hardshrink(y, 0.2) * 2,
        "parts": torch.trunc(y * 3) + torch.lerp(y, y * 2, 0.3) + torch.isinf(y),
    }


def best(y: Tensor) -> dict[str, Tensor]:
    values, places = y.mean((2, 3)).sort(descending=True)
    # Twice, so that each target that lacks a sort or a selection rewrites.
    return {"values": values, "places": places, "few": y[:, 0, 0].topk(3)[0]}


def last_layer(layer: nn.Module) -> Applied:
    return Applied(lambda y, module: module(y), layer)


def mean_2d(**options: Any) -> Applied:
    return Applied(lambda y: functional.avg_pool2d(y, 3, 2, 1, **options))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "circular padding": lambda: pad((2, 1, 1, 2), "circular"),
    "circular padding of volumes": lambda: pad_volume("circular"),
    "reflection of volumes": lambda: pad_volume("reflect"),
    "replication of volumes": lambda: pad_volume("replicate"),
    "reflection of rows and channels": lambda: pad((0, 0, 1, 2, 2, 1), "reflect"),
    "negative padding": lambda: pad((-1, 2, 1, -2), "constant"),
    "grouped upsampling": lambda: upsampling(3, 2, padding=1, groups=4),
    "dilated upsampling": lambda: upsampling(3, 2, padding=1, dilation=2),
    "output padding": lambda: upsampling(3, 2, padding=1, output_padding=1),
    "output padding beyond padding": lambda: upsampling(3, 3, output_padding=2),
    "upsampling to one channel": lambda: upsampling(
        3, 2, padding=1, output_padding=(1, 0), bias=False, outer=1
    ),
    "upsampling of sequences": lambda: Applied(
        lambda y, up: up(y.flatten(2)),
        nn.ConvTranspose1d(6, 4, 5, 3, padding=1, output_padding=1),
    ),
    "fold": lambda: Applied(fold),
    "mean with partial windows": lambda: mean_2d(ceil_mode=True),
    "mean without padding": lambda: mean_2d(ceil_mode=True, count_include_pad=False),
    "mean with a divisor": lambda: Applied(
        lambda y: functional.avg_pool2d(y, (2, 3), (2, 2), divisor_override=4)
    ),
    "maximum of wide steps": lambda: Applied(
        lambda y: functional.max_pool2d(y, 1, 3, ceil_mode=True)
    ),
    "dilated maximum": lambda: Applied(lambda y: functional.max_pool2d(y, 3, 2, 1, dilation=2)),
    "mean of volumes": lambda: Applied(lambda y: functional.avg_pool3d(volume(y), 3, 2, 1)),
    "maximum of volumes": lambda: Applied(lambda y: functional.max_pool3d(volume(y), 3, 2, 1)),
    "adaptive maximum": lambda: Applied(lambda y: functional.adaptive_max_pool2d(y, (5, 7))),
    "bilinear by 1.3": lambda: resize(scale_factor=1.3, mode="bilinear"),
    "nearest by 0.6 and 1.7": lambda: resize(scale_factor=(0.6, 1.7), mode="nearest"),
    "nearest to a size": lambda: resize(size=(7, 31), mode="nearest"),
    "exact nearest": lambda: resize(size=(7, 31), mode="nearest-exact"),
    "bicubic": lambda: resize(size=(7, 31), mode="bicubic"),
    "bicubic with aligned corners": lambda: resize(
        size=(7, 31), mode="bicubic", align_corners=True
    ),
    "antialiased bilinear": lambda: resize(size=(7, 9), mode="bilinear", antialias=True),
    "antialiased bicubic": lambda: resize(size=(7, 9), mode="bicubic", antialias=True),
    "RMS norm": lambda: Applied(lambda y, norm: norm(y.permute(0, 2, 3, 1)), nn.RMSNorm(6)),
    "local response norm": lambda: Applied(
        lambda y: functional.local_response_norm(y, 5, alpha=0.02)
    ),
    "instance norm of running statistics": instance_norm,
    "standardized weights": StandardizedWeights,
    "spectral norm": lambda: last_layer(parametrizations.spectral_norm(nn.Conv2d(6, 8, 3))),
    "weight norm": lambda: last_layer(parametrizations.weight_norm(nn.Conv2d(6, 8, 3))),
    "even kernel with same padding": lambda: last_layer(nn.Conv2d(6, 4, (4, 2), padding="same")),
    "grouped sequence with same padding": lambda: Applied(
        lambda y, conv: conv(y.flatten(2)),
        nn.Conv1d(6, 4, 6, padding="same", dilation=2, groups=2),
    ),
    "channel shuffle": lambda: Applied(lambda y: functional.channel_shuffle(y, 3)),
    "windows of one axis": lambda: Applied(windows),
    "deviation of windows": lambda: Applied(
        lambda y: y.unfold(2, 3, 2).unfold(3, 4, 3).std((-1, -2))
    ),
    "maximum of windows": lambda: Applied(lambda y: y.unfold(3, 3, 1).unfold(2, 2, 2).amax((4, 5))),
    "chunk": lambda: Applied(lambda y: torch.mul(*y.chunk(2, 1))),
    "split": lambda: Applied(lambda y: y.split([1, 2, 3], 1)[1] * 2),
    "volume convolution": lambda: Applied(
        lambda y, conv: conv(volume(y)), nn.Conv3d(2, 4, (3, 2, 2), 2, (1, 0, 1), groups=2)
    ),
    "volume convolution with same padding": lambda: Applied(
        lambda y, conv: conv(volume(y)), nn.Conv3d(2, 3, 3, padding="same", dilation=(2, 1, 1))
    ),
    "volume upsampling": lambda: Applied(
        lambda y, up: up(volume(y)), nn.ConvTranspose3d(2, 3, 3, 2, padding=1, output_padding=1)
    ),
    "assignment to channels": Assigns,
    "assignment to a mask": lambda: Applied(masked),
    "assignment to computed places": lambda: Applied(marked),
    "adding up at places": lambda: Applied(added),
    "scattering": lambda: Applied(scattered),
    "identity matrix": lambda: Applied(lambda y: y[..., :16] @ torch.eye(16) + torch.eye(16, 16)),
    "padding that leaves no multiple of the stride": lambda: upsampling(3, 2, padding=1),
    "uneven padding of an upsampling": lambda: upsampling((2, 4), (2, 3), padding=(0, 1)),
    "classes": lambda: Applied(lambda y: functional.one_hot(y.argmax(3), 24) * 1.0),
    "search in a sorted list": lambda: Applied(searched),
    "sort": lambda: Applied(best),
    "adaptive maximum of sequences": lambda: Applied(
        lambda y: functional.adaptive_max_pool1d(y.flatten(2), 11)
    ),
    "adaptive mean of volumes": lambda: Applied(
        lambda y: functional.adaptive_avg_pool3d(volume(y), (2, 3, 5))
    ),
    "special functions": lambda: Applied(special),
    "alias": lambda: Applied(lambda y: torch.ops.aten.alias.default(y) + 1),
    "maximum that drops axes": lambda: Applied(lambda y: y.amax((2, 3))),
    "weights in channels_last": lambda: last_layer(nn.Conv2d(6, 8, 3)).to(
        memory_format=torch.channels_last
    ),
    "an input returned": lambda: Returned("input"),
    "a result returned twice": lambda: Returned("twice"),
}


def build(name: str) -> nn.Module:
    """The network, with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return NETWORKS[name]().eval()
