"""How the zoo describes a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesdk.models.weight_cards import shipped_card
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
        extra: Extra of this distribution that brings the weights; empty where none does.
        weights: Name of its weights inside the package, see
            :func:`edgesdk.models.weight_cards.shipped_card`; empty where there are none.
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
    weights: str = ""
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles its weights were trained on; empty where it has none."""
        if not self.weights:
            return ()
        # The card, not the network: it is read without torch.
        return tuple(shipped_card(self.weights)["config"].get("style_names", ()))
