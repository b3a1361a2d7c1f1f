"""Key frames: the rule that chooses them, and the search for them in a running video."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.checks import number_between, whole_number
from edgesdk.video.core import VideoCore
from edgesdk.video.flow_chain import OCCLUSION_OFFSET, Flow, FlowChain

__all__ = ["Judgement", "KeyframeFinder", "KeyframePolicy"]

_LONGEST = 1000


@dataclass(frozen=True)
class KeyframePolicy:
    """Rule for key frames. Causal: it looks at a frame and the last key frame alone.

    A cut always begins a new key frame. The other thresholds hold for ``every=None``.

    Attributes:
        every: Distance of key frames, 1..1000 frames; None: look at the pictures.
        cut_correlation: Lowest correlation of the colour histograms of a frame and the last key
            frame that is not a cut, -1..1.
        occluded_fraction: Largest share of a frame that the last key frame need not show, 0..1.
        mean_residual: Largest mean difference from the last key frame along the flow, 0..1.
        longest_interval: Most frames from one key frame to the next, 1..1000. Frames wait in memory
            for the key frame that follows them, so that the engine's memory grows with it.

    Raises:
        UsageError: A value is out of its range.
    """

    every: int | None = None
    cut_correlation: float = 0.6
    occluded_fraction: float = 0.35
    mean_residual: float = 10 / 255
    longest_interval: int = 16

    def __post_init__(self) -> None:
        if self.every is not None:
            whole_number("every", self.every, 1, _LONGEST)
        whole_number("longest_interval", self.longest_interval, 1, _LONGEST)
        for name, low in (("cut_correlation", -1), ("occluded_fraction", 0), ("mean_residual", 0)):
            number_between(name, getattr(self, name), low, 1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``auto`` or a number of frames.

        Raises:
            UsageError: The text is neither.
        """
        if text.strip().lower() == "auto":
            return cls()
        if re.fullmatch(r"\s*[0-9]{1,5}\s*", text):
            return cls(every=int(text))
        raise UsageError(
            f"key frames are 'auto' or a number of frames, not {text!r}",
            remedy="write auto, or 10 for a key frame every 10 frames",
        )

    @property
    def interval(self) -> int:
        """Maximum number of frames from one key frame to the next."""
        return self.longest_interval if self.every is None else self.every

    def settings(self) -> Mapping[str, Any]:
        """Return the rule as settings of a :class:`~edgesdk.video.core.VideoCore`."""
        return {
            "cut_correlation": self.cut_correlation,
            "occluded_fraction": self.occluded_fraction,
            "mean_residual": self.mean_residual,
            "longest_interval": self.interval,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """Decision about a frame.

    Attributes:
        reasons: Some of ``cut``, ``occluded``, ``residual``, ``interval``; empty for other frames.
        step: Flow to the frame before and back.
        flow: Flow to the last key frame and back.
        small: The frame at flow size, uint8, RGBA.
    """

    reasons: tuple[str, ...]
    step: Flow
    flow: Flow
    small: NDArray[np.uint8]


class KeyframeFinder(Closing):
    """Walks through a video and finds its key frames.

    Args:
        width, height: Size of every frame, pixels.
        policy: The rule.
        threads, quality, flow_size: As for :class:`~edgesdk.video.core.VideoCore`.

    Raises:
        EdgeSdkError: As :class:`~edgesdk.video.core.VideoCore` does.
    """

    def __init__(
        self,
        width: int,
        height: int,
        policy: KeyframePolicy,
        *,
        threads: int = 0,
        quality: str = "balanced",
        flow_size: tuple[int, int] | None = None,
    ) -> None:
        self._policy = policy
        self._distance = 0
        self._core = VideoCore(
            width,
            height,
            threads=threads,
            quality=quality,
            flow_size=flow_size,
            occlusion_offset=OCCLUSION_OFFSET,
            **policy.settings(),
        )
        # Slot a holds the last key frame, slot b the frame before.
        self._chain = FlowChain(self._core, "a")

    def begin(self, original: NDArray[np.uint8]) -> None:
        """Make a frame, such as the first of a video, the last key frame without judging it."""
        self._core.set_key("a", original)
        self._core.set_key("b", original)
        self._chain.restart()
        self._distance = 0

    def judge(self, original: NDArray[np.uint8]) -> Judgement:
        """Judge the next frame. If it is a key frame, later frames are judged against it."""
        self._distance += 1
        core = self._core
        core.set_frame(original)
        core.estimate("b")
        step = Flow(core.flow("b", "to_key"), core.flow("b", "from_key"))
        flow = self._chain.extend(step)
        if self._policy.every is None:
            reasons = core.measure(self._distance).reasons
            flow = replace(flow, validity=core.validity("a"))
        else:
            cut = core.correlation("a") < self._policy.cut_correlation
            due = self._distance >= self._policy.every
            reasons = ("cut",) * cut + ("interval",) * due
        if reasons:
            core.set_key_from_frame("a")
            self._chain.restart()
            self._distance = 0
        core.set_key_from_frame("b")
        return Judgement(reasons, step, flow, core.small_frame())

    def close(self) -> None:
        """Free memory and threads."""
        self._core.close()
