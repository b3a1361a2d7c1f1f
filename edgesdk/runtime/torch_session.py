"""Run ``.pt2``, an exported program, in torch: the reference for every other artefact."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgesdk.errors import SessionError, SourceDamagedError, SourceError
from edgesdk.frontend.pt2.reader import load_program
from edgesdk.runtime.error_translation import translated_errors
from edgesdk.runtime.loaded_session import UNBOUNDED, LoadedSession, owned_array
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.spec import DTYPES, DynamicDim, TensorSpec

__all__ = ["TorchSession"]


class TorchSession(LoadedSession):
    """An exported program run by torch on the CPU. Not thread safe.

    torch has one number of threads for the whole process; it is set before each run, so that
    sessions with different numbers can alternate.

    Args:
        path: The ``.pt2`` file.
        threads: Number of threads within an operator.
        inputs: Declared inputs, for ranges of free dimensions.
        outputs: Declared outputs.

    Raises:
        SessionError: The file is damaged or of another version of torch.
        UnsafeFileError: Loading the file would run code from it.
    """

    operators_note = "per operator of the program, timed one by one in torch's interpreter"

    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        path = self.path
        started = time.perf_counter()
        # The reader raises SourceError, because the file may also be a SOURCE.
        try:
            program = load_program(path)
        except SourceError as error:
            if type(error) not in (SourceError, SourceDamagedError):
                raise
            raise SessionError(error.message, where=error.where, remedy=error.remedy) from error
        import torch
        from torch.utils import _pytree

        self._torch = torch
        self.runtime = f"torch {torch.__version__}"
        with translated_errors(f"torch cannot run {path.name}"):
            self._module: Any = program.module()
            self._in_spec = program.call_spec.in_spec
            self._unflatten = _pytree.tree_unflatten
            self._flatten = _pytree.tree_leaves
            found, results = _signature(program)
        self.load_seconds = time.perf_counter() - started
        return found, results

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with self._prepared(arrays) as (args, kwargs):
            results = self._flatten(self._module(*args, **kwargs))
            leaves = [leaf for leaf in results if isinstance(leaf, self._torch.Tensor)]
            return [owned_array(leaf.detach().cpu().numpy()) for leaf in leaves]

    @contextmanager
    def _prepared(self, arrays: list[np.ndarray]) -> Iterator[tuple[Sequence[Any], dict[str, Any]]]:
        """Set threads, disable gradients and translate errors around one run of torch."""
        torch = self._torch
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with translated_errors(f"torch failed on {self.path.name}"), torch.no_grad():
            # A program may change its inputs in place, so pass copies.
            tensors = [torch.from_numpy(array.copy()) for array in arrays]
            yield self._unflatten(tensors, self._in_spec)

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> list[MeasuredOperator]:
        clock = _timed_interpreter(self._torch, self._module)
        with self._prepared(arrays) as (args, kwargs):
            flat = self._flatten((args, kwargs))
            for _ in range(runs + 1):
                clock.run(*flat, enable_io_processing=False)
        return [
            MeasuredOperator(name, clock.operators[name], statistics.median(times[1:]))
            for name, times in clock.milliseconds.items()
        ]

    def _release(self) -> None:
        self._module = None


def _timed_interpreter(torch: Any, module: Any) -> Any:
    class TimedInterpreter(torch.fx.Interpreter):
        def __init__(self) -> None:
            super().__init__(module)
            self.milliseconds: dict[str, list[float]] = {}
            self.operators: dict[str, str] = {}

        def run_node(self, node: Any) -> Any:
            started = time.perf_counter()
            result = super().run_node(node)
            if node.op == "call_function":
                elapsed = (time.perf_counter() - started) * 1000
                self.milliseconds.setdefault(node.name, []).append(elapsed)
                self.operators[node.name] = str(node.target)
            return result

    return TimedInterpreter()


def _signature(program: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    nodes = {node.name: node for node in program.graph.nodes}
    output = next(node for node in program.graph.nodes if node.op == "output")
    inputs = [
        _spec(str(name), nodes[name].meta["val"], program.range_constraints)
        for name in program.graph_signature.user_inputs
        if name in nodes
    ]
    if len(inputs) != len(program.graph_signature.user_inputs):
        raise SessionError(
            "the program takes constants as inputs", remedy="export it with tensor inputs only"
        )
    values = dict(zip((str(n) for n in output.args[0]), output.args[0], strict=True))
    outputs = [
        _spec(str(name), values[str(name)].meta["val"], program.range_constraints)
        for name in program.graph_signature.user_outputs
    ]
    return inputs, outputs


def _spec(name: str, value: Any, ranges: Any) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SessionError(f"{name!r} of the program has the dtype {dtype}")
    shape, dynamic = [], {}
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            shape.append(size)
            continue
        expression = size.node.expr
        shape.append(int(size.node.hint) if size.node.hint is not None else 1)
        bounds = ranges.get(expression)
        low = int(bounds.lower) if bounds is not None else 1
        finite = bounds is not None and bounds.upper.is_finite and bounds.upper <= UNBOUNDED
        high = int(bounds.upper) if finite else UNBOUNDED
        label = str(expression) if str(expression).isidentifier() else f"{name}_{axis}"
        dynamic[axis] = DynamicDim(label, max(low, 1), high)
    return TensorSpec(name, tuple(shape), dtype, dynamic)
