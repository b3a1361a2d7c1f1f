"""Run ``.pte`` in the ExecuTorch runtime: portable kernels and the XNNPACK delegate."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import re
import statistics
import tempfile
import time
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.runtime.declared_specs import declared_specs
from edgesdk.runtime.error_translation import artefact_bytes, first_line, translated_errors
from edgesdk.runtime.loaded_session import LoadedSession, owned_array
from edgesdk.runtime.native_output import captured_native_output
from edgesdk.runtime.pte_file import PteContents, read_pte
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.spec import TensorSpec

__all__ = ["ExecutorchSession"]

_METHOD = "forward"
#: Dtype by ExecuTorch's number of the scalar type.
_DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}
_QUANTIZED = "quantized_decomposed::"


class ExecutorchSession(LoadedSession):
    """An ExecuTorch program in this process. Not thread safe.

    ExecuTorch has one thread pool per process. Opening a session with another number of threads
    replaces the pool; open sessions unload their method first and load it again, with their own
    number of threads, on their next run. Times of alternating sessions with different thread counts
    therefore include loading.

    Args:
        path: The ``.pte`` file.
        threads: Number of threads of the pool, set before the method is loaded.
        inputs: Declared inputs; without them the names are ``input_0``, ``input_1``, ... and a free
            dimension is known only by its largest size.
        outputs: Declared outputs; without them the names are ``output_0``, ...

    Raises:
        MissingBackendError: ``executorch`` is not installed.
        SessionError: The file is damaged, or needs an unregistered kernel or a delegate that only
            runs on a phone.
    """

    operators_note = (
        "per kernel, by ExecuTorch's event tracer on a second copy of the program; "
        "inside XNNPACK too, there in whole microseconds"
    )

    _open_sessions: ClassVar[weakref.WeakSet[ExecutorchSession]] = weakref.WeakSet()
    _pool_threads: ClassVar[int | None] = None
    _program: Any
    _method: Any

    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        path = self.path
        self._bindings, self._torch = _runtime_modules()
        self.runtime = f"executorch {importlib.metadata.version('executorch')}"
        # The runtime reads weights from these bytes as long as the program lives.
        self._data = artefact_bytes(path, "ExecuTorch program (.pte)")
        self._contents = read_pte(path, self._data)
        _require_support(path, self._contents, self._bindings)
        self._unload()
        started = time.perf_counter()
        self._load()
        self.load_seconds = time.perf_counter() - started
        with translated_errors(f"ExecuTorch cannot describe {path.name}"):
            meta = self._program.method_meta(_METHOD)
            found = [
                _spec(path, f"input_{i}", meta.input_tensor_meta(i))
                for i in range(meta.num_inputs())
            ]
            results = [
                _spec(path, f"output_{i}", meta.output_tensor_meta(i))
                for i in range(meta.num_outputs())
            ]
        _check_capacity(path, found, declared_specs("input", found, self._declared_inputs))
        ExecutorchSession._open_sessions.add(self)
        return found, results

    def _load(self) -> None:
        """Resize the pool to this session's threads and load the method."""
        failure: Exception | None = None
        with captured_native_output() as printed:
            self._resize_pool()
            try:
                self._program, self._method = self._loaded(enable_etdump=False)
            except (RuntimeError, ValueError, TypeError, OSError, MemoryError) as error:
                # The cause is printed; the exception only holds a number.
                failure = error
        if failure is not None:
            raise _load_error(self.path, failure, printed.text) from failure

    def _loaded(self, *, enable_etdump: bool) -> tuple[Any, Any]:
        program = self._bindings._load_program_from_buffer(
            self._data,
            enable_etdump=enable_etdump,
            program_verification=self._bindings.Verification.InternalConsistency,
        )
        return program, program.load_method(_METHOD)

    def _resize_pool(self) -> None:
        if ExecutorchSession._pool_threads == self.threads:
            return
        # Loaded XNNPACK delegates keep a pointer to the pool and must not outlive it.
        for session in list(ExecutorchSession._open_sessions):
            session._unload()
        gc.collect()
        self._bindings._unsafe_reset_threadpool(self.threads)
        ExecutorchSession._pool_threads = self.threads

    def _unload(self) -> None:
        # Method first: it refers to its program.
        self._method = None
        self._program = None

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        if self._method is None:
            self._load()
        return self._run_in(self._method, arrays)

    def _run_in(self, method: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
        tensors = [
            # torch warns about read-only memory, although it does not write to it.
            self._torch.from_numpy(array if array.flags.writeable else array.copy())
            for array in arrays
        ]
        try:
            results = method.call(tensors, clone_outputs=True)
        except Exception as error:
            raise self._run_error(method, tensors, error) from error
        return [owned_array(result.numpy()) for result in results]

    def _run_error(self, method: Any, tensors: list[Any], error: Exception) -> SessionError:
        """Return the error of a failed run, with the kernel that refused its arguments."""
        # The kernel is printed, and not in the exception: the second run fails alike.
        with captured_native_output() as printed, contextlib.suppress(Exception):
            method.call(tensors, clone_outputs=True)
        kernel = re.search(r"in operator ([\w:.]+)", printed.text)
        free = any(spec.dynamic for spec in self.inputs)
        return SessionError(
            f"ExecuTorch failed on {self.path.name}: {first_line(error)}"
            + (f", in the kernel {kernel[1]}" if kernel else ""),
            remedy="keep free dimensions within the largest size they were exported with"
            if free
            else "the runtime cannot compute this operator with these arguments: rewrite it in the "
            "model, or leave executorch out",
        )

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> list[MeasuredOperator]:
        if self._method is None:
            self._load()
        with (
            translated_errors(f"ExecuTorch cannot profile {self.path.name}"),
            captured_native_output(),
            warnings.catch_warnings(),
            tempfile.TemporaryDirectory(prefix="edgesdk-profile-") as folder,
        ):
            warnings.simplefilter("ignore")
            try:
                from executorch.devtools import Inspector
            except ModuleNotFoundError as error:
                raise MissingBackendError("executorch.devtools", "executorch") from error
            program, method = self._loaded(enable_etdump=True)
            # The first run fills caches and is excluded below.
            for _ in range(runs + 1):
                self._run_in(method, arrays)
            file = str(Path(folder) / "run.etdump")
            program.write_etdump_result_to_file(file)
            del method, program
            blocks = Inspector(etdump_path=file).event_blocks
        events = [event for block in blocks if block.name == "Execute" for event in block.events]
        return _measured(events, self._contents.calls)

    def _release(self) -> None:
        ExecutorchSession._open_sessions.discard(self)
        self._unload()
        self._data = b""


def _runtime_modules() -> tuple[Any, Any]:
    """Import ExecuTorch's native module and torch, whose libraries it needs first."""
    import torch

    try:
        # The public portable_lib re-exports this module, but also imports the whole compiler, which
        # takes seconds.
        return importlib.import_module("executorch.extension.pybindings._C"), torch
    except ModuleNotFoundError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("executorch.extension.pybindings.portable_lib"), torch
    except ModuleNotFoundError as error:
        raise MissingBackendError("executorch", "executorch") from error


def _require_support(path: Path, contents: PteContents, bindings: Any) -> None:
    if _METHOD not in contents.methods:
        raise SessionError(
            f"{path.name} has no method {_METHOD!r}, only {', '.join(contents.methods)}",
            remedy="export the model's forward",
        )
    registered = bindings._get_registered_backend_names()
    for backend in contents.backends:
        if backend not in registered:
            raise _missing_backend(path, backend)
    missing = _missing_operators(contents, bindings)
    if any(name.startswith(_QUANTIZED) for name in missing):
        # Registers its kernels on import.
        with translated_errors("ExecuTorch's quantized kernels cannot be loaded"):
            importlib.import_module("executorch.kernels.quantized")
        missing = _missing_operators(contents, bindings)
    if missing:
        raise _missing_kernels(path, missing)


def _missing_operators(contents: PteContents, bindings: Any) -> list[str]:
    registered = set(bindings._get_operator_names())
    return sorted({name for name in contents.operators if name not in registered})


def _missing_backend(path: Path, backend: str) -> SessionError:
    return SessionError(
        f"{path.name} needs the delegate {backend}, which ExecuTorch lacks on this machine",
        remedy=f"{backend} only runs on a phone; export executorch:xnnpack to check the model here",
    )


def _missing_kernels(path: Path, names: Sequence[str]) -> SessionError:
    return SessionError(
        f"{path.name} calls operators that ExecuTorch has no kernel for: {', '.join(names)}",
        remedy="rewrite them in the model, or load the library that registers them first",
    )


def _load_error(path: Path, error: Exception, printed: str) -> SessionError:
    text = f"{error}\n{printed}"
    if "0x14" in text:
        names = {
            line.rsplit(" ", 1)[-1] for line in printed.splitlines() if "Missing operator" in line
        }
        return _missing_kernels(path, sorted(names) or ["unknown ones"])
    for line in printed.splitlines():
        if "Backend " in line and "is not registered" in line:
            return _missing_backend(path, line.split("Backend ", 1)[1].split(" ", 1)[0])
    refused = re.search(r"Init failed for backend (\w+)", printed)
    if refused is not None:
        return SessionError(
            f"the delegate {refused[1]} refuses its part of {path.name}",
            remedy="export executorch:portable, or merge axes with reshape(): the delegate takes "
            "tensors of at most six",
        )
    detail = first_line(error)
    log = [line for line in printed.splitlines() if "threadpool" not in line and line.strip()]
    return SessionError(
        f"ExecuTorch cannot load {path.name}: {detail}" + (f" ({log[-1]})" if log else ""),
        where=str(path),
        remedy="the file may be damaged or of another version of ExecuTorch; export again",
    )


def _spec(path: Path, name: str, info: Any) -> TensorSpec:
    dtype = _DTYPES.get(int(info.dtype()))
    if dtype is None:
        raise SessionError(
            f"{name} of {path.name} has ExecuTorch's scalar type {int(info.dtype())}, "
            "which sessions do not support"
        )
    return TensorSpec(name, tuple(int(size) for size in info.sizes()), dtype)


def _check_capacity(
    path: Path, found: Sequence[TensorSpec], declared: Sequence[TensorSpec]
) -> None:
    """Refuse a declared range that the planned memory of the program cannot hold."""
    for planned, spec in zip(found, declared, strict=True):
        for axis, dimension in spec.dynamic.items():
            if dimension.max > planned.shape[axis]:
                raise SessionError(
                    f"{path.name} plans for at most {planned.shape[axis]} along "
                    f"{dimension.name!r} of {spec.name!r}, but {dimension.max} are declared",
                    remedy="the manifest belongs to another file; export again",
                )


def _measured(events: Sequence[Any], calls: Sequence[str]) -> list[MeasuredOperator]:
    """Compute the median time per kernel; delegates are broken down if they report details."""
    inside = {event._instruction_id for event in events if event.is_delegated_op}
    measured: list[MeasuredOperator] = []
    for event in events:
        if event.perf_data is None:
            continue
        instruction = int(event._instruction_id)
        if event.is_delegated_op:
            name = str(event.name)
            operator = name.rsplit(" #", 1)[0]
        elif event.name.startswith("native_call_"):
            operator = str(event.name).removeprefix("native_call_")
            name = f"{operator} @{instruction}"
        elif event.name == "DELEGATE_CALL" and instruction not in inside:
            operator = calls[instruction] if instruction < len(calls) else "delegate"
            name = f"{operator} @{instruction}"
        else:
            continue
        raw = [float(value) for value in event.perf_data.raw]
        measured.append(MeasuredOperator(name, operator, statistics.median(raw[1:] or raw)))
    return measured
