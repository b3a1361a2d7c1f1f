"""Measure and kill a process with all its descendants."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

__all__ = ["has_ended", "high_water_mark", "kill_tree", "resident_bytes", "wait_for_end"]


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process and its descendants in bytes; 0 if it has ended.

    Shared pages count once per process.
    """
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            total += process.memory_info().rss
    return total


def high_water_mark(pid: int) -> int:
    """Return the largest resident set one process ever had, in bytes; 0 if not recorded."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def kill_tree(pid: int) -> None:
    """Kill a process that leads its own group, with its group and its descendants.

    Call it before waiting for the leader: until then its id cannot be reused.
    """
    stragglers: list[psutil.Process] = []
    # A descendant with a session of its own is no longer in the group.
    with contextlib.suppress(psutil.NoSuchProcess):
        stragglers = psutil.Process(pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in stragglers:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()


def has_ended(pid: int) -> bool:
    """Return True if a child of this process has ended, without reaping it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait up to ``seconds`` for a child to end, without reaping it; return True if it ended."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not has_ended(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True
