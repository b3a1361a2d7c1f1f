"""Keyframe video: a network paints a few frames, optical flow carries the paint to the others."""

from __future__ import annotations

from edgesdk.video.core import Measures, VideoCore

__all__ = ["Measures", "VideoCore"]
