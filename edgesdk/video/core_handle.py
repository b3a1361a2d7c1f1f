"""Create and free a handle of the native video core from checked settings."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.abi import (
    INTEGER_SETTINGS,
    PATHS,
    QUALITIES,
    SETTINGS,
    ConfigStruct,
    call,
    native,
)
from edgesdk.video.checks import code_of, real_number, whole_number

__all__ = ["CoreHandle"]


class CoreHandle(Closing):
    """A core for frames of one size.

    Args:
        width, height: Size of every frame, 1..8192 pixels.
        flow_size: Width and height of the flow, at most 1024 and at most the frame's; by default
            the frame's shape within 480 x 270 (or 270 x 480).
        threads: Number of threads, 1..64, which changes no result; 0: one a processor, at most 4.
        path: Instruction set, one of :data:`PATHS`; results do not depend on it.
        quality: Quality of the flow, one of :data:`QUALITIES`.
        library: A library built elsewhere; None: the package's own.
        settings: Further fields of ``edgesdk_video_config``: ``occlusion_slope``,
            ``occlusion_offset``, ``residual_sigma``, ``affine_radius``, ``affine_epsilon``,
            ``cut_correlation``, ``occluded_fraction``, ``mean_residual``, ``longest_interval``.

    Attributes:
        size: Width and height of every frame.
        flow_size: Width and height of the flow.
        threads: Number of threads in use.
        path: Instruction set in use.

    Raises:
        UsageError: An argument is out of its range.
        MissingEnvironmentError: The core cannot be built or loaded, the processor lacks the path,
            memory or threads are exhausted.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        flow_size: tuple[int, int] | None = None,
        threads: int = 0,
        path: str = "auto",
        quality: str = "fast",
        library: Path | None = None,
        **settings: float,
    ) -> None:
        self._handle = ctypes.c_void_p()
        self._library = native(library)
        config = ConfigStruct()
        sides = whole_number("width", width, 1, 8192), whole_number("height", height, 1, 8192)
        call(self._library, "config_default", *sides, ctypes.byref(config))
        if flow_size is not None:
            limits = [min(side, 1024) for side in sides]
            config.flow_width = whole_number("the flow's width", flow_size[0], 1, limits[0])
            config.flow_height = whole_number("the flow's height", flow_size[1], 1, limits[1])
        config.threads = whole_number("threads", threads, 0, 64)
        config.path = code_of("path", path, PATHS)
        config.quality = code_of("quality", quality, QUALITIES)
        for name, value in settings.items():
            if name not in SETTINGS:
                raise UnknownNameError("setting of the video core", name, SETTINGS)
            whole = name in INTEGER_SETTINGS
            setattr(
                config, name, whole_number(name, value, 0) if whole else real_number(name, value)
            )
        call(self._library, "create", ctypes.byref(config), ctypes.byref(self._handle))
        call(self._library, "config_get", self._handle, ctypes.byref(config))
        self.size = (int(config.width), int(config.height))
        self.flow_size = (int(config.flow_width), int(config.flow_height))
        self.threads = int(config.threads)
        self.path = next(name for name, code in PATHS.items() if code == config.path)

    def _call(self, name: str, *arguments: Any) -> None:
        if not self._handle:
            raise UsageError("this video core is closed")
        call(self._library, name, self._handle, *arguments)

    def close(self) -> None:
        """Free the core's memory and threads; a second call does nothing."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            self._library.edgesdk_video_destroy(handle)

    def __del__(self) -> None:
        # A constructor that raised may have left no handle.
        if getattr(self, "_handle", None):
            self.close()
