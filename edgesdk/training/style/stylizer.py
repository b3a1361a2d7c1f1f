"""From folders of photographs and paintings to a trained stylizer in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgesdk import models
from edgesdk.errors import UsageError
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.add_styles import learn_styles_from, with_more_styles
from edgesdk.training.style.fine_tuning import read_stylizer, started_from, weights_digest
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.train import StylesToLearn, StyleTrainer, StyleTraining

__all__ = ["TrainedStylizer", "train_stylizer"]

_ARCHITECTURE = "multi_style"


@dataclass(frozen=True, kw_only=True)
class TrainedStylizer(StyleTraining):
    """What :func:`train_stylizer` did, and what is told of every training.

    Attributes:
        model: Trained, in evaluation mode.
        styles: Names of its styles.
        added: How many of them, the last ones, were learnt now.
    """

    model: MultiStyleNet
    styles: tuple[str, ...]
    added: int

    def summary(self) -> str:
        """What it is, in a few words."""
        return f"{len(self.styles)} styles: {', '.join(self.styles)}"

    def to_dict(self) -> dict[str, Any]:
        """All but the model, as JSON values."""
        return {"styles": self.styles, "added": self.added, **super().to_dict()}


def train_stylizer(
    content: Path,
    styles: Path,
    recipe: StyleRecipe,
    *,
    base: Path | None = None,
    start: Path | None = None,
    config: dict[str, Any] | None = None,
    perceptual: Path | None = None,
    previews: Path | None = None,
    options: RunOptions | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> TrainedStylizer:
    """Train a network that paints photographs in the styles of paintings.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings, one a style, called as their files are.
        recipe: How to train.
        base: ``NAME.edgemodel`` of a trained stylizer that the paintings are added to: only their
            vectors are learnt, and its own styles stay as they are.
        start: ``NAME.edgemodel`` of a trained stylizer of the same styles and widths that the
            training goes on with: all its weights learn further. Not together with ``base``.
        config: Options of :class:`~edgesdk.models.multi_style.MultiStyleNet` other than its styles.
        perceptual: File of the perceptual network, see
            :func:`~edgesdk.training.style.perceptual.load_perceptual`; None looks for one.
        previews: Folder of sheets of what is painted meanwhile, one at the end at least.
        options: See :class:`~edgesdk.training.engine.RunOptions`; ``preview`` is set here.
        report: Called with a line of what is being done.

    Raises:
        UsageError: ``base`` and ``start`` at once, or a ``start`` of other styles or widths.
        EdgeSdkError: See :class:`~edgesdk.training.style.train.StyleTrainer` and
            :func:`~edgesdk.training.style.loop.fit_style`.
    """
    if base is not None and start is not None:
        raise UsageError(
            "a training cannot both add styles to a network and start from one",
            remedy="--add-to adds styles and learns their vectors alone, --fine-tune goes on with all "
            "weights in the same styles: give one",
        )
    studio = StyleTrainer(
        content, styles, recipe, perceptual=perceptual, called="styles", report=report
    )
    model, first = _network(studio.paintings.names, base, start, config or {})
    count = model.config["styles"]
    report("looking at paintings and photographs")
    training = studio.train(
        model,
        StylesToLearn(
            shown=studio.paintings.paintings,
            sizes=recipe.style_sizes,
            conditions=torch.eye(count)[first:, :, None, None],
        ),
        model.config,
        # What was there before stays as it is, to the bit.
        evened=None if base is not None else model,
        more_identity={} if start is None else {"start": weights_digest(model)},
        previews=previews,
        options=options,
    )
    return TrainedStylizer(
        **vars(training),
        model=model.requires_grad_(True).cpu().eval(),
        styles=tuple(model.config["style_names"]),
        added=count - first,
    )


def _network(
    names: tuple[str, ...], base: Path | None, start: Path | None, config: dict[str, Any]
) -> tuple[MultiStyleNet, int]:
    """The network to train, and the number of the first style that it learns."""
    if base is not None:
        if config:
            raise UsageError("a network that is there already keeps its widths")
        trained = read_stylizer(base)
        first = trained.config["styles"]
        model = with_more_styles(trained, names)
        learn_styles_from(model, first)
        return model, first
    options = {**config, "styles": len(names), "style_names": list(names), "pretrained": False}
    fresh = models.create(_ARCHITECTURE, **options)
    if not isinstance(fresh, MultiStyleNet):
        raise UsageError(f"{_ARCHITECTURE} is a {type(fresh).__name__}")
    return (fresh if start is None else started_from(start, fresh)), 0
