"""What a loop knows: the best so far, what became of each candidate, and the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sycam.metrics.metric import Metric
from sygus import Term

from .groups import Group, Incumbent


@dataclass(frozen=True)
class Tried:
    """One candidate, what became of it, and its values of the goals that had to be known.

    It is "accepted" (on any group of images; by class its reason says on which), "rejected", "invalid", "same-heatmap" (as an
    earlier one, proved), "same-on-images" (as an earlier one on the images of the search, bit for bit), or was never scored:
    "unlawful" (it breaks a law of the file), "law-undecided" (it is neither proved to obey one nor refuted) or "similar" (to one
    that was scored, and the run ended before its turn came).
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
        groups: those whose best is sought, with their incumbents; the first is that of all images.
        candidates: handed over by the learner and dealt with; of these: rejected_early, before the last image; same_heatmap,
        same_on_images, invalid, unlawful, law_undecided: see `Tried`.
        waiting: lookalikes whose turn has not come; similar: all that were put last.
        asked: image scores asked for, and possible: what all candidates on all images by all metrics would have been, but for
        candidates that are invalid or do not obey the laws.
    """

    groups: list[Group]
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
    stopped_by: str = ""

    @property
    def incumbent(self) -> Incumbent | None:
        """The best so far on all images."""
        return self.groups[0].incumbent

    @property
    def history(self) -> list[Incumbent]:
        """Every incumbent on all images that there was, in order."""
        return self.groups[0].history

    @property
    def values(self) -> Tensor | None:
        """The scores [N] or [N, P] of the answer so far: by class each image's of the incumbent of its own group."""
        if self.incumbent is None:
            return None
        values = self.incumbent.values.clone()
        for group in self.groups[1:]:
            if group.incumbent is not None:
                values[group.places] = group.incumbent.values[group.places]
        return values

    def score(self, metric: Metric) -> float | None:
        """The score of the answer so far."""
        if len(self.groups) == 1 or self.values is None:
            return self.incumbent.score if self.incumbent else None
        return float(metric.aggregate(self.values))

    @property
    def weighed(self) -> int:
        """Candidates as a budget counts them: one that is unlawful or waits costs no pass, and counts a hundredth."""
        return self.candidates - self.unlawful + (self.unlawful + self.waiting) // 100

    def count(self, tried: Sequence[Tried], images: int, metrics: int = 1) -> None:
        """A batch was dealt with, on so many images and by so many metrics."""
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
        self.possible += metrics * images * (len(tried) - unlawful - said.count("invalid") - said.count("similar"))
