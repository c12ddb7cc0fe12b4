"""The one root of every error that a user of sycam can cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SycamError(Exception):
    """Bad input or a bad environment: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2. Anything that is not a `SycamError` (or
    a `sygus.SygusError`) is a bug of ours and keeps its traceback.
    """


class OracleError(SycamError):
    """An oracle gave no number for some jobs: it raised, needed too long, or answered with anything but one finite number a job.

    Attributes:
        images: the images that it was asked about.
        details: what its author needs: its own traceback, or what its program wrote to stderr; "" where there is none.
        timed_out: whether it needed too long.
        result: of a run that stopped here, what it had found, or None.
    """

    def __init__(self, message: str, *, images: Sequence[str] = (), details: str = "", timed_out: bool = False) -> None:
        super().__init__(message)
        self.images, self.details, self.timed_out = list(dict.fromkeys(images)), details, timed_out
        self.result: Any = None


def asked_about(images: Sequence[str]) -> str:
    """The end of a message that names images, three at most.

    >>> asked_about(["a.png", "b.png", "a.png"]), asked_about(list("abcde"))
    ('asked about a.png, b.png', 'asked about a, b, c and 2 more images')
    """
    named = list(dict.fromkeys(images))
    more = len(named) - 3
    return f"asked about {', '.join(named[:3])}" + (f" and {more} more image{'s' if more > 1 else ''}" if more > 0 else "")


class Unavailable(SycamError):
    """This network, these images or this installation cannot give what was asked, and other things they can.

    Terminals and baselines raise it, with the reason. Who asks for many at once, as `sycam score all` does, leaves that one out
    and says why; named alone it is an error like any other.
    """
