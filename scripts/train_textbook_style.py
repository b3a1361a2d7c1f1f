"""Train a network on one painting: the reference that the shipped styles are measured against.

    python scripts/train_textbook_style.py --data DIR --work DIR --style starry-night --steps 1000
    python benchmarks/style_quality.py --data DIR --johnson DIR/johnson.edgemodel starry-night

The network is the textbook one (``johnson``), or with ``--network multi_style`` the small one with
a single style, which shows the cost of its size at equal steps. Photographs, paintings and losses
are those of scripts/train_shipped_styles.py, and ``--recipe`` takes the same settings;
``--start NET.edgemodel`` starts from trained weights. A stopped command resumes when run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from train_shipped_styles import STYLES, prepared, print_progress

from edgesdk import models
from edgesdk.frontend.edgemodel.file import load_model, save_model
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.fine_tuning import weights_digest
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.train import StylesToLearn, StyleTrainer


class Between(nn.Module):
    """Adapter of a textbook network, which works in 0..255, to the training's 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, photographs: torch.Tensor, _style: torch.Tensor) -> torch.Tensor:
        """Paint ``[N, 3, H, W]``, 0..1."""
        painted: torch.Tensor = self.network(255 * photographs) / 255
        return painted


def fresh(name: str, config: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Return a network and the module that the training calls."""
    if name == "multi_style":
        fixed = {"styles": 1, "style_names": ["one"], "pretrained": False}
        network: nn.Module = models.create(name, **{**config, **fixed})
        return network, network
    network = models.create("johnson", **config)
    *_, last = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    # It begins with grey instead of black: its first hundreds of steps would go into that.
    nn.init.constant_(last.bias, 127.5)
    return network, Between(network)


def main() -> None:
    """Prepare, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [style.name for style in STYLES]
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--style", choices=names, required=True)
    parser.add_argument("--network", choices=("johnson", "multi_style"), default="johnson")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--start", type=Path, help="NET.edgemodel of the same network")
    parser.add_argument("--recipe", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--config", type=json.loads, default={}, help="of the network, as JSON")
    parser.add_argument("--perceptual", type=Path, help="VGG16's weights; else looked for")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = StyleRecipe(**{**given.recipe, "steps": given.steps})
    torch.manual_seed(recipe.seed)
    photographs, paintings = prepared(given.data, given.work, any_style=False)
    for path in paintings.iterdir():
        if path.stem.partition(" ")[2] != given.style:
            path.unlink()
    trainer = StyleTrainer(
        photographs, paintings, recipe, perceptual=given.perceptual, report=print
    )
    network, called = fresh(given.network, given.config)
    if given.start:
        network.load_state_dict(load_model(given.start).state_dict())
    training = trainer.train(
        called,
        StylesToLearn(
            shown=trainer.paintings.paintings,
            sizes=recipe.style_sizes,
            conditions=torch.ones(1, 1, 1, 1),
        ),
        {"name": given.network, **given.config},
        more_identity={"start": weights_digest(network)} if given.start else None,
        previews=given.work / "sheets",
        options=RunOptions(
            checkpoint=given.work / "run",
            checkpoint_every_seconds=120,
            preview_every_steps=250,
            on_progress=print_progress,
        ),
    )
    output = given.work / f"{given.network}.edgemodel"
    save_model(network.cpu().eval(), given.network, output, overwrite=True)
    print(f"{output}: {training.history.steps} steps, {training.history.records[-1].losses}")


if __name__ == "__main__":
    main()
