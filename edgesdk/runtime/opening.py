"""Open any artefact by its suffix."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from edgesdk.errors import InputNotFoundError, UnknownNameError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec

__all__ = ["SUFFIXES", "open"]

#: Module and class of the session by suffix; imported on first use.
_SESSIONS = {
    ".mlpackage": ("edgesdk.runtime.coreml_session", "CoremlSession"),
    ".onnx": ("edgesdk.runtime.onnx_session", "OnnxSession"),
    ".pt2": ("edgesdk.runtime.torch_session", "TorchSession"),
    ".pte": ("edgesdk.runtime.executorch_session", "ExecutorchSession"),
    ".tflite": ("edgesdk.runtime.litert_session", "LitertSession"),
}

#: Suffixes of artefacts.
SUFFIXES = tuple(sorted(_SESSIONS))

#: Largest sensible number of runtime threads.
_MAX_THREADS = 1024


def open(
    artefact: str | os.PathLike[str],
    *,
    threads: int = 1,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
    spin: bool = True,
) -> Session:
    """Load an artefact in its runtime, in this process.

    >>> with open("net.edge/model.onnx", threads=2) as session:  # doctest: +SKIP
    ...     outputs = session.run({"x": image})

    The structure of the file is checked before the runtime loads it, so a damaged file is an error
    and rarely a crash. A malicious file may still crash a native runtime: open untrusted files with
    :func:`edgesdk.runtime.isolated.open_isolated`.

    Args:
        artefact: A ``.pte``, ``.tflite``, ``.onnx`` or ``.pt2`` file or a ``.mlpackage`` folder.
        threads: Number of runtime threads, at least 1. ExecuTorch and torch have one pool per
            process.
        inputs: Declared inputs (of a manifest), in the artefact's order: names, ranges of free
            dimensions and image preprocessing that the file does not hold.
        outputs: Declared outputs.
        spin: Let ONNX Runtime's threads spin while they wait for work: faster alone, slower beside
            other work. Other runtimes ignore it.

    Raises:
        MissingBackendError: The runtime is not installed.
        InputNotFoundError: The file does not exist.
        SessionError: The file is damaged, or the runtime refuses it.
        UnknownNameError: The suffix does not belong to an artefact.
        UnsafeFileError: A ``.pt2`` would run code when read.
        UsageError: ``threads`` is out of range.
    """
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise UsageError(f"threads must be a whole number, not {threads!r}")
    if not 1 <= threads <= _MAX_THREADS:
        raise UsageError(
            f"cannot run on {threads} threads", remedy=f"use a number from 1 to {_MAX_THREADS}"
        )
    path = Path(artefact)
    suffix = path.suffix.lower()
    if suffix not in _SESSIONS:
        raise UnknownNameError("artefact suffix", suffix or path.name, SUFFIXES)
    if not path.exists():
        raise InputNotFoundError(path)
    module, name = _SESSIONS[suffix]
    choices = {"spin": spin} if suffix == ".onnx" else {}
    session: Session = getattr(importlib.import_module(module), name)(
        path, threads, inputs, outputs, **choices
    )
    return session
