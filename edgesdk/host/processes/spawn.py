"""Start a module in a separate process that cannot outlive this one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import MissingToolError
from edgesdk.host.processes.log import LogTail
from edgesdk.host.processes.tree import kill_tree

__all__ = ["Spawned", "spawn"]

_ROOT = str(Path(__file__).resolve().parents[3])
#: Seconds for the system to reap a killed process.
_REAP = 10.0


@dataclass(eq=False)
class Spawned:
    """A started process with the descriptors that reach it.

    Attributes:
        process: The child, leader of its own session and process group.
        channel: Non-blocking end of the message channel.
        log: Its output.
        scratch: Folder of its temporary files.
        lifeline: Write end of an unused pipe; closing it kills the child's group.
        owner: Id of the process that started it.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    log: LogTail
    scratch: str
    lifeline: int
    owner: int

    def end(self) -> None:
        """Kill the rest of the child's tree, close every descriptor and delete its folder."""
        if os.getpid() != self.owner:
            return
        # Kill before closing the channel: a child that sees its end exits, and descendants in
        # sessions of their own could then no longer be found.
        if self.process.returncode is None:
            kill_tree(self.process.pid)
        self.channel.close()
        os.close(self.lifeline)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP)
        self.log.drain()
        self.log.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def forget(self) -> None:
        """Close this fork's copies of descriptors that would keep the child alive."""
        self.channel.close()
        self.log.close()
        os.close(self.lifeline)


_open: weakref.WeakSet[Spawned] = weakref.WeakSet()


def _forget_all() -> None:
    for spawned in list(_open):
        spawned.forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget_all)


def _tie_to_this_process(lifeline: int, group: int) -> None:
    """Let the kernel kill ``group`` when the last write end of the pipe is closed.

    A thread of the child waits for the same, but a native library that hangs while holding the
    interpreter's lock would stop it. Linux can send a signal of our choice; other systems rely on
    the thread.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    with contextlib.suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _environment(given: Mapping[str, str], scratch: str) -> dict[str, str]:
    # PYTHONPATH precedes the standard library, so leave out folders of installed packages: they
    # may hold old backports.
    installed = _ROOT in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    searched = ["" if installed else _ROOT, given.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(folder for folder in searched if folder)
    return {**os.environ, "TMPDIR": scratch, **given, "PYTHONPATH": path}


def spawn(module: str, environment: Mapping[str, str]) -> Spawned:
    """Start ``python -m module LIFELINE CHANNEL`` with these two descriptors, without a shell.

    Args:
        module: Importable module that ends in :func:`edgesdk.host.processes.child.serve`.
        environment: Variables added to this process's own.

    Raises:
        MissingToolError: Python does not know the path of its interpreter.
    """
    if not sys.executable:
        raise MissingToolError(
            "the Python interpreter does not know its own path, so it cannot start a process",
            remedy="run from an ordinary interpreter, not from one embedded in a program",
        )
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        scratch = tempfile.mkdtemp(prefix="edgesdk-")
        ours.callback(shutil.rmtree, scratch, ignore_errors=True)
        channel, child_channel = socket.socketpair()
        ours.callback(channel.close)
        theirs.callback(child_channel.close)
        life_read, life_write = os.pipe()
        ours.callback(os.close, life_write)
        theirs.callback(os.close, life_read)
        log_read, log_write = os.pipe()
        ours.callback(os.close, log_read)
        theirs.callback(os.close, log_write)
        handed_over = (life_read, child_channel.fileno())
        # -P: a numpy.py in the current folder must not replace numpy.
        command = [sys.executable, "-P", "-u", "-X", "faulthandler", "-m", module]
        process = subprocess.Popen(
            [*command, *map(str, handed_over)],
            stdin=subprocess.DEVNULL,
            stdout=log_write,
            stderr=log_write,
            pass_fds=handed_over,
            env=_environment(environment, scratch),
            start_new_session=True,
        )
        _tie_to_this_process(life_read, process.pid)
        channel.setblocking(False)
        spawned = Spawned(process, channel, LogTail(log_read), scratch, life_write, os.getpid())
        _open.add(spawned)
        ours.pop_all()
    return spawned
