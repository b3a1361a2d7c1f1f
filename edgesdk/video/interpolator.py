"""Two painted key frames and what lies between them."""

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
    """Paints frames from the key frame before them, or from those on either side.

    Offline::

        interpolator.key(first, first_painted)
        interpolator.next_key(last, last_painted)
        picture = interpolator.between(frame, 0.5)
        interpolator.advance()                      # last is now the key frame before

    Streaming::

        interpolator.key(first, first_painted)
        picture = interpolator.after(frame)

    Pictures are uint8, H x W x 3, RGB. Where an original is only compared, it may be given at the
    flow size (:meth:`~edgesdk.video.core.VideoCore.small_frame`). Flow is estimated on the
    originals, unless the caller has it already: flow of frame to frame, joined, is steadier than
    what one frame alone gives. Not safe for calls from several threads at a time.

    Args:
        width: Of every frame, pixels.
        height: Likewise.
        threads: As for :class:`~edgesdk.video.core.VideoCore`; likewise the next two.
        quality: Of the flow.
        flow_size: Of the flow.

    Raises:
        UsageError: As :class:`~edgesdk.video.core.VideoCore` does.
        MissingEnvironmentError: Likewise.
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
        still = np.zeros((self._core.flow_size[1], self._core.flow_size[0], 2), np.float32)
        self._still = Flow(still, still)

    @property
    def flow_size(self) -> tuple[int, int]:
        """Width and height of the flow."""
        return self._core.flow_size

    def key(self, original: Picture, painted: Picture) -> None:
        """Set the key frame before; one after it is forgotten. The original is compared only."""
        self._core.set_key("b", original)
        self._core.set_painted("b", painted)
        self._core.promote()

    def next_key(self, original: Picture, painted: Picture) -> None:
        """Set the key frame after. The original is compared only."""
        self._core.set_key("b", original)
        self._core.set_painted("b", painted)

    def advance(self) -> None:
        """The key frame after is now the key frame before."""
        self._core.promote()

    def enlarge(
        self,
        painted: Picture,
        original: Picture,
        out: Picture | None = None,
        shrunk: Picture | None = None,
    ) -> Picture:
        """Bring the painting of a scaled-down key frame to full size, along the edges of it.

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
        """The flow of frames to the key frame after them.

        Args:
            steps: Of every frame to the next one and back, in order; that of the last leads to the
                key frame.

        Returns:
            One flow to the key frame and back for every step.
        """
        flows: list[Flow] = []
        for step in reversed(steps):
            flows.append(joined(self._core, step, flows[-1]) if flows else step)
        return flows[::-1]

    def prepare(
        self, original: Picture, flow: Flow | None = None, onward: Flow | None = None
    ) -> None:
        """Do for a frame what needs no painting; :meth:`paint` is then quick.

        Args:
            original: The frame; it is compared only.
            flow: To the key frame before and back, where it is known.
            onward: To the key frame after and back, for a frame that is painted from both.
        """
        self._core.set_frame(original)
        self._find(flow)
        if onward is not None:
            self._core.set_flow("b", onward.to_key, onward.from_key)

    def paint(self, original: Picture, tau: float | None, out: Picture | None = None) -> Picture:
        """Paint the frame that was prepared: from both key frames at ``tau``, or, at None, from
        the one before alone.
        """
        if tau is None:
            return self._core.render(original, use="a", out=out)
        return self._core.render(original, tau, use="both", out=out)

    def between(self, original: Picture, tau: float, out: Picture | None = None) -> Picture:
        """Paint a frame from both key frames, along flow found for it alone.

        Args:
            original: The frame.
            tau: Its place in time between the key frames, 0..1.
            out: To write into.

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
            flow: To the key frame before, where it is known.
            out: To write into.
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
        """Mix a key frame's own painting with the paint that its predecessor carries to it.

        A network paints the same thing anew a little differently each time; shown as they are, the
        key frames' paintings would pulsate. Where the key frame before does not show a pixel, or
        shows another colour there, the new painting counts the more.

        Args:
            original: The new key frame. It becomes the key frame after, still to be painted.
            painted: What the painter made of it.
            share: Of the new painting where the carried paint fits perfectly, over 0 and up to 1.
            flow: To the key frame before, where it is known.
            out: To write into.

        Raises:
            UsageError: An argument is wrong.
        """
        if not 0 < share <= 1:
            raise UsageError(f"the new painting's share must be over 0 and up to 1, not {share}")
        core = self._core
        core.set_frame(original)
        core.set_key_from_frame("b")
        core.set_painted("b", painted)
        self._find(flow)
        core.set_flow("b", self._still.to_key, self._still.from_key)
        return core.render(original, share, use="both", out=out)

    def close(self) -> None:
        """Free memory and threads."""
        self._core.close()
