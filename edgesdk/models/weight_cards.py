"""Cards of the weights inside the package: how each was made, and of what."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from edgesdk.errors import WeightsDamagedError

__all__ = ["REINSTALL", "shipped_card", "shipped_path"]

_FOLDER = Path(__file__).parent / "weights"
#: What helps where a file of the package is damaged.
REINSTALL = "pip install --force-reinstall edgesdk"


def shipped_path(name: str) -> Path:
    """The file of weights ``name``: safetensors in half precision."""
    return _FOLDER / f"{name}.safetensors"


@cache
def shipped_card(name: str) -> dict[str, Any]:
    """What the card of weights ``name`` says: configuration, recipe, data, losses.

    Raises:
        WeightsDamagedError: It is missing or damaged.
    """
    path = _FOLDER / f"{name}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsDamagedError(f"cannot read {path.name}: {error}", remedy=REINSTALL) from error
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise WeightsDamagedError(f"{path.name} is no card of weights", remedy=REINSTALL)
    return card
