"""Metrics on cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import UsageError
from edgesdk.video import metrics
from edgesdk.video.metrics import (
    Flicker,
    Likeness,
    WarpError,
    flicker,
    luma,
    psnr,
    ssim,
    warp_error,
)

pytestmark = pytest.mark.usefixtures("native_library")

Make = Callable[..., Any]


def grey(level: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_a_still_video_has_no_warp_error(texture: Make) -> None:
    frame = texture(64, 48)
    found = warp_error([frame] * 3, [frame] * 3)
    assert (found.mean_square, found.root, found.pairs, found.visible) == (0, 0, 2, 1)


def test_a_step_of_brightness_is_its_square(texture: Make) -> None:
    # Everything is visible, so each pair's mean squared difference is (k / 255)^2: 10, then 20.
    frame = texture(64, 48)
    found = warp_error([frame] * 3, [grey(100, 48, 64), grey(110, 48, 64), grey(90, 48, 64)])
    assert found.mean_square == pytest.approx((100 + 400) / 2 / 255**2)
    assert found.root == pytest.approx(math.sqrt(250))


def test_one_channel_counts_a_third(texture: Make) -> None:
    red = grey(100, 48, 64)
    red[..., 0] += 30
    found = warp_error([texture(64, 48)] * 2, [grey(100, 48, 64), red])
    assert found.mean_square == pytest.approx(900 / 3 / 255**2)


def test_output_that_moves_with_the_video_has_no_warp_error(texture: Make) -> None:
    wide = texture(120, 64, seed=3)
    originals = [wide[:, 20 - 3 * t :][:, :96].copy() for t in range(3)]
    painted = [255 - frame for frame in originals]
    swimming = [255 - originals[0]] * 3
    moving, still = warp_error(originals, painted), warp_error(originals, swimming)
    # Three columns have no partner; flow is not exactly three pixels everywhere.
    assert 0.85 < moving.visible < 1
    assert moving.root < 1.5
    assert still.root > 5 * moving.root


def test_what_is_hidden_does_not_count(texture: Make) -> None:
    wide = texture(120, 64, seed=4)
    originals = [wide[:, 20 - 6 * t :][:, :96].copy() for t in range(2)]
    painted = [frame.copy() for frame in originals]
    # The frame's last columns leave the picture, so a change there is nobody's error.
    painted[0][:, -4:] ^= 255
    assert warp_error(originals, painted).root < 1.5


def test_videos_share_the_flow_of_their_originals(texture: Make) -> None:
    frame = texture(64, 48)
    with WarpError(64, 48, 2) as meter:
        assert math.isnan(meter.results()[0].mean_square)
        for level in (50, 60):
            meter.add(frame, frame, grey(level, 48, 64))
        first, second = meter.results()
    assert first.mean_square == 0
    assert second.mean_square == pytest.approx(100 / 255**2)


def test_a_cut_is_no_pair(texture: Make) -> None:
    with WarpError(64, 48) as meter:
        for frame in (grey(0, 48, 64), grey(0, 48, 64)):
            meter.add(frame, frame)
        assert meter.results()[0].pairs == 1


def test_flicker_of_alternating_brightness_is_its_height() -> None:
    assert flicker([grey(100), grey(108)] * 3) == pytest.approx(8)


def test_a_fade_does_not_flicker() -> None:
    assert flicker([grey(10 * t) for t in range(6)]) == pytest.approx(0, abs=1e-4)


def test_flicker_of_a_single_flash() -> None:
    # Brightness 0 0 9 0 0: second differences 9, -18, 9, halved and averaged: 18 / 3.
    assert flicker([grey(level) for level in (0, 0, 9, 0, 0)]) == pytest.approx(6)


def test_flicker_is_of_blocks() -> None:
    # A chequered pattern that swaps has the same blocks' means.
    pattern = (np.indices((32, 32)).sum(axis=0) % 2 * 100).astype(np.uint8)
    swapped = [np.repeat((pattern if t % 2 else 100 - pattern)[..., None], 3, 2) for t in range(5)]
    assert flicker(swapped) == pytest.approx(0, abs=1e-4)


def test_flicker_of_a_part_counts_by_its_share() -> None:
    half = [grey(100) for _ in range(4)]
    for t in (1, 3):
        half[t][:16] += 8
    assert flicker(half) == pytest.approx(4)


def test_flicker_needs_three_frames() -> None:
    assert math.isnan(flicker([grey(1), grey(2)]))


def test_luma_weighs_channels() -> None:
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 100
    assert luma(red)[0, 0] == pytest.approx(21.26)
    assert luma(grey(200))[0, 0] == pytest.approx(200, abs=1e-3)


def test_psnr_of_one_level() -> None:
    assert psnr(grey(100), grey(101)) == pytest.approx(20 * math.log10(255))
    assert psnr(grey(100), grey(100)) == math.inf


def test_ssim_of_constants() -> None:
    # Without variance only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1).
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(grey(100), grey(120)) == pytest.approx(expected, abs=1e-4)
    assert ssim(grey(100), grey(100)) == pytest.approx(1)


def test_ssim_falls_with_noise(texture: Make) -> None:
    frame = texture(64, 48)
    noise = np.random.default_rng(0).integers(-20, 21, frame.shape)
    noisy = np.clip(frame + noise, 0, 255).astype(np.uint8)
    assert 0.1 < ssim(frame, noisy) < 0.98


def test_likeness_averages_over_frames() -> None:
    meter = Likeness()
    assert math.isnan(meter.ssim) and math.isnan(meter.psnr)
    meter.add(grey(100), grey(100))
    meter.add(grey(100), grey(102))
    # The mean squared difference over both frames is 2.
    assert meter.psnr == pytest.approx(10 * math.log10(255**2 / 2))
    assert meter.ssim == pytest.approx((1 + ssim(grey(100), grey(102))) / 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: warp_error([grey(1)] * 2, [grey(1)]),
        lambda: warp_error([grey(1)] * 2, [grey(1), grey(1, 16)]),
        lambda: warp_error([grey(1).astype(float)], [grey(1)]),
        lambda: WarpError(32, 32, 0),
        lambda: WarpError(32, 32, 2).add(grey(1), grey(1)),
        lambda: Flicker().add(grey(1)[..., 0]),
        lambda: flicker([grey(1), grey(1, 64)]),
        lambda: psnr(grey(1), grey(1, 16)),
        lambda: ssim(grey(1, 8, 8), grey(1, 8, 8)),
        lambda: ssim([1], grey(1)),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_video_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        call()


def test_a_mask_is_enlarged_to_the_nearest_places() -> None:
    valid = np.ones((6, 6), bool)
    valid[3, 3] = False
    # The neighbours of an invalid place are interpolated from it too.
    small = np.ones((6, 6), bool)
    small[2:5, 2:5] = False
    grown = metrics._full_size(valid, (12, 9))
    assert grown.shape == (9, 12)
    # Centres of 9 rows in 6: (2 i + 1) * 6 // 18; of 12 columns: (2 i + 1) * 6 // 24.
    rows, columns = [0, 1, 1, 2, 3, 3, 4, 5, 5], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert np.array_equal(grown, small[rows][:, columns])
    assert metrics._full_size(valid, (6, 6)) is valid


def test_means_of_blocks_by_hand() -> None:
    grey = np.zeros((17, 18), np.float32)
    grey[:16, :16] = 2
    grey[16, :16] = 3
    grey[:16, 16] = 4
    grey[16, 17] = 10
    # The last row and the last two columns make smaller blocks.
    assert metrics._blocks(grey).tolist() == [[2, 2], [3, 5]]
