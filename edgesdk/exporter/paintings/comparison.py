"""What conversion did to a stylizer's pictures: an artefact paints what the float model painted."""

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
from edgesdk.exporter.paintings.reference import OriginalPainting, OriginalPaintings
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.host.cache import Cache, key_of
from edgesdk.host.own_code import code_digest
from edgesdk.runtime.isolated import open_isolated
from edgesdk.runtime.session import Session
from edgesdk.verification.int8_io import FloatFaceSession
from edgesdk.video.painters import session_painter
from edgesdk.video.picture_quality import psnr

__all__ = ["ArtefactPainting", "paint_again", "painted_record"]

Picture = NDArray[np.uint8]

#: Seconds one picture may take before the runtime counts as hung.
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
        originals: The float model's.
        painted: The artefact's, uint8, H x W x 3, one for each of them.
        runtime: What painted.
        evaluator: Whether it stood in for a runtime.

    Raises:
        UsageError: A picture has another size.
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
    # Equal pictures have a squared difference of 0: the mean of decibels would be infinite.
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


def paint_again(
    session: Session, originals: OriginalPaintings, faces: Sequence[IoScaleRecord] = ()
) -> PaintedRecord:
    """Paint with an artefact what the float model painted, as an app would.

    Args:
        session: The artefact in its runtime.
        originals: What was painted.
        faces: Scales of int8 inputs and outputs.

    Raises:
        UsageError: The artefact takes no picture and no shares of as many styles.
        ModelOutputError: It answers no picture, or NaN.
        SessionError: The runtime failed.
    """
    floats = FloatFaceSession(session, faces) if faces else session
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
    """One artefact that is to paint, in a session that is open anyway or in one of its own.

    Attributes:
        originals: What the float model painted.
        result: The artefact.
        faces: Scales of its int8 inputs and outputs.
        cache: Where an unchanged record is served from.
        facts: What decides the record besides artefact and originals.
    """

    originals: OriginalPaintings
    result: ConvertedArtefact
    faces: Sequence[IoScaleRecord] = ()
    cache: Cache | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    _record: PaintedRecord | None = None

    @classmethod
    def of(
        cls,
        originals: OriginalPaintings | None,
        result: ConvertedArtefact,
        faces: Sequence[IoScaleRecord],
        cache: Cache | None,
        facts: Mapping[str, Any],
    ) -> ArtefactPainting | None:
        """As the class itself; None where the float model painted nothing."""
        if originals is None or not originals.compared:
            return None
        return cls(originals, result, faces, cache, facts)

    def paint(self, session: Session) -> None:
        """Paint in an open session, unless that was done before. What fails is recorded."""
        self._record = self._record or self._served()
        if self._record is not None:
            return
        try:
            self._record = paint_again(session, self.originals, self.faces)
        except EdgeSdkError as error:
            self._record = PaintedRecord(
                runtime=session.runtime, evaluator=session.evaluator, failure=error.message
            )
            return
        if self.cache is not None:
            self.cache.put(self._key(), self._record.model_dump(mode="json"))

    def record(self, parity: ParityRecord) -> PaintedRecord:
        """The record, from :meth:`paint`, the cache, or a session that is opened for it.

        Args:
            parity: Of the artefact: what does not run does not paint.
        """
        self._record = self._record or self._served()
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

    def _served(self) -> PaintedRecord | None:
        known = self.cache.get(self._key()) if self.cache is not None else None
        return None if known is None else PaintedRecord.model_validate(known)

    def _key(self) -> str:
        return key_of(
            {
                "kind": "painted",
                "code": code_digest(),
                "artefact": self.result.sha256,
                "originals": self.originals.key,
                "faces": [face.model_dump(mode="json") for face in self.faces],
                **self.facts,
            }
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
