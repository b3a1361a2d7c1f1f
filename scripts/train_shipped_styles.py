"""Train the style networks whose weights come with the package, from their original data.

    python scripts/train_shipped_styles.py --data DIR --work DIR            # the twelve styles
    python scripts/train_shipped_styles.py --data DIR --work DIR --any      # any style

``DIR`` holds ``paintings`` and ``photos``. A stopped command resumes when run again. At the end it
writes ``edgesdk/models/weights/NAME.safetensors`` (half precision) and ``NAME.json``, the card:
data, recipe, machine, losses. The work folder keeps the twelve styles as ``trained.edgemodel``,
which a later run can ``--start`` from; ``--start shipped`` continues from the package's weights.
On two cores, two processes of one thread each are faster than one of two::

    torchrun --nproc-per-node 2 -- scripts/train_shipped_styles.py --threads 1 ...

Every eleventh photograph and, for any style, six paintings are held out; the benchmarks measure
on those.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from edgesdk import models
from edgesdk.frontend.edgemodel.file import save_model
from edgesdk.host.atomic_write import write_atomically
from edgesdk.host.image_files import pictures_below, read_picture
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.any_stylizer import train_any_stylizer
from edgesdk.training.style.fine_tuning import encoder_path
from edgesdk.training.style.history import StyleProgress
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer import train_stylizer
from edgesdk.training.style.stylizer_file import save_stylizer

WEIGHTS = Path(__file__).resolve().parents[1] / "edgesdk" / "models" / "weights"
HELD_PHOTOGRAPHS = 11
#: Shown to no network of any style while it learnt.
HELD_PAINTINGS = (
    "gcompris_EjiriSuruga.jpg",
    "VincentVanGogh0019_background.webp",
    "gcompris_AlbrechtDurer.jpg",
    "gcompris_renoir-filles_piano.jpg",
    "gcompris_Arcimboldo_Spring.jpg",
    "gcompris_bazille_rampart.jpg",
)
_GCOMPRIS = "Debian gcompris-qt-data 3.1-2; work in the public domain"


@dataclass(frozen=True)
class Style:
    """A painting that a style is named after.

    Attributes:
        name: Name of the style.
        file: File of the scan.
        title: Title of the painting.
        artist: Painter, with the year of death.
        year: Year of the painting.
        origin: Origin and licence of the scan.
        margin: Share of each side that is frame, to cut off.
    """

    name: str
    file: str
    title: str
    artist: str
    year: str
    origin: str = _GCOMPRIS
    margin: float = 0.01


_GOGH, _HOKUSAI = "Vincent van Gogh (d. 1890)", "Katsushika Hokusai (d. 1849)"
STYLES = (
    Style(
        "starry-night",
        "starry_night.jpg",
        "The Starry Night",
        _GOGH,
        "1889",
        "Debian opencv-doc 4.6.0; work in the public domain",
        0.03,
    ),
    Style("cafe-terrace", "Gogh4_background.webp", "Café Terrace at Night", _GOGH, "1888"),
    Style(
        "pere-tanguy",
        "PortraitOfPereTanguy_background.webp",
        "Portrait of Père Tanguy",
        _GOGH,
        "1887",
    ),
    Style("night-cafe", "Van_Gogh_The_Night_Cafe_background.webp", "The Night Café", _GOGH, "1888"),
    Style(
        "tarascon-road",
        "VincentVanGogh0013_background.webp",
        "The Painter on the Road to Tarascon",
        _GOGH,
        "1888",
    ),
    Style("cottages", "gcompris_gogh_auvert.jpg", "Thatched Cottages, Auvers", _GOGH, "1890"),
    Style(
        "great-wave",
        "gcompris_GreatWave.jpg",
        "The Great Wave off Kanagawa",
        _HOKUSAI,
        "about 1831",
    ),
    Style("poppies", "gcompris_HokusaiPoppies.jpg", "Poppies", _HOKUSAI, "about 1832"),
    Style(
        "snow-shrine",
        "gcompris_HiroshigeInokashiraSnow.jpg",
        "The Benzaiten Shrine at Inokashira in Snow",
        "Utagawa Hiroshige (d. 1858)",
        "about 1840",
        margin=0.03,
    ),
    Style(
        "summertime",
        "gcompris_cassat_summertime.jpg",
        "Summertime",
        "Mary Cassatt (d. 1926)",
        "1894",
    ),
    Style(
        "composition-8",
        "gcompris_kandinky.jpg",
        "Composition VIII",
        "Wassily Kandinsky (d. 1944)",
        "1923",
    ),
    Style(
        "moulin-galette",
        "gcompris_renoir-moulin_de_la_galette.jpg",
        "Bal du moulin de la Galette",
        "Pierre-Auguste Renoir (d. 1919)",
        "1876",
    ),
)


def cut(source: Path, target: Path, margin: float) -> None:
    """Return a painting without its frame."""
    if not target.exists():
        picture = read_picture(source)
        across, down = round(margin * picture.width), round(margin * picture.height)
        box = (across, down, picture.width - across, picture.height - down)
        beside = target.with_suffix(".partial")
        picture.crop(box).save(beside, "PNG")
        beside.replace(target)


def prepared(data: Path, work: Path, *, any_style: bool) -> tuple[Path, Path]:
    """Return the folders of training photographs and paintings."""
    photographs, paintings = work / "photographs", work / "paintings"
    for folder in (photographs, paintings):
        folder.mkdir(parents=True, exist_ok=True)
    for place, path in enumerate(pictures_below(data / "photos")):
        target = photographs / path.name
        if place % HELD_PHOTOGRAPHS and not target.exists():
            target.symlink_to(path.resolve())
    if any_style:
        margins = {style.file: style.margin for style in STYLES}
        for path in pictures_below(data / "paintings"):
            if path.name not in HELD_PAINTINGS:
                cut(path, paintings / f"{path.stem}.png", margins.get(path.name, 0.01))
    else:
        for number, style in enumerate(STYLES):
            cut(
                data / "paintings" / style.file,
                paintings / f"{number:02} {style.name}.png",
                style.margin,
            )
    return photographs, paintings


def json_bytes(value: dict[str, Any]) -> bytes:
    """Return a value in the JSON format of the cards."""
    return f"{json.dumps(value, indent=1, ensure_ascii=False)}\n".encode()


def written(
    folder: Path, name: str, tensors: dict[str, torch.Tensor], card: dict[str, Any]
) -> None:
    """Write weights in half precision and their card."""
    folder.mkdir(exist_ok=True)
    half = {key: value.detach().half().contiguous() for key, value in tensors.items()}
    write_atomically(folder / f"{name}.safetensors", save(half))
    write_atomically(folder / f"{name}.json", json_bytes(card))


def command(given: argparse.Namespace) -> str:
    """Return the command that repeats the training."""
    said = "python scripts/train_shipped_styles.py --data DIR --work DIR"
    said += " --any" if given.any else ""
    said += f" --start {given.start.name}" if given.start else ""
    said += f" --config '{json.dumps(given.config)}'" if given.config else ""
    said += f" --stop-after {given.stop_after}" if given.stop_after else ""
    return said + (f" --recipe '{json.dumps(given.recipe)}'" if given.recipe else "")


def shipped(path: Path, *, any_style: bool) -> None:
    """Write the package's networks and their card in the form a run leaves behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if any_style:
        save_model(models.create("any_style"), "any_style", path, overwrite=True)
        encoder = models.create("style_encoder")
        save_model(encoder, "style_encoder", encoder_path(path), overwrite=True)
    else:
        # Styles are called as the files of the paintings are.
        names = [f"{number:02}-{style.name}" for number, style in enumerate(STYLES)]
        network = models.create("multi_style", style_names=names)
        save_model(network, "multi_style", path, overwrite=True)
    name = "any_style" if any_style else "multi_style"
    write_atomically(path.parent / "card.json", (WEIGHTS / f"{name}.json").read_bytes())


def print_progress(progress: StyleProgress) -> None:
    """Print every 25th step."""
    if progress.step % 25 == 0 or progress.preview:
        losses = {name: round(value, 4) for name, value in progress.record.losses.items()}
        left = progress.seconds_left / 60
        print(f"{progress.step}/{progress.steps} {losses} {left:.0f} min left", flush=True)


def main() -> None:
    """Prepare, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--perceptual", type=Path, help="VGG16's weights; else looked for")
    parser.add_argument("--any", action="store_true", help="the network of any style")
    parser.add_argument("--start", type=Path, help="trained.edgemodel, or shipped")
    parser.add_argument("--recipe", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--config", type=json.loads, default={}, help="of the network, as JSON")
    parser.add_argument("--stop-after", type=int, help="end at this step, to --start from there")
    parser.add_argument("--trial", action="store_true", help="keep the result in the work folder")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--preview-every", type=int, default=250)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = StyleRecipe(**given.recipe)
    accelerator = new_accelerator()
    of_package = given.start == Path("shipped")
    start = given.work / "shipped" / "trained.edgemodel" if of_package else given.start
    with accelerator.main_process_first():
        if of_package and accelerator.is_main_process:
            shipped(start, any_style=given.any)
        photographs, paintings = prepared(given.data, given.work, any_style=given.any)
    began = time.monotonic()
    run_options = RunOptions(
        checkpoint=given.work / "run",
        checkpoint_every_seconds=120,
        preview_every_steps=given.preview_every,
        on_progress=print_progress,
        stop_at_step=given.stop_after,
    )
    learn = train_any_stylizer if given.any else train_stylizer
    trained: Any = learn(
        photographs,
        paintings,
        recipe,
        config=given.config,
        perceptual=given.perceptual,
        previews=given.work / "sheets",
        options=run_options,
        report=print,
        **({"start": start} if start else {}),
    )
    if not accelerator.is_main_process:
        return
    records = trained.history.records
    card = {
        "command": command(given),
        "data": {
            "photographs": trained.photographs,
            "held apart": f"every {HELD_PHOTOGRAPHS}th photograph, from the first",
            "perceptual network": trained.perceptual,
        },
        "recipe": recipe.to_dict(),
        "machine": f"{platform.machine()}, {trained.device}, torch {torch.__version__}",
        "processes": accelerator.num_processes,
        "minutes_of_the_last_call": round((time.monotonic() - began) / 60, 1),
        # A call that ends before the first row of the history has none.
        "losses": {"first": asdict(records[0]), "last": asdict(records[-1])} if records else {},
    }
    if start:
        before = json.loads((start.parent / "card.json").read_text(encoding="utf-8"))
        card["started_from"] = {
            key: before[key]
            for key in (
                *("command", "config", "recipe", "losses"),
                *("channels_evened_out_by", "paint_joined_by", "started_from"),
            )
            if key in before
        }
    output = given.work if given.trial or given.stop_after else WEIGHTS
    if given.any:
        card["data"] |= {
            "paintings": list(trained.paintings),
            "paintings held apart": list(HELD_PAINTINGS),
        }
        card["config"] = trained.painter.config
        parts = {"encoder": trained.encoder, "painter": trained.painter}
        tensors = {
            f"{part}.{key}": value
            for part, model in parts.items()
            for key, value in model.state_dict().items()
        }
        written(output, "any_style", tensors, card)
    else:
        names = [name.partition("-")[2] for name in trained.styles]
        card["config"] = {**trained.model.config, "style_names": names}
        card["styles"] = [asdict(style) for style in STYLES]
        save_stylizer(trained, given.work / "trained.edgemodel", overwrite=True)
        written(output, "multi_style", trained.model.state_dict(), card)
    write_atomically(given.work / "card.json", json_bytes(card))


if __name__ == "__main__":
    main()
