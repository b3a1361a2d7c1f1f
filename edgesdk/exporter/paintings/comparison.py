"""Compare the paintings of an artefact with those of the float model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesdk.bundle.manifest import (
    IoScaleRecord,
    PaintedPictureRecord,
    PaintedRecord,
    ParityRecord,
)
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.paintings.reference import OriginalPainting, OriginalPaintings
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.host.cache import key_of
from edgesdk.host.own_code import code_digest
from edgesdk.runtime.isolated import open_isolated
from edgesdk.runtime.session import Session
from edgesdk.verification.int8_io import FloatIoSession
from edgesdk.video.painters import session_painter
from edgesdk.video.picture_quality import psnr

__all__ = ["ArtefactPainting", "painted_record", "repaint"]

Picture = NDArray[np.uint8]

#: Seconds per picture after which the runtime counts as hung.
_TIMEOUT = 300.0


def painted_record(
    originals: Sequence[OriginalPainting],
    painted: Sequence[Picture],
    *,
    runtime: str,
    evaluator: bool = False,
) -> PaintedRecord:
    """Compare pictures with those of the float model.

    Args:
        originals: The float model's paintings.
        painted: The artefact's paintings, uint8, H x W x 3, one per original.
        runtime: Runtime of the artefact.
        evaluator: True if an evaluator stands in for the runtime.

    Raises:
        UsageError: A picture has another size than its original.
    """
    pictures = [
        PaintedPictureRecord(
            style=original.style,
            photograph=original.photograph,
            psnr_db=_finite(psnr(original.painted, picture)),
            style_change=original.scale.change(picture) if original.scale else None,
        )
        for original, picture in zip(originals, painted, strict=True)
    ]
    decibels = [picture.psnr_db for picture in pictures]
    differing = [value for value in decibels if value is not None]
    # Average squared differences: equal pictures have 0, while their PSNR is infinite.
    square = sum(10 ** (-value / 10) for value in differing) / max(1, len(decibels))
    changes = [picture.style_change for picture in pictures if picture.style_change is not None]
    return PaintedRecord(
        runtime=runtime,
        evaluator=evaluator,
        pictures=pictures,
        psnr_db=-10 * math.log10(square) if differing else None,
        least_psnr_db=min(differing, default=None),
        style_change=sum(changes) / len(changes) if changes else None,
    )


def repaint(
    session: Session, originals: OriginalPaintings, io_scales: Sequence[IoScaleRecord] = ()
) -> PaintedRecord:
    """Paint the compared pictures with an artefact, as an app would.

    Args:
        session: The artefact in its runtime.
        originals: The float model's paintings.
        io_scales: Scales of int8 inputs and outputs.

    Raises:
        UsageError: The artefact takes no picture, or weights of another number of styles.
        ModelOutputError: The output is not a picture, or holds NaN.
        SessionError: The runtime failed.
    """
    floats = FloatIoSession(session, io_scales) if io_scales else session
    painter = session_painter(floats, white=originals.white, style_names=originals.styles)
    pictures = []
    for original in originals.compared:
        place = originals.styles.index(original.style)
        painter.set_style(weights=np.eye(len(originals.styles), dtype=np.float32)[place])
        pictures.append(painter(original.pixels))
    return painted_record(
        originals.compared, pictures, runtime=session.runtime, evaluator=session.evaluator
    )


@dataclass
class ArtefactPainting:
    """Paintings of one artefact, made in an open session or in a session of their own.

    Attributes:
        context: Values that all parts of the export share.
        originals: The float model's paintings.
        result: The artefact.
        facts: Facts that decide the record besides artefact and originals, for the cache key.
        io_scales: Scales of int8 inputs and outputs.
    """

    context: ExportContext
    originals: OriginalPaintings
    result: ConvertedArtefact
    facts: Mapping[str, Any] = field(default_factory=dict)
    io_scales: Sequence[IoScaleRecord] = ()
    _record: PaintedRecord | None = None

    def paint(self, session: Session) -> None:
        """Paint in an open session, unless that is already done. A failure is recorded."""
        self._record = self._record or self._from_cache()
        if self._record is not None:
            return
        try:
            self._record = repaint(session, self.originals, self.io_scales)
        except EdgeSdkError as error:
            self._record = PaintedRecord(
                runtime=session.runtime, evaluator=session.evaluator, failure=error.message
            )
            return
        if self.context.cache is not None:
            self.context.cache.put(self._key(), self._record.model_dump(mode="json"))

    def record(self, parity: ParityRecord) -> PaintedRecord:
        """Return the record from :meth:`paint`, the cache, or a new session.

        Args:
            parity: Parity of the artefact; an artefact that does not run does not paint.
        """
        self._record = self._record or self._from_cache()
        if self._record is None and parity.failure is not None:
            self._record = PaintedRecord(failure=parity.failure)
        if self._record is None:
            conversion = self.result.conversion
            try:
                with open_isolated(
                    self.result.path,
                    inputs=conversion.inputs,
                    outputs=conversion.outputs,
                    timeout=_TIMEOUT,
                ) as session:
                    self.paint(session)
            except EdgeSdkError as error:
                self._record = self._record or PaintedRecord(failure=error.message)
        return self._record or PaintedRecord()

    def _from_cache(self) -> PaintedRecord | None:
        cache = self.context.cache
        known = cache.get(self._key()) if cache is not None else None
        return None if known is None else PaintedRecord.model_validate(known)

    def _key(self) -> str:
        return key_of(
            {
                "kind": "painted",
                "code": code_digest(),
                "artefact": self.result.sha256,
                "originals": self.originals.key,
                "faces": [scale.model_dump(mode="json") for scale in self.io_scales],
                **self.facts,
            }
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
