"""Read video files in any container and codec of FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesdk.errors import InputNotFoundError, MediaError, StorageError
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.closing import Closing
from edgesdk.video.frames import Frame
from edgesdk.video.media.backend import pyav
from edgesdk.video.media.colour import ToRgb, colour_of, is_high_dynamic_range
from edgesdk.video.media.orientation import UPRIGHT, Orientation, parse_display_matrix
from edgesdk.video.media.properties import Trouble, VideoProperties

__all__ = ["VideoReader", "first_timestamp", "open_container", "seconds_text"]

#: Maximum number of failed reads in a row before the rest of a file is dropped.
_FAILURES_IN_A_ROW = 1000
#: Assumed frames a second of a file that does not state a rate.
_USUAL_RATE = Fraction(25)
#: A file counts as truncated if it ends earlier than stated by more than this many seconds.
_TRUNCATED_AFTER = Fraction(1, 2)


def seconds_text(time: Fraction | float) -> str:
    """Format a time: ``12.040 s``."""
    return f"{float(time):.3f} s"


class VideoReader(Closing):
    """The frames of a video file, decoded on demand.

    Frames come upright (the display matrix is applied), as RGB converted with the matrix and range
    of the file, at the file's times. Packets that cannot be decoded are skipped and counted.

    Args:
        path: The file.
        strict: Raise at the first packet that cannot be decoded, and if the file is truncated.
        threads: Threads of the decoder; 0: one a processor.

    Attributes:
        properties: Properties of the video as shown.
        trouble: Packets skipped so far, and remarks.

    Raises:
        InputNotFoundError: The file does not exist.
        StorageError: The file cannot be read.
        MediaError: It is not a video, has no video stream, or none of its frames can be decoded.
        MissingBackendError: PyAV is not installed.
    """

    def __init__(self, path: str | Path, *, strict: bool = False, threads: int = 0) -> None:
        self.path = Path(path)
        self.trouble = Trouble()
        self._strict = strict
        self._container = open_container(self.path)
        try:
            self._begin(threads)
        except BaseException:
            self.close()
            raise

    def _begin(self, threads: int) -> None:
        self._stream = self._video_stream()
        self._stream.codec_context.thread_count = threads
        # Frame threads report errors some packets later, and at the end of a file not at all.
        # Painting takes longer than decoding, which runs beside it.
        self._stream.thread_type = "SLICE"
        self._base = self._stream.time_base or Fraction(1, 90_000)
        rates = (self._stream.average_rate, self._stream.guessed_rate, self._stream.base_rate)
        self._rate = next((rate for rate in rates if rate), _USUAL_RATE)
        self._to_rgb = ToRgb()
        self._orientation = UPRIGHT
        self._turned_by: int | None = None
        self._origin: Fraction | None = None
        self._last: Fraction | None = None
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            damaged = self.trouble.skipped
            detail = f": none of {damaged} packets can be decoded" if damaged else ""
            raise MediaError(f"{str(self.path)!r} holds no frame{detail}")
        self._first: Any = first
        self.properties = self._properties(first)

    def _video_stream(self) -> Any:
        pictures = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        readable = [stream for stream in pictures if stream.codec_context is not None]
        if not pictures:
            kinds = sorted({stream.type for stream in self._container.streams})
            held = " and ".join(kinds) if kinds else "nothing"
            raise MediaError(f"{str(self.path)!r} holds no video stream; it holds {held}")
        if not readable:
            raise MediaError(
                f"the codec of {str(self.path)!r} has no decoder here",
                remedy="convert it to H.264 or VP9",
            )
        best = self._container.streams.best("video")
        chosen = best if best in readable else readable[0]
        if len(pictures) > 1:
            self.trouble.remark(
                f"the file holds {len(pictures)} video streams; stream {chosen.index} is read"
            )
        return chosen

    def _properties(self, first: Any) -> VideoProperties:
        colour, stream = colour_of(first), self._stream
        if is_high_dynamic_range(colour):
            self.trouble.remark(
                "the video has a high dynamic range (PQ or HLG); its values are painted "
                "unchanged, with 8 bits, and keep their tags"
            )
        if first.interlaced_frame:
            self.trouble.remark("the video is interlaced; both fields are painted as one picture")
        if any(component.is_alpha for component in first.format.components):
            self.trouble.remark("the video has transparency, which is dropped")
        turned = self._turn(first)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        offset = first_timestamp(self._container, stream, self._origin)
        duration = None
        if stream.duration:
            duration = stream.duration * self._base
        elif self._container.duration:
            duration = Fraction(self._container.duration, pyav().time_base)
        return VideoProperties(
            size=turned.size(first.width, first.height),
            rate=Fraction(self._rate),
            time_base=self._base,
            colour=colour,
            start=(self._origin or Fraction(0)) - offset,
            variable=_differ(stream.average_rate, stream.base_rate),
            aspect=1 / aspect if turned.transpose else aspect,
            frames=stream.frames or (round(duration * self._rate) if duration else None),
            duration=duration,
            audio_from=self.path,
            audio_offset=offset,
        )

    def __iter__(self) -> Iterator[Frame]:
        width, height = self._first.width, self._first.height
        index = 0
        frame, self._first = self._first, None
        while frame is not None:
            time = self._time_of(frame)
            if (frame.width, frame.height) != (width, height):
                raise MediaError(
                    f"the picture changes from {width} x {height} to {frame.width} x "
                    f"{frame.height} at {seconds_text(time)}",
                    where=str(self.path),
                    remedy="cut the file there and stylize its parts",
                )
            yield Frame(index, time, self._orient(frame, self._pixels(frame, time)))
            index += 1
            frame = next(self._decoded, None)
        self._check_end()

    def _pixels(self, frame: Any, time: Fraction) -> Any:
        try:
            return self._to_rgb(frame)
        except pyav().FFmpegError as error:
            raise MediaError(
                f"the pixel format {frame.format.name} at {seconds_text(time)} cannot be converted "
                f"to RGB: {error.strerror}",
                where=str(self.path),
            ) from error

    def _turn(self, frame: Any) -> Orientation:
        # Access to its side data makes a frame refer to itself and stay in memory until the next
        # garbage collection: access them only if the rotation has changed.
        if self._turned_by != frame.rotation:
            from av.sidedata.sidedata import Type

            self._turned_by = frame.rotation
            data = frame.side_data.get(Type.DISPLAYMATRIX)
            self._orientation = UPRIGHT if data is None else parse_display_matrix(bytes(data))
            if not self._orientation.exact:
                self.trouble.remark(
                    "the display matrix does not turn by quarters; the picture is painted as stored"
                )
                self._orientation = UPRIGHT
        return self._orientation

    def _orient(self, frame: Any, pixels: Any) -> Any:
        turn = self._turn(frame)
        if turn.size(frame.width, frame.height) != self.properties.size:
            raise MediaError(
                "the orientation of the picture changes in the middle of the video",
                where=str(self.path),
            )
        return pixels if turn == UPRIGHT else turn.apply(pixels)

    def _time_of(self, frame: Any) -> Fraction:
        """Return the seconds since the first frame, always later than the frame before."""
        stamp = _stamp(frame)
        if stamp is not None:
            time = stamp * self._base - (self._origin or 0)
        else:
            time = Fraction(0) if self._last is None else self._last + 1 / self._rate
        if self._last is not None and time <= self._last:
            self.trouble.remark(
                "some frames had the time of the frame before; they were moved after it"
            )
            time = self._last + self._base
        self._last = time
        return time

    def _decode(self) -> Iterator[Any]:
        """Yield decoded frames; ``_origin`` is set at the first."""
        av = pyav()
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.error.EOFError:
                continue
            except av.FFmpegError as error:
                if packet is not None and packet.size:
                    self._skip(_stamp(packet), error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._skip(_stamp(frame), None)
                    continue
                if self._origin is None:
                    self._origin = (_stamp(frame) or 0) * self._base
                yield frame

    def _packets(self) -> Iterator[Any]:
        """Yield packets of the stream, and None at the end; skip unreadable ones."""
        av = pyav()
        failures = 0
        while failures < _FAILURES_IN_A_ROW:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except OSError as error:
                raise StorageError(
                    f"cannot read {str(self.path)!r}: {error.strerror or error}",
                    remedy="check the disk and try again",
                ) from error
            except av.FFmpegError as error:
                # A damaged file may state huge lengths, which end as "no memory".
                failures += 1
                self._skip(None, error)
        yield None

    def _skip(self, stamp: int | None, error: Any) -> None:
        time = None if stamp is None else stamp * self._base - (self._origin or 0)
        if self._strict:
            place = "at the start" if self._last is None else f"after {seconds_text(self._last)}"
            if time is not None:
                place = f"at {seconds_text(time)}"
            why = f": {error.strerror}" if error is not None else ""
            raise MediaError(
                f"a packet {place} cannot be decoded{why}",
                where=str(self.path),
                remedy="leave out --strict to skip and count what is damaged",
            )
        self.trouble.skip(time)

    def _check_end(self) -> None:
        promised, last = self.properties.duration, self._last
        if promised is None or last is None:
            return
        short = promised - last - 1 / self._rate
        if short > max(_TRUNCATED_AFTER, promised / 50):
            message = (
                f"the video ends after {seconds_text(last)}; its file says {float(promised):.3f} s"
            )
            if self._strict:
                raise MediaError(message, where=str(self.path), remedy="the file may be truncated")
            self.trouble.remark(message)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        # A decoder suspended in a generator keeps its frames.
        self._first = None
        self._container.close()


def first_timestamp(container: Any, video: Any, origin: Fraction | None) -> Fraction:
    """Return the time on a file's clock that counts as its beginning, seconds; never negative.

    A transport stream may begin at any time. A small negative time is the sound's priming, which
    players cut off and containers keep.
    """
    starts = [
        stream.start_time * stream.time_base
        for stream in container.streams
        if stream.type == "audio" and stream.start_time is not None and stream.time_base
    ]
    if origin is not None:
        starts.append(origin)
    elif video.start_time is not None:
        starts.append(video.start_time * video.time_base)
    return max(Fraction(0), min(starts, default=Fraction(0)))


def _stamp(unit: Any) -> int | None:
    """Return the time of a frame or packet, in ticks."""
    stamp: int | None = unit.pts if unit.pts is not None else unit.dts
    return stamp


def _differ(average: Fraction | None, base: Fraction | None) -> bool:
    """Return True if the average rate differs from the rate of the clock of frame times."""
    return bool(average and base and abs(average / base - 1) > Fraction(1, 100))


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def open_container(path: Path) -> Any:
    """Open a file as an ``av`` container.

    Raises:
        InputNotFoundError: The file does not exist.
        StorageError: The file cannot be read.
        MediaError: It is not a video or sound file.
    """
    if not path.exists():
        raise InputNotFoundError(path)
    av = pyav()
    with storage_errors("cannot read", path):
        # Faults of files are reported in the system's words, before the library's.
        if path.is_dir():
            raise MediaError(f"{str(path)!r} is a folder, not a video")
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError(f"{str(path)!r} is empty")
    try:
        # Neither a name nor a playlist may open another protocol than files.
        return av.open(
            f"file:{path.absolute()}",
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise MediaError(
            f"{str(path)!r} is not a video that can be read: {error.strerror}",
            remedy="the file may be truncated, or of another type",
        ) from error
