"""Scenes with a known motion, and cores that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesdk.video.core import VideoCore

Picture = NDArray[np.uint8]
MakeCore = Callable[..., VideoCore]


@pytest.fixture
def make_core(native_library: None) -> Iterator[MakeCore]:
    """Makes cores of few threads."""
    cores: list[VideoCore] = []

    def make(width: int, height: int, **settings: Any) -> VideoCore:
        cores.append(VideoCore(width, height, **{"threads": 1, **settings}))
        return cores[-1]

    yield make
    for core in cores:
        core.close()


def _texture(width: int, height: int, seed: int = 0) -> Picture:
    """Noise of several sizes: nothing in it repeats, so a match is the right one."""
    random = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for cell, strength in ((5, 22), (11, 24), (29, 26), (67, 26)):
        cells = random.normal(size=(height // cell + 3, width // cell + 3, 3)) * strength
        y, x = np.arange(height) / cell, np.arange(width) / cell
        iy, ix = y.astype(int), x.astype(int)
        # A cubic step makes the interpolation smooth.
        fy, fx = ((t - i) ** 2 * (3 - 2 * (t - i)) for t, i in ((y, iy), (x, ix)))
        fy, fx = fy[:, None, None], fx[None, :, None]
        upper = cells[iy][:, ix] * (1 - fx) + cells[iy][:, ix + 1] * fx
        lower = cells[iy + 1][:, ix] * (1 - fx) + cells[iy + 1][:, ix + 1] * fx
        total += upper * (1 - fy) + lower * fy
    return np.clip(total, 0, 255).astype(np.uint8)


def _uniform_flow(core: VideoCore, dx: float, dy: float) -> NDArray[np.float32]:
    """The same displacement everywhere, in full-size pixels."""
    scale = (core.flow_size[0] / core.size[0], core.flow_size[1] / core.size[1])
    shape = (core.flow_size[1], core.flow_size[0], 2)
    displacement = np.array([dx * scale[0], dy * scale[1]], np.float32)
    return np.broadcast_to(displacement, shape).copy()


@pytest.fixture(scope="session")
def texture() -> Callable[..., Picture]:
    """Makes pictures with detail at several sizes."""
    return _texture


@pytest.fixture(scope="session")
def uniform_flow() -> Callable[..., NDArray[np.float32]]:
    """Makes flows that are the same everywhere, given in full-size pixels."""
    return _uniform_flow
