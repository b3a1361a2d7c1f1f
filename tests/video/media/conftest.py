"""Real video files, each with the one property that a test is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av")

Picture = NDArray[np.uint8]
MakeVideo = Callable[..., Path]

#: Of the corners: top left, top right, bottom left, bottom right.
CORNERS = ((200, 30, 30), (30, 180, 40), (40, 50, 200), (220, 210, 60))


def _quadrants(width: int, height: int) -> Picture:
    """A picture whose four quarters have colours of their own."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = CORNERS[0], CORNERS[1]
    picture[top:, :left], picture[top:, left:] = CORNERS[2], CORNERS[3]
    return picture


def _moving(width: int, height: int, frames: int) -> list[Picture]:
    """The quarters, moved to the right by a pixel a frame."""
    still = _quadrants(width, height)
    return [np.roll(still, shift, axis=1) for shift in range(frames)]


def _sound(stream: Any, frames: int, rate: int, packet: Callable[[Any], None]) -> None:
    samples = np.arange(int(48_000 * frames / rate)) / 48_000
    wave = (0.3 * np.sin(2 * np.pi * 440 * samples)).astype(np.float32)
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=48_000)
    for start in range(0, len(wave), size):
        part = np.stack([wave[start : start + size]] * 2)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        for resampled in resampler.resample(frame):
            packet(stream.encode(resampled))
    packet(stream.encode(None))


def make_video_file(
    path: Path,
    pictures: Sequence[Picture] | None = None,
    *,
    frames: int = 6,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 30,
    times: Iterable[Fraction] | None = None,
    time_base: Fraction = Fraction(1, 30_000),
    matrix: Sequence[int] | None = None,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    full_range: bool = False,
    colorspace: int | None = None,
    aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
    video_streams: int = 1,
) -> Path:
    """Write a video with PyAV alone: none of the code under test."""
    from av.video.reformatter import Interpolation

    pictures = _moving(*size, frames) if pictures is None else pictures
    height, width = pictures[0].shape[:2]
    stamps = list(times) if times is not None else [Fraction(i, rate) for i in range(len(pictures))]
    container = av.open(str(path), "w", container_options=container_options or {})
    streams = []
    for _ in range(video_streams):
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.time_base = time_base
        context.color_range = 2 if full_range else 1
        if colorspace is not None:
            context.colorspace = colorspace
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(list(matrix))
        streams.append(stream)
    sound = None
    if audio is not None:
        sound = container.add_stream(audio, rate=48_000)
        sound.layout = "stereo"
    for picture, stamp in zip(pictures, stamps, strict=True):
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format,
                # Numbers of swscale: 1 BT.709, 5 BT.601, 9 BT.2020.
                dst_colorspace={1: 1, 9: 9}.get(colorspace or 6, 5),
                dst_color_range=2 if full_range else 1,
                interpolation=Interpolation.BILINEAR
                | Interpolation.ACCURATE_RND
                | Interpolation.FULL_CHR_H_INT,
            )
            frame.pts, frame.time_base = round(stamp / time_base), time_base
            container.mux(stream.encode(frame))
    for stream in streams:
        container.mux(stream.encode(None))
    if sound is not None:
        _sound(sound, len(pictures), rate, container.mux)
    container.close()
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Writes a video into the test's folder; see :func:`make_video_file`."""
    return lambda name, *given, **named: make_video_file(tmp_path / name, *given, **named)


@pytest.fixture(scope="session")
def quadrants() -> Callable[[int, int], Picture]:
    """Makes a picture whose four quarters have colours of their own."""
    return _quadrants


@pytest.fixture(scope="session")
def packets() -> Callable[..., list[tuple[Fraction, bytes]]]:
    """Times and contents of a stream's packets."""

    def read(path: Path, kind: str = "audio", index: int = 0) -> list[tuple[Fraction, bytes]]:
        with av.open(str(path)) as container:
            stream = [stream for stream in container.streams if stream.type == kind][index]
            return [
                (packet.pts * packet.time_base, bytes(packet))
                for packet in container.demux(stream)
                if packet.size
            ]

    return read


@pytest.fixture
def damage() -> Callable[[Path, int], Fraction]:
    """Overwrites the middle of a video packet; gives the time at which it would be shown."""

    def overwrite(path: Path, index: int) -> Fraction:
        with av.open(str(path)) as container:
            found = [packet for packet in container.demux(video=0) if packet.size]
            packet = found[index]
            place, size, time = packet.pos, packet.size, packet.pts * packet.time_base
        content = bytearray(path.read_bytes())
        begin, end = place + min(12, size // 4), place + size
        content[begin:end] = bytes((7 * i + 255) % 256 for i in range(end - begin))
        path.write_bytes(content)
        return time

    return overwrite
