"""What a process that runs cvc5 may take, and that it does not outlive who started it."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def confine(size: int) -> None:
    """Lets the system refuse this process more than `size` bytes, so that a query that wants them ends it and not the machine,
    and on Linux ends it with its parent: deep inside cvc5 it would not see its pipe close."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
    end_with_parent()


def end_with_parent() -> None:
    """On Linux, has the system end this process with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
