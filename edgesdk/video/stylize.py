"""Stylize a video, a folder of pictures or a camera: from one file to the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

from edgesdk.errors import UsageError
from edgesdk.video.comparison import (
    Comparison,
    PipelineOptions,
    compare_with_every_frame,
    require_metrics,
)
from edgesdk.video.frames import Enlarger, Frame, Painter
from edgesdk.video.key_frames import KeyframePolicy
from edgesdk.video.media.ahead import ReadAhead
from edgesdk.video.media.opening import camera_index, open_output, open_source
from edgesdk.video.media.outputs import check_output
from edgesdk.video.media.properties import Sink, Source
from edgesdk.video.painters import SessionPainter
from edgesdk.video.pipeline import VideoPipeline
from edgesdk.video.pipeline_summary import PipelineSummary
from edgesdk.video.stylize_result import ProgressCallback, StylizeProgress, StylizeResult

__all__ = ["StylizeProgress", "StylizeResult", "comparison_paths", "stylize"]

#: Frames that are decoded before they are asked for.
_READ_AHEAD = 4
#: Seconds of the past over which a speed is taken.
_RECENT = 5.0


@dataclass
class _Clock:
    """Time spent outside the pipeline while it runs, and the speed of late."""

    source: float = 0.0
    pipeline: float = 0.0
    writing: float = 0.0
    marks: list[tuple[float, int]] = field(default_factory=list)

    def told(self, doing: str, done: int, total: int | None) -> StylizeProgress:
        """The progress after one more frame."""
        now = time.perf_counter()
        self.marks = [mark for mark in self.marks if now - mark[0] < _RECENT][-512:]
        self.marks.append((now, done))
        first = self.marks[0]
        speed = (done - first[1]) / (now - first[0]) if now > first[0] else 0.0
        left = max(0, total - done) / speed if total is not None and speed > 0 else None
        return StylizeProgress(doing, done, total, speed, left)


def comparison_paths(output: Path) -> tuple[Path, Path]:
    """The side-by-side clip and the contact sheet that go with an output."""
    stem = output.stem if output.suffix else output.name
    return (
        output.with_name(f"{stem}-side-by-side.mp4"),
        output.with_name(f"{stem}-contact-sheet.png"),
    )


def stylize(
    source: str | Path | int,
    output: str | Path,
    *,
    painter: Painter | None = None,
    bundle: str | Path | None = None,
    target: str | None = None,
    style: str | int | None = None,
    blend: Mapping[str, float] | None = None,
    keyframes: KeyframePolicy | str | int = "auto",
    max_size: int | None = 512,
    strength: float = 1.0,
    streaming: bool = False,
    quality: str = "balanced",
    smooth: bool | str | Path = False,
    compare: bool = False,
    strict: bool = False,
    rate: Fraction | None = None,
    seconds: float | None = None,
    crf: int = 18,
    overwrite: bool = False,
    threads: int = 0,
    stop: Callable[[], bool] | None = None,
    on_progress: ProgressCallback | None = None,
) -> StylizeResult:
    """Paint key frames with a network, carry the paint to all other frames, write the video.

    Memory does not grow with the length of the video. Size, frame times, colour matrix and range
    and the sound are kept; rotation is applied. The output appears whole or not at all.

    Args:
        source: A video file, a folder of pictures, or a camera's number.
        output: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv``, or a folder (a name without ending) of PNG
            files.
        painter: Any stylizer: uint8, H x W x 3, RGB in and out. Either this or ``bundle``. What
            a :class:`~edgesdk.video.painters.SessionPainter` remarks on its style is told.
        bundle: A bundle NAME.edge with a stylizer.
        target: Which of its artefacts.
        style: Which of its styles, by name or number; by default the first, which is said.
        blend: Several of its styles, with weights; scaled to a sum of 1.
        keyframes: ``auto``, a key frame every so many frames, or a policy.
        max_size: Longest side the painter sees, pixels; None: full size.
        strength: Of the paint over the original, 0..1.
        streaming: Give out frames at once, from the key frame before alone. Cameras always do.
        quality: Of the flow: ``fast``, ``balanced`` or ``precise``.
        smooth: Enlarge paintings by meta-smoothing instead of the native core: with the package's
            weights, or with those of a file.
        compare: Paint every frame too, measure both, and write a side-by-side clip and a contact
            sheet beside the output (:func:`comparison_paths`).
        strict: Raise at the first packet or picture that cannot be decoded, instead of leaving it
            out.
        rate: Frames a second of a folder (25), or to ask a camera for.
        seconds: End after so much of the source.
        crf: Quality of a written video, 0 (lossless) to 51.
        overwrite: Replace an existing output.
        threads: Of flow and rendering, and of decoder and encoder each; 0: as many as fit.
        stop: StopRequest before every frame; True ends the source there, and what was read is
            finished.
        on_progress: Called after every frame.

    Returns:
        The result. A painter that failed on some key frames is told in ``failures``.

    Raises:
        UsageError: Arguments that do not go together, an output that is the input.
        OutputExistsError: The output is there and may not be replaced.
        MediaError: The source cannot be read as frames of one size, or nothing could be written.
        StorageError: The disk is full or not ours; nothing is left of the output.
        MissingEnvironmentError: No camera, no PyAV, no scikit-image (``compare``), no native core.
        WeightsError: The weights of ``smooth`` are missing, damaged or of something else.
        EdgeSdkError: As the bundle's painter does when it is opened.
    """
    if (painter is None) == (bundle is None):
        raise UsageError("give a painter or a bundle, one of the two")
    if bundle is None and (target, style, blend) != (None, None, None):
        raise UsageError("target, style and blend choose within a bundle; there is none")
    if seconds is not None and not seconds > 0:
        raise UsageError(f"seconds must be above zero, not {seconds}")
    target_path = Path(output)
    from_camera = camera_index(source) is not None
    options: PipelineOptions = {
        "policy": _policy(keyframes),
        "max_size": max_size,
        "strength": strength,
        "streaming": streaming or from_camera,
        "threads": threads,
        "quality": quality,
    }
    with ExitStack() as stack:
        # What can be refused is refused before the first frame is painted.
        if compare:
            _check_comparison(source, target_path, from_camera, overwrite)

        def opened(within: ExitStack) -> Source:
            reader = open_source(source, rate=rate, strict=strict, threads=threads)
            within.callback(reader.close)
            return reader

        reader = opened(stack)
        if smooth:
            options["enlarge"] = _smoother(smooth, reader.properties.size, max_size)
        writer: Sink = stack.enter_context(
            open_output(target_path, reader, overwrite=overwrite, crf=crf, threads=threads)
        )
        if painter is None:
            painter = _bundle_painter(
                stack, bundle, target=target, style=style, blend=blend, threads=threads
            )
        told = painter.remarks if isinstance(painter, SessionPainter) else ()
        ending = _Ending(seconds, stop)
        total = _total(reader, seconds)
        run = _painted(reader, writer, painter, options, ending, total, on_progress)
        comparison = None
        if compare:
            comparison = _compared(
                opened,
                painter,
                options,
                run.clock.pipeline,
                ending=_Ending(seconds, None),
                count=writer.frames,
                output=target_path,
                overwrite=overwrite,
                on_progress=on_progress,
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
            seconds=run.parts(),
            skipped=reader.trouble.skipped,
            skipped_times=tuple(reader.trouble.times),
            failures=tuple(run.summary.failures),
            stopped=ending.stopped,
            remarks=(*told, *reader.trouble.remarks, *writer.trouble.remarks),
            comparison=comparison,
        )


@dataclass(frozen=True)
class _Run:
    """A video painted and written."""

    summary: PipelineSummary
    clock: _Clock
    reading: float
    last: Fraction
    seconds: float

    def parts(self) -> dict[str, float]:
        return {
            "reading": self.reading,
            "painter": self.summary.painter_seconds,
            "flow": self.summary.flow_seconds,
            "render": self.summary.render_seconds,
            "waiting": self.summary.waiting_seconds,
            "writing": self.clock.writing,
        }


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
    # A camera's frames that wait are late.
    waiting = _READ_AHEAD if reader.properties.frames is not None else 1
    with VideoPipeline(painter, **options) as pipeline, ReadAhead(reader, waiting) as ahead:
        started = time.perf_counter()
        painted = iter(pipeline.run(_timed(ending.cut(ahead), clock)))
        while True:
            before = time.perf_counter()
            result = next(painted, None)
            clock.pipeline += time.perf_counter() - before
            if result is None:
                break
            before = time.perf_counter()
            writer.write(result.pixels, result.time)
            clock.writing += time.perf_counter() - before
            last = result.time
            if on_progress is not None:
                on_progress(clock.told("stylizing", writer.frames, total))
        before = time.perf_counter()
        writer.finish(all_sound=not ending.reached)
        clock.writing += time.perf_counter() - before
        return _Run(pipeline.summary, clock, ahead.seconds, last, time.perf_counter() - started)


def _smoother(smooth: bool | str | Path, size: tuple[int, int], max_size: int | None) -> Enlarger:
    from edgesdk.video.key_frame_upscaler import KeyFrameUpscaler

    smoother = KeyFrameUpscaler(None if isinstance(smooth, bool) else smooth)
    smoother.check(*size, max_size)
    return smoother


def _policy(keyframes: KeyframePolicy | str | int) -> KeyframePolicy:
    if isinstance(keyframes, KeyframePolicy):
        return keyframes
    return KeyframePolicy.parse(str(keyframes))


def _bundle_painter(
    stack: ExitStack,
    bundle: str | Path | None,
    *,
    target: str | None,
    style: str | int | None,
    blend: Mapping[str, float] | None,
    threads: int,
) -> Painter:
    from edgesdk.video.painter_from_bundle import bundle_painter

    if bundle is None:
        raise UsageError("give a painter or a bundle, one of the two")
    painter = bundle_painter(bundle, target, style, blend, threads=threads)
    stack.callback(painter.close)
    return painter


def _check_comparison(
    source: str | Path | int, output: Path, from_camera: bool, overwrite: bool
) -> None:
    if from_camera:
        raise UsageError(
            "a camera shows nothing twice, so there is nothing to compare with",
            remedy="record a clip and compare that",
        )
    require_metrics()
    for path in comparison_paths(output):
        check_output(path, Path(str(source)), overwrite=overwrite)


class _Ending:
    """Where the source is cut off: after some seconds, or when the caller says so."""

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
    """The same frames; the time the pipeline waits for them is not the pipeline's."""
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
    pipeline_seconds: float,
    *,
    ending: _Ending,
    count: int,
    output: Path,
    overwrite: bool,
    on_progress: ProgressCallback | None,
) -> Comparison:
    """Read the source again, and paint every frame of it too."""
    clip, sheet = comparison_paths(output)
    speed = _Clock()

    def told(done: int) -> None:
        if on_progress is not None:
            on_progress(speed.told("comparing", done, count))

    with ExitStack() as stack:
        reader = opened(stack)
        ahead = stack.enter_context(ReadAhead(reader))
        return compare_with_every_frame(
            islice(ending.cut(ahead), count),
            reader.properties,
            painter,
            options=options,
            count=count,
            pipeline_seconds=pipeline_seconds,
            clip=clip,
            sheet=sheet,
            overwrite=overwrite,
            on_frame=told,
        )
