"""How much memory a step of training takes, and which step fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from edgesdk.errors import TrainingError
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["bytes_needed", "memory_named", "require_memory", "what_fits"]

#: Bytes a pixel of a crop that are alive at once, in float32, rounded up from what was measured
#: with layers down to conv4_1 at the whole and half the size: features of the perceptual network
#: and of the stylizer, for the way back; and what second frames add.
_BYTES_A_PIXEL, _BYTES_OF_SECOND_FRAMES = 3700, 1000
#: What allocators say when there is no more: CUDA's has a type of its own.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
_LEAST_CROP = 64


def bytes_needed(recipe: StyleRecipe, pictures: int, crop: int) -> int:
    """What a step of one process takes, roughly, besides the networks themselves."""
    each = _BYTES_A_PIXEL + _BYTES_OF_SECOND_FRAMES * (recipe.temporal_weight > 0)
    return pictures * crop * crop * each


def what_fits(recipe: StyleRecipe, processes: int, room: int) -> str:
    """The largest step that fits into ``room`` bytes a process, as settings; empty for none.

    Fewer pictures are tried before smaller ones.
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
    """Refuse what the machine would kill the process for.

    Args:
        recipe: To be followed.
        device: Where; only a CPU's memory is looked at, others refuse by themselves.
        processes: That train, all on this machine.

    Raises:
        TrainingError: A step takes more memory than is free; says which size fits.
    """
    if device.type != "cpu":
        return
    room = psutil.virtual_memory().available // processes
    needed = bytes_needed(recipe, recipe.batch_size // processes, recipe.crop)
    if needed > room:
        told = f"{needed / 2**30:.1f} GB, and {room / 2**30:.1f} GB are free"
        raise _too_large(recipe, told, what_fits(recipe, processes, room))


@contextmanager
def memory_named(recipe: StyleRecipe, device: torch.device, processes: int) -> Iterator[None]:
    """Say of an allocation that fails in the body which step would fit.

    Raises:
        TrainingError: There was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(words in str(error) for words in _WORDS):
            raise
        # It did not fit, so whatever fits is smaller than what was asked for.
        needed = bytes_needed(recipe, recipe.batch_size // processes, recipe.crop)
        fits = what_fits(recipe, processes, needed // 2)
        raise _too_large(recipe, f"more than {device} has", fits) from error


def _too_large(recipe: StyleRecipe, told: str, fits: str) -> TrainingError:
    return TrainingError(
        f"a step of {recipe.batch_size} pictures of {recipe.crop} pixels takes {told}",
        remedy=f"set {fits}" if fits else "free some memory",
    )
