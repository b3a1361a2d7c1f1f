"""Channels that share a range in eight bits get one reach; what is painted stays the same.

An integer tensor has one scale, and the channel that reaches farthest sets it: one that reaches a
tenth as far is left with a tenth of the steps. In front of an instance normalisation a channel's
factor changes nothing, since its deviation is divided by; between two layers with nothing but
linear operators, what one multiplies the next can divide by (Nagel et al., ICCV 2019, section 4.1,
which takes reaches from weights; here pictures are painted and looked at).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgesdk.frontend.random_inputs import spread
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm

__all__ = ["even_out_channels"]

#: What every channel reaches afterwards: its deviation is then far above what normalisation adds to
#: a variance, and far below what half precision holds.
_REACH = 4.0
#: A channel that hardly counts is not blown up without end.
_LARGEST_FACTOR = 256.0
#: Styles that are painted at most, and pictures at least.
_MOST_STYLES, _LEAST_PICTURES = 64, 16

Paint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@torch.no_grad()
def even_out_channels(
    network: MultiStyleNet, paint: Paint, pictures: torch.Tensor, conditions: torch.Tensor
) -> None:
    """Scale weights in place, so that channels of one tensor reach as far as each other.

    Args:
        network: Trained.
        paint: Paints ``[1, 3, H, W]`` under ``[1, ...]`` with it: the network itself, or what it is
            a part of.
        pictures: ``[N, 3, H, W]``, 0..1, such as photographs it learnt from.
        conditions: What tells ``paint`` each style, ``[S, ...]``; each is painted once, of more
            than 64 as many.
    """
    chosen = spread(len(conditions), _MOST_STYLES)
    with _reaches(network) as reaches:
        for place in range(max(len(chosen), _LEAST_PICTURES)):
            picture, style = place % len(pictures), chosen[place % len(chosen)]
            paint(pictures[picture : picture + 1], conditions[style : style + 1])
    factors = {
        module: torch.where(
            reach > 0,
            (_REACH / reach).clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR),
            torch.ones_like(reach),
        )
        for module, reach in reaches.items()
    }
    for norm, layers in _before_norms(network):
        for layer in layers:
            _scale_outputs(layer, factors[norm])
    for first, second in _in_a_row(network):
        _scale_outputs(first, factors[first])
        _scale_inputs(second, 1 / factors[first])


def _before_norms(network: MultiStyleNet) -> Iterator[tuple[StyleNorm, tuple[nn.Conv2d, ...]]]:
    """Normalisations, each with the layers whose sum it takes."""
    for encode in network.encoder:
        yield encode.norm, (encode.pointwise,)
    for block in network.blocks:
        yield block.norm, (block.project,)
    for decode in network.decoder:
        yield decode.norm, (decode.depthwise, decode.lateral)
        if decode.block is not None:
            yield decode.block.norm, (decode.block.project,)


def _in_a_row(network: MultiStyleNet) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Two layers with only padding and resizing in between."""
    for encode in network.encoder:
        if isinstance(encode.depthwise, nn.Conv2d):
            yield encode.depthwise, encode.pointwise
    for decode in network.decoder:
        yield decode.pointwise, decode.depthwise


@contextmanager
def _reaches(network: MultiStyleNet) -> Iterator[dict[nn.Module, torch.Tensor]]:
    """The farthest value of every channel in front of a normalisation and between two layers."""
    found: dict[nn.Module, torch.Tensor] = {}

    def see(module: nn.Module, value: torch.Tensor) -> None:
        reach = value.abs().amax(dim=(0, 2, 3))
        found[module] = torch.maximum(found[module], reach) if module in found else reach

    def taken(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        see(module, inputs[0])

    def given(module: nn.Module, _inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        see(module, output)

    handles = [norm.register_forward_pre_hook(taken) for norm, _ in _before_norms(network)]
    handles += [first.register_forward_hook(given) for first, _ in _in_a_row(network)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _scale_outputs(layer: nn.Conv2d, factors: torch.Tensor) -> None:
    layer.weight.mul_(factors[:, None, None, None])
    if layer.bias is not None:
        layer.bias.mul_(factors)


def _scale_inputs(layer: nn.Conv2d, factors: torch.Tensor) -> None:
    depthwise = layer.groups == layer.in_channels and layer.groups > 1
    shape = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)
    layer.weight.mul_(factors.reshape(shape))
