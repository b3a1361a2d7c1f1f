"""Ctrl-C, a polite kill and a closed terminal: each ends the command in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

__all__ = ["Interruption", "ignore_ctrl_c", "take_signals"]

#: Seconds in which a second signal is taken for the same impatience: what it would interrupt is
#: the cleaning up.
_SAME_PRESS = 2.0

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interruption(BaseException):
    """A signal asked the command to end.

    Not a :class:`KeyboardInterrupt`, which the parser of the command line keeps to itself.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it: 130 after Ctrl-C."""
        return 128 + self.number


def take_signals() -> Callable[[], None]:
    """From now on, signals raise an :class:`Interruption` in the main thread.

    A second one within two seconds does not: it would interrupt the cleaning up.

    Returns:
        Gives the signals back to whoever had them.
    """
    last = -_SAME_PRESS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now, before = time.monotonic(), last
        if now - before >= _SAME_PRESS:
            last = now
            raise Interruption(number)

    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # Whoever started the command with a signal ignored, as nohup does, wants it so.
    taken = {number: old for number, old in handlers.items() if old is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, interrupt)

    def give_back() -> None:
        for number, old in taken.items():
            signal.signal(number, old)

    return give_back


def ignore_ctrl_c() -> None:
    """From now on a press does nothing: the work is done, and the interpreter is being taken down.

    That takes torch a second, in which the system's own handler would change the exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
