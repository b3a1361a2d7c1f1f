"""Memory of `stylize` over the length of a clip, and the latency of streaming.

    python benchmarks/video_memory.py [--size 640x360] [--seconds 5,60] [--clip FILE]

Clips are made from one scene (or by looping CLIP), so that they differ in length only. Each is
stylized in a process of its own; its resident memory is sampled from the tenth frame on. Streaming
latency is the number of frames taken from the source, beyond a frame, before it is given out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from edgesdk.video.frames import Frame
from edgesdk.video.media.colour import assumed_colour
from edgesdk.video.media.properties import VideoProperties
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.media.writing import VideoWriter
from edgesdk.video.pipeline import VideoPipeline
from edgesdk.video.stylize import StylizeProgress, stylize

RATE = 25
#: Share of memory by which the longest clip may exceed the shortest.
ALLOWED = 0.05

Picture = NDArray[np.uint8]


def warm(pixels: Picture) -> Picture:
    """Tint a picture: a painter without a network, so that everything else is measured."""
    tinted = pixels.astype(np.int16) + np.array([30, 5, -30], np.int16)
    return np.clip(tinted, 0, 255).astype(np.uint8)


def scene(size: tuple[int, int]) -> list[Picture]:
    """Return two seconds of a camera that moves over noise, there and back."""
    random = np.random.default_rng(0)
    cells = random.integers(30, 220, (size[1] // 20 + 8, size[0] // 20 + 8, 3), dtype=np.uint8)
    wide = np.kron(cells, np.ones((20, 20, 1), np.uint8))
    frames = []
    for step in range(2 * RATE):
        shift = 2 * min(step, 2 * RATE - step)
        frames.append(np.ascontiguousarray(wide[10 : 10 + size[1], shift : shift + size[0]]))
    return frames


def write_clip(path: Path, pictures: list[Picture], seconds: int) -> None:
    """Write a clip that repeats the pictures."""
    height, width = pictures[0].shape[:2]
    properties = VideoProperties(
        size=(width, height),
        rate=Fraction(RATE),
        time_base=Fraction(1, RATE),
        colour=assumed_colour(width, height),
    )
    with VideoWriter(path, properties, crf=26, preset="ultrafast") as writer:
        for index in range(seconds * RATE):
            writer.write(pictures[index % len(pictures)], Fraction(index, RATE))
        writer.finish()


def measure(source: Path, output: Path) -> dict[str, float]:
    """Stylize in this process and sample its memory."""
    process, samples, ended = psutil.Process(), [], threading.Event()
    begun = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            if begun.is_set():
                samples.append(process.memory_info().rss)

    def begin(progress: StylizeProgress) -> None:
        if progress.done == 10:
            begun.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    result = stylize(source, output, painter=warm, on_progress=begin)
    ended.set()
    watcher.join()
    return {
        "frames": result.frames,
        "keys": result.keys,
        "fps": result.frames_per_second,
        "median": float(np.median(samples)) / 1e6,
        "peak": max(samples) / 1e6,
    }


def latency(pictures: list[Picture]) -> int:
    """Return the streaming latency in frames."""
    pulled, most = 0, 0

    def frames() -> Iterator[Frame]:
        nonlocal pulled
        for index, pixels in enumerate(pictures):
            pulled += 1
            yield Frame(index, Fraction(index, RATE), pixels)

    def slow(pixels: Picture) -> Picture:
        time.sleep(0.05)
        return warm(pixels)

    with VideoPipeline(slow, streaming=True) as pipeline:
        for given, _ in enumerate(pipeline.run(frames()), 1):
            most = max(most, pulled - given)
    return most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--seconds", default="5,60")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)))
        return 0
    width, height = (int(side) for side in given.size.split("x"))
    if given.clip:
        with VideoReader(given.clip) as reader:
            pictures = [frame.pixels for frame, _ in zip(reader, range(2 * RATE), strict=False)]
    else:
        pictures = scene((width, height))
    height, width = pictures[0].shape[:2]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (int(text) for text in given.seconds.split(",")):
            source = Path(folder) / f"in{seconds}.mp4"
            write_clip(source, pictures, seconds)
            command = [sys.executable, __file__, "--measure", str(source)]
            command.append(str(source.with_stem("out")))
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append((seconds, json.loads(done.stdout)))
            source.unlink()
            source.with_stem("out").unlink()
    print(f"stylize, {width} x {height}, {RATE} frames/s, a painter without a network")
    print(f"{'clip':>6}  {'frames':>7}  {'keys':>5}  {'frames/s':>8}  ", end="")
    print(f"{'median MB':>9}  {'peak MB':>8}")
    for seconds, row in rows:
        print(
            f"{seconds:>4} s  {row['frames']:>7.0f}  {row['keys']:>5.0f}  {row['fps']:>8.1f}  "
            f"{row['median']:>9.1f}  {row['peak']:>8.1f}"
        )
    first, last = rows[0][1], rows[-1][1]
    median, peak = (last[name] / first[name] - 1 for name in ("median", "peak"))
    print(f"longest against shortest: median {median:+.1%}, peak {peak:+.1%} (at most +5 %)")
    delay = latency(pictures)
    print(f"streaming latency: {delay} frames (at most 2)")
    return 0 if max(median, peak) <= ALLOWED and delay <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
