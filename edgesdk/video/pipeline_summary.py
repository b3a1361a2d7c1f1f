"""Counts and times of a run of the pipeline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

__all__ = ["PainterFailure", "PipelineSummary"]


@dataclass(frozen=True, slots=True)
class PainterFailure:
    """A key frame that the painter did not paint.

    Attributes:
        index: Index of the frame.
        time: Time of the frame, seconds.
        message: Error of the painter.
    """

    index: int
    time: Fraction
    message: str


@dataclass(slots=True)
class PipelineSummary:
    """Counts and times of a run, up to the frame given out last.

    Attributes:
        frames: Number of frames given out.
        keys: Number of key frames among them.
        reasons: How often each reason made a frame a key frame; a frame may have several.
        painter_seconds: Time in the painter, scaling down included. It runs beside the rest.
        flow_seconds: Time of flow, occlusion and the key-frame rule.
        render_seconds: Time of rendering frames in between and of mixing paintings of key frames.
        waiting_seconds: Time the rest waited for the painter.
        failures: Key frames on which the painter failed.
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
        """Number of frames for each key frame; 0 before the first."""
        return self.frames / self.keys if self.keys else 0.0
