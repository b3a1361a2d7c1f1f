"""Between a model's floats and the int8 numbers at the face of an artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgesdk.bundle.manifest import IoScaleRecord
from edgesdk.quant.plan import Arrays
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec

__all__ = ["FloatFaceSession", "float_run"]


class FloatFaceSession(Session):
    """A session that takes and gives floats where its artefact takes and gives int8.

    Args:
        session: The artefact; closing it stays its owner's affair.
        faces: Scales of its int8 inputs and outputs; others pass unchanged.
    """

    def __init__(self, session: Session, faces: Sequence[IoScaleRecord]) -> None:
        self.runtime, self.evaluator, self.note = session.runtime, session.evaluator, session.note
        scaled = {face.name for face in faces}
        self.inputs = _float_specs(session.inputs, scaled)
        self.outputs = _float_specs(session.outputs, scaled)
        self._float_run = float_run(session.run, faces)

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        outputs = self._float_run(named)
        return [outputs[spec.name] for spec in self.outputs]

    def close(self) -> None:
        """Does nothing: the session it stands before is not its own."""


def float_run(
    run: Callable[[Arrays], Arrays], faces: Sequence[IoScaleRecord]
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


def _rounded(array: np.ndarray, face: IoScaleRecord | None) -> np.ndarray:
    if face is None or array.dtype.kind != "f":
        return array
    # Half to even, as every runtime rounds.
    numbers = np.rint(array / np.float32(face.scale)) + face.zero_point
    return np.clip(numbers, -128, 127).astype(np.int8)


def _floats(array: np.ndarray, face: IoScaleRecord | None) -> np.ndarray:
    if face is None or array.dtype != np.int8:
        return array
    return (array.astype(np.float32) - face.zero_point) * np.float32(face.scale)


def _float_specs(specs: Sequence[TensorSpec], scaled: set[str]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, dtype="float32") if spec.name in scaled else spec for spec in specs)
