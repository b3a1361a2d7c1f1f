"""The native video core in Python: NumPy arrays in and out, over the C header that apps use.

>>> core = VideoCore(1920, 1080)                                    # doctest: +SKIP
>>> core.set_key("a", first); core.set_painted("a", first_painted)  # doctest: +SKIP
>>> core.set_frame(frame); core.estimate("a")                       # doctest: +SKIP
>>> picture = core.render(frame, use="a")                           # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.video.abi import DIRECTIONS, REASONS, SLOTS, USES, MeasuresStruct
from edgesdk.video.array_pool import ArrayPool
from edgesdk.video.checks import array_kind, code_of, real_number, whole_number
from edgesdk.video.core_handle import CoreHandle
from edgesdk.video.pictures import (
    Bytes,
    checked_picture,
    has_plain_rows,
    image_view,
    with_plain_rows,
)

__all__ = ["Measures", "VideoCore"]

Floats = NDArray[np.float32]

#: Flows and small frames whose memory is reused: those of all frames that a pipeline holds.
_KEPT = 256
#: Calls that also take an original at flow size.
_TAKES_SMALL = ("set_frame", "set_key")


@dataclass(frozen=True)
class Measures:
    """Measures of the present frame against the last key frame.

    Attributes:
        correlation: Correlation of the HSV histograms, -1..1.
        occluded_fraction: Share of the frame that the key frame does not show, 0..1.
        mean_residual: Mean absolute difference of frame and warped key frame where visible, 0..1.
        reasons: Those of :data:`REASONS` that make the frame a key frame; empty if none does.
    """

    correlation: float
    occluded_fraction: float
    mean_residual: float
    reasons: tuple[str, ...]


class VideoCore(CoreHandle):
    """Flow, occlusion, key-frame measures and in-between frames for frames of one size.

    Key frames have two slots: ``a``, the earlier, and ``b``, the later. Calls of one core must not
    overlap in time; different cores are independent. Arguments as for
    :class:`~edgesdk.video.core_handle.CoreHandle`.
    """

    @cached_property
    def _flows(self) -> ArrayPool[np.float32]:
        return ArrayPool((*self.flow_size[::-1], 2), np.float32, _KEPT)

    @cached_property
    def _smalls(self) -> ArrayPool[np.uint8]:
        return ArrayPool((*self.flow_size[::-1], 4), np.uint8, _KEPT)

    def _send(self, name: str, *arguments: Any, **pictures: tuple[object, bool]) -> None:
        """Call a function whose last arguments are pictures of the core's size."""
        kept = []
        for label, (array, grey) in pictures.items():
            small = isinstance(array, np.ndarray) and array.shape[:2] == self.flow_size[::-1]
            size = self.flow_size if small and name in _TAKES_SMALL else self.size
            picture = checked_picture(label, array, size, grey)
            kept.append(with_plain_rows(picture))
        views = [image_view(array) for array in kept]
        self._call(name, *arguments, *(ctypes.byref(view) for view in views))

    def set_key(self, slot: str, original: Bytes) -> None:
        """Set a slot's original and drop its painting and flows.

        Args:
            slot: ``a`` or ``b``.
            original: uint8, H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA); any strides. H x W
                is the core's size, or the flow size of :meth:`small_frame`.
        """
        self._send("set_key", code_of("slot", slot, SLOTS), original=(original, True))

    def set_key_from_frame(self, slot: str) -> None:
        """Make the present frame the original of a slot without recomputing it."""
        self._call("set_key_from_frame", code_of("slot", slot, SLOTS))

    def set_painted(self, slot: str, painted: Bytes) -> None:
        """Set the painting of a slot whose original is set: uint8, H x W x 3 or H x W x 4."""
        self._send("set_painted", code_of("slot", slot, SLOTS), painted=(painted, False))

    def promote(self) -> None:
        """Move slot ``b`` to slot ``a``; drop the flows."""
        self._call("promote")

    def set_frame(self, original: Bytes) -> None:
        """Set the present frame, in the formats of :meth:`set_key`; drop the flows."""
        self._send("set_frame", original=(original, True))

    def small_frame(self) -> Bytes:
        """Return the present frame at flow size: uint8, flow height x flow width x 4, RGBA.

        Another core of the same sizes judges and renders the same from it without scaling again.
        Flow that it estimates differs in the last bits: its grey values come from rounded colours.
        """
        small = self._smalls.take()
        self._call("get_frame", ctypes.byref(image_view(small)))
        return small

    def estimate(self, use: str = "both") -> None:
        """Estimate flow in both directions, occlusion and residual against ``a``, ``b`` or both."""
        self._call("estimate", code_of("slot", use, USES))

    def set_flow(self, slot: str, to_key: Floats, from_key: Floats) -> None:
        """Set flows instead of calling :meth:`estimate`.

        Args:
            slot: ``a`` or ``b``.
            to_key: As :meth:`flow` returns it; values that are not finite count as occluded.
            from_key: Flow in the opposite direction.
        """
        code = code_of("slot", slot, SLOTS)
        flows = [self._checked_flow("to_key", to_key), self._checked_flow("from_key", from_key)]
        self._call("set_flow", code, *_planes(flows))

    def join_flows(self, first: Floats, second: Floats) -> Floats:
        """Return the flow from frame t to r, joined of ``first`` (t to s) and ``second`` (s to r).

        All are as :meth:`flow` returns them; values that are not finite count as occluded.
        """
        given = [self._checked_flow("first", first), self._checked_flow("second", second)]
        joined = self._flows.take()
        self._call("join_flows", *_planes([*given, joined]))
        return joined

    def _checked_flow(self, name: str, flow: object) -> Floats:
        shape = (self.flow_size[1], self.flow_size[0], 2)
        if not isinstance(flow, np.ndarray) or flow.dtype != np.float32 or flow.shape != shape:
            raise UsageError(f"{name} must be float32 {shape}, not {array_kind(flow)}")
        return np.ascontiguousarray(flow)

    def flow(self, slot: str, direction: str = "to_key") -> Floats:
        """Return a flow: float32, flow height x flow width x 2 (dx, dy), in pixels of its size."""
        flow = self._flows.take()
        codes = code_of("slot", slot, SLOTS), code_of("direction", direction, DIRECTIONS)
        self._call("get_flow", *codes, *_planes([flow]))
        return flow

    def validity(self, slot: str) -> tuple[NDArray[np.bool_], Bytes]:
        """Return the pixels of the frame that a key frame shows, and their difference from it.

        Returns:
            Flow height x flow width each: a mask, and the mean absolute difference of the frame and
            the warped key frame over the channels, uint8.
        """
        valid = np.empty((self.flow_size[1], self.flow_size[0]), np.uint8)
        residual = np.empty_like(valid)
        code = code_of("slot", slot, SLOTS)
        self._call("get_validity", code, valid.ctypes.data, *_planes([residual]))
        return valid.view(np.bool_), residual

    def set_validity(self, slot: str, valid: NDArray[np.bool_], residual: Bytes) -> None:
        """Set the result of :meth:`validity` of another core instead of computing it again.

        Args:
            slot: ``a`` or ``b``; its flow must be set.
            valid: Mask of a core of equal sizes and settings, for the same frames and flow.
            residual: Difference of the same core.
        """
        shape = self.flow_size[::-1]
        for name, plane, kind in (("valid", valid, np.bool_), ("residual", residual, np.uint8)):
            right = isinstance(plane, np.ndarray) and plane.dtype == kind and plane.shape == shape
            if not right or not plane.flags.c_contiguous:
                raise UsageError(f"{name} must be {np.dtype(kind)} {shape}, as validity returns it")
        code = code_of("slot", slot, SLOTS)
        self._call("set_validity", code, valid.ctypes.data, *_planes([residual]))

    def measure(self, distance: int) -> Measures:
        """Measure the present frame against slot ``a``, ``distance`` frames later (at least 1)."""
        found = MeasuresStruct()
        self._call("measure", whole_number("distance", distance, 1), ctypes.byref(found))
        return Measures(
            correlation=float(found.correlation),
            occluded_fraction=float(found.occluded_fraction),
            mean_residual=float(found.mean_residual),
            reasons=tuple(name for name, bit in REASONS.items() if found.reasons & bit),
        )

    def correlation(self, slot: str = "a") -> float:
        """Return the correlation of the HSV histograms of the frame and a key frame, -1..1."""
        value = ctypes.c_float()
        self._call("correlation", code_of("slot", slot, SLOTS), ctypes.byref(value))
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
            tau: Position in time between slot ``a`` (0) and ``b`` (1). At 0 and 1 the output is
                that slot's painting, bit for bit.
            use: ``a``, ``b`` or ``both``.
            out: uint8, H x W x 3 or H x W x 4, to write into and return; None: a new H x W x 3.
        """
        code, place = code_of("slot", use, USES), real_number("tau", tau)
        if not 0 <= place <= 1:
            raise UsageError(f"tau must be 0 to 1, not {place}")
        target = self._output(out)
        # An output that overlaps the frame would be written before the frame is read.
        if isinstance(original, np.ndarray) and np.may_share_memory(target, original):
            original = original.copy()
        self._send("render", code, place, original=(original, True), out=(target, False))
        return target

    def upscale(
        self,
        painted: Bytes,
        original: Bytes,
        out: Bytes | None = None,
        *,
        shrunk: Bytes | None = None,
    ) -> Bytes:
        """Enlarge a painting to the core's size along the edges of its full-size original.

        Args:
            painted: uint8, h x w x 3 or h x w x 4, at most the core's size.
            original: The full-size picture that was shrunk and painted.
            out: As in :meth:`render`.
            shrunk: The original at the painting's size, made by
                :func:`~edgesdk.video.downscale.shrunk_picture`; saves time, changes no result.
        """
        small = checked_picture("painted", painted, None, grey=False)
        low = (small.shape[1], small.shape[0])
        if low[0] > self.size[0] or low[1] > self.size[1]:
            raise UsageError(f"painted is larger than {self.size[0]} x {self.size[1]}")
        target = self._output(out)
        given = [small, checked_picture("original", original, self.size, grey=True)]
        if shrunk is not None:
            given.append(checked_picture("shrunk", shrunk, low, grey=False))
        # Copy inputs that share the output's memory, which is written before they are read.
        given = [
            np.array(one, order="C") if np.may_share_memory(target, one) else with_plain_rows(one)
            for one in given
        ]
        views: list[Any] = [ctypes.byref(image_view(one)) for one in given]
        views += [None] * (shrunk is None)
        self._call("upscale", *views, ctypes.byref(image_view(target)))
        return target

    def allocations(self) -> int:
        """Return the number of allocations of the native library since it was loaded, all cores."""
        return int(self._library.edgesdk_allocation_count())


def _planes(arrays: Sequence[NDArray[Any]]) -> list[int]:
    """Return address and bytes from row to row of each array, as the core takes them."""
    return [number for array in arrays for number in (array.ctypes.data, array.strides[0])]
