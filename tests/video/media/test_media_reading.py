"""Frames of real files: upright, in their own colours, at their own times, whatever is damaged."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesdk.errors import InputNotFoundError, MediaError, MissingBackendError
from edgesdk.video.media.orientation import parse_display_matrix
from edgesdk.video.media.reading import VideoReader

av = pytest.importorskip("av")

Picture = NDArray[np.uint8]
MakeVideo = Callable[..., Path]

_ONE = 1 << 16
#: Nearly lossless: what remains is the conversion of colours.
_FINE = {"crf": "1"}


def _corners(picture: Picture) -> list[list[int]]:
    height, width = picture.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return [picture[y, x].tolist() for y in rows for x in columns]


def _largest(a: object, b: object) -> int:
    return int(np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32)).max())


def test_every_frame_at_its_time(make_video: MakeVideo) -> None:
    path = make_video("plain.mp4", frames=7)
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.time for frame in frames] == [Fraction(i, 30) for i in range(7)]
    assert reader.properties.size == (64, 48) and reader.properties.rate == 30
    assert (reader.properties.frames, reader.trouble.skipped) == (7, 0)
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3) and frame.pixels.dtype == np.uint8
        assert frame.pixels.flags.c_contiguous and isinstance(frame.time, Fraction)
    # Each has memory of its own: an engine keeps some of them.
    assert not np.shares_memory(frames[0].pixels, frames[1].pixels)


def test_variable_frame_times_are_exact(make_video: MakeVideo) -> None:
    times = [Fraction(n, 600) for n in (0, 7, 40, 41, 300, 1201)]
    path = make_video("variable.mp4", times=times, time_base=Fraction(1, 600))
    with VideoReader(path) as reader:
        assert [frame.time for frame in reader] == times
        assert reader.properties.variable


def test_frames_without_times_follow_the_rate(make_video: MakeVideo) -> None:
    path = make_video("raw.h264", frames=4, rate=25)
    with VideoReader(path) as reader:
        assert [frame.time for frame in reader] == [Fraction(i, 25) for i in range(4)]


# The pixel at (p, q) is shown at (a p + c q, b p + d q), so a picture's corners change places.
@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        *itertools.starmap(lambda x, y: (x, 0, 0, y), itertools.product((1, -1), repeat=2)),
        *itertools.starmap(lambda x, y: (0, x, y, 0), itertools.product((1, -1), repeat=2)),
    ],
)
def test_display_matrix(
    a: int, b: int, c: int, d: int, make_video: MakeVideo, quadrants: Callable[..., Picture]
) -> None:
    stored = quadrants(64, 48)
    path = make_video(
        "turned.mp4",
        [stored] * 2,
        matrix=[_ONE * a, _ONE * b, 0, _ONE * c, _ONE * d, 0, 0, 0, 1 << 30],
        options=_FINE,
    )
    height, width = (48, 64) if a else (64, 48)
    expected = np.empty((height, width, 3), np.uint8)
    for q, p in itertools.product(range(48), range(64)):
        x, y = a * p + c * q, b * p + d * q
        expected[y + height - 1 if y < 0 or b + d < 0 else y][
            x + width - 1 if x < 0 or a + c < 0 else x
        ] = stored[q, p]
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.properties.size == (width, height)
    assert _largest(_corners(frames[0].pixels), _corners(expected)) <= 6
    assert frames[1].pixels.flags.c_contiguous


@pytest.mark.parametrize("degrees", [30, 45, 88])
def test_a_matrix_of_no_quarter_is_told(degrees: int, make_video: MakeVideo) -> None:
    cos, sin = (round(_ONE * f(np.radians(degrees))) for f in (np.cos, np.sin))
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30]
    with VideoReader(make_video("tilted.mp4", matrix=matrix)) as reader:
        assert reader.properties.size == (64, 48)
        assert "does not turn by quarters" in reader.trouble.remarks[0]


def test_matrices_of_odd_content() -> None:
    assert not parse_display_matrix(b"").exact
    assert not parse_display_matrix(bytes(36)).exact
    # Rounded sines: a quarter all the same.
    turned = np.array([40, 65535, 0, -65536, 12, 0, 0, 0, 1 << 30], np.int32).tobytes()
    assert parse_display_matrix(turned) == parse_display_matrix(
        np.array([0, _ONE, 0, -_ONE, 0, 0, 0, 0, 1 << 30], np.int32).tobytes()
    )


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"],
)
def test_pixel_formats(
    pixel_format: str, make_video: MakeVideo, quadrants: Callable[..., Picture]
) -> None:
    still = quadrants(64, 48)
    path = make_video("format.mp4", [still] * 3, pixel_format=pixel_format, options=_FINE)
    with VideoReader(path) as reader:
        for frame in reader:
            assert _largest(_corners(frame.pixels), _corners(still)) <= 4


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colorspace", [1, 5, 6, 9])
def test_colours_by_matrix_and_range(
    full_range: bool,
    colorspace: int,
    make_video: MakeVideo,
    quadrants: Callable[..., Picture],
) -> None:
    still = quadrants(64, 48)
    path = make_video(
        "tagged.mp4", [still], full_range=full_range, colorspace=colorspace, options=_FINE
    )
    with VideoReader(path) as reader:
        pixels = next(iter(reader)).pixels
        colour = reader.properties.colour
    assert (colour.matrix, colour.full_range) == (colorspace, full_range)
    # Read with another matrix, green alone would be off by 20 and more.
    assert _largest(_corners(pixels), _corners(still)) <= 4


@pytest.mark.parametrize("full_range", [False, True])
def test_a_grey_ramp_keeps_its_values(full_range: bool, make_video: MakeVideo) -> None:
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (64, 1))[:, :, None], 3, axis=2)
    path = make_video("ramp.mp4", [ramp], full_range=full_range, options={"crf": "0"})
    with VideoReader(path) as reader:
        assert _largest(next(iter(reader)).pixels, ramp) <= 1


@pytest.mark.parametrize(("width", "height"), [(63, 47), (65, 48), (1, 1), (3, 2), (16, 5)])
def test_odd_sizes(width: int, height: int, make_video: MakeVideo) -> None:
    still = np.full((height, width, 3), (90, 120, 60), np.uint8)
    path = make_video("odd.mkv", [still] * 2, codec="ffv1", time_base=Fraction(1, 1000))
    with VideoReader(path) as reader:
        frames = list(reader)
    assert reader.properties.size == (width, height)
    assert frames[0].pixels.shape == (height, width, 3) and frames[0].pixels.flags.c_contiguous
    assert _largest(frames[0].pixels, still) <= 3


def test_one_frame_is_a_video(make_video: MakeVideo) -> None:
    with VideoReader(make_video("one.mp4", frames=1)) as reader:
        assert [frame.time for frame in reader] == [0]


def test_rgb_codecs(make_video: MakeVideo, quadrants: Callable[..., Picture]) -> None:
    still = quadrants(40, 30)
    path = make_video("rgb.mkv", [still], codec="ffv1", pixel_format="bgr0")
    with VideoReader(path) as reader:
        assert np.array_equal(next(iter(reader)).pixels, still)


def test_transparency_is_dropped_and_said(make_video: MakeVideo) -> None:
    path = make_video("alpha.mkv", codec="ffv1", pixel_format="bgra")
    with VideoReader(path) as reader:
        assert next(iter(reader)).pixels.shape == (48, 64, 3)
        assert reader.trouble.remarks == ["the video has transparency, which is dropped"]


def test_one_of_several_video_streams(make_video: MakeVideo) -> None:
    with VideoReader(make_video("two.mkv", video_streams=2, audio="aac")) as reader:
        assert len(list(reader)) == 6
        assert "2 video streams; stream 0 is read" in reader.trouble.remarks[0]


def test_a_size_that_changes_ends_with_the_time(tmp_path: Path, make_video: MakeVideo) -> None:
    first = make_video("a.h264", frames=5, rate=25)
    second = make_video("b.h264", frames=5, rate=25, size=(80, 48))
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(path) as reader:
        indices = []
        with pytest.raises(MediaError, match=r"from 64 x 48 to 80 x 48 at 0\.200 s") as caught:
            for frame in reader:
                indices.append(frame.index)
    assert indices == [0, 1, 2, 3, 4]
    assert caught.value.exit_code == 5 and "cut the file" in str(caught.value)


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg", "libx264"])
def test_damaged_packets_are_skipped_and_counted(
    codec: str, make_video: MakeVideo, damage: Callable[[Path, int], Fraction]
) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    random = np.random.default_rng(3)
    noise = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(8)]
    options = {"g": "1", "bf": "0"} if codec == "libx264" else {}
    path = make_video("damaged.mkv", noise, codec=codec, pixel_format=pixel_format, options=options)
    time = damage(path, 3)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.trouble.skipped == 1
        assert reader.trouble.times == [round(float(time), 3)]
    assert len(frames) == 7
    assert time not in [frame.time for frame in frames]
    with (
        VideoReader(path, strict=True) as strict,
        pytest.raises(MediaError, match=rf"at {float(time):.3f} s cannot be decoded"),
    ):
        list(strict)


def test_a_file_that_is_cut_short(make_video: MakeVideo) -> None:
    path = make_video(
        "long.mp4", frames=90, options={"g": "10"}, container_options={"movflags": "faststart"}
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with VideoReader(path) as reader:
        frames = list(reader)
        assert 20 < len(frames) < 90
        assert any("the video ends after" in text for text in reader.trouble.remarks)
        assert reader.trouble.skipped > 0
    with VideoReader(path, strict=True) as strict, pytest.raises(MediaError, match=r"\d s"):
        list(strict)


def test_a_matroska_file_that_is_cut_short(make_video: MakeVideo) -> None:
    path = make_video("long.mkv", frames=90, options={"g": "10"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with VideoReader(path) as reader:
        assert 20 < len(list(reader)) < 80


def _no_index(path: Path, make_video: MakeVideo) -> None:
    make_video(path.name, frames=30)
    path.write_bytes(path.read_bytes()[:400])


def _only_sound(path: Path, make_video: MakeVideo) -> None:
    container = av.open(str(path), "w", format="mp4")
    stream = container.add_stream("aac", rate=48_000)
    frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
    frame.sample_rate, frame.pts = 48_000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()


def _only_a_cover(path: Path, make_video: MakeVideo) -> None:
    from av.stream import Disposition

    container = av.open(str(path), "w", format="mp4")
    sound = container.add_stream("aac", rate=48_000)
    cover = container.add_stream("png", rate=1)
    cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
    cover.disposition = Disposition.attached_pic
    picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
    container.mux(cover.encode(picture))
    container.mux(cover.encode(None))
    frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
    frame.sample_rate, frame.pts = 48_000, 0
    container.mux(sound.encode(frame))
    container.mux(sound.encode(None))
    container.close()


def _no_frame(path: Path, make_video: MakeVideo) -> None:
    container = av.open(str(path), "w", format="avi")
    stream = container.add_stream("mpeg4", rate=30)
    stream.width, stream.height = 64, 48
    container.start_encoding()
    container.close()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, _: path.write_text("these are words\n" * 50), "is not a video"),
        (lambda path, _: path.write_bytes(bytes(range(256)) * 40), "is not a video"),
        (lambda path, _: path.touch(), "is empty"),
        (lambda path, _: path.mkdir(), "is a folder"),
        (_no_index, "is not a video that can be read"),
        (_only_sound, "holds no video stream; it holds audio"),
        (_only_a_cover, "holds no video stream; it holds audio and video"),
        (_no_frame, "holds no frame"),
    ],
)
def test_what_is_no_video(
    write: Callable[..., object], message: str, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = tmp_path / "clip.mp4"
    write(path, make_video)
    with pytest.raises(MediaError, match=message):
        VideoReader(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        VideoReader(tmp_path / "absent.mp4")


def test_without_pyav(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video("plain.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingBackendError, match=r"edgesdk\[video\]"):
        VideoReader(path)


def test_frames_are_freed_without_the_garbage_collector(make_video: MakeVideo) -> None:
    quarter = [0, -_ONE, 0, _ONE, 0, 0, 0, 0, 1 << 30]
    with VideoReader(make_video("plain.mp4", frames=60, matrix=quarter)) as reader:
        frames = iter(reader)
        next(frames)
        gc.collect()
        gc.disable()
        try:
            assert sum(1 for _ in frames) == 59
            # A cycle a frame would hold a second of video until the collector comes round.
            assert gc.collect() < 30
        finally:
            gc.enable()


def test_a_reader_may_be_left_in_the_middle(make_video: MakeVideo) -> None:
    with VideoReader(make_video("plain.mp4", frames=20)) as reader:
        for frame in reader:
            if frame.index == 3:
                break
    reader.close()
