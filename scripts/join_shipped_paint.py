"""Merge the last two layers of shipped style networks of the older architecture into one.

    python scripts/join_shipped_paint.py

They narrowed to eight channels at 1/2 of the size, enlarged them and painted at full size. Now one
layer returns four pixels per position (``edgesdk.models.multi_style.behind_enlarging``), with the
same result.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file
from train_shipped_styles import WEIGHTS, written

from edgesdk.models.multi_style import behind_enlarging

COMMAND = "python scripts/join_shipped_paint.py"


def joined(tensors: dict[str, torch.Tensor], prefix: str) -> None:
    """Merge the two layers below ``prefix``."""
    narrow = tensors.pop(f"{prefix}narrow.weight").float()[:, :, 0, 0]
    kernel = torch.einsum("omkl,mi->oikl", tensors[f"{prefix}paint.weight"].float(), narrow)
    tensors[f"{prefix}paint.weight"] = behind_enlarging(kernel)
    tensors[f"{prefix}paint.bias"] = tensors[f"{prefix}paint.bias"].repeat_interleave(4)


def main() -> None:
    """Merge the layers of both networks."""
    for name, prefix in (("multi_style", ""), ("any_style", "painter.painter.")):
        tensors = load_file(WEIGHTS / f"{name}.safetensors")
        if f"{prefix}narrow.weight" not in tensors:
            raise SystemExit(f"{name}: already merged")
        joined(tensors, prefix)
        card: dict[str, Any] = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
        card["config"]["decoder_widths"] = card["config"]["decoder_widths"][:2]
        written(WEIGHTS, name, tensors, {"paint_joined_by": COMMAND, **card})


if __name__ == "__main__":
    main()
