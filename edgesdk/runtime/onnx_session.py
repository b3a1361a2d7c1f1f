"""Run ``.onnx`` in ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.runtime.error_translation import artefact_bytes, translated_errors
from edgesdk.runtime.loaded_session import UNBOUNDED, LoadedSession, owned_array
from edgesdk.runtime.onnx_file import check_onnx
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.spec import DynamicDim, TensorSpec

__all__ = ["OnnxSession"]

#: Dtype by ONNX Runtime's name of the type.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxSession(LoadedSession):
    """An ONNX model in ONNX Runtime's CPU provider. Not thread safe.

    Args:
        path: The ``.onnx`` file.
        threads: Number of threads within an operator; operators run one after the other.
        inputs: Declared inputs, for ranges of free dimensions.
        outputs: Declared outputs.
        spin: Let threads spin while they wait for work.

    Raises:
        MissingBackendError: ``onnx`` or ``onnxruntime`` is not installed.
        SessionError: The file is damaged, refers to files elsewhere or cannot be run.
    """

    operators_note = "per node, by the profiler of ONNX Runtime, after its graph optimization"

    def __init__(
        self,
        path: Path,
        threads: int,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[TensorSpec] | None = None,
        spin: bool = True,
    ) -> None:
        self._spin = spin
        super().__init__(path, threads, inputs, outputs)

    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingBackendError("onnxruntime", "onnx") from error
        data = artefact_bytes(self.path, "ONNX model (.onnx)")
        # External weights are found by the model's path; a complete model is loaded from the
        # checked bytes.
        self._model: bytes | str = str(self.path) if check_onnx(self.path, data) else data
        self._runtime = onnxruntime
        started = time.perf_counter()
        self._session: Any = self._load(self._options())
        self.load_seconds = time.perf_counter() - started
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        found, results = self._session.get_inputs(), self._session.get_outputs()
        # Declared names must not replace the names that ONNX Runtime expects.
        self._feeds = [item.name for item in found]
        self._fetches = [item.name for item in results]
        return [_spec(item) for item in found], [_spec(item) for item in results]

    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spin)))
        # Severity 4 suppresses warnings about unused initializers and the like; errors are raised.
        options.log_severity_level = 4
        # Sums of 8-bit products must not saturate, as they do by default on x86 without VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options

    def _load(self, options: Any) -> Any:
        with translated_errors(
            f"ONNX Runtime cannot load {self.path.name}",
            remedy="export the model again; a newer file may need a newer onnxruntime",
        ):
            return self._runtime.InferenceSession(
                self._model, options, providers=["CPUExecutionProvider"]
            )

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return self._run_in(self._session, arrays)

    def _run_in(self, session: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
        feed = dict(zip(self._feeds, arrays, strict=True))
        with translated_errors(f"ONNX Runtime failed on {self.path.name}"):
            results = session.run(self._fetches, feed)
        return [owned_array(result) for result in results]

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> list[MeasuredOperator]:
        with tempfile.TemporaryDirectory(prefix="edgesdk-profile-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._load(options)
            # The first run of a session allocates memory; exclude it.
            for _ in range(runs + 1):
                self._run_in(session, arrays)
            with translated_errors("ONNX Runtime cannot end its profile"):
                file = Path(session.end_profiling())
            try:
                events = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise SessionError(f"cannot read the profile of ONNX Runtime: {error}") from error
        return _measured(events)

    def _release(self) -> None:
        self._session = None
        self._model = b""


def _spec(item: Any) -> TensorSpec:
    dtype = _DTYPES.get(item.type)
    if dtype is None:
        raise SessionError(
            f"{item.name!r} of the ONNX model has the unsupported type {item.type}",
            remedy=f"use one of {', '.join(sorted(_DTYPES.values()))}",
        )
    shape, dynamic = [], {}
    for axis, size in enumerate(item.shape):
        if isinstance(size, int) and size >= 0:
            shape.append(size)
        else:
            # A name is a symbol; an expression or nothing is an unknown size.
            symbol = size if isinstance(size, str) and re.fullmatch(r"\w+", size) else ""
            shape.append(1)
            dynamic[axis] = DynamicDim(symbol or f"{item.name}_{axis}", 1, UNBOUNDED)
    return TensorSpec(item.name, tuple(shape), dtype, dynamic)


def _measured(events: list[dict[str, Any]]) -> list[MeasuredOperator]:
    times: dict[str, list[float]] = {}
    types: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith("_kernel_time"):
            continue
        node = name.removesuffix("_kernel_time")
        types[node] = str(event.get("args", {}).get("op_name", ""))
        times.setdefault(node, []).append(float(event["dur"]) / 1000)
    return [
        MeasuredOperator(node, types[node], statistics.median(values[1:] or values))
        for node, values in times.items()
    ]
