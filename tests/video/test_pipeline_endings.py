"""How a run of the pipeline ends before its video: closed, abandoned, or by an error."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import MediaError, MissingEnvironmentError, UsageError
from edgesdk.video import Frame, KeyframePolicy, VideoPipeline
from edgesdk.video.painter_worker import PainterWorker

pytestmark = pytest.mark.usefixtures("native_library")

Make = Callable[..., Any]
Picture = np.ndarray


def video(pictures: list[Picture]) -> list[Frame]:
    return [Frame(n, Fraction(n, 25), picture) for n, picture in enumerate(pictures)]


def invert(pixels: Picture) -> Picture:
    return 255 - pixels


def workers() -> int:
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith(("edgesdk-painter", "edgesdk-judge")) for name in names)


def test_no_frame_is_an_error() -> None:
    with (
        VideoPipeline(invert, threads=1) as pipeline,
        pytest.raises(MediaError, match="no picture"),
    ):
        list(pipeline.run([]))


def test_another_size_tells_the_time(texture: Make) -> None:
    frames = video([texture(64, 48)] * 50 + [texture(48, 64)])
    message = r"from 64 x 48 to 48 x 64 at 2\.000 s"
    with VideoPipeline(invert, threads=1) as pipeline, pytest.raises(MediaError, match=message):
        list(pipeline.run(frames))


def test_closing_ends_the_worker(texture: Make) -> None:
    pipeline = VideoPipeline(invert, threads=1)
    run = pipeline.run(video([texture(64, 48)] * 30))
    next(run)
    assert workers() == 2
    pipeline.close()
    pipeline.close()
    assert workers() == 0
    assert list(run) == []
    with pytest.raises(UsageError, match="closed"):
        pipeline.run([])


def test_a_run_that_is_abandoned_ends_its_worker(texture: Make) -> None:
    with VideoPipeline(invert, threads=1) as pipeline:
        run = pipeline.run(video([texture(64, 48)] * 30))
        next(run)
        del run
        gc.collect()
        assert workers() == 0
        assert len(list(pipeline.run(video([texture(64, 48)] * 3)))) == 3


def test_an_error_of_the_source_comes_through(texture: Make) -> None:
    def torn() -> Iterator[Frame]:
        yield from video([texture(64, 48)] * 3)
        raise MediaError("a packet is corrupt at 0.120 s")

    with VideoPipeline(invert, threads=1) as pipeline, pytest.raises(MediaError, match="corrupt"):
        list(pipeline.run(torn()))
    assert workers() == 0


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_what_was_painted_before_an_error_comes_out(texture: Make, seconds: float) -> None:
    """All of it, however quick the painter is: two key frames and what lies between."""

    def slow(pixels: Picture) -> Picture:
        time.sleep(seconds)
        return 255 - pixels

    frames = [*[texture(64, 48)] * 6, texture(32, 48)]
    indices: list[int] = []
    policy = KeyframePolicy(every=3)
    with (
        VideoPipeline(slow, threads=1, policy=policy) as pipeline,
        pytest.raises(MediaError, match="size changes"),
    ):
        indices += (painted.index for painted in pipeline.run(video(frames)))
    assert indices == [0, 1, 2, 3]
    assert workers() == 0


def test_an_error_of_the_search_comes_through(
    texture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(finder: object, pixels: Picture) -> None:
        raise MissingEnvironmentError("memory is exhausted")

    monkeypatch.setattr("edgesdk.video.key_frames.KeyframeFinder.judge", exhausted)
    with (
        VideoPipeline(invert, threads=1) as pipeline,
        pytest.raises(MissingEnvironmentError, match="memory"),
    ):
        list(pipeline.run(video([texture(64, 48)] * 3)))
    assert workers() == 0


def test_closed_painter_takes_nothing() -> None:
    ahead = PainterWorker(invert, None, 2)
    ahead.close()
    with pytest.raises(UsageError):
        ahead.paint(np.zeros((4, 4, 3), np.uint8))
