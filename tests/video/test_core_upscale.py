"""Enlarging a painting along the edges of its original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesdk.errors import UsageError
from edgesdk.video.downscale import shrunk_picture

pytestmark = pytest.mark.usefixtures("native_library")

Make = Callable[..., Any]
W, H = 240, 160


def shrunk(picture: np.ndarray, factor: int) -> np.ndarray:
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    parts = picture.reshape(height, factor, width, factor, 3).astype(float)
    return parts.mean((1, 3)).round().astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def bicubic(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((W, H), Image.Resampling.BICUBIC))


def photograph(texture: Make) -> np.ndarray:
    """Edges on top of texture."""
    picture = texture(W, H).astype(int)
    y, x = np.mgrid[:H, :W]
    picture[(x - 80) ** 2 + (y - 70) ** 2 < 40**2] += 70
    picture[(x // 17 + y // 23) % 5 == 0] -= 50
    return np.clip(picture, 0, 255).astype(np.uint8)


PAINTINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "itself": lambda p: p,
    "negative": lambda p: 255 - p,
    "gamma": lambda p: (255 * (p / 255.0) ** 0.6).astype(np.uint8),
    "posterised": lambda p: (p // 64 * 64 + 32).astype(np.uint8),
    "mixed channels": lambda p: p[..., [2, 0, 1]] // 2 + 40,
}


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("name", sorted(PAINTINGS))
def test_no_worse_than_bicubic(make_core: Make, texture: Make, name: str, factor: int) -> None:
    original = photograph(texture)
    full = PAINTINGS[name](original)
    low = shrunk(full, factor)
    out = make_core(W, H).upscale(low, original)
    gain = psnr(out, full) - psnr(bicubic(low), full)
    assert gain > 0
    if name in ("itself", "negative"):
        assert gain > 5


def test_a_painting_that_ignores_the_original_is_interpolated(
    make_core: Make, texture: Make
) -> None:
    original, full = photograph(texture), texture(W, H, 9)
    low = shrunk(full, 4)
    assert psnr(make_core(W, H).upscale(low, original), full) > psnr(bicubic(low), full) - 0.5


def test_full_size_is_the_identity_and_flat_stays_flat(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    original = photograph(texture)
    painting = 255 - texture(W, H, 3)
    assert np.array_equal(core.upscale(painting, original), painting)
    flat = np.full((5, 3, 3), 131, np.uint8)
    assert (core.upscale(flat, original) == 131).all()


def test_sizes_may_change_and_alpha_is_carried(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    original = photograph(texture)
    for size in ((7, 9), (120, 80), (1, 1), (W, H), (7, 9)):
        low = np.dstack([texture(*size), np.full(size[::-1], 60, np.uint8)])
        out = np.zeros((H, W, 4), np.uint8)
        core.upscale(low, original, out)
        assert (out[..., 3] == 60).all()


def test_a_shrunk_original_changes_nothing(make_core: Make, texture: Make) -> None:
    core, original = make_core(W, H), photograph(texture)
    for size in ((100, 70), (60, 40), (W, H)):
        low = 255 - shrunk_picture(original, *size)
        given = core.upscale(low, original, shrunk=shrunk_picture(original, *size))
        assert np.array_equal(given, core.upscale(low, original))
    with pytest.raises(UsageError, match="shrunk is 60 x 40"):
        core.upscale(low, original, shrunk=original[:40, :60])


def test_every_shrunk_pixel_is_the_mean_of_what_it_covers(texture: Make) -> None:
    picture = texture(W, H)
    parts = picture.reshape(H // 4, 4, W // 4, 4, 3).astype(float).mean((1, 3))
    assert abs(shrunk_picture(picture, W // 4, H // 4) - parts).max() <= 1
    assert np.array_equal(shrunk_picture(picture, W, H), picture)
    # Five pixels on two: the middle one is shared.
    row = np.array([[0, 100, 200, 50, 250]], np.uint8)
    assert shrunk_picture(row, 2, 1)[0].tolist() == [[80, 80, 80], [160, 160, 160]]
    alpha = np.dstack([picture, np.zeros((H, W), np.uint8)])
    assert np.array_equal(shrunk_picture(alpha, 100, 70), shrunk_picture(picture, 100, 70))


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (W + 1, 5), (5, H + 1)])
def test_impossible_sizes_are_refused(texture: Make, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="cannot be shrunk"):
        shrunk_picture(texture(W, H), *size)
    with pytest.raises(UsageError, match="uint8"):
        shrunk_picture(np.zeros((4, 4, 3), np.float32), 2, 2)
