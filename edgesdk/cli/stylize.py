"""``edgesdk stylize``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption
from edgesdk.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgesdk.video.comparison import Comparison
    from edgesdk.video.frames import Painter
    from edgesdk.video.stylize import StylizeResult

__all__ = ["stylize"]

_METHODS = ("reinhard", "wct")


def stylize(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A video, a folder of pictures, a camera's number.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help=".mp4, .m4v, .mov, .mkv; no ending: a folder of pictures."
        ),
    ],
    bundle: Annotated[Path | None, typer.Option("--bundle", help="A stylizer, NAME.edge.")] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="A stylizer as ONNX file.")] = None,
    white: Annotated[
        float | None, typer.Option("--white", help="Its value of white, 1 or 255; else found out.")
    ] = None,
    colour: Annotated[
        Path | None,
        typer.Option("--colour", help="A picture whose colours to take; no network."),
    ] = None,
    colour_method: Annotated[
        str, typer.Option("--colour-method", help="reinhard or wct.")
    ] = "reinhard",
    target: Annotated[
        str | None, typer.Option("--target", help="Which artefact of the bundle.")
    ] = None,
    style: Annotated[
        str | None,
        typer.Option("--style", help="Which style, by number; of a bundle also by name."),
    ] = None,
    blend: Annotated[
        str | None, typer.Option("--blend", help="Several styles: A:0.3,B:0.7 or 0:0.3,2:0.7.")
    ] = None,
    keyframes: Annotated[
        str, typer.Option("--keyframes", help="auto, or a number of frames.")
    ] = "auto",
    max_size: Annotated[
        int, typer.Option("--max-size", min=0, help="Longest side painted; 0: full size.")
    ] = 512,
    strength: Annotated[
        float, typer.Option("--strength", min=0, max=1, help="Of the paint over the original.")
    ] = 1.0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Look back only, as a camera's app does.")
    ] = False,
    quality: Annotated[
        str, typer.Option("--quality", help="Flow: fast, balanced, precise.")
    ] = "balanced",
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Enlarge paintings by a network, not by the core.")
    ] = False,
    smooth_weights: Annotated[
        Path | None, typer.Option("--smooth-weights", help="Its weights, .safetensors.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Paint every frame too, and measure both.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first damaged packet.")
    ] = False,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Frames a second of a folder, as 25 or 30000/1001.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Only so much of the input.")
    ] = None,
    crf: Annotated[
        int, typer.Option("--crf", min=0, max=51, help="Quality of the video; less is better.")
    ] = 18,
    keep: Annotated[
        bool, typer.Option("--keep", help="After Ctrl-C, finish what there is.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=64, help="Of each part; 0: as many as fit.")
    ] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Stylize a video: a network paints key frames, optical flow carries the paint on."""
    del debug
    _check_painters(bundle, onnx, colour)
    if target is not None and bundle is None:
        raise UsageError("--target chooses within a bundle; there is none")
    if colour is not None and (style is not None or blend is not None):
        raise UsageError(
            "--style and --blend choose among the styles of a network; --colour has none",
            remedy="leave them out, or name a network with --bundle or --onnx",
        )
    if white is not None and onnx is None:
        raise UsageError("--white says what the network of --onnx takes; there is none")
    if colour_method not in _METHODS:
        raise UnknownNameError("colour method", colour_method, _METHODS)
    styles = parse_blend(blend) if blend is not None else None
    frame_rate = parse_rate(rate) if rate is not None else None
    from edgesdk.cli.stylize_progress import StylizeBar
    from edgesdk.cli.training_progress import StopAsked
    from edgesdk.video.media.opening import camera_index
    from edgesdk.video.stylize import stylize as run

    out = Output(json=json, quiet=quiet)
    from_camera = camera_index(source) is not None
    with ExitStack() as stack:
        painter: Painter | None = None
        if colour is not None:
            from edgesdk.video.colour_transfer import colour_painter

            painter = colour_painter(colour, method=colour_method)
        elif onnx is not None:
            painter = _onnx_painter(stack, onnx, white, style, styles, threads)
        # A camera ends when somebody says so, and what it showed is kept.
        stop = stack.enter_context(StopAsked(graceful=keep or from_camera))
        bar = stack.enter_context(StylizeBar(silent=quiet))
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
            quality=quality,
            smooth=smooth_weights or smooth,
            compare=compare,
            strict=strict,
            rate=frame_rate,
            seconds=seconds,
            crf=crf,
            overwrite=overwrite,
            threads=threads,
            stop=stop.now,
            on_progress=bar.told,
        )
    return _shown(out, result, interrupted=result.stopped and not from_camera, number=stop.number)


def _check_painters(*given: Path | None) -> None:
    if sum(one is not None for one in given) != 1:
        raise UsageError(
            "say what paints: one of --bundle, --onnx and --colour",
            remedy="--colour PICTURE.jpg needs no network",
        )


def parse_blend(text: str) -> dict[str, float]:
    """Read ``A:0.3,B:0.7``.

    Raises:
        UsageError: It is something else, a weight is negative, or all are zero.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, weight = (text.strip() for text in part.rpartition(":"))
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not colon or not name or not 0 <= value < float("inf") or name in found:
            raise UsageError(
                f"a blend is styles with weights, not {part.strip()!r}",
                remedy="write --blend A:0.3,B:0.7",
            )
        found[name] = value
    if not sum(found.values()):
        raise UsageError("the weights of a blend must not all be zero")
    return found


def parse_rate(text: str) -> Fraction:
    """Read ``25``, ``29.97`` or ``30000/1001``.

    Raises:
        UsageError: It is something else, or not between 0 and 1000.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UsageError(
            f"a rate is frames a second, up to 1000, not {text!r}", remedy="write --rate 25"
        )
    return rate


def _onnx_painter(
    stack: ExitStack,
    onnx: Path,
    white: float | None,
    style: str | None,
    blend: dict[str, float] | None,
    threads: int,
) -> Painter:
    from edgesdk import runtime
    from edgesdk.video.painters import session_painter

    # Frames are rendered while it paints.
    session = runtime.open(onnx, threads=threads or os.cpu_count() or 1, spin=False)
    return session_painter(stack.enter_context(session), white=white, style=style, blend=blend)


def _shown(out: Output, result: StylizeResult, *, interrupted: bool, number: int | None) -> int:
    problem = result.problem
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
    }
    out.result(body, problem)
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
    if problem is not None:
        out.problem(problem)
        return problem.exit_code
    return 128 + number if interrupted and number is not None else 0


def _show_comparison(out: Output, found: Comparison) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "warp error (of 255)", "flicker (of 255)", "seconds"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for name, one, spent in (
        ("original", found.original, None),
        ("stylized", found.stylized, found.pipeline_seconds),
        ("every frame", found.every_frame, found.every_frame_seconds),
    ):
        table.add_row(
            name,
            _number(one.warp_error, 2),
            _number(one.flicker, 2),
            _number(spent, 2),
        )
    out.table(table)
    out.line(
        f"{found.speed_up:.1f} times as fast as painting every frame at the same size, SSIM "
        f"{_number(found.ssim, 3)}, PSNR {_number(found.psnr, 1)} dB between the two"
    )
    out.line(f"side by side: {found.clip}, moments: {found.sheet}")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
