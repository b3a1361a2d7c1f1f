"""Records of a stylizer's paintings, and of their change by conversion."""

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
        file: The JPEG file.
    """

    style: StyleName
    file: FileRecord


class PaintingsRecord(Record):
    """Paintings of the float model before any conversion.

    Attributes:
        photograph: Name of the photograph that the thumbnails show.
        unpainted: Thumbnail of the photograph itself; null if nothing was painted.
        thumbnails: One per style, in the order of the styles.
        network: Network that measured the style change; empty if it was not measured.
        note: Reason why something is missing.
    """

    photograph: Text = ""
    unpainted: FileRecord | None = None
    thumbnails: Annotated[list[ThumbnailRecord], FailFast(), Field(max_length=MAX_STYLES)] = []
    network: Text = ""
    note: Text = ""

    @property
    def files(self) -> list[FileRecord]:
        """Return all files of the record."""
        unpainted = [] if self.unpainted is None else [self.unpainted]
        return [*unpainted, *(thumbnail.file for thumbnail in self.thumbnails)]


class PaintedPictureRecord(Record):
    """One painting of an artefact, compared with the float model's.

    Attributes:
        style: Name of the style.
        photograph: Name of the photograph.
        psnr_db: Peak signal to noise ratio of the 8-bit images; null if they are equal.
        style_change: Squared distance of the Gram matrices from the float model's painting, divided
            by that of the unpainted photograph; mean over layers of a perceptual network. 0 for the
            float model's own painting; null if not measured.
    """

    style: StyleName
    photograph: Text
    psnr_db: float | None = None
    style_change: float | None = None


class PaintedRecord(Record):
    """Paintings of an artefact in its runtime, compared with the float model's.

    Attributes:
        runtime: Runtime that painted, with version; empty if none did.
        evaluator: True if an evaluator replaced the runtime.
        pictures: One record per image.
        psnr_db: PSNR of the mean squared difference over all images; null if all are equal.
        least_psnr_db: PSNR of the image that differs most; null if all are equal.
        style_change: Mean over the images; null if it was not measured.
        failure: Reason why nothing was painted, or null.
    """

    runtime: Text = ""
    evaluator: bool = False
    pictures: Annotated[list[PaintedPictureRecord], FailFast()] = []
    psnr_db: float | None = None
    least_psnr_db: float | None = None
    style_change: float | None = None
    failure: Text | None = None
