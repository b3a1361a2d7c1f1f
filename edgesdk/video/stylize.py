"""Stylize a video, a folder of pictures or a camera, from file to file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from edgesdk.errors import UsageError
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.video.comparison import (
    Comparison,
    PipelineOptions,
    WholeVideo,
    compare_with_every_frame,
    require_metrics,
)
from edgesdk.video.frames import Frame, Painter
from edgesdk.video.media.ahead import ReadAhead
from edgesdk.video.media.opening import Sink, camera_index, open_output, open_source
from edgesdk.video.media.outputs import check_output
from edgesdk.video.media.properties import Source
from edgesdk.video.painters import SessionPainter
from edgesdk.video.pipeline import VideoPipeline
from edgesdk.video.pipeline_summary import PipelineSummary
from edgesdk.video.setup_times import SetupTimes, prepare_core, warm_up
from edgesdk.video.stylize_options import StylizeOptions, with_changes
from edgesdk.video.stylize_result import ProgressCallback, StylizeProgress, StylizeResult
from edgesdk.video.timing import timed

__all__ = ["StylizeOptions", "StylizeProgress", "StylizeResult", "comparison_paths", "stylize"]

#: Frames decoded ahead of the pipeline.
_READ_AHEAD = 4
#: Window of the speed, seconds.
_RECENT = 5.0


@dataclass
class _Clock:
    """Time spent inside and outside the pipeline, and the recent speed."""

    source: float = 0.0
    pipeline: float = 0.0
    writing: float = 0.0
    marks: list[tuple[float, int]] = field(default_factory=list)

    def progress(self, doing: str, done: int, total: int | None) -> StylizeProgress:
        """Return the progress after one more frame."""
        now = time.perf_counter()
        self.marks = [mark for mark in self.marks if now - mark[0] < _RECENT][-512:]
        self.marks.append((now, done))
        first = self.marks[0]
        speed = (done - first[1]) / (now - first[0]) if now > first[0] else 0.0
        remaining = max(0, total - done) / speed if total is not None and speed > 0 else None
        return StylizeProgress(doing, done, total, speed, remaining)


def comparison_paths(output: Path) -> tuple[Path, Path]:
    """Return the paths of the side-by-side clip and the contact sheet of an output."""
    stem = output.stem if output.suffix else output.name
    return (
        output.with_name(f"{stem}-side-by-side.mp4"),
        output.with_name(f"{stem}-contact-sheet.png"),
    )


@progress_shown("stylizing", lambda display: display.stylizing)
def stylize(
    source: str | Path | int,
    output: str | Path,
    *,
    painter: Painter | None = None,
    bundle: str | Path | None = None,
    options: StylizeOptions | None = None,
    stop: Callable[[], bool] | None = None,
    on_progress: ProgressCallback | Auto | None = AUTO,
    **changes: Any,
) -> StylizeResult:
    """Stylize a video: a network paints key frames, optical flow carries the paint to the others.

    >>> from edgesdk import stylize
    >>> stylize("in.mp4", "out.mp4", bundle="n.edge", style="mosaic").frames    # doctest: +SKIP

    Memory does not grow with the length of the video. Size, frame times, colour matrix and range
    and the sound are kept; rotation is applied. The output appears whole or not at all.

    Args:
        source: A video file, a folder of pictures, or a camera's number.
        output: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv``, or (without ending) a folder of PNG files.
        painter: Any stylizer: uint8, H x W x 3, RGB in and out. Either this or ``bundle``. The
            remarks of a :class:`~edgesdk.video.painters.SessionPainter` go into the result. With
            ``compare`` it is called once with a grey picture, before the clock starts.
        bundle: A bundle NAME.edge with a stylizer.
        options: See :class:`StylizeOptions`.
        stop: Called before every frame; True ends the source there, and the output with it.
        on_progress: Called after every frame; ``auto`` and None as in :func:`edgesdk.export`.
        **changes: Fields of :class:`StylizeOptions` that differ from ``options``.

    Returns:
        The result. Its ``failures`` list the key frames on which the painter failed.

    Raises:
        UsageError: Arguments contradict each other, or the output is the input.
        OutputExistsError: The output exists and may not be replaced.
        MediaError: The source cannot be read as frames of one size, or nothing could be written.
        StorageError: The disk is full or not writeable; nothing is left of the output.
        MissingEnvironmentError: No camera, no PyAV, no scikit-image (``compare``), no native core.
        WeightsError: ``upscale_weights`` are missing, damaged or of another network.
        EdgeSdkError: As the bundle's painter does when it is opened.
    """
    settings = with_changes(options, changes)
    report = on_progress if callable(on_progress) else None
    if (painter is None) == (bundle is None):
        raise UsageError("give a painter or a bundle, one of the two")
    chosen = (settings.target, settings.style, settings.blend)
    if bundle is None and chosen != (None, None, None):
        raise UsageError("target, style and blend choose within a bundle; there is none")
    target_path = Path(output)
    from_camera = camera_index(source) is not None
    engine: PipelineOptions = {
        "policy": settings.policy,
        "max_size": settings.max_size,
        "strength": settings.strength,
        "streaming": settings.streaming or from_camera,
        "threads": settings.threads,
        "quality": settings.quality,
    }
    setup = SetupTimes()
    with ExitStack() as stack:
        # Refuse what can be refused before the first frame is painted.
        if settings.compare:
            _check_comparison(source, target_path, from_camera, settings.overwrite)

        def opened(within: ExitStack) -> Source:
            reader = open_source(
                source, rate=settings.rate, strict=settings.strict, threads=settings.threads
            )
            within.callback(reader.close)
            return reader

        reader = opened(stack)
        if settings.upscale == "network":
            with timed(setup, "load_seconds"):
                from edgesdk.video.key_frame_upscaler import KeyFrameUpscaler

                upscaler = KeyFrameUpscaler(settings.upscale_weights)
                upscaler.check(*reader.properties.size, settings.max_size)
            engine["enlarge"] = upscaler
        writer = open_output(
            target_path,
            reader,
            overwrite=settings.overwrite,
            crf=settings.crf,
            threads=settings.threads,
        )
        stack.callback(writer.close)
        if painter is None:
            with timed(setup, "load_seconds"):
                painter = _bundle_painter(stack, bundle, settings)
        remarks = painter.remarks if isinstance(painter, SessionPainter) else ()
        prepare_core(setup)
        if settings.compare:
            warm_up(
                setup, painter, reader.properties.size, settings.max_size, engine.get("enlarge")
            )
        ending = _Ending(settings.seconds, stop)
        total = _total(reader, settings.seconds)
        run = _painted(reader, writer, painter, engine, ending, total, report)
        comparison = None
        if settings.compare:
            comparison = _compared(
                opened,
                painter,
                engine,
                WholeVideo(run.clock.pipeline, run.clock.source + run.clock.writing, setup),
                ending=_Ending(settings.seconds, None),
                count=writer.frames,
                output=target_path,
                overwrite=settings.overwrite,
                on_progress=report,
            )
        width, height = reader.properties.size
        return StylizeResult(
            output=target_path,
            size=(width + writer.padded[0], height + writer.padded[1]),
            frames=run.summary.frames,
            duration=run.last,
            keys=run.summary.keys,
            reasons=dict(run.summary.reasons),
            total_seconds=run.seconds,
            seconds={
                "reading": run.reading,
                "painter": run.summary.painter_seconds,
                "flow": run.summary.flow_seconds,
                "render": run.summary.render_seconds,
                "waiting": run.summary.waiting_seconds,
                "writing": run.clock.writing,
            },
            skipped=reader.trouble.skipped,
            skipped_times=tuple(reader.trouble.times),
            failures=tuple(run.summary.failures),
            stopped=ending.stopped,
            remarks=(*remarks, *reader.trouble.remarks, *writer.trouble.remarks),
            comparison=comparison,
            setup=setup,
        )


@dataclass(frozen=True)
class _Run:
    """A video painted and written."""

    summary: PipelineSummary
    clock: _Clock
    reading: float
    last: Fraction
    seconds: float


def _painted(
    reader: Source,
    writer: Sink,
    painter: Painter,
    options: PipelineOptions,
    ending: _Ending,
    total: int | None,
    on_progress: ProgressCallback | None,
) -> _Run:
    clock, last = _Clock(), Fraction(0)
    # Frames of a camera that wait are late.
    waiting = _READ_AHEAD if reader.properties.frames is not None else 1
    with VideoPipeline(painter, **options) as pipeline, ReadAhead(reader, waiting) as ahead:
        started = time.perf_counter()
        painted = iter(pipeline.run(_timed(ending.cut(ahead), clock)))
        while True:
            with timed(clock, "pipeline"):
                result = next(painted, None)
            if result is None:
                break
            with timed(clock, "writing"):
                writer.write(result.pixels, result.time)
            last = result.time
            if on_progress is not None:
                on_progress(clock.progress("stylizing", writer.frames, total))
        with timed(clock, "writing"):
            writer.finish(all_sound=not ending.reached)
        return _Run(pipeline.summary, clock, ahead.seconds, last, time.perf_counter() - started)


def _bundle_painter(
    stack: ExitStack, bundle: str | Path | None, settings: StylizeOptions
) -> Painter:
    from edgesdk.video.painter_from_bundle import bundle_painter

    if bundle is None:
        raise UsageError("give a painter or a bundle, one of the two")
    painter = bundle_painter(
        bundle, settings.target, settings.style, settings.blend, threads=settings.threads
    )
    stack.callback(painter.close)
    return painter


def _check_comparison(
    source: str | Path | int, output: Path, from_camera: bool, overwrite: bool
) -> None:
    if from_camera:
        raise UsageError(
            "a camera shows nothing twice, so --compare cannot paint it again",
            remedy="record a clip and compare that",
        )
    require_metrics()
    for path in comparison_paths(output):
        check_output(path, Path(str(source)), overwrite=overwrite)


class _Ending:
    """End the source after some seconds, or when the caller asks."""

    def __init__(self, seconds: float | None, stop: Callable[[], bool] | None) -> None:
        self.reached = False
        self.stopped = False
        self._seconds = seconds
        self._stop = stop

    def cut(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self.stopped = self._stop is not None and frame.index > 0 and self._stop()
            late = self._seconds is not None and float(frame.time) >= self._seconds
            if self.stopped or late:
                self.reached = True
                return
            yield frame


def _timed(frames: Iterable[Frame], clock: _Clock) -> Iterator[Frame]:
    """Yield the frames; count the wait for them as the source's time, not the pipeline's."""
    source = iter(frames)
    while True:
        before = time.perf_counter()
        frame = next(source, None)
        spent = time.perf_counter() - before
        clock.source += spent
        clock.pipeline -= spent
        if frame is None:
            return
        yield frame


def _total(reader: Source, seconds: float | None) -> int | None:
    total = reader.properties.frames
    if seconds is None:
        return total
    within = max(1, round(seconds * reader.properties.rate))
    return within if total is None else min(total, within)


def _compared(
    opened: Callable[[ExitStack], Source],
    painter: Painter,
    options: PipelineOptions,
    keyframes: WholeVideo,
    *,
    ending: _Ending,
    count: int,
    output: Path,
    overwrite: bool,
    on_progress: ProgressCallback | None,
) -> Comparison:
    """Read the source again and paint every frame of it too."""
    clip, sheet = comparison_paths(output)
    speed = _Clock()

    def report(done: int) -> None:
        if on_progress is not None:
            on_progress(speed.progress("comparing", done, count))

    with ExitStack() as stack:
        reader = opened(stack)
        ahead = stack.enter_context(ReadAhead(reader))
        return compare_with_every_frame(
            islice(ending.cut(ahead), count),
            reader.properties,
            painter,
            options=options,
            count=count,
            keyframes=keyframes,
            clip=clip,
            sheet=sheet,
            overwrite=overwrite,
            on_frame=report,
        )
