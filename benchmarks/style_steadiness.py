"""Claim: trained with the temporal loss, the network flickers at most 0.6 times as much.

The shipped network and one of the same widths, trained further without the temporal loss, paint
clips frame by frame, without optical flow. The warp error is the mean squared difference along the
flow of the originals, averaged over the measured styles.

    python benchmarks/style_steadiness.py --clips DIR --without NET.edgemodel

``NET.edgemodel`` comes from scripts/train_shipped_styles.py with ``--trial``, ``--start`` of an
earlier stage and the recipe in the card of the shipped weights, ``temporal_weight`` 0. A network
trained without the loss from the start flickers more; one after few steps without it, less.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgesdk import models
from edgesdk.frontend.edgemodel.file import load_model
from edgesdk.training.style.network_painter import network_painter
from edgesdk.video.metrics import WarpError
from edgesdk.video.painter_worker import painter_size

COLUMNS = ("input", "with", "without")
CLAIM = 0.6


def frames_of(path: Path, longest: int, count: int | None) -> Iterator[np.ndarray]:
    """Yield frames of a clip, scaled to a longest side and cropped to multiples of 8."""
    import av

    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(container.streams.video[0])):
            if index == count:
                return
            image = picture.to_image()
            size = painter_size(image.width, image.height, longest)
            width, height = (side // 8 * 8 for side in size)
            yield np.array(image.resize((width, height), Image.Resampling.BOX))


def measure(clip: Path, networks: list[Any], style: int, given: argparse.Namespace) -> list[float]:
    """Compute the mean squared warp errors of the clip and of each network's painting."""
    painters = [
        network_painter(network, torch.eye(network.config["styles"])[style]) for network in networks
    ]
    meter: WarpError | None = None
    for frame in frames_of(clip, given.longest, given.frames):
        if meter is None:
            size = (frame.shape[1], frame.shape[0])
            meter = WarpError(*size, len(COLUMNS), threads=given.threads)
        meter.add(frame, frame, *(paint(frame) for paint in painters))
    if meter is None:
        raise SystemExit(f"{clip} has no frames")
    results = meter.results()
    meter.close()
    return [result.mean_square for result in results]


def main() -> int:
    """Measure and print; return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files")
    parser.add_argument("--without", type=Path, required=True, help="NET.edgemodel")
    parser.add_argument("--styles", type=int, nargs="+", default=[0, 3, 6, 10])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--longest", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    networks: list[Any] = [models.create("multi_style"), load_model(given.without).eval()]
    names = networks[0].style_names
    print(f"warp error, mean squared, styles {', '.join(names[style] for style in given.styles)}")
    print(f"{'clip':22}" + "".join(f"{name:>12}" for name in COLUMNS) + f"{'ratio':>9}")
    held = []
    clips = sorted(path for path in given.clips.iterdir() if path.suffix in (".mp4", ".avi"))
    for clip in clips:
        rows = np.mean([measure(clip, networks, style, given) for style in given.styles], axis=0)
        ratio = rows[1] / rows[2]
        held.append(ratio <= CLAIM)
        print(f"{clip.stem[:20]:22}" + "".join(f"{value:12.2e}" for value in rows), end="")
        print(f"{ratio:9.2f}{'' if held[-1] else f'  NO, claim <= {CLAIM}'}", flush=True)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
