"""Model cards of the weights inside the package: recipe, data and results of their training."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from edgesdk.errors import WeightsDamagedError

__all__ = ["REINSTALL", "shipped_card", "shipped_path"]

_FOLDER = Path(__file__).parent / "weights"
#: Remedy for a damaged file of the package.
REINSTALL = "pip install --force-reinstall edgesdk"


def shipped_path(name: str) -> Path:
    """Return the path of the weights ``name``: safetensors in half precision."""
    return _FOLDER / f"{name}.safetensors"


@cache
def shipped_card(name: str) -> dict[str, Any]:
    """Load the card of the weights ``name``: configuration, recipe, data, losses.

    Raises:
        WeightsDamagedError: The card is missing or damaged.
    """
    path = _FOLDER / f"{name}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsDamagedError(f"cannot read {path.name}: {error}", remedy=REINSTALL) from error
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise WeightsDamagedError(f"{path.name} is not a card of weights", remedy=REINSTALL)
    return card
