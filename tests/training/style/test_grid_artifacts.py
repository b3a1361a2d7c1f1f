"""Grid artefacts are distinguished from free strokes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import UsageError
from edgesdk.training.style.grid_artifacts import grid_artifact_share


def board(period: int, side: int = 64) -> torch.Tensor:
    """A checkerboard that repeats every ``period`` pixels."""
    places = torch.arange(side) // (period // 2) % 2
    return (places[:, None] ^ places).float().expand(1, 3, side, side)


def test_a_checkerboard_is_nothing_else() -> None:
    for period in (2, 4, 8):
        assert grid_artifact_share(board(period), 8).item() > 0.97
    # Its mean cell over a grid that it does not fit is plain.
    assert grid_artifact_share(board(4, 63), 3).item() < 0.1


def test_noise_and_plain_colours_have_none() -> None:
    noise = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert grid_artifact_share(noise, 8).max() < 2 / (32 * 32)
    assert grid_artifact_share(torch.full((1, 3, 64, 64), 0.3), 8).item() == 0
    # Nor have slow changes, however they lie to the grid.
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 256, 256)
    slope = noise[:1] * 0.1 + ramp
    assert (
        abs(grid_artifact_share(slope, 8).item() - grid_artifact_share(noise[:1], 8).item()) < 2e-3
    )


@given(strength=st.floats(0.01, 1), shift=st.integers(0, 7), light=st.floats(0.1, 1))
@settings(max_examples=30, deadline=None)
def test_the_share_is_that_of_the_variance(strength: float, shift: int, light: float) -> None:
    noise = torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    dots = strength * board(2, 256)[:, :1].roll(shift, dims=3)
    wanted = (dots.var() / (dots.var() + noise.var())).item()
    assert grid_artifact_share(light * (noise + dots), 8).item() == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(("size", "period"), [((16, 64), 8), ((64, 64), 1), ((64, 24), 32)])
def test_what_has_no_cells_is_refused(size: tuple[int, int], period: int) -> None:
    with pytest.raises(UsageError, match="grid"):
        grid_artifact_share(torch.rand(1, 3, *size), period)
