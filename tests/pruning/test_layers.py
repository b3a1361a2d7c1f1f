"""Cutting single layers, against what the cut layer must compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.pruning.layers import cut_in, cut_out, mask_in, widths


def filled(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return layer.eval()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3),
        nn.Conv2d(6, 8, 3, groups=2, bias=False),
        nn.Conv1d(6, 8, 3),
        nn.ConvTranspose2d(6, 8, 3),
        nn.ConvTranspose2d(6, 8, 3, groups=2),
        nn.Linear(6, 8),
    ],
    ids=str,
)
def test_mixing_layers(layer):
    layer = filled(layer)
    shape = {nn.Linear: (2, 6), nn.Conv1d: (2, 6, 5)}.get(type(layer), (2, 6, 5, 5))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    keep_in, keep_out = [0, 2, 4, 5], [0, 3, 4, 7]
    silent = torch.zeros_like(x)
    silent[:, keep_in] = x[:, keep_in]
    expected = layer(silent)[:, keep_out]
    blind = filled(type(layer)(*_arguments(layer)))
    mask_in(blind, [1, 3])
    assert torch.allclose(blind(x)[:, keep_out], expected, atol=1e-6)
    cut_out(layer, keep_out)
    cut_in(layer, keep_in)
    assert widths(layer) == (4, 4)
    assert torch.allclose(layer(x[:, keep_in]), expected, atol=1e-6)


def _arguments(layer):
    if isinstance(layer, nn.Linear):
        return (6, 8)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    more = (0, layer.groups) if transposed else (layer.groups, layer.bias is not None)
    return (6, 8, 3, 1, 0, *([0] if transposed else [1]), *(more[1:] if transposed else more))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(6),
        nn.BatchNorm2d(6, affine=False),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.PReLU(6),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ConvTranspose2d(6, 6, 3, groups=6),
    ],
    ids=str,
)
def test_layers_with_one_side(layer):
    layer = filled(layer)
    x = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(4))
    expected = layer(x)[:, [1, 2, 5]]
    cut_out(layer, [1, 2, 5])
    assert widths(layer) == (3, 3)
    assert torch.allclose(layer(x[:, [1, 2, 5]]), expected, atol=1e-6)


def test_a_single_slope_stays():
    layer = nn.PReLU()
    cut_out(layer, [0, 1])
    assert layer.num_parameters == 1


def test_frozen_weights_stay_frozen():
    layer = nn.Conv2d(2, 4, 1)
    layer.weight.requires_grad_(False)
    cut_out(layer, [1])
    assert not layer.weight.requires_grad and layer.bias.requires_grad


def test_what_cannot_be_cut():
    with pytest.raises(PruningError, match="would lose all its channels"):
        cut_out(nn.Conv2d(2, 4, 1), [])
    with pytest.raises(PruningError, match="2 groups of a convolution would become unequal"):
        cut_in(nn.Conv2d(4, 4, 1, groups=2), [0, 1, 2])
    for cut in (cut_in, cut_out):
        with pytest.raises(PruningError, match="LayerNorm cannot be removed"):
            cut(nn.LayerNorm(4), [0])
