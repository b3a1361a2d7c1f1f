"""Copy the sound of a file beside new pictures, packet by packet if possible."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesdk.video.media.backend import pyav
from edgesdk.video.media.properties import Trouble
from edgesdk.video.media.reading import open_container

__all__ = ["AudioTracks"]

#: Codecs that players know, by suffix of the output. Others are re-encoded as AAC.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    ".m4v": {"aac", "mp3", "ac3", "eac3", "alac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "dts", "pcm_s16le"},
}


#: Layouts of AAC by number of channels.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


class _Copied:
    """A track whose packets are copied."""

    def __init__(self, source: Any, output: Any, offset: Fraction) -> None:
        self.stream = output.add_stream_from_template(source)
        self._shift = round(offset / source.time_base)

    def packets(self, packet: Any) -> list[Any]:
        if not packet.size:
            return []
        if self._shift:
            packet.pts = None if packet.pts is None else packet.pts - self._shift
            packet.dts = None if packet.dts is None else packet.dts - self._shift
        packet.stream = self.stream
        return [packet]


class _Encoded:
    """A track that is decoded and re-encoded as AAC."""

    def __init__(self, source: Any, output: Any, offset: Fraction) -> None:
        av = pyav()
        rate = source.codec_context.sample_rate
        # The rates of AAC; the resampler takes the nearest.
        known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
        self._rate = min(known, key=lambda choice: abs(choice - rate))
        channels = source.codec_context.layout.nb_channels
        # By number alone: PCM does not name a layout, and AAC knows these only.
        self.stream = output.add_stream("aac", rate=self._rate)
        self.stream.layout = _LAYOUTS.get(channels, "stereo")
        self.stream.bit_rate = 96_000 * min(max(channels, 1), 6)
        self._resampler = av.AudioResampler(
            format="fltp", layout=self.stream.layout, rate=self._rate
        )
        self._source = source
        self._offset = offset

    def packets(self, packet: Any) -> list[Any]:
        encoded = []
        for frame in packet.decode():
            if frame.pts is not None and self._offset:
                frame.pts -= round(self._offset / frame.time_base)
            encoded += self._encode(frame)
        if not packet.size:
            encoded += self._encode(None)
            encoded += self.stream.encode(None)
        return encoded

    def _encode(self, frame: Any) -> list[Any]:
        resampled = self._resampler.resample(frame)
        return [packet for part in resampled for packet in self.stream.encode(part)]


class AudioTracks:
    """All audio streams of a file, copied into another.

    The file is opened a second time: its sound is read at the pace of the written pictures.

    Args:
        path: The file.
        output: The ``av`` container to write, before its header is written.
        suffix: Suffix of the output's name.
        offset: Time on the file's clock that becomes the beginning, seconds.
        trouble: Receives skipped packets and remarks.
    """

    def __init__(
        self, path: Path, output: Any, *, suffix: str, offset: Fraction, trouble: Trouble
    ) -> None:
        pyav()
        from av.stream import Discard

        self._output = output
        self._offset = offset
        self._trouble = trouble
        self._container = open_container(path)
        self._tracks: dict[int, _Copied | _Encoded] = {}
        try:
            for stream in self._container.streams.audio:
                track = self._track(stream, suffix)
                if track is not None:
                    if language := stream.metadata.get("language"):
                        track.stream.metadata["language"] = language
                    self._tracks[stream.index] = track
            for stream in self._container.streams:
                if stream.index not in self._tracks:
                    stream.discard = Discard.all
        except BaseException:
            self.close()
            raise
        self._queue = self._read()
        self._next: tuple[Fraction | None, Any] | None = next(self._queue, None)

    def _track(self, stream: Any, suffix: str) -> _Copied | _Encoded | None:
        av = pyav()
        context = stream.codec_context
        name = context.name if context is not None else "an unknown codec"
        label = f"audio stream {stream.index} ({name})"
        if context is None or not stream.time_base:
            self._trouble.remark(f"{label} cannot be decoded and is left out")
            return None
        if context.codec.canonical_name in _COPIED[suffix]:
            try:
                return _Copied(stream, self._output, self._offset)
            except ValueError:
                pass  # This container does not take the codec: re-encode it.
        try:
            track = _Encoded(stream, self._output, self._offset)
        except (ValueError, av.FFmpegError) as error:
            self._trouble.remark(f"{label} cannot be re-encoded ({error}) and is left out")
            return None
        self._trouble.remark(f"{label} is re-encoded as AAC: {suffix} files cannot hold it")
        return track

    def _read(self) -> Iterator[tuple[Fraction | None, Any]]:
        """Yield packets with their times; the last ones, which flush the codecs, have none."""
        av = pyav()
        streams = [self._container.streams[index] for index in self._tracks]
        failures = 0
        while streams and failures < 1000:
            try:
                for packet in self._container.demux(*streams):
                    failures = 0
                    stamp = packet.dts if packet.dts is not None else packet.pts
                    time = None if stamp is None else stamp * packet.time_base - self._offset
                    yield time, packet
                return
            except (av.error.InvalidDataError, av.error.MemoryError):
                failures += 1
                self._skip()

    def _skip(self) -> None:
        self._trouble.remark("some packets of the sound are damaged and left out")

    def __bool__(self) -> bool:
        return bool(self._tracks)

    def write_until(self, time: Fraction | None) -> None:
        """Write the sound up to a time on the output's clock; None: to its end.

        Raises:
            OSError: The disk cannot be written.
        """
        while self._next is not None:
            start, packet = self._next
            if time is not None and (start is None or start > time):
                return
            self._write(packet)
            self._next = next(self._queue, None)

    def _write(self, packet: Any) -> None:
        av = pyav()
        try:
            packets = self._tracks[packet.stream.index].packets(packet)
        except av.error.EOFError:
            return
        except OSError:
            raise
        except av.FFmpegError:
            self._skip()
            return
        for encoded in packets:
            try:
                self._output.mux(encoded)
            except OSError:
                raise
            except av.FFmpegError:
                # The container rejects packets that are malformed or out of order.
                self._skip()

    def end(self, time: Fraction | None) -> None:
        """Write the rest, up to a time if the pictures end before their source."""
        self.write_until(time)
        if time is not None:
            av = pyav()
            for index, track in self._tracks.items():
                if isinstance(track, _Encoded):
                    flush = av.Packet()
                    flush.stream = self._container.streams[index]
                    self._write(flush)
            self._next = None

    def close(self) -> None:
        """Close the source of the sound."""
        self._container.close()
