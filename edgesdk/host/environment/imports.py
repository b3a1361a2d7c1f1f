"""Try imports in a separate process.

An incompatible native library kills the process that loads it.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgesdk.host.environment.child import Ended, run_limited

__all__ = ["CAUSES", "Cause", "ImportAttempt", "try_import"]

# Packages print while they are imported, so the answer uses a separate descriptor.
_PROGRAM = """
import importlib, json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
failure = None
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        failure = {"module": name, "error": type(error).__name__, "message": str(error)}
        import traceback
        traceback.print_exc()
        break
answer.write(json.dumps(failure))
answer.flush()
# Destructors of native libraries may crash; the answer is already written.
os._exit(0)
"""


@dataclass(frozen=True)
class Cause:
    """A known cause of a failed import.

    Attributes:
        pattern: Regular expression searched in the output of the import.
        text: Explanation; ``{0}`` is replaced by the first group of the match.
        fix: Suggested fix.
    """

    pattern: str
    text: str
    fix: str


CAUSES: tuple[Cause, ...] = (
    Cause(
        r"operator torchvision::nms does not exist",
        "torchvision was built for another torch than the one installed",
        "pip install --force-reinstall --no-deps torchvision==0.28.0 "
        "--index-url https://download.pytorch.org/whl/cpu",
    ),
    Cause(
        r"compiled using NumPy 1\.x|_ARRAY_API not found|numpy\.core\.multiarray failed to import",
        "it was built for NumPy 1",
        "install the release of it named under `tested`",
    ),
    Cause(
        r"Detected incompatible Protobuf Gencode/Runtime|Descriptors cannot be created directly",
        "its generated code and the installed protobuf do not fit together",
        "pip install protobuf==7.36.2",
    ),
    Cause(
        r"(lib(?:cudart|cublas|cudnn|nvrtc|cusparse|nccl)[\w.-]*): cannot open shared object",
        "the CUDA library {0} is missing: a CUDA build of torch without CUDA",
        "pip install --force-reinstall torch==2.13.0 "
        "--index-url https://download.pytorch.org/whl/cpu",
    ),
    Cause(
        r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file",
        "the system library {0} is missing",
        "install the system package that holds it (`apt-file search` names it)",
    ),
    Cause(
        r"version [`'](GLIBC(?:XX)?_[\d.]+)' not found",
        "it needs {0}, which this operating system is too old for",
        "use a newer system, such as Debian 12 or Ubuntu 22.04",
    ),
    Cause(
        r"undefined symbol: _ZN?K?\d*(?:2at|3c10|5torch)",
        "it was built for another torch than the one installed",
        "pip install torch==2.13.0 and the release of it named under `tested`",
    ),
    Cause(
        r"No module named 'coremltools\.lib(?:milstoragepython|modelpackage)'",
        "this coremltools came without its native library, so it cannot save a model",
        "use Python 3.11 or 3.12 on x86-64 Linux or a Mac: pip install --force-reinstall "
        "--only-binary=:all: coremltools==9.0",
    ),
    Cause(
        r"No module named 'pkg_resources'",
        "it needs pkg_resources, which setuptools no longer brings",
        'pip install "setuptools<81"',
    ),
    Cause(
        r"No module named '([\w.]+)'",
        "the module {0} is missing",
        "pip install --force-reinstall the package it belongs to",
    ),
)

_SIGNALS = {
    signal.SIGILL: (
        "this processor lacks instructions it was built for",
        "use a machine with AVX2 or NEON",
    ),
    signal.SIGKILL: (
        "the process was killed, most likely for lack of memory",
        "free some memory, or raise the container's limit",
    ),
}


@dataclass(frozen=True)
class ImportAttempt:
    """Result of an import.

    Attributes:
        works: True if every module was imported.
        cause: Cause of the failure; empty on success.
        fix: Suggested fix; empty if unknown.
        seconds: Duration.
    """

    works: bool
    cause: str
    fix: str
    seconds: float


def try_import(modules: Sequence[str], seconds: float = 180.0) -> ImportAttempt:
    """Import ``modules`` in this order in a fresh interpreter, for ``seconds`` at most.

    Args:
        modules: Names of modules.
        seconds: Time limit for all of them.
    """
    # -P: an onnx.py in the working folder must not replace the package.
    ended = run_limited([sys.executable, "-P", "-c", _PROGRAM, *modules], seconds)
    cause, fix = _explain(ended, seconds)
    return ImportAttempt(not cause, cause, fix, ended.seconds)


def _explain(ended: Ended, seconds: float) -> tuple[str, str]:
    if ended.returncode is None:
        return (
            f"did not finish within {seconds:.0f} s",
            "try again when the machine is less busy; the first import after installing is slow",
        )
    if ended.returncode < 0:
        name, fix = _signal_in_words(-ended.returncode)
        return f"the process died: {name}", fix
    try:
        failure = json.loads(ended.stdout)
    except ValueError:
        return f"the interpreter ended with status {ended.returncode}", ""
    if failure is None:
        return "", ""
    first_line = failure["message"].strip().split("\n")[0]
    failed = f"import {failure['module']}: {failure['error']}: {first_line}"
    for cause in CAUSES:
        match = re.search(cause.pattern, f"{failure['message']}\n{ended.stderr}")
        if match:
            return f"{failed} ({cause.text.format(*match.groups())})", cause.fix
    return failed, ""


def _signal_in_words(number: int) -> tuple[str, str]:
    try:
        name = signal.Signals(number)
    except ValueError:
        return f"signal {number}", ""
    words, fix = _SIGNALS.get(name, ("a native library crashed", "reinstall it"))
    return f"{name.name}, {words}", fix
