"""Preview sheets of a stylizer in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.host.atomic_write import storage_errors
from edgesdk.training.style.paintings import Painting, as_tensor
from edgesdk.training.style.photographs import Photographs
from edgesdk.video.image_grid import PictureSheet

__all__ = ["Previews"]

_PHOTOGRAPHS = 3
#: Largest number of style columns.
_STYLES = 12
_LONGEST = 384
_SHOWN = 224


class Previews:
    """Paint the same few photographs in every style during training.

    Args:
        folder: Folder of the sheets, ``step-000500.png`` and so on; created.
        model: The network in training.
        photographs: Source of the first, the middle and the last photograph.
        paintings: Paintings in the order of the styles.
        conditions: Style input of the network for each style, ``[S, ...]``.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        photographs: Photographs,
        paintings: Sequence[Painting],
        conditions: torch.Tensor,
    ) -> None:
        with storage_errors("cannot write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._model = folder, model
        self._paintings = list(paintings)[:_STYLES]
        self._conditions = conditions[:_STYLES]
        last = len(photographs) - 1
        chosen = sorted({last * place // (_PHOTOGRAPHS - 1) for place in range(_PHOTOGRAPHS)})
        self._photographs = [photographs.whole(index, _LONGEST) for index in chosen]

    def write(self, step: int) -> Path:
        """Paint and write a sheet after a number of training steps, and return its path.

        Raises:
            StorageError: The file cannot be written.
        """
        names = [painting.name for painting in self._paintings]
        sheet = PictureSheet(["photograph", *names], width=_SHOWN)
        sheet.add_row([None, *map(_thumbnail, self._paintings)], "paintings")
        for place, photograph in enumerate(self._photographs):
            sheet.add_row([photograph, *self._painted(photograph)], f"step {step}" * (not place))
        path = self._folder / f"step-{step:06d}.png"
        sheet.save(path)
        return path

    def _painted(self, photograph: np.ndarray) -> list[np.ndarray]:
        picture = as_tensor(photograph, self._conditions.device)
        with evaluation_mode(self._model), torch.no_grad():
            each = [self._model(picture, one[None]).float() for one in self._conditions]
        return [
            (painted[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            for painted in each
        ]


def _thumbnail(painting: Painting) -> np.ndarray:
    picture = Image.fromarray(painting.pixels)
    picture.thumbnail((_SHOWN, _SHOWN), Image.Resampling.LANCZOS)
    return np.asarray(picture)
