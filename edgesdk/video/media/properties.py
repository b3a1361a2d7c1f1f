"""What a source of frames is like: what a writer must know to keep it so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgesdk.video.frames import Frame

__all__ = ["ColourTags", "Sink", "Source", "Trouble", "VideoProperties"]

#: Times of skipped packets that are kept for the report.
_TIMES_KEPT = 20


@dataclass(frozen=True)
class ColourTags:
    """How numbers in a file stand for colours, as codes of ITU-T H.273.

    Attributes:
        matrix: From luma and chroma to RGB: 1 BT.709, 5 and 6 BT.601, 9 BT.2020.
        full_range: 0..255 instead of 16..235 (luma) and 16..240 (chroma).
        primaries: 2 where the file does not say.
        transfer: 2 where the file does not say.
    """

    matrix: int
    full_range: bool
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class VideoProperties:
    """A source of frames, as its first frame and its container describe it.

    Attributes:
        size: Width and height of every frame as it is shown, that is, turned upright.
        rate: Frames a second, on average or as the container says.
        time_base: Seconds of one tick of the source's clock; frame times are whole ticks.
        start: When the first frame is shown, in seconds after the file's sound and picture begin.
            What was recorded with a lead of the sound keeps it.
        aspect: Width of a pixel by its height, as shown.
        colour: How the file holds colours.
        variable: Whether the times between frames differ, as far as the container tells.
        frames: How many there will be; None where the container does not say. An estimate.
        duration: Of the video in seconds; None where the container does not say.
        audio_from: The file whose sound belongs to the frames.
        audio_offset: Seconds of that file's clock that count as the beginning.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    colour: ColourTags
    start: Fraction = Fraction(0)
    aspect: Fraction = Fraction(1)
    variable: bool = False
    frames: int | None = None
    duration: Fraction | None = None
    audio_from: Path | None = None
    audio_offset: Fraction = Fraction(0)


@dataclass
class Trouble:
    """What was wrong with a source and did not end the reading.

    Attributes:
        skipped: Packets or pictures that could not be decoded and were left out.
        times: When the first of them would have been shown, in seconds; where the container told.
        remarks: Sentences for the user.
    """

    skipped: int = 0
    times: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def skip(self, time: Fraction | float | None) -> None:
        """Count one."""
        self.skipped += 1
        if time is not None and len(self.times) < _TIMES_KEPT:
            self.times.append(round(float(time), 3))

    def remark(self, text: str) -> None:
        """Add a sentence, once."""
        if text not in self.remarks:
            self.remarks.append(text)


class Source(Protocol):
    """Where frames come from. Iterated once; closed by whoever opened it."""

    properties: VideoProperties
    trouble: Trouble

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order, with times that rise."""

    def close(self) -> None:
        """Give files and devices back."""


class Sink(Protocol):
    """Where painted frames go. Used as a context manager; what is not finished leaves nothing."""

    frames: int
    padded: tuple[int, int]
    trouble: Trouble

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Take a frame: uint8, H x W x 3, RGB, and its time in seconds from the first."""

    def finish(self, *, all_sound: bool = True) -> None:
        """Put the output in its place; the sound ends with the pictures, if not all of it."""
