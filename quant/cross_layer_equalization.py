"""Cross-layer equalization: equal channel ranges in two layers, with an unchanged function.

Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019,
section 4.1. Positive factors pass through a rectifier: an output channel of one layer can be
divided by a factor and the same input channel of the next multiplied by it. Suitable factors avoid
channels much smaller than others that share their scale.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from edgesdk.errors import QuantizationError, UnknownNameError
from edgesdk.quant.fake_quantization.module_program import Example, program_of
from edgesdk.quant.fake_quantization.network import Network
from edgesdk.quant.fake_quantization.operator_groups import (
    OperatorGroup,
    find_groups,
    norm_factor,
    over_outputs,
)
from edgesdk.quant.fake_quantization.operators import NORMS, argument, clamps_at_zero
from edgesdk.quant.layer_names import layer_path, operator_name

__all__ = ["BOUNDED", "Equalization", "EqualizedPair", "equalize"]

#: Treatments of rectifiers with an upper bound: skip the layers around them, or replace them by
#: rectifiers without bound, as the paper does.
BOUNDED = ("replace", "skip")

#: Largest number of rounds over all pairs, and the change of factors that ends them early.
_ROUNDS, _SETTLED = 40, 1e-3
#: Limits the factor of tiny channels, whose bias would grow with it.
_LARGEST_FACTOR = 256.0

#: Operators that act on channels separately and commute with positive factors.
_HOMOGENEOUS = frozenset(
    {
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "avg_pool1d",
        "avg_pool2d",
        "clone",
        "contiguous",
        "dropout",
        "leaky_relu",
        "max_pool1d",
        "max_pool2d",
        "relu",
    }
)
_RESHAPING = frozenset({"flatten", "reshape", "squeeze", "view"})


@dataclass(frozen=True)
class EqualizedPair:
    """Two layers with equalized channels.

    Attributes:
        first: Module path of the first layer.
        second: Module path of the second layer.
        factors: Divisor of each channel between them.
    """

    first: str
    second: str
    factors: Tensor


@dataclass(frozen=True)
class Equalization:
    """Result of :func:`equalize`.

    Attributes:
        model: Copy of the model with equalized weights, in the same mode.
        pairs: Equalized pairs, in order.
        skipped: Reasons for skipped pairs, by ``FIRST -> SECOND``.
        replaced: Paths of bounded rectifiers replaced by unbounded ones.
    """

    model: nn.Module
    pairs: tuple[EqualizedPair, ...]
    skipped: dict[str, str]
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pair:
    first: OperatorGroup
    second: OperatorGroup
    bounded: tuple[Node, ...]

    @property
    def label(self) -> str:
        return f"{self.first.path} -> {self.second.path}"


def equalize(model: nn.Module, example: Example, *, bounded: str = "skip") -> Equalization:
    """Equalize the channels of consecutive layers.

    Pairs are convolutions (depthwise ones included) and linear layers with only batch
    normalization, a rectifier, dropout, zero padding and pooling between them, and no other reader
    of the tensors between. Normalization is not folded: its gain and shift are divided instead of
    the weights in front of it.

    Args:
        model: Float model; not changed. The copy computes the same function in evaluation mode, up
            to rounding.
        example: Example input.
        bounded: One of :data:`BOUNDED`. ``replace`` changes the function where activations exceed
            the bound, and a model file that names its architecture cannot record this.

    Raises:
        CaptureError: ``torch.export`` cannot trace the model.
        QuantizationError: The model has no layers to equalize.
        UnknownNameError: ``bounded`` is not in :data:`BOUNDED`.
    """
    if bounded not in BOUNDED:
        raise UnknownNameError("treatment of bounded rectifiers", bounded, BOUNDED)
    result = copy.deepcopy(model)
    network = Network(program_of(result, example))
    groups = [group for group in find_groups(network) if group.weight is not None]
    if not groups:
        raise QuantizationError(
            "the model has no convolution and no linear layer to equalize",
            remedy="use the model without equalization",
        )
    tensors = _own_tensors(result, network)
    pairs, skipped, replaced = [], {}, []
    for pair in _pairs(network, groups):
        reason = _obstacle(network, groups, pair) or _bound(result, pair, bounded)
        if reason:
            skipped[pair.label] = reason
            continue
        pairs.append(pair)
        replaced += [layer_path(node) for node in pair.bounded]
    for path in replaced:
        result.set_submodule(path, nn.ReLU())
    with torch.no_grad():
        factors = _balanced(pairs, tensors)
    balanced = tuple(
        EqualizedPair(pair.first.path, pair.second.path, factor)
        for pair, factor in zip(pairs, factors, strict=True)
    )
    return Equalization(result, balanced, skipped, tuple(replaced))


def _own_tensors(model: nn.Module, network: Network) -> dict[Node, Tensor]:
    """Return the model's own tensors by placeholder."""
    own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    return {node: own[path] for node, path in network.constants.items() if path in own}


def _pairs(network: Network, groups: list[OperatorGroup]) -> list[_Pair]:
    heads = {group.head: group for group in groups}
    found = []
    for group in groups:
        bounded: list[Node] = []
        node = group.before_clamp
        channels = node.meta["val"].shape[group.channel_axis]
        while len(node.users) == 1:
            user = next(iter(node.users))
            second = heads.get(user)
            if second is not None:
                if second.activations == (node,) and _takes(second, channels):
                    found.append(_Pair(group, second, tuple(bounded)))
                break
            if not _lets_through(user, node, channels):
                break
            if _is_bounded(user):
                bounded.append(user)
            node = user
    return found


def _takes(group: OperatorGroup, channels: int) -> bool:
    """Return True if a layer has one input weight per channel."""
    shape = group.activations[0].meta["val"].shape
    axis = -1 if group.operator == "linear" else 1
    return bool(shape[axis] == channels)


def _lets_through(node: Node, given: Node, channels: int) -> bool:
    name = operator_name(node)
    if name in _HOMOGENEOUS or clamps_at_zero(node):
        return True
    if name == "mean":
        rank = given.meta["val"].ndim
        dims = argument(node, "dim")
        return dims is not None and rank == 4 and {dim % rank for dim in dims} <= {2, 3}
    if name in ("constant_pad_nd", "pad"):
        ends = argument(node, "pad")
        plain = argument(node, "mode") in (None, "constant") and not argument(node, "value")
        return plain and len(ends) <= 2 * (given.meta["val"].ndim - 2)
    if name in _RESHAPING:
        shape, before = node.meta["val"].shape, given.meta["val"].shape
        single = all(size == 1 for size in before[2:])
        return single and len(shape) >= 2 and shape[1] == channels == before[1]
    return False


def _is_bounded(node: Node) -> bool:
    name = operator_name(node)
    if name == "relu6":
        return True
    high = argument(node, "max_val" if name == "hardtanh" else "max")
    return name in ("clamp", "hardtanh") and high is not None


def _obstacle(network: Network, groups: list[OperatorGroup], pair: _Pair) -> str:
    """Return the reason why the weights of a pair cannot be scaled; empty if they can."""
    first, second = pair.first, pair.second
    if any(sum(group.weight is one.weight for group in groups) > 1 for one in (first, second)):
        return "its weights are used more than once"
    norm = first.norm
    if norm is not None and None in (argument(norm, "weight"), argument(norm, "bias")):
        return "its batch normalization has no gain and shift to scale"
    if first.norm is None and any(operator_name(user) in NORMS for user in first.head.users):
        return "the normalization behind it cannot be folded"
    fixed = [node for node in (first.weight, first.bias, second.weight) if node is not None]
    parameters = set(network.program.graph_signature.inputs_to_parameters)
    if any(node.name not in parameters for node in fixed):
        return "its weights are not parameters"
    return ""


def _bound(model: nn.Module, pair: _Pair, bounded: str) -> str:
    """Return the reason why bounded rectifiers prevent scaling a pair; empty if they do not."""
    if not pair.bounded:
        return ""
    if bounded == "skip":
        return "the rectifier between them has an upper bound"
    for node in pair.bounded:
        path = layer_path(node)
        module = dict(model.named_modules()).get(path)
        if not isinstance(module, nn.ReLU6 | nn.Hardtanh):
            return "the bounded rectifier between them is not a module and cannot be replaced"
    return ""


def _balanced(pairs: list[_Pair], tensors: dict[Node, Tensor]) -> list[Tensor]:
    """Scale weights until the factors converge; return the total factors of each pair."""
    factors: list[Tensor] = []
    for pair in pairs:
        factors.append(torch.ones_like(_output_ranges(pair.first, tensors)))
    for _ in range(_ROUNDS):
        change = 0.0
        for index, pair in enumerate(pairs):
            front = _output_ranges(pair.first, tensors)
            behind = _input_ranges(pair.second, tensors)
            alive = (front > 0) & (behind > 0)
            factor = torch.where(alive, front / behind.clamp(min=1e-30), 1.0).sqrt()
            wanted = (factors[index] * factor).clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
            factor = wanted / factors[index]
            _scale(pair, factor, tensors)
            factors[index] = wanted
            change = max(change, float(factor.log().abs().max()))
        if change < _SETTLED:
            break
    return factors


def _folded_weight(group: OperatorGroup, tensors: dict[Node, Tensor]) -> Tensor:
    assert group.weight is not None
    weight = tensors[group.weight]
    if group.norm is None:
        return weight
    factor, _ = norm_factor(group.norm, tensors)
    return weight * over_outputs(factor, group, weight)


def _output_ranges(group: OperatorGroup, tensors: dict[Node, Tensor]) -> Tensor:
    """Return the largest weight of every output channel."""
    weight = _folded_weight(group, tensors).abs()
    if not group.transposed:
        return weight.flatten(1).amax(1)
    return weight.unflatten(0, (group.groups, -1)).flatten(3).amax((1, 3)).flatten()


def _input_ranges(group: OperatorGroup, tensors: dict[Node, Tensor]) -> Tensor:
    """Return the largest weight of every input channel."""
    weight = _folded_weight(group, tensors).abs()
    if group.transposed:
        return weight.flatten(1).amax(1)
    parts = weight.unflatten(0, (group.groups, -1))
    return parts.flatten(3).amax(3).amax(1).flatten() if parts.ndim > 3 else parts.amax(1).flatten()


def _scale(pair: _Pair, factor: Tensor, tensors: dict[Node, Tensor]) -> None:
    first, second = pair.first, pair.second
    assert first.weight is not None and second.weight is not None
    if first.norm is not None:
        for name in ("weight", "bias"):
            tensors[argument(first.norm, name)].div_(factor)
    else:
        weight = tensors[first.weight]
        weight.div_(over_outputs(factor, first, weight))
        if first.bias is not None:
            tensors[first.bias].div_(factor)
    weight = tensors[second.weight]
    if second.transposed:
        weight.mul_(factor.reshape(-1, *(1,) * (weight.ndim - 1)))
        return
    shares = factor.reshape(second.groups, 1, -1, *(1,) * (weight.ndim - 2))
    parts = weight.unflatten(0, (second.groups, -1)) * shares
    weight.copy_(parts.flatten(0, 1))
