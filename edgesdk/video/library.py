"""Find the native core, or build it with the machine's C++ compiler.

A wheel may contain the library. If it does not, or if the sources have changed since, the core is
compiled once into the SDK's cache, under a name that depends on sources, options and machine; later
processes find it there.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgesdk.errors import MissingEnvironmentError, MissingToolError
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.cache import cache_folder, key_of

__all__ = ["ABI_VERSION", "NATIVE", "build", "compiler", "library_path", "load", "sources_digest"]

#: Sources of the core, and the library of a wheel in ``lib/``.
NATIVE = Path(__file__).resolve().parents[1] / "native"
#: EDGESDK_ABI_VERSION of the header that this binding mirrors.
ABI_VERSION = 5

_LIBRARY = "libedgesdk.dylib" if sys.platform == "darwin" else "libedgesdk.so"
_STAMP = "sources.sha256"
_COMPILERS = ("c++", "g++", "clang++")
# The same as in native/CMakeLists.txt. Fused multiply-adds would make instruction sets differ.
_OPTIONS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-pthread")
_SPECIAL = {
    "_avx2": ("-mavx2", "-fno-tree-slp-vectorize"),
    "_avx512": ("-mavx512bw", "-mavx512vl", "-mavx512vbmi", "-fno-tree-slp-vectorize"),
}
_SECONDS_A_FILE = 600


def sources_digest() -> str:
    """Return the SHA-256 over names and contents of all sources of the library."""
    total = hashlib.sha256()
    with storage_errors("cannot read", NATIVE):
        for path in sorted([*NATIVE.glob("include/*.h"), *NATIVE.glob("src/**/*.[hc]*")]):
            content = path.read_bytes()
            total.update(f"{path.relative_to(NATIVE).as_posix()} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()


def compiler() -> list[str]:
    """Return the command of the C++ compiler: ``$CXX``, else the first of c++, g++ and clang++.

    Raises:
        MissingToolError: None is installed.
    """
    chosen = os.environ.get("CXX", "").strip()
    for candidate in [shlex.split(chosen)] if chosen else [[name] for name in _COMPILERS]:
        found = shutil.which(candidate[0])
        if found:
            return [found, *candidate[1:]]
    raise MissingToolError(
        f"no C++ compiler found ({chosen or ', '.join(_COMPILERS)}), and the video core is not "
        "built yet",
        remedy="install one (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install), "
        "or name it: CXX=/path/to/g++",
    )


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS_A_FILE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(
            f"the C++ compiler {command[0]} does not run: {error}",
            remedy="name one that does: CXX=/path/to/g++",
        ) from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        # Compilers print the chain of included headers before the error itself.
        errors = [line for line in lines if "error:" in line] or lines
        raise MissingToolError(
            f"the C++ compiler {command[0]} cannot build the video core: "
            + (errors[0] if errors else f"exit code {done.returncode}"),
            where=shlex.join(command),
            remedy="use a compiler for C++17 (g++ 9, clang 10 or later): CXX=/path/to/g++",
        )
    return done.stdout


def build(target: Path, options: Sequence[str] = (), machine: str | None = None) -> Path:
    """Compile the core into one shared library; return ``target``, which appears once complete.

    Args:
        target: File to write; its folder is created, an old file replaced.
        options: Further options of the compiler and linker, such as ``-fsanitize=address``.
        machine: Target of a cross compiler, such as ``aarch64``; None: this machine.

    Raises:
        MissingToolError: No compiler is installed, or it cannot compile the core.
        StorageError: The folder cannot be written.
    """
    command = compiler()
    x86 = (machine or platform.machine()).lower() in ("x86_64", "amd64")
    with storage_errors("cannot write", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
            objects = []
            for source in sorted(NATIVE.glob("src/*.cpp")):
                objects.append(str(Path(folder, source.stem + ".o")))
                # For these files only: the others must run on every processor.
                ending = "_" + source.stem.rpartition("_")[2]
                special = _SPECIAL.get(ending, ()) if x86 else ()
                flags = [*_OPTIONS, *special, *options, f"-I{NATIVE / 'include'}"]
                _run([*command, *flags, "-c", str(source), "-o", objects[-1]])
            whole = Path(folder, _LIBRARY)
            _run([*command, "-shared", "-pthread", *options, *objects, "-o", str(whole)])
            whole.replace(target)
    return target


def library_path() -> Path:
    """Return the library of the present sources: from the wheel, the cache, or built now.

    Building takes about 30 s of one processor, once.

    Raises:
        MissingToolError: It must be built, and no compiler can.
        StorageError: The cache cannot be written.
    """
    digest = sources_digest()
    packaged = NATIVE / "lib" / _LIBRARY
    stamp = packaged.with_name(_STAMP)
    if packaged.is_file() and stamp.is_file() and stamp.read_text("ascii").strip() == digest:
        return packaged
    facts = {
        "sources": digest,
        "options": [*_OPTIONS, *(flag for flags in _SPECIAL.values() for flag in flags)],
        "machine": [platform.system(), platform.machine(), *platform.libc_ver()],
    }
    cached = cache_folder() / "native" / key_of(facts) / _LIBRARY
    return cached if cached.is_file() else build(cached)


@cache
def load(path: Path | None = None) -> ctypes.CDLL:
    """Load the library without setting argument types of its functions.

    Args:
        path: A library built elsewhere; None: that of :func:`library_path`.

    Raises:
        MissingEnvironmentError: It cannot be loaded, or has another ABI version.
        MissingToolError: It must be built, and no compiler can.
    """
    found = path or library_path()
    remedy = f"remove {found.parent} and run again to rebuild it"
    try:
        library = ctypes.CDLL(str(found))
        version = int(library.edgesdk_abi_version())
    except (OSError, AttributeError) as error:
        raise MissingEnvironmentError(
            f"the video core {found} cannot be loaded: {error}", remedy=remedy
        ) from error
    if version != ABI_VERSION:
        raise MissingEnvironmentError(
            f"the video core {found} has ABI version {version}, and {ABI_VERSION} is needed",
            remedy=remedy,
        )
    return library
