"""Compare the keyframe engine with painting every frame: speed, steadiness, similarity."""

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
from edgesdk.video.setup_times import SetupTimes

__all__ = [
    "Comparison",
    "PipelineOptions",
    "Steadiness",
    "WholeVideo",
    "compare_with_every_frame",
    "require_metrics",
]

Picture = NDArray[np.uint8]

_COLUMNS = ("original", "stylized", "every frame")
#: Widest picture of the side-by-side clip, pixels, and rows of the contact sheet.
_PANEL = 640
_ROWS = 6
#: Side of the window of SSIM, pixels.
_SMALLEST_SSIM = 11


class PipelineOptions(TypedDict, total=False):
    """Arguments of :class:`~edgesdk.video.pipeline.VideoPipeline` except the painter."""

    policy: KeyframePolicy
    max_size: int | None
    strength: float
    streaming: bool
    threads: int
    quality: str
    enlarge: Enlarger | None


@dataclass(frozen=True)
class WholeVideo:
    """Times of the keyframe run that wrote the output.

    Attributes:
        pipeline_seconds: Time in the engine, reading and writing excluded.
        media_seconds: Time the engine stood still for the reader and the writer.
        setup: Building, loading and warm-up, in neither of the two.
    """

    pipeline_seconds: float
    media_seconds: float = 0.0
    setup: SetupTimes = dataclasses.field(default_factory=SetupTimes)


@dataclass(frozen=True)
class Steadiness:
    """Change of a video in places where its original does not change.

    Attributes:
        warp_error: Root mean square, of values in 0..255; None for a single frame.
        warp_error_square: Mean square of values in 0..1, as published.
        flicker: Levels of 0..255; None for fewer than three frames.
    """

    warp_error: float | None
    warp_error_square: float | None
    flicker: float | None


@dataclass(frozen=True)
class Comparison:
    """The engine's video against the one painted frame by frame, by the same painter at one size.

    Attributes:
        frames: Number of frames of each video.
        pipeline_seconds: Time of the engine, reading and writing excluded.
        every_frame_seconds: Time of painting and enlarging every frame, likewise; the engine rests.
        media_seconds: Time the keyframe run waits for reading and writing; both videos need it.
        setup: Time before the first frame, in none of the others.
        original: The original. No painted video is expected to be steadier.
        stylized: The engine's video.
        every_frame: The video painted frame by frame.
        ssim: Structural similarity of the two painted videos, -1..1; None for too small frames.
        psnr: Peak signal-to-noise ratio of the two, dB; None for equal videos.
        clip: The side-by-side clip.
        sheet: The contact sheet.
    """

    frames: int
    pipeline_seconds: float
    every_frame_seconds: float
    media_seconds: float
    setup: SetupTimes
    original: Steadiness
    stylized: Steadiness
    every_frame: Steadiness
    ssim: float | None
    psnr: float | None
    clip: Path
    sheet: Path

    @property
    def speed_up(self) -> float:
        """Speed of the engine over that of painting every frame, reading and writing excluded."""
        return self.every_frame_seconds / max(self.pipeline_seconds, 1e-9)

    @property
    def whole_video_seconds(self) -> tuple[float, float]:
        """Seconds for the whole video, read to written: by key frames, and by every frame."""
        return (
            self.pipeline_seconds + self.media_seconds,
            self.every_frame_seconds + self.media_seconds,
        )

    @property
    def whole_video_speed_up(self) -> float:
        """Speed of the engine over that of painting every frame, for the whole video."""
        keyframes, every_frame = self.whole_video_seconds
        return every_frame / max(keyframes, 1e-9)

    def __str__(self) -> str:
        """Return one line for the user: the whole-video speed-up and the times it is made of."""
        keyframes, every_frame = self.whole_video_seconds
        return (
            f"{self.whole_video_speed_up:.1f} times as fast as painting every frame "
            f"(keyframes {keyframes:.1f} s, every frame {every_frame:.1f} s; {self.setup} apart)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON."""
        keyframes, every_frame = self.whole_video_seconds
        return {
            "speed_up": self.speed_up,
            "whole_video": {
                "speed_up": self.whole_video_speed_up,
                "keyframes_seconds": keyframes,
                "every_frame_seconds": every_frame,
            },
            **dataclasses.asdict(self),
            "clip": str(self.clip),
            "sheet": str(self.sheet),
        }


def require_metrics() -> None:
    """Check that the metrics can be computed, before hours of work.

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
    keyframes: WholeVideo,
    clip: Path,
    sheet: Path,
    overwrite: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> Comparison:
    """Paint a video again, by the engine and frame by frame, and compare the two in step.

    Memory does not grow with the video. The painter sees every frame at the size it sees key
    frames, and its paintings are enlarged in the same way. While a frame is painted by itself the
    engine stands still, so that neither slows the other down.

    Args:
        frames: The video, from its start.
        properties: Properties of the video.
        painter: The stylizer of both.
        options: Options of the engine, as for :class:`~edgesdk.video.pipeline.VideoPipeline`.
        count: Number of frames.
        keyframes: Times of the engine when it worked alone.
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
        # Frames that the engine has taken ahead wait in `originals`.
        originals, taken = itertools.tee(frames)
        for done, (frame, stylized) in enumerate(zip(originals, engine.run(taken), strict=True), 1):
            engine.settle()
            each = single.paint(frame.pixels)
            meters.add(frame.pixels, stylized.pixels, each)
            exhibits.add(frame, stylized, each)
            if on_frame is not None:
                on_frame(done)
        if not meters.frames:
            raise MediaError("the video has no frame to compare")
        exhibits.finish(sheet)
        original, engines, others = meters.steadiness()
        return Comparison(
            frames=meters.frames,
            pipeline_seconds=keyframes.pipeline_seconds,
            every_frame_seconds=theirs.seconds + single.seconds,
            media_seconds=keyframes.media_seconds,
            setup=keyframes.setup,
            original=original,
            stylized=engines,
            every_frame=others,
            ssim=_finite(meters.likeness.ssim),
            psnr=_finite(meters.likeness.psnr),
            clip=clip,
            sheet=sheet,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class _Meters:
    """All metrics of the three videos."""

    def __init__(self, stack: ExitStack, size: tuple[int, int], threads: int) -> None:
        self.frames = 0
        self._similar = min(size) >= _SMALLEST_SSIM
        self.likeness = Likeness()
        self._warp = stack.enter_context(WarpError(*size, 3, threads=threads))
        self._flicker = (Flicker(), Flicker(), Flicker())

    def add(self, *pictures: Picture) -> None:
        """Add a frame: original, stylized, painted by itself."""
        self._warp.add(pictures[0], *pictures)
        for meter, picture in zip(self._flicker, pictures, strict=True):
            meter.add(picture)
        if self._similar:
            self.likeness.add(pictures[1], pictures[2])
        self.frames += 1

    def steadiness(self) -> list[Steadiness]:
        """Return the steadiness of the three videos."""
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
        # Silent: the video itself has the sound.
        shown = dataclasses.replace(properties, size=size, audio_from=None)
        self._writer = stack.enter_context(VideoWriter(clip, shown, overwrite=overwrite, crf=20))
        self._sheet = ContactSheet(_COLUMNS)
        self._rows = rows

    def add(self, frame: Frame, stylized: PaintedFrame, each: Picture) -> None:
        """Add a frame."""
        pictures = (frame.pixels, stylized.pixels, each)
        panels = np.concatenate([self._small(picture) for picture in pictures], axis=1)
        self._writer.write(np.concatenate([self._strip, panels]), frame.time)
        if frame.index in self._rows:
            self._sheet.add(pictures, stylized)

    def _small(self, picture: Picture) -> Picture:
        if (picture.shape[1], picture.shape[0]) == self._panel:
            return picture
        return np.asarray(Image.fromarray(picture).resize(self._panel, Image.Resampling.BOX))

    def finish(self, sheet: Path) -> None:
        """Write both files."""
        self._writer.finish()
        self._sheet.save(sheet)
