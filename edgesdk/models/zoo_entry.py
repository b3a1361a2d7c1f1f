"""Description of a network in the zoo."""

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
        name: Name on the command line.
        factory: ``package.module:Class``; called with ``config``.
        inputs: Inputs in the order of the call.
        task: ``classification``, ``segmentation``, ``style``, ``super-resolution``,
            ``detection`` or ``video``.
        summary: One line.
        source: The paper.
        image: Preprocessing of its images; None if it does not take photographs.
        labels: Label set, see :func:`edgesdk.models.labels.labels`; empty if the network is
            untrained or not a classifier.
        extra: Extra of this distribution with the weights; empty if there is none.
        weights_package: Import package that this extra installs; empty if there is none.
        weights: Name of its weights inside the package, see
            :func:`edgesdk.models.weight_cards.shipped_card`; empty if there are none.
        config: Options that differ from the defaults of its class.
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
    weights_package: str = ""
    weights: str = ""
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """True if it has trained weights, in this package or in that of its extra."""
        return bool(self.weights or self.weights_package)

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles its weights were trained on; empty if it has none."""
        if not self.weights:
            return ()
        # Reading the card does not need torch, unlike the network.
        return tuple(shipped_card(self.weights)["config"].get("style_names", ()))
