"""Squeeze-excitation gates that score channels (MSEB), put into a network and read out again.

Chang et al., "UCP: Uniform Channel Pruning for Deep Convolutional Neural Networks Compression and
Acceleration", arXiv 2010.01251: a gate in (0, 1) for every channel, computed from the means of all
channels, trained with the network; its mean over images says how much the channel matters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgesdk.errors import PruningError, UsageError
from edgesdk.pruning.groups import ChannelGroup, Channels
from edgesdk.pruning.image_batches import evaluating, image_batches

__all__ = ["Gate", "Gated", "folded", "gate_scores", "with_gates"]

_REDUCTION = 16

#: Where a gate acts: on what the layer makes, or behind the normalisation that follows it.
PLACES = ("layer", "norm")


class Gate(nn.Module):
    """One gate a channel from the spatial means of all channels.

    Two linear layers with C // 16 features between them and no biases; one feature and biases for
    16 channels or fewer.

    Args:
        width: Channels C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        small = width <= _REDUCTION
        hidden = 1 if small else width // _REDUCTION
        self.squeeze = nn.Linear(width, hidden, bias=small)
        self.excite = nn.Linear(hidden, width, bias=small)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """Gates ``[N, C]`` in (0, 1) of ``u`` ``[N, C]`` or ``[N, C, *spatial]``."""
        z = u.flatten(2).mean(2) if u.dim() > 2 else u
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(z))))


class Gated(nn.Module):
    """A layer whose output channels are scaled by their gates.

    Attributes:
        layer: The layer as it was.
        gate: Its gates.
        seen: Gates of the last forward pass, ``[N, C]``, detached; None before the first.
    """

    seen: torch.Tensor | None

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate = Gate(width)
        self.seen = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the layer answers, each channel times its gate."""
        u = self.layer(x)
        gates = self.gate(u)
        self.seen = gates.detach()
        return u * gates.reshape(*gates.shape, *[1] * (u.dim() - 2))


def with_gates(
    model: nn.Module, channels: Channels, *, place: str = "layer", seed: int = 0
) -> nn.Module:
    """A copy of a model with a gate on every layer that makes prunable channels.

    Args:
        model: Left as it is.
        channels: Found in it.
        place: ``layer``: on what the convolution makes, in front of the normalisation (the paper's
            VGG and CIFAR ResNet). ``norm``: behind the normalisation that follows it (its ImageNet
            ResNets); a layer without one gets its gate directly.
        seed: Of the gates' starting values.

    Raises:
        UsageError: Another place.
        PruningError: A layer makes no plain channels.
    """
    if place not in PLACES:
        raise UsageError(f"place is {place!r}", remedy=f"give one of {', '.join(PLACES)}")
    gated = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for group in channels.groups:
            for path in _places(gated, group, place):
                layer = gated.get_submodule(path)
                if isinstance(layer, Gated):
                    continue
                parent, _, child = path.rpartition(".")
                setattr(gated.get_submodule(parent), child, Gated(layer, _width_of(layer)))
    return gated


def _width_of(layer: nn.Module) -> int:
    for name in ("out_channels", "out_features", "num_features"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    raise PruningError(
        f"a {type(layer).__name__} makes no plain channels", remedy="protect this layer"
    )


def _places(model: nn.Module, group: ChannelGroup, place: str) -> list[str]:
    makers = [member.layer for member in group.producers]
    if place == "layer":
        return makers
    norms = [
        member.layer
        for member in group.followers
        if isinstance(_bare(model.get_submodule(member.layer)), nn.modules.batchnorm._BatchNorm)
    ]
    return [_norm_of(path, norms) for path in makers]


def _bare(layer: nn.Module) -> nn.Module:
    return layer.layer if isinstance(layer, Gated) else layer


def _norm_of(path: str, norms: Sequence[str]) -> str:
    """The normalisation beside a layer in the same parent module; the layer where none is."""
    parent = path.rpartition(".")[0]
    beside = [norm for norm in norms if norm.rpartition(".")[0] == parent]
    return beside[0] if len(beside) == 1 else path


@torch.no_grad()
def gate_scores(
    gated: nn.Module,
    channels: Channels,
    images: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 256,
) -> dict[str, torch.Tensor]:
    """The mean gate of every channel over images, in evaluation mode.

    Channels that several layers make together (a residual stream) get the average over these
    layers, so that one mask holds for all.

    Args:
        gated: From :func:`with_gates`, trained; its mode is given back.
        channels: Its channels.
        images: Data set of ``(image, label)``, a part of the training data.
        mean: See :func:`edgesdk.training.fit`.
        std: See :func:`edgesdk.training.fit`.
        batch_size: Images at a time.

    Returns:
        Group name -> scores ``[width]``, float64.

    Raises:
        PruningError: No images, or a layer of a group that has no gate.
    """
    means = _mean_gates(gated, images, mean, std, batch_size)
    return {group.name: _score(group, means, gated) for group in channels.groups}


@torch.no_grad()
def folded(
    gated: nn.Module,
    images: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 256,
) -> nn.Module:
    """A copy without gates whose layers are scaled by their mean gates.

    Close to the gated network, as far as its gates vary little from image to image; so what it has
    learnt is not lost with the gates.

    Args:
        gated: From :func:`with_gates`, trained.
        images: As for :func:`gate_scores`, as are the arguments below.
        mean: See there.
        std: See there.
        batch_size: See there.

    Raises:
        PruningError: No images.
    """
    means = _mean_gates(gated, images, mean, std, batch_size)
    plain = copy.deepcopy(gated)
    for path, gates in means.items():
        module = plain.get_submodule(path)
        layer = module.layer
        if not isinstance(layer, nn.Module):
            continue
        for name in ("weight", "bias"):
            value = getattr(layer, name, None)
            if value is None:
                continue
            transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd) and name == "weight"
            shape = [1] * value.dim()
            shape[1 if transposed else 0] = len(gates)
            value.mul_(gates.to(value).reshape(shape))
        parent, _, child = path.rpartition(".")
        setattr(plain.get_submodule(parent), child, layer)
    return plain


def _mean_gates(
    gated: nn.Module,
    images: Any,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    batch_size: int,
) -> dict[str, torch.Tensor]:
    """Path of every gated layer -> its gates' means over the images."""
    gates = {path: module for path, module in gated.named_modules() if isinstance(module, Gated)}
    sums: dict[str, torch.Tensor] = {}
    device = next(gated.parameters()).device
    with evaluating(gated):
        for batch in image_batches(images, mean, std, batch_size=batch_size, device=device):
            gated(batch)
            for path, module in gates.items():
                if module.seen is not None:
                    part = module.seen.double().sum(0).cpu()
                    sums[path] = sums[path] + part if path in sums else part
    return {path: total / len(images) for path, total in sums.items()}


def _score(group: ChannelGroup, means: dict[str, torch.Tensor], gated: nn.Module) -> torch.Tensor:
    parts = []
    for member in group.producers:
        found = [path for path in means if path in _candidates(member.layer, group, gated)]
        if not found:
            raise PruningError(
                f"{member.layer} has no gate", remedy="put gates in with with_gates first"
            )
        values = means[found[0]]
        parts.append(torch.stack([values[list(row)].mean() for row in member.positions]))
    return torch.stack(parts).mean(0)


def _candidates(path: str, group: ChannelGroup, gated: nn.Module) -> set[str]:
    return {path, _norm_of(path, [member.layer for member in group.followers])}
