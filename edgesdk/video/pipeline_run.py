"""One pass over a video: frames in, painted frames out, a bounded number of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import MediaError, UsageError
from edgesdk.video.array_pool import ArrayPool
from edgesdk.video.flow_chain import Flow
from edgesdk.video.frames import Enlarger, Frame, PaintedFrame, Painter, check_frame
from edgesdk.video.interpolator import Interpolator
from edgesdk.video.key_frame_worker import KeyFrameWorker
from edgesdk.video.key_frames import KeyframeFinder, KeyframePolicy
from edgesdk.video.painter_worker import PainterWorker, Painting, PaintingTask
from edgesdk.video.pipeline_summary import PainterFailure, PipelineSummary
from edgesdk.video.strength import StrengthBlend
from edgesdk.video.timing import timed

__all__ = ["PipelineRun", "RunOptions"]

Picture = NDArray[np.uint8]

#: Frames a streaming run holds: one to give out, and two that came later.
_STREAMING_FRAMES = 3
#: Maximum longer and shorter side of the flow. 480 x 270 outgrows a core's cache: a third more
#: time for 0.4 dB.
_FLOW = (384, 216)
#: Frames beyond a segment that may come in while the painter is busy.
_LOOK_AHEAD = 16
#: Pictures whose memory is reused: the key frame's, the rendered one, some the consumer holds.
_KEPT_PICTURES = 8


@dataclass(frozen=True)
class RunOptions:
    """The arguments of :class:`~edgesdk.video.pipeline.VideoPipeline`, checked."""

    painter: Painter
    policy: KeyframePolicy
    max_size: int | None
    strength: float
    streaming: bool
    threads: int
    quality: str
    flow_size: tuple[int, int] | None
    renewal: float
    enlarge: Enlarger | None = None


@dataclass(slots=True)
class _Held:
    """A frame that was taken and has not been given out."""

    frame: Frame
    #: Flow to the frame before it, and to the last key frame before it.
    step: Flow | None = None
    flow: Flow | None = None
    #: Its pixels at flow size, if known.
    small: Picture | None = None
    #: Reasons and painting of a key frame.
    reasons: tuple[str, ...] = ()
    task: PaintingTask | None = None

    @property
    def compared(self) -> Picture:
        """The pixels that are compared with other frames."""
        return self.frame.pixels if self.small is None else self.small

    @property
    def painted(self) -> bool:
        """True unless its painting is still to come."""
        return self.task is None or self.task.done

    @property
    def fresh(self) -> bool:
        """True if a shot begins here, so that earlier frames do not matter."""
        return "first" in self.reasons or "cut" in self.reasons


@dataclass(slots=True)
class _Stage:
    """Everything that needs the size of the frames."""

    size: tuple[int, int]
    finder: KeyframeFinder
    judges: KeyFrameWorker
    interpolator: Interpolator
    painters: PainterWorker
    pool: ArrayPool[np.uint8]
    blend: StrengthBlend
    resources: ExitStack = field(default_factory=ExitStack)


class PipelineRun:
    """The state of one run.

    Two native cores work at once, each in a thread of its own: one searches for key frames, as far
    ahead as there is room; the other renders behind it.
    """

    def __init__(self, options: RunOptions, summary: PipelineSummary) -> None:
        self._options = options
        self._summary = summary
        self._stage: _Stage | None = None
        self._pending: deque[_Held] = deque()
        # Index of the last key frame given out; True once a painting exists; True while originals
        # stand in for paintings.
        self._key_index = 0
        self._painted = self._stand_in = self._closed = False
        # True while the source may have more frames; its error; True once the last frame is known.
        self._more = True
        self._failure: Exception | None = None
        self._complete = False
        # A whole segment must fit, and the frame after a cut.
        interval = options.policy.interval
        room = interval + 2 + min(interval, _LOOK_AHEAD)
        self._room = _STREAMING_FRAMES if options.streaming else room

    def _open(self, frame: Frame) -> _Stage:
        height, width = frame.pixels.shape[:2]
        options = self._options
        shared: dict[str, Any] = {
            "threads": options.threads,
            "flow_size": options.flow_size or _flow_size(width, height),
        }
        with ExitStack() as stack:
            finder = stack.enter_context(
                KeyframeFinder(width, height, options.policy, quality=options.quality, **shared)
            )
            judges = KeyFrameWorker(finder)
            stack.callback(judges.close)
            # Receives every flow and estimates none.
            interpolator = stack.enter_context(Interpolator(width, height, **shared))
            painters = stack.enter_context(
                PainterWorker(options.painter, options.max_size, self._room)
            )
            return _Stage(
                size=(width, height),
                finder=finder,
                judges=judges,
                interpolator=interpolator,
                painters=painters,
                pool=ArrayPool((height, width, 3), np.uint8, _KEPT_PICTURES),
                blend=StrengthBlend(options.strength, width, height),
                resources=stack.pop_all(),
            )

    def _pull(self, source: Iterator[Frame]) -> None:
        """Take the next frame and have it judged."""
        try:
            frame = next(source, None)
            self._more = frame is not None
            if frame is not None and not self._closed:
                self._ask(frame)
        # Raised once the frames before it are out: otherwise their number depends on the painter.
        except Exception as error:  # noqa: BLE001
            self._failure, self._more = error, False
        # A streaming run does not know later frames.
        self._collect(wait=self._options.streaming)

    def _ask(self, frame: Frame) -> None:
        check_frame(frame)
        stage = self._stage
        if stage is None:
            stage = self._stage = self._open(frame)
            stage.finder.begin(frame.pixels)
            self._hold(stage, _Held(frame), ("first",))
            return
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        if size != stage.size:
            raise MediaError(
                f"the picture's size changes from {stage.size[0]} x {stage.size[1]} to "
                f"{size[0]} x {size[1]} at {float(frame.time):.3f} s",
                remedy="cut the video there and paint the parts one by one",
            )
        stage.judges.ask(frame)

    def _collect(self, *, wait: bool = False) -> None:
        """Hold the frames that have been judged, and have the key frames among them painted."""
        stage = self._stage
        if stage is None or self._closed:
            return
        before = stage.judges.seconds
        for frame, judgement in stage.judges.answers(wait=wait):
            if "cut" in judgement.reasons and not self._options.streaming:
                # No frame is interpolated across the cut.
                self._make_key(stage, self._pending[-1] if self._pending else None, "before_cut")
            held = _Held(frame, judgement.step, judgement.flow, judgement.small)
            self._hold(stage, held, judgement.reasons)
        self._summary.flow_seconds += stage.judges.seconds - before

    def _finish(self) -> None:
        """Make the last frame a key frame."""
        if self._stage is None:
            raise MediaError("the video has no picture at all")
        if self._pending and not self._options.streaming:
            self._make_key(self._stage, self._pending[-1], "last")
        self._complete = True

    def _hold(self, stage: _Stage, held: _Held, reasons: tuple[str, ...]) -> None:
        self._pending.append(held)
        for reason in reasons:
            self._make_key(stage, held, reason)

    def _make_key(self, stage: _Stage, held: _Held | None, reason: str) -> None:
        if held is None or (held.reasons and reason in ("before_cut", "last")):
            return
        held.reasons = (*held.reasons, reason)
        if held.task is None:
            held.task = stage.painters.paint(held.frame.pixels)

    def paint(self, frames: Iterable[Frame]) -> Iterator[PaintedFrame]:
        """Paint a video; see :meth:`~edgesdk.video.pipeline.VideoPipeline.run`."""
        source = iter(frames)
        try:
            while not self._complete or self._pending:
                self._collect()
                segment = self._segment()
                judging = 0 if self._stage is None else len(self._stage.judges)
                full = len(self._pending) + judging >= self._room
                ended = not self._more and not judging
                if ended and not self._complete and self._failure is None:
                    self._finish()
                # While the painter works, search ahead for the next key frame.
                elif segment and (ended or full or self._pending[segment - 1].painted):
                    yield from self._give_out(segment)
                elif self._more and not full:
                    self._pull(source)
                elif judging:
                    self._collect(wait=True)
                elif self._failure is not None:
                    raise self._failure
                if self._closed:
                    return
        finally:
            self.close()

    def _segment(self) -> int:
        """Return the number of frames at the head that one painting completes."""
        if self._options.streaming:
            return 1 if self._pending else 0
        return next((n for n, held in enumerate(self._pending, 1) if held.reasons), 0)

    def _give_out(self, segment: int) -> Iterator[PaintedFrame]:
        stage = self._stage
        if stage is None:
            return
        *between, last = (self._pending.popleft() for _ in range(segment))
        painted, failure = (None, None) if last.task is None else self._key_painting(stage, last)
        if painted is None:
            yield self._given(stage, last, self._rendered(stage, last, None, None), None)
            return
        distance = last.frame.index - self._key_index
        onward = self._onward(stage, [*between, last])
        while between:
            # Popped, so that a frame is freed as soon as its painting exists.
            one = between.pop(0)
            tau = (one.frame.index - self._key_index) / distance
            picture = self._rendered(stage, one, tau, onward.pop(0))
            given = self._given(stage, one, picture, None)
            # Its memory is free once the consumer drops it.
            del picture
            yield given
            del given
            # Pass key frames found meanwhile to the painter.
            self._collect()
            if self._closed:
                return
        if not last.fresh:
            stage.interpolator.advance()
        self._key_index = last.frame.index
        yield self._given(stage, last, painted, failure)

    def _onward(self, stage: _Stage, segment: list[_Held]) -> list[Flow | None]:
        """Return the flow from each frame of a segment to its last frame."""
        if self._stand_in:
            return [None] * (len(segment) - 1)
        steps = [held.step.reversed for held in segment[1:] if held.step is not None]
        with timed(self._summary, "flow_seconds"):
            return list(stage.interpolator.onward_flows(steps))

    def _rendered(
        self, stage: _Stage, held: _Held, tau: float | None, onward: Flow | None
    ) -> Picture:
        """Render a frame from one key frame, or at ``tau`` between two."""
        pixels, out = held.frame.pixels, stage.pool.take()
        if self._stand_in:
            np.copyto(out, pixels)
            return out
        with timed(self._summary, "flow_seconds"):
            stage.interpolator.prepare(held.compared, held.flow, onward)
        with timed(self._summary, "render_seconds"):
            return stage.interpolator.paint(pixels, tau, out)

    def _key_painting(self, stage: _Stage, held: _Held) -> tuple[Picture, str | None]:
        """Return a key frame's painting at full size, and make it the interpolator's key frame."""
        task = held.task
        if task is None:
            raise UsageError("the frame is not a key frame")
        with timed(self._summary, "waiting_seconds"):
            painting = task.result()
        self._summary.painter_seconds += painting.seconds
        with timed(self._summary, "render_seconds"):
            painted = self._settled(stage, held, painting)
            if held.fresh:
                stage.interpolator.key(held.compared, painted)
            else:
                stage.interpolator.next_key(held.compared, painted)
        return painted, painting.failure

    def _settled(self, stage: _Stage, held: _Held, painting: Painting) -> Picture:
        """Combine the painter's answer with the paint before to what a key frame shows."""
        pixels, interpolator = held.frame.pixels, stage.interpolator
        answer = painting.pixels
        first = not self._painted
        self._painted = self._painted or answer is not None
        self._stand_in = first and not self._painted
        if answer is None:
            if first:
                return pixels
            return interpolator.after(pixels, held.flow, stage.pool.take())
        if answer.shape != pixels.shape:
            enlarge = self._options.enlarge
            if enlarge is None:
                out = stage.pool.take()
                answer = interpolator.enlarge(answer, pixels, out, painting.shown)
            else:
                answer = enlarge(answer, pixels)
        share = self._options.renewal * (held.frame.index - self._key_index)
        if first or held.fresh or share >= 1:
            return answer
        return interpolator.renewed(pixels, answer, share, held.flow, stage.pool.take())

    def _given(
        self, stage: _Stage, held: _Held, picture: Picture, failure: str | None
    ) -> PaintedFrame:
        """Make a frame to give out, and count it."""
        frame, summary = held.frame, self._summary
        if not stage.blend.whole:
            with timed(self._summary, "render_seconds"):
                # A key frame's paint is still needed, and may be the frame itself.
                out = stage.pool.take() if held.reasons else picture
                picture = stage.blend.blend(frame.pixels, picture, out)
        elif picture is frame.pixels:
            picture = picture.copy()
        key = bool(held.reasons)
        summary.frames += 1
        summary.keys += key
        summary.reasons.update(held.reasons)
        if failure is not None:
            summary.failures.append(PainterFailure(frame.index, frame.time, failure))
        return PaintedFrame(frame.index, frame.time, picture, key, held.reasons, failure)

    def settle(self) -> None:
        """Wait until every frame given to the workers has been judged or painted."""
        if self._stage is not None and not self._closed:
            self._stage.judges.settle()
            for task in [held.task for held in self._pending if held.task is not None]:
                task.result()

    def close(self) -> None:
        """Free memory and threads, after the key frame in the painter."""
        self._closed = True
        self._pending.clear()
        if self._stage is not None:
            self._stage.resources.close()


def _flow_size(width: int, height: int) -> tuple[int, int]:
    """Return the frame's shape scaled down into :data:`_FLOW`, landscape or portrait."""
    share = min(1.0, _FLOW[0] / max(width, height), _FLOW[1] / min(width, height))
    return max(1, round(share * width)), max(1, round(share * height))
