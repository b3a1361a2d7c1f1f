"""The native video core in Python: NumPy arrays in and out, over the C header the apps use.

>>> core = VideoCore(1920, 1080)                                    # doctest: +SKIP
>>> core.set_key("a", first); core.set_painted("a", first_painted)  # doctest: +SKIP
>>> core.set_frame(frame); core.estimate("a")                       # doctest: +SKIP
>>> picture = core.render(frame, use="a")                           # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.video.abi import (
    DIRECTIONS,
    INTEGER_SETTINGS,
    PATHS,
    QUALITIES,
    REASONS,
    SETTINGS,
    SLOTS,
    USES,
    ConfigStruct,
    MeasuresStruct,
    call,
    native,
)
from edgesdk.video.arguments import code_of, real_number, whole_number
from edgesdk.video.array_pool import ArrayPool
from edgesdk.video.pictures import Bytes, checked_picture, has_plain_rows, image_view

__all__ = ["Measures", "VideoCore"]

Floats = NDArray[np.float32]

#: Flows, and small frames, whose memory is used again: those of all frames that a pipeline holds.
_KEPT = 256
#: Calls that take an original at the flow size as well.
_TAKES_SMALL = ("set_frame", "set_key")


@dataclass(frozen=True)
class Measures:
    """How the present frame relates to the last key frame.

    Attributes:
        correlation: Of the HSV histograms, -1..1.
        occluded_fraction: Share of the frame that the key frame does not show, 0..1.
        mean_residual: Mean absolute difference of frame and warped key frame where visible, 0..1.
        reasons: Which of :data:`REASONS` make the frame a key frame; empty where none does.
    """

    correlation: float
    occluded_fraction: float
    mean_residual: float
    reasons: tuple[str, ...]


class VideoCore:
    """Flow, occlusion, key-frame measures and in-between frames for frames of one size.

    Key frames have two slots: ``a``, the earlier, and ``b``, the later. Not safe for calls from
    several threads at a time; different cores are independent.

    Args:
        width: Of every frame, pixels, 1..8192.
        height: Likewise.
        flow_size: Width and height flow is computed at, at most 1024 and at most the frame's; by
            default the frame's shape within 480 x 270 (or 270 x 480).
        threads: 1..64; 0 takes one a processor, at most 4. Results do not depend on it.
        path: One of :data:`PATHS`; results do not depend on it.
        quality: One of :data:`QUALITIES`.
        library: A library built elsewhere; by default the package's own.
        settings: Further fields of ``edgesdk_video_config``: ``occlusion_slope``,
            ``occlusion_offset``, ``residual_sigma``, ``affine_radius``, ``affine_epsilon``,
            ``cut_correlation``, ``occluded_fraction``, ``mean_residual``, ``longest_interval``.

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
        call(
            self._library,
            "config_default",
            whole_number("width", width, 1, 8192),
            whole_number("height", height, 1, 8192),
            ctypes.byref(config),
        )
        if flow_size is not None:
            config.flow_width = whole_number("the flow's width", flow_size[0], 1, min(width, 1024))
            config.flow_height = whole_number(
                "the flow's height", flow_size[1], 1, min(height, 1024)
            )
        config.threads = whole_number("threads", threads, 0, 64)
        config.path = code_of("path", path, PATHS)
        config.quality = code_of("quality", quality, QUALITIES)
        for name, value in settings.items():
            if name not in SETTINGS:
                raise UnknownNameError("setting of the video core", name, SETTINGS)
            setattr(
                config,
                name,
                whole_number(name, value, 0)
                if name in INTEGER_SETTINGS
                else real_number(name, value),
            )
        call(self._library, "create", ctypes.byref(config), ctypes.byref(self._handle))
        call(self._library, "config_get", self._handle, ctypes.byref(config))
        self.size = (int(config.width), int(config.height))
        self.flow_size = (int(config.flow_width), int(config.flow_height))
        self.threads = int(config.threads)
        flow_shape = self.flow_size[::-1]
        self._flows = ArrayPool((*flow_shape, 2), np.float32, _KEPT)
        self._smalls = ArrayPool((*flow_shape, 4), np.uint8, _KEPT)
        self.path = next(name for name, code in PATHS.items() if code == config.path)

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise UsageError("this video core is closed")
        return self._handle

    def close(self) -> None:
        """Free the core's memory and threads; a second call does nothing."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            self._library.edgesdk_video_destroy(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A constructor that raised may have left no handle.
        if getattr(self, "_handle", None):
            self.close()

    def _send(self, name: str, *arguments: Any, **pictures: tuple[object, bool]) -> None:
        """Call with pictures of the core's size as the last arguments."""
        handle = self._open()
        kept = []
        for label, (array, grey) in pictures.items():
            small = isinstance(array, np.ndarray) and array.shape[:2] == self.flow_size[::-1]
            size = self.flow_size if small and name in _TAKES_SMALL else self.size
            picture = checked_picture(label, array, size, grey)
            kept.append(picture if has_plain_rows(picture) else np.ascontiguousarray(picture))
        views = [image_view(array) for array in kept]
        call(self._library, name, handle, *arguments, *(ctypes.byref(view) for view in views))

    def set_key(self, slot: str, original: Bytes) -> None:
        """Set a slot's original; its painting and flows are forgotten.

        Args:
            slot: ``a`` or ``b``.
            original: uint8, H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA); any strides. H x W
                is the core's size, or the flow size, as :meth:`small_frame` gives it.
        """
        self._send("set_key", code_of("slot", slot, SLOTS), original=(original, True))

    def set_key_from_frame(self, slot: str) -> None:
        """Make the present frame the original of a slot, without computing it anew."""
        call(self._library, "set_key_from_frame", self._open(), code_of("slot", slot, SLOTS))

    def set_painted(self, slot: str, painted: Bytes) -> None:
        """Set the painting of a slot whose original is set: uint8, H x W x 3 or H x W x 4."""
        self._send("set_painted", code_of("slot", slot, SLOTS), painted=(painted, False))

    def promote(self) -> None:
        """Make slot ``b`` slot ``a``; ``b`` and the flows are forgotten."""
        call(self._library, "promote", self._open())

    def set_frame(self, original: Bytes) -> None:
        """Set the present frame, as :meth:`set_key` takes it; flows are forgotten."""
        self._send("set_frame", original=(original, True))

    def small_frame(self) -> Bytes:
        """The present frame at the flow size: uint8, flow height x flow width x 4, RGBA.

        Another core of the same sizes that is given this as its frame or key frame judges and
        renders the same, and need not scale the frame anew. Flow that it finds differs in the last
        bits, because grey is then of whole colours.
        """
        small = self._smalls.take()
        call(self._library, "get_frame", self._open(), ctypes.byref(image_view(small)))
        return small

    def estimate(self, use: str = "both") -> None:
        """Estimate flow in both directions, occlusion and residual against ``a``, ``b`` or both."""
        call(self._library, "estimate", self._open(), code_of("slot", use, USES))

    def set_flow(self, slot: str, to_key: Floats, from_key: Floats) -> None:
        """Give flows of one's own instead of :meth:`estimate`.

        Args:
            slot: ``a`` or ``b``.
            to_key: float32, flow height x flow width x 2 (dx, dy), in pixels of the flow size;
                what is not finite counts as occluded.
            from_key: Likewise, the opposite direction.
        """
        handle, code = self._open(), code_of("slot", slot, SLOTS)
        flows = [self._checked_flow("to_key", to_key), self._checked_flow("from_key", from_key)]
        call(
            self._library,
            "set_flow",
            handle,
            code,
            flows[0].ctypes.data,
            flows[0].strides[0],
            flows[1].ctypes.data,
            flows[1].strides[0],
        )

    def join_flows(self, first: Floats, second: Floats) -> Floats:
        """The flow from frame t to r, of ``first`` from t to s and ``second`` from s to r.

        All are float32, flow height x flow width x 2 (dx, dy), in pixels of the flow size; what is
        not finite leads nowhere and counts as occluded.
        """
        given = [self._checked_flow("first", first), self._checked_flow("second", second)]
        joined = self._flows.take()
        arguments: list[int] = []
        for flow in (*given, joined):
            arguments += [flow.ctypes.data, flow.strides[0]]
        call(self._library, "join_flows", self._open(), *arguments)
        return joined

    def _checked_flow(self, name: str, flow: object) -> Floats:
        shape = (self.flow_size[1], self.flow_size[0], 2)
        if not isinstance(flow, np.ndarray) or flow.dtype != np.float32 or flow.shape != shape:
            told = (
                f"{flow.dtype} {flow.shape}"
                if isinstance(flow, np.ndarray)
                else type(flow).__name__
            )
            raise UsageError(f"{name} must be float32 {shape}, not {told}")
        return np.ascontiguousarray(flow)

    def flow(self, slot: str, direction: str = "to_key") -> Floats:
        """A flow, float32, flow height x flow width x 2 (dx, dy), in pixels of the flow size."""
        flow = self._flows.take()
        call(
            self._library,
            "get_flow",
            self._open(),
            code_of("slot", slot, SLOTS),
            code_of("direction", direction, DIRECTIONS),
            flow.ctypes.data,
            8 * self.flow_size[0],
        )
        return flow

    def validity(self, slot: str) -> tuple[NDArray[np.bool_], Bytes]:
        """Which pixels of the frame a key frame shows, and how far from it they are.

        Returns:
            Flow height x flow width: a mask, and the mean absolute difference over the channels of
            the frame and the warped key frame, uint8.
        """
        valid = np.empty((self.flow_size[1], self.flow_size[0]), np.uint8)
        residual = np.empty_like(valid)
        call(
            self._library,
            "get_validity",
            self._open(),
            code_of("slot", slot, SLOTS),
            valid.ctypes.data,
            residual.ctypes.data,
            self.flow_size[0],
        )
        return valid.astype(np.bool_), residual

    def measure(self, distance: int) -> Measures:
        """Judge the present frame against slot ``a``, ``distance`` frames later (at least 1)."""
        found = MeasuresStruct()
        call(
            self._library,
            "measure",
            self._open(),
            whole_number("distance", distance, 1),
            ctypes.byref(found),
        )
        return Measures(
            correlation=float(found.correlation),
            occluded_fraction=float(found.occluded_fraction),
            mean_residual=float(found.mean_residual),
            reasons=tuple(name for name, bit in REASONS.items() if found.reasons & bit),
        )

    def correlation(self, slot: str = "a") -> float:
        """Correlation of the HSV histograms of the present frame and a key frame, -1..1."""
        value = ctypes.c_float()
        call(
            self._library,
            "correlation",
            self._open(),
            code_of("slot", slot, SLOTS),
            ctypes.byref(value),
        )
        return float(value.value)

    def _output(self, out: Bytes | None) -> Bytes:
        if out is None:
            return np.empty((self.size[1], self.size[0], 3), np.uint8)
        checked_picture("out", out, self.size, grey=False)
        if not out.flags.writeable or not has_plain_rows(out):
            raise UsageError("out must be writeable, its pixels side by side in rows from the top")
        return out

    def render(
        self, original: Bytes, tau: float = 0.5, *, use: str = "both", out: Bytes | None = None
    ) -> Bytes:
        """Paint the present frame.

        Args:
            original: The frame given to :meth:`set_frame`.
            tau: Place in time between slot ``a`` (0) and ``b`` (1). At 0 and 1 the output is that
                slot's painting, bit for bit.
            use: ``a``, ``b`` or ``both``.
            out: uint8, H x W x 3 or H x W x 4, to write into; by default a new H x W x 3.

        Returns:
            ``out``.
        """
        code, place = code_of("slot", use, USES), real_number("tau", tau)
        if not 0 <= place <= 1:
            raise UsageError(f"tau must be 0 to 1, not {place}")
        target = self._output(out)
        # An output that overlaps the frame would be read after it is written.
        if isinstance(original, np.ndarray) and np.may_share_memory(target, original):
            original = original.copy()
        self._send("render", code, place, original=(original, True), out=(target, False))
        return target

    def upscale(self, painted: Bytes, original: Bytes, out: Bytes | None = None) -> Bytes:
        """Enlarge a painting to the core's size along the edges of its full-size original.

        Args:
            painted: uint8, h x w x 3 or h x w x 4, at most the core's size.
            original: The full-size picture that was shrunk and painted.
            out: As in :meth:`render`.
        """
        small = checked_picture("painted", painted, None, grey=False)
        if small.shape[0] > self.size[1] or small.shape[1] > self.size[0]:
            raise UsageError(f"painted is larger than {self.size[0]} x {self.size[1]}")
        small = small if has_plain_rows(small) else np.ascontiguousarray(small)
        target = self._output(out)
        if isinstance(original, np.ndarray) and np.may_share_memory(target, original):
            original = original.copy()
        if np.may_share_memory(target, small):
            small = small.copy()
        view = image_view(small)
        self._send("upscale", ctypes.byref(view), original=(original, True), out=(target, False))
        return target

    def allocations(self) -> int:
        """Allocations of the native library since it was loaded, all cores together."""
        return int(self._library.edgesdk_allocation_count())
