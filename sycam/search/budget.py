"""How long a search may go on."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from sycam.errors import SycamError
from sycam.job.groups import BUDGET, is_budget

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Budget:
    """The end of a search: whichever limit comes first; None is no limit. The clock starts when it is made.

    Attributes:
        candidates, seconds, passes: at most so many. target: a score that is good enough, whatever is left of the rest.

    >>> budget = Budget.parse("2000,90s")
    >>> budget.candidates, budget.seconds, budget.passes
    (2000, 90.0, None)
    """

    candidates: int | None = None
    seconds: float | None = None
    passes: int | None = None
    target: float | None = None
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def parse(cls, text: str | int, target: float | None = None) -> Budget:
        """`2000` (candidates), `90s`, `5m`, `1h`, `40000passes`, or several of these with commas.

        Raises:
            SycamError: anything else.
        """
        budget = cls(target=target)
        for part in str(text).split(","):
            match = BUDGET.fullmatch(part)
            if match is None or not is_budget(part):
                raise SycamError(f"no budget {part!r}: give candidates (2000), time (90s, 5m, 1h) or passes (40000passes)")
            if match[2] in _UNITS:
                budget.seconds = float(match[1]) * _UNITS[match[2]]
            elif match[2] == "passes":
                budget.passes = int(match[1])
            else:
                budget.candidates = int(match[1])
        return budget

    def restart(self) -> None:
        """The clock starts now."""
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def spent(self, candidates: int, passes: int) -> str | None:
        """What ended the search, or None while it may go on."""
        if self.candidates is not None and candidates >= self.candidates:
            return f"budget of {self.candidates} candidates"
        if self.seconds is not None and self.elapsed >= self.seconds:
            return f"budget of {self.seconds:g} seconds"
        if self.passes is not None and passes >= self.passes:
            return f"budget of {self.passes} passes"
        return None

    def most_passes(self, images: int) -> int:
        """An upper bound of the masked passes on so many images, one for each score; of a search under half a minute, 0.

        >>> Budget.parse("2000,90s").most_passes(100), Budget.parse("10s").most_passes(100)
        (200000, 0)
        """
        if self.seconds is not None and self.seconds < 30:
            return 0
        limits = [self.passes, None if self.candidates is None else self.candidates * images]
        return min((limit for limit in limits if limit is not None), default=sys.maxsize)

    def share(self, candidates: int, passes: int) -> float | None:
        """How much of the budget is used, in [0, 1]; None where there is no limit."""
        used = [
            amount / limit
            for amount, limit in ((candidates, self.candidates), (self.elapsed, self.seconds), (passes, self.passes))
            if limit
        ]
        return min(1.0, max(used)) if used else None
