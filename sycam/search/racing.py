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
scored in full first: they enter the sum as they are, and the test is about the others (`SumTest`). Hence, for any past, P(w
rejected | past) ≤ error.

**What the test reads.** The incumbent's score on every image is known, so any multiple β of it may be subtracted on both sides:
d_i = c_i − β b_i must sum to N λ − β Σ b_i. At β = 1 these are plain paired differences. A smaller β leaves more variance where
the two agree, but less room above the mean, and stakes are bounded by that room. `PAIRED` = ½ asked for about as little as 0
and 1, or less, by up to a quarter, wherever it was measured (`benchmarks/RESULTS.md`).

**By class.** The statement is about the answer, which is the terms of all groups, so each group's test runs at `error` divided by
their number. The witnesses of all groups are one stratum; an order of all images that is uniform is so on the other images of
each group.

Heatmaps that agree to 1e-6 on an image share one pass under this rule; the score that is tested may be off by what that moves.

**The test.** It is a test of the sum of a finite population, read one number after the other in random order, that may be
looked at any time.

A candidate's differences to the incumbent on n images are fixed numbers d_1, ..., d_n; what is random is the order in which they
are asked. Let u_i be the most that d_i can be, and `least` the sum that the candidate must reach. Under the hypothesis
Σ d_i ≥ least, whatever came before draw t, the next number is uniform among those left, so its mean is at least
m_t = (least − what came before) / (how many are left), and it is at most U_t, the largest bound among those left. Whoever stakes
a share f of a capital K on "less than m_t",

    K_t = K_{t-1} · (1 + f (m_t − d_t) / (U_t − m_t)),     0 ≤ f ≤ 1,

never owes (d_t ≤ U_t), and expects no gain: K is a nonnegative supermartingale from 1, and by Ville's inequality (1939) it ever
reaches 1/α with probability at most α. So does the mean of several such capitals, one for each f: the share need not be guessed.
A candidate whose capital reaches 1/α is rejected. To reject where `least` is impossible given what came before costs no error.

These are the capital processes of Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement" (NeurIPS
2020) and "Estimating means of bounded random variables by betting" (JRSS B 2024); a candidate is rejected exactly when `least`
lies above the one-sided confidence sequence that they define. Here bounds differ from number to number, since the incumbent's
are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.metrics.metric import Metric

from .groups import Group, union
from .stopping import SLACK, Contest, Plan

PAIRED = 0.5
AGREE = 1e-6
FIRST, GROWTH = 8, 4  # images of the first stage; each later one adds a quarter of what was seen


SHARES = (0.95, 0.5, 0.2, 0.07)
"""Shares f of the capital that are staked, one capital each: boldly for those that are much worse, cautiously for close ones."""


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

    def plan(self, metric: Metric, groups: Sequence[Group], thresholds: Sequence[float | None], candidates: int) -> Plan:
        """The stages of the next batch of candidates, and the tests that reject between them."""
        first = union([group.witnesses for group in groups])
        shuffled = torch.randperm(len(groups[0].places), generator=self._generator)
        others = shuffled[~torch.isin(shuffled, first)]
        stages, start = ([first] if len(first) else []), 0
        while start < len(others):
            stop = start + max(FIRST, start // GROWTH)
            stages.append(others[start:stop])
            start = stop
        contests = []
        for group, threshold in zip(groups, thresholds, strict=True):
            race = None
            if group.incumbent is not None and threshold is not None:
                known = group.incumbent.values
                race = Race(metric, group.places, first, others, known, threshold, candidates, self.error / len(groups))
            contests.append(Contest(group.places, threshold, race))
        return Plan(stages, first, contests)


class Race:
    """A batch of candidates against the incumbent of one group.

    Args:
        metric: a mean over images whose perfect value is finite.
        places: [n], the images of the group.
        witnesses: images that come before the others, of this group and of others.
        others: the other images, in random order.
        incumbent: [N], its score on every image of the group.
        threshold: the mean that a candidate must reach.
        candidates: how many there are.
        error: see `Racing`.
    """

    def __init__(
        self, metric: Metric, places: Tensor, witnesses: Tensor, others: Tensor, incumbent: Tensor, threshold: float,
        candidates: int, error: float,
    ) -> None:  # fmt: skip
        self._sign = 1.0 if metric.direction == "high" else -1.0
        self._known = PAIRED * self._sign * incumbent  # [N]
        self._witnesses = bool(torch.isin(witnesses, places).any())
        least = len(places) * (self._sign * threshold - 2 * SLACK) - float(self._known[places].sum())
        drawn = others[torch.isin(others, places)]
        highest = self._sign * metric.perfect - self._known[drawn]
        self._test = SumTest(torch.full((candidates,), least, dtype=torch.float64), highest, error)

    def rejects(self, rows: Tensor, stage: Tensor, values: Tensor) -> Tensor:
        """Which of the candidates at `rows` [A] are rejected once their scores [A, s] on a stage [s] are known: [A] Bool."""
        numbers = self._sign * values - self._known[stage]
        if self._witnesses:
            self._witnesses = False
            self._test.told(rows, numbers.sum(1))
            return torch.zeros(len(rows), dtype=torch.bool)
        return self._test.rejects(rows, numbers)


def why_not(metric: Metric) -> str:
    """Why racing is no rule for a metric, so that `exact` takes its place; "" where it is one.

    >>> from sycam.metrics.own.find import find_metric
    >>> why_not(find_metric("average-gain")), why_not(find_metric("adcc-of-means"))
    ('', 'adcc-of-means is no mean over images')
    """
    if not metric.is_mean:
        return f"{metric.name} is no mean over images"
    if not -float("inf") < metric.perfect < float("inf"):
        return f"{metric.name} has no best value"
    return ""


class SumTest:
    """Whether populations of n numbers each, read in random order, have sums of at least `least`.

    Args:
        least: [C], the sum that each population must reach; every one is read in one and the same order.
        highest: [n], what the number at each place of that order can be at most.
        error: α, the probability that a population which does reach it is rejected, however long it is watched.
        shares: see `SHARES`.

    Forty numbers of at most 1 that ought to sum to 4; the first ones are −1, two at a time. The rest could still make up for it,
    but that is not believed:

    >>> test = SumTest(torch.tensor([4.0]), torch.ones(40), error=0.05)
    >>> [bool(test.rejects(torch.tensor([0]), torch.full((1, 2), -1.0))) for _ in range(3)]
    [False, False, True]
    """

    def __init__(self, least: Tensor, highest: Tensor, error: float, shares: Sequence[float] = SHARES) -> None:
        self.read = 0
        self._left = least.double().clone()  # [C], what the numbers not read yet must sum to
        self._ceiling = highest.double().flip(0).cummax(0).values.flip(0)  # [n], the largest bound from each place on
        self._shares = torch.tensor(shares, dtype=torch.float64)
        self._capital = torch.zeros(len(least), len(shares), dtype=torch.float64)  # logarithms
        self._log_limit = math.log(len(shares) / error)

    def told(self, rows: Tensor, sums: Tensor) -> None:
        """What others, that were not drawn at random, add to the sums of some populations: [A]. Nothing is staked on them."""
        self._left[rows] -= sums

    def rejects(self, rows: Tensor, values: Tensor) -> Tensor:
        """Reads the next s numbers of some populations.

        Args:
            rows: [A], which; those left out now are out for good.
            values: [A, s], in the order of all.

        Returns:
            [A] Bool: whether a capital reached 1/α at any of these numbers. Rows rejected before must not come again.
        """
        steps = values.shape[1]
        left = self._left[rows, None] - torch.nn.functional.pad(values.cumsum(1), (1, 0))  # [A, s + 1], before each and after
        count = len(self._ceiling) - self.read - torch.arange(steps)
        mean = left[:, :-1] / count
        room = self._ceiling[self.read : self.read + steps] - mean
        # Where no number can exceed the mean, none is lower or the sum is out of reach, which its bound shows: no stake.
        gain = torch.where(room > 0, (mean - values) / torch.where(room > 0, room, 1), 0).clamp(min=-1)
        grown = self._capital[rows, None] + torch.log1p(gain[:, :, None] * self._shares).cumsum(1)  # [A, s, F]
        self._left[rows], self._capital[rows] = left[:, -1], grown[:, -1]
        self.read += steps
        return grown.logsumexp(2).amax(1) >= self._log_limit
