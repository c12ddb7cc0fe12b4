"""The stopping rule `racing`: a candidate is rejected as soon as the images seen make it unlikely that it could win.

**What is stated.** Let w be the term that an exhaustive run over the same candidates returns. The probability that w is
rejected is at most `error`, over the whole run, however many candidates and incumbents there are; if it is not, the run returns
w. The probability is over the orders of images, which the seed draws. "The same candidates" must not depend on these orders: they
are the first so many, or all of a bounded grammar. A run that ends by the clock, by its passes or on a target has tried a number
of candidates that does depend on them; of it the statement holds for each number of candidates, not for the one it ended at.

**Why nothing is divided among the comparisons.** A candidate is scored once, against the incumbent b of that moment. Whether
other candidates are rejected wrongly changes what b is and which images are witnesses, and no more: w scores at least as well
as whatever b is, or ties, so the hypothesis that is tested of it, Σ_i w_i ≥ N λ less the slack of rounding, is true. And w is
the only candidate of which an error counts. So one test at level `error` is all there is to pay for. Once w is the incumbent
nothing replaces it.

**Why the order is random in spite of what was seen.** Each batch of candidates draws an order of its own, from a generator that
the seed starts and that no score reaches. b, λ and the witnesses were settled before; given them, the order of the other images
is uniform, whoever saw which of them earlier. The witnesses were chosen for what they show, so they are a stratum of their own,
scored in full first: they enter the sum as they are, and the test is about the others (`confidence`). Hence, for any past, P(w
rejected | past) ≤ error.

**What the test reads.** The incumbent's score on every image is known, so any multiple β of it may be subtracted on both sides:
d_i = c_i − β b_i must sum to N λ − β Σ b_i. At β = 1 these are plain paired differences. A smaller β leaves more variance where
the two agree, but less room above the mean, and stakes are bounded by that room. `PAIRED` = ½ asked for about as little as 0
and 1, or less, by up to a quarter, wherever it was measured (`benchmarks/RESULTS.md`).

Heatmaps that agree to 1e-6 on an image share one pass under this rule; the score that is tested may be off by what that moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.metrics.registry import Metric

from .confidence import SumTest
from .stopping import SLACK, Plan
from .witnesses import Witnesses

PAIRED = 0.5
AGREE = 1e-6
FIRST, GROWTH = 8, 4  # images of the first stage; each later one adds a quarter of what was seen


@dataclass
class Racing:
    """Rejects what the images seen make unlikely to win; what is stated of it, and why, is in the module's text.

    Args:
        error: the probability that the term an exhaustive run would return is rejected.
        seed: of the orders of images.
    """

    error: float = 0.05
    seed: int = 0
    name = "racing"
    agree = AGREE
    _generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def plan(
        self, metric: Metric, witnesses: Witnesses, incumbent: Tensor | None, threshold: float | None, candidates: int
    ) -> Plan:
        """The stages of the next batch of candidates, and the test that rejects between them."""
        first = witnesses.chosen()
        shuffled = torch.randperm(witnesses.images, generator=self._generator)
        others = shuffled[~torch.isin(shuffled, first)]
        stages, start = ([first] if len(first) else []), 0
        while start < len(others):
            stop = start + max(FIRST, start // GROWTH)
            stages.append(others[start:stop])
            start = stop
        if incumbent is None or threshold is None:
            return Plan(stages, first)
        return Plan(stages, first, Race(metric, len(first), others, incumbent, threshold, candidates, self.error))


class Race:
    """A batch of candidates against one incumbent.

    Args:
        metric: a mean over images whose perfect value is finite.
        witnesses: how many images come before the others.
        others: [n], these, in random order.
        incumbent: [N], its score on every image.
        threshold: the mean that a candidate must reach.
        candidates: how many there are.
        error: see `Racing`.
    """

    def __init__(
        self, metric: Metric, witnesses: int, others: Tensor, incumbent: Tensor, threshold: float, candidates: int, error: float
    ) -> None:
        self._sign = 1.0 if metric.direction == "high" else -1.0
        self._known = PAIRED * self._sign * incumbent  # [N]
        self._witnesses = witnesses
        least = len(incumbent) * (self._sign * threshold - 2 * SLACK) - float(self._known.sum())
        highest = self._sign * metric.perfect - self._known[others]
        self._test = SumTest(torch.full((candidates,), least, dtype=torch.float64), highest, error)

    def rejects(self, rows: Tensor, stage: Tensor, values: Tensor) -> Tensor:
        """Which of the candidates at `rows` [A] are rejected once their scores [A, s] on a stage [s] are known: [A] Bool."""
        numbers = self._sign * values - self._known[stage]
        if self._witnesses:
            self._witnesses = 0
            self._test.told(rows, numbers.sum(1))
            return torch.zeros(len(rows), dtype=torch.bool)
        return self._test.rejects(rows, numbers)


def why_not(metric: Metric) -> str:
    """Why racing is no rule for a metric, so that `exact` takes its place; "" where it is one.

    >>> from sycam.metrics.registry import metric
    >>> why_not(metric("average-gain")), why_not(metric("adcc-of-means"))
    ('', 'adcc-of-means is no mean over images')
    """
    if not metric.is_mean:
        return f"{metric.name} is no mean over images"
    if not -float("inf") < metric.perfect < float("inf"):
        return f"{metric.name} has no best value"
    return ""
