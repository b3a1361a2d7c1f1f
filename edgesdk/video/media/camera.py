"""Read cameras through the capture devices of FFmpeg's libraries.

Written without a camera: the choice of device and the errors are tested; frames of a real camera
(v4l2 on Linux, AVFoundation on a Mac, DirectShow on Windows) have never been read here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesdk.errors import MediaError, MissingEnvironmentError, UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.frames import Frame
from edgesdk.video.media.backend import pyav
from edgesdk.video.media.colour import ToRgb, colour_of
from edgesdk.video.media.properties import Trouble, VideoProperties
from edgesdk.video.media.reading import seconds_text

__all__ = ["CameraReader"]

_BUSY_WAIT = 0.005


class CameraReader(Closing):
    """The frames of a camera, as they come, until the caller stops.

    Args:
        index: Number of the camera, from 0.
        rate: Frames a second to ask for.

    Attributes:
        properties: Properties of the frames; their number is unknown.
        trouble: Frames that could not be decoded.

    Raises:
        MissingEnvironmentError: The camera does not exist or cannot be opened on this system.
        MissingBackendError: PyAV is not installed.
        UsageError: The index is negative.
    """

    def __init__(self, index: int, *, rate: Fraction | None = None) -> None:
        if index < 0:
            raise UsageError(f"cameras are numbered from 0; there is no camera {index}")
        self.index = index
        self.trouble = Trouble()
        self._container = _opened(index, rate)
        try:
            self._stream = self._container.streams.video[0]
            self._to_rgb = ToRgb()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise MediaError(f"camera {index} delivers no picture")
        except BaseException:
            self.close()
            raise
        self._first: Any = first
        self._base = self._stream.time_base or Fraction(1, 1_000_000)
        self._origin = (first.pts or 0) * self._base
        found = self._stream.average_rate or self._stream.guessed_rate or rate or Fraction(30)
        self.properties = VideoProperties(
            size=(first.width, first.height),
            rate=Fraction(found),
            time_base=self._base,
            colour=colour_of(first),
            variable=True,
        )

    def _decode(self) -> Iterator[Any]:
        av = pyav()
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    try:
                        yield from packet.decode()
                    except av.error.InvalidDataError:
                        # The first JPEG of many cameras is cut short.
                        self.trouble.skip(None)
                return
            except av.error.BlockingIOError:
                # AVFoundation has no picture yet and raises instead of waiting.
                time.sleep(_BUSY_WAIT)
            except OSError as error:
                raise MissingEnvironmentError(
                    f"camera {self.index} has stopped: {error.strerror or error}",
                    remedy="check its cable, and that no other program took it",
                ) from error

    def __iter__(self) -> Iterator[Frame]:
        width, height = self.properties.size
        last = Fraction(-1)
        index = 0
        frame, self._first = self._first, None
        while frame is not None:
            current = last + 1 / self.properties.rate
            if frame.pts is not None:
                current = frame.pts * self._base - self._origin
            last = current = max(current, last + self._base, Fraction(0))
            if (frame.width, frame.height) != (width, height):
                raise MediaError(f"camera {self.index} changes its size at {seconds_text(current)}")
            yield Frame(index, current, self._to_rgb(frame))
            index += 1
            frame = next(self._decoded, None)

    def close(self) -> None:
        """Give the camera back."""
        self._first = None
        self._container.close()


def _opened(index: int, rate: Fraction | None) -> Any:
    av = pyav()
    name, kind = _device(index)
    options = {} if rate is None else {"framerate": str(rate)}
    try:
        return av.open(name, format=kind, container_options=options)
    except (OSError, ValueError, av.FFmpegError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise MissingEnvironmentError(
            f"camera {index} cannot be opened: {why}",
            remedy="check that a camera is connected, that no other program uses it, and that "
            "this program may use cameras",
        ) from error


def _device(index: int) -> tuple[str, str]:
    """Return name and format by which FFmpeg knows a camera on this system."""
    if sys.platform.startswith("linux"):
        path = Path(f"/dev/video{index}")
        if not path.exists():
            raise MissingEnvironmentError(
                f"this machine has no camera {index}: there is no {path}",
                remedy="connect a camera, or give a video file or a folder of pictures",
            )
        return str(path), "v4l2"
    if sys.platform == "darwin":
        return f"{index}:none", "avfoundation"
    if sys.platform == "win32":
        return f"video={_directshow_name(index)}", "dshow"
    raise MissingEnvironmentError(
        f"cameras cannot be read on {sys.platform}",
        remedy="give a video file or a folder of pictures",
    )


def _directshow_name(index: int) -> str:
    """Return the name of a camera: DirectShow does not know numbers."""
    pyav()
    from av.device import enumerate_input_devices

    cameras = [
        device.name for device in enumerate_input_devices("dshow") if "video" in device.media_types
    ]
    if index >= len(cameras):
        raise MissingEnvironmentError(
            f"this machine has no camera {index}; it has {len(cameras)}",
            remedy="connect a camera, or give a video file or a folder of pictures",
        )
    return cameras[index]
