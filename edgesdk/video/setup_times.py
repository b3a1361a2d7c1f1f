"""Time spent before the first frame: building and loading the core, loading networks, warming up.

None of it belongs to a video, so that it is measured apart from the run and from ``--compare``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesdk.video.abi import native
from edgesdk.video.frames import Enlarger, Painter
from edgesdk.video.library import library_path
from edgesdk.video.painter_worker import painter_size
from edgesdk.video.timing import timed

__all__ = ["SetupTimes", "prepare_core", "warm_up"]


@dataclass(slots=True)
class SetupTimes:
    """Seconds spent before the first frame.

    Attributes:
        build_seconds: Compiling the native core; next to nothing where it is built already.
        load_seconds: Loading the native core and the networks.
        warm_up_seconds: First calls of the networks; 0 without a comparison.
    """

    build_seconds: float = 0.0
    load_seconds: float = 0.0
    warm_up_seconds: float = 0.0

    def __str__(self) -> str:
        """Return e.g. ``building the core 41.0 s and loading 1.2 s``."""
        parts = [f"loading {self.load_seconds:.1f} s"]
        # To find a core that is built takes milliseconds: nothing was compiled.
        if self.build_seconds > 1:
            parts.insert(0, f"building the core {self.build_seconds:.1f} s")
        if self.warm_up_seconds >= 0.05:
            parts.append(f"warm-up {self.warm_up_seconds:.1f} s")
        return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]


def prepare_core(times: SetupTimes) -> None:
    """Build the native core if there is none yet, and load it.

    Raises:
        MissingEnvironmentError: It cannot be built or loaded.
    """
    # A process that has loaded the core does not look for it again.
    if not native.cache_info().currsize:
        with timed(times, "build_seconds"):
            library_path()
    with timed(times, "load_seconds"):
        native()


def warm_up(
    times: SetupTimes,
    painter: Painter,
    size: tuple[int, int],
    max_size: int | None,
    enlarge: Enlarger | None,
) -> None:
    """Call the networks once with a grey picture: runtimes allocate and tune at the first call.

    Args:
        times: Receives the time it takes.
        painter: The stylizer.
        size: Width and height of the frames.
        max_size: Longest side the painter is shown, pixels; None: full size.
        enlarge: Network that enlarges the paintings, if one does.
    """
    width, height = painter_size(*size, max_size)
    with timed(times, "warm_up_seconds"):
        try:
            answer = painter(np.full((height, width, 3), 128, np.uint8))
            if enlarge is not None and (width, height) != size:
                enlarge(answer, np.full((size[1], size[0], 3), 128, np.uint8))
        # A painter is the user's own code. One that fails here fails on its first key frame too,
        # where the failure is recorded.
        except Exception:  # noqa: BLE001
            pass
