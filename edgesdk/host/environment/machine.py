"""Describe the computer and the interpreter: processors, memory, disk, vector instructions."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from edgesdk.host.environment.child import run_limited
from edgesdk.host.environment.findings import Finding, Machine

__all__ = ["describe_machine", "machine_findings", "parse_instruction_sets"]

_GIB = 2**30

#: Usual name of each extension by its name in /proc/cpuinfo.
_INSTRUCTION_SETS = {
    "sse4_2": "sse4.2",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "avx_vnni": "avx-vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512-vnni",
    "amx_int8": "amx-int8",
    "neon": "neon",
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve": "sve",
}


def parse_instruction_sets(cpuinfo: str) -> tuple[str, ...]:
    """Find the vector extensions in the text of ``/proc/cpuinfo``, x86 or Arm."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    # A mapping keeps the order and drops second names of an extension.
    return tuple(dict.fromkeys(word for flag, word in _INSTRUCTION_SETS.items() if flag in flags))


def _instruction_sets(quick: bool) -> tuple[str, ...]:
    if platform.system() == "Darwin":
        if platform.machine() == "arm64":
            return ("neon", "fp16", "dotprod")
        if quick:
            return ()
        with contextlib.suppress(OSError):
            names = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
            features = run_limited(["/usr/sbin/sysctl", "-n", *names], 5.0).stdout.lower()
            return parse_instruction_sets("flags: " + re.sub(r"avx1\.0", "avx", features))
        return ()
    try:
        return parse_instruction_sets(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    except OSError:
        return ()


def _control_group(name: str) -> str:
    # Inside a container this is the container's own limit (cgroup version 2).
    try:
        return Path("/sys/fs/cgroup", name).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = re.fullmatch(r"(\d+) (\d+)", _control_group("cpu.max"))
    if quota and int(quota[2]):
        cores = min(cores, max(1, round(int(quota[1]) / int(quota[2]))))
    return cores


def _memory() -> tuple[int | None, int | None]:
    try:
        import psutil
    except ImportError:
        # The examination must survive a broken installation.
        return None, None
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit, used = _control_group("memory.max"), _control_group("memory.current")
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        if used.isdigit():
            available = min(available, max(0, total - int(used)))
    return total, available


def _cache_folder() -> Path:
    try:
        import platformdirs

        return Path(platformdirs.user_cache_path("edgesdk"))
    except (ImportError, RuntimeError):
        # RuntimeError: neither HOME nor the password file gives a home folder.
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.cwd() / ".cache") / "edgesdk"


def _nearest_existing(path: Path) -> Path:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            if place.exists():
                return place
    return Path(path.anchor)


def describe_machine(quick: bool = False) -> Machine:
    """Describe this computer and interpreter.

    Args:
        quick: Start no other process.
    """
    cache = _cache_folder()
    # The folder is created on first use; until then check its nearest existing ancestor.
    existing = _nearest_existing(cache)
    free: int | None = None
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(existing).free
    memory, available = _memory()
    mac = platform.mac_ver()[0]
    return Machine(
        system=f"macOS {mac}" if mac else f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        instruction_sets=_instruction_sets(quick),
        cores=_cores(),
        memory_bytes=memory,
        available_bytes=available,
        python=platform.python_version(),
        executable=sys.executable,
        virtual_environment=sys.prefix != sys.base_prefix,
        cache_folder=str(cache),
        cache_writable=existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
        cache_free_bytes=free,
    )


def machine_findings(machine: Machine) -> list[Finding]:
    """Report an unsupported Python or system, and low memory or disk space."""
    found: list[Finding] = []

    def add(level: str, subject: str, text: str, fix: str = "") -> None:
        found.append(Finding(level, subject, text, fix))

    series = tuple(int(part) for part in machine.python.split(".")[:2])
    if not (3, 11) <= series < (3, 13):
        add(
            "error",
            "python",
            f"Python {machine.python} is not supported: the converters have wheels that fit "
            "together for 3.11 and 3.12",
            "make a virtual environment with python3.11",
        )
    if not machine.system.startswith(("Linux", "macOS")):
        add(
            "warning",
            "system",
            f"{machine.system} is untested; Linux and macOS are supported",
            "use Linux (WSL 2 on Windows) or macOS",
        )
    x86 = machine.architecture in ("x86_64", "AMD64")
    if x86 and machine.instruction_sets and "avx2" not in machine.instruction_sets:
        add(
            "warning",
            "processor",
            "the processor has no AVX2; runtimes fall back to slow kernels or do not load",
        )
    if machine.available_bytes is not None and machine.available_bytes < 2 * _GIB:
        add(
            "warning",
            "memory",
            f"{machine.available_bytes / _GIB:.1f} GiB of memory are free; importing a "
            "converter takes 0.5 GiB and converting a large model several times its size",
            "close other programs or raise the container's limit",
        )
    if not machine.cache_writable:
        add(
            "warning",
            "cache",
            f"the cache folder {machine.cache_folder} cannot be written to",
            "set XDG_CACHE_HOME to a folder that you can write to",
        )
    elif machine.cache_free_bytes is not None and machine.cache_free_bytes < _GIB:
        add(
            "warning",
            "cache",
            f"{machine.cache_free_bytes / _GIB:.2f} GiB are free on the disk of the cache "
            f"({machine.cache_folder})",
            "free some space, or set XDG_CACHE_HOME to another disk",
        )
    return found
