"""What can go wrong with a child process, for its caller to translate.

They belong to the error tree so that an untranslated one still ends a command with a clear
message, but callers are meant to raise an error of their own field from them.
"""

from __future__ import annotations

import signal

from edgesdk.errors import EdgeSdkError

__all__ = [
    "ChildDied",
    "ChildError",
    "ChildFailure",
    "ChildMemoryLimit",
    "ChildTimeout",
    "describe_exit",
]

_IN_WORDS = {
    "SIGABRT": "it aborted itself",
    "SIGBUS": "bad memory access",
    "SIGFPE": "arithmetic error",
    "SIGILL": "illegal instruction",
    "SIGKILL": "from outside; often the system had run out of memory",
    "SIGSEGV": "bad memory access",
    "SIGTERM": "from outside",
}


def describe_exit(returncode: int | None) -> str:
    """How a process ended, in words: ``killed by SIGSEGV (bad memory access)``.

    Args:
        returncode: As :class:`subprocess.Popen` has it: negative for a signal; None while it runs.
    """
    if returncode is None:
        return "still running"
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    words = _IN_WORDS.get(name)
    return f"killed by {name} ({words})" if words else f"killed by {name}"


class ChildError(EdgeSdkError):
    """A request to a child process got no result.

    Attributes:
        log: The last lines that the child printed.
    """

    log: str = ""


class ChildFailure(ChildError):
    """The handler in the child raised; the child lives on.

    Attributes:
        kind: Qualified class name of what it raised, such as ``builtins.ValueError``.
        detail: The exception's own message.
        traceback: The child's traceback as text.
    """

    kind: str = ""
    detail: str = ""
    traceback: str = ""


class ChildDied(ChildError):
    """The child's process ended before it answered.

    Attributes:
        returncode: Negative for a signal, None where it had been closed before.
    """

    returncode: int | None = None

    @property
    def exit(self) -> str:
        """How it ended, in words."""
        return describe_exit(self.returncode)


class ChildTimeout(ChildError):
    """The child did not answer in time and was killed.

    Attributes:
        seconds: The time it was given.
    """

    seconds: float = 0.0


class ChildMemoryLimit(ChildError):
    """The child and its own children took more memory than allowed and were killed.

    Attributes:
        limit: Allowed bytes.
        seen: Bytes when it was killed.
    """

    limit: int = 0
    seen: int = 0
