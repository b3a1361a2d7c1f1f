"""Flow to a key frame that is many frames away, put together from frame to frame.

Flow found directly between distant frames is off by a little, each time differently, and painting
that is carried along it trembles. The motion from one frame to the next is small and found well;
joined, such steps lead to the key frame without trembling. Correcting the sum against the key
frame itself brings the trembling back, and was further from the truth over 16 frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesdk.video.core import VideoCore

__all__ = ["OCCLUSION_OFFSET", "Flow", "FlowChain", "joined"]

#: Pixels of the flow size, squared, by which a chain and its way back may miss: eight times what
#: flow found at once is allowed, because every joint adds its own error.
OCCLUSION_OFFSET = 4.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Flow of a frame to another and back, float32, H x W x 2, at and in pixels of the flow size.

    Attributes:
        to_key: Where each pixel of the frame lies in the other, most often a key frame.
        from_key: Where each pixel of the other lies in the frame.
        validity: What :meth:`~edgesdk.video.core.VideoCore.validity` found for it, where a core
            with :data:`OCCLUSION_OFFSET` has looked.
    """

    to_key: NDArray[np.float32]
    from_key: NDArray[np.float32]
    validity: tuple[NDArray[np.bool_], NDArray[np.uint8]] | None = None

    @property
    def reversed(self) -> Flow:
        """The same two frames, seen from the other."""
        return Flow(self.from_key, self.to_key)


def joined(core: VideoCore, step: Flow, before: Flow) -> Flow:
    """The flow of a frame to a key frame, by way of the frame next to it.

    Args:
        core: Computes it; what is set in it does not matter.
        step: To the frame next to it.
        before: Of that one to the key frame.
    """
    return Flow(
        core.join_flows(step.to_key, before.to_key),
        core.join_flows(before.from_key, step.from_key),
    )


class FlowChain:
    """Flow of one frame after the other to the key frame in a slot of a core.

    Args:
        core: Its key frame is set by the caller, and its frame before every :meth:`extend`.
        slot: ``a`` or ``b``.
    """

    def __init__(self, core: VideoCore, slot: str) -> None:
        self._core = core
        self._slot = slot
        self._flow: Flow | None = None

    def restart(self) -> None:
        """Begin at a new key frame."""
        self._flow = None

    def extend(self, step: Flow) -> Flow:
        """Find the flow of the core's frame to the key frame, and set it in the core.

        Args:
            step: Of the core's frame to the frame before it in the chain; at first that is the key
                frame.
        """
        core, before = self._core, self._flow
        self._flow = step if before is None else joined(core, step, before)
        core.set_flow(self._slot, self._flow.to_key, self._flow.from_key)
        return self._flow
