"""Paintings of a stylizer before conversion: thumbnails, and the reference for artefacts."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgesdk.bundle.manifest import FileRecord, IoScaleRecord, PaintingsRecord, ThumbnailRecord
from edgesdk.bundle.writer import BundleWriter
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.paintings.style_distance import StyleRuler, StyleScale
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.frontend.capture import run_eager
from edgesdk.frontend.random_inputs import spread
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.image_files import read_picture
from edgesdk.models.photos import paths
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec
from edgesdk.video.painters import SessionPainter, session_painter

if TYPE_CHECKING:
    from edgesdk.exporter.paintings.comparison import ArtefactPainting

__all__ = ["OriginalPainting", "OriginalPaintings"]

Picture = NDArray[np.uint8]

#: Folder of the thumbnails in a bundle.
_THUMBNAILS = "styles"
#: Longer side of a thumbnail, pixels.
_THUMBNAIL_SIDE = 192
#: Maximum number of thumbnails; each costs a painting.
_MAX_THUMBNAILS = 256
#: Number of pictures that every artefact paints; few, because evaluators are slow.
_COMPARED = 4


@dataclass(frozen=True, eq=False)
class OriginalPainting:
    """One photograph painted by the float model.

    Attributes:
        style: Name of the style.
        photograph: Name of the photograph.
        pixels: The photograph at the model's input size, uint8, H x W x 3, RGB.
        painted: The painting, in the same form.
        scale: Style distance between the two; None without a perceptual network.
    """

    style: str
    photograph: str
    pixels: Picture
    painted: Picture
    scale: StyleScale | None = None


@dataclass(frozen=True, eq=False)
class OriginalPaintings:
    """Paintings of the float model, made by :meth:`of`.

    Attributes:
        styles: Names of all styles, in the order of their weights.
        white: Value of white at the model's input.
        compared: Pictures that artefacts paint too.
        photograph: Name of the photograph in the gallery.
        gallery: JPEG thumbnails of it: the original, then one per style.
        network: Description of the perceptual network; empty if there is none.
        identity: Digest of the perceptual network; empty if there is none.
        note: Reasons for missing parts.
    """

    styles: tuple[str, ...]
    white: float = 1.0
    compared: tuple[OriginalPainting, ...] = ()
    photograph: str = ""
    gallery: tuple[bytes, ...] = ()
    network: str = ""
    identity: str = ""
    note: str = ""

    @classmethod
    def of(cls, prepared: PreparedModel, outputs: Sequence[TensorSpec]) -> OriginalPaintings:
        """Paint the package's photographs with a prepared model.

        Args:
            prepared: The model; it names its styles.
            outputs: Outputs of the model.

        Returns:
            The paintings; only a note if the model paints no pictures.
        """
        session = _ModelSession(prepared, outputs)
        try:
            painter = session_painter(session, style_names=prepared.styles)
            gallery_painter = _GalleryPainter(
                painter, prepared.styles, _picture_size(session.inputs, painter)
            )
            compared, gallery = gallery_painter.compared(), gallery_painter.gallery()
        except EdgeSdkError as error:
            return cls(prepared.styles, note=f"nothing was painted: {error.message}")
        notes = [_truncation_note(len(prepared.styles))]
        network = identity = ""
        try:
            ruler = StyleRuler.find()
            compared = tuple(_scaled(painting, ruler) for painting in compared)
            network, identity = ruler.description, ruler.identity()
        except EdgeSdkError as error:
            notes.append(
                f"the change of style was not measured: {error.message}; set EDGESDK_PERCEPTUAL to "
                "a file of VGG16 weights"
            )
        return cls(
            prepared.styles,
            painter.white,
            compared,
            gallery_painter.photographs[0].name,
            gallery,
            network,
            identity,
            "; ".join(text for text in notes if text),
        )

    @cached_property
    def key(self) -> str:
        """Digest of everything that artefacts' pictures are compared with."""
        hasher = hashlib.sha256(repr((self.styles, self.white, self.identity)).encode())
        for painting in self.compared:
            hasher.update(repr((painting.style, painting.photograph)).encode())
            for picture in (painting.pixels, painting.painted):
                hasher.update(repr(picture.shape).encode())
                hasher.update(picture.tobytes())
        return hasher.hexdigest()

    def comparison(
        self,
        context: ExportContext,
        result: ConvertedArtefact,
        facts: Mapping[str, Any],
        io_scales: Sequence[IoScaleRecord] = (),
    ) -> ArtefactPainting | None:
        """Return the comparison of an artefact; None if no pictures are compared.

        Args:
            context: Values that all parts of the export share.
            result: The artefact.
            facts: Further facts that decide the record, for its cache key.
            io_scales: Scales of int8 inputs and outputs.
        """
        from edgesdk.exporter.paintings.comparison import ArtefactPainting

        return ArtefactPainting(context, self, result, facts, io_scales) if self.compared else None

    def write(self, writer: BundleWriter) -> PaintingsRecord:
        """Write the thumbnails into a bundle, and return the record for its manifest.

        Raises:
            StorageError: The disk is full or read-only, or access is denied.
        """
        if not self.gallery:
            return PaintingsRecord(note=self.note)
        unpainted, *painted = self.gallery
        return PaintingsRecord(
            photograph=self.photograph,
            unpainted=_write(writer, "photograph", unpainted),
            thumbnails=[
                ThumbnailRecord(
                    style=self.styles[place], file=_write(writer, f"{place:03d}", content)
                )
                for place, content in enumerate(painted)
            ],
            network=self.network,
            note=self.note,
        )


class _ModelSession(Session):
    """A prepared model with the interface of a runtime session."""

    def __init__(self, prepared: PreparedModel, outputs: Sequence[TensorSpec]) -> None:
        self.runtime = "torch"
        self.inputs = prepared.input_specs(CaptureSpec())
        self.outputs = tuple(outputs)
        self._model = prepared.flat_model()

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        answers = run_eager(self._model, named)
        return [answers[spec.name] for spec in self.outputs]

    def close(self) -> None:
        """Do nothing: the caller owns the model."""


class _GalleryPainter:
    """Paints the package's photographs, scaled to the painter's input size."""

    def __init__(
        self, painter: SessionPainter, styles: Sequence[str], size: tuple[int, int]
    ) -> None:
        self.photographs = paths()
        self._painter = painter
        self._styles = tuple(styles)
        self._size = size
        self._known: dict[tuple[int, int], OriginalPainting] = {}

    def compared(self) -> tuple[OriginalPainting, ...]:
        """Paint a few styles, evenly spread over all, each on another photograph."""
        chosen = spread(len(self._styles), _COMPARED)
        for place, style in enumerate(chosen):
            photograph = place % len(self.photographs)
            self._known[style, photograph] = self._paint(style, photograph)
        return tuple(self._known.values())

    def gallery(self) -> tuple[bytes, ...]:
        """Return thumbnails of the first photograph: the original, then one per style."""
        shown = range(min(len(self._styles), _MAX_THUMBNAILS))
        paintings = ((self._known.get((style, 0)) or self._paint(style, 0)) for style in shown)
        return _jpeg(self._pixels(0)), *(_jpeg(painting.painted) for painting in paintings)

    def _paint(self, style: int, photograph: int) -> OriginalPainting:
        # Set the style by weights: a name may look like a number.
        self._painter.set_style(weights=np.eye(len(self._styles), dtype=np.float32)[style])
        pixels = self._pixels(photograph)
        name = self.photographs[photograph].name
        return OriginalPainting(self._styles[style], name, pixels, self._painter(pixels))

    def _pixels(self, photograph: int) -> Picture:
        picture = read_picture(self.photographs[photograph])
        return np.array(ImageOps.fit(picture, self._size, Image.Resampling.BICUBIC))


def _picture_size(specs: Sequence[TensorSpec], painter: SessionPainter) -> tuple[int, int]:
    """Return width and height of the picture input: the one that takes no style weights."""
    styles = painter.styles.name if painter.styles else ""
    shape, layout = next((spec.shape, spec.layout) for spec in specs if spec.name != styles)
    height, width = shape[2:] if shape[1] == 3 and layout != "NHWC" else shape[1:3]
    return width, height


def _scaled(painting: OriginalPainting, ruler: StyleRuler) -> OriginalPainting:
    return replace(painting, scale=ruler.scale(painting.pixels, painting.painted))


def _truncation_note(styles: int) -> str:
    if styles <= _MAX_THUMBNAILS:
        return ""
    return f"the first {_MAX_THUMBNAILS} of {styles} styles are shown"


def _jpeg(pixels: Picture) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    # Keep colours at full resolution: strokes differ in colour as much as in brightness.
    picture.save(content, "JPEG", quality=85, subsampling=0)
    return content.getvalue()


def _write(writer: BundleWriter, name: str, content: bytes) -> FileRecord:
    path = writer.folder / _THUMBNAILS / f"{name}.jpg"
    with storage_errors("cannot write", path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return writer.add(path, f"{_THUMBNAILS}/{path.name}")
