"""Equalize the channels of the shipped style networks without changing their paintings.

    python scripts/even_shipped_styles.py --data DIR

Every training now ends so (edgesdk/training/style/equalize_channels.py); the shipped weights are
older. Photographs and paintings are those of scripts/train_shipped_styles.py, without the held-out
photographs. Prints the PSNR of the paintings against those before.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from train_shipped_styles import WEIGHTS, prepared, written

from edgesdk import models
from edgesdk.models.any_style import AnyStyleNet, StyleEncoder
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.style.batches import first_crops
from edgesdk.training.style.equalize_channels import equalize_channels
from edgesdk.training.style.paintings import as_tensor, read_paintings, scaled
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.recipe import StyleRecipe

COMMAND = "python scripts/even_shipped_styles.py --data DIR"
_SIDE = 256


@torch.no_grad()
def evened(
    network: MultiStyleNet, paint: nn.Module, pictures: torch.Tensor, conditions: torch.Tensor
) -> float:
    """Equalize and return the PSNR in dB of the paintings against those before."""
    before = torch.cat([paint(pictures, one[None]) for one in conditions])
    equalize_channels(network, paint, pictures, conditions)
    after = torch.cat([paint(pictures, one[None]) for one in conditions])
    return float(-10 * (after - before).square().mean().log10())


def rewritten(name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Replace weights and record it in their card."""
    card: dict[str, Any] = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    if card.get("channels_evened_out_by") == COMMAND:
        raise SystemExit(f"{name}: already equalized")
    written(WEIGHTS, name, tensors, {"channels_evened_out_by": COMMAND, **card})


def main() -> None:
    """Equalize both networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    recipe = StyleRecipe(crop=_SIDE)
    with tempfile.TemporaryDirectory() as work:
        photographs, folder = prepared(given.data, Path(work), any_style=True)
        pictures = first_crops(Photographs(photographs, recipe.crop), recipe)
        paintings = read_paintings(folder).paintings
    many = models.create("multi_style", pretrained=True).eval()
    painter = models.create("any_style", pretrained=True).eval()
    encoder = models.create("style_encoder", pretrained=True).eval()
    if not (
        isinstance(many, MultiStyleNet)
        and isinstance(painter, AnyStyleNet)
        and isinstance(encoder, StyleEncoder)
    ):
        raise SystemExit("the networks of the zoo have other classes")
    found = evened(many, many, pictures, torch.eye(many.config["styles"])[:, :, None, None])
    print(f"multi_style: {found:.1f} dB PSNR")
    rewritten("multi_style", dict(many.state_dict()))
    with torch.no_grad():
        styles = torch.cat([encoder(as_tensor(scaled(one, _SIDE)[None])) for one in paintings])
    found = evened(painter.painter, painter, pictures, styles)
    print(f"any_style: {found:.1f} dB PSNR")
    parts = {"encoder": encoder.state_dict(), "painter": painter.state_dict()}
    rewritten(
        "any_style",
        {f"{part}.{key}": value for part, state in parts.items() for key, value in state.items()},
    )


if __name__ == "__main__":
    main()
