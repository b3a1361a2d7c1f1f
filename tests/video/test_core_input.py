"""What the binding takes and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import UnknownNameError, UsageError

Make = Callable[..., Any]
W, H = 48, 32


def ready(make_core: Make, texture: Make, **settings: Any) -> Any:
    core = make_core(W, H, **settings)
    core.set_key("a", texture(W, H))
    core.set_painted("a", texture(W, H, 1))
    core.set_frame(texture(W, H))
    core.estimate("a")
    return core


def test_any_strides_of_an_input_are_right(make_core: Make, texture: Make) -> None:
    frame, painting = texture(W, H, 2), texture(W, H, 1)
    wide = np.zeros((H + 3, W + 5, 3), np.uint8)
    wide[1 : H + 1, 2 : W + 2] = frame
    flipped = np.ascontiguousarray(frame[::-1, ::-1])[::-1, ::-1]
    transposed = np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2)
    core = make_core(W, H)
    core.set_key("a", texture(W, H))
    core.set_painted("a", painting)
    results = []
    for view in (frame, wide[1 : H + 1, 2 : W + 2], flipped, transposed):
        core.set_frame(view)
        core.estimate("a")
        results.append(core.render(view, use="a"))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_an_output_may_be_a_part_of_a_larger_array(make_core: Make, texture: Make) -> None:
    core = ready(make_core, texture)
    frame = texture(W, H)
    expected = core.render(frame, use="a")
    for channels in (3, 4):
        wide = np.full((H + 2, W + 7, channels), 201, np.uint8)
        core.render(frame, use="a", out=wide[1:-1, 3 : W + 3])
        assert np.array_equal(wide[1:-1, 3 : W + 3, :3], expected)
        wide[1:-1, 3 : W + 3] = 201
        assert (wide == 201).all()


def test_an_output_may_be_the_frame_itself(make_core: Make, texture: Make) -> None:
    core = ready(make_core, texture)
    frame = texture(W, H)
    expected = core.render(frame, use="a")
    assert np.array_equal(core.render(frame, use="a", out=frame), expected)
    small = expected[: H // 2, : W // 2]
    upscaled = core.upscale(small.copy(), frame)
    assert np.array_equal(core.upscale(expected[: H // 2, : W // 2], frame, out=expected), upscaled)


@pytest.mark.parametrize(
    "picture",
    [
        None,
        [[1, 2], [3, 4]],
        np.zeros((H, W, 3), np.float32),
        np.zeros((H, W, 2), np.uint8),
        np.zeros((H, W, 1), np.uint8),
        np.zeros((W, H, 3), np.uint8),
        np.zeros((H, W + 1, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((2, H, W, 3), np.uint8),
    ],
)
def test_pictures_that_do_not_fit_are_refused(make_core: Make, texture: Make, picture: Any) -> None:
    core = ready(make_core, texture)
    for call in (
        lambda: core.set_frame(picture),
        lambda: core.set_key("b", picture),
        lambda: core.set_painted("a", picture),
        lambda: core.render(picture, use="a"),
        lambda: core.upscale(np.zeros((4, 4, 3), np.uint8), picture),
    ):
        with pytest.raises(UsageError):
            call()


def test_grey_is_an_original_but_no_painting(make_core: Make, texture: Make) -> None:
    core = ready(make_core, texture)
    grey = np.ascontiguousarray(texture(W, H)[..., 0])
    core.set_frame(grey)
    core.estimate("a")
    core.render(grey, use="a")
    for call in (
        lambda: core.set_painted("a", grey),
        lambda: core.upscale(grey, grey),
        lambda: core.render(grey, use="a", out=grey),
    ):
        with pytest.raises(UsageError):
            call()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((H, W, 3), np.uint8)[::-1],
        np.zeros((H, W, 6), np.uint8)[..., ::2],
        np.zeros((W, H, 3), np.uint8).transpose(1, 0, 2),
        np.broadcast_to(np.zeros((1, W, 3), np.uint8), (H, W, 3)),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(
    make_core: Make, texture: Make, out: np.ndarray
) -> None:
    core = ready(make_core, texture)
    with pytest.raises(UsageError, match="writeable"):
        core.render(texture(W, H), use="a", out=out)


@pytest.mark.parametrize("tau", [-0.1, 1.1, np.nan, np.inf, "1", None])
def test_tau_is_a_place_in_time(make_core: Make, texture: Make, tau: Any) -> None:
    with pytest.raises(UsageError):
        ready(make_core, texture).render(texture(W, H), tau, use="a")


@pytest.mark.parametrize(
    "flow",
    [
        None,
        np.zeros((H, W, 2), np.float64),
        np.zeros((H, W), np.float32),
        np.zeros((W, H, 2), np.float32),
    ],
)
def test_flows_that_do_not_fit_are_refused(make_core: Make, texture: Make, flow: Any) -> None:
    core = ready(make_core, texture, flow_size=(W, H))
    good = np.zeros((H, W, 2), np.float32)
    for pair in ((flow, good), (good, flow)):
        with pytest.raises(UsageError, match="float32"):
            core.set_flow("a", *pair)


@pytest.mark.parametrize(
    "settings",
    [
        {"flow_size": (0, 3)},
        {"flow_size": (W + 1, H)},
        {"threads": -1},
        {"threads": 65},
        {"threads": 1.5},
        {"path": "sse"},
        {"quality": "best"},
        {"residual_sigma": 0},
        {"residual_sigma": np.nan},
        {"occlusion_slope": -1},
        {"affine_radius": 0},
        {"affine_radius": 17},
        {"affine_radius": 2.5},
        {"affine_epsilon": 0},
        {"cut_correlation": 2},
        {"occluded_fraction": -0.1},
        {"mean_residual": 1.5},
        {"longest_interval": 0},
        {"sigma": 1},
    ],
)
def test_settings_out_of_range_are_refused(make_core: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make_core(W, H, **settings)


@pytest.mark.parametrize(
    "size", [(0, 5), (5, 0), (-1, 5), (8193, 4), (True, 4), (3.0, 4), ("9", 9)]
)
def test_sizes_out_of_range_are_refused(make_core: Make, size: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError):
        make_core(*size)


def test_an_unknown_setting_names_the_nearest(make_core: Make) -> None:
    with pytest.raises(UnknownNameError, match="affine_radius"):
        make_core(W, H, affine_radios=3)


def test_calls_out_of_order_say_what_is_missing(make_core: Make, texture: Make) -> None:
    core = make_core(W, H)
    frame = texture(W, H)
    flow = np.zeros((core.flow_size[1], core.flow_size[0], 2), np.float32)
    for call in (
        lambda: core.set_painted("a", frame),
        lambda: core.set_key_from_frame("a"),
        core.promote,
        lambda: core.estimate("a"),
        lambda: core.set_flow("a", flow, flow),
        lambda: core.flow("a"),
        lambda: core.validity("a"),
        lambda: core.set_validity("a", flow[..., 0] > 0, flow[..., 0].astype(np.uint8)),
        lambda: core.measure(1),
        core.correlation,
        core.small_frame,
        lambda: core.render(frame),
    ):
        with pytest.raises(UsageError, match="not set"):
            call()
    core.set_key("a", frame)
    core.set_frame(frame)
    core.estimate("a")
    with pytest.raises(UsageError, match="not set"):
        core.render(frame, use="a")  # not painted
    core.set_painted("a", frame)
    core.render(frame, use="a")
    core.set_frame(frame)
    with pytest.raises(UsageError, match="not set"):
        core.render(frame, use="a")  # its flow is forgotten


def test_names_and_distances_are_checked(make_core: Make, texture: Make) -> None:
    core = ready(make_core, texture)
    for call in (
        lambda: core.set_key("c", texture(W, H)),
        lambda: core.estimate("c"),
        lambda: core.flow("a", "sideways"),
        lambda: core.render(texture(W, H), use="none"),
    ):
        with pytest.raises(UnknownNameError):
            call()
    for distance in (0, -1, 1.5, True):
        with pytest.raises(UsageError):
            core.measure(distance)


def test_a_closed_core_says_so(make_core: Make, texture: Make) -> None:
    with make_core(W, H) as core:
        core.set_frame(texture(W, H))
    core.close()
    for call in (lambda: core.set_frame(texture(W, H)), lambda: core.flow("a"), core.promote):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_the_flow_fits_480_by_270_in_the_frames_shape(make_core: Make) -> None:
    sizes = {(1920, 1080): (480, 270), (1080, 1920): (270, 480), (640, 640): (270, 270)}
    sizes |= {(200, 100): (200, 100), (3840, 400): (480, 50)}
    for size, flow_size in sizes.items():
        with make_core(*size) as core:
            assert core.flow_size == flow_size


def test_validity_is_what_validity_gives(make_core: Make, texture: Make) -> None:
    core = ready(make_core, texture)
    valid, residual = core.validity("a")
    core.set_validity("a", valid, residual)
    for planes in (
        (residual, residual),
        (valid, valid),
        (valid[:-1], residual),
        (valid, residual[:, :-1]),
        (valid.T, residual.T),
        (None, residual),
        (np.asfortranarray(valid), residual),
    ):
        with pytest.raises(UsageError, match="as validity returns it"):
            core.set_validity("a", *planes)  # type: ignore[arg-type]
