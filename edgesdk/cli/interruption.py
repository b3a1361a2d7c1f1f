"""End a command cleanly after Ctrl-C, SIGTERM or a closed terminal."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Self

__all__ = ["GracefulStop", "Interruption", "ignore_ctrl_c", "take_signals"]

#: Seconds in which a second signal counts as the same press. A terminal and a launcher may both
#: send one, and a second would interrupt the clean-up.
_SAME_PRESS = 2.0

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interruption(BaseException):
    """A signal asked the command to end.

    Not a :class:`KeyboardInterrupt`, which click catches itself.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in shells: 130 after Ctrl-C."""
        return 128 + self.number


def take_signals() -> Callable[[], None]:
    """Raise an :class:`Interruption` in the main thread at every signal from now on.

    A second signal within two seconds is ignored: it would interrupt the clean-up.

    Returns:
        Function that restores the previous handlers.
    """
    last = -_SAME_PRESS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now, before = time.monotonic(), last
        if now - before >= _SAME_PRESS:
            last = now
            raise Interruption(number)

    return _handle(_SIGNALS, interrupt)


def ignore_ctrl_c() -> None:
    """Ignore Ctrl-C from now on, while the interpreter shuts down.

    With torch that takes a second, in which the default handler would change the exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle(numbers: Iterable[int], handler: Callable[..., None]) -> Callable[[], None]:
    """Handle signals with ``handler``; return a function that restores the previous ones."""
    handlers = {number: signal.getsignal(number) for number in numbers}
    # A signal ignored from the start, as with nohup, stays ignored.
    taken = {number: old for number, old in handlers.items() if old is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, handler)

    def restore() -> None:
        for number, old in taken.items():
            signal.signal(number, old)

    return restore


class GracefulStop:
    """Record signals while the body runs, so that a run ends between two steps.

    A second signal, two seconds or more after the first, ends the command at once.

    Args:
        graceful: False to leave the signals alone.

    Attributes:
        number: The signal received, or None.
    """

    def __init__(self, *, graceful: bool) -> None:
        self.number: int | None = None
        self._graceful = graceful and threading.current_thread() is threading.main_thread()
        self._first = 0.0

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, signal.SIGTERM) if self._graceful else ()
        self._restore = _handle(numbers, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def requested(self) -> bool:
        """Return True if a signal was received."""
        return self.number is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._first = number, now
            sys.stderr.write("\nstopping after this step; press again to end at once\n")
        elif now - self._first >= _SAME_PRESS:
            raise Interruption(number)
