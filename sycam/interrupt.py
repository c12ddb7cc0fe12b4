"""What interrupts: Ctrl-C, noticed also where Python drops it and held back while something must not be left half done; and a
time limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Interrupt:
    """Remembers Ctrl-C, while it lasts. Python raises KeyboardInterrupt wherever it happens to be, and inside the callback of a
    weak reference, of which hash-consed terms have many, it prints the exception and goes on: `check` raises it again.

    Leaves a handler that is not Python's own as it is, and does nothing outside of the main thread.

    >>> with Interrupt() as interrupt:
    ...     interrupt.check()
    """

    def __init__(self) -> None:
        self.pressed = False
        self._installed = False

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits until the block ends: half a message would leave a pipe that nobody can read.

    Does nothing outside of the main thread, and where Ctrl-C is nobody's.

    >>> with held_back():
    ...     "whole"
    'whole'
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            before(signal.SIGINT, pressed[0])


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
