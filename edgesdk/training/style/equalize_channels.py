"""Equalize the ranges of the channels of a stylizer for int8, without changing its output.

A per-tensor int8 scale follows the channel with the largest range: a channel with a tenth of the
range gets a tenth of the steps. Scaling a channel before an instance normalisation changes nothing,
since its deviation is divided out. Between two layers with only linear operators in between, the
next layer can undo the factor of the first (cross-layer equalization, Nagel et al., ICCV 2019,
section 4.1; they take ranges from weights, here they are measured on pictures).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgesdk.frontend.random_inputs import spread
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm

__all__ = ["equalize_channels"]

#: Range of every channel afterwards: far above the epsilon of the normalisation, and far below the
#: limit of half precision.
_REACH = 4.0
#: Largest factor, so that an almost unused channel is not amplified without limit.
_LARGEST_FACTOR = 256.0
#: Largest number of painted styles, and smallest number of painted pictures.
_MOST_STYLES, _LEAST_PICTURES = 64, 16

Paint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@torch.no_grad()
def equalize_channels(
    network: MultiStyleNet, paint: Paint, pictures: torch.Tensor, conditions: torch.Tensor
) -> None:
    """Scale weights in place so that the channels of each tensor have the same range.

    Args:
        network: The trained network.
        paint: Function that paints a picture ``[1, 3, H, W]`` with a style input ``[1, ...]``: the
            network, or a model that contains it.
        pictures: ``[N, 3, H, W]``, 0..1, such as training photographs.
        conditions: Style input of ``paint`` for each style, ``[S, ...]``; at most 64 of them are
            painted.
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
    """Yield each normalisation with the layers whose sum it normalises."""
    for encode in network.encoder:
        yield encode.norm, (encode.pointwise,)
    for block in network.blocks:
        yield block.norm, (block.project,)
    for decode in network.decoder:
        yield decode.norm, (decode.depthwise, decode.lateral)
        if decode.block is not None:
            yield decode.block.norm, (decode.block.project,)


def _in_a_row(network: MultiStyleNet) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Yield pairs of layers with only padding and resizing in between."""
    for encode in network.encoder:
        if isinstance(encode.depthwise, nn.Conv2d):
            yield encode.depthwise, encode.pointwise
    for decode in network.decoder:
        yield decode.pointwise, decode.depthwise


@contextmanager
def _reaches(network: MultiStyleNet) -> Iterator[dict[nn.Module, torch.Tensor]]:
    """Measure the largest absolute value of each channel before norms and between layers."""
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
