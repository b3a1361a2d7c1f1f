"""Source provenance of operators: file and line in the user's model, and the module path.

``torch.export`` stores both on every node, as text. Nothing here imports torch, so that the
metadata of an ONNX file can be read as well.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.host.own_code import OWN_FOLDERS, PACKAGE

__all__ = [
    "PREPROCESSING",
    "SourceFrame",
    "frames",
    "is_preprocessing",
    "module_path",
    "user_frame",
    "where",
]

#: Place of an operator that the SDK adds in front of the model to take camera bytes.
PREPROCESSING = "the preprocessing of --image"
#: Class name of these operators' module in a captured program.
_PREPROCESSING_CLASS = "edgesdk.face.ImagePreprocessing"


@dataclass(frozen=True)
class SourceFrame:
    """One source line of a stack trace.

    Attributes:
        file: Path as Python reported it.
        line: Line number from 1.
        function: Name of the enclosing function.
        code: Stripped text of the line; empty if the trace has none.
    """

    file: str
    line: int
    function: str = ""
    code: str = ""

    def __str__(self) -> str:
        return f"{_short(self.file)}:{self.line}"


_FILE_LINE = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_CARETS = re.compile(r"^[\s~^]+$")

# Frames in these packages belong to torch or a converter, never to the user.
_MACHINERY = frozenset(
    {
        "ai_edge_torch",
        "coremltools",
        "executorch",
        "functorch",
        "jax",
        "litert_torch",
        "mpmath",
        "numpy",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "sympy",
        "torch",
        "torchao",
        "torchgen",
    }
)
_SITE_FOLDERS = ("site-packages", "dist-packages")
_STDLIB = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


def frames(stack_trace: str) -> list[SourceFrame]:
    """Parse the text of a Python stack trace.

    Args:
        stack_trace: Text in the form of :mod:`traceback`, outermost call first.

    Returns:
        The frames in the same order; other lines are skipped.
    """
    found: list[SourceFrame] = []
    awaits_code = False
    for text in stack_trace.splitlines():
        match = _FILE_LINE.match(text)
        if match:
            found.append(SourceFrame(match["file"], int(match["line"]), match["function"] or ""))
            awaits_code = True
        elif awaits_code and text.strip() and not _CARETS.match(text):
            last = found[-1]
            found[-1] = SourceFrame(last.file, last.line, last.function, text.strip())
            awaits_code = False
    return found


def user_frame(stack_trace: str) -> SourceFrame | None:
    """Find the line of the user's model in a stack trace.

    This is the innermost frame outside installed packages. If the model is itself an installed
    package, it is the innermost frame outside torch, the converters and Python's library.

    Args:
        stack_trace: Text of ``node.meta["stack_trace"]``, outermost call first.

    Returns:
        The frame, or None if every frame belongs to torch, a converter or Python.
    """
    packaged = None
    for frame in reversed(frames(stack_trace)):
        owner = _owner(frame.file)
        if owner == "user":
            return frame
        if owner == "package" and packaged is None:
            packaged = frame
    return packaged


def is_preprocessing(nn_module_stack: Mapping[str, Any] | None) -> bool:
    """Return True if an operator belongs to the SDK's preprocessing, not to the user's model.

    Args:
        nn_module_stack: See :func:`module_path`.
    """
    for entry in (nn_module_stack or {}).values():
        kind = entry[1] if isinstance(entry, tuple) and len(entry) > 1 else ""
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if name == _PREPROCESSING_CLASS:
            return True
    return False


def module_path(nn_module_stack: Mapping[str, Any] | None) -> str:
    """Return the path of the innermost module, such as ``features.3.conv``.

    Args:
        nn_module_stack: ``node.meta["nn_module_stack"]``: from a key to ``(path, class)``,
            outermost module first.

    Returns:
        The path; empty for the model itself, for the SDK's preprocessing or if unknown.
    """
    if not nn_module_stack or is_preprocessing(nn_module_stack):
        return ""
    entry = list(nn_module_stack.values())[-1]
    path = str(entry[0]) if isinstance(entry, tuple) else str(entry)
    # A repeated call of a module appends the number of the call: "relu@1".
    path = re.sub(r"@\d+", "", path)
    return re.sub(r"^L\['self'\]\.?", "", path)


def where(node: Any) -> str:
    """Return file and line of a ``torch.fx.Node``, such as ``net.py:41``; empty if unknown.

    Paths inside the working folder or the installed packages are relative to them. Operators of the
    SDK's preprocessing are at :data:`PREPROCESSING`.

    Args:
        node: Anything with ``meta``, a mapping that may hold ``stack_trace`` and
            ``nn_module_stack``.
    """
    if is_preprocessing(node.meta.get("nn_module_stack")):
        return PREPROCESSING
    frame = user_frame(node.meta.get("stack_trace") or "")
    return str(frame) if frame else ""


def _owner(file: str) -> str:
    if file.startswith("<"):
        # Code generated while tracing; notebook cells are the user's.
        return "user" if file.startswith(("<ipython-input", "<stdin>")) else "machinery"
    parts = Path(file).parts
    packaged = [place for place, part in enumerate(parts) if part in _SITE_FOLDERS]
    if packaged:
        inside = parts[packaged[-1] + 1 :]
        top = inside[0].removesuffix(".py") if inside else ""
        return "machinery" if top in _MACHINERY else "package"
    if file.startswith(_STDLIB):
        return "machinery"
    # The SDK may run from a checkout: its frames must not pass for the user's.
    if any(Path(file).is_relative_to(folder) for folder in OWN_FOLDERS):
        return "package" if Path(file).is_relative_to(PACKAGE / "models") else "machinery"
    return "user"


def _short(file: str) -> str:
    path = Path(file)
    if not path.is_absolute():
        return file
    parts = path.parts
    packaged = [place for place, part in enumerate(parts) if part in _SITE_FOLDERS]
    if packaged:
        return Path(*parts[packaged[-1] + 1 :]).as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.as_posix()
