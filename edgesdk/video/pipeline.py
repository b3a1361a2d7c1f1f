"""Paint a video with a network that sees its key frames only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from edgesdk.errors import UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.abi import QUALITIES
from edgesdk.video.checks import number_between, whole_number
from edgesdk.video.frames import Enlarger, Frame, PaintedFrame, Painter
from edgesdk.video.key_frames import KeyframePolicy
from edgesdk.video.pipeline_run import PipelineRun, RunOptions
from edgesdk.video.pipeline_summary import PipelineSummary

__all__ = ["VideoPipeline"]

# A key frame ten frames later shows its own painting by six tenths. Things that move within
# themselves, such as faces, need that: paint that is only carried along smears.
_STREAMING_RENEWAL = 0.06


class VideoPipeline(Closing):
    """Paints videos: ``painter`` paints key frames, optical flow carries the paint to the others.

    >>> pipeline = VideoPipeline(painter, max_size=512)             # doctest: +SKIP
    >>> for painted in pipeline.run(frames): show(painted.pixels)   # doctest: +SKIP

    The result does not depend on threads or the painter's speed.

    Args:
        painter: Takes and returns uint8, H x W x 3, RGB; called in a worker thread, one key frame
            at a time. If it raises, or returns another size or dtype, the paint before stands.
        policy: Rule for key frames.
        max_size: Longest side the painter is shown, pixels; its paintings are enlarged along the
            edges of the key frame. None: full size.
        strength: Blend factor of the painting over the original, 0..1; 0 is the original itself.
        streaming: Give out each frame after at most two later ones have come in, painted from the
            key frame before alone. Otherwise frames wait for the key frame after them.
        threads: Threads of the native core, 1..64; 0: one a processor, at most 4.
        quality: Quality of the flow: ``fast``, ``balanced`` or ``precise``.
        flow_size: Width and height of the flow; by default the frame's shape within
            384 x 216 (or 216 x 384), which costs a third less than the core's 480 x 270.
        renewal: Share of the paint that a key frame's own painting replaces, for every frame of its
            distance from the key frame before, over 0 and up to 1. At 1 every key frame shows its
            painting bit for bit. A network paints each key frame a little differently; less keeps
            the paint that is there, which is steadier, and wears it out when it is much less. None:
            1, and 0.06 while streaming, where a change cannot be spread over the frames before it.
            The first key frame and one after a cut always come through bit for bit.
        enlarge: Enlarges the paintings instead of the native core, such as
            :class:`~edgesdk.video.key_frame_upscaler.KeyFrameUpscaler`.

    Raises:
        UsageError: An argument is out of its range.
    """

    def __init__(
        self,
        painter: Painter,
        *,
        policy: KeyframePolicy | None = None,
        max_size: int | None = 512,
        strength: float = 1.0,
        streaming: bool = False,
        threads: int = 0,
        quality: str = "balanced",
        flow_size: tuple[int, int] | None = None,
        renewal: float | None = None,
        enlarge: Enlarger | None = None,
    ) -> None:
        if not callable(painter):
            raise UsageError(
                f"a painter is called with a picture; {type(painter).__name__} cannot be",
                remedy="make one with session_painter, bundle_painter or colour_painter",
            )
        if max_size is not None:
            whole_number("max_size", max_size, 16, 8192)
        whole_number("threads", threads, 0, 64)
        if quality not in QUALITIES:
            raise UsageError(f"quality must be one of {', '.join(QUALITIES)}, not {quality!r}")
        if renewal is None:
            renewal = _STREAMING_RENEWAL if streaming else 1.0
        share = number_between("renewal", renewal, 0, 1)
        if share == 0:
            raise UsageError("renewal must be above 0, or the paint would never change")
        self._options = RunOptions(
            painter=painter,
            policy=policy or KeyframePolicy(),
            max_size=max_size,
            strength=number_between("strength", strength, 0, 1),
            streaming=bool(streaming),
            threads=threads,
            quality=quality,
            flow_size=flow_size,
            renewal=share,
            enlarge=enlarge,
        )
        self._resources = ExitStack()
        self._closed = False
        self._run: PipelineRun | None = None
        self.summary = PipelineSummary()

    def run(self, frames: Iterable[Frame]) -> Iterator[PaintedFrame]:
        """Paint a video: yield one painted frame for every frame, in order.

        Frames are taken as needed. Those that wait for a key frame stay in memory: at most twice
        :attr:`KeyframePolicy.interval` and 2 more (with ``streaming``, 3), for a video of any
        length. :attr:`summary` belongs to the latest run and grows with it.

        Args:
            frames: Frames of one size, in order.

        Raises:
            MediaError: No frame came, or the size changes; the message gives the time.
            MissingEnvironmentError: The native core cannot be built, or memory is exhausted.
            UsageError: A frame's pixels are not uint8, H x W x 3; or the pipeline is closed.
        """
        if self._closed:
            raise UsageError("this pipeline is closed")
        self._resources.close()
        self.summary = PipelineSummary()
        run = self._run = PipelineRun(self._options, self.summary)
        self._resources.callback(run.close)
        return run.paint(frames)

    def settle(self) -> None:
        """Wait until the worker threads of the latest run have nothing left to do.

        They start again when the next frame is taken.
        """
        if self._run is not None:
            self._run.settle()

    def close(self) -> None:
        """Stop the run and free memory and threads; a second call does nothing."""
        self._closed = True
        self._resources.close()
