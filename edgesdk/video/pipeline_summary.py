"""What a run of the pipeline did, and where its time went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

__all__ = ["PainterFailure", "PipelineSummary"]


@dataclass(frozen=True, slots=True)
class PainterFailure:
    """A key frame that the painter did not paint.

    Attributes:
        index: Of the frame.
        time: Of the frame, seconds.
        message: What the painter did wrong.
    """

    index: int
    time: Fraction
    message: str


@dataclass(slots=True)
class PipelineSummary:
    """Counts and times of a run, up to the frame given out last.

    Attributes:
        frames: Frames given out.
        keys: Key frames among them.
        reasons: How often each reason made a frame a key frame; a frame may have several.
        painter_seconds: In the painter, scaling key frames down included. It runs beside the rest.
        flow_seconds: Flow, occlusion and the key-frame rule.
        render_seconds: Painting frames in between and mixing key frames' paintings.
        waiting_seconds: The rest stood still until the painter had finished.
        failures: Key frames the painter failed on.
    """

    frames: int = 0
    keys: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    painter_seconds: float = 0.0
    flow_seconds: float = 0.0
    render_seconds: float = 0.0
    waiting_seconds: float = 0.0
    failures: list[PainterFailure] = field(default_factory=list)

    @property
    def reuse(self) -> float:
        """Frames a key frame; 0 before the first."""
        return self.frames / self.keys if self.keys else 0.0
