"""The engine's video beside one painted frame by frame: speed, steadiness, likeness."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import MediaError, MissingBackendError
from edgesdk.video.contact_sheet import ContactSheet, label_strip, moments
from edgesdk.video.frames import Enlarger, Frame, PaintedFrame, Painter
from edgesdk.video.key_frames import KeyframePolicy
from edgesdk.video.media.properties import VideoProperties
from edgesdk.video.media.writing import VideoWriter
from edgesdk.video.metrics import Flicker, Likeness, WarpError
from edgesdk.video.per_frame_baseline import EveryFrame, SerializedPainter
from edgesdk.video.pipeline import VideoPipeline

__all__ = [
    "Comparison",
    "PipelineOptions",
    "Steadiness",
    "compare_with_every_frame",
    "require_metrics",
]

Picture = NDArray[np.uint8]

_COLUMNS = ("original", "stylized", "every frame")
#: Widest picture of the side-by-side clip, pixels, and rows of the contact sheet.
_PANEL = 640
_ROWS = 6
#: SSIM looks through a window of this size.
_SMALLEST_SSIM = 11


class PipelineOptions(TypedDict, total=False):
    """Arguments of a :class:`~edgesdk.video.pipeline.VideoPipeline`, but the painter."""

    policy: KeyframePolicy
    max_size: int | None
    strength: float
    streaming: bool
    threads: int
    quality: str
    enlarge: Enlarger | None


@dataclass(frozen=True)
class Steadiness:
    """How much a video changes where its original does not.

    Attributes:
        warp_error: Root of the mean square, of values in 0..255; None for a single frame.
        warp_error_square: The mean square of values in 0..1, as published.
        flicker: Levels of 0..255; None for fewer than three frames.
    """

    warp_error: float | None
    warp_error_square: float | None
    flicker: float | None


@dataclass(frozen=True)
class Comparison:
    """The engine's video against the one painted frame by frame, by the same painter at one size.

    Attributes:
        frames: Of each.
        pipeline_seconds: What the engine took, decoding and encoding apart.
        every_frame_seconds: What painting and enlarging every frame took, likewise.
        original: The floor: no painted video is expected to be steadier.
        stylized: The engine's.
        every_frame: The other's.
        ssim: Structural similarity of the two, -1..1; None where frames are too small for it.
        psnr: Of the two, dB; None for equal videos.
        clip: The three side by side.
        sheet: Moments of the three.
    """

    frames: int
    pipeline_seconds: float
    every_frame_seconds: float
    original: Steadiness
    stylized: Steadiness
    every_frame: Steadiness
    ssim: float | None
    psnr: float | None
    clip: Path
    sheet: Path

    @property
    def speed_up(self) -> float:
        """How many times as fast the engine was."""
        return self.every_frame_seconds / max(self.pipeline_seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        found = dataclasses.asdict(self)
        return {
            "speed_up": self.speed_up,
            **found,
            "clip": str(self.clip),
            "sheet": str(self.sheet),
        }


def require_metrics() -> None:
    """Check before hours of work that a comparison can be made.

    Raises:
        MissingBackendError: scikit-image is not installed.
    """
    try:
        import skimage.metrics  # noqa: F401
    except ImportError as error:
        raise MissingBackendError("skimage", "video") from error


def compare_with_every_frame(
    frames: Iterable[Frame],
    properties: VideoProperties,
    painter: Painter,
    *,
    options: PipelineOptions,
    count: int,
    pipeline_seconds: float,
    clip: Path,
    sheet: Path,
    overwrite: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> Comparison:
    """Paint a video again, by the engine and frame by frame, and compare the two in step.

    Memory does not grow with the video. The painter sees every frame at the size it sees key
    frames, and its paintings are enlarged in the same way.

    Args:
        frames: The video, from its start.
        properties: Of it.
        painter: The stylizer of both.
        options: Of the engine, as for :class:`~edgesdk.video.pipeline.VideoPipeline`.
        count: How many frames there are.
        pipeline_seconds: What the engine took when it worked alone.
        clip: The side-by-side video to write.
        sheet: The contact sheet to write, PNG or JPEG.
        overwrite: Replace both.
        on_frame: Called with the number of frames done.

    Raises:
        EdgeSdkError: As the engine, the metrics and the writers do.
    """
    require_metrics()
    lock = threading.Lock()
    ours, theirs = SerializedPainter(painter, lock), SerializedPainter(painter, lock)
    with ExitStack() as stack:
        engine = stack.enter_context(VideoPipeline(ours, **options))
        single = stack.enter_context(
            EveryFrame(
                theirs,
                *properties.size,
                max_size=options.get("max_size", 512),
                strength=options.get("strength", 1.0),
                threads=options.get("threads", 0),
                enlarge=options.get("enlarge"),
            )
        )
        meters = _Meters(stack, properties.size, options.get("threads", 0))
        exhibits = _Exhibits(stack, properties, clip, overwrite, moments(count, _ROWS))
        # What the engine has taken ahead waits here until it is given out.
        originals, taken = itertools.tee(frames)
        for done, (frame, stylized) in enumerate(zip(originals, engine.run(taken), strict=True), 1):
            each = single.paint(frame.pixels)
            meters.add(frame.pixels, stylized.pixels, each)
            exhibits.add(frame, stylized, each)
            if on_frame is not None:
                on_frame(done)
        if not meters.frames:
            raise MediaError("there is no frame to compare")
        exhibits.finish(sheet)
        original, engines, others = meters.steadiness()
        return Comparison(
            frames=meters.frames,
            pipeline_seconds=pipeline_seconds,
            every_frame_seconds=theirs.seconds + single.seconds,
            original=original,
            stylized=engines,
            every_frame=others,
            ssim=_finite(meters.likeness.ssim) if meters.similar else None,
            psnr=_finite(meters.psnr()),
            clip=clip,
            sheet=sheet,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class _Meters:
    """Every metric of the three videos."""

    def __init__(self, stack: ExitStack, size: tuple[int, int], threads: int) -> None:
        self.frames = 0
        self.similar = min(size) >= _SMALLEST_SSIM
        self.likeness = Likeness()
        self._square = 0.0
        self._warp = stack.enter_context(WarpError(*size, 3, threads=threads))
        self._flicker = (Flicker(), Flicker(), Flicker())

    def add(self, *pictures: Picture) -> None:
        """Take a frame: original, stylized, painted singly."""
        self._warp.add(pictures[0], *pictures)
        for meter, picture in zip(self._flicker, pictures, strict=True):
            meter.add(picture)
        if self.similar:
            self.likeness.add(pictures[1], pictures[2])
        self.frames += 1

    def psnr(self) -> float:
        """Of the two painted videos."""
        return self.likeness.psnr if self.similar else math.nan

    def steadiness(self) -> list[Steadiness]:
        """Of the three."""
        return [
            Steadiness(
                warp_error=_finite(found.root),
                warp_error_square=_finite(found.mean_square),
                flicker=_finite(meter.result()),
            )
            for found, meter in zip(self._warp.results(), self._flicker, strict=True)
        ]


class _Exhibits:
    """The side-by-side clip and the contact sheet."""

    def __init__(
        self,
        stack: ExitStack,
        properties: VideoProperties,
        clip: Path,
        overwrite: bool,
        rows: tuple[int, ...],
    ) -> None:
        width, height = properties.size
        shrink = min(1.0, _PANEL / width)
        self._panel = (max(2, round(width * shrink)), max(2, round(height * shrink)))
        self._strip = label_strip(_COLUMNS, self._panel[0])
        size = (3 * self._panel[0], self._panel[1] + self._strip.shape[0])
        # Silent: it is looked at beside the video itself.
        shown = dataclasses.replace(properties, size=size, audio_from=None)
        self._writer = stack.enter_context(VideoWriter(clip, shown, overwrite=overwrite, crf=20))
        self._sheet = ContactSheet(_COLUMNS)
        self._rows = rows

    def add(self, frame: Frame, stylized: PaintedFrame, each: Picture) -> None:
        """Take a frame."""
        pictures = (frame.pixels, stylized.pixels, each)
        panels = np.concatenate([self._small(picture) for picture in pictures], axis=1)
        self._writer.write(np.concatenate([self._strip, panels]), frame.time)
        if frame.index in self._rows:
            self._sheet.add(
                pictures,
                index=frame.index,
                time=frame.time,
                key=stylized.key,
                reasons=stylized.reasons,
            )

    def _small(self, picture: Picture) -> Picture:
        if (picture.shape[1], picture.shape[0]) == self._panel:
            return picture
        return np.asarray(Image.fromarray(picture).resize(self._panel, Image.Resampling.BOX))

    def finish(self, sheet: Path) -> None:
        """Put both files in their places."""
        self._writer.finish()
        self._sheet.save(sheet)
