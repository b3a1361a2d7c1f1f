"""Child process of ``edgesdk.runtime.isolated``: serve one artefact."""

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

#: Modules to import before a file is loaded, so that their cost is not the model's.
_RUNTIMES = {
    ".mlpackage": ("torch", "coremltools", "edgesdk.runtime.coreml_session"),
    ".onnx": ("onnxruntime", "edgesdk.runtime.onnx_session"),
    ".pt2": ("torch", "edgesdk.runtime.torch_session"),
    # The public portable_lib would import the compiler too.
    ".pte": (
        "torch",
        "executorch.extension.pybindings._C",
        "edgesdk.runtime.executorch_session",
    ),
    ".tflite": ("ai_edge_litert.interpreter", "edgesdk.runtime.litert_session"),
}

_Payload = dict[str, Any]
_Arrays = dict[str, np.ndarray]
_Answer = tuple[_Payload, _Arrays]


def _peak_bytes() -> int:
    # Prefer the kernel's mark of this program: ru_maxrss includes the parent's size at the fork.
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high_water_mark(os.getpid()) or (largest if sys.platform == "darwin" else largest * 1024)


def _restart_high_water_mark() -> None:
    # Imports peak above the memory they keep; Linux can reset the mark.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class _Worker:
    def __init__(self) -> None:
        self._session: Session | None = None
        self._held: list[np.ndarray] = []
        self._import_peak = 0
        self._before_load = 0

    def load(self, payload: _Payload, arrays: _Arrays, progress: Progress) -> _Answer:
        for module in _RUNTIMES.get(Path(payload["path"]).suffix.lower(), ()):
            # The session itself reports a missing backend, with the command that installs it.
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        opening = importlib.import_module("edgesdk.runtime.opening")
        declared = {
            side: None if payload[side] is None else specs_from_json(payload[side])
            for side in ("inputs", "outputs")
        }
        self._import_peak = _peak_bytes()
        _restart_high_water_mark()
        self._before_load = resident_bytes(os.getpid())
        started = time.perf_counter_ns()
        session: Session = opening.open(payload["path"], threads=payload["threads"], **declared)
        elapsed = (time.perf_counter_ns() - started) / 1e6
        self._session = session
        # Exclude our own checks of the file, which an app does not make.
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

    def run(self, payload: _Payload, arrays: _Arrays, progress: Progress) -> _Answer:
        outputs = self._loaded.run(arrays)
        return self._with_memory({}), outputs

    def timed(self, payload: _Payload, arrays: _Arrays, progress: Progress) -> _Answer:
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

    def operators(self, payload: _Payload, arrays: _Arrays, progress: Progress) -> _Answer:
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

    def _hold(self, payload: _Payload, arrays: _Arrays) -> None:
        if not payload["held"]:
            self._held = bind_inputs(self._loaded.inputs, arrays)

    def _with_memory(self, answer: _Payload) -> _Payload:
        peak = _peak_bytes()
        return {
            **answer,
            "peak": max(peak, self._import_peak),
            "model": max(0, peak - self._before_load),
        }


def main() -> None:
    """Serve one artefact until the parent closes the channel."""
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
