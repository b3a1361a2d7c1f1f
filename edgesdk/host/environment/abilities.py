"""Conclude from an examination which artefacts this machine can make and run."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.host.environment.findings import Backend, Tool

__all__ = ["TARGET_RUNTIMES", "Abilities", "abilities"]

#: Distribution of the runtime of each target; the others of its backend convert.
TARGET_RUNTIMES = {
    "executorch": "executorch",
    "coreml": "coremltools",
    "litert": "ai-edge-litert",
    "onnx": "onnxruntime",
}
_CORE_LIBRARIES = Path(__file__).resolve().parents[2] / "native" / "lib"


@dataclass(frozen=True)
class Abilities:
    """Jobs that this machine can do.

    Attributes:
        convert: Targets it can convert to.
        run: Targets whose artefacts run in their runtime.
        evaluate: Targets whose artefacts run in the SDK's evaluator only.
        video: True if it can stylize video.
        video_fix: Steps that are missing for video; empty if none is.
    """

    convert: tuple[str, ...]
    run: tuple[str, ...]
    evaluate: tuple[str, ...]
    video: bool
    video_fix: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The abilities in three sentences."""
        convert = f"This machine can convert to: {', '.join(self.convert) or 'nothing'}."
        if not self.convert:
            targets = ",".join(TARGET_RUNTIMES)
            convert += f' Install the targets you need: pip install "edgesdk[{targets}]"'
        run = f"It can run: {', '.join(self.run) or 'nothing'}"
        if self.evaluate:
            run += f"; {', '.join(self.evaluate)} in the SDK's evaluator (its runtime needs a Mac)"
        video = "Video: yes." if self.video else f"Video: no; to add it, {self.video_fix}"
        return convert, f"{run}.", video


def abilities(backends: Sequence[Backend], tools: Sequence[Tool]) -> Abilities:
    """Conclude what this machine can do.

    Backends that were not imported count as working if they are installed.

    Args:
        backends: Examined backends.
        tools: Tools looked for.
    """
    found = {backend.name: backend for backend in backends}
    core = "core" in found and _works(found["core"])
    runtimes = [name for name in TARGET_RUNTIMES if core and _has_runtime(found.get(name), name)]
    native = [name for name in runtimes if name != "coreml" or platform.system() == "Darwin"]
    missing = []
    if not core or not _has(found.get("video"), "av"):
        missing.append('pip install "edgesdk[video]"')
    if not _has_video_core(tools):
        missing.append("install a C++ compiler (see g++ below)")
    return Abilities(
        convert=tuple(
            name for name in TARGET_RUNTIMES if core and name in found and _works(found[name])
        ),
        run=tuple(native),
        evaluate=tuple(name for name in runtimes if name not in native),
        video=not missing,
        video_fix=" and ".join(missing),
    )


def _works(backend: Backend) -> bool:
    return backend.installed and backend.imports is not False


def _has(backend: Backend | None, distribution: str) -> bool:
    return (
        backend is not None
        and backend.imports is not False
        and any(
            package.distribution == distribution and package.installed is not None
            for package in backend.packages
        )
    )


def _has_runtime(backend: Backend | None, target: str) -> bool:
    return _has(backend, TARGET_RUNTIMES[target])


def _has_video_core(tools: Sequence[Tool]) -> bool:
    """Return True if the native core of the video engine is built or can be built."""
    if any(tool.name in ("g++", "clang") and tool.path is not None for tool in tools):
        return True
    chosen = os.environ.get("CXX", "").split()
    return bool(chosen and shutil.which(chosen[0])) or any(_CORE_LIBRARIES.glob("libedgesdk.*"))
