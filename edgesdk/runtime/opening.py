"""Opening any artefact by its name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from edgesdk.errors import SessionError, UnknownNameError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec

__all__ = ["SUFFIXES", "open"]

#: Module and class of the session by the artefact's suffix; imported when first needed.
_SESSIONS = {
    ".mlpackage": ("edgesdk.runtime.coreml_session", "CoremlSession"),
    ".onnx": ("edgesdk.runtime.onnx_session", "OnnxSession"),
    ".pt2": ("edgesdk.runtime.torch_session", "TorchSession"),
    ".pte": ("edgesdk.runtime.executorch_session", "ExecutorchSession"),
    ".tflite": ("edgesdk.runtime.litert_session", "LitertSession"),
}

#: Suffixes of the artefacts that can be opened.
SUFFIXES = tuple(sorted(_SESSIONS))

#: How many threads a runtime can sensibly be asked for.
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

    The structure of the file is checked before the runtime sees it: a damaged file is an error here
    and seldom a crash there. A file made to harm a native runtime may still crash the process, so
    open what nobody vouches for in a process of its own.

    Args:
        artefact: A ``.pte``, ``.tflite``, ``.onnx`` or ``.pt2`` file or a ``.mlpackage`` folder.
        threads: Threads of the runtime, 1 or more. ExecuTorch and torch have one pool a process.
        inputs: Declared inputs (a manifest's), in the artefact's order: names, ranges of free
            dimensions and image preprocessing that the file itself does not hold.
        outputs: Declared outputs, likewise.
        spin: Whether ONNX Runtime's threads spin while they wait for work, which is quicker alone
            and slower beside other work. No other runtime has the choice.

    Raises:
        MissingBackendError: The runtime is not installed.
        SessionError: No such file, a damaged one, or one the runtime refuses.
        UnknownNameError: A suffix that belongs to no artefact.
        UnsafeFileError: A ``.pt2`` that would run code when read.
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
        raise SessionError(f"there is no artefact {path}", remedy="check the path")
    module, name = _SESSIONS[suffix]
    choices = {"spin": spin} if suffix == ".onnx" else {}
    session: Session = getattr(importlib.import_module(module), name)(
        path, threads, inputs, outputs, **choices
    )
    return session
