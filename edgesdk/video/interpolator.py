"""Paint the frames between two painted key frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.core import VideoCore
from edgesdk.video.flow_chain import OCCLUSION_OFFSET, Flow, joined

__all__ = ["Interpolator"]

Picture = NDArray[np.uint8]


class Interpolator(Closing):
    """Paints frames from the key frame before them, or from the key frames on both sides.

    Offline::

        interpolator.key(first, first_painted)
        interpolator.next_key(last, last_painted)
        picture = interpolator.between(frame, 0.5)
        interpolator.advance()                      # last is now the key frame before

    Streaming::

        interpolator.key(first, first_painted)
        picture = interpolator.after(frame)

    Pictures are uint8, H x W x 3, RGB. An original that is only compared may be given at flow size
    (:meth:`~edgesdk.video.core.VideoCore.small_frame`). Flow is estimated on the originals, unless
    the caller passes it: flow joined from neighbouring frames is steadier than flow from one frame
    alone. Calls must not overlap in time.

    Args:
        width, height: Size of every frame, pixels.
        threads, quality, flow_size: As for :class:`~edgesdk.video.core.VideoCore`.

    Raises:
        EdgeSdkError: As :class:`~edgesdk.video.core.VideoCore` does.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        threads: int = 0,
        quality: str = "fast",
        flow_size: tuple[int, int] | None = None,
    ) -> None:
        self._core = VideoCore(
            width,
            height,
            threads=threads,
            quality=quality,
            flow_size=flow_size,
            occlusion_offset=OCCLUSION_OFFSET,
        )
        still = np.zeros((*self._core.flow_size[::-1], 2), np.float32)
        self._still = Flow(still, still)

    @property
    def flow_size(self) -> tuple[int, int]:
        """Width and height of the flow."""
        return self._core.flow_size

    def key(self, original: Picture, painted: Picture) -> None:
        """Set the key frame before and drop the one after. The original is only compared."""
        self.next_key(original, painted)
        self.advance()

    def next_key(self, original: Picture, painted: Picture) -> None:
        """Set the key frame after. The original is only compared."""
        self._core.set_key("b", original)
        self._core.set_painted("b", painted)

    def advance(self) -> None:
        """Make the key frame after the key frame before."""
        self._core.promote()

    def enlarge(
        self,
        painted: Picture,
        original: Picture,
        out: Picture | None = None,
        shrunk: Picture | None = None,
    ) -> Picture:
        """Enlarge the painting of a scaled-down key frame along the key frame's edges.

        Arguments as for :meth:`~edgesdk.video.core.VideoCore.upscale`.
        """
        return self._core.upscale(painted, original, out, shrunk=shrunk)

    def _find(self, flow: Flow | None) -> None:
        if flow is None:
            self._core.estimate("a")
        else:
            self._core.set_flow("a", flow.to_key, flow.from_key)
            if flow.validity is not None:
                self._core.set_validity("a", *flow.validity)

    def onward_flows(self, steps: Sequence[Flow]) -> list[Flow]:
        """Return the flow from each frame to the key frame after them.

        Args:
            steps: Flow from each frame to the next, in order; the last leads to the key frame.
        """
        flows: list[Flow] = []
        for step in reversed(steps):
            flows.append(joined(self._core, step, flows[-1]) if flows else step)
        return flows[::-1]

    def prepare(
        self, original: Picture, flow: Flow | None = None, onward: Flow | None = None
    ) -> None:
        """Do the work on a frame that does not need a painting, so that :meth:`paint` is quick.

        Args:
            original: The frame; it is only compared.
            flow: Flow to the key frame before and back; None: estimate it.
            onward: Flow to the key frame after and back, for a frame painted from both.
        """
        self._core.set_frame(original)
        self._find(flow)
        if onward is not None:
            self._core.set_flow("b", onward.to_key, onward.from_key)

    def paint(self, original: Picture, tau: float | None, out: Picture | None = None) -> Picture:
        """Paint the prepared frame from both key frames at ``tau``; None: from the one before."""
        if tau is None:
            return self._core.render(original, use="a", out=out)
        return self._core.render(original, tau, use="both", out=out)

    def between(self, original: Picture, tau: float, out: Picture | None = None) -> Picture:
        """Paint a frame from both key frames, along flow estimated for it alone.

        Args:
            original: The frame.
            tau: Position in time between the key frames, 0..1.
            out: Array to write into.

        Raises:
            UsageError: A key frame is not set, or an argument is wrong.
        """
        self._core.set_frame(original)
        self._core.estimate("both")
        return self.paint(original, tau, out)

    def after(
        self, original: Picture, flow: Flow | None = None, out: Picture | None = None
    ) -> Picture:
        """Paint a frame from the key frame before alone.

        Args:
            original: The frame.
            flow: Flow to the key frame before; None: estimate it.
            out: Array to write into.
        """
        self.prepare(original, flow)
        return self.paint(original, None, out)

    def renewed(
        self,
        original: Picture,
        painted: Picture,
        share: float,
        flow: Flow | None = None,
        out: Picture | None = None,
    ) -> Picture:
        """Mix a key frame's own painting with the paint carried to it from the key frame before.

        A network paints the same thing a little differently each time: unmixed, the video would
        pulsate. The new painting weighs more in pixels that the key frame before shows differently.

        Args:
            original: The new key frame. It becomes the key frame after, still to be painted.
            painted: Its painting.
            share: Share of the new painting where the carried paint fits perfectly, over 0 to 1.
            flow: Flow to the key frame before; None: estimate it.
            out: Array to write into.

        Raises:
            UsageError: An argument is wrong.
        """
        if not 0 < share <= 1:
            raise UsageError(f"the new painting's share must be above 0 and up to 1, not {share}")
        self._core.set_frame(original)
        self._core.set_key_from_frame("b")
        self._core.set_painted("b", painted)
        self._find(flow)
        self._core.set_flow("b", self._still.to_key, self._still.from_key)
        return self.paint(original, share, out)

    def close(self) -> None:
        """Free memory and threads."""
        self._core.close()
