"""Common interface of all runtimes: named NumPy arrays in, named NumPy arrays out."""

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
        name: Name in the artefact.
        operator: Operator type.
        milliseconds: Median over the profiled runs.
    """

    name: str
    operator: str
    milliseconds: float


class Session(Closing, abc.ABC):
    """An artefact loaded in its runtime. Use it as a context manager, or call :meth:`close`.

    Attributes:
        runtime: Name and version of the runtime, such as ``onnxruntime 1.31.1``.
        evaluator: True if an evaluator replaces a runtime that this machine cannot have.
        note: Significance of the session's results; empty for a native runtime.
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
            inputs: Arrays by input name. Integers are narrowed if no value is lost.

        Returns:
            Arrays by output name.

        Raises:
            InputSpecError: An input is missing or has the wrong shape or a lossy dtype.
            UnknownNameError: The artefact does not have such an input.
            SessionError: The runtime failed.
        """
        arrays = bind_inputs(self.inputs, inputs)
        return dict(zip((output.name for output in self.outputs), self._run(arrays), strict=True))

    def warm_up(self, inputs: Mapping[str, np.ndarray], runs: int = 3) -> None:
        """Run ``runs`` times without results, so that later times are stable."""
        for _ in range(runs):
            self.run(inputs)

    def operator_times(
        self, inputs: Mapping[str, np.ndarray], runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Measure the median time per operator over ``runs`` runs, in execution order.

        Returns:
            The times; empty if the runtime gives none.
        """
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Free the artefact. Closing twice is allowed."""


def cast_exactly(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Convert ``array`` to ``dtype``; refuse to change a value.

    Args:
        name: Input name, for the message.
        array: Any array.
        dtype: Name of the target dtype.

    Raises:
        InputSpecError: A value does not fit.
    """
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and wanted.kind == "f":
        # Every runtime rounds input floats to narrower floats.
        return np.ascontiguousarray(array.astype(wanted))
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and wanted.kind != "f"):
        raise InputSpecError(
            f"input {name!r} takes {dtype}, not {array.dtype}",
            remedy=f"pass array.astype({dtype!r}) if you intend the conversion",
        )
    cast = array.astype(wanted)
    if not np.array_equal(cast.astype(array.dtype), array):
        raise InputSpecError(f"input {name!r} takes {dtype}; a value of {array.dtype} does not fit")
    return np.ascontiguousarray(cast)


def bind_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Check named arrays against the declared inputs and put them in order.

    Raises:
        InputSpecError: An input is missing or has the wrong shape or a lossy dtype.
        UnknownNameError: An input is not declared.
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
                f"input {spec.name!r} has shape {tuple(array.shape)}, but the artefact takes {spec}"
            )
        arrays.append(cast_exactly(spec.name, array, spec.dtype))
    return arrays
