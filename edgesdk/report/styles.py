"""What a stylizer's styles look like, and what conversion did to its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, FileRecord, Manifest, PaintedRecord
from edgesdk.errors import InputSpecError
from edgesdk.report.labels import artefact_labels, evaluated_label
from edgesdk.report.photographs import Photograph, thumbnail
from edgesdk.report.quantities import MISSING, decibel_text, error_text, plain_number

__all__ = [
    "PaintedRow",
    "PictureRow",
    "StyleTile",
    "StylesView",
    "change_text",
    "painted_row",
    "styles_view",
]

#: More pictures than this make the page too large; edgesdk writes no more either.
_MOST_TILES = 256
#: A thumbnail has fewer; a file of more is none, and opening hundreds of them would take minutes.
_MOST_PIXELS = 1_000_000


@dataclass(frozen=True)
class StyleTile:
    """One picture of the gallery.

    Attributes:
        name: What is written under it.
        picture: A ``data:`` URI, or empty.
        problem: Why there is no picture, or empty.
    """

    name: str
    picture: str = ""
    problem: str = ""


@dataclass(frozen=True)
class PictureRow:
    """One picture that an artefact painted.

    Attributes:
        label: The artefact.
        style: Name of the style.
        photograph: Name of the photograph.
        psnr: In words.
        change: Of the style, in words.
    """

    label: str
    style: str
    photograph: str
    psnr: str
    change: str


@dataclass(frozen=True)
class PaintedRow:
    """What one artefact paints.

    Attributes:
        label: The artefact.
        mark: How an evaluator's figures are marked; empty for a runtime's.
        pictures: How many it painted.
        mean: PSNR over all pictures, in words.
        least: Of the picture that differs most.
        change: Of the style, in words.
        failure: Why it painted nothing, or empty.
    """

    label: str
    mark: str
    pictures: int
    mean: str
    least: str
    change: str
    failure: str = ""


@dataclass(frozen=True)
class StylesView:
    """The section as the page shows it.

    Attributes:
        photograph: Name of the photograph that the gallery shows.
        tiles: The photograph, then it in every style.
        rows: One an artefact that was run.
        pictures: One a picture of an artefact.
        network: What the change of style was measured with; empty where it was not.
        note: Why something is missing.
    """

    photograph: str
    tiles: Sequence[StyleTile]
    rows: Sequence[PaintedRow]
    pictures: Sequence[PictureRow]
    network: str
    note: str


def styles_view(manifest: Manifest, thumbnails: Mapping[str, bytes]) -> StylesView | None:
    """The section of a manifest; None where nothing tells of styles.

    Args:
        manifest: The manifest.
        thumbnails: Contents of the files it names as thumbnails, by path.
    """
    paintings = manifest.paintings
    labelled = list(zip(manifest.artefacts, artefact_labels(manifest.artefacts), strict=True))
    painted = [
        (artefact, artefact.painted, label)
        for artefact, label in labelled
        if artefact.painted is not None
    ]
    if paintings is None and not painted:
        return None
    tiles: list[StyleTile] = []
    if paintings is not None:
        named = [(record.style, record.file) for record in paintings.thumbnails[:_MOST_TILES]]
        if paintings.unpainted is not None:
            named.insert(0, ("unpainted", paintings.unpainted))
        tiles = [_tile(name, file, thumbnails) for name, file in named]
    return StylesView(
        photograph=paintings.photograph if paintings else "",
        tiles=tiles,
        rows=[painted_row(artefact, label) for artefact, _, label in painted],
        pictures=[
            PictureRow(
                label,
                picture.style,
                picture.photograph,
                _decibels(picture.psnr_db),
                change_text(picture.style_change),
            )
            for _, record, label in painted
            for picture in record.pictures
        ],
        network=paintings.network if paintings else "",
        note=paintings.note if paintings else "",
    )


def change_text(value: float | None) -> str:
    """A change of style: 0 is the original's painting, 1 the unpainted photograph."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if abs(plain_number(value)) < 1000 else error_text(value)


def _tile(name: str, file: FileRecord, thumbnails: Mapping[str, bytes]) -> StyleTile:
    if file.path not in thumbnails:
        return StyleTile(name, problem="not at hand")
    try:
        picture = Photograph(name, thumbnails[file.path])
        return StyleTile(name, thumbnail(picture, most_pixels=_MOST_PIXELS))
    except InputSpecError:
        # The file is what the manifest says, and no thumbnail: that is told in its place.
        return StyleTile(name, problem="no picture that can be read")


def painted_row(artefact: ArtefactRecord, label: str) -> PaintedRow:
    """What one artefact paints, in words.

    Args:
        artefact: The artefact.
        label: What it is called.
    """
    record = artefact.painted or PaintedRecord()
    mark = evaluated_label(artefact.target) if record.evaluator else ""
    if record.failure is not None or not record.pictures:
        failure = record.failure or "nothing was painted"
        return PaintedRow(label, mark, 0, MISSING, MISSING, MISSING, failure)
    return PaintedRow(
        label,
        mark,
        len(record.pictures),
        _decibels(record.psnr_db),
        _decibels(record.least_psnr_db),
        change_text(record.style_change),
    )


def _decibels(value: float | None) -> str:
    return "equal" if value is None else decibel_text(value)
