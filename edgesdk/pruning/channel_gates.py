"""Squeeze-excitation gates that score channels (MSEB): insert them, train with them, read them.

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
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.side_effects import state_kept
from edgesdk.pruning.groups import ChannelGroup, Channels
from edgesdk.pruning.image_batches import image_batches
from edgesdk.pruning.layers import widths

__all__ = ["Gate", "Gated", "folded", "gate_scores", "with_gates"]

_REDUCTION = 16

#: Position of a gate: at the output of the layer, or behind the normalisation that follows it.
PLACES = ("layer", "norm")


class Gate(nn.Module):
    """Compute one gate per channel from the spatial means of all channels.

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
        """Return gates ``[N, C]`` in (0, 1) of ``u`` ``[N, C]`` or ``[N, C, *spatial]``."""
        z = u.flatten(2).mean(2) if u.dim() > 2 else u
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(z))))


class Gated(nn.Module):
    """A layer whose output channels are scaled by their gates.

    Attributes:
        layer: Original layer.
        gate: Gates of its output channels.
        last_gates: Gates of the last forward pass, ``[N, C]``, detached; None before the first.
    """

    last_gates: torch.Tensor | None

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate = Gate(width)
        self.last_gates = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the layer, each channel times its gate."""
        u = self.layer(x)
        gates = self.gate(u)
        self.last_gates = gates.detach()
        return u * gates.reshape(*gates.shape, *[1] * (u.dim() - 2))


def with_gates(
    model: nn.Module, channels: Channels, *, place: str = "layer", seed: int = 0
) -> nn.Module:
    """Copy a model and put a gate on every layer that makes prunable channels.

    Args:
        model: Model; left unchanged.
        channels: Channel groups of the model.
        place: ``layer``: at the output of the convolution, in front of the normalisation (the
            paper's VGG and CIFAR ResNet). ``norm``: behind the normalisation that follows (its
            ImageNet ResNets); a layer without one gets the gate at its output.
        seed: Seed of the gates' initial values.

    Raises:
        UsageError: ``place`` has another value.
        PruningError: The channels of a layer cannot be counted.
    """
    if place not in PLACES:
        raise UsageError(f"place is {place!r}", remedy=f"give one of {', '.join(PLACES)}")
    gated = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for group in channels.groups:
            for path in _gate_positions(gated, group, place):
                layer = gated.get_submodule(path)
                if isinstance(layer, Gated):
                    continue
                gated.set_submodule(path, Gated(layer, widths(layer)[1]))
    return gated


def _gate_positions(model: nn.Module, group: ChannelGroup, place: str) -> list[str]:
    producers = [member.layer for member in group.producers]
    if place == "layer":
        return producers
    norms = []
    for member in group.followers:
        layer = model.get_submodule(member.layer)
        bare = layer.layer if isinstance(layer, Gated) else layer
        if isinstance(bare, nn.modules.batchnorm._BatchNorm):
            norms.append(member.layer)
    return [_norm_of(path, norms) for path in producers]


def _norm_of(path: str, norms: Sequence[str]) -> str:
    """Return the one normalisation in the parent module of a layer, or else the layer."""
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
    """Average the gate of every channel over images: group name -> scores ``[width]``, float64.

    Channels that several layers make together (a residual stream) get the average over these.

    Args:
        gated: Trained network from :func:`with_gates`; its mode is restored.
        channels: Channel groups of the network.
        images: Data set of ``(image, label)``, a part of the training data.
        mean, std: See :func:`edgesdk.training.fit`.
        batch_size: Number of images in a batch.

    Raises:
        PruningError: ``images`` is empty, or a layer of a group has no gate.
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
) -> nn.Module:
    """Copy a gated network without its gates and scale the layers by their mean gates.

    The copy is close to the gated network if its gates vary little from image to image, so training
    can continue from it.

    Args:
        gated: Trained network from :func:`with_gates`.
        images: Data set of ``(image, label)``, a part of the training data.
        mean, std: See :func:`edgesdk.training.fit`.

    Raises:
        PruningError: ``images`` is empty.
    """
    means = _mean_gates(gated, images, mean, std)
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
        plain.set_submodule(path, layer)
    return plain


def _mean_gates(
    gated: nn.Module,
    images: Any,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    batch_size: int = 256,
) -> dict[str, torch.Tensor]:
    """Map the path of every gated layer to the means of its gates over the images."""
    gates = {path: module for path, module in gated.named_modules() if isinstance(module, Gated)}
    sums: dict[str, torch.Tensor] = {}
    device = next(gated.parameters()).device
    with evaluation_mode(gated), state_kept(gated):
        for batch in image_batches(images, mean, std, batch_size=batch_size, device=device):
            gated(batch)
            for path, module in gates.items():
                if module.last_gates is not None:
                    part = module.last_gates.double().sum(0).cpu()
                    sums[path] = sums[path] + part if path in sums else part
    return {path: total / len(images) for path, total in sums.items()}


def _score(group: ChannelGroup, means: dict[str, torch.Tensor], gated: nn.Module) -> torch.Tensor:
    parts = []
    for member in group.producers:
        found = [path for path in means if path in _candidates(member.layer, group, gated)]
        if not found:
            raise PruningError(
                f"{member.layer} has no gate", remedy="insert gates with with_gates first"
            )
        values = means[found[0]]
        parts.append(torch.stack([values[list(row)].mean() for row in member.positions]))
    return torch.stack(parts).mean(0)


def _candidates(path: str, group: ChannelGroup, gated: nn.Module) -> set[str]:
    return {path, _norm_of(path, [member.layer for member in group.followers])}
