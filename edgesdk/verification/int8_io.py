"""Convert between a model's floats and the int8 inputs and outputs of an artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgesdk.bundle.manifest import IoScaleRecord
from edgesdk.quant.plan import Arrays
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec

__all__ = ["FloatIoSession", "FunctionSession", "float_run"]


class FunctionSession(Session):
    """Session over a function from and to arrays by name; the caller owns the function."""

    def __init__(
        self,
        runtime: str,
        function: Callable[[Arrays], Arrays],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
    ) -> None:
        self.runtime, self.inputs, self.outputs = runtime, tuple(inputs), tuple(outputs)
        self._function = function

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        outputs = self._function(named)
        return [outputs[spec.name] for spec in self.outputs]

    def close(self) -> None:
        """Do nothing: the caller owns the function."""


class FloatIoSession(FunctionSession):
    """Session with float inputs and outputs over an artefact with int8 ones.

    Args:
        session: The artefact; the caller closes it.
        io_scales: Scales of its int8 inputs and outputs; others pass unchanged.
    """

    def __init__(self, session: Session, io_scales: Sequence[IoScaleRecord]) -> None:
        scaled = {scale.name for scale in io_scales}
        specs = (_float_specs(each, scaled) for each in (session.inputs, session.outputs))
        super().__init__(session.runtime, float_run(session.run, io_scales), *specs)
        self.evaluator, self.note = session.evaluator, session.note


def float_run(
    run: Callable[[Arrays], Arrays], io_scales: Sequence[IoScaleRecord]
) -> Callable[[Arrays], Arrays]:
    """Wrap a run function with int8 inputs and outputs so that it takes and returns floats.

    Args:
        run: Runs the artefact on arrays by input name.
        io_scales: Scales of its int8 inputs and outputs; others pass unchanged.
    """
    scales = {scale.name: scale for scale in io_scales}
    if not scales:
        return run

    def called(inputs: Arrays) -> Arrays:
        given = {name: _quantized(array, scales.get(name)) for name, array in inputs.items()}
        return {name: _dequantized(array, scales.get(name)) for name, array in run(given).items()}

    return called


def _quantized(array: np.ndarray, scale: IoScaleRecord | None) -> np.ndarray:
    if scale is None or array.dtype.kind != "f":
        return array
    # Round half to even, as every runtime does.
    numbers = np.rint(array / np.float32(scale.scale)) + scale.zero_point
    return np.clip(numbers, -128, 127).astype(np.int8)


def _dequantized(array: np.ndarray, scale: IoScaleRecord | None) -> np.ndarray:
    if scale is None or array.dtype != np.int8:
        return array
    return (array.astype(np.float32) - scale.zero_point) * np.float32(scale.scale)


def _float_specs(specs: Sequence[TensorSpec], scaled: set[str]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, dtype="float32") if spec.name in scaled else spec for spec in specs)
