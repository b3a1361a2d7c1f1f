"""Find the channels of a network that must be removed together.

Torch-Pruning follows the gradient graph from layer to layer (Fang et al., "DepGraph: Towards Any
Structural Pruning", CVPR 2023) and reports which positions of which layers depend on each other. It
guesses wherever an operation re-orders or mixes channels. Every group of channels is therefore
tested here: some of its channels are removed from a copy, and the copy must compute what the
original computes while those channels are silent. A group that fails the test is left alone, with
the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgesdk.errors import MissingBackendError, PruningError, UnknownNameError
from edgesdk.pruning.groups import ChannelGroup, Channels, LeftAlone, Member
from edgesdk.pruning.layers import CUTTABLE, makes_channels, widths
from edgesdk.pruning.surgery import masked_copy, pruned_copy, same_outputs
from edgesdk.pruning.tracing import call, outputs_of, prepared_copy

__all__ = ["find_channels"]


def find_channels(
    model: nn.Module, inputs: Any, *, protect: Sequence[str] = (), seed: int = 0
) -> Channels:
    """Find the groups of channels that can be removed, and test each one.

    Example:
        >>> channels = find_channels(model, torch.zeros(1, 3, 224, 224))
        >>> [(group.name, group.width) for group in channels.groups]

    Args:
        model: Model; left unchanged, hooks and modes included.
        inputs: Example inputs: a tensor, a tuple of positional or a dictionary of named ones.
        protect: Module paths whose output channels must stay; a path protects all modules below.
        seed: Seed of the channels that are removed on trial.

    Raises:
        MissingBackendError: Torch-Pruning is not installed.
        PruningError: The model cannot be traced, or has no prunable layer.
        UnknownNameError: ``protect`` names a layer that the model does not have.
    """
    copied, notes = prepared_copy(model)
    modules = dict(copied.named_modules())
    for name in protect:
        if name not in modules:
            raise UnknownNameError("layer to protect", name, [key for key in modules if key])
    groups: list[ChannelGroup] = []
    left_alone: list[LeftAlone] = []
    covered: set[str] = set()
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = _graph(copied, inputs)
    with torch.no_grad():
        expected = outputs_of(call(copied, inputs))
    random = torch.Generator().manual_seed(seed)
    paths = {module: name for name, module in modules.items()}
    for name, root in modules.items():
        if root not in graph.module2node or not makes_channels(root) or name in covered:
            continue
        reached = _walk(graph, root)
        covered.add(name)
        covered |= {
            paths[entry.module]
            for entry in reached or ()
            if entry.module in paths and entry.makes and makes_channels(entry.module)
        }
        found = _read(root, reached, paths, protect)
        if isinstance(found, ChannelGroup):
            reason = _failed_trial(found, copied, inputs, expected, random)
            if not reason:
                groups.append(found)
                continue
            found = LeftAlone(found.name, found.width, reason)
        left_alone.append(found)
    left_alone += _untraced(modules, covered, graph)
    if not groups:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in left_alone[:3])
        raise PruningError(
            f"no layer of {type(model).__name__} can be pruned ({reasons or 'it has none'})",
            remedy="prune a model with convolutions or linear layers between input and output",
        )
    return Channels(tuple(groups), tuple(left_alone), notes)


def _graph(model: nn.Module, inputs: Any) -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingBackendError("torch_pruning", "pruning") from error
    graph = torch_pruning.DependencyGraph()

    def forward(module: nn.Module, given: Any) -> list[torch.Tensor]:
        return [value for value in outputs_of(call(module, given)) if value.grad_fn is not None]

    try:
        return graph.build_dependency(model, inputs, forward_fn=forward, verbose=False)
    except Exception as error:
        # Tracing runs arbitrary user code: any error means that the model cannot be traced.
        raise PruningError(
            f"the channels of {type(model).__name__} cannot be traced: {error}",
            remedy="prune its convolutional part as a model of its own",
        ) from error


@dataclass(frozen=True)
class _Reached:
    """A module reached by a walk, with pairs of its positions and their root channels."""

    module: nn.Module
    makes: bool
    pairs: tuple[tuple[int, int], ...]


def _walk(graph: Any, root: nn.Module) -> list[_Reached] | None:
    """Find every module that depends on the output channels of ``root``.

    Torch-Pruning's own walk takes each path through the network anew, which never ends on
    shuffled channels; this one follows each position of a module once.

    Returns:
        The modules in the order of discovery; None if channels are re-ordered.
    """
    import torch_pruning._helpers as helpers

    width = widths(root)[1]
    start = graph.get_pruner_of_module(root).prune_out_channels
    first = [helpers._HybridIndex(idx=k, root_idx=k) for k in range(width)]
    root_of: dict[tuple[Any, Any], dict[int, int]] = {
        (graph.module2node[root], start): {k: k for k in range(width)}
    }
    stack = [(graph.module2node[root], start, first)]
    while stack:
        node, trigger, indices = stack.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(trigger):
                continue
            reached = indices
            for mapping in dependency.index_mapping:
                reached = mapping(reached) if mapping is not None else reached
            known = root_of.setdefault((dependency.target, dependency.handler), {})
            new = [index for index in reached if index.idx not in known]
            known.update((index.idx, index.root_idx) for index in new)
            if any(known[index.idx] != index.root_idx for index in reached):
                return None
            if new:
                stack.append((dependency.target, dependency.handler, new))
    makes = graph.is_out_channel_pruning_fn
    return [
        _Reached(node.module, makes(handler), tuple(sorted(pairs.items())))
        for (node, handler), pairs in root_of.items()
        if pairs
    ]


def _read(
    root: nn.Module,
    reached: list[_Reached] | None,
    paths: Mapping[nn.Module, str],
    protect: Sequence[str],
) -> ChannelGroup | LeftAlone:
    """Turn the modules that a walk reached into a group, or into the reason to leave it alone."""
    name, width = paths[root], widths(root)[1]
    if reached is None:
        return LeftAlone(name, width, "something between the layers re-orders its channels")
    members: dict[tuple[str, str], list[set[int]]] = {}
    for entry in reached:
        module = entry.module
        if module not in paths:
            if type(module).__name__ == "_OutputOp":
                return LeftAlone(name, width, "its channels leave the model as an output")
            if isinstance(module, nn.Parameter):
                return LeftAlone(name, width, "a free parameter has a value for each channel")
            continue
        path = paths[module]
        if not isinstance(module, CUTTABLE):
            if any(True for _ in module.parameters(recurse=False)):
                kind = type(module).__name__
                return LeftAlone(name, width, f"{path} ({kind}) computes across its channels")
            continue
        side = ("out" if entry.makes else "in") if makes_channels(module) else "both"
        limit = widths(module)[0 if side == "in" else 1]
        if side == "out" and any(path == p or path.startswith(f"{p}.") for p in protect):
            return LeftAlone(name, width, f"{path} is protected")
        if isinstance(module, nn.PReLU) and module.num_parameters == 1:
            continue
        rows = members.setdefault((path, side), [set() for _ in range(width)])
        for position, channel in entry.pairs:
            if channel is None or not 0 <= channel < width or not 0 <= position < limit:
                return LeftAlone(name, width, f"its channels are re-numbered before {path}")
            rows[channel].add(int(position))
    wanted = {(path, side): rows for (path, side), rows in members.items() if any(rows)}
    for (path, side), rows in wanted.items():
        positions = [position for row in rows for position in row]
        if len(positions) != len(set(positions)) or not all(rows):
            return LeftAlone(name, width, f"its channels do not reach {path} ({side}) one to one")
    if not any(side == "in" for _, side in wanted):
        return LeftAlone(name, width, "its channels leave the model as an output")
    blocks = _blocks(wanted, {path: module for module, path in paths.items()}, width)
    if blocks is None:
        return LeftAlone(name, width, "a grouped convolution reads its channels in another order")
    found = [
        Member(path, side, tuple(tuple(sorted(row)) for row in rows))
        for (path, side), rows in wanted.items()
    ]
    return ChannelGroup(name, width, tuple(found), blocks)


def _blocks(
    members: Mapping[tuple[str, str], list[set[int]]], modules: Mapping[str, nn.Module], width: int
) -> int | None:
    """Return the number of equal blocks that lose as many channels each; None if not contiguous."""
    blocks = 1
    for (path, side), rows in members.items():
        module = modules[path]
        groups = getattr(module, "groups", 1)
        if side == "both" or groups == 1:
            continue
        if width % groups:
            return None
        inside = widths(module)[0 if side == "in" else 1] // groups
        length = width // groups
        for channel, row in enumerate(rows):
            if any(position // inside != channel // length for position in row):
                return None
        if blocks % groups and groups % blocks:
            return None
        blocks = max(blocks, groups)
    return blocks


@torch.no_grad()
def _failed_trial(
    group: ChannelGroup,
    model: nn.Module,
    inputs: Any,
    expected: list[torch.Tensor],
    random: torch.Generator,
) -> str:
    """Remove some channels from a copy; return the reason why that fails, or an empty text."""
    length = group.width // group.blocks
    if length < 2:
        return "it has one channel" if group.blocks == 1 else "each group has one channel"
    count = max(1, length // 3)
    chosen = [
        block * length + int(channel)
        for block in range(group.blocks)
        for channel in torch.randperm(length, generator=random)[:count]
    ]
    drops = group.drops(chosen)
    try:
        pruned = outputs_of(call(pruned_copy(model, drops), inputs))
    except PruningError as error:
        return error.message
    except Exception as error:  # noqa: BLE001
        # User code around the layers may depend on widths in any way.
        reason = str(error).strip().partition("\n")[0]
        return f"the model does not run without some of its channels: {reason}"
    silent = outputs_of(call(masked_copy(model, drops), inputs))
    if not same_outputs(silent, pruned, expected):
        return "something between the layers mixes or re-orders its channels"
    return ""


def _untraced(modules: Mapping[str, nn.Module], covered: set[str], graph: Any) -> list[LeftAlone]:
    """Return the layers that make channels but belong to no group."""
    unused = "it did not take part in the traced forward pass"
    repeated = "it is called more than once or feeds only what cannot be traced"
    return [
        LeftAlone(path, widths(module)[1], repeated if module in graph.module2node else unused)
        for path, module in modules.items()
        if isinstance(module, CUTTABLE) and makes_channels(module) and path not in covered
    ]
