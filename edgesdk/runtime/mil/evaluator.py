"""Evaluate an ML Program operator by operator with torch, where Apple's runtime is missing."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import InputSpecError, SessionError, UnknownNameError, UsageError
from edgesdk.runtime.mil.features import MilFeature
from edgesdk.runtime.mil.plan import (
    BlockPlan,
    ProgramPlan,
    Step,
    guarded_call,
    plan_program,
    to_value,
)
from edgesdk.runtime.mil.program import MilProgram, load
from edgesdk.runtime.session import MeasuredOperator, cast_exactly

__all__ = ["EVALUATOR_NOTE", "IntermediateValue", "MilEvaluator"]

EVALUATOR_NOTE = (
    "The saved Core ML program was evaluated operator by operator with torch. This proves the "
    "conversion: operators, their options, the order of dimensions and the stored weights, "
    "decompressed. It does not prove Apple's arithmetic: 16-bit floats are evaluated in 32 bits, "
    "and rounding, fusion and choice of compute unit differ from Apple devices. Times are "
    "torch's on this machine."
)

_MAX_LOOP_ITERATIONS = 1_000_000


@dataclass(frozen=True)
class IntermediateValue:
    """Result of one operator.

    Attributes:
        operator: Type of the operator.
        name: Name of the value in the program.
        value: The value; floats in ``float32``, integers in ``int32``.
    """

    operator: str
    name: str
    value: np.ndarray


@contextlib.contextmanager
def _arithmetic(threads: int | None) -> Iterator[None]:
    """Enable inference mode with ``threads`` threads inside the block."""
    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _to_array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


class MilEvaluator:
    """A saved ML Program, evaluated without a Mac.

    >>> evaluator = MilEvaluator("net.mlpackage")  # doctest: +SKIP
    >>> evaluator.run({"x": image})["output"]  # doctest: +SKIP

    Runs are independent: states of a stateful model start at zero. Equal inputs give equal outputs.
    Do not use it from several threads if ``threads`` is set, because torch has one number of
    threads for the whole process.

    Args:
        program: Result of :func:`edgesdk.runtime.mil.load`, or the path of a ``.mlpackage``.
        threads: Number of torch threads while it runs; None leaves torch as it is.

    Attributes:
        inputs: Inputs in the model's order.
        outputs: Outputs in the model's order.

    Raises:
        MissingBackendError: coremltools is not installed.
        SessionError: The package cannot be read or has an operator without a rule.
        UsageError: ``threads`` is not positive.
    """

    def __init__(self, program: MilProgram | str | Path, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads is {threads}", remedy="use 1 or more, or None")
        read = program if isinstance(program, MilProgram) else load(program)
        self.inputs: tuple[MilFeature, ...] = read.inputs
        self.outputs: tuple[MilFeature, ...] = read.outputs
        self._threads = threads
        with torch.inference_mode():
            self._plan: ProgramPlan = plan_program(read.function, str(read.path))

    @property
    def value_names(self) -> tuple[str, ...]:
        """Sorted names of all computed values; each can be kept."""
        return tuple(sorted(self._plan.names))

    def run(
        self, inputs: Mapping[str, np.ndarray], *, keep: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """Evaluate once.

        Args:
            inputs: Arrays by input name; images as described in :class:`MilFeature`.
            keep: Names of intermediate values to return as well.

        Returns:
            The outputs in the model's order and dtypes, then the kept values.

        Raises:
            InputSpecError: An input is missing or has an illegal shape or a lossy dtype.
            UnknownNameError: The model does not have such an input or value.
            SessionError: An operator failed on these inputs.
        """
        for name in keep:
            if name not in self._plan.names:
                raise UnknownNameError("value", name, self._plan.names)
        values = self._bind(inputs)
        kept: dict[str, np.ndarray] = {}
        with _arithmetic(self._threads):
            for step in _walk(self._plan.body, values):
                for name, key in zip(step.names, step.outputs, strict=True):
                    if name in keep:
                        kept[name] = _to_array(values[key]).copy()
                _free(step, values)
        return {**self._collect(values), **kept}

    def trace(self, inputs: Mapping[str, np.ndarray]) -> Iterator[IntermediateValue]:
        """Evaluate once and yield every value as it is computed.

        Args:
            inputs: See :meth:`run`.

        Yields:
            Every value except constants, in execution order, including those in control flow.

        Raises:
            EdgeSdkError: See :meth:`run`.
        """
        values = self._bind(inputs)
        steps = _walk(self._plan.body, values)
        while True:
            # The caller's code between two steps must not inherit inference mode.
            with _arithmetic(self._threads):
                step = next(steps, None)
                if step is None:
                    return
                shown = [
                    IntermediateValue(step.op_type, name, _to_array(values[key]).copy())
                    for name, key in zip(step.names, step.outputs, strict=True)
                ]
                _free(step, values)
            yield from shown

    def operator_times(
        self, inputs: Mapping[str, np.ndarray], runs: int = 5
    ) -> list[MeasuredOperator]:
        """Measure torch's median time per operator on this machine, in execution order.

        Args:
            inputs: See :meth:`run`.
            runs: Number of measured runs, after an unmeasured one.

        Raises:
            EdgeSdkError: See :meth:`run`.
            UsageError: ``runs`` is not positive.
        """
        if runs < 1:
            raise UsageError(f"runs is {runs}", remedy="measure at least one run")
        totals: list[dict[tuple[str, str], float]] = []
        for _ in range(runs + 1):
            values = self._bind(inputs)
            # Operators in a loop run more than once: add up their times of one run.
            total: dict[tuple[str, str], float] = defaultdict(float)
            with _arithmetic(self._threads):
                before = time.perf_counter()
                for step in _walk(self._plan.body, values):
                    total[step.names[0], step.op_type] += time.perf_counter() - before
                    _free(step, values)
                    before = time.perf_counter()
            totals.append(total)
        measured = totals[1:]
        return [
            MeasuredOperator(
                name,
                op_type,
                1e3 * statistics.median(run.get((name, op_type), 0) for run in measured),
            )
            for name, op_type in totals[0]
        ]

    def _bind(self, inputs: Mapping[str, np.ndarray]) -> dict[int, Any]:
        """Collect the values before the first step: constants, zeroed states and inputs."""
        known = [feature.name for feature in self.inputs]
        for name in inputs:
            if name not in known:
                raise UnknownNameError("input", name, known)
        values = dict(self._plan.constants)
        for key, shape in self._plan.states.values():
            values[key] = torch.zeros(shape)
        for feature in self.inputs:
            if feature.name in inputs:
                array = np.asarray(inputs[feature.name])
                feature.check(array.shape)
                array = cast_exactly(feature.name, array, feature.dtype)
            elif feature.default is not None:
                array = np.full(feature.shape, feature.default, feature.dtype)
            else:
                raise InputSpecError(f"input {feature.name!r} is missing", remedy=f"pass {feature}")
            tensor = to_value(array)
            # Pixels are bytes; the program computes with floats.
            values[self._plan.inputs[feature.name]] = tensor.float() if feature.colour else tensor
        return values

    def _collect(self, values: Mapping[int, Any]) -> dict[str, np.ndarray]:
        results = {}
        for feature in self.outputs:
            array = _to_array(values[self._plan.outputs[feature.name]])
            is_text = array.dtype.kind in "US"
            results[feature.name] = array.copy() if is_text else array.astype(feature.dtype)
        return results


def _free(step: Step, values: dict[int, Any]) -> None:
    for key in step.frees:
        values.pop(key, None)


def _walk(plan: BlockPlan, values: dict[int, Any]) -> Iterator[Step]:
    """Run the steps of a block; yield each once its outputs are in ``values``."""
    for step in plan.steps:
        if step.op_type == "cond":
            yield from _branch(step, values)
        elif step.op_type == "while_loop":
            yield from _loop(step, values)
        else:
            _store(step, _compute(step, values), values)
        yield step


def _walk_and_free(plan: BlockPlan, values: dict[int, Any]) -> Iterator[Step]:
    for step in _walk(plan, values):
        yield step
        _free(step, values)


def _argument(step: Step, name: str, values: Mapping[int, Any]) -> Any:
    if name in step.constants:
        return step.constants[name]
    source = step.variables[name]
    if isinstance(source, tuple):
        return [values[key] for key in source]
    return values[source]


def _compute(step: Step, values: dict[int, Any]) -> tuple[Any, ...]:
    if step.op_type == "read_state":
        return (_argument(step, "input", values),)
    if step.op_type == "coreml_update_state":
        state = step.variables["state"]
        if isinstance(state, int):
            values[state] = _argument(step, "value", values)
        return (_argument(step, "value", values),)
    rule = step.rule
    if rule is None:
        raise SessionError(f"the evaluator has no rule for {step.op_type}")
    arguments = dict(step.constants)
    for name in step.variables:
        value = _argument(step, name, values)
        arguments[name] = rule.readers[name](value) if name in rule.readers else value
    result = guarded_call(step.op_type, step.names[0], rule.function, arguments)
    return result if isinstance(result, tuple) else (result,)


def _store(step: Step, results: tuple[Any, ...], values: dict[int, Any]) -> None:
    if len(results) != len(step.outputs):
        raise SessionError(
            f"operator {step.op_type} of {step.names[0]!r} has {len(step.outputs)} outputs, "
            f"but {len(results)} were computed"
        )
    for key, dtype, result in zip(step.outputs, step.dtypes, results, strict=True):
        if isinstance(result, Tensor) and dtype is not None:
            result = result.to(dtype)
        values[key] = result


def _branch(step: Step, values: dict[int, Any]) -> Iterator[Step]:
    chosen = step.blocks[0] if bool(_argument(step, "pred", values)) else step.blocks[1]
    yield from _walk_and_free(chosen, values)
    _store(step, tuple(values[key] for key in chosen.outputs), values)


def _loop(step: Step, values: dict[int, Any]) -> Iterator[Step]:
    condition, body = step.blocks
    carried = list(_argument(step, "loop_vars", values))
    for _ in range(_MAX_LOOP_ITERATIONS):
        values.update(zip(condition.inputs, carried, strict=True))
        yield from _walk_and_free(condition, values)
        if not bool(values[condition.outputs[0]]):
            _store(step, tuple(carried), values)
            return
        values.update(zip(body.inputs, carried, strict=True))
        yield from _walk_and_free(body, values)
        carried = [values[key] for key in body.outputs]
    raise SessionError(
        f"the loop of {step.names[0]!r} ran {_MAX_LOOP_ITERATIONS} times without an end"
    )
