"""Properties of a source of frames, which a writer keeps; the interface of sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from edgesdk.video.frames import Frame

__all__ = ["ColourTags", "Source", "Trouble", "VideoProperties"]

#: Maximum number of times of skipped packets in the report.
_TIMES_KEPT = 20


@dataclass(frozen=True)
class ColourTags:
    """Colour encoding of a file, as codes of ITU-T H.273.

    Attributes:
        matrix: Conversion of luma and chroma to RGB: 1 BT.709, 5 and 6 BT.601, 9 BT.2020.
        full_range: True for 0..255 instead of 16..235 (luma) and 16..240 (chroma).
        primaries: Colour primaries; 2 if unspecified.
        transfer: Transfer characteristics; 2 if unspecified.
    """

    matrix: int
    full_range: bool
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class VideoProperties:
    """Properties of a source of frames, from its first frame and its container.

    Attributes:
        size: Width and height of every frame as shown, turned upright.
        rate: Frames a second, on average or as the container states.
        time_base: Seconds of one tick of the source's clock; frame times are whole ticks.
        start: Seconds from the beginning of the file's sound and picture to the first frame.
        aspect: Width of a pixel over its height, as shown.
        colour: Colour encoding of the file.
        variable: True if the container states a variable frame rate.
        frames: Estimated number of frames; None if the container does not state it.
        duration: Duration of the video in seconds; None if the container does not state it.
        audio_from: File with the sound of the frames.
        audio_offset: Time on that file's clock that counts as its beginning, seconds.
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
    """Defects of a source that did not end the reading.

    Attributes:
        skipped: Number of packets or pictures that could not be decoded and were skipped.
        times: Presentation times of the first of them, seconds, if known.
        remarks: Sentences for the user.
    """

    skipped: int = 0
    times: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def skip(self, time: Fraction | float | None) -> None:
        """Count a skipped packet or picture."""
        self.skipped += 1
        if time is not None and len(self.times) < _TIMES_KEPT:
            self.times.append(round(float(time), 3))

    def remark(self, text: str) -> None:
        """Add a sentence, once."""
        if text not in self.remarks:
            self.remarks.append(text)


class Source(Protocol):
    """A source of frames. It is iterated once; whoever opened it closes it."""

    properties: VideoProperties
    trouble: Trouble

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in order, with rising times."""

    def close(self) -> None:
        """Close files and devices."""
