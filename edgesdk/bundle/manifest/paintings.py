"""The records of what a stylizer of several styles paints, and of what conversion did to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field

from edgesdk.bundle.manifest.record import FileRecord, Record, StyleName, Text
from edgesdk.style_names import MAX_STYLES

__all__ = ["PaintedPictureRecord", "PaintedRecord", "PaintingsRecord", "ThumbnailRecord"]


class ThumbnailRecord(Record):
    """A photograph painted in one style by the float model, made small.

    Attributes:
        style: Name of the style.
        file: The picture, a JPEG.
    """

    style: StyleName
    file: FileRecord


class PaintingsRecord(Record):
    """What the float model paints before any conversion.

    Attributes:
        photograph: Name of the photograph that the thumbnails show.
        unpainted: The photograph itself, made small; null where nothing was painted.
        thumbnails: One a style, in the order of the styles.
        network: What the style change of artefacts was measured with; empty where it was not.
        note: Why something is missing, in words.
    """

    photograph: Text = ""
    unpainted: FileRecord | None = None
    thumbnails: Annotated[list[ThumbnailRecord], FailFast(), Field(max_length=MAX_STYLES)] = []
    network: Text = ""
    note: Text = ""

    @property
    def files(self) -> list[FileRecord]:
        """Every file of these."""
        unpainted = [] if self.unpainted is None else [self.unpainted]
        return [*unpainted, *(thumbnail.file for thumbnail in self.thumbnails)]


class PaintedPictureRecord(Record):
    """One picture that an artefact painted, against the float model's.

    Attributes:
        style: Name of the style.
        photograph: Name of the photograph.
        psnr_db: Peak signal to noise ratio of the 8-bit pictures; null where they are equal.
        style_change: How far apart the Gram matrices of both are, squared, as a share of what the
            unpainted photograph has from the float model's painting; mean over layers of a
            perceptual network. 0 for the float model's own painting; null where not measured.
    """

    style: StyleName
    photograph: Text
    psnr_db: float | None = None
    style_change: float | None = None


class PaintedRecord(Record):
    """What an artefact paints in its runtime, against what the float model paints.

    Attributes:
        runtime: Runtime with version that painted; empty where none did.
        evaluator: True where an evaluator stood in for it.
        pictures: One a picture.
        psnr_db: Of the mean squared difference over all pictures; null where all are equal.
        least_psnr_db: Of the picture that differs most; null where all are equal.
        style_change: Mean over the pictures; null where it was not measured.
        failure: Why nothing was painted, or null.
    """

    runtime: Text = ""
    evaluator: bool = False
    pictures: Annotated[list[PaintedPictureRecord], FailFast()] = []
    psnr_db: float | None = None
    least_psnr_db: float | None = None
    style_change: float | None = None
    failure: Text | None = None
