"""Train convolutions in the channels-last memory layout, which is fastest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.side_effects import state_kept

__all__ = ["in_fastest_layout", "laid_out"]


@contextmanager
def in_fastest_layout(model: nn.Module, shape: tuple[int, ...]) -> Iterator[bool]:
    """Convert a model's weights to channels last while the body runs, if the model supports it.

    Convolutions are up to a third faster that way on CPUs and GPUs. A model that reshapes
    activations with ``view`` may fail on such images; it keeps the contiguous layout.

    Args:
        model: Model; its parameters stay the same objects and are contiguous again afterwards.
        shape: Shape of one image, ``[C, H, W]``.

    Yields:
        True if images should be channels last.
    """
    if len(shape) != 3 or not any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        yield False
        return
    model.to(memory_format=torch.channels_last)
    fits = _runs(model, shape)
    if not fits:
        model.to(memory_format=torch.contiguous_format)
    try:
        yield fits
    finally:
        if fits:
            model.to(memory_format=torch.contiguous_format)


def _runs(model: nn.Module, shape: tuple[int, ...]) -> bool:
    device = next(model.parameters()).device
    images = torch.zeros(2, *shape, device=device)
    try:
        with evaluation_mode(model), torch.no_grad(), state_kept(model):
            model(laid_out(images, True))
    except RuntimeError:
        # If the model fails for another reason, training raises that error.
        return False
    return True


def laid_out(images: Tensor, channels_last: bool) -> Tensor:
    """Return images ``[N, C, H, W]`` in the layout of the model."""
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images
