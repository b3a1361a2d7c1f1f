"""Whole runs from file to file, with painters whose answers are known."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import (
    InputNotFoundError,
    MediaError,
    OutputExistsError,
    PaintingError,
    UsageError,
)
from edgesdk.video import abi, library
from edgesdk.video.key_frames import KeyframePolicy
from edgesdk.video.media.ahead import ReadAhead
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.setup_times import SetupTimes
from edgesdk.video.stylize import StylizeProgress, comparison_paths, stylize
from edgesdk.video.stylize_options import StylizeOptions, with_changes

av = pytest.importorskip("av")

Picture = NDArray[np.uint8]
MakeClip = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("native_library")


def scene(frames: int, size: tuple[int, int] = (96, 64), seed: int = 1) -> list[Picture]:
    """Smooth noise that drifts by a pixel a frame."""
    random = np.random.default_rng(seed)
    wide = Image.fromarray(
        random.integers(40, 215, (size[1] // 6, (size[0] + frames) // 6, 3), dtype=np.uint8)
    ).resize((size[0] + frames, size[1]), Image.Resampling.BICUBIC)
    pixels = np.asarray(wide)
    return [np.ascontiguousarray(pixels[:, i : i + size[0]]) for i in range(frames)]


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    def make(
        name: str = "in.mp4", pictures: list[Picture] | None = None, *, rate: int = 25, **more: Any
    ) -> Path:
        pictures = scene(24) if pictures is None else pictures
        path = tmp_path / name
        container = av.open(str(path), "w")
        stream = container.add_stream("libx264", rate=rate, options={"crf": "8"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = more.get("pixel_format", "yuv420p")
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.close()
        return path

    return make


def negative(pixels: Picture) -> Picture:
    return 255 - pixels


def without_packaged_library(folder: Path) -> Path:
    """The sources alone, whatever the package itself brings."""
    native = folder / "sources"
    for part in ("include", "src"):
        shutil.copytree(library.NATIVE / part, native / part)
    return native


class Counted:
    """The negative, and how often and of what size it was asked for."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixels: Picture) -> Picture:
        self.shapes.append(pixels.shape)
        return 255 - pixels


def frames_of(path: Path) -> list[Any]:
    with VideoReader(path) as reader:
        return list(reader)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("streaming", [False, True])
def test_a_video_is_painted(streaming: bool, make_clip: MakeClip, tmp_path: Path) -> None:
    painter, reports = Counted(), list[StylizeProgress]()
    result = stylize(
        make_clip(),
        tmp_path / "out.mp4",
        painter=painter,
        keyframes=6,
        streaming=streaming,
        crf=4,
        on_progress=reports.append,
    )
    assert (result.frames, result.size, result.skipped) == (24, (96, 64), 0)
    assert result.keys == len(painter.shapes) == (4 if streaming else 5)
    assert result.reuse == 24 / result.keys and result.reasons["first"] == 1
    assert result.problem is None and result.comparison is None
    assert result.duration == Fraction(23, 25)
    assert set(result.seconds) == {
        *("reading", "painter", "flow", "render", "waiting", "writing"),
    }
    assert all(spent >= 0 for spent in result.seconds.values())
    assert [progress.done for progress in reports] == list(range(1, 25))
    assert reports[-1].total == 24 and reports[-1].seconds_left == 0
    assert left_in(tmp_path) == ["in.mp4", "out.mp4"]
    before, after = frames_of(tmp_path / "in.mp4"), frames_of(tmp_path / "out.mp4")
    assert [frame.time for frame in after] == [frame.time for frame in before]
    for a, b in zip(before, after, strict=True):
        # What drifts in at the edge is seen in no earlier key frame.
        inner = np.abs(a.pixels[8:-8, 8:-8].astype(int) + b.pixels[8:-8, 8:-8] - 255)
        assert inner.mean() < 12


def test_the_painter_sees_small_pictures(make_clip: MakeClip, tmp_path: Path) -> None:
    painter = Counted()
    stylize(make_clip(), tmp_path / "a.mp4", painter=painter, keyframes=12, max_size=48)
    assert set(painter.shapes) == {(32, 48, 3)}
    painter = Counted()
    stylize(make_clip(), tmp_path / "b.mp4", painter=painter, keyframes=12, max_size=None)
    assert set(painter.shapes) == {(64, 96, 3)}


def test_no_strength_is_the_original(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip()
    stylize(source, tmp_path / "out.mp4", painter=negative, strength=0, crf=1)
    for a, b in zip(frames_of(source), frames_of(tmp_path / "out.mp4"), strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 6  # chroma is halved again


def test_one_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip(pictures=scene(1))
    result = stylize(source, tmp_path / "out.mp4", painter=negative)
    assert (result.frames, result.keys, result.duration) == (1, 1, 0)


def test_folders_in_and_out(make_clip: MakeClip, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for place, picture in enumerate(scene(8)):
        Image.fromarray(picture).save(pictures / f"shot{place}.png")
    video = stylize(pictures, tmp_path / "out.mp4", painter=negative, rate=Fraction(10))
    assert (video.frames, video.duration) == (8, Fraction(7, 10))
    folder = stylize(pictures, tmp_path / "out", painter=negative, strength=0)
    assert folder.frames == 8
    assert left_in(tmp_path / "out") == [f"shot{place}.png" for place in range(8)]
    same = np.asarray(Image.open(tmp_path / "out" / "shot5.png"))
    assert np.array_equal(same, scene(8)[5])
    both = stylize(make_clip(), tmp_path / "frames", painter=negative)
    assert len(left_in(tmp_path / "frames")) == both.frames == 24


def test_a_part_of_a_video(make_clip: MakeClip, tmp_path: Path) -> None:
    reports: list[StylizeProgress] = []
    result = stylize(
        make_clip(),
        tmp_path / "out.mp4",
        painter=negative,
        seconds=0.4,
        on_progress=reports.append,
    )
    assert (result.frames, reports[-1].total) == (10, 10) and not result.stopped


def test_stopping_keeps_what_was_read(make_clip: MakeClip, tmp_path: Path) -> None:
    asked = iter([False] * 7 + [True] * 100)
    result = stylize(make_clip(), tmp_path / "out.mp4", painter=negative, stop=lambda: next(asked))
    assert result.stopped and result.frames == 8
    assert len(frames_of(tmp_path / "out.mp4")) == 8


def test_a_painter_that_fails_once(make_clip: MakeClip, tmp_path: Path) -> None:
    calls = iter(range(100))

    def painter(pixels: Picture) -> Any:
        call = next(calls)
        if call == 1:
            raise RuntimeError("out of paint")
        if call == 2:
            return np.full(pixels.shape, np.nan)
        if call == 3:
            return pixels[:-1]
        return 255 - pixels

    result = stylize(make_clip(), tmp_path / "out.mp4", painter=painter, keyframes=6)
    assert [failure.index for failure in result.failures] == [6, 12, 18]
    assert len(frames_of(tmp_path / "out.mp4")) == 24
    problem = result.problem
    assert isinstance(problem, PaintingError) and problem.exit_code == 1
    assert "failed on 3 of 5 key frames" in str(problem) and "0.240 s (frame 6)" in str(problem)
    assert "out of paint" in str(problem) and "not finite" in str(problem)


def test_a_painter_that_always_fails_leaves_the_original(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    def painter(pixels: Picture) -> Picture:
        raise ValueError("no")

    source = make_clip()
    result = stylize(source, tmp_path / "out.mp4", painter=painter, crf=1)
    assert len(result.failures) == result.keys and result.problem is not None
    for a, b in zip(frames_of(source), frames_of(tmp_path / "out.mp4"), strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 6  # chroma is halved again


def test_the_comparison(make_clip: MakeClip, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    reports: list[StylizeProgress] = []
    random = np.random.default_rng(0)

    def unsteady(pixels: Picture) -> Picture:
        time.sleep(0.02)
        shift = int(random.integers(-12, 13))
        return np.clip(255 - pixels.astype(int) + shift, 0, 255).astype(np.uint8)

    result = stylize(
        make_clip(),
        tmp_path / "out.mp4",
        painter=unsteady,
        compare=True,
        on_progress=reports.append,
    )
    found = result.comparison
    assert found is not None and found.frames == 24
    # Every frame swings on its own; the engine carries one painting on.
    original, ours, every = (
        one.warp_error or 0.0 for one in (found.original, found.stylized, found.every_frame)
    )
    assert 0 < original < ours + 3 < every and ours < every / 2
    assert (found.stylized.flicker or 0) < (found.every_frame.flicker or 0)
    assert found.ssim is not None and 0.5 < found.ssim < 1
    assert found.psnr is not None and 10 < found.psnr < 60
    # 24 paintings of 20 ms and more, however busy the machine is.
    assert found.every_frame_seconds > 24 * 0.02
    assert found.speed_up == found.every_frame_seconds / found.pipeline_seconds
    assert {progress.doing for progress in reports} == {"stylizing", "comparing"}
    assert (found.clip, found.sheet) == comparison_paths(tmp_path / "out.mp4")
    clip = frames_of(found.clip)
    assert len(clip) == 24 and clip[0].pixels.shape == (64 + 22, 3 * 96, 3)
    sheet = Image.open(found.sheet)
    assert sheet.width > 3 * 96 and sheet.height > 6 * 64
    assert found.to_dict()["clip"] == str(found.clip)


def test_a_slow_build_is_not_counted(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage")
    built, clock, late = library.library_path(), time.perf_counter, [0.0]

    def slow_build(target: Path) -> Path:
        late[0] += 1000
        target.parent.mkdir(parents=True)
        shutil.copy(built, target)
        return target

    def slow_painter(pixels: Picture) -> Picture:
        # Only its first call: the warm-up.
        late[0] += 0 if pixels.std() else 100
        return 255 - pixels

    monkeypatch.setenv("EDGESDK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "NATIVE", without_packaged_library(tmp_path))
    monkeypatch.setattr(library, "build", slow_build)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])
    for cached in (library.load, abi.native):
        cached.cache_clear()
    try:
        result = stylize(make_clip(), tmp_path / "out.mp4", painter=slow_painter, compare=True)
    finally:
        for cached in (library.load, abi.native):
            cached.cache_clear()
    found, setup = result.comparison, result.setup
    assert found is not None and found.setup == setup
    assert late == [1100] and setup.build_seconds >= 1000 and 100 <= setup.warm_up_seconds < 1000
    keyframes, every_frame = found.whole_video_seconds
    assert result.total_seconds < 100 and keyframes < 100 and every_frame < 100
    assert keyframes == found.pipeline_seconds + found.media_seconds
    assert every_frame == found.every_frame_seconds + found.media_seconds
    assert found.whole_video_speed_up == every_frame / keyframes
    assert f"building the core {setup.build_seconds:.1f} s, loading" in str(found)
    assert found.to_dict()["setup"]["build_seconds"] == setup.build_seconds
    assert found.to_dict()["whole_video"]["speed_up"] == found.whole_video_speed_up


def test_setup_names_the_times_that_count() -> None:
    assert str(SetupTimes(0.002, 1.23, 0.01)) == "loading 1.2 s"
    assert str(SetupTimes(41, 1.2, 0.01)) == "building the core 41.0 s and loading 1.2 s"
    assert str(SetupTimes(41, 1.2, 0.3)) == (
        "building the core 41.0 s, loading 1.2 s and warm-up 0.3 s"
    )


def test_nothing_is_warmed_up_without_a_comparison(make_clip: MakeClip, tmp_path: Path) -> None:
    painter = Counted()
    result = stylize(make_clip(), tmp_path / "out.mp4", painter=painter, keyframes=12)
    assert len(painter.shapes) == result.keys and result.setup.warm_up_seconds == 0


def test_a_painter_that_fails_while_warming_up(make_clip: MakeClip, tmp_path: Path) -> None:
    pytest.importorskip("skimage")

    def painter(pixels: Picture) -> Picture:
        if not pixels.std():
            raise ValueError("nothing to paint")
        return 255 - pixels

    result = stylize(make_clip(), tmp_path / "out.mp4", painter=painter, compare=True)
    assert not result.failures and result.comparison is not None


def test_options_and_changes_do_the_same(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip()
    options = StylizeOptions(keyframes=6, max_size=48, crf=20)
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    shown = Counted(), Counted()
    stylize(source, one, painter=shown[0], options=options)
    stylize(source, other, painter=shown[1], keyframes=6, max_size=48, crf=20)
    assert shown[0].shapes == shown[1].shapes == [(32, 48, 3)] * 5
    assert one.read_bytes() == other.read_bytes()
    few = stylize(source, tmp_path / "few.mp4", painter=negative, options=options, keyframes=12)
    assert few.keys == 3 and options.policy.every == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crf": 52}, "crf must be 0 to 51"),
        ({"threads": 65}, "threads must be 0 to 64"),
        ({"compare": 1}, "option compare cannot be 1"),
        ({"keyframes": True}, "option keyframes cannot be True"),
        ({"blend": "night"}, "option blend cannot be 'night'"),
        ({"upscale": "bicubic"}, "unknown way to upscale"),
        ({"upscale_weights": "x.safetensors"}, "upscale_weights are the network's"),
        ({"strenth": 0.5}, "unknown option 'strenth'"),
        ({"options": {"crf": 20}}, "must be StylizeOptions"),
    ],
)
def test_options_that_make_no_sense(
    settings: dict[str, Any], message: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    source = make_clip()
    with pytest.raises(UsageError, match=message):
        stylize(source, tmp_path / "out.mp4", painter=negative, **settings)
    assert left_in(tmp_path) == ["in.mp4"]


def test_the_former_name_of_upscale(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="upscale='network'"):
        options = with_changes(None, {"smooth": True})
    assert (options.upscale, options.upscale_weights) == ("network", None)
    with pytest.warns(DeprecationWarning):
        options = with_changes(None, {"smooth": tmp_path / "mine.safetensors"})
    assert (options.upscale, options.upscale_weights) == (
        *("network", tmp_path / "mine.safetensors"),
    )
    with pytest.warns(DeprecationWarning):
        assert with_changes(None, {"smooth": False}) == StylizeOptions()


def test_the_comparison_of_equal_videos(make_clip: MakeClip, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    still = [scene(1)[0]] * 4
    result = stylize(
        make_clip(pictures=still), tmp_path / "out.mp4", painter=negative, compare=True, seconds=0.1
    )
    found = result.comparison
    assert found is not None and found.frames == 3
    assert found.ssim == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"painter": None}, "a painter or a bundle"),
        ({"bundle": "x.edge"}, "a painter or a bundle"),
        ({"style": "mosaic"}, "choose within a bundle"),
        ({"keyframes": "often"}, "key frames are 'auto'"),
        ({"keyframes": 0}, "every must be"),
        ({"max_size": 3}, "max_size"),
        ({"strength": 1.5}, "strength"),
        ({"seconds": 0}, "seconds must be above zero"),
        ({"seconds": float("nan")}, "seconds must be above zero"),
        ({"quality": "lovely"}, "quality"),
        ({"rate": Fraction(25)}, "its own frame times"),
    ],
)
def test_arguments_that_make_no_sense(
    settings: dict[str, Any], message: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    source = make_clip()
    with pytest.raises(UsageError, match=message):
        stylize(source, tmp_path / "out.mp4", **{"painter": negative, **settings})
    assert left_in(tmp_path) == ["in.mp4"]


def test_bad_paths(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip()
    with pytest.raises(UsageError, match="is the input itself"):
        stylize(source, source, painter=negative, overwrite=True)
    with pytest.raises(InputNotFoundError, match="no such file"):
        stylize(tmp_path / "no.mp4", tmp_path / "out.mp4", painter=negative)
    with pytest.raises(UsageError, match="does not end like a video"):
        stylize(source, tmp_path / "out.gif", painter=negative)
    (tmp_path / "out.mp4").write_text("before")
    with pytest.raises(OutputExistsError):
        stylize(source, tmp_path / "out.mp4", painter=negative)
    (tmp_path / "new-contact-sheet.png").write_text("before")
    with pytest.raises(OutputExistsError, match="contact-sheet"):
        stylize(source, tmp_path / "new.mp4", painter=negative, compare=True)
    with pytest.raises(UsageError, match="nothing twice"):
        stylize(0, tmp_path / "new.mp4", painter=negative, compare=True)


def test_a_size_that_changes_leaves_nothing(make_clip: MakeClip, tmp_path: Path) -> None:
    one = make_clip("a.h264").read_bytes()
    other = make_clip("b.h264", scene(10, (64, 64))).read_bytes()
    both = tmp_path / "both.h264"
    both.write_bytes(one + other)
    with pytest.raises(MediaError, match=r"at 0\.960 s"):
        stylize(both, tmp_path / "out.mp4", painter=negative)
    assert left_in(tmp_path) == ["a.h264", "b.h264", "both.h264"]


def test_an_interruption_leaves_nothing(make_clip: MakeClip, tmp_path: Path) -> None:
    def interrupt(progress: StylizeProgress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        stylize(make_clip(), tmp_path / "out.mp4", painter=negative, on_progress=interrupt)
    assert left_in(tmp_path) == ["in.mp4"]
    assert threading.active_count() <= before


def test_a_policy_may_be_given(make_clip: MakeClip, tmp_path: Path) -> None:
    policy = KeyframePolicy(longest_interval=4, mean_residual=1, occluded_fraction=1)
    result = stylize(make_clip(), tmp_path / "out.mp4", painter=negative, keyframes=policy)
    assert result.reasons["interval"] == 5


def test_the_latency_of_streaming(make_clip: MakeClip, tmp_path: Path) -> None:
    from edgesdk.video.pipeline import VideoPipeline

    pulled = 0
    with VideoReader(make_clip()) as reader, VideoPipeline(negative, streaming=True) as pipeline:

        def counted() -> Any:
            nonlocal pulled
            for frame in reader:
                pulled += 1
                yield frame

        for given, _ in enumerate(pipeline.run(counted()), 1):
            assert pulled - given <= 2


def test_reading_ahead_is_bounded_and_ends(make_clip: MakeClip) -> None:
    pulled = 0

    class Slow:
        def __init__(self, reader: VideoReader) -> None:
            self.properties, self.trouble = reader.properties, reader.trouble
            self._reader = reader

        def __iter__(self) -> Any:
            nonlocal pulled
            for frame in self._reader:
                pulled += 1
                yield frame

        def close(self) -> None:
            pass

    with VideoReader(make_clip()) as reader, ReadAhead(Slow(reader), frames=2) as ahead:
        frames = iter(ahead)
        next(frames)
        deadline = time.monotonic() + 5
        while pulled < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One taken, two that wait, one in the thread's hand.
        assert pulled == 4
        assert sum(1 for _ in frames) == 23
