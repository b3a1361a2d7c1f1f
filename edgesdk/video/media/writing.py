"""Write video files: H.264 that phones play, with the clock, colours and sound of the source."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import EdgeSdkError, MediaError, UsageError
from edgesdk.host.atomic_write import partial_beside, storage_errors, sync
from edgesdk.host.closing import Closing
from edgesdk.video.media.audio import AudioTracks
from edgesdk.video.media.backend import pyav
from edgesdk.video.media.colour import FromRgb
from edgesdk.video.media.outputs import check_output
from edgesdk.video.media.properties import Trouble, VideoProperties
from edgesdk.video.media.reading import seconds_text

__all__ = ["VIDEO_SUFFIXES", "VideoWriter"]

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

#: Suffixes of the files that :class:`VideoWriter` writes.
VIDEO_SUFFIXES = tuple(sorted(_FORMATS))

#: The finest clock of an MP4 track that every player reads.
_FINEST_TIME_BASE = Fraction(1, 1_000_000)


class VideoWriter(Closing):
    """Encodes frames of one size into a video file.

    H.264, 8 bits, 4:2:0. Times are kept on the source's clock; colours keep the matrix and range of
    the source and are tagged with them; players need not rotate. H.264 needs even sizes: the last
    column or row of an odd size is repeated, so that no pixel is lost or interpolated. Sound is
    copied packet by packet if the container takes it, else re-encoded as AAC.

    The frames go into a temporary file, which is renamed once complete. Until then, and after a
    full disk or an interruption, an existing file stays.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` (play while they load) or ``.mkv`` (clock of 1 ms).
        properties: Properties of the source; the sound comes from ``audio_from``.
        overwrite: Replace an existing file.
        crf: Constant rate factor of x264, 0 (lossless) to 51; less is better and larger.
        preset: Preset of x264, ``ultrafast`` to ``veryslow``.
        threads: Threads of the encoder; 0: it chooses.

    Attributes:
        frames: Number of frames written so far.
        padded: Number of columns and rows added to make the size even.
        trouble: Remarks.

    Raises:
        UsageError: The suffix is another one, or the output is the source.
        OutputExistsError: The file exists and may not be replaced.
        StorageError: The disk is full, read-only or not writeable.
        MediaError: The encoder fails.
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
                f"{height + self.padded[1]}: H.264 needs even sizes, so the last column or row is "
                "repeated"
            )
        self._partial = partial_beside(self.path)
        self._last_tick = -1
        self._last_time = Fraction(0)
        self._held: Any = None
        self._container: Any = None
        self._audio: AudioTracks | None = None
        try:
            self._begin(crf, preset, threads)
        except BaseException:
            self.close()
            raise

    def _begin(self, crf: int, preset: str, threads: int) -> None:
        sound = self._properties.audio_from
        self._base = max(self._properties.time_base, _FINEST_TIME_BASE)
        self._from_rgb = FromRgb(self._properties.colour)
        # Fail here, before anything is painted.
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
            # Delays of the sound are ticks of the movie's clock, by default milliseconds.
            options = {"movflags": "faststart", "movie_timescale": str(_fine(self._base))}
        with storage_errors("cannot write", self.path):
            name = f"file:{self._partial.absolute()}"
            self._container = av.open(name, "w", format=_FORMATS[suffix], container_options=options)
        rate = properties.rate.limit_denominator(1_000_000)
        encoder = {"crf": str(crf), "preset": preset}
        if properties.variable:
            # Containers measure a track in decoding times, which B-frames delay: a long last frame
            # would be cut off.
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
        # With variable frame times the duration of the last frame sets the end of the video.
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
            UsageError: The size or type is another one.
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
        """Encode the frame before, whose duration is known now."""
        frame, self._held = self._held, None
        if frame is None:
            return
        frame.duration = end - frame.pts
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def finish(self, *, all_sound: bool = True) -> None:
        """Write the rest and move the file to its place.

        Args:
            all_sound: False ends the sound with the pictures, if they end before their source.

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
                # Some systems report a full disk only here.
                sync(self._partial)
                self._partial.replace(self.path)
                sync(self.path.absolute().parent)
        finally:
            self.close()

    def _errors(self) -> _WritingErrors:
        place = f" after {seconds_text(self._last_time)}" if self.frames else ""
        return _WritingErrors(self.path, place)

    def close(self) -> None:
        """Remove an unfinished output; after :meth:`finish` it does nothing."""
        self._abandon()
        self._partial.unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self._audio is not None:
            self._audio.close()
            self._audio = None
        container, self._container = self._container, None
        if container is not None:
            # Closing writes the end of a file that is discarded; the disk may be full.
            try:
                container.close()
            except (OSError, pyav().FFmpegError):
                os.truncate(self._partial, 0)


def _fine(base: Fraction) -> int:
    """Return ticks a second: those of a clock, doubled until they are fine enough."""
    ticks = base.denominator
    while ticks < 10_000:
        ticks *= 2
    return ticks


class _WritingErrors:
    """Translate errors that PyAV raises while writing."""

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
