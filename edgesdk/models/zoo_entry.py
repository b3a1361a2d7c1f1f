"""How the zoo describes a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesdk.spec import ImageSpec, TensorSpec

__all__ = ["ZooEntry"]


@dataclass(frozen=True)
class ZooEntry:
    """One network of the zoo.

    Attributes:
        name: What the user calls it.
        factory: ``package.module:Class``; called with ``config``.
        inputs: Its inputs, in the order of the call.
        task: ``classification``, ``segmentation``, ``style``, ``super-resolution``,
            ``detection`` or ``video``.
        summary: One line.
        source: The paper.
        image: Preprocessing its images need; None where it takes no photographs.
        labels: Name of the class names, see :func:`edgesdk.models.labels.labels`; empty where
            the network is untrained or does not classify.
        extra: Extra of this distribution that brings the weights; empty where there are none.
        config: Options that tell this network from others of its class.
    """

    name: str
    factory: str
    inputs: tuple[TensorSpec, ...]
    task: str
    summary: str
    source: str
    image: ImageSpec | None = None
    labels: str = ""
    extra: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
