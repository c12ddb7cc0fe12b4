"""A time limit on a function in this process."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 300.0
"""How long an oracle may think about one query where nobody says otherwise."""


class OutOfTime(BaseException):
    """Not an `Exception`, so that a plug-in's own `except Exception` does not swallow it."""


def can_interrupt() -> bool:
    """Whether `time_limit` works here: on systems with SIGALRM, in the main thread."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises `OutOfTime` inside the block once it has taken so long; without effect where `can_interrupt` is false.

    It interrupts Python between two of its instructions, and waits such as `sleep`. It cannot interrupt a single call into C (a
    large torch operation, a library that never returns): that has to end first. Only a process of its own can be ended at any
    time. A timer of the caller's own goes on.

    >>> import time
    >>> try:
    ...     with time_limit(0.05):
    ...         time.sleep(10)
    ... except OutOfTime:
    ...     print("out of time")
    out of time
    """
    if not can_interrupt():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    start = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            rest = left - (time.monotonic() - start)
            signal.setitimer(signal.ITIMER_REAL, max(rest, 1e-3), interval)  # 0 would switch it off
