"""What a stylizing run tells: while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edgesdk.errors import PaintingError
from edgesdk.video.comparison import Comparison
from edgesdk.video.pipeline_summary import PainterFailure

__all__ = ["ProgressCallback", "StylizeProgress", "StylizeResult"]


@dataclass(frozen=True)
class StylizeProgress:
    """How far a run has come.

    Attributes:
        doing: ``stylizing`` or ``comparing``.
        done: Frames written.
        total: Frames there will be, as far as the source tells; None where it does not.
        frames_per_second: Of late.
        seconds_left: At that speed; None where the total is unknown.
    """

    doing: str
    done: int
    total: int | None
    frames_per_second: float
    seconds_left: float | None


#: Takes what a run tells after every frame.
ProgressCallback = Callable[[StylizeProgress], None]


@dataclass(frozen=True)
class StylizeResult:
    """What was written, and how.

    Attributes:
        output: The file or folder.
        size: Width and height of its frames.
        frames: Written.
        duration: From the first frame to the last, seconds.
        keys: Frames the painter saw.
        reasons: How often each reason made a frame a key frame.
        total_seconds: From the first frame read to the output in its place.
        seconds: Where the time went: ``reading``, ``painter`` and ``writing`` run beside the others
            (the encoder goes on after ``writing`` was counted); ``flow``, ``render`` and
            ``waiting`` for the painter follow one another.
        skipped: Packets or pictures that could not be decoded.
        skipped_times: When the first of them would have been shown, seconds.
        failures: Key frames on which the painter failed; the paint before stands there.
        stopped: Whether the caller's ``stop`` ended it before the source's end.
        remarks: Sentences for the user.
        comparison: With painting every frame, where it was asked for.
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

    @property
    def reuse(self) -> float:
        """Frames a key frame."""
        return self.frames / self.keys if self.keys else 0.0

    @property
    def frames_per_second(self) -> float:
        """Everything counted: decoding, painting, encoding."""
        return self.frames / self.total_seconds if self.total_seconds else 0.0

    @property
    def problem(self) -> PaintingError | None:
        """What to raise where a painter that failed shall be an error."""
        if not self.failures:
            return None
        told = [
            f"{float(failure.time):.3f} s (frame {failure.index}): {failure.message}"
            for failure in self.failures
        ]
        shown = told if len(told) <= 5 else [*told[:5], f"and {len(told) - 5} more"]
        return PaintingError(
            f"the painter failed on {len(told)} of {self.keys} key frames\n  " + "\n  ".join(shown),
            where=str(self.output),
            remedy="the paint of the key frame before stands there; the output is complete",
        )
