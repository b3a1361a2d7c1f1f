"""The sound of a file, put beside new pictures: copied packet by packet where that can be."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesdk.video.media.backend import pyav
from edgesdk.video.media.properties import Trouble
from edgesdk.video.media.reading import open_container

__all__ = ["AudioTracks"]

#: By suffix of the output: codecs that its players know. Others are encoded anew as AAC.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    ".m4v": {"aac", "mp3", "ac3", "eac3", "alac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "dts", "pcm_s16le"},
}


#: By number of channels, those of AAC.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


class _Copied:
    """A track whose packets are passed on as they are."""

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
    """A track that is decoded and encoded as AAC."""

    def __init__(self, source: Any, output: Any, offset: Fraction) -> None:
        av = pyav()
        rate = source.codec_context.sample_rate
        # AAC has no other rates; the resampler takes the nearest.
        known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
        self._rate = min(known, key=lambda choice: abs(choice - rate))
        channels = source.codec_context.layout.nb_channels
        # By number alone: PCM has no layout but this one, and AAC none for odder ones.
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
        packets = []
        for resampled in self._resampler.resample(frame):
            packets += self.stream.encode(resampled)
        return packets


class AudioTracks:
    """Every audio stream of a file, on its way into another.

    The file is opened a second time: its sound is read at the pace of the pictures that are
    written, whatever the order of its packets, and nothing is kept.

    Args:
        path: The file.
        output: The ``av`` container that is written; its header is not out yet.
        suffix: Of the output's name.
        offset: Seconds of the file's clock that become the beginning.
        trouble: Takes what is skipped and remarked.
    """

    def __init__(
        self, path: Path, output: Any, *, suffix: str, offset: Fraction, trouble: Trouble
    ) -> None:
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
            self._discard_others()
        except BaseException:
            self.close()
            raise
        self._queue = self._read()
        self._next: tuple[Fraction | None, Any] | None = next(self._queue, None)

    def _track(self, stream: Any, suffix: str) -> _Copied | _Encoded | None:
        av = pyav()
        context = stream.codec_context
        name = context.name if context is not None else "an unknown codec"
        told = f"audio stream {stream.index} ({name})"
        if context is None or not stream.time_base:
            self._trouble.remark(f"{told} cannot be decoded and is left out")
            return None
        if context.codec.canonical_name in _COPIED[suffix]:
            try:
                return _Copied(stream, self._output, self._offset)
            except ValueError:
                pass  # This container does not take it; encoded anew it will.
        try:
            track = _Encoded(stream, self._output, self._offset)
        except (ValueError, av.FFmpegError) as error:
            self._trouble.remark(f"{told} cannot be encoded anew ({error}) and is left out")
            return None
        self._trouble.remark(f"{told} is encoded anew as AAC: {suffix} files do not hold it")
        return track

    def _discard_others(self) -> None:
        from av.stream import Discard

        for stream in self._container.streams:
            if stream.index not in self._tracks:
                stream.discard = Discard.all

    def _read(self) -> Iterator[tuple[Fraction | None, Any]]:
        """Packets with their times; those at the end, which empty the codecs, have none."""
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
        """Write the sound up to a time on the output's clock; None: all that is left.

        Raises:
            OSError: The disk refuses.
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
                # Packets out of order or malformed, which the container refuses.
                self._skip()

    def end(self, time: Fraction | None) -> None:
        """Write the rest, up to a time where the pictures end before their file does."""
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
        """Close the file the sound comes from."""
        self._container.close()
