"""Start a module in a process of its own that cannot outlive this one."""

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
#: Seconds for the system to take a killed process off its table.
_REAP = 10.0


@dataclass(eq=False)
class Spawned:
    """A started process with the descriptors that reach it.

    Attributes:
        process: The child, leader of its own session and process group.
        channel: Non-blocking end of the message channel.
        log: What it prints.
        scratch: Folder of its temporary files.
        lifeline: Write end of a pipe that nobody writes to; its closing kills the child's group.
        owner: Id of the process that started it.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    log: LogTail
    scratch: str
    lifeline: int
    owner: int

    def end(self) -> None:
        """Kill what is left of the child's tree, free every descriptor, remove its scratch."""
        if os.getpid() != self.owner:
            return
        # Before the channel is closed: a child that sees its end goes, and what it started in
        # sessions of their own could not be found by it any more.
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
        """In a fork of the owner: close the copies that would keep the child alive after it."""
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

    The child has a thread that waits for the same, but a native library that hangs while it holds
    the interpreter's lock would stop that thread. Linux can send a signal of our choice; where
    that is not to be had, the thread alone has to do.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    with contextlib.suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _environment(given: Mapping[str, str], scratch: str) -> dict[str, str]:
    # PYTHONPATH comes before the standard library: a folder of installed packages, where an old
    # backport may lie, must not get there, and needs not.
    installed = _ROOT in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    searched = ["" if installed else _ROOT, given.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(folder for folder in searched if folder)
    return {**os.environ, "TMPDIR": scratch, **given, "PYTHONPATH": path}


def spawn(module: str, environment: Mapping[str, str]) -> Spawned:
    """Start ``python -m module LIFELINE CHANNEL`` with these two descriptors, without a shell.

    Args:
        module: Importable module that ends in :func:`edgesdk.host.processes.child.serve`.
        environment: Variables set on top of this process's own.

    Raises:
        MissingToolError: This Python does not know its own interpreter.
    """
    if not sys.executable:
        raise MissingToolError(
            "the Python interpreter does not know its own path, so it can start no process",
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
        # -P: a numpy.py in the current folder must not be imported in place of numpy.
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
