"""Measure operator times of a LiteRT model through the C interface of its shared library.

The Python interpreter has no profiler, but ``libLiteRt.so`` in the same wheel has one: its compiled
model can record every operator, including those inside XNNPACK. The layout of an event is not
public, so only the versions it was checked with are supported.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import SessionError
from edgesdk.runtime.native_output import captured_native_output
from edgesdk.runtime.session import MeasuredOperator

__all__ = ["PROFILER_NOTE", "measure_operators", "unsupported_reason"]

PROFILER_NOTE = (
    "per operator, by LiteRT's own profiler on a second, compiled copy of the model; "
    "inside XNNPACK too; in whole microseconds"
)
_CHECKED_VERSIONS = ("2.3.",)
_LIBRARY = "libLiteRt.so"
_CPU = 1
_WRITE = 1
#: Kinds of profiler events: an operator of the graph, and one inside a delegate.
_OPERATOR, _DELEGATED = 2, 8
_MAX_RANK = 8


class _Layout(ctypes.Structure):
    # The rank is in the low seven bits.
    _fields_ = (
        ("rank", ctypes.c_uint),
        ("sizes", ctypes.c_int * _MAX_RANK),
        ("strides", ctypes.c_uint * _MAX_RANK),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_uint64 * 3),
        ("memory_after", ctypes.c_uint64 * 3),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


_Handle = ctypes.c_void_p
_Destructor = ctypes.CFUNCTYPE(None, _Handle)


def _library_path() -> Path | None:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / _LIBRARY if folders else None
    return path if path is not None and path.is_file() else None


def unsupported_reason(distribution: str, version: str) -> str:
    """Return why this interpreter has no operator times; empty if it has them.

    Args:
        distribution: ``ai-edge-litert`` or ``tflite-runtime``.
        version: Version of the distribution.
    """
    if distribution != "ai-edge-litert":
        return f"{distribution} has no profiler; install ai-edge-litert for operator times"
    if not version.startswith(_CHECKED_VERSIONS):
        return f"this SDK does not support the profiler of LiteRT {version}, only that of 2.3"
    if _library_path() is None:
        return f"this build of ai-edge-litert lacks {_LIBRARY}"
    return ""


def measure_operators(
    data: bytes, inputs: Sequence[tuple[str, np.ndarray]], threads: int, runs: int
) -> list[MeasuredOperator]:
    """Run a model ``runs`` times under the profiler, after two discarded runs.

    Args:
        data: The ``.tflite`` file, already checked.
        inputs: Name in the signature (or empty) and array, in the order of the main graph.
        threads: Number of XNNPACK threads.
        runs: Number of runs, at least 1.

    Returns:
        Median milliseconds per operator, in execution order.

    Raises:
        SessionError: The library refuses the model or cannot be loaded.
    """
    path = _library_path()
    if path is None:
        raise SessionError(f"{_LIBRARY} is missing")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise SessionError(f"cannot load {_LIBRARY}: {error}") from error
    with contextlib.ExitStack() as stack:
        with captured_native_output():
            model = _CompiledModel(library, stack, data, inputs, threads)
            model.run()
            model.run()
        samples = [model.profile() for _ in range(runs)]
    return _medians(samples)


class _CompiledModel:
    """A compiled LiteRT model with profiling on; ``stack`` frees everything in reverse."""

    def __init__(
        self,
        library: ctypes.CDLL,
        stack: contextlib.ExitStack,
        data: bytes,
        inputs: Sequence[tuple[str, np.ndarray]],
        threads: int,
    ) -> None:
        self._library = library
        self._stack = stack
        # Free these last: LiteRT reads the model in place and calls the destructors of options.
        self._kept: list[Any] = []
        stack.callback(self._kept.clear)
        content = ctypes.create_string_buffer(data, len(data))
        self._kept.append(content)
        environment = self._made("Environment", "LiteRtCreateEnvironment", 0, None)
        model = self._made(
            "Model", "LiteRtCreateModelFromBuffer", environment, content, _size(len(data))
        )
        options = self._made("Options", "LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add_options(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add_options(options, b"xnnpack", f"num_threads = {threads}\n".encode())
        self._model = self._made(
            "CompiledModel", "LiteRtCreateCompiledModel", environment, model, options
        )
        signature = self._got("LiteRtGetModelSignature", model, _size(0))
        self._inputs = self._fed(environment, signature, inputs)
        self._outputs = self._result_buffers(environment, signature)
        self._profiler = self._got("LiteRtCompiledModelGetProfiler", self._model)

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise SessionError(f"{_LIBRARY} lacks {name}") from error
        status = function(*arguments)
        if status != 0:
            raise SessionError(f"LiteRT's profiler failed in {name} with status {status}")

    def _got(self, name: str, *arguments: Any) -> _Handle:
        handle = _Handle()
        self._call(name, *arguments, ctypes.byref(handle))
        return handle

    def _made(self, kind: str, name: str, *arguments: Any) -> _Handle:
        handle = self._got(name, *arguments)
        self._stack.callback(getattr(self._library, f"LiteRtDestroy{kind}"), handle)
        return handle

    def _add_options(self, options: _Handle, identifier: bytes, text: bytes) -> None:
        payload = ctypes.create_string_buffer(text)
        destructor = _Destructor(lambda _: None)
        self._kept += (payload, destructor)
        opaque = self._got(
            "LiteRtCreateOpaqueOptions", identifier, ctypes.cast(payload, _Handle), destructor
        )
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _names(self, kind: str, signature: _Handle) -> list[str]:
        count = _size(0)
        self._call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        names = []
        for index in range(count.value):
            name = ctypes.c_char_p()
            self._call(f"LiteRtGetSignature{kind}Name", signature, _size(index), ctypes.byref(name))
            names.append((name.value or b"").decode(errors="replace"))
        return names

    def _buffer(
        self,
        environment: _Handle,
        signature: _Handle,
        kind: str,
        index: int,
        shape: tuple[int, ...] | None,
    ) -> _Handle:
        tensor = self._got(f"LiteRtGetSignature{kind}TensorByIndex", signature, _size(index))
        declared = _TensorType()
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(declared))
        if shape is not None:
            for axis, size in enumerate(shape):
                declared.layout.sizes[axis] = size
        requirements = self._got(
            f"LiteRtGetCompiledModel{kind}BufferRequirements",
            self._model,
            _size(0),
            _size(index),
        )
        return self._made(
            "TensorBuffer",
            "LiteRtCreateManagedTensorBufferFromRequirements",
            environment,
            ctypes.byref(declared),
            requirements,
        )

    def _fed(
        self, environment: _Handle, signature: _Handle, inputs: Sequence[tuple[str, np.ndarray]]
    ) -> Any:
        names = self._names("Input", signature)
        known = {name: array for name, array in inputs if name}
        arrays = (
            [known[name] for name in names]
            if set(known) == set(names)
            else [array for _, array in inputs]
        )
        if len(arrays) != len(names):
            raise SessionError("LiteRT's compiled model has other inputs than its interpreter")
        for index, array in enumerate(arrays):
            sizes = (ctypes.c_int * max(array.ndim, 1))(*array.shape)
            self._call(
                "LiteRtCompiledModelResizeInputTensorNonStrict",
                self._model,
                _size(0),
                _size(index),
                sizes,
                _size(array.ndim),
            )
        handles = (_Handle * len(arrays))()
        for index, array in enumerate(arrays):
            handle = self._buffer(environment, signature, "Input", index, array.shape)
            size = _size(0)
            self._call("LiteRtGetTensorBufferSize", handle, ctypes.byref(size))
            if size.value < array.nbytes:
                raise SessionError(f"LiteRT allocated {size.value} bytes instead of {array.nbytes}")
            target = _Handle()
            self._call("LiteRtLockTensorBuffer", handle, ctypes.byref(target), _WRITE)
            ctypes.memmove(target, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", handle)
            handles[index] = handle
        return handles

    def _result_buffers(self, environment: _Handle, signature: _Handle) -> Any:
        count = len(self._names("Output", signature))
        layouts = (_Layout * count)()
        self._call(
            "LiteRtGetCompiledModelOutputTensorLayouts",
            self._model,
            _size(0),
            _size(count),
            layouts,
            ctypes.c_bool(True),
        )
        handles = (_Handle * count)()
        for index in range(count):
            layout = layouts[index]
            shape = tuple(layout.sizes[axis] for axis in range(layout.rank & 0x7F))
            handles[index] = self._buffer(environment, signature, "Output", index, shape)
        return handles

    def run(self) -> None:
        """Run one inference; the results stay in LiteRT's buffers."""
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            _size(0),
            _size(len(self._inputs)),
            self._inputs,
            _size(len(self._outputs)),
            self._outputs,
        )

    def profile(self) -> list[tuple[str, int, float]]:
        """Run one inference and return tag, node and milliseconds of every operator."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            ((event.tag or b"").decode(errors="replace"), int(event.node), event.elapsed_us / 1000)
            for event in events[: count.value]
            if event.kind in (_OPERATOR, _DELEGATED)
        ]


def _size(value: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(value)


def _medians(samples: list[list[tuple[str, int, float]]]) -> list[MeasuredOperator]:
    steps = [[(tag, node) for tag, node, _ in sample] for sample in samples]
    if any(step != steps[0] for step in steps):
        raise SessionError("LiteRT's profiler reported different operators from run to run")
    seen: dict[str, int] = {}
    measured = []
    for position, (tag, _) in enumerate(steps[0]):
        seen[tag] = seen.get(tag, 0) + 1
        values = [sample[position][2] for sample in samples]
        if all(math.isfinite(value) for value in values):
            measured.append(MeasuredOperator(f"{tag} #{seen[tag]}", tag, statistics.median(values)))
    return measured
