"""Flow, occlusion and the key-frame rule on motions that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Make = Callable[..., Any]
W, H = 320, 192


def moved(texture: Make, dx: float, dy: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pair whose flow from the first to the second is (dx, dy), by supersampling twice."""
    big = texture(2 * W + 160, 2 * H + 160, seed).astype(float)
    sx, sy = round(2 * dx), round(2 * dy)
    frames = [
        big[80 - oy : 80 - oy + 2 * H, 80 - ox : 80 - ox + 2 * W] for ox, oy in ((0, 0), (sx, sy))
    ]
    small = [f.reshape(H, 2, W, 2, 3).mean((1, 3)).round().astype(np.uint8) for f in frames]
    return small[0], small[1]


def estimate(core: Any, frame: np.ndarray, key: np.ndarray) -> np.ndarray:
    core.set_key("a", key)
    core.set_frame(frame)
    core.estimate("a")
    return core.flow("a")


@pytest.mark.parametrize("quality", ["fast", "balanced", "precise"])
@pytest.mark.parametrize("motion", [(2.5, -1.5), (11, 6), (-0.5, 0), (0, 24)])
def test_translations_are_found(
    make_core: Make, texture: Make, quality: str, motion: tuple[float, float]
) -> None:
    core = make_core(W, H, flow_size=(W, H), quality=quality)
    first, second = moved(texture, *motion)
    flow = estimate(core, first, second)
    inside = flow[32:-32, 32:-32]
    error = np.hypot(inside[..., 0] - motion[0], inside[..., 1] - motion[1])
    assert error.mean() < 0.15
    back = core.flow("a", "from_key")[32:-32, 32:-32]
    assert np.abs(back.mean((0, 1)) + motion).max() < 0.15


def test_flow_is_in_pixels_of_the_flow_size(make_core: Make, texture: Make) -> None:
    first, second = moved(texture, 8, 4)
    for divisor in (1, 2, 4):
        core = make_core(W, H, flow_size=(W // divisor, H // divisor))
        flow = estimate(core, first, second)
        part = flow[
            flow.shape[0] // 4 : -flow.shape[0] // 4, flow.shape[1] // 4 : -flow.shape[1] // 4
        ]
        assert part.mean((0, 1)) * divisor == pytest.approx((8, 4), abs=0.4)


def test_a_zoom_and_a_rotation_are_found(make_core: Make, texture: Make) -> None:
    big = texture(2 * W, 2 * H).astype(np.float64)
    y, x = np.mgrid[:H, :W].astype(np.float64)
    for matrix in (np.array([[1.04, 0], [0, 1.04]]), np.array([[1, -0.04], [0.04, 1]])):
        cx, cy = (W - 1) / 2, (H - 1) / 2
        u = matrix[0, 0] * (x - cx) + matrix[0, 1] * (y - cy) + cx
        v = matrix[1, 0] * (x - cx) + matrix[1, 1] * (y - cy) + cy
        # Both frames sampled from one smooth picture: `second` at its own pixels.
        second = big[H // 2 : H // 2 + H, W // 2 : W // 2 + W]
        px, py = u + W // 2, v + H // 2
        ix, iy = px.astype(int), py.astype(int)
        fx, fy = (px - ix)[..., None], (py - iy)[..., None]
        first = (big[iy, ix] * (1 - fx) + big[iy, ix + 1] * fx) * (1 - fy) + (
            big[iy + 1, ix] * (1 - fx) + big[iy + 1, ix + 1] * fx
        ) * fy
        core = make_core(W, H, flow_size=(W, H))
        flow = estimate(core, first.round().astype(np.uint8), second.astype(np.uint8))
        error = np.hypot(flow[..., 0] - (u - x), flow[..., 1] - (v - y))
        assert error[20:-20, 20:-20].mean() < 0.25


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 5), (8, 8), (13, 9), (33, 17)])
def test_small_and_odd_pictures_work(make_core: Make, texture: Make, size: tuple[int, int]) -> None:
    core = make_core(*size, flow_size=size)
    flow = estimate(core, texture(*size), texture(*size))
    assert flow.shape == (size[1], size[0], 2)
    assert not flow.any()
    assert np.isfinite(estimate(core, texture(*size, 1), texture(*size, 2))).all()


def test_flat_pictures_do_not_move(make_core: Make) -> None:
    core = make_core(64, 48)
    flat = np.full((48, 64, 3), 90, np.uint8)
    assert not estimate(core, flat, flat).any()


def test_grey_rgb_and_rgba_originals_give_the_same_flow(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    pair = [np.repeat(picture[..., :1], 3, axis=2) for picture in moved(texture, 3, 1)]
    rgb = estimate(core, *pair)
    assert np.array_equal(estimate(core, *[picture[..., 0].copy() for picture in pair]), rgb)
    alpha = np.full((H, W, 1), 9, np.uint8)
    assert np.array_equal(estimate(core, *[np.dstack([p, alpha]) for p in pair]), rgb)


def test_what_a_moving_disc_covers_is_occluded(make_core: Make, texture: Make) -> None:
    ground, other = texture(W, H, 1), texture(W, H, 2)
    y, x = np.mgrid[:H, :W]
    pictures = []
    for cx in (120, 140):
        picture = ground.copy()
        disc = (x - cx) ** 2 + (y - 96) ** 2 < 45**2
        picture[disc] = np.roll(other, cx, 1)[disc]
        pictures.append(picture)
    core = make_core(W, H, flow_size=(W, H), quality="precise")
    flow = estimate(core, pictures[0], pictures[1])
    valid = core.validity("a")[0]
    assert flow[96, 120, 0] == pytest.approx(20, abs=1)
    # Ground right of the disc that the disc covers in the key frame, and ground far from it.
    hidden = ((x - 140) ** 2 + (y - 96) ** 2 < 42**2) & ((x - 120) ** 2 + (y - 96) ** 2 > 48**2)
    assert valid[hidden].mean() < 0.35
    assert valid[:, 220:310].mean() > 0.97


def test_the_forward_backward_rule_is_the_stated_one(
    make_core: Make, texture: Make, uniform_flow: Make
) -> None:
    """|F + F'|^2 <= 0.01 (|F|^2 + |F'|^2) + 0.5, with F = (4, 0) and F' = (-4 + d, 0)."""
    core = make_core(64, 32, flow_size=(64, 32))
    frame = texture(64, 32)
    core.set_key("a", frame)
    core.set_frame(frame)
    for gap, valid in ((0.0, True), (0.85, True), (0.95, False), (-0.88, True), (-1.0, False)):
        assert valid == (gap**2 <= 0.01 * (16 + (gap - 4) ** 2) + 0.5)
        core.set_flow("a", uniform_flow(core, 4, 0), uniform_flow(core, gap - 4, 0))
        found = core.validity("a")[0]
        assert found[:, :60].all() == valid
        assert not found[:, 60:].any()  # outside the key frame


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 1e9])
def test_flows_that_are_not_finite_count_as_occluded(
    make_core: Make, texture: Make, uniform_flow: Make, bad: float
) -> None:
    core = make_core(64, 32, flow_size=(32, 16))
    frame = texture(64, 32)
    core.set_key("a", frame)
    core.set_painted("a", frame)
    core.set_frame(frame)
    to, back = uniform_flow(core, 0, 0), uniform_flow(core, 0, 0)
    to[3, 5, 0] = bad
    back[9, 20, 1] = bad
    core.set_flow("a", to, back)
    valid = core.validity("a")[0]
    assert not valid[3, 5]
    assert not valid[9, 20]
    assert valid.sum() >= valid.size - 6
    core.render(frame, use="a")


def test_measures_of_a_still_a_cut_and_an_old_key_frame(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    frame = texture(W, H)
    core.set_key("a", frame)
    core.set_frame(frame)
    core.estimate("a")
    still = core.measure(1)
    assert (still.correlation, still.occluded_fraction, still.mean_residual) == (1, 0, 0)
    assert still.reasons == ()
    assert core.measure(15).reasons == ()
    assert core.measure(16).reasons == ("interval",)

    core.set_frame(255 - texture(W, H, 8) // 3)
    core.estimate("a")
    cut = core.measure(1)
    assert cut.correlation < 0.6
    assert "cut" in cut.reasons
    assert core.correlation() == cut.correlation


def test_a_brighter_frame_is_a_key_frame_by_its_residual(make_core: Make, texture: Make) -> None:
    core = make_core(W, H, cut_correlation=-1)
    frame = texture(W, H) // 2 + 20
    core.set_key("a", frame)
    core.set_frame(frame + 20)
    core.estimate("a")
    measures = core.measure(1)
    assert measures.mean_residual == pytest.approx(20 / 255, abs=2 / 255)
    assert "residual" in measures.reasons


def test_correlation_equals_its_definition(make_core: Make, texture: Make) -> None:
    """Pearson's correlation of 4096 counts, over hue, saturation and value."""
    core = make_core(48, 32, flow_size=(48, 32))
    pictures = [texture(48, 32, 1), texture(48, 32, 2)]
    counts = []
    for picture in pictures:
        bins = []
        for red, green, blue in picture.reshape(-1, 3).astype(int):
            high, low = max(red, green, blue), min(red, green, blue)
            chroma = high - low
            if chroma == 0:
                sixths = 0
            elif high == red:
                sixths = (green - blue) % (6 * chroma)
            elif high == green:
                sixths = blue - red + 2 * chroma
            else:
                sixths = red - green + 4 * chroma
            hue = min(15, sixths * 16 // (6 * chroma)) if chroma else 0
            saturation = min(15, chroma * 16 // high) if high else 0
            bins.append((hue * 16 + saturation) * 16 + high // 16)
        counts.append(np.bincount(bins, minlength=4096))
    core.set_key("a", pictures[0])
    core.set_frame(pictures[1])
    assert core.correlation() == pytest.approx(np.corrcoef(*counts)[0, 1], abs=1e-5)


def test_a_promoted_frame_is_the_key_frame_it_was(make_core: Make, texture: Make) -> None:
    first, second = moved(texture, 4, 2)
    core = make_core(W, H)
    expected = estimate(core, first, second)
    core.set_frame(second)
    core.set_key_from_frame("b")
    core.promote()
    core.set_frame(first)
    core.estimate("a")
    assert np.array_equal(core.flow("a"), expected)


@pytest.mark.parametrize("size", [(W, H), (161, 97)])
def test_a_frame_scaled_by_another_core_is_judged_and_rendered_the_same(
    make_core: Make, texture: Make, size: tuple[int, int]
) -> None:
    frames = [texture(size[0] + 9, size[1], 4)[:, 3 * i : 3 * i + size[0]] for i in range(3)]
    source, taker = (make_core(*size, flow_size=(40, 24)) for _ in range(2))
    smalls = []
    for frame in frames:
        source.set_frame(frame)
        smalls.append(source.small_frame())
        assert smalls[-1].shape == (24, 40, 4) and (smalls[-1][..., 3] == 255).all()
    for slot, frame in zip("ab", frames[::2], strict=True):
        source.set_key(slot, frame)
    source.set_frame(frames[1])
    source.estimate("both")
    flows = {slot: (source.flow(slot, "to_key"), source.flow(slot, "from_key")) for slot in "ab"}
    found = []
    for core, kept in ((source, frames), (taker, smalls)):
        for slot, frame in zip("ab", kept[::2], strict=True):
            core.set_key(slot, frame)
            core.set_painted(slot, 255 - frames[0])
        core.set_frame(kept[1])
        for slot in "ab":
            core.set_flow(slot, *flows[slot])
        judged = [array for slot in "ab" for array in core.validity(slot)]
        found.append((*judged, core.render(frames[1], 0.4), core.measure(2)))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
    # What was found is taken over: given otherwise, it shows.
    for slot, (valid, residual) in {s: source.validity(s) for s in "ab"}.items():
        taker.set_flow(slot, *flows[slot])
        taker.set_validity(slot, np.zeros_like(valid), residual)
        assert not taker.validity(slot)[0].any()
        taker.set_validity(slot, valid, residual)
    again = (*(array for slot in "ab" for array in taker.validity(slot)), taker.measure(2))
    assert np.array_equal(taker.render(frames[1], 0.4), found[0][4])
    assert all(np.array_equal(one, other) for one, other in zip(again, found[0][:4], strict=False))
    assert again[4] == found[0][5]
    # Flow from it is as good, if not the same.
    taker.estimate("a")
    assert np.abs(taker.flow("a") - flows["a"][0]).mean() < 0.05


def test_small_frames_are_not_overwritten(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    kept = []
    for seed in range(4):
        core.set_frame(texture(W, H, seed))
        kept.append((core.small_frame(), core.small_frame().copy()))
    assert all(np.array_equal(held, copy) for held, copy in kept)


def test_a_key_frame_stays_when_the_frame_it_was_goes(make_core: Make, texture: Make) -> None:
    """Slots and frame may be the same picture; each is forgotten alone."""
    core, other = make_core(W, H), make_core(W, H)
    first, second = texture(W, H, 1), texture(W, H, 2)
    core.set_frame(first)
    core.set_key_from_frame("a")
    core.set_key_from_frame("b")
    core.set_frame(second)
    core.set_key_from_frame("b")
    core.estimate("both")
    other.set_key("a", first)
    other.set_key("b", second)
    other.set_frame(second)
    other.estimate("both")
    for slot in "ab":
        assert np.array_equal(core.flow(slot), other.flow(slot))
    assert core.correlation("a") == other.correlation("a") < core.correlation("b") == 1
