"""Writing video files: H.264 that phones play, with the clock, colours and sound of a source."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import EdgeSdkError, MediaError, UsageError
from edgesdk.host.atomic_write import partial_name, storage_errors, sync
from edgesdk.video.media.audio import AudioTracks
from edgesdk.video.media.backend import pyav
from edgesdk.video.media.colour import FromRgb
from edgesdk.video.media.outputs import check_output
from edgesdk.video.media.properties import Trouble, VideoProperties
from edgesdk.video.media.reading import seconds_text

__all__ = ["VIDEO_SUFFIXES", "VideoWriter"]

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

#: Endings of files that :class:`VideoWriter` writes.
VIDEO_SUFFIXES = tuple(sorted(_FORMATS))

#: The finest clock of an MP4 track that every player reads.
_FINEST_TIME_BASE = Fraction(1, 1_000_000)


class VideoWriter:
    """Encodes frames of one size into a video file.

    H.264, 8 bits, 4:2:0. Times are written as given, on the source's own clock; colours with the
    matrix and range of the source, and tags that say so; no rotation is left to the player. H.264
    holds even sizes only: an odd width or height is made even by repeating the last column or row,
    so that no pixel is lost or interpolated. Sound is copied packet by packet where the container
    takes it, else encoded as AAC.

    The file is written beside its place and renamed when it is whole: until then, and after a full
    disk or an interruption, what was there before stands.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` (both play before they are loaded whole) or ``.mkv``
            (whose clock has milliseconds).
        properties: Of the source; ``audio_from`` is the file whose sound is taken.
        overwrite: Replace an existing file.
        crf: Quality, x264's constant rate factor: 0 (lossless) to 51; less is better and larger.
        preset: x264's: ``ultrafast`` to ``veryslow``.
        threads: Of the encoder; 0: as many as it thinks right.

    Attributes:
        frames: Written so far.
        padded: Columns and rows that were added to make the size even.
        trouble: Remarks.

    Raises:
        UsageError: Another ending, or the output is the source itself.
        OutputExistsError: The file is there and may not be replaced.
        StorageError: The disk is full, read-only or not ours.
        MediaError: The encoder refuses.
        MissingBackendError: PyAV is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        properties: VideoProperties,
        *,
        overwrite: bool = False,
        crf: int = 18,
        preset: str = "veryfast",
        threads: int = 0,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _FORMATS:
            raise UsageError(
                f"{str(self.path)!r} does not end like a video that can be written",
                remedy=f"choose one of {', '.join(VIDEO_SUFFIXES)}",
            )
        check_output(self.path, properties.audio_from, overwrite=overwrite)
        self.trouble = Trouble()
        self.frames = 0
        self._properties = properties
        width, height = properties.size
        self.padded = (width % 2, height % 2)
        if any(self.padded):
            self.trouble.remark(
                f"{width} x {height} is written as {width + self.padded[0]} x "
                f"{height + self.padded[1]}: H.264 has even sizes, so the last column or row is "
                "repeated"
            )
        self._partial = self.path.with_name(partial_name(self.path.name))
        self._last_tick = -1
        self._last_time = Fraction(0)
        self._held: Any = None
        self._container: Any = None
        self._audio: AudioTracks | None = None
        try:
            self._begin(crf, preset, threads)
        except BaseException:
            self.discard()
            raise

    def _begin(self, crf: int, preset: str, threads: int) -> None:
        sound = self._properties.audio_from
        self._base = max(self._properties.time_base, _FINEST_TIME_BASE)
        self._from_rgb = FromRgb(self._properties.colour)
        # Refused here, before anything is painted.
        with storage_errors("cannot write", self.path):
            self._partial.open("xb").close()
        try:
            self._open(crf, preset, threads, sound)
        except MediaError as error:
            if not self._audio:
                raise
            self._abandon()
            self.trouble.remark(f"the sound is damaged and left out ({error.message})")
            self._open(crf, preset, threads, None)

    def _open(self, crf: int, preset: str, threads: int, sound: Path | None) -> None:
        av = pyav()
        from av.codec.context import Flags

        properties, suffix = self._properties, self.path.suffix.lower()
        options = {}
        if suffix != ".mkv":
            # Delays between sound and picture are counted in ticks of the movie's own clock, by
            # default milliseconds.
            options = {"movflags": "faststart", "movie_timescale": str(_fine(self._base))}
        with storage_errors("cannot write", self.path):
            self._container = av.open(
                f"file:{self._partial.absolute()}",
                "w",
                format=_FORMATS[suffix],
                container_options=options,
            )
        rate = properties.rate.limit_denominator(1_000_000)
        encoder = {"crf": str(crf), "preset": preset}
        if properties.variable:
            # Containers count a track's length in decoding times, which B-frames put off: a last
            # frame that is shown for long would be cut off.
            encoder["bf"] = "0"
        stream = self._container.add_stream("libx264", rate=rate, options=encoder)
        stream.width = properties.size[0] + self.padded[0]
        stream.height = properties.size[1] + self.padded[1]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._base
        context.thread_count = threads
        context.sample_aspect_ratio = properties.aspect
        colour = properties.colour
        context.color_range = 2 if colour.full_range else 1
        context.colorspace = colour.matrix
        context.color_primaries = colour.primaries
        context.color_trc = colour.transfer
        # With variable frame times the length of the last frame tells where the video ends.
        context.flags |= int(Flags.frame_duration)
        self._stream = stream
        with self._errors():
            if sound is not None:
                self._audio = AudioTracks(
                    sound,
                    self._container,
                    suffix=suffix,
                    offset=properties.audio_offset,
                    trouble=self.trouble,
                )
            self._container.start_encoding()

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Encode one frame.

        Args:
            pixels: uint8, H x W x 3, RGB, of the properties' size; not kept.
            time: Seconds from the first frame; later than the frame before.

        Raises:
            UsageError: Another size or type.
            StorageError: The disk is full; nothing is left of the file.
        """
        width, height = self._properties.size
        if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
            raise UsageError(
                f"a frame of {width} x {height} is uint8 {(height, width, 3)}, not "
                f"{pixels.dtype} {pixels.shape}"
            )
        if any(self.padded):
            pixels = np.pad(pixels, ((0, self.padded[1]), (0, self.padded[0]), (0, 0)), "edge")
        frame = self._from_rgb(pixels)
        start = self._properties.start + time
        # Two times within one tick of a coarser clock: the later one moves on.
        self._last_tick = max(round(start / self._base), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, self._base
        self._encode_held(self._last_tick)
        self._held = frame
        with self._errors():
            if self._audio is not None:
                self._audio.write_until(start)
        self.frames += 1
        self._last_time = start

    def _encode_held(self, end: int) -> None:
        """Encode the frame before, now that it is known how long it is shown."""
        frame, self._held = self._held, None
        if frame is None:
            return
        frame.duration = end - frame.pts
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def finish(self, *, all_sound: bool = True) -> None:
        """Write what is left, and put the file in its place.

        Args:
            all_sound: False where the pictures end before their source does: so does the sound.

        Raises:
            StorageError: The disk is full; nothing is left of the file.
            MediaError: No frame was written.
        """
        try:
            if not self.frames:
                raise MediaError(f"no frame was written to {str(self.path)!r}")
            tick = max(1, round(1 / self._properties.rate / self._base))
            self._encode_held(self._last_tick + tick)
            with self._errors():
                self._container.mux(self._stream.encode(None))
                if self._audio is not None:
                    last = self._last_time + 1 / self._properties.rate
                    self._audio.end(None if all_sound else last)
                self._container.close()
            self._container = None
            with storage_errors("cannot write", self.path):
                # Full disks of some systems say so only here.
                sync(self._partial)
                self._partial.replace(self.path)
                sync(self.path.absolute().parent)
        finally:
            self.discard()

    def _errors(self) -> _WritingErrors:
        place = f" after {seconds_text(self._last_time)}" if self.frames else ""
        return _WritingErrors(self.path, place)

    def discard(self) -> None:
        """Remove what is not finished; nothing to do after :meth:`finish`."""
        self._abandon()
        self._partial.unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self._audio is not None:
            self._audio.close()
            self._audio = None
        container, self._container = self._container, None
        if container is not None:
            # Closing writes the end of a file that nobody will read; the disk may be full.
            try:
                container.close()
            except (OSError, pyav().FFmpegError):
                os.truncate(self._partial, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def _fine(base: Fraction) -> int:
    """Ticks a second: those of a clock, or twice, four times as many until they are fine."""
    ticks = base.denominator
    while ticks < 10_000:
        ticks *= 2
    return ticks


class _WritingErrors:
    """What PyAV raises while it writes, in our words."""

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, EdgeSdkError | MemoryError):
            return
        if isinstance(error, OSError):
            with storage_errors("cannot write", self._path):
                raise error
        if isinstance(error, pyav().FFmpegError):
            raise MediaError(
                f"cannot encode {str(self._path)!r}{self._place}: {error.strerror}"
            ) from error
