"""One artefact in a process of its own: the child behind ``edgesdk.runtime.isolated``."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import SessionError
from edgesdk.host.processes import Progress, serve
from edgesdk.host.processes.tree import high_water_mark, resident_bytes
from edgesdk.runtime.session import Session, bind_inputs
from edgesdk.runtime.spec_json import specs_from_json, specs_to_json

__all__ = ["main"]

#: What the session of a file imports, so that neither time nor memory of it counts as the model's.
_RUNTIMES = {
    ".mlpackage": ("torch", "coremltools", "edgesdk.runtime.coreml_session"),
    ".onnx": ("onnxruntime", "edgesdk.runtime.onnx_session"),
    ".pt2": ("torch", "edgesdk.runtime.torch_session"),
    # Not the public portable_lib, which imports the compiler too.
    ".pte": (
        "torch",
        "executorch.extension.pybindings._C",
        "edgesdk.runtime.executorch_session",
    ),
    ".tflite": ("ai_edge_litert.interpreter", "edgesdk.runtime.litert_session"),
}

_Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


def _peak_bytes() -> int:
    # The kernel's mark of this program comes first: ru_maxrss starts from the parent's size,
    # because a process keeps it from the fork on.
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high_water_mark(os.getpid()) or (largest if sys.platform == "darwin" else largest * 1024)


def _restart_high_water_mark() -> None:
    # Imports need more memory for a moment than they leave behind; Linux can forget that.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class _Worker:
    def __init__(self) -> None:
        self._session: Session | None = None
        self._held: list[np.ndarray] = []
        self._import_peak = 0
        self._before_load = 0

    def load(
        self, payload: dict[str, Any], arrays: dict[str, np.ndarray], progress: Progress
    ) -> _Answer:
        for module in _RUNTIMES.get(Path(payload["path"]).suffix.lower(), ()):
            # A missing backend is told by the session itself, with the command that installs it.
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        opening = importlib.import_module("edgesdk.runtime.opening")
        declared = {
            face: None if payload[face] is None else specs_from_json(payload[face])
            for face in ("inputs", "outputs")
        }
        self._import_peak = _peak_bytes()
        _restart_high_water_mark()
        self._before_load = resident_bytes(os.getpid())
        started = time.perf_counter_ns()
        session: Session = opening.open(payload["path"], threads=payload["threads"], **declared)
        elapsed = (time.perf_counter_ns() - started) / 1e6
        self._session = session
        # Our own checks of the file come before the runtime's load; an app has no such checks.
        seconds = getattr(session, "load_seconds", 0.0)
        answer = {
            "runtime": session.runtime,
            "evaluator": session.evaluator,
            "note": session.note,
            "inputs": specs_to_json(session.inputs),
            "outputs": specs_to_json(session.outputs),
            "load_ms": seconds * 1e3 if seconds else elapsed,
        }
        return self._with_memory(answer), {}

    def run(
        self, payload: dict[str, Any], arrays: dict[str, np.ndarray], progress: Progress
    ) -> _Answer:
        outputs = self._loaded.run(arrays)
        return self._with_memory({}), outputs

    def timed(
        self, payload: dict[str, Any], arrays: dict[str, np.ndarray], progress: Progress
    ) -> _Answer:
        session = self._loaded
        self._hold(payload, arrays)
        times = []
        collecting = gc.isenabled()
        gc.disable()
        try:
            for _ in range(payload["runs"]):
                started = time.perf_counter_ns()
                session._run(self._held)
                times.append((time.perf_counter_ns() - started) / 1e6)
        finally:
            if collecting:
                gc.enable()
        return self._with_memory({"milliseconds": times}), {}

    def operators(
        self, payload: dict[str, Any], arrays: dict[str, np.ndarray], progress: Progress
    ) -> _Answer:
        session = self._loaded
        self._hold(payload, arrays)
        names = (spec.name for spec in session.inputs)
        measured = session.operator_times(
            dict(zip(names, self._held, strict=True)), payload["runs"]
        )
        rows = [[entry.name, entry.operator, entry.milliseconds] for entry in measured]
        return {"operators": rows, "note": str(getattr(session, "operators_note", ""))}, {}

    @property
    def _loaded(self) -> Session:
        if self._session is None:
            raise SessionError("no artefact is loaded")
        return self._session

    def _hold(self, payload: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        if not payload["held"]:
            self._held = bind_inputs(self._loaded.inputs, arrays)

    def _with_memory(self, answer: dict[str, Any]) -> dict[str, Any]:
        peak = _peak_bytes()
        return {
            **answer,
            "peak": max(peak, self._import_peak),
            "model": max(0, peak - self._before_load),
        }


def main() -> None:
    """Serve one artefact until the parent hangs up."""
    worker = _Worker()
    serve(
        {
            "load": worker.load,
            "operators": worker.operators,
            "run": worker.run,
            "timed": worker.timed,
        }
    )


if __name__ == "__main__":
    main()
