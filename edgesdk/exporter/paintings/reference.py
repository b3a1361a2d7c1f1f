"""What a stylizer of several styles paints before any conversion: thumbnails, and a yardstick."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgesdk.bundle.manifest import FileRecord, PaintingsRecord, ThumbnailRecord
from edgesdk.bundle.writer import BundleWriter
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.paintings.style_distance import StyleRuler, StyleScale
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.frontend.capture import run_eager
from edgesdk.frontend.random_inputs import spread
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.image_files import read_picture
from edgesdk.models.photos import paths
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec
from edgesdk.video.painters import SessionPainter, session_painter

__all__ = ["THUMBNAILS", "OriginalPainting", "OriginalPaintings"]

Picture = NDArray[np.uint8]

#: Folder of the thumbnails in a bundle.
THUMBNAILS = "styles"
#: Longer side of a thumbnail, pixels.
_THUMBNAIL_SIDE = 192
#: More styles than this nobody looks at one by one, and each costs a painting.
_MOST_THUMBNAILS = 256
#: Pictures that every artefact paints: few, because an evaluator takes long over each.
_MOST_COMPARED = 4


@dataclass(frozen=True, eq=False)
class OriginalPainting:
    """One photograph as the float model paints it.

    Attributes:
        style: Name of the style.
        photograph: Name of the photograph.
        pixels: The photograph in the size the model takes, uint8, H x W x 3, RGB.
        painted: What was painted, likewise.
        scale: Between the two; None where there is no perceptual network.
    """

    style: str
    photograph: str
    pixels: Picture
    painted: Picture
    scale: StyleScale | None = None


@dataclass(frozen=True, eq=False)
class OriginalPaintings:
    """What the float model paints. Made by :meth:`of`.

    Attributes:
        styles: Names of all styles, in the order of their shares.
        white: The value of white at the model's face.
        compared: What artefacts paint too.
        photograph: Name of the photograph that the gallery shows.
        gallery: Thumbnails of it, JPEG: unpainted, then in every style.
        network: What scales were made with; empty where there is no perceptual network.
        identity: Of that network; empty likewise.
        note: Why something is missing.
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
            prepared: The model, which names its styles.
            outputs: Its outputs.

        Returns:
            The paintings; none, and a note, of a model that paints no pictures.
        """
        session = _ModelSession(prepared, outputs)
        try:
            painter = session_painter(session, style_names=prepared.styles)
            studio = _Studio(painter, prepared.styles, _picture_size(session.inputs, painter))
            compared, gallery = studio.compared(), studio.gallery()
        except EdgeSdkError as error:
            return cls(prepared.styles, note=f"nothing was painted: {error.message}")
        told = [_left_out(len(prepared.styles))]
        network = identity = ""
        try:
            ruler = StyleRuler.find()
            compared = tuple(_scaled(painting, ruler) for painting in compared)
            network, identity = ruler.description, ruler.identity()
        except EdgeSdkError as error:
            told.append(
                f"the change of style was not measured: {error.message}; a file of VGG16's weights "
                "that EDGESDK_PERCEPTUAL names would do"
            )
        return cls(
            prepared.styles,
            painter.white,
            compared,
            studio.photographs[0].name,
            gallery,
            network,
            identity,
            "; ".join(text for text in told if text),
        )

    @cached_property
    def key(self) -> str:
        """Changes with everything that an artefact's pictures are compared with."""
        hasher = hashlib.sha256(repr((self.styles, self.white, self.identity)).encode())
        for painting in self.compared:
            hasher.update(repr((painting.style, painting.photograph)).encode())
            for picture in (painting.pixels, painting.painted):
                hasher.update(repr(picture.shape).encode())
                hasher.update(picture.tobytes())
        return hasher.hexdigest()

    def write(self, writer: BundleWriter) -> PaintingsRecord:
        """Write the thumbnails into a bundle.

        Args:
            writer: Of the bundle.

        Returns:
            The record for its manifest.

        Raises:
            StorageError: The disk is full, read-only or not ours.
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
    """A prepared model behind the interface of every runtime."""

    def __init__(self, prepared: PreparedModel, outputs: Sequence[TensorSpec]) -> None:
        self.runtime = "torch"
        self.inputs = prepared.face_specs(CaptureSpec())
        self.outputs = tuple(outputs)
        self._face = prepared.face()

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        answers = run_eager(self._face, named)
        return [answers[spec.name] for spec in self.outputs]

    def close(self) -> None:
        """Does nothing: the model stays its owner's."""


class _Studio:
    """A painter with the package's photographs in the size it takes."""

    def __init__(
        self, painter: SessionPainter, styles: Sequence[str], size: tuple[int, int]
    ) -> None:
        self.photographs = paths()
        self._painter = painter
        self._styles = tuple(styles)
        self._size = size
        self._known: dict[tuple[int, int], OriginalPainting] = {}

    def compared(self) -> tuple[OriginalPainting, ...]:
        """A few styles spread over all, each on a photograph of its own."""
        chosen = spread(len(self._styles), _MOST_COMPARED)
        for place, style in enumerate(chosen):
            photograph = place % len(self.photographs)
            self._known[style, photograph] = self._paint(style, photograph)
        return tuple(self._known.values())

    def gallery(self) -> tuple[bytes, ...]:
        """Thumbnails of the first photograph: unpainted, then in every style."""
        shown = range(min(len(self._styles), _MOST_THUMBNAILS))
        paintings = ((self._known.get((style, 0)) or self._paint(style, 0)) for style in shown)
        return _jpeg(self._pixels(0)), *(_jpeg(painting.painted) for painting in paintings)

    def _paint(self, style: int, photograph: int) -> OriginalPainting:
        # By shares: a name may look like a number.
        self._painter.set_style(weights=np.eye(len(self._styles), dtype=np.float32)[style])
        pixels = self._pixels(photograph)
        name = self.photographs[photograph].name
        return OriginalPainting(self._styles[style], name, pixels, self._painter(pixels))

    def _pixels(self, photograph: int) -> Picture:
        picture = read_picture(self.photographs[photograph])
        return np.array(ImageOps.fit(picture, self._size, Image.Resampling.BICUBIC))


def _picture_size(specs: Sequence[TensorSpec], painter: SessionPainter) -> tuple[int, int]:
    """Width and height of the input that takes the picture: the one that takes no shares."""
    styles = painter.styles.name if painter.styles else ""
    shape, layout = next((spec.shape, spec.layout) for spec in specs if spec.name != styles)
    height, width = shape[2:] if shape[1] == 3 and layout != "NHWC" else shape[1:3]
    return width, height


def _scaled(painting: OriginalPainting, ruler: StyleRuler) -> OriginalPainting:
    return replace(painting, scale=ruler.scale(painting.pixels, painting.painted))


def _left_out(styles: int) -> str:
    if styles <= _MOST_THUMBNAILS:
        return ""
    return f"of {styles} styles the first {_MOST_THUMBNAILS} are shown"


def _jpeg(pixels: Picture) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    # Strokes differ in colour as much as in brightness: no coarser colours.
    picture.save(content, "JPEG", quality=85, subsampling=0)
    return content.getvalue()


def _write(writer: BundleWriter, name: str, content: bytes) -> FileRecord:
    path = writer.folder / THUMBNAILS / f"{name}.jpg"
    with storage_errors("cannot write", path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return writer.add(path, f"{THUMBNAILS}/{path.name}")
