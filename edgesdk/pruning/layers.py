"""Count the channels of one layer, remove some of them, or silence them.

The positions to keep are given. A grouped convolution keeps equally many in each of its groups;
each group may keep different positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgesdk.errors import PruningError

__all__ = ["CUTTABLE", "cut_in", "cut_out", "is_depthwise", "makes_channels", "mask_in", "widths"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

#: Layers that can lose channels. Group and layer normalisation are excluded: they mix the
#: statistics of channels, so removing a channel differs from silencing it.
CUTTABLE: tuple[type[nn.Module], ...] = (
    *_CONVOLUTIONS,
    *_TRANSPOSED,
    nn.Linear,
    *_BATCH_NORMS,
    *_INSTANCE_NORMS,
    nn.PReLU,
)


def is_depthwise(layer: nn.Module) -> bool:
    """Return True if each output channel reads exactly one input channel of its own."""
    return (
        isinstance(layer, _CONVOLUTIONS + _TRANSPOSED)
        and layer.groups == layer.in_channels == layer.out_channels
        and layer.groups > 1
    )


def makes_channels(layer: nn.Module) -> bool:
    """Return True if the layer makes new channels instead of passing its input channels on."""
    return isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) and not is_depthwise(layer)


def widths(layer: nn.Module) -> tuple[int, int]:
    """Return input and output channels of a layer; equal if the layer has one side.

    Raises:
        PruningError: The layer is not of :data:`CUTTABLE`.
    """
    if isinstance(layer, _CONVOLUTIONS + _TRANSPOSED):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, _BATCH_NORMS + _INSTANCE_NORMS):
        return layer.num_features, layer.num_features
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters, layer.num_parameters
    raise PruningError(
        f"channels of a {type(layer).__name__} cannot be removed",
        remedy="protect the layers around it",
    )


def cut_out(layer: nn.Module, keep: Sequence[int]) -> None:
    """Keep the output channels ``keep``, in that order; of a layer with one side, both.

    Args:
        layer: Layer of :data:`CUTTABLE`, changed in place. Its ``requires_grad`` flags stay.
        keep: Positions, at least one; for a grouped convolution equally many from each group.

    Raises:
        PruningError: ``keep`` is empty, groups would become unequal, or the layer cannot be cut.
    """
    index = _index(layer, keep)
    if isinstance(layer, nn.PReLU):
        # A single slope applies to every channel.
        if layer.num_parameters > 1:
            _select(layer, index, "weight")
            layer.num_parameters = len(index)
    elif isinstance(layer, _BATCH_NORMS + _INSTANCE_NORMS):
        _select(layer, index, "weight", "bias", "running_mean", "running_var")
        layer.num_features = len(index)
    elif isinstance(layer, nn.Linear):
        _select(layer, index, "weight", "bias")
        layer.out_features = len(index)
    elif is_depthwise(layer):
        _select(layer, index, "weight", "bias")
        layer.in_channels = layer.out_channels = layer.groups = len(index)
    elif isinstance(layer, _TRANSPOSED):
        _select_by_group(layer, _by_group(index, layer.groups, layer.out_channels))
        _select(layer, index, "bias")
        layer.out_channels = len(index)
    elif isinstance(layer, _CONVOLUTIONS):
        _by_group(index, layer.groups, layer.out_channels)
        _select(layer, index, "weight", "bias")
        layer.out_channels = len(index)
    else:
        widths(layer)


def cut_in(layer: nn.Module, keep: Sequence[int]) -> None:
    """Keep the input channels ``keep``, in that order.

    Args:
        layer: Convolution or linear layer, changed in place; not depthwise.
        keep: Positions, at least one; for a grouped convolution equally many from each group.

    Raises:
        PruningError: ``keep`` is empty, groups would become unequal, or the layer cannot be cut.
    """
    index = _index(layer, keep)
    if isinstance(layer, nn.Linear):
        _select_by_group(layer, [index])
        layer.in_features = len(index)
    elif isinstance(layer, _TRANSPOSED):
        _by_group(index, layer.groups, layer.in_channels)
        _select(layer, index, "weight")
        layer.in_channels = len(index)
    elif isinstance(layer, _CONVOLUTIONS):
        _select_by_group(layer, _by_group(index, layer.groups, layer.in_channels))
        layer.in_channels = len(index)
    else:
        widths(layer)


@torch.no_grad()
def mask_in(layer: nn.Module, drop: Sequence[int]) -> None:
    """Make a convolution or linear layer ignore the input channels ``drop``.

    The layer then computes what it would compute without these channels.
    """
    for position in drop:
        if isinstance(layer, nn.Linear):
            layer.weight[:, position] = 0
        elif isinstance(layer, _TRANSPOSED):
            layer.weight[position] = 0
        elif isinstance(layer, _CONVOLUTIONS):
            inside = layer.in_channels // layer.groups
            outside = layer.out_channels // layer.groups
            group, local = divmod(position, inside)
            layer.weight[group * outside : (group + 1) * outside, local] = 0
        else:
            widths(layer)


def _index(layer: nn.Module, keep: Sequence[int]) -> torch.Tensor:
    if not keep:
        raise PruningError(
            f"a {type(layer).__name__} would lose all its channels", remedy="keep at least one"
        )
    return torch.tensor(list(keep), dtype=torch.long)


def _by_group(index: torch.Tensor, groups: int, width: int) -> list[torch.Tensor]:
    """Return the positions within each group of a grouped convolution."""
    inside = width // groups
    local = [index[index // inside == group] % inside for group in range(groups)]
    if len({len(positions) for positions in local}) != 1 or not len(local[0]):
        raise PruningError(
            f"the {groups} groups of a convolution would become unequal",
            remedy="remove equally many channels from each group",
        )
    return local


def _select(layer: nn.Module, index: torch.Tensor, *names: str) -> None:
    """Keep the rows ``index`` of tensors of a layer, if it has them."""
    for name in names:
        value = getattr(layer, name, None)
        if value is not None:
            _replace(layer, name, value.detach().index_select(0, index.to(value.device)))


def _select_by_group(layer: nn.Module, columns: Sequence[torch.Tensor]) -> None:
    """Keep other columns of the weight in each of its equal groups of rows."""
    groups = layer.weight.detach().chunk(len(columns))
    parts = [
        rows.index_select(1, kept.to(rows.device))
        for rows, kept in zip(groups, columns, strict=True)
    ]
    _replace(layer, "weight", torch.cat(parts))


def _replace(layer: nn.Module, name: str, value: torch.Tensor) -> None:
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(value.contiguous(), requires_grad=old.requires_grad))
    else:
        setattr(layer, name, value.contiguous())
