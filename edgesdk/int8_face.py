"""Between a model's floats and the int8 numbers at the face of an artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgesdk.manifest import FaceScaleRecord
from quant.plan import Arrays

__all__ = ["float_run"]


def float_run(
    run: Callable[[Arrays], Arrays], faces: Sequence[FaceScaleRecord]
) -> Callable[[Arrays], Arrays]:
    """A session that takes and gives floats where its artefact takes and gives int8.

    Args:
        run: The session.
        faces: Scales of the artefact's int8 inputs and outputs; others pass unchanged.
    """
    scales = {face.name: face for face in faces}
    if not scales:
        return run

    def called(inputs: Arrays) -> Arrays:
        given = {name: _rounded(array, scales.get(name)) for name, array in inputs.items()}
        return {name: _floats(array, scales.get(name)) for name, array in run(given).items()}

    return called


def _rounded(array: np.ndarray, face: FaceScaleRecord | None) -> np.ndarray:
    if face is None or array.dtype.kind != "f":
        return array
    # Half to even, as every runtime rounds.
    numbers = np.rint(array / np.float32(face.scale)) + face.zero_point
    return np.clip(numbers, -128, 127).astype(np.int8)


def _floats(array: np.ndarray, face: FaceScaleRecord | None) -> np.ndarray:
    if face is None or array.dtype != np.int8:
        return array
    return (array.astype(np.float32) - face.zero_point) * np.float32(face.scale)
