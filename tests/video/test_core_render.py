"""In-between frames: exact where the method is exact, sensible where it must guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Make = Callable[..., Any]

W, H = 160, 96


def painted(seed: int, width: int = W, height: int = H) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("use", ["a", "b", "both"])
@pytest.mark.parametrize("flow_size", [(40, 24), (53, 31), (160, 96)])
def test_without_motion_equal_paintings_come_through_untouched(
    make_core: Make, texture: Make, use: str, flow_size: tuple[int, int]
) -> None:
    core = make_core(W, H, flow_size=flow_size)
    frame, painting = texture(W, H), painted(1)
    for slot in "ab":
        core.set_key(slot, frame)
        core.set_painted(slot, painting)
    core.set_frame(frame)
    core.estimate("both")
    assert not core.flow("a").any()
    assert np.array_equal(core.render(frame, 0.37, use=use), painting)


def test_a_static_scene_painted_as_itself_is_itself(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    frame = texture(W, H)
    core.set_key("a", frame)
    core.set_painted("a", frame)
    core.set_frame(frame)
    core.estimate("a")
    valid, residual = core.validity("a")
    assert valid.all()
    assert not residual.any()
    assert np.array_equal(core.render(frame, use="a"), frame)


@pytest.mark.parametrize("flow_size", [(40, 24), (80, 48), (160, 96)])
@pytest.mark.parametrize("shift", [(3, 0), (-5, 2), (0, -7)])
def test_a_translation_by_whole_pixels_is_exact_where_valid(
    make_core: Make,
    texture: Make,
    uniform_flow: Make,
    flow_size: tuple[int, int],
    shift: tuple[int, int],
) -> None:
    core = make_core(W, H, flow_size=flow_size)
    dx, dy = shift
    frame, painting = texture(W, H), painted(2)
    for slot in "ab":
        core.set_key(slot, frame)
        core.set_painted(slot, painting)
    core.set_frame(frame)
    for slot in "ab":
        core.set_flow(slot, uniform_flow(core, dx, dy), uniform_flow(core, -dx, -dy))
    out = core.render(frame, 0.5)
    valid = core.validity("a")[0]
    ratio = W // flow_size[0]
    # A full-size pixel is sure where all flow pixels around it are valid.
    full = np.kron(valid, np.ones((ratio, ratio), bool))
    sure = full.copy()
    for axis in (0, 1):
        for step in (-ratio, ratio):
            sure &= np.roll(full, step, axis)
    inner = np.zeros((H, W), bool)
    inner[8 + ratio : -8 - ratio, 8 + ratio : -8 - ratio] = True
    sure &= inner
    assert sure.mean() > 0.3
    assert np.array_equal(out[sure], np.roll(painting, (-dy, -dx), (0, 1))[sure])


@pytest.mark.parametrize(("tau", "slot"), [(0.0, 0), (1.0, 1)])
def test_key_frames_are_bit_exact(make_core: Make, texture: Make, tau: float, slot: int) -> None:
    core = make_core(W, H)
    frames, paintings = [texture(W, H, 1), texture(W, H, 2)], [painted(3), painted(4)]
    for name, frame, painting in zip("ab", frames, paintings, strict=True):
        core.set_key(name, frame)
        core.set_painted(name, painting)
    core.set_frame(frames[slot])
    core.estimate("both")
    assert np.array_equal(core.render(frames[slot], tau), paintings[slot])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    tau=st.floats(0.01, 0.99),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 50)),
    seed=st.integers(0, 99),
)
def test_weights_sum_to_one(
    make_core: Make,
    texture: Make,
    values: tuple[int, int],
    tau: float,
    sizes: tuple[int, int],
    seed: int,
) -> None:
    """Uniform paintings give a value between theirs, and the same one where they agree."""
    core = make_core(*sizes)
    frame = texture(*sizes, seed)
    for slot, value in zip("ab", values, strict=True):
        core.set_key(slot, frame)
        core.set_painted(slot, np.full((*sizes[::-1], 3), value, np.uint8))
    core.set_frame(frame)
    core.estimate("both")
    out = core.render(frame, tau).astype(int)
    expected = values[0] + (values[1] - values[0]) * tau
    assert np.abs(out - expected).max() <= 1
    core.close()


def test_blending_follows_time_and_residual(make_core: Make, uniform_flow: Make) -> None:
    """Weights are (1 - tau) exp(-residual_a / sigma) and tau exp(-residual_b / sigma)."""
    core = make_core(64, 64, flow_size=(16, 16), residual_sigma=0.05)
    frame = np.full((64, 64, 3), 100, np.uint8)
    core.set_key("a", frame)
    core.set_key("b", np.full((64, 64, 3), 110, np.uint8))
    core.set_painted("a", np.zeros((64, 64, 3), np.uint8))
    core.set_painted("b", np.full((64, 64, 3), 200, np.uint8))
    core.set_frame(frame)
    for slot in "ab":
        core.set_flow(slot, uniform_flow(core, 0, 0), uniform_flow(core, 0, 0))
    assert (core.validity("b")[1] == 10).all()
    a, b = 0.7, 0.3 * np.exp(-10 / 255 / 0.05)
    assert np.abs(core.render(frame, 0.3).astype(float) - 200 * b / (a + b)).max() <= 1


def test_what_one_key_frame_hides_comes_from_the_other(
    make_core: Make, texture: Make, uniform_flow: Make
) -> None:
    core = make_core(128, 64, flow_size=(32, 16))
    frame = texture(128, 64)
    zero = uniform_flow(core, 0, 0)
    torn = zero.copy()
    torn[:, :16] = 3  # the way back does not agree: occluded
    for slot, value in (("a", 40), ("b", 220)):
        core.set_key(slot, frame)
        core.set_painted(slot, np.full((64, 128, 3), value, np.uint8))
    core.set_frame(frame)
    core.set_flow("a", zero, torn)
    core.set_flow("b", zero, zero)
    out = core.render(frame, 0.5)
    assert not core.validity("a")[0][:, :16].any()
    assert (out[:, :56] == 220).all()
    assert np.abs(out[:, 72:].astype(int) - 130).max() <= 1


def test_what_both_hide_takes_the_locally_affine_colours(make_core: Make, texture: Make) -> None:
    """The painting is an affine map of the original, so the map is found and applied."""
    core = make_core(128, 96, flow_size=(64, 48))
    key = texture(128, 96)
    frame = texture(128, 96, 5)
    core.set_key("a", key)
    core.set_painted("a", (key * 0.5 + 60).astype(np.uint8))
    core.set_frame(frame)
    nowhere = np.full((48, 64, 2), np.nan, np.float32)
    core.set_flow("a", nowhere, nowhere)
    assert not core.validity("a")[0].any()
    error = core.render(frame, use="a").astype(float) - (frame * 0.5 + 60)
    # The guided filter's epsilon damps the gain a little: 1e-3 against the variance.
    assert np.abs(error).mean() < 3


def test_alpha_is_carried(make_core: Make, texture: Make) -> None:
    core = make_core(40, 30)
    frame = texture(40, 30)
    rgba = np.dstack([painted(6, 40, 30), np.full((30, 40), 77, np.uint8)])
    core.set_key("a", frame)
    core.set_painted("a", rgba)
    core.set_frame(frame)
    core.estimate("a")
    out = np.zeros_like(rgba)
    assert core.render(frame, use="a", out=out) is out
    assert np.array_equal(out, rgba)


def test_a_moving_scene_is_painted_well(make_core: Make, texture: Make) -> None:
    """A painting that is a colour map must follow a translation to within a few levels."""
    big = texture(220, 140)
    frames = [np.ascontiguousarray(big[20 : 20 + H, 30 - s : 30 - s + W]) for s in (0, 4, 8)]
    core = make_core(W, H, flow_size=(80, 48), quality="precise")
    for slot, frame in (("a", frames[0]), ("b", frames[2])):
        core.set_key(slot, frame)
        core.set_painted(slot, 255 - frame)
    core.set_frame(frames[1])
    core.estimate("both")
    error = np.abs(core.render(frames[1], 0.5).astype(int) - (255 - frames[1].astype(int)))
    assert error.mean() < 2
    assert core.flow("a")[10:-10, 10:-10, 0].mean() == pytest.approx(-2, abs=0.15)
