"""Run ``.tflite`` in the LiteRT interpreter on the CPU, with its XNNPACK delegate."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.runtime import litert_profile
from edgesdk.runtime.error_translation import artefact_bytes, translated_errors
from edgesdk.runtime.loaded_session import UNBOUNDED, LoadedSession, owned_array
from edgesdk.runtime.native_output import captured_native_output
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.runtime.tflite_file import read_tflite
from edgesdk.spec import DTYPES, DynamicDim, TensorSpec

__all__ = ["LitertSession"]

#: Interpreter modules by distribution, in order of preference; the second is the old name.
_INTERPRETERS = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)


class LitertSession(LoadedSession):
    """A LiteRT model in the interpreter. Not thread safe.

    Memory is planned again only when the shape of an input changes.

    Args:
        path: The ``.tflite`` file.
        threads: Number of threads of the interpreter and of XNNPACK.
        inputs: Declared inputs, for names and ranges of free dimensions.
        outputs: Declared outputs.

    Raises:
        MissingBackendError: Neither ``ai_edge_litert`` nor ``tflite_runtime`` is installed.
        SessionError: The file is damaged or has an operator that the interpreter lacks.
    """

    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        path = self.path
        module, distribution, version = _interpreter_module()
        self.runtime = f"{distribution} {version}"
        self._data = artefact_bytes(path, "LiteRT model (.tflite)")
        self._contents = read_tflite(path, self._data)
        unsupported = litert_profile.unsupported_reason(distribution, version)
        self.operators_note = unsupported or litert_profile.PROFILER_NOTE
        self._profiled = not unsupported
        started = time.perf_counter()
        with (
            translated_errors(
                f"LiteRT cannot load {path.name}",
                remedy="if the interpreter lacks an operator, rewrite it in the model",
            ),
            captured_native_output(),
        ):
            self._interpreter: Any = module.Interpreter(
                model_content=self._data, num_threads=self.threads
            )
            self._interpreter.allocate_tensors()
            self.load_seconds = time.perf_counter() - started
            details = self._interpreter.get_input_details()
            results = self._interpreter.get_output_details()
        self._input_indices = [int(item["index"]) for item in details]
        self._shapes = [tuple(int(size) for size in item["shape"]) for item in details]
        self._output_indices = [int(item["index"]) for item in results]
        return (
            [_spec(item, self._contents.input_names) for item in details],
            [_spec(item, self._contents.output_names) for item in results],
        )

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with translated_errors(f"LiteRT failed on {self.path.name}"):
            shapes = [array.shape for array in arrays]
            if shapes != self._shapes:
                # Reset first, so that the next run plans again after a failure.
                self._shapes = []
                for index, shape in zip(self._input_indices, shapes, strict=True):
                    self._interpreter.resize_tensor_input(index, shape)
                self._interpreter.allocate_tensors()
                self._shapes = shapes
            for index, array in zip(self._input_indices, arrays, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            # get_tensor copies in current interpreters, but not in all older ones.
            return [owned_array(self._interpreter.get_tensor(i)) for i in self._output_indices]

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> Sequence[MeasuredOperator]:
        if not self._profiled:
            return ()
        names = [self._contents.input_names.get(index, "") for index in self._input_indices]
        return litert_profile.measure_operators(
            self._data, list(zip(names, arrays, strict=True)), self.threads, runs
        )

    def _release(self) -> None:
        self._interpreter = None
        self._data = b""


def _interpreter_module() -> tuple[Any, str, str]:
    for name, distribution in _INTERPRETERS:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "of unknown version"
        return module, distribution, version
    raise MissingBackendError("ai_edge_litert", "litert")


def _spec(item: dict[str, Any], names: dict[int, str]) -> TensorSpec:
    index = int(item["index"])
    name = names.get(index) or str(item["name"])
    dtype = np.dtype(item["dtype"]).name
    if dtype not in DTYPES:
        raise SessionError(f"{name!r} of the LiteRT model has the type {dtype}")
    signature = item.get("shape_signature", item["shape"])
    dynamic = {
        axis: DynamicDim(f"{name}_{axis}", 1, UNBOUNDED)
        for axis, size in enumerate(signature)
        if size < 0
    }
    return TensorSpec(name, tuple(int(size) for size in item["shape"]), dtype, dynamic)
