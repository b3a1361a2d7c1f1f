"""Claim: an in-between frame costs at most half of the same work composed from OpenCV.

One frame of 1920 x 1080 between two painted key frames, flow at 480 x 270. Both sides scale the
frame to the flow size, estimate four flows (frame to either key frame and back) and paint the
frame; key frames are prepared before. Ours also checks occlusion and photometric residual at every
pixel and fills pixels that neither key frame shows; the composition from OpenCV does not.

Rounds of the two are interleaved, because other processes share the machine. The table has the
least processor time and the least wall time of a round.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesdk.video.core import VideoCore

WIDTH, HEIGHT = 1920, 1080
FLOW = (480, 270)
Picture = NDArray[np.uint8]


def scene() -> tuple[Picture, Picture, Picture]:
    """Return key frame, frame, key frame: a moving textured ground, a disc that moves more."""
    noise = np.random.default_rng(0)
    ground = np.zeros((HEIGHT + 64, WIDTH + 128, 3), np.float32)
    for size, strength in ((8, 60), (32, 40), (128, 25)):
        cells = noise.normal(size=(HEIGHT // size + 2, WIDTH // size + 2, 3)) * strength
        scaled = [
            np.asarray(
                Image.fromarray(cells[..., c].astype(np.float32)).resize(
                    (WIDTH + 128, HEIGHT + 64), Image.Resampling.BICUBIC
                )
            )
            for c in range(3)
        ]
        ground += np.stack(scaled, axis=-1)
    picture = np.clip(ground + 128, 0, 255).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for t in range(3):
        frame = picture[20 + 3 * t :, 40 - 9 * t :][:HEIGHT, :WIDTH].copy()
        disc = (x - 700 - 40 * t) ** 2 + (y - 500 + 12 * t) ** 2 < 180**2
        frame[disc] = np.roll(picture, (5 * t, 300 + 40 * t), (0, 1))[:HEIGHT, :WIDTH][disc]
        frames.append(frame)
    return frames[0], frames[1], frames[2]


def ours(
    frames: tuple[Picture, ...], paintings: tuple[Picture, ...], threads: int
) -> dict[str, Callable[[], Any]]:
    """Return the steps of the native core."""
    core = VideoCore(WIDTH, HEIGHT, flow_size=FLOW, threads=threads)
    for slot, frame, painting in zip("ab", (frames[0], frames[2]), paintings, strict=True):
        core.set_key(slot, frame)
        core.set_painted(slot, painting)
    out = np.empty_like(frames[1])
    return {
        "scale": lambda: core.set_frame(frames[1]),
        "flow": lambda: core.estimate("both"),
        "paint": lambda: core.render(frames[1], 0.5, out=out),
    }


def composed(
    frames: tuple[Picture, ...], paintings: tuple[Picture, ...], threads: int
) -> dict[str, Callable[[], Any]]:
    """Return the same steps composed from OpenCV's functions."""
    import cv2 as opencv

    cv2: Any = opencv  # its stubs lack the flow and optional arguments

    cv2.setNumThreads(threads)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def small(frame: Picture) -> Any:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, FLOW, interpolation=cv2.INTER_AREA)

    keys = (small(frames[0]), small(frames[2]))
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    grid = np.stack((x, y), axis=-1)
    ratio = (WIDTH / FLOW[0], HEIGHT / FLOW[1])
    half = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    state: dict[str, Any] = {}

    def scale() -> None:
        state["grey"] = small(frames[1])

    def flow() -> None:
        state["flows"] = [dis.calc(state["grey"], key, None) for key in keys]
        state["back"] = [dis.calc(key, state["grey"], None) for key in keys]

    def paint() -> None:
        warped = []
        for found, painting in zip(state["flows"], paintings, strict=True):
            longer = cv2.multiply(found, (*ratio, 0, 0))
            full = cv2.resize(longer, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
            places = cv2.add(full, grid)
            fixed = cv2.convertMaps(places, None, cv2.CV_16SC2)
            warped.append(cv2.remap(painting, *fixed, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE))
        state["out"] = cv2.blendLinear(warped[0], warped[1], half, half)

    return {"scale": scale, "flow": flow, "paint": paint}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    frames = scene()
    paintings = (255 - frames[0], 255 - frames[2])
    sides = {"edgesdk": ours(frames, paintings, options.threads)}
    if importlib.util.find_spec("cv2"):
        sides["OpenCV"] = composed(frames, paintings, options.threads)
    else:
        print("OpenCV is not installed (pip install opencv-python-headless): no comparison")
    copy = np.empty_like(frames[1])
    sides["copy"] = {"copy": lambda: np.copyto(copy, frames[1])}

    least: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for side, steps in sides.items():
            total = [0.0, 0.0]
            for name, step in [*steps.items(), ("total", None)]:
                if step is not None:
                    wall, processor = time.perf_counter(), time.process_time()
                    step()
                    spent = [time.perf_counter() - wall, time.process_time() - processor]
                    total = [a + b for a, b in zip(total, spent, strict=True)]
                else:
                    spent = total
                best = least.setdefault((side, name), list(spent))
                best[:] = [min(a, b) for a, b in zip(best, spent, strict=True)]

    print(f"{WIDTH} x {HEIGHT}, flow {FLOW[0]} x {FLOW[1]}, {options.threads} threads, ms")
    print(f"{'':10}{'step':8}{'wall':>8}{'processor':>11}")
    for (side, name), (wall, processor) in least.items():
        print(f"{side:10}{name:8}{wall * 1e3:8.2f}{processor * 1e3:11.2f}")
    mine = least["edgesdk", "total"]
    plain = least["copy", "total"]
    print(f"\nedgesdk / copying the frame = {mine[0] / plain[0]:.1f}")
    if ("OpenCV", "total") in least:
        other = least["OpenCV", "total"]
        print(f"edgesdk / OpenCV = {mine[0] / other[0]:.2f} of the wall time,", end=" ")
        print(f"{mine[1] / other[1]:.2f} of the processor time (claim: <= 0.50)")


if __name__ == "__main__":
    main()
