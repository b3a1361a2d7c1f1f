"""Styles section: thumbnails of a stylizer's styles, and the change of pictures by conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import (
    FileRecord,
    Manifest,
    PaintedPictureRecord,
    PaintingsRecord,
    artefact_names,
)
from edgesdk.errors import InputSpecError
from edgesdk.report.painted_rows import PaintedRow, painted_row
from edgesdk.report.photographs import Photograph, thumbnail

__all__ = [
    "StyleTile",
    "StylesView",
    "styles_view",
]

#: Most pictures of the page; edgesdk writes this many thumbnails at most.
_MAX_TILES = 256
#: Most pixels of a thumbnail; decoding hundreds of larger files would take minutes.
_MAX_PIXELS = 1_000_000


@dataclass(frozen=True)
class StyleTile:
    """One picture of the gallery.

    Attributes:
        name: Text under the picture.
        picture: ``data:`` URI, or empty.
        problem: Reason for a missing picture, or empty.
    """

    name: str
    picture: str = ""
    problem: str = ""


@dataclass(frozen=True)
class StylesView:
    """Styles section of the page.

    Attributes:
        paintings: Record of the gallery; None without one.
        tiles: The photograph, then the photograph in every style.
        rows: One row per artefact that was run.
        pictures: Label of the artefact and record of each painted picture.
    """

    paintings: PaintingsRecord | None
    tiles: Sequence[StyleTile]
    rows: Sequence[PaintedRow]
    pictures: Sequence[tuple[str, PaintedPictureRecord]]


def styles_view(manifest: Manifest, thumbnails: Mapping[str, bytes]) -> StylesView | None:
    """Return the section; None if the manifest has no styles.

    Args:
        manifest: Manifest of a stylizer.
        thumbnails: Contents of its thumbnail files, by path.
    """
    paintings = manifest.paintings
    labelled = list(zip(manifest.artefacts, artefact_names(manifest.artefacts), strict=True))
    painted = [
        (artefact, artefact.painted, label)
        for artefact, label in labelled
        if artefact.painted is not None
    ]
    if paintings is None and not painted:
        return None
    tiles: list[StyleTile] = []
    if paintings is not None:
        named = [(record.style, record.file) for record in paintings.thumbnails[:_MAX_TILES]]
        if paintings.unpainted is not None:
            named.insert(0, ("unpainted", paintings.unpainted))
        tiles = [_tile(name, file, thumbnails) for name, file in named]
    return StylesView(
        paintings=paintings,
        tiles=tiles,
        rows=[painted_row(artefact, label) for artefact, _, label in painted],
        pictures=[(label, picture) for _, record, label in painted for picture in record.pictures],
    )


def _tile(name: str, file: FileRecord, thumbnails: Mapping[str, bytes]) -> StyleTile:
    if file.path not in thumbnails:
        return StyleTile(name, problem="file not available")
    try:
        picture = Photograph(name, thumbnails[file.path])
        return StyleTile(name, thumbnail(picture, max_pixels=_MAX_PIXELS))
    except InputSpecError:
        # The file has the recorded digest but is not a thumbnail: the tile shows a note instead.
        return StyleTile(name, problem="cannot be read as a picture")
