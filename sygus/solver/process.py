"""The other end of `worker.py`: asks cvc5 in a process of its own, restarts it when it dies or hangs, loses no query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, NamedTuple

from ..errors import SygusError
from ..terms import Term
from .messages import LineProcess, encode


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
        memory: MiB. A process that has used more by the end of a request is started anew; one that asks for four times as
            much within a query is refused it, and ends.

    Attributes:
        restarts: how often a process died or hung and was started again.
        renewals: how often one that had grown was.

    >>> from sygus.core import apply
    >>> from sygus.terms import REAL, variable
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> with Solver() as solver:
    ...     solver.equal([Claim(apply("+", x, y), apply("+", y, x), ()), Claim(x, y, ())])
    ['equal', 'different']
    """

    def __init__(self, seconds: float = 30.0, memory: int = 1024) -> None:
        self.seconds, self.memory = seconds, memory
        self.restarts = self.renewals = 0
        self._process: LineProcess | None = None
        self._requests = 0

    def __enter__(self) -> Solver:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    @property
    def pid(self) -> int | None:
        """The process that runs cvc5, while it runs."""
        return self._process.pid if self._process else None

    def equal(self, claims: Sequence[Claim]) -> list[str]:
        """A verdict for each claim: "equal", "different" or "unknown: reason". A batch in one message, an answer for each.

        A process that dies or hangs is restarted and asked the claim that it was at once more, alone; one that ends it again
        is "unknown". Then it goes on with the rest.
        """
        verdicts: list[str] = []
        while len(verdicts) < len(claims):
            rest = claims[len(verdicts) :]
            answered = self._verdicts(rest)
            verdicts += answered
            if len(answered) < len(rest):
                again = self._verdicts([rest[len(answered)]])
                verdicts += again or ["unknown: the solver process died or hung twice over this query"]
        return verdicts

    def _verdicts(self, claims: Sequence[Claim]) -> list[str]:
        """Verdicts until the process dies or hangs."""
        flat = [term for claim in claims for term in (claim.left, claim.right, *claim.facts)]
        request = {"kind": "equal", "terms": encode(flat), "lengths": [2 + len(c.facts) for c in claims]}
        return [answer["verdict"] for answer in self._ask(request, len(claims))]

    def model(self, formulas: Sequence[Term]) -> dict[str, Fraction | bool] | None:
        """Rational values that satisfy all `formulas`, or None where cvc5 finds none or hangs."""
        request = {"kind": "model", "terms": encode(list(formulas))}
        begin = time.monotonic()
        answers = self._ask(request)
        if not answers and time.monotonic() - begin < self.seconds:  # it died; had it hung, it would hang again
            answers = self._ask(request)
        if not answers or answers[0]["model"] is None:
            return None
        return {k: v == "True" if v in ("True", "False") else Fraction(v) for k, v in answers[0]["model"].items()}

    def _start(self) -> LineProcess:
        return LineProcess("sygus.solver.worker", str(self.memory), seconds=self.seconds)

    def _ask(self, request: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
        """The `count` answers to `request`, fewer where the process died or took longer than `seconds` for one."""
        if self._process is not None and not self._process.alive:
            self._failed()
        if self._process is None:
            self._process = self._start()
        self._requests += 1
        request["id"] = self._requests
        answers: list[dict[str, Any]] = []
        alive = self._process.send(request)
        while alive and len(answers) < count:
            answer = self._receive()
            if answer is None:
                alive = False
            elif answer["id"] == self._requests:
                answers.append(answer)  # any other was for a request whose asker was interrupted
        if not alive:
            self._failed()
        elif answers[-1]["grown"]:
            self.close()
            self.renewals += 1
        return answers

    def _receive(self) -> dict[str, Any] | None:
        assert self._process is not None
        return self._process.receive()

    def _failed(self) -> None:
        self.close()
        self.restarts += 1
        if self.restarts > 100:
            raise SygusError(
                "the cvc5 process ended more than 100 times: is cvc5 installed for this machine, and is its memory limit of "
                f"{4 * self.memory} MiB enough?"
            )
