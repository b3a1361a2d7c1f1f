"""``edgesdk stylize``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli import options as opt
from edgesdk.cli.completion import complete_styles, complete_targets
from edgesdk.cli.console import Output
from edgesdk.cli.interruption import GracefulStop
from edgesdk.cli.verb import verb
from edgesdk.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgesdk.video.comparison import Comparison
    from edgesdk.video.frames import Painter
    from edgesdk.video.stylize import StylizeResult

__all__ = ["stylize"]

_STYLIZER = opt.Panel("Stylizer")
_PAINTING = opt.Panel("Painting")

_METHODS = ("reinhard", "wct")


def _existing_source(text: str) -> str:
    from edgesdk.video.media.opening import camera_index

    if camera_index(text) is None:
        opt.existing(text)
    return text


@verb(
    {
        "Stylize a video with a bundle": (
            "edgesdk stylize walk.mp4 --bundle mine.edge --style great-wave -o out.mp4"
        ),
        "Give it the colours of a picture, without a network": (
            "edgesdk stylize walk.mp4 --colour sunset.jpg -o out.mp4"
        ),
    }
)
def stylize(
    out: Output,
    *,
    source: Annotated[
        str,
        opt.checked(
            typer.Argument(
                metavar="IN",
                rich_help_panel=opt.INPUT,
                help="Video, folder of pictures, or number of a camera (0, 1, ...).",
            ),
            _existing_source,
        ),
    ],
    bundle: Path | None = _STYLIZER.option(
        "--bundle BUNDLE",
        None,
        check=opt.existing,
        help="Stylizer made by edgesdk export, NAME.edge.",
    ),
    onnx: Path | None = _STYLIZER.option(
        "--onnx FILE",
        None,
        check=opt.existing,
        help="Stylizer as an ONNX file: picture to picture.",
    ),
    colour: Path | None = _STYLIZER.option(
        "--colour PICTURE",
        None,
        check=opt.existing,
        help="Transfer the colours of this picture; needs no network.",
    ),
    style: str | None = _STYLIZER.option(
        "--style STYLE",
        None,
        autocompletion=complete_styles,
        help="Style of a network with several: a name (bundles) or a number from 0.",
    ),
    blend: str | None = _STYLIZER.option(
        "--blend STYLES", None, help="Blend of styles, as A:0.3,B:0.7 or 0:0.3,2:0.7."
    ),
    target: str | None = _STYLIZER.option(
        "--target -t TARGET",
        None,
        autocompletion=complete_targets,
        help="Artefact of the bundle (default: the first that runs here).",
    ),
    value_range: float | None = _STYLIZER.option(
        "--value-range WHITE",
        None,
        help="Value range of the network of --onnx: 1 or 255 (default: detect).",
    ),
    colour_method: str = _STYLIZER.option(
        "--colour-method METHOD",
        "reinhard",
        help="Colour transfer of --colour: reinhard (default) or wct.",
    ),
    strength: float = _PAINTING.option(
        "--strength X",
        1.0,
        min=0,
        max=1,
        help="Blend factor of the painting over the original (default: 1).",
    ),
    max_size: int = _PAINTING.option(
        "--max-size N",
        512,
        min=0,
        help="Longest side of the pictures that the network paints (0: full size).",
    ),
    upscale: str = _PAINTING.option(
        "--upscale HOW",
        "core",
        help="Enlarge paintings with the native core (core, default) or with a network "
        "(network): sharper and slower.",
    ),
    upscale_weights: Path | None = _PAINTING.option(
        "--upscale-weights FILE",
        None,
        check=opt.existing,
        help="Weights of that network, .safetensors; implies --upscale network.",
    ),
    keyframes: str = _PAINTING.option(
        "--keyframes N",
        "auto",
        help="Number of frames from one key frame to the next (default: auto).",
    ),
    flow_quality: str = _PAINTING.option(
        "--flow-quality QUALITY",
        "balanced",
        help="Quality of the optical flow: fast, balanced (default) or precise.",
    ),
    stream: bool = _PAINTING.option(
        "--stream", False, help="Use past frames only, as an app with a live camera must."
    ),
    rate: str | None = opt.INPUT.option(
        "--rate FPS",
        None,
        help="Frames per second of a folder or camera, as 25 or 30000/1001 (default: 25).",
    ),
    seconds: float | None = opt.INPUT.option(
        "--seconds SECONDS", None, help="Stop after this many seconds of input."
    ),
    strict: bool = opt.INPUT.option(
        "--strict", False, help="Stop at the first frame that cannot be decoded."
    ),
    compare: bool = opt.MEASUREMENT.option(
        "--compare",
        False,
        help="Paint every frame too and measure both; writes a side-by-side clip.",
    ),
    threads: int = opt.LIMITS.option(
        "--threads N", 0, min=0, max=64, help="Threads per stage (0: choose)."
    ),
    output: Path = opt.OUTPUT.option(
        "--output -o PATH",
        help="Video to write (.mp4, .m4v, .mov, .mkv), or a folder for PNG files.",
    ),
    crf: int = opt.OUTPUT.option(
        "--crf N", 18, min=0, max=51, help="Constant rate factor of the video; lower is better."
    ),
    keep_partial: bool = opt.OUTPUT.option(
        "--keep-partial", False, help="After Ctrl-C, keep the frames done so far."
    ),
    overwrite: opt.OverwriteOption = False,
) -> int | None:
    """Stylize a video with a network and optical flow.

    The network paints key frames; optical flow carries the paint to the frames between them.
    """
    if sum(one is not None for one in (bundle, onnx, colour)) != 1:
        raise UsageError(
            "give exactly one of --bundle, --onnx and --colour",
            remedy="--colour PICTURE.jpg needs no network",
        )
    if target is not None and bundle is None:
        raise UsageError("--target needs --bundle", remedy="leave --target out")
    if colour is not None and (style is not None or blend is not None):
        raise UsageError(
            "--style and --blend need a network; --colour has no styles",
            remedy="leave them out, or give a network with --bundle or --onnx",
        )
    if value_range is not None and onnx is None:
        raise UsageError("--value-range needs --onnx", remedy="leave --value-range out")
    if colour_method not in _METHODS:
        raise UnknownNameError("colour method", colour_method, _METHODS)
    from edgesdk.converters.registry import require_backends
    from edgesdk.video.option_texts import parse_blend, parse_rate

    styles = parse_blend(blend) if blend is not None else None
    frame_rate = parse_rate(rate) if rate is not None else None
    pictures_alone = Path(source).is_dir() and not output.suffix
    needed = {} if pictures_alone and not compare else {"av": "video"}
    needed |= {"skimage": "video"} if compare else {}
    needed |= {"onnxruntime": "onnx"} if onnx is not None else {}
    require_backends([], needed)
    from edgesdk.video.media.opening import camera_index
    from edgesdk.video.stylize import stylize as run

    from_camera = camera_index(source) is not None
    with ExitStack() as stack:
        painter: Painter | None = None
        if colour is not None:
            from edgesdk.video.colour_transfer import colour_painter

            painter = colour_painter(colour, method=colour_method)
        elif onnx is not None:
            from edgesdk import runtime
            from edgesdk.video.painters import session_painter

            # No spinning threads: frames are rendered while it paints.
            session = runtime.open(onnx, threads=threads or os.cpu_count() or 1, spin=False)
            stack.enter_context(session)
            painter = session_painter(session, white=value_range, style=style, blend=styles)
        # A camera has no end: its video ends, complete, with Ctrl-C.
        stop = stack.enter_context(GracefulStop(graceful=keep_partial or from_camera))
        progress = stack.enter_context(out.progress("stylizing"))
        result = run(
            source,
            output,
            painter=painter,
            bundle=bundle,
            target=target,
            style=style if painter is None else None,
            blend=styles if painter is None else None,
            keyframes=keyframes,
            max_size=max_size or None,
            strength=strength,
            streaming=stream,
            quality=flow_quality,
            upscale="network" if upscale_weights else upscale,
            upscale_weights=upscale_weights,
            compare=compare,
            strict=strict,
            rate=frame_rate,
            seconds=seconds,
            crf=crf,
            overwrite=overwrite,
            threads=threads,
            stop=stop.requested,
            on_progress=progress.stylizing,
        )
    interrupted = result.stopped and not from_camera
    _show(out, result, interrupted=interrupted)
    return 128 + stop.number if interrupted and stop.number is not None else None


def _show(out: Output, result: StylizeResult, *, interrupted: bool) -> None:
    body: dict[str, Any] = {
        "output": str(result.output),
        "width": result.size[0],
        "height": result.size[1],
        "frames": result.frames,
        "duration": float(result.duration),
        "keys": result.keys,
        "reuse": result.reuse,
        "reasons": dict(result.reasons),
        "frames_per_second": result.frames_per_second,
        "total_seconds": result.total_seconds,
        "seconds": dict(result.seconds),
        "skipped": result.skipped,
        "skipped_times": list(result.skipped_times),
        "failures": [
            {"frame": one.index, "time": float(one.time), "message": one.message}
            for one in result.failures
        ],
        "interrupted": interrupted,
        "remarks": list(result.remarks),
        "comparison": result.comparison and result.comparison.to_dict(),
        "setup": asdict(result.setup),
    }
    out.result(body, result.problem)
    out.line(
        f"{result.output}: {result.frames} frames of {result.size[0]} x {result.size[1]}, "
        f"{result.keys} painted, each used for {result.reuse:.1f}"
    )
    parts = ", ".join(f"{name} {spent:.1f} s" for name, spent in result.seconds.items())
    out.line(
        f"{result.total_seconds:.1f} s, {result.frames_per_second:.1f} frames a second: {parts}"
    )
    if result.comparison is not None:
        _show_comparison(out, result.comparison)
    if result.skipped:
        times = ", ".join(f"{time:.3f} s" for time in result.skipped_times)
        out.remark(f"skipped {result.skipped} damaged" + (f": at {times}" if times else ""))
    for text in result.remarks:
        out.remark(f"note: {text}")
    if interrupted:
        out.remark("interrupted; the output ends there")


def _show_comparison(out: Output, found: Comparison) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "warp error (of 255)", "flicker (of 255)", "seconds"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for name, one, spent in (
        ("original", found.original, None),
        ("stylized", found.stylized, found.whole_video_seconds[0]),
        ("every frame", found.every_frame, found.whole_video_seconds[1]),
    ):
        table.add_row(name, _number(one.warp_error, 2), _number(one.flicker, 2), _number(spent, 2))
    out.table(table)
    out.line(str(found))
    out.line(f"SSIM {_number(found.ssim, 3)}, PSNR {_number(found.psnr, 1)} dB between the two")
    out.line(f"side by side: {found.clip}, moments: {found.sheet}")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
