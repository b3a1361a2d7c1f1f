"""Written files hold what was read: times, colours, sound; whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesdk.errors import MediaError, OutputExistsError, StorageError, UsageError
from edgesdk.video.media.colour import assumed_colour
from edgesdk.video.media.properties import VideoProperties
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.media.writing import VideoWriter

av = pytest.importorskip("av")

ROOT = Path(__file__).resolve().parents[3]

Picture = NDArray[np.uint8]
MakeVideo = Callable[..., Path]
Packets = Callable[..., list[tuple[Fraction, bytes]]]


def copy(source: Path, target: Path, **options: Any) -> VideoWriter:
    """Read every frame and write it as it is."""
    with (
        VideoReader(source) as reader,
        VideoWriter(target, reader.properties, **options) as writer,
    ):
        for frame in reader:
            writer.write(frame.pixels, frame.time)
        writer.finish()
    return writer


def frames_of(path: Path) -> list[Any]:
    with VideoReader(path) as reader:
        return list(reader)


def properties(width: int = 64, height: int = 48, **changes: Any) -> VideoProperties:
    made = VideoProperties(
        size=(width, height),
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        colour=assumed_colour(width, height),
    )
    return replace(made, **changes)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


_VARIABLE = [Fraction(n, 600) for n in (0, 7, 40, 41, 300, 1201)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 12},
        {"times": _VARIABLE, "time_base": Fraction(1, 600)},
        {"times": [Fraction(1001 * i, 30_000) for i in range(6)]},
    ],
)
def test_times_come_back_as_they_were(
    suffix: str, settings: dict[str, Any], make_video: MakeVideo, tmp_path: Path
) -> None:
    source = make_video("in.mp4", **settings)
    target = tmp_path / f"out{suffix}"
    copy(source, target)
    before = [frame.time for frame in frames_of(source)]
    assert [frame.time for frame in frames_of(target)] == before
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        # The last frame is shown for some time, so the track does not end with its beginning.
        assert before[-1] < stream.duration * stream.time_base <= before[-1] + Fraction(1, 2)
    assert left_in(tmp_path) == ["in.mp4", target.name]


def test_matroska_counts_milliseconds(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("in.mp4", times=_VARIABLE, time_base=Fraction(1, 600))
    copy(source, tmp_path / "out.mkv")
    after = [frame.time for frame in frames_of(tmp_path / "out.mkv")]
    assert max(abs(a - b) for a, b in zip(after, _VARIABLE, strict=True)) <= Fraction(1, 1000)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colorspace", [1, 6])
def test_colours_come_back_with_their_tags(
    full_range: bool, colorspace: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (64, 1))[:, :, None], 3, axis=2)
    source = make_video(
        "in.mp4", [ramp], full_range=full_range, colorspace=colorspace, options={"crf": "0"}
    )
    copy(source, tmp_path / "out.mp4", crf=1)
    with VideoReader(tmp_path / "out.mp4") as reader:
        found = next(iter(reader)).pixels
        colour = reader.properties.colour
    assert int(np.abs(found.astype(int) - ramp).max()) <= 2
    assert (colour.matrix, colour.full_range) == (colorspace, full_range)
    # What players read are the tags, not our own guesses.
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (colorspace, 1 + full_range)
        assert frame.format.name in ("yuv420p", "yuvj420p")


@pytest.mark.parametrize("colorspace", [1, 6, 9])
def test_saturated_colours(
    colorspace: int,
    make_video: MakeVideo,
    tmp_path: Path,
    quadrants: Callable[..., Picture],
) -> None:
    still = quadrants(64, 48)
    source = make_video("in.mp4", [still], colorspace=colorspace, options={"crf": "1"})
    copy(source, tmp_path / "out.mp4", crf=1)
    found = frames_of(tmp_path / "out.mp4")[0].pixels.astype(int)
    for y, x in ((10, 10), (10, 50), (40, 10), (40, 50)):
        assert np.abs(found[y, x] - still[y, x]).max() <= 6


@pytest.mark.parametrize(("width", "height"), [(63, 47), (64, 47), (1, 1)])
def test_odd_sizes_are_padded_not_cut(width: int, height: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    picture = np.kron(
        random.integers(40, 200, (height // 8 + 1, width // 8 + 1, 1)), np.ones((8, 8, 3))
    ).astype(np.uint8)[:height, :width]
    target = tmp_path / "out.mp4"
    with VideoWriter(target, properties(width, height), crf=1) as writer:
        writer.write(picture, Fraction(0))
        writer.finish()
    assert writer.padded == (width % 2, height % 2)
    assert "repeated" in writer.trouble.remarks[0]
    found = frames_of(target)[0].pixels.astype(int)
    assert found.shape == (height + height % 2, width + width % 2, 3)
    # The pixels of the source are all there, and none is interpolated.
    assert np.abs(found[:height, :width] - picture).max() <= 3
    if width % 2:
        assert np.abs(found[:, -1] - found[:, -2]).max() <= 3


def test_rotation_is_baked_in_and_pixels_keep_their_shape(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    quarter = [0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30]
    source = make_video("in.mp4", matrix=quarter, aspect=Fraction(4, 3))
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (48, 64, 0)
        assert container.streams.video[0].sample_aspect_ratio == Fraction(3, 4)


def test_a_player_can_begin_before_it_has_the_whole_file(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    copy(make_video("in.mp4"), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(
    ("source", "codec", "target"),
    [
        ("in.mp4", "aac", "out.mp4"),
        ("in.mp4", "aac", "out.mov"),
        ("in.mkv", "aac", "out.mp4"),
        ("in.mkv", "libopus", "out.mp4"),
        ("in.mkv", "flac", "out.mkv"),
        ("in.mkv", "ac3", "out.mp4"),
    ],
)
def test_sound_is_copied_packet_by_packet(
    source: str, codec: str, target: str, make_video: MakeVideo, tmp_path: Path, packets: Packets
) -> None:
    path = make_video(source, frames=30, audio=codec)
    writer = copy(path, tmp_path / target)
    before, after = packets(path), packets(tmp_path / target)
    assert len(before) > 10
    assert [content for _, content in after] == [content for _, content in before]
    # Relative to the pictures; Matroska rounds to milliseconds and pushes both by the priming.
    shift_before = packets(path, "video")[0][0] - before[0][0]
    shift_after = packets(tmp_path / target, "video")[0][0] - after[0][0]
    slack = Fraction(1, 500) if ".mkv" in source + target else 0
    assert abs(shift_after - shift_before) <= slack
    assert not writer.trouble.remarks


@pytest.mark.parametrize(("codec", "target"), [("pcm_s16le", "out.mp4"), ("mp2", "out.mov")])
def test_sound_that_does_not_fit_is_re_encoded(
    codec: str, target: str, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video("in.mkv", frames=30, audio=codec)
    writer = copy(path, tmp_path / target)
    assert "re-encoded as AAC" in writer.trouble.remarks[0]
    with av.open(str(tmp_path / target)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate(sound, axis=1)[0]
    assert abs(len(samples) - 48_000) < 4_096
    # The tone is still there, as loud as it was: 440 Hz at 0.3.
    middle = samples[8_000:40_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * 48_000 / len(middle) - 440) < 3
    assert 0.25 < np.sqrt(2 * (middle**2).mean()) < 0.35


def test_several_languages(make_video: MakeVideo, tmp_path: Path, packets: Packets) -> None:
    one = make_video("one.mp4", frames=30, audio="aac")
    both = tmp_path / "both.mkv"
    with av.open(str(one)) as container, av.open(str(both), "w") as output:
        video = output.add_stream_from_template(container.streams.video[0], opaque=True)
        tracks = [output.add_stream_from_template(container.streams.audio[0]) for _ in range(2)]
        for track, language in zip(tracks, ("deu", "fra"), strict=True):
            track.metadata["language"] = language
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                packet.stream = video
                output.mux(packet)
                continue
            content = bytes(packet)
            for track in tracks:
                twin = av.Packet(content)
                twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
                twin.stream = track
                output.mux(twin)
    copy(both, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.language for stream in container.streams.audio] == ["deu", "fra"]
    for index in (0, 1):
        assert [c for _, c in packets(tmp_path / "out.mp4", "audio", index)] == [
            c for _, c in packets(one)
        ]


def test_a_transport_stream_begins_anywhere(
    make_video: MakeVideo, tmp_path: Path, packets: Packets
) -> None:
    source = make_video("in.ts", frames=30, audio="aac", time_base=Fraction(1, 90_000))
    copy(source, tmp_path / "out.mp4")
    before, after = (
        packets(path, "video")[0][0] - packets(path)[0][0]
        for path in (source, tmp_path / "out.mp4")
    )
    assert before == pytest.approx(after, abs=1e-4)
    assert (
        min(packets(tmp_path / "out.mp4")[0][0], packets(tmp_path / "out.mp4", "video")[0][0]) <= 0
    )


def test_sound_ends_with_the_pictures_where_they_end_early(
    make_video: MakeVideo, tmp_path: Path, packets: Packets
) -> None:
    source = make_video("in.mp4", frames=60, audio="aac")
    target = tmp_path / "out.mp4"
    with VideoReader(source) as reader, VideoWriter(target, reader.properties) as writer:
        for frame in reader:
            if frame.index == 15:
                break
            writer.write(frame.pixels, frame.time)
        writer.finish(all_sound=False)
    assert 0.45 < packets(target)[-1][0] < 0.55


def test_the_source_is_never_overwritten(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("in.mp4")
    content = source.read_bytes()
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "hard.mp4").hardlink_to(source)
    with VideoReader(source) as reader:
        for name in ("in.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/in.mp4"):
            with pytest.raises(UsageError, match="is the input itself"):
                VideoWriter(tmp_path / name, reader.properties, overwrite=True)
    assert source.read_bytes() == content


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("before")
    with pytest.raises(OutputExistsError, match="overwrite"):
        VideoWriter(target, properties())
    with VideoWriter(target, properties(), overwrite=True) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8), Fraction(0))
        assert target.read_text() == "before"
        writer.finish()
    assert len(frames_of(target)) == 1


@pytest.mark.parametrize("name", ["out.gif", "out", "out.webm", "out.avi"])
def test_other_endings(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not end like a video"):
        VideoWriter(tmp_path / name, properties())
    assert left_in(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file or folder"):
        VideoWriter(tmp_path / "no" / "out.mp4", properties())


def test_nothing_is_left_when_it_is_not_finished(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(tmp_path / "out.mp4", properties()) as writer,
    ):
        writer.write(np.zeros((48, 64, 3), np.uint8), Fraction(0))
        raise KeyboardInterrupt
    with VideoWriter(tmp_path / "out.mp4", properties()) as writer, pytest.raises(MediaError):
        writer.finish()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((48, 63, 3), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
def test_frames_of_another_kind(pixels: NDArray[Any], tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "out.mp4", properties()) as writer,
        pytest.raises(UsageError, match="64 x 48"),
    ):
        writer.write(pixels, Fraction(0))


def test_times_closer_than_the_clock(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with VideoWriter(target, properties()) as writer:
        for i in range(4):
            writer.write(np.zeros((48, 64, 3), np.uint8), Fraction(i, 1000))
        writer.finish()
    assert [frame.time for frame in frames_of(target)] == [Fraction(i, 25) for i in range(4)]


_FULL_DISK = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from edgesdk.errors import StorageError
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.media.writing import VideoWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
source, target, limit, frames = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random = np.random.default_rng(0)
with VideoReader(source) as reader:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with VideoWriter(target, reader.properties, overwrite=True, crf=1) as writer:
            for i in range(frames):
                writer.write(random.integers(0, 256, (48, 64, 3), dtype=np.uint8), Fraction(i, 30))
            writer.finish()
    except StorageError as error:
        print(error)
        sys.exit(error.exit_code)
"""


def _write_noise(source: Path, target: Path, limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(source), str(target), str(limit), "40"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# At the first byte, in the middle, and while the index is moved to the front.
@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_full_disk(share: float, make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("in.mp4", audio="aac")
    target = tmp_path / "out.mp4"
    assert _write_noise(source, target, 1 << 30).returncode == 0
    limit = int(share * target.stat().st_size) + 1
    target.write_text("before")
    done = _write_noise(source, target, limit)
    assert done.returncode == 3, done.stderr
    assert "larger than" in done.stdout and "out.mp4" in done.stdout
    assert target.read_text() == "before"
    assert left_in(tmp_path) == ["in.mp4", "out.mp4"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission"):
            VideoWriter(tmp_path / "out.mp4", properties())
    finally:
        tmp_path.chmod(0o700)
