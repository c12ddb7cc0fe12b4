"""What a synthesis tells whoever watches it: a progress bar, a test, nobody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The state of the loop after a batch.

    Attributes:
        terms: built by the enumerator; classes: distinct ones; cost: that is being enumerated; undecided: pairs.
        candidates: scored or screened so far; passes: masked images so far.
        incumbent: the best expression, or its name; score: λ, in the metric's units.
        unlawful: of the candidates, those that are not proved to obey the file's constraints.
        rate: candidates per second; left: seconds until the budget is spent at this rate, or None.
    """

    terms: int
    classes: int
    cost: int
    undecided: int
    candidates: int
    passes: int
    incumbent: str
    score: float | None
    rate: float
    left: float | None
    share: float | None
    unlawful: int = 0


class Observer:
    """Watches a synthesis; this one does nothing. Override what you want to see."""

    def phase(self, name: str) -> None:
        """A phase begins: "network", "images", "terminals", "known CAMs", "search", "held-out images", "writing"."""

    def step(self, done: int, total: int) -> None:
        """So much of the phase is done."""

    def warn(self, message: str) -> None:
        """Something the user should know that does not stop the run."""

    def progress(self, state: Progress) -> None:
        """The loop has finished a batch."""
