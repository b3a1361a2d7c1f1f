"""Name and temperature of the local processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil

__all__ = ["processor_name", "temperature"]

#: Linux drivers of processor temperature sensors.
_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return processor, logical cores and system: ``AMD EPYC 7B13, 2 cores, Linux x86_64``.

    Args:
        cpuinfo: The kernel's description of the processor, if it exists.
    """
    name = _from_cpuinfo(cpuinfo) or _from_macos() or platform.processor() or "unknown processor"
    cores = os.cpu_count() or 1
    plural = "" if cores == 1 else "s"
    return f"{name}, {cores} core{plural}, {platform.system()} {platform.machine()}"


def _from_cpuinfo(cpuinfo: Path) -> str:
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and value.strip():
            fields.setdefault(key.strip(), " ".join(value.split()))
    # ARM kernels give no model name; boards use Hardware or Model.
    for key in ("model name", "Hardware", "Model"):
        if key in fields:
            return fields[key]
    return ""


def _from_macos() -> str:
    if sys.platform != "darwin":
        return ""
    try:
        result = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def temperature() -> float | None:
    """Read the hottest sensor of the processor in degrees Celsius; None if none is readable."""
    # Absent on macOS.
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return None
    sensors = read()
    found = [
        float(entry.current)
        for name in _PROCESSOR_SENSORS
        for entry in sensors.get(name, ())
        if entry.current
    ]
    return max(found, default=None)
