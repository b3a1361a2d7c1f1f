"""Keyframe video: a network paints a few frames, optical flow carries the paint to the others.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesdk.video.colour_transfer import colour_painter
    from edgesdk.video.core import Measures, VideoCore
    from edgesdk.video.frames import Frame, PaintedFrame, Painter
    from edgesdk.video.interpolator import Interpolator
    from edgesdk.video.key_frames import KeyframeFinder, KeyframePolicy
    from edgesdk.video.painters import session_painter
    from edgesdk.video.pipeline import VideoPipeline
    from edgesdk.video.pipeline_summary import PainterFailure, PipelineSummary
    from edgesdk.video.smoothing import KeyFrameSmoother

__all__ = [
    "Frame",
    "Interpolator",
    "KeyFrameSmoother",
    "KeyframeFinder",
    "KeyframePolicy",
    "Measures",
    "PaintedFrame",
    "Painter",
    "PainterFailure",
    "PipelineSummary",
    "VideoCore",
    "VideoPipeline",
    "colour_painter",
    "session_painter",
]

_HOMES = {
    "Frame": "frames",
    "Interpolator": "interpolator",
    "KeyFrameSmoother": "smoothing",
    "KeyframeFinder": "key_frames",
    "KeyframePolicy": "key_frames",
    "Measures": "core",
    "PaintedFrame": "frames",
    "Painter": "frames",
    "PainterFailure": "pipeline_summary",
    "PipelineSummary": "pipeline_summary",
    "VideoCore": "core",
    "VideoPipeline": "pipeline",
    "colour_painter": "colour_transfer",
    "session_painter": "painters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesdk.video' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgesdk.video.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
