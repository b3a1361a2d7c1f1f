"""Progress and result of a stylizing run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from edgesdk.errors import PaintingError
from edgesdk.video.comparison import Comparison
from edgesdk.video.pipeline_summary import PainterFailure
from edgesdk.video.setup_times import SetupTimes

__all__ = ["ProgressCallback", "StylizeProgress", "StylizeResult"]


@dataclass(frozen=True)
class StylizeProgress:
    """Progress of a run.

    Attributes:
        doing: ``stylizing`` or ``comparing``.
        done: Number of frames done.
        total: Number of frames the source announces; None if it announces none.
        frames_per_second: Recent speed.
        seconds_left: Remaining time at that speed; None if the total is unknown.
    """

    doing: str
    done: int
    total: int | None
    frames_per_second: float
    seconds_left: float | None


#: Called with the progress after every frame.
ProgressCallback = Callable[[StylizeProgress], None]


@dataclass(frozen=True)
class StylizeResult:
    """Result of a run: the output, its counts and its times.

    Attributes:
        output: The file or folder.
        size: Width and height of its frames.
        frames: Number of frames written.
        duration: Seconds from the first frame to the last.
        keys: Number of key frames, which the painter saw.
        reasons: How often each reason made a frame a key frame.
        total_seconds: Time from the first frame read to the finished output, without ``setup``.
        seconds: Time of each stage. ``reading``, ``painter`` and ``writing`` run beside the others
            (the encoder goes on after ``writing`` was counted); ``flow``, ``render`` and
            ``waiting`` for the painter follow one another.
        skipped: Number of packets or pictures that could not be decoded.
        skipped_times: Presentation times of the first of them, seconds.
        failures: Key frames on which the painter failed; the paint before stands there.
        stopped: True if the caller's ``stop`` ended it before the end of the source.
        remarks: Sentences for the user.
        comparison: Comparison with painting every frame, if asked for.
        setup: Time before the first frame: building and loading the core, loading networks.
    """

    output: Path
    size: tuple[int, int]
    frames: int
    duration: Fraction
    keys: int
    reasons: Mapping[str, int]
    total_seconds: float
    seconds: Mapping[str, float]
    skipped: int = 0
    skipped_times: tuple[float, ...] = ()
    failures: tuple[PainterFailure, ...] = ()
    stopped: bool = False
    remarks: tuple[str, ...] = ()
    comparison: Comparison | None = None
    setup: SetupTimes = field(default_factory=SetupTimes)

    @property
    def reuse(self) -> float:
        """Number of frames for each key frame."""
        return self.frames / self.keys if self.keys else 0.0

    @property
    def frames_per_second(self) -> float:
        """Speed of the whole run: decoding, painting, encoding."""
        return self.frames / self.total_seconds if self.total_seconds else 0.0

    @property
    def problem(self) -> PaintingError | None:
        """The error to raise if the painter failed on a key frame; None if it never did."""
        if not self.failures:
            return None
        messages = [
            f"{float(failure.time):.3f} s (frame {failure.index}): {failure.message}"
            for failure in self.failures
        ]
        more = len(messages) - 5
        shown = messages if more <= 0 else [*messages[:5], f"and {more} more"]
        return PaintingError(
            f"the painter failed on {len(messages)} of {self.keys} key frames\n  "
            + "\n  ".join(shown),
            where=str(self.output),
            remedy="the paint of the key frame before stands there; the output is complete",
        )
