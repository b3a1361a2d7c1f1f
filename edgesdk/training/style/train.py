"""Prepare and run the training of any stylizer: photographs, paintings, losses, targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.batches import StyleBatches, first_crops
from edgesdk.training.style.equalize_channels import equalize_channels
from edgesdk.training.style.gram import unpainted_distances
from edgesdk.training.style.history import StyleHistory
from edgesdk.training.style.loop import fit_style
from edgesdk.training.style.objective import StyleGoals, StyleObjective
from edgesdk.training.style.paintings import Painting, gram_targets, read_paintings
from edgesdk.training.style.perceptual import load_perceptual
from edgesdk.training.style.perceptual_files import find_perceptual
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.previews import Previews
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["StyleTrainer", "StyleTraining", "StylesToLearn"]


@dataclass(frozen=True, kw_only=True)
class StyleTraining:
    """Result of a stylizer's training.

    Attributes:
        history: Records of the training.
        skipped: Reason why a photograph or painting was left out, by file.
        photographs: Number of photographs.
        perceptual: File of the perceptual network.
        processes: Number of training processes.
        device: Training device, such as ``cpu``.
        is_main: True if this process writes files and prints.
    """

    history: StyleHistory
    skipped: dict[str, str] = field(default_factory=dict)
    photographs: int = 0
    perceptual: str = ""
    processes: int = 1
    device: str = "cpu"
    is_main: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "history": self.history.to_dict(),
            "skipped": self.skipped,
            "photographs": self.photographs,
            "perceptual": self.perceptual,
            "processes": self.processes,
            "device": self.device,
        }


@dataclass(frozen=True, eq=False)
class StylesToLearn:
    """Styles of a training.

    Attributes:
        shown: A painting or a part of one for each style; its Gram matrices are the target.
        sizes: Shorter sides in pixels to which each is scaled.
        conditions: Style input of the network for each style, ``[S, ...]``.
        a_painting: Number of styles in a row from one painting; previews show the first of them.
    """

    shown: Sequence[Painting]
    sizes: Sequence[int]
    conditions: torch.Tensor
    a_painting: int = 1


class StyleTrainer:
    """Photographs, paintings and the perceptual network for the training of a stylizer.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings.
        recipe: Training settings.
        perceptual: File of the perceptual network; None to search for one.
        called: Plural noun for the paintings in reports.
        report: Called with a line of text as each part begins.

    Attributes:
        paintings: Paintings of the folder.

    Raises:
        EdgeSdkError: See :class:`~edgesdk.training.style.photographs.Photographs`,
            :func:`~edgesdk.training.style.paintings.read_paintings` and
            :func:`~edgesdk.training.style.perceptual.load_perceptual`.
    """

    def __init__(
        self,
        content: Path,
        styles: Path,
        recipe: StyleRecipe,
        *,
        perceptual: Path | None = None,
        called: str = "paintings",
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._recipe = recipe
        self.paintings = read_paintings(styles)
        self._photographs = Photographs(content, recipe.crop)
        self._file = perceptual or find_perceptual()
        report(
            f"{len(self._photographs)} photographs, {len(self.paintings.names)} {called}, "
            f"judged by {self._file.name}"
        )
        self._judge = load_perceptual(self._file)
        self._objective = StyleObjective(self._judge, recipe)

    def train(
        self,
        model: nn.Module,
        styles: StylesToLearn,
        network: Mapping[str, Any],
        *,
        equalized: MultiStyleNet | None = None,
        more_identity: Mapping[str, Any] | None = None,
        previews: Path | None = None,
        options: RunOptions | None = None,
    ) -> StyleTraining:
        """Train a network in place; it stays on the device of the training.

        Args:
            model: Maps photographs ``[N, 3, H, W]`` (0..1) and conditions ``[N, ...]`` to
                paintings.
            styles: Styles to train.
            network: Configuration of the network.
            equalized: Part of the network whose channels are equalized at the end, see
                :mod:`~edgesdk.training.style.equalize_channels`; None for none.
            more_identity: Values that identify the run besides network, pictures and losses.
            previews: Folder of preview sheets, one at the end at least.
            options: See :class:`~edgesdk.training.engine.RunOptions`; ``preview`` is set here.

        Raises:
            EdgeSdkError: See :func:`~edgesdk.training.style.loop.fit_style`.
        """
        accelerator = new_accelerator()
        device, recipe = accelerator.device, self._recipe
        self._judge.to(device)
        model.to(device)
        grams = gram_targets(self._judge, styles.shown, recipe.style_layers, styles.sizes)
        crops = first_crops(self._photographs, recipe).to(device)
        goals = StyleGoals(grams, unpainted_distances(self._judge, crops, grams))
        conditions = styles.conditions.to(device)
        options = options or RunOptions()
        if previews is not None and accelerator.is_main_process:
            shown = conditions[:: styles.a_painting]
            sheets = Previews(previews, model, self._photographs, self.paintings.paintings, shown)
            options = replace(options, preview=sheets.write)
        history = fit_style(
            model,
            StyleBatches(self._photographs, conditions, goals, recipe),
            self._objective,
            recipe,
            options,
            identity=self._identity(network, more_identity or {}),
            accelerator=accelerator,
        )
        if equalized is not None:
            equalize_channels(equalized, model.eval(), crops, conditions)
        skipped = {**self.paintings.skipped, **self._photographs.skipped}
        return StyleTraining(
            history=history,
            skipped={str(path): why for path, why in skipped.items()},
            photographs=len(self._photographs),
            perceptual=self._file.name,
            processes=accelerator.num_processes,
            device=str(device),
            is_main=accelerator.is_main_process,
        )

    def _identity(self, network: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "network": dict(network),
            "photographs": self._photographs.identity(),
            "paintings": self.paintings.identity(),
            **more,
            "perceptual": self._judge.identity(),
        }
