"""Colour transfer matches the statistics of the style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgesdk.errors import MediaError, UnknownNameError, UsageError
from edgesdk.video.colour_transfer import METHODS, _to_lab, colour_painter, reinhard, wct

Make = Callable[..., Any]


def noisy(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    """Correlated colours well inside 0..255."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(3, 3)) * 12
    values = random.normal(size=(height, width, 3)) @ mix + random.integers(90, 160, 3)
    return np.clip(values, 0, 255).astype(np.uint8)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = values.reshape(-1, 3).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    return flat.mean(axis=0), centred.T @ centred / len(flat)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_wct_gives_the_style_s_mean_and_covariance(first: int, second: int) -> None:
    picture, style = noisy(first), noisy(second, 23, 31)
    mean, covariance = moments(wct(picture, style))
    wanted_mean, wanted = moments(style / 255)
    assert mean == pytest.approx(wanted_mean, abs=1e-4)
    assert covariance == pytest.approx(wanted, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_reinhard_gives_the_style_s_mean_and_deviation(first: int, second: int) -> None:
    picture, style = noisy(first), noisy(second, 23, 31)
    moved = _to_lab(reinhard(picture, style).reshape(-1, 3))
    wanted = _to_lab(style.reshape(-1, 3).astype(np.float32) / 255)
    # The logarithm is cut off in the dark, which a stretched picture may reach.
    if (reinhard(picture, style) > 0.02).all():
        assert moved.mean(axis=0) == pytest.approx(wanted.mean(axis=0), abs=2e-3)
        assert moved.std(axis=0) == pytest.approx(wanted.std(axis=0), abs=2e-3)


@pytest.mark.parametrize("transfer", [reinhard, wct])
def test_a_picture_in_its_own_style_is_itself(transfer: Make) -> None:
    picture = noisy(1)
    assert np.abs(transfer(picture, picture) * 255 - picture).max() < 0.6


def test_wct_of_two_levels_by_hand() -> None:
    # The picture's values are 0.4 and 0.6 in red alone, the style's 0.2 and 0.8: mean 0.5 on both
    # sides, deviation 0.1 against 0.3. So 0.4 becomes 0.2 and 0.6 becomes 0.8.
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, :, 0], picture[1, :, 0] = 102, 153
    style = np.zeros((2, 2, 3), np.uint8)
    style[0, :, 0], style[1, :, 0] = 51, 204
    moved = wct(picture, style)
    assert moved[0, 0] == pytest.approx((0.2, 0, 0), abs=1e-5)
    assert moved[1, 1] == pytest.approx((0.8, 0, 0), abs=1e-5)


@pytest.mark.parametrize("transfer", [reinhard, wct])
def test_pictures_without_variation_are_no_trouble(transfer: Make) -> None:
    flat = np.full((4, 4, 3), 80, np.uint8)
    for picture, style in ((flat, noisy(2)), (noisy(2), flat), (flat * 0, flat), (flat, flat * 0)):
        assert np.isfinite(transfer(picture, style)).all()
    assert wct(flat, noisy(3)).reshape(-1, 3)[0] == pytest.approx(
        noisy(3).reshape(-1, 3).mean(axis=0) / 255, abs=1e-5
    )


@pytest.mark.parametrize("method", METHODS)
def test_painter_reads_a_style_from_a_file(tmp_path: Path, method: str) -> None:
    style, picture = noisy(4), noisy(5)
    Image.fromarray(style).save(tmp_path / "style.png")
    painted = colour_painter(tmp_path / "style.png", method=method)(picture)
    assert painted.dtype == np.uint8 and painted.shape == picture.shape
    assert np.array_equal(painted, colour_painter(style, method=method)(picture))
    assert np.abs(painted.mean(axis=(0, 1)) - style.mean(axis=(0, 1))).max() < 6


def test_bad_styles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        colour_painter(noisy(1), method="reinhart")
    with pytest.raises(MediaError, match="cannot be read"):
        colour_painter(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(MediaError, match="cannot be read"):
        colour_painter(tmp_path / "text.png")
    for bad in (noisy(1)[..., 0], noisy(1).astype(float), np.zeros((0, 3, 3), np.uint8)):
        with pytest.raises(UsageError):
            colour_painter(bad)
        with pytest.raises(UsageError):
            wct(noisy(1), bad)
