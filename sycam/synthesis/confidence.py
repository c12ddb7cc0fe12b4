"""A test of the sum of a finite population, read one number after the other in random order, that may be looked at any time.

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

import torch
from torch import Tensor

SHARES = (0.95, 0.5, 0.2, 0.07)
"""Shares f of the capital that are staked, one capital each: boldly for those that are much worse, cautiously for close ones."""


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
