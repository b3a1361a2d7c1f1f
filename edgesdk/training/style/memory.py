"""Estimate the memory of a training step and find the largest one that fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from edgesdk.errors import TrainingError
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["bytes_needed", "explain_out_of_memory", "largest_step", "require_memory"]

#: Live bytes per pixel of a crop in float32, rounded up from measurements with layers up to
#: conv4_1 at full and half size: features of the perceptual network and of the stylizer kept for
#: the backward pass; and the addition for second frames.
_BYTES_A_PIXEL, _BYTES_OF_SECOND_FRAMES = 3700, 1000
#: Messages of allocators that are out of memory; CUDA's error has a type of its own.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
_LEAST_CROP = 64


def bytes_needed(recipe: StyleRecipe, pictures: int, crop: int) -> int:
    """Estimate the bytes of a training step of one process, without the networks' weights."""
    each = _BYTES_A_PIXEL + _BYTES_OF_SECOND_FRAMES * (recipe.temporal_weight > 0)
    return pictures * crop * crop * each


def largest_step(recipe: StyleRecipe, processes: int, room: int) -> str:
    """Return the largest step within ``room`` bytes per process, as settings; empty if none fits.

    The batch size is reduced before the crop.
    """
    crop = recipe.crop
    while crop >= _LEAST_CROP:
        pictures = recipe.batch_size // processes
        while pictures >= 1:
            if bytes_needed(recipe, pictures, crop) <= room:
                return f"batch_size={pictures * processes} and crop={crop}"
            pictures //= 2
        crop = crop // 2 // 8 * 8
    return ""


def require_memory(recipe: StyleRecipe, device: torch.device, processes: int) -> None:
    """Check that a training step fits in memory, before the system kills the process.

    Args:
        recipe: The recipe of the run.
        device: Device of the training; only a CPU's memory is checked, others raise errors.
        processes: Number of training processes on this machine.

    Raises:
        TrainingError: A step takes more memory than is free; the message names a size that fits.
    """
    if device.type != "cpu":
        return
    room = psutil.virtual_memory().available // processes
    needed = bytes_needed(recipe, recipe.batch_size // processes, recipe.crop)
    if needed > room:
        amount = f"{needed / 2**30:.1f} GB, and {room / 2**30:.1f} GB are free"
        raise _too_large(recipe, amount, largest_step(recipe, processes, room))


@contextmanager
def explain_out_of_memory(
    recipe: StyleRecipe, device: torch.device, processes: int
) -> Iterator[None]:
    """Turn an out-of-memory error of the body into one that names a step that fits.

    Raises:
        TrainingError: The body ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(words in str(error) for words in _WORDS):
            raise
        # The requested step did not fit, so suggest one of at most half its memory.
        needed = bytes_needed(recipe, recipe.batch_size // processes, recipe.crop)
        fits = largest_step(recipe, processes, needed // 2)
        raise _too_large(recipe, f"more than {device} has", fits) from error


def _too_large(recipe: StyleRecipe, amount: str, fits: str) -> TrainingError:
    return TrainingError(
        f"a step of {recipe.batch_size} pictures of {recipe.crop} pixels takes {amount}",
        remedy=f"set {fits}" if fits else "free some memory",
    )
