"""The one interface of every runtime: named NumPy arrays in, named NumPy arrays out."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.errors import InputSpecError, UnknownNameError
from edgesdk.host.closing import Closing
from edgesdk.spec import TensorSpec

__all__ = ["MeasuredOperator", "Session", "bind_inputs", "cast_exactly"]


@dataclass(frozen=True)
class MeasuredOperator:
    """Median time of one operator of an artefact.

    Attributes:
        name: Its name in the artefact.
        operator: Its type.
        milliseconds: Median over the profiled runs.
    """

    name: str
    operator: str
    milliseconds: float


class Session(Closing, abc.ABC):
    """An artefact loaded in its runtime. Use it as a context manager, or call :meth:`close`.

    Attributes:
        runtime: Name and version of the runtime, such as ``onnxruntime 1.31.1``.
        evaluator: True where an evaluator stands in for a runtime this machine cannot have.
        note: What a result of this session proves, in words; empty for a native runtime.
        inputs: Inputs in the artefact's order.
        outputs: Outputs in the artefact's order.
    """

    runtime: str
    evaluator: bool = False
    note: str = ""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abc.abstractmethod
    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays that already have the declared dtypes and legal shapes."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one inference.

        Args:
            inputs: One array an input, by name. Integers are narrowed where no value is lost.

        Returns:
            One array an output, by name.

        Raises:
            InputSpecError: A missing input, a wrong shape or a dtype that would lose values.
            UnknownNameError: An input that the artefact does not have.
            SessionError: The runtime failed.
        """
        arrays = bind_inputs(self.inputs, inputs)
        return dict(zip((output.name for output in self.outputs), self._run(arrays), strict=True))

    def warm_up(self, inputs: Mapping[str, np.ndarray], runs: int = 3) -> None:
        """Run ``runs`` times and forget the results, so that later times are steady."""
        for _ in range(runs):
            self.run(inputs)

    def operator_times(
        self, inputs: Mapping[str, np.ndarray], runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Median time an operator over ``runs`` runs, in execution order.

        Returns:
            Empty where the runtime does not tell.
        """
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Free the artefact. A closed session cannot run; closing twice is allowed."""


def cast_exactly(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """``array`` as ``dtype``, refusing where a value would change.

    Args:
        name: Input name, for the message.
        array: Any array.
        dtype: Name of the wanted dtype.

    Raises:
        InputSpecError: A value does not fit.
    """
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and wanted.kind == "f":
        # Rounding a float to a narrower float is what every runtime does at its face.
        return np.ascontiguousarray(array.astype(wanted))
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and wanted.kind != "f"):
        raise InputSpecError(
            f"input {name!r} takes {dtype}, not {array.dtype}",
            remedy=f"pass array.astype({dtype!r}) if that is meant",
        )
    cast = array.astype(wanted)
    if not np.array_equal(cast.astype(array.dtype), array):
        raise InputSpecError(f"input {name!r} takes {dtype}; a value of {array.dtype} does not fit")
    return np.ascontiguousarray(cast)


def bind_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Check named arrays against the declared inputs and put them in order.

    Raises:
        InputSpecError: A missing input, a wrong shape or a dtype that would lose values.
        UnknownNameError: An input that is not declared.
    """
    known = [spec.name for spec in specs]
    for name in inputs:
        if name not in known:
            raise UnknownNameError("input", name, known)
    arrays = []
    for spec in specs:
        if spec.name not in inputs:
            raise InputSpecError(f"input {spec.name!r} is missing", remedy=f"pass {spec}")
        array = np.asarray(inputs[spec.name])
        fits = array.ndim == len(spec.shape) and all(
            size == declared
            or (axis in spec.dynamic and spec.dynamic[axis].min <= size <= spec.dynamic[axis].max)
            for axis, (size, declared) in enumerate(zip(array.shape, spec.shape, strict=True))
        )
        if not fits:
            raise InputSpecError(
                f"input {spec.name!r} has shape {tuple(array.shape)}, the artefact takes {spec}"
            )
        arrays.append(cast_exactly(spec.name, array, spec.dtype))
    return arrays
