"""Train a multi-style network from folders of photographs and paintings."""

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
    """Result of :func:`train_stylizer`; see :class:`StyleTraining` for the other attributes.

    Attributes:
        model: Trained network, in evaluation mode.
        styles: Names of its styles.
        added: Number of styles, the last ones, that this training added.
    """

    model: MultiStyleNet
    styles: tuple[str, ...]
    added: int

    def summary(self) -> str:
        """Return a one-line summary."""
        return f"{len(self.styles)} styles: {', '.join(self.styles)}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the model as JSON values."""
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
        styles: Folder of paintings, one per style; a file's name is its style's name.
        recipe: Training settings.
        base: ``NAME.edgemodel`` of a trained stylizer to add the paintings to: only their vectors
            are trained, and its own styles stay as they are.
        start: ``NAME.edgemodel`` of a trained stylizer of the same styles and widths to start
            from: all its weights train further. Not together with ``base``.
        config: Options of :class:`~edgesdk.models.multi_style.MultiStyleNet` except its styles.
        perceptual: File of the perceptual network, see
            :func:`~edgesdk.training.style.perceptual.load_perceptual`; None to search for one.
        previews: Folder of preview sheets, one at the end at least.
        options: See :class:`~edgesdk.training.engine.RunOptions`; ``preview`` is set here.
        report: Called with a line of text as each part begins.

    Raises:
        UsageError: ``base`` and ``start`` are both given, or ``start`` has other styles or widths.
        EdgeSdkError: See :class:`~edgesdk.training.style.train.StyleTrainer` and
            :func:`~edgesdk.training.style.loop.fit_style`.
    """
    if base is not None and start is not None:
        raise UsageError(
            "a training cannot both add styles to a network and start from one",
            remedy="give one of both: --add-to trains the vectors of new styles alone, --fine-tune "
            "trains all weights in the same styles",
        )
    trainer = StyleTrainer(
        content, styles, recipe, perceptual=perceptual, called="styles", report=report
    )
    model, first = _network(trainer.paintings.names, base, start, config or {})
    count = model.config["styles"]
    report("measuring paintings and photographs")
    training = trainer.train(
        model,
        StylesToLearn(
            shown=trainer.paintings.paintings,
            sizes=recipe.style_sizes,
            conditions=torch.eye(count)[first:, :, None, None],
        ),
        model.config,
        # Existing styles stay as they are, to the bit.
        equalized=None if base is not None else model,
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
    """Return the network to train and the index of its first style to train."""
    if base is not None:
        if config:
            raise UsageError("a trained network keeps its widths: config cannot change them")
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
