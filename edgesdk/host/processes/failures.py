"""Failures of a child process, for its caller to translate.

They belong to the error tree, so that an untranslated one still ends a command with a clear
message. Callers should raise an error of their own field from them.
"""

from __future__ import annotations

import signal

from edgesdk.errors import ConversionError, EdgeSdkError, rebuild

__all__ = [
    "ChildDied",
    "ChildError",
    "ChildFailure",
    "ChildMemoryLimit",
    "ChildTimeout",
    "by_name",
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
    """Describe the end of a process: ``killed by SIGSEGV (bad memory access)``.

    Args:
        returncode: As in :class:`subprocess.Popen`: negative for a signal; None while it runs.
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
        log: Last lines that the child printed.
    """

    log: str = ""


class ChildFailure(ChildError):
    """The handler in the child raised; the child keeps running.

    Attributes:
        kind: Qualified class name of the exception, such as ``builtins.ValueError``.
        detail: Message of the exception.
        traceback: Traceback of the child as text.
    """

    kind: str = ""
    detail: str = ""
    traceback: str = ""


class ChildDied(ChildError):
    """The child's process ended before it answered.

    Attributes:
        returncode: Exit status, negative for a signal; None if it was already closed.
    """

    returncode: int | None = None

    @property
    def exit(self) -> str:
        """Description of the end of the process."""
        return describe_exit(self.returncode)


class ChildTimeout(ChildError):
    """The child did not answer in time and was killed.

    Attributes:
        seconds: The time limit.
    """

    seconds: float = 0.0


class ChildMemoryLimit(ChildError):
    """The child and its descendants exceeded the memory limit and were killed.

    Attributes:
        limit: Limit in bytes.
        used: Bytes in use when it was killed.
    """

    limit: int = 0
    used: int = 0


def _family(root: type[EdgeSdkError]) -> dict[str, type[EdgeSdkError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_family(child))
    return found


def by_name(kind: str, message: str, *, where: str | None, remedy: str | None) -> EdgeSdkError:
    """Rebuild an error that a child process sent as plain JSON.

    Args:
        kind: Class name; an unknown one gives a :class:`ConversionError`.
        message: See :class:`EdgeSdkError`.
        where: See :class:`EdgeSdkError`.
        remedy: See :class:`EdgeSdkError`.
    """
    return rebuild(_family(EdgeSdkError).get(kind, ConversionError), message, where, remedy)
