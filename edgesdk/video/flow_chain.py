"""Flow to a distant key frame, joined from flows between neighbouring frames.

Flow estimated directly between distant frames is off by a little, each time differently, so that
paint carried along it trembles. Flow between neighbours is small and accurate; joined, it leads to
the key frame without trembling. Correcting the sum against the key frame brings the trembling back,
and was less accurate over 16 frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesdk.video.core import VideoCore

__all__ = ["OCCLUSION_OFFSET", "Flow", "FlowChain", "joined"]

#: Largest forward-backward error of a chain, squared, in pixels of the flow size: eight times that
#: of a single flow, because every joint adds an error.
OCCLUSION_OFFSET = 4.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Flow from a frame to another and back, float32, H x W x 2, in pixels of the flow size.

    Attributes:
        to_key: Flow from the frame to the other, usually a key frame.
        from_key: Flow from the other to the frame.
        validity: Result of :meth:`~edgesdk.video.core.VideoCore.validity` of a core with
            :data:`OCCLUSION_OFFSET`; None if not computed.
    """

    to_key: NDArray[np.float32]
    from_key: NDArray[np.float32]
    validity: tuple[NDArray[np.bool_], NDArray[np.uint8]] | None = None

    @property
    def reversed(self) -> Flow:
        """The flow with the two frames swapped."""
        return Flow(self.from_key, self.to_key)


def joined(core: VideoCore, step: Flow, before: Flow) -> Flow:
    """Return the flow from a frame to a key frame, by way of a neighbouring frame.

    Args:
        core: Core that joins the flows; its frames do not matter.
        step: Flow from the frame to its neighbour.
        before: Flow from the neighbour to the key frame.
    """
    return Flow(
        core.join_flows(step.to_key, before.to_key), core.join_flows(before.from_key, step.from_key)
    )


class FlowChain:
    """Flow from one frame after the other to the key frame in a slot of a core.

    Args:
        core: The core. The caller sets its key frame, and its frame before every :meth:`extend`.
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
        """Compute the flow from the core's frame to the key frame, and set it in the core.

        Args:
            step: Flow to the frame before it in the chain, at first the key frame.
        """
        core, before = self._core, self._flow
        self._flow = step if before is None else joined(core, step, before)
        core.set_flow(self._slot, self._flow.to_key, self._flow.from_key)
        return self._flow
