"""Groups of channels that are removed together, as plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgesdk.errors import UnknownNameError
from edgesdk.pruning.surgery import RemovedChannels, merge

__all__ = ["ChannelGroup", "Channels", "LeftAlone", "Member"]


@dataclass(frozen=True)
class Member:
    """Positions of one side of one layer that belong to the channels of a group.

    Attributes:
        layer: Module path.
        side: ``out`` or ``in`` of a convolution or linear layer; ``both`` of a layer that passes
            its input channels on (normalisations, depthwise convolutions).
        positions: Positions in this layer of each channel of the group.
    """

    layer: str
    side: str
    positions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of several layers that are removed together.

    Attributes:
        name: Module path of the first layer that makes the channels.
        width: Number of channels.
        members: All layers that have the channels.
        blocks: Number of equal blocks that must lose as many channels each (grouped convolutions).
    """

    name: str
    width: int
    members: tuple[Member, ...]
    blocks: int = 1

    @property
    def producers(self) -> tuple[Member, ...]:
        """Return the layers whose filters make the channels."""
        return tuple(member for member in self.members if member.side == "out")

    @property
    def consumers(self) -> tuple[Member, ...]:
        """Return the layers that read the channels."""
        return tuple(member for member in self.members if member.side == "in")

    @property
    def followers(self) -> tuple[Member, ...]:
        """Return the normalisations and depthwise convolutions between them."""
        return tuple(member for member in self.members if member.side == "both")

    def drops(self, channels: Collection[int]) -> RemovedChannels:
        """Return the positions that every layer loses when the group loses ``channels``."""
        drops: RemovedChannels = {}
        for member in self.members:
            positions = {p for channel in channels for p in member.positions[channel]}
            side = "out" if member.side == "both" else member.side
            drops.setdefault((member.layer, side), set()).update(positions)
        return drops


@dataclass(frozen=True)
class LeftAlone:
    """Channels that cannot be removed.

    Attributes:
        name: Module path of the first layer that makes the channels.
        width: Number of channels.
        reason: Reason that they stay.
    """

    name: str
    width: int
    reason: str


@dataclass(frozen=True)
class Channels:
    """Channels of a model.

    Attributes:
        groups: Groups that may lose channels, in the order of execution.
        left_alone: Channels that cannot be removed.
        notes: Notes for the user, such as hooks that were not copied.
    """

    groups: tuple[ChannelGroup, ...]
    left_alone: tuple[LeftAlone, ...]
    notes: tuple[str, ...] = field(default=())

    def group(self, name: str) -> ChannelGroup:
        """Return the group whose channels the layer ``name`` makes.

        Raises:
            UnknownNameError: The layer makes channels of no prunable group.
        """
        for group in self.groups:
            if any(member.layer == name for member in group.producers):
                return group
        raise UnknownNameError("prunable layer", name, [group.name for group in self.groups])

    def drops(self, kept: Mapping[str, Sequence[int]]) -> RemovedChannels:
        """Return the positions that layers lose if groups keep ``kept[name]``; others keep all."""
        return merge(
            group.drops(set(range(group.width)) - set(kept[group.name]))
            for group in self.groups
            if group.name in kept
        )
