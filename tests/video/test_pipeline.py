"""The pipeline as a whole: what comes out, in which order, and what it does not depend on."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesdk.errors import UsageError
from edgesdk.video import Frame, KeyframePolicy, PaintedFrame, VideoPipeline
from edgesdk.video.array_pool import ArrayPool
from edgesdk.video.painter_worker import painter_size
from edgesdk.video.strength import StrengthBlend

pytestmark = pytest.mark.usefixtures("native_library")

Make = Callable[..., Any]
Picture = np.ndarray


def video(pictures: list[Picture]) -> list[Frame]:
    return [Frame(n, Fraction(n, 25), picture) for n, picture in enumerate(pictures)]


def panning(texture: Make, count: int, step: int = 2, seed: int = 0) -> list[Picture]:
    wide = texture(64 + step * count, 48, seed)
    return [wide[:, step * t : step * t + 64].copy() for t in range(count)]


def invert(pixels: Picture) -> Picture:
    return 255 - pixels


def paint(frames: list[Frame], painter: Any = invert, **options: Any) -> list[PaintedFrame]:
    with VideoPipeline(painter, **{"threads": 1, **options}) as pipeline:
        return list(pipeline.run(frames))


def same(first: list[PaintedFrame], second: list[PaintedFrame]) -> bool:
    return len(first) == len(second) and all(
        a.index == b.index and a.reasons == b.reasons and np.array_equal(a.pixels, b.pixels)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_one_frame_out_for_every_frame_in(texture: Make, streaming: bool) -> None:
    frames = video(panning(texture, 13))
    painted = paint(frames, streaming=streaming, policy=KeyframePolicy(longest_interval=5))
    assert [(p.index, p.time) for p in painted] == [(f.index, f.time) for f in frames]
    assert all(p.pixels.shape == (48, 64, 3) and p.pixels.dtype == np.uint8 for p in painted)
    assert painted[0].reasons == ("first",)
    assert all(p.key == bool(p.reasons) for p in painted)
    assert ("last" in painted[-1].reasons) != streaming


@pytest.mark.parametrize("streaming", [False, True])
def test_a_still_scene_shows_its_painting_exactly(texture: Make, streaming: bool) -> None:
    frame = texture(64, 48)
    painted = paint(video([frame] * 12), streaming=streaming)
    assert all(np.array_equal(p.pixels, 255 - frame) for p in painted)


@pytest.mark.parametrize("streaming", [False, True])
def test_painting_nothing_on_a_still_scene_is_the_identity(texture: Make, streaming: bool) -> None:
    frame = texture(64, 48)
    painted = paint(video([frame] * 12), lambda pixels: pixels, streaming=streaming)
    assert all(np.array_equal(p.pixels, frame) for p in painted)


def test_every_key_frame_s_own_painting_comes_through(texture: Make) -> None:
    counter = itertools.count(1)

    def moody(pixels: Picture) -> Picture:
        return np.clip(pixels.astype(int) + 9 * next(counter), 0, 255).astype(np.uint8)

    frames = video(panning(texture, 12))
    painted = paint(frames, moody, policy=KeyframePolicy(longest_interval=4))
    keys = [p for p in painted if p.key]
    assert len(keys) >= 3
    for number, key in enumerate(keys, 1):
        wanted = np.clip(frames[key.index].pixels.astype(int) + 9 * number, 0, 255)
        assert np.array_equal(key.pixels, wanted)


def test_renewal_keeps_paint_from_pulsating(texture: Make) -> None:
    noise = np.random.default_rng(0)

    def fickle(pixels: Picture) -> Picture:
        return np.clip(pixels + noise.normal(0, 30, (1, 1, 3)), 0, 255).astype(np.uint8)

    frames = video([texture(64, 48)] * 30)
    policy = KeyframePolicy(longest_interval=5)
    swings = []
    for renewal in (1.0, 0.01):
        means = [p.pixels.mean() for p in paint(frames, fickle, renewal=renewal, policy=policy)]
        swings.append(max(means) - min(means))
    assert swings[1] < swings[0] / 3


def test_a_panning_painting_moves_along(texture: Make) -> None:
    frames = video(panning(texture, 11, step=3))
    painted = paint(frames, max_size=None)
    for p in painted:
        wanted = 255 - frames[p.index].pixels.astype(int)
        # The painter is a function of the pixel, so moved paint is painted motion.
        assert np.abs(p.pixels[4:-4, 8:-8] - wanted[4:-4, 8:-8]).mean() < 4


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_no_segment_straddles_a_cut(texture: Make, cut: int) -> None:
    first, second = texture(64, 48, 1), texture(64, 48, 2) // 4
    painted = paint(video([first] * cut + [second] * 5))
    assert "cut" in painted[cut].reasons
    before = painted[cut - 1]
    assert before.reasons == (("first",) if cut == 1 else ("before_cut",))
    for p in painted:
        assert np.array_equal(p.pixels, 255 - (first if p.index < cut else second))


def test_streaming_has_no_key_frame_before_a_cut(texture: Make) -> None:
    first, second = texture(64, 48, 1), texture(64, 48, 2) // 4
    painted = paint(video([first] * 4 + [second] * 4), streaming=True)
    assert [p.index for p in painted if p.key] == [0, 4]


def test_streaming_does_not_look_into_the_future(texture: Make) -> None:
    frames = video([*panning(texture, 8), *panning(texture, 6, seed=9)])
    options: dict[str, Any] = {"streaming": True, "policy": KeyframePolicy(longest_interval=3)}
    whole = paint(frames, **options)
    for length in (1, 2, 5, 9, 13):
        assert same(paint(frames[:length], **options), whole[:length])


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_streaming_is_at_most_two_frames_behind(texture: Make, seconds: float) -> None:
    taken = 0

    def source() -> Iterator[Frame]:
        nonlocal taken
        for frame in video(panning(texture, 12)):
            taken += 1
            yield frame

    def slow(pixels: Picture) -> Picture:
        time.sleep(seconds)
        return 255 - pixels

    with VideoPipeline(
        slow, streaming=True, threads=1, policy=KeyframePolicy(longest_interval=3)
    ) as pipeline:
        for painted in pipeline.run(source()):
            assert taken - (painted.index + 1) <= 2


@pytest.mark.parametrize("streaming", [False, True])
def test_results_do_not_depend_on_threads_or_on_how_quick_the_painter_is(
    texture: Make, streaming: bool
) -> None:
    frames = video([*panning(texture, 9), *panning(texture, 5, seed=9)])
    delays = itertools.cycle((0.0, 0.03, 0.01))

    def dawdling(pixels: Picture) -> Picture:
        time.sleep(next(delays))
        return 255 - pixels

    options: dict[str, Any] = {
        "streaming": streaming,
        "policy": KeyframePolicy(longest_interval=4),
        "max_size": 32,
    }
    once = paint(frames, **options)
    assert same(once, paint(frames, **options))
    assert same(once, paint(frames, **{**options, "threads": 3}))
    assert same(once, paint(frames, dawdling, **options))


def test_frames_in_memory_do_not_grow_with_the_video() -> None:
    alive = most = 0

    class Tracked(np.ndarray):
        pass

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def source() -> Iterator[Frame]:
        nonlocal alive, most
        for n in range(80):
            pixels = np.full((16, 24, 3), 100, np.uint8).view(Tracked)
            weakref.finalize(pixels, gone)
            alive += 1
            most = max(most, alive)
            yield Frame(n, Fraction(n, 25), pixels)

    policy = KeyframePolicy(longest_interval=5)
    with VideoPipeline(invert, threads=1, policy=policy) as pipeline:
        assert sum(1 for _ in pipeline.run(source())) == 80
    assert most <= 2 * 5 + 2 + 3


def test_painter_sees_key_frames_scaled_down(texture: Make) -> None:
    shapes: list[tuple[int, ...]] = []

    def watch(pixels: Picture) -> Picture:
        shapes.append(pixels.shape)
        return pixels

    frames = video([texture(64, 48)] * 3)
    paint(frames, watch, max_size=32)
    paint(frames, watch, max_size=None)
    paint(frames, watch, max_size=64)
    assert shapes == [(24, 32, 3)] * 2 + [(48, 64, 3)] * 4


def test_enlarged_painting_keeps_the_key_frame_s_edges(texture: Make) -> None:
    frame = texture(64, 48)
    frame[:, 32:] //= 3
    painted = paint(video([frame]), lambda pixels: pixels, max_size=16)[0].pixels
    assert np.abs(painted[:, 26:38].astype(int) - frame[:, 26:38]).mean() < 8


def test_painter_size() -> None:
    assert painter_size(1920, 1080, 512) == (512, 288)
    assert painter_size(1080, 1920, 512) == (288, 512)
    assert painter_size(500, 300, 512) == (500, 300)
    assert painter_size(8192, 1, 512) == (512, 1)
    assert painter_size(1920, 1080, None) == (1920, 1080)


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 1.0])
def test_strength_is_the_paint_s_share(texture: Make, strength: float) -> None:
    frame = texture(64, 48)
    wanted = (1 - strength) * frame + strength * (255.0 - frame)
    for p in paint(video([frame] * 4), strength=strength):
        assert np.abs(p.pixels - wanted).max() <= 0.5


def test_without_strength_the_original_is_untouched(texture: Make) -> None:
    frames = video(panning(texture, 12))
    for p in paint(frames, strength=0.0):
        assert np.array_equal(p.pixels, frames[p.index].pixels)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(1, 70), st.integers(1, 9), st.integers(0, 99))
def test_blending_rounds_to_the_nearest(
    strength: float, height: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    out = StrengthBlend(strength, width, height).blend(first, second, np.empty_like(first))
    share = round(256 * strength) / 256
    assert np.abs(out - ((1 - share) * first + share * second)).max() <= 0.5


def breaking(on: set[int], how: str) -> Callable[[Picture], Any]:
    """A painter that fails on some of its calls, counted from 0."""
    calls = itertools.count()
    answers: dict[str, Callable[[Picture], Any]] = {
        "raise": lambda _: (_ for _ in ()).throw(RuntimeError("out of paint\nat all")),
        "size": lambda pixels: pixels[:-1],
        "float": lambda pixels: pixels / 255,
        "nan": lambda pixels: np.full(pixels.shape, np.nan, np.float32),
        "none": lambda _: None,
        "grey": lambda pixels: pixels[..., 0],
    }
    return lambda pixels: answers[how](pixels) if next(calls) in on else 255 - pixels


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "RuntimeError: out of paint"),
        ("size", "23 x 32 x 3 for 24 x 32 x 3"),
        ("float", "float64, and uint8"),
        ("nan", "not finite"),
        ("none", "NoneType, not an array"),
        ("grey", "24 x 32 for 24 x 32 x 3"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_where_the_painter_fails_the_paint_before_stands(
    texture: Make, how: str, message: str, streaming: bool
) -> None:
    frame = texture(64, 48)
    policy = KeyframePolicy(longest_interval=3)
    with VideoPipeline(
        breaking({1}, how), threads=1, policy=policy, streaming=streaming, max_size=32
    ) as pipeline:
        painted = list(pipeline.run(video([frame] * 8)))
        failures = pipeline.summary.failures
    assert [(f.index, f.time) for f in failures] == [(3, Fraction(3, 25))]
    assert message in failures[0].message and "\n" not in failures[0].message
    assert [p.index for p in painted if p.failure] == [3]
    assert painted[3].key
    for p in painted:
        assert np.array_equal(p.pixels, painted[0].pixels)


def test_originals_stand_in_until_a_painting_succeeds(texture: Make) -> None:
    frames = video(panning(texture, 14))
    policy = KeyframePolicy(every=4)
    painted = paint(frames, breaking({0, 1}, "raise"), policy=policy, max_size=None)
    assert [p.index for p in painted if p.failure] == [0, 4]
    for p in painted[:5]:
        assert np.array_equal(p.pixels, frames[p.index].pixels)
        assert p.pixels is not frames[p.index].pixels
    assert np.array_equal(painted[8].pixels, 255 - frames[8].pixels)


def test_a_painter_that_never_succeeds_leaves_the_video_as_it_is(texture: Make) -> None:
    frames = video(panning(texture, 9))
    painted = paint(frames, breaking(set(range(99)), "raise"), policy=KeyframePolicy(every=3))
    assert all(np.array_equal(p.pixels, f.pixels) for p, f in zip(painted, frames, strict=True))


def test_a_failure_at_a_cut_paints_the_new_scene_from_the_old_paint(texture: Make) -> None:
    first, second = texture(64, 48, 1), texture(64, 48, 2) // 4
    painted = paint(video([first] * 3 + [second] * 3), breaking({2}, "raise"))
    assert painted[3].failure and "cut" in painted[3].reasons
    # The colours' map of the old painting, which inverts, has been applied.
    assert painted[3].pixels.mean() > 150


def test_a_painter_cannot_change_the_frame(texture: Make) -> None:
    def vandal(pixels: Picture) -> Picture:
        pixels[:] = 0
        return pixels

    frame = texture(64, 48)
    with VideoPipeline(vandal, threads=1) as pipeline:
        painted = list(pipeline.run(video([frame])))
    assert painted[0].failure
    assert np.array_equal(painted[0].pixels, frame)


def test_a_painter_may_use_its_memory_again(texture: Make) -> None:
    canvas = np.empty((48, 64, 3), np.uint8)

    def reusing(pixels: Picture) -> Picture:
        np.subtract(255, pixels, out=canvas)
        return canvas

    frames = video(panning(texture, 9))
    policy = KeyframePolicy(longest_interval=2)
    assert same(paint(frames, policy=policy), paint(frames, reusing, policy=policy))


def test_pictures_that_are_held_stay_as_they_are(texture: Make) -> None:
    frames = video(panning(texture, 30))
    with VideoPipeline(invert, threads=1) as pipeline:
        held, copies = [], []
        for painted in pipeline.run(frames):
            held.append(painted.pixels[:, ::-1])
            copies.append(held[-1].copy())
    assert all(np.array_equal(a, b) for a, b in zip(held, copies, strict=True))


def test_pool_gives_out_again_what_nobody_holds() -> None:
    pool = ArrayPool((3, 4, 3), np.uint8)
    first = pool.take()
    address = first.ctypes.data
    view = first[0]
    del first
    assert pool.take().ctypes.data != address
    del view
    assert address in {pool.take().ctypes.data for _ in range(2)}


@pytest.mark.parametrize("streaming", [False, True])
def test_one_frame_is_a_video(texture: Make, streaming: bool) -> None:
    frame = texture(64, 48)
    painted = paint(video([frame]), streaming=streaming)
    assert [p.reasons for p in painted] == [("first",)]
    assert np.array_equal(painted[0].pixels, 255 - frame)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(1, 7),
    every=st.one_of(st.none(), st.integers(1, 3)),
    streaming=st.booleans(),
    max_size=st.sampled_from([None, 16, 512]),
    seed=st.integers(0, 99),
)
def test_any_size_and_content(
    size: tuple[int, int],
    count: int,
    every: int | None,
    streaming: bool,
    max_size: int | None,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]
    painted = paint(
        video(pictures),
        policy=KeyframePolicy(every=every),
        streaming=streaming,
        max_size=max_size,
        renewal=1,
    )
    assert len(painted) == count
    for p in painted:
        if p.key and (max_size is None or max(size) <= max_size):
            assert np.array_equal(p.pixels, 255 - pictures[p.index])


def test_summary_counts(texture: Make) -> None:
    with VideoPipeline(invert, threads=1, policy=KeyframePolicy(every=4)) as pipeline:
        assert pipeline.summary.reuse == 0
        for number, _ in enumerate(pipeline.run(video([texture(64, 48)] * 11)), 1):
            assert pipeline.summary.frames == number
        summary = pipeline.summary
        assert (summary.frames, summary.keys) == (11, 4)
        assert summary.reasons == {"first": 1, "interval": 2, "last": 1}
        assert summary.reuse == pytest.approx(11 / 4)
        assert summary.painter_seconds > 0 and summary.flow_seconds > 0


def test_key_frames_are_painted_while_others_render(texture: Make) -> None:
    started, release = threading.Event(), threading.Event()
    calls = itertools.count()

    def blocking(pixels: Picture) -> Picture:
        if next(calls) == 2:
            started.set()
            assert release.wait(20)
        return 255 - pixels

    policy = KeyframePolicy(every=4)
    with VideoPipeline(blocking, threads=1, policy=policy) as pipeline:
        run = pipeline.run(video([texture(64, 48)] * 20))
        indices = [next(run).index]
        # The segment before the key frame that is being painted goes out meanwhile.
        while indices[-1] < 4:
            indices.append(next(run).index)
        release.set()
        assert indices + [p.index for p in run] == list(range(20))
    assert started.is_set()


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 15},
        {"max_size": 512.0},
        {"strength": -0.1},
        {"strength": float("nan")},
        {"strength": "1"},
        {"threads": -1},
        {"threads": 65},
        {"quality": "best"},
        {"renewal": 0},
        {"renewal": 1.5},
    ],
)
def test_arguments_have_ranges(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VideoPipeline(invert, **options)


def test_a_painter_is_called() -> None:
    with pytest.raises(UsageError, match="painter"):
        VideoPipeline("style.onnx")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), [[1]]],
)
def test_frames_must_be_pictures(pixels: Any) -> None:
    with pytest.raises(UsageError, match="frame 0"):
        paint([Frame(0, Fraction(0), pixels)])
