"""Groups of channels that live and die together, as plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgesdk.errors import UnknownNameError
from edgesdk.pruning.surgery import RemovedChannels, merge

__all__ = ["ChannelGroup", "Channels", "LeftAlone", "Member"]


@dataclass(frozen=True)
class Member:
    """One side of one layer whose positions belong to the channels of a group.

    Attributes:
        layer: Module path.
        side: ``out`` and ``in`` of convolutions and linear layers; ``both`` of layers whose
            output channel is their input channel (normalisations, depthwise convolutions).
        positions: For each channel of the group the positions in this layer.
    """

    layer: str
    side: str
    positions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that live and die together in several layers.

    Attributes:
        name: Module path of the first layer that makes them.
        width: Number of channels.
        members: Every layer that has them.
        blocks: The channels lie in so many blocks of equal length, and each block must lose as
            many: grouped convolutions ask for that. 1 where there are none.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    blocks: int = 1

    @property
    def producers(self) -> tuple[Member, ...]:
        """The layers whose filters make the channels."""
        return tuple(member for member in self.members if member.side == "out")

    @property
    def consumers(self) -> tuple[Member, ...]:
        """The layers that read the channels."""
        return tuple(member for member in self.members if member.side == "in")

    @property
    def followers(self) -> tuple[Member, ...]:
        """Normalisations and depthwise convolutions between them."""
        return tuple(member for member in self.members if member.side == "both")

    def drops(self, channels: Collection[int]) -> RemovedChannels:
        """What every layer loses when the group loses ``channels``."""
        drops: RemovedChannels = {}
        for member in self.members:
            positions = {p for channel in channels for p in member.positions[channel]}
            sides = ("out",) if member.side == "both" else (member.side,)
            for side in sides:
                drops.setdefault((member.layer, side), set()).update(positions)
        return drops


@dataclass(frozen=True)
class LeftAlone:
    """Channels that stay as they are.

    Attributes:
        name: Module path of the first layer that makes them.
        width: Number of channels.
        reason: Why.
    """

    name: str
    width: int
    reason: str


@dataclass(frozen=True)
class Channels:
    """What :func:`find_channels` found.

    Attributes:
        groups: Groups that may lose channels, in the order of execution.
        left_alone: The others.
        notes: What the user should know, such as hooks that were not taken along.
    """

    groups: tuple[ChannelGroup, ...]
    left_alone: tuple[LeftAlone, ...]
    notes: tuple[str, ...] = field(default=())

    def group(self, name: str) -> ChannelGroup:
        """The group whose channels the layer ``name`` makes.

        Raises:
            UnknownNameError: No prunable group has that layer among its producers.
        """
        for group in self.groups:
            if any(member.layer == name for member in group.producers):
                return group
        raise UnknownNameError("prunable layer", name, [group.name for group in self.groups])

    def drops(self, kept: Mapping[str, Sequence[int]]) -> RemovedChannels:
        """What every layer loses when each group keeps the channels ``kept[group.name]``.

        Groups that ``kept`` does not name keep all.
        """
        return merge(
            group.drops(set(range(group.width)) - set(kept[group.name]))
            for group in self.groups
            if group.name in kept
        )
