"""Keyframe video: a network paints a few frames, optical flow carries the paint to the others.

Heavy modules are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.video.colour_transfer import colour_painter
    from edgesdk.video.core import Measures, VideoCore
    from edgesdk.video.frames import Frame, PaintedFrame, Painter
    from edgesdk.video.interpolator import Interpolator
    from edgesdk.video.key_frame_upscaler import KeyFrameUpscaler
    from edgesdk.video.key_frames import KeyframeFinder, KeyframePolicy
    from edgesdk.video.painter_from_bundle import bundle_painter
    from edgesdk.video.painters import session_painter
    from edgesdk.video.pipeline import VideoPipeline
    from edgesdk.video.pipeline_summary import PainterFailure, PipelineSummary
    from edgesdk.video.stylize_options import StylizeOptions

__all__ = [
    "Frame",
    "Interpolator",
    "KeyFrameUpscaler",
    "KeyframeFinder",
    "KeyframePolicy",
    "Measures",
    "PaintedFrame",
    "Painter",
    "PainterFailure",
    "PipelineSummary",
    "StylizeOptions",
    "VideoCore",
    "VideoPipeline",
    "bundle_painter",
    "colour_painter",
    "session_painter",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".colour_transfer": ("colour_painter",),
        ".core": ("Measures", "VideoCore"),
        ".frames": ("Frame", "PaintedFrame", "Painter"),
        ".interpolator": ("Interpolator",),
        ".key_frames": ("KeyframeFinder", "KeyframePolicy"),
        ".painter_from_bundle": ("bundle_painter",),
        ".painters": ("session_painter",),
        ".pipeline": ("VideoPipeline",),
        ".pipeline_summary": ("PainterFailure", "PipelineSummary"),
        ".key_frame_upscaler": ("KeyFrameUpscaler",),
        ".stylize_options": ("StylizeOptions",),
    },
)
