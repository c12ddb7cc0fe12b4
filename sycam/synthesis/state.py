"""What a loop knows: the best so far, what became of each candidate, and the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from sycam.metrics.correlation import rank_correlation
from sygus import Term


@dataclass(frozen=True)
class Incumbent:
    """The best accepted candidate so far: its term, its cost, its score on each image (of a metric with parts, these) and over
    all of them, λ, and of each goal the value that the next must beat."""

    term: Term
    cost: int
    values: Tensor
    score: float
    candidate: int
    seconds: float
    name: str = ""
    marks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.marks:
            object.__setattr__(self, "marks", (self.score,))


@dataclass(frozen=True)
class Tried:
    """One candidate, what became of it, and its values of the goals that had to be known.

    It is "accepted", "rejected", "invalid", "same-heatmap" (as an earlier one, proved), "same-on-images" (as an earlier one on
    the images of the search, bit for bit), or was never scored: "unlawful" (it breaks a law of the file), "law-undecided" (it
    is neither proved to obey one nor refuted) or "similar" (to one that was scored, and the run ended before its turn came).
    "oracle-error" is one about which an oracle gave no number; "unfinished" one of the batch in which the run stopped for such
    an error.
    """

    number: int
    term: Term
    cost: int
    status: str
    score: float | None = None
    bound: float | None = None
    seen: int = 0
    reason: str = ""
    goals: tuple[float, ...] = ()


@dataclass
class Search:
    """The state of a loop, for whoever watches it.

    Attributes:
        incumbent: the best so far; history: every one there was, in order.
        candidates: handed over by the learner and dealt with; of these: rejected_early, before the last image; same_heatmap,
        same_on_images, invalid, unlawful, law_undecided: see `Tried`.
        waiting: lookalikes whose turn has not come; similar: all that were put last.
        asked: image scores asked for, and possible: what all candidates on all images would have been, but for those that are
        invalid or do not obey the laws.
        relatives: of candidates, what the relative and the metric said, the latter as far as it is known.
    """

    incumbent: Incumbent | None = None
    history: list[Incumbent] = field(default_factory=list)
    candidates: int = 0
    rejected_early: int = 0
    same_heatmap: int = 0
    same_on_images: int = 0
    invalid: int = 0
    unlawful: int = 0
    law_undecided: int = 0
    oracle_errors: int = 0
    waiting: int = 0
    similar: int = 0
    asked: int = 0
    possible: int = 0
    relatives: list[tuple[float, float]] = field(default_factory=list)
    stopped_by: str = ""

    @property
    def weighed(self) -> int:
        """Candidates as a budget counts them: one that is unlawful or waits costs no pass, and counts a hundredth."""
        return self.candidates - self.unlawful + (self.unlawful + self.waiting) // 100

    @property
    def agreement(self) -> float | None:
        """Spearman's correlation of the relative with the metric; None where there is no relative, or too little to tell."""
        return rank_correlation(*zip(*self.relatives, strict=True)) if len(self.relatives) > 2 else None

    def accept(self, incumbent: Incumbent) -> None:
        """A new best."""
        self.incumbent = incumbent
        self.history.append(incumbent)

    def count(self, tried: Sequence[Tried], images: int) -> None:
        """A batch was dealt with, on so many images."""
        said = [t.status for t in tried]
        self.candidates += len(tried)
        self.rejected_early += sum(t.status == "rejected" and t.score is None for t in tried)
        self.same_heatmap += said.count("same-heatmap")
        self.same_on_images += said.count("same-on-images")
        self.invalid += said.count("invalid")
        self.oracle_errors += said.count("oracle-error")
        self.law_undecided += said.count("law-undecided")
        unlawful = said.count("unlawful") + said.count("law-undecided")
        self.unlawful += unlawful
        self.possible += images * (len(tried) - unlawful - said.count("invalid") - said.count("similar"))
