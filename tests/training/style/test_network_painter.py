"""A multi-style network as a painter: any size, and the chosen style."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesdk import models
from edgesdk.training.style.network_painter import network_painter


@pytest.mark.parametrize("size", [(40, 48), (41, 47), (33, 64)])
def test_paints_pictures_of_any_size(size: tuple[int, int]) -> None:
    network = models.create("multi_style").eval()
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    before = picture.copy()
    first, second = (network_painter(network, torch.eye(12)[n])(picture) for n in (0, 3))
    assert first.shape == picture.shape and first.dtype == np.uint8
    assert np.array_equal(picture, before) and not np.array_equal(first, second)
    if size == (40, 48):
        given = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            wanted = 255 * network(given, torch.eye(12)[3][None, :, None, None])[0]
        assert np.abs(second - wanted.permute(1, 2, 0).numpy()).max() <= 0.51
