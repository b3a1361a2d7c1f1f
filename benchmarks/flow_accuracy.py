"""Claim: the core's flow is no less accurate than OpenCV's DIS `fast` at the same input size.

Synthetic motions of a generated picture: translations, rotation, zoom, waves, and a disc over a
moving ground. With ``--data FOLDER`` also real pairs: ``aloeL.jpg``, ``aloeR.jpg`` with the
disparities ``aloeGT.png`` (a stereo pair: its horizontal flow is minus the disparity), and
``rubberwhale1.png``, ``rubberwhale2.png`` without ground truth: there the measure is the mean
difference of the first picture and the warped second one.

End-point error in pixels, over pixels visible in the second picture; milliseconds on one thread,
the minimum of several runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesdk.video.core import VideoCore

WIDTH, HEIGHT = 480, 270
Picture = NDArray[np.uint8]
Flow = NDArray[np.float32]
Estimate = Callable[[Picture, Picture], tuple[Flow, float]]


@dataclass(frozen=True)
class Pair:
    """Two pictures and the known part of the flow from the first to the second."""

    name: str
    first: Picture
    second: Picture
    flow: Flow | None
    known: NDArray[np.bool_]


def noise(width: int, height: int, seed: int) -> NDArray[np.float64]:
    """Generate a picture with detail at every size, at twice the resolution of the pairs."""
    random = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for cell, strength in ((6, 14), (14, 20), (40, 28), (110, 30)):
        cells = random.normal(size=(height // cell + 3, width // cell + 3, 3)) * strength
        for channel in range(3):
            image = Image.fromarray(cells[..., channel].astype(np.float32))
            size = (width + 2 * cell, height + 2 * cell)
            scaled = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
            total[..., channel] += scaled[:height, :width]
    return np.clip(total, 0, 255)


def sampled(
    picture: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sample a picture bilinearly; positions outside take the nearest pixel."""
    x = np.clip(x, 0, picture.shape[1] - 1.001)
    y = np.clip(y, 0, picture.shape[0] - 1.001)
    ix, iy = x.astype(int), y.astype(int)
    fx, fy = (x - ix)[..., None], (y - iy)[..., None]
    upper = picture[iy, ix] * (1 - fx) + picture[iy, ix + 1] * fx
    lower = picture[iy + 1, ix] * (1 - fx) + picture[iy + 1, ix + 1] * fx
    return upper * (1 - fy) + lower * fy


def halved(picture: NDArray[np.float64]) -> Picture:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return picture.reshape(height, 2, width, 2, 3).mean((1, 3)).round().astype(np.uint8)


def synthetic() -> Iterator[Pair]:
    """Yield pairs rendered at twice the size, so that interpolation blurs both sides equally."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    cy, cx = (HEIGHT - 1) / 2, (WIDTH - 1) / 2
    motions = {
        "translation": lambda x, y: (5.3 + 0 * x, -2.7 + 0 * x),
        "large translation": lambda x, y: (22.3 + 0 * x, 9.6 + 0 * x),
        "rotation": lambda x, y: (-(y - cy) * 0.05, (x - cx) * 0.05),
        "zoom": lambda x, y: ((x - cx) * 0.06, (y - cy) * 0.06),
        "waves": lambda x, y: (4 * np.sin(y / 25), 3 * np.cos(x / 30)),
        "below a pixel": lambda x, y: (0.4 * np.sin(y / 40) + 0.2, 0.3 * np.cos(x / 50)),
    }
    fine_y, fine_x = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH].astype(np.float64)
    for seed in range(3):
        picture = noise(2 * WIDTH, 2 * HEIGHT, seed)
        for name, motion in motions.items():
            u, v = motion((fine_x - 0.5) / 2, (fine_y - 0.5) / 2)
            first = halved(sampled(picture, fine_x + 2 * u, fine_y + 2 * v))
            flow = np.stack(motion(x, y), axis=-1).astype(np.float32)
            tx, ty = x + flow[..., 0], y + flow[..., 1]
            known = (tx >= 0) & (tx <= WIDTH - 1) & (ty >= 0) & (ty <= HEIGHT - 1)
            yield Pair(name, first, halved(picture), flow, known)
        yield disc(picture, noise(2 * WIDTH, 2 * HEIGHT, seed + 10))


def disc(ground: NDArray[np.float64], other: NDArray[np.float64]) -> Pair:
    """Render a disc that moves by (9, -4) over ground that moves by (-3, 1.5)."""
    y, x = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH].astype(np.float64)
    inside = (x - 400) ** 2 / 140**2 + (y - 280) ** 2 / 110**2 < 1
    after = (x - 418) ** 2 / 140**2 + (y - 272) ** 2 / 110**2 < 1
    first = sampled(ground, x - 6, y + 3)
    first[inside] = other[inside]
    second = ground.copy()
    second[after] = np.roll(other, (-8, 18), (0, 1))[after]
    small = inside[::2, ::2]
    flow = np.where(small[..., None], (9.0, -4.0), (-3.0, 1.5)).astype(np.float32)
    ty, tx = np.mgrid[:HEIGHT, :WIDTH]
    tx, ty = np.round(tx + flow[..., 0]).astype(int), np.round(ty + flow[..., 1]).astype(int)
    known = (tx >= 0) & (tx < WIDTH) & (ty >= 0) & (ty < HEIGHT)
    hidden = after[::2, ::2][np.clip(ty, 0, HEIGHT - 1), np.clip(tx, 0, WIDTH - 1)]
    return Pair("disc over ground", halved(first), halved(second), flow, known & (small | ~hidden))


def shrunk(path: Path, width: int) -> Picture:
    with Image.open(path) as image:
        height = round(image.height * width / image.width)
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX))


def real(folder: Path) -> Iterator[Pair]:
    """Yield the available pairs of a folder."""
    if (folder / "aloeGT.png").is_file():
        for width in (320, 480):
            first, second = (shrunk(folder / f"aloe{side}.jpg", width) for side in "LR")
            with Image.open(folder / "aloeGT.png") as image:
                ratio = width / image.width
                near = image.resize(first.shape[1::-1], Image.Resampling.NEAREST)
                disparity = np.asarray(near).astype(np.float32)
            flow = np.stack([-disparity * ratio, np.zeros_like(disparity)], axis=-1)
            yield Pair(f"aloe, {width} wide", first, second, flow, disparity > 0)
    if (folder / "rubberwhale1.png").is_file():
        pictures = [shrunk(folder / f"rubberwhale{i}.png", 480) for i in (1, 2)]
        everywhere = np.ones(pictures[0].shape[:2], bool)
        yield Pair("rubberwhale", pictures[0], pictures[1], None, everywhere)


def core_estimate(quality: str, repeats: int) -> Estimate:
    def estimate(first: Picture, second: Picture) -> tuple[Flow, float]:
        height, width = first.shape[:2]
        with VideoCore(
            width, height, flow_size=(width, height), threads=1, quality=quality
        ) as core:
            core.set_key("a", second)
            core.set_frame(first)
            least = float("inf")
            for _ in range(repeats):
                begun = time.process_time()
                core.estimate("a")
                # One call computes both directions and the occlusion check.
                least = min(least, (time.process_time() - begun) / 2)
            return core.flow("a"), least

    return estimate


def dis_estimate(preset: str, repeats: int) -> Estimate:
    import cv2 as opencv

    cv2: Any = opencv  # OpenCV's stubs lack the flow and its None arguments

    cv2.setNumThreads(1)
    dis = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))

    def estimate(first: Picture, second: Picture) -> tuple[Flow, float]:
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
        least = float("inf")
        for _ in range(repeats):
            begun = time.process_time()
            flow = dis.calc(*grey, None)
            least = min(least, time.process_time() - begun)
        return flow, least

    return estimate


def error_of(pair: Pair, flow: Flow) -> float:
    if pair.flow is not None:
        return float(np.linalg.norm(flow - pair.flow, axis=-1)[pair.known].mean())
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float64)
    warped = sampled(pair.second.astype(np.float64), x + flow[..., 0], y + flow[..., 1])
    return float(np.abs(warped - pair.first).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real pairs")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    methods = {f"core {name}": core_estimate(name, options.repeats) for name in ("fast", "precise")}
    if importlib.util.find_spec("cv2"):
        for preset in ("ultrafast", "fast", "medium"):
            methods[f"DIS {preset}"] = dis_estimate(preset, options.repeats)
    else:
        print("OpenCV is not installed (pip install opencv-python-headless): no comparison\n")

    errors: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    pairs = [*synthetic(), *(real(options.data) if options.data else ())]
    for pair in pairs:
        for name, estimate in methods.items():
            flow, spent = estimate(pair.first, pair.second)
            errors.setdefault(pair.name, {}).setdefault(name, []).append(error_of(pair, flow))
            seconds[name].append(spent)
    print(f"{'':20}" + "".join(f"{name:>15}" for name in methods))
    for case, found in errors.items():
        print(f"{case:20}" + "".join(f"{np.mean(found[name]):15.3f}" for name in methods))
    print(f"{'ms':20}" + "".join(f"{np.mean(seconds[name]) * 1e3:15.2f}" for name in methods))
    if "DIS fast" in methods:
        worse = [
            case
            for case, found in errors.items()
            if np.mean(found["core fast"]) > np.mean(found["DIS fast"])
        ]
        print(f"\ncore fast is less accurate than DIS fast on: {', '.join(worse) or 'nothing'}")


if __name__ == "__main__":
    main()
