"""Open sources and outputs by the names that a user gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from edgesdk.errors import UsageError
from edgesdk.video.media.camera import CameraReader
from edgesdk.video.media.picture_folder import PictureFolderReader, PictureFolderWriter
from edgesdk.video.media.properties import Source
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.media.writing import VIDEO_SUFFIXES, VideoWriter

__all__ = ["Sink", "camera_index", "open_output", "open_source"]

#: An output of painted frames; leaving its ``with`` block removes an unfinished one.
Sink: TypeAlias = PictureFolderWriter | VideoWriter


def camera_index(source: str | Path | int) -> int | None:
    """Return the number of a camera (digits that name nothing on disk); None for a path."""
    if isinstance(source, bool):
        raise UsageError(f"a source is a path or a camera's number, not {source}")
    if isinstance(source, int):
        return source
    text = str(source)
    if text.isascii() and text.isdigit() and len(text) < 4 and not Path(text).exists():
        return int(text)
    return None


def open_source(
    source: str | Path | int,
    *,
    rate: Fraction | None = None,
    strict: bool = False,
    threads: int = 0,
) -> Source:
    """Open a video file, a folder of pictures or a camera.

    Args:
        source: A path, or a camera's number.
        rate: Frames a second of a folder (25 if None) or to ask a camera for.
        strict: As for :class:`~edgesdk.video.media.reading.VideoReader`.
        threads: Threads of the decoder.

    Raises:
        UsageError: A video file has its own rate.
        EdgeSdkError: As the three readers do.
    """
    camera = camera_index(source)
    if camera is not None:
        return CameraReader(camera, rate=rate)
    path = Path(str(source))
    if path.is_dir():
        return PictureFolderReader(path, rate=rate or Fraction(25), strict=strict)
    if rate is not None:
        raise UsageError(
            "a video file has its own frame times", remedy="give --rate for folders and cameras"
        )
    return VideoReader(path, strict=strict, threads=threads)


def open_output(
    path: str | Path, source: Source, *, overwrite: bool = False, crf: int = 18, threads: int = 0
) -> Sink:
    """Open a video file, or a folder of pictures if the name has no suffix.

    Args:
        path: File or folder to write.
        source: The source; its properties, and a folder's file names, are kept.
        overwrite: Replace an existing output.
        crf: Constant rate factor of a video file.
        threads: Threads of its encoder.

    Raises:
        UsageError: The suffix is not that of a video.
        EdgeSdkError: As the two writers do.
    """
    target = Path(path)
    folder = source.path if isinstance(source, PictureFolderReader) else None
    if target.suffix.lower() in VIDEO_SUFFIXES and not target.is_dir():
        return VideoWriter(target, source.properties, overwrite=overwrite, crf=crf, threads=threads)
    if target.suffix and not target.is_dir():
        raise UsageError(
            f"{str(target)!r} does not end like a video that can be written",
            remedy=f"choose one of {', '.join(VIDEO_SUFFIXES)}, or a name without a suffix for a "
            "folder of pictures",
        )
    names = source.names if isinstance(source, PictureFolderReader) else None
    return PictureFolderWriter(
        target, source.properties, names=names, source=folder, overwrite=overwrite
    )
