"""Frames between two painted key frames, and key frames that mix old paint and new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import UsageError
from edgesdk.video.interpolator import Interpolator

pytestmark = pytest.mark.usefixtures("native_library")

Make = Callable[..., Any]
Picture = np.ndarray


def test_interpolator_between_equal_paintings_is_exact(texture: Make) -> None:
    frame, painting = texture(64, 48), texture(64, 48, 5)
    with Interpolator(64, 48, threads=1) as interpolator:
        interpolator.key(frame, painting)
        interpolator.next_key(frame, painting)
        assert np.array_equal(interpolator.between(frame, 0.3), painting)
        interpolator.advance()
        assert np.array_equal(interpolator.after(frame), painting)
        with pytest.raises(UsageError):
            interpolator.between(frame, 0.5)
        with pytest.raises(UsageError, match="share"):
            interpolator.renewed(frame, painting, 0)


def test_renewed_painting_is_new_where_the_old_one_does_not_fit(texture: Make) -> None:
    frame = texture(64, 48)
    changed = frame.copy()
    changed[:, 32:] = 255 - changed[:, 32:]
    old, new = np.full_like(frame, 50), np.full_like(frame, 200)
    with Interpolator(64, 48, threads=1) as interpolator:
        interpolator.key(frame, old)
        mixed = interpolator.renewed(changed, new, 0.1)
    assert mixed[:, 4:24].mean() == pytest.approx(65, abs=4)
    assert mixed[:, 44:60].mean() > 140
