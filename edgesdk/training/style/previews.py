"""What a stylizer in training paints, as a sheet of pictures."""

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
#: Columns of styles; more than that nobody can see.
_STYLES = 12
_LONGEST = 384
_SHOWN = 224


class Previews:
    """Paints the same few photographs in every style, again and again.

    Args:
        folder: Where the sheets go, ``step-000500.png`` and so on; created.
        model: In training.
        photographs: The first, the last and the middle one are painted.
        paintings: Of the styles, in their order.
        conditions: What tells the network each style, ``[S, ...]``.
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
        """Paint and write a sheet.

        Args:
            step: Steps done.

        Returns:
            The file.

        Raises:
            StorageError: It cannot be written.
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
