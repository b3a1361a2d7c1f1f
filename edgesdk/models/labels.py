"""Class names of the pretrained networks."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from edgesdk.errors import UnknownNameError

__all__ = ["labels"]

_FILES = {"imagenet1k": "imagenet1k_labels.json"}


@functools.cache
def labels(name: str) -> tuple[str, ...]:
    """Return the English class names in the order of the network's logits.

    Args:
        name: ``imagenet1k``: the 1000 classes of ILSVRC-2012. A few different classes share a
            name, such as ``missile``.

    Raises:
        UnknownNameError: The label set does not exist.
    """
    if name not in _FILES:
        raise UnknownNameError("label set", name, _FILES)
    path = Path(__file__).parent / "data" / _FILES[name]
    return tuple(json.loads(path.read_text(encoding="utf-8")))
