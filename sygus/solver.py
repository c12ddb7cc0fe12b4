"""The other end of `worker.py`: asks cvc5 in a process of its own, restarts it when it dies or hangs, loses no query."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from .errors import SygusError
from .terms import Term
from .wire import encode


class Claim(NamedTuple):
    """Under `facts`, the scalar terms `left` and `right` are equal."""

    left: Term
    right: Term
    facts: tuple[Term, ...]


class Solver:
    """cvc5 behind a pipe.

    Args:
        seconds: how long an answer for one query may take before the process is ended and started again. cvc5's own limits
            come first; this is for a process that hangs.

    >>> from .core import apply
    >>> from .terms import REAL, variable
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> with Solver() as solver:
    ...     solver.equal([Claim(apply("+", x, y), apply("+", y, x), ()), Claim(x, y, ())])
    ['equal', 'different']
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = 0
        self._buffer = b""

    def __enter__(self) -> Solver:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None and not stream.closed:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        continue  # the process is gone with an unflushed request; nothing is left to say
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        """The process that runs cvc5, while it runs."""
        return self._process.pid if self._process else None

    def equal(self, claims: Sequence[Claim]) -> list[str]:
        """A verdict for each claim: "equal", "different" or "unknown: reason". A batch in one message.

        A process that dies or hangs over a batch is restarted and asked the claims one by one; one that ends it again is
        "unknown".
        """
        if not claims:
            return []
        flat = [term for claim in claims for term in (claim.left, claim.right, *claim.facts)]
        request = {"kind": "equal", "terms": encode(flat), "lengths": [2 + len(c.facts) for c in claims]}
        answer = self._ask(request, self.seconds * len(claims))
        if answer is not None:
            return answer["verdicts"]
        if len(claims) > 1:
            return [self.equal([claim])[0] for claim in claims]
        answer = self._ask(request, self.seconds)
        return answer["verdicts"] if answer is not None else ["unknown: the solver process died or hung twice over this query"]

    def model(self, formulas: Sequence[Term]) -> dict[str, Fraction | bool] | None:
        """Rational values that satisfy all `formulas`, or None where cvc5 finds none."""
        request = {"kind": "model", "terms": encode(list(formulas))}
        answer = self._ask(request, self.seconds) or self._ask(request, self.seconds)
        if answer is None or answer["model"] is None:
            return None
        return {k: v == "True" if v in ("True", "False") else Fraction(v) for k, v in answer["model"].items()}

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        process = subprocess.Popen(
            [sys.executable, "-m", "sygus.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # a process that hangs does not empty its pipe
        return process

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The answer to `request`, or None where the process died or took longer than `seconds`."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process, self._buffer = self._start(), b""
        self._requests += 1
        request["id"] = self._requests
        line = self._line(seconds) if self._send(json.dumps(request).encode() + b"\n", seconds) else None
        while line is not None:
            answer = json.loads(line)
            if answer["id"] == self._requests:
                return answer
            line = self._line(seconds)  # that was for a request whose asker was interrupted
        self._failed()
        return None

    def _send(self, data: bytes, seconds: float) -> bool:
        """Whether the process took `data`; no wait for it is longer than `seconds`."""
        assert self._process is not None
        assert self._process.stdin is not None
        rest = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdin, selectors.EVENT_WRITE)
            while rest:
                if not selector.select(seconds):
                    return False
                try:
                    rest = rest[os.write(self._process.stdin.fileno(), rest) :]
                except BrokenPipeError:
                    return False
        return True

    def _line(self, seconds: float) -> bytes | None:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(seconds):
                    return None
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return None
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _failed(self) -> None:
        self.close()
        self.restarts += 1
        if self.restarts > 100:
            raise SygusError("the cvc5 process ended more than 100 times: is cvc5 installed for this machine?")
