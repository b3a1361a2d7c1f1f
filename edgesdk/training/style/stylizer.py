"""From folders of photographs and paintings to a trained stylizer in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgesdk import models
from edgesdk.errors import DataError, UsageError
from edgesdk.model_file import read_model_file
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.accelerating import new_accelerator
from edgesdk.training.style.adding import learn_styles_from, with_more_styles
from edgesdk.training.style.history import StyleHistory
from edgesdk.training.style.lessons import Lessons, first_crops
from edgesdk.training.style.loop import Watched, fit_style
from edgesdk.training.style.objective import StyleGoals, StyleObjective, unpainted_distances
from edgesdk.training.style.paintings import Paintings, gram_targets, read_paintings
from edgesdk.training.style.perceptual import load_perceptual
from edgesdk.training.style.perceptual_files import find_perceptual
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.previews import Previews
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["TrainedStylizer", "train_stylizer"]

_ARCHITECTURE = "multi_style"


@dataclass(frozen=True)
class TrainedStylizer:
    """What :func:`train_stylizer` did.

    Attributes:
        model: Trained, in evaluation mode.
        styles: Names of its styles.
        added: How many of them, the last ones, were learnt now.
        history: Row by row.
        skipped: Why a photograph or painting was left out, by file.
        photographs: How many there were.
        perceptual: File of the perceptual network.
        processes: How many trained it.
        device: Where, such as ``cpu``.
        is_main: Whether this is the process that writes and speaks.
    """

    model: MultiStyleNet
    styles: tuple[str, ...]
    added: int
    history: StyleHistory
    skipped: dict[str, str] = field(default_factory=dict)
    photographs: int = 0
    perceptual: str = ""
    processes: int = 1
    device: str = "cpu"
    is_main: bool = True

    def summary(self) -> str:
        """What it is, in a few words."""
        return f"{len(self.styles)} styles: {', '.join(self.styles)}"

    def to_dict(self) -> dict[str, Any]:
        """All but the model, as JSON values."""
        return {
            "styles": self.styles,
            "added": self.added,
            "history": self.history.to_dict(),
            "skipped": self.skipped,
            "photographs": self.photographs,
            "perceptual": self.perceptual,
            "processes": self.processes,
            "device": self.device,
        }


def train_stylizer(
    content: Path,
    styles: Path,
    recipe: StyleRecipe,
    *,
    base: Path | None = None,
    config: dict[str, Any] | None = None,
    perceptual: Path | None = None,
    previews: Path | None = None,
    watched: Watched | None = None,
    resume: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> TrainedStylizer:
    """Train a network that paints photographs in the styles of paintings.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings, one a style, called as their files are.
        recipe: How to train.
        base: ``NAME.edgemodel`` of a trained stylizer that the paintings are added to: only their
            vectors are learnt, and its own styles stay as they are.
        config: Options of :class:`~edgesdk.models.multi_style.MultiStyleNet` other than its styles.
        perceptual: File of the perceptual network, see
            :func:`~edgesdk.training.style.perceptual.load_perceptual`; None looks for one.
        previews: Folder of sheets of what is painted meanwhile, one at the end at least.
        watched: See :func:`~edgesdk.training.style.loop.fit_style`; its ``preview`` is set here.
        resume: Whether to go on from a checkpoint.
        say: Called with a line of what is being done.

    Raises:
        EdgeSdkError: See :func:`~edgesdk.training.style.loop.fit_style`,
            :func:`~edgesdk.training.style.paintings.read_paintings` and
            :class:`~edgesdk.training.style.photographs.Photographs`.
    """
    paintings = read_paintings(styles)
    photographs = Photographs(content, recipe.crop)
    file = perceptual or find_perceptual()
    say(f"{len(photographs)} photographs, {len(paintings.names)} styles, judged by {file.name}")
    net = load_perceptual(file)
    objective = StyleObjective(net, recipe)
    model, first = _network(paintings, base, config or {})
    accelerator = new_accelerator()
    device = accelerator.device
    net.to(device)
    say("looking at paintings and photographs")
    grams = gram_targets(net, paintings.paintings, recipe.style_layers, recipe.style_sizes)
    crops = first_crops(photographs, recipe).to(device)
    goals = StyleGoals(grams, unpainted_distances(net, crops, grams))
    count = model.config["styles"]
    conditions = torch.eye(count, device=device)[first:, :, None, None]
    model.to(device)
    watched = watched or Watched()
    if previews is not None and accelerator.is_main_process:
        watched.preview = Previews(
            previews, model, photographs, paintings.paintings, conditions
        ).write
    history = fit_style(
        model,
        Lessons(photographs, conditions, goals, recipe),
        objective,
        recipe,
        watched,
        identity={
            "network": model.config,
            "photographs": photographs.identity(),
            "paintings": paintings.identity(),
            "perceptual": net.identity(),
        },
        resume=resume,
        accelerator=accelerator,
    )
    skipped = {str(path): why for path, why in {**paintings.skipped, **photographs.skipped}.items()}
    return TrainedStylizer(
        model=model.requires_grad_(True).cpu().eval(),
        styles=tuple(model.config["style_names"]),
        added=count - first,
        history=history,
        skipped=skipped,
        photographs=len(photographs),
        perceptual=file.name,
        processes=accelerator.num_processes,
        device=str(device),
        is_main=accelerator.is_main_process,
    )


def _network(
    paintings: Paintings, base: Path | None, config: dict[str, Any]
) -> tuple[MultiStyleNet, int]:
    """The network to train, and the number of the first style that it learns."""
    names = list(paintings.names)
    if base is None:
        options = {**config, "styles": len(names), "style_names": names}
        fresh = models.create(_ARCHITECTURE, **options)
        if not isinstance(fresh, MultiStyleNet):
            raise UsageError(f"{_ARCHITECTURE} is a {type(fresh).__name__}")
        return fresh, 0
    if config:
        raise UsageError("a network that is there already keeps its widths")
    trained = read_model_file(base).model
    if not isinstance(trained, MultiStyleNet):
        raise DataError(
            f"{base} is no network of styles", remedy="name one that `edgesdk train style` made"
        )
    first = trained.config["styles"]
    model = with_more_styles(trained, names)
    learn_styles_from(model, first)
    return model, first
