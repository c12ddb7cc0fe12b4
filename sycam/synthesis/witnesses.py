"""Witness images: counterexamples of the metric, on which candidates are scored first."""

from __future__ import annotations

import torch
from torch import Tensor


class Witnesses:
    """Which images to score first: those that beat most candidates so far, then the others in a seeded order.

    Args:
        images: how many there are.
        seed: of the order of the others.
        limit: how many witnesses are kept.

    >>> witnesses = Witnesses(4, seed=0)
    >>> witnesses.add(2)
    >>> int(witnesses.order()[0]), len(witnesses), sorted(witnesses.order().tolist())
    (2, 1, [0, 1, 2, 3])
    """

    def __init__(self, images: int, seed: int = 0, limit: int = 16) -> None:
        self.limit, self.images = limit, images
        self._beat = torch.zeros(images, dtype=torch.int64)
        self._shuffled = torch.randperm(images, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return min(self.limit, int((self._beat > 0).sum()))

    def add(self, image: int) -> None:
        """A candidate was beaten, and this image showed it most."""
        self._beat[image] += 1

    def chosen(self) -> Tensor:
        """The witnesses, those that beat most candidates first: [at most `limit`]."""
        ranked = self._beat[self._shuffled].sort(descending=True, stable=True).indices
        return self._shuffled[ranked[: len(self)]]

    def order(self) -> Tensor:
        """All images, the witnesses first: [N]."""
        first = self.chosen()
        rest = self._shuffled[~torch.isin(self._shuffled, first)]
        return torch.cat([first, rest])

    def stages(self) -> list[Tensor]:
        """`order` in parts: the witnesses, then batches that double."""
        order, size = self.order(), max(8, len(self))
        stages, start = [], 0
        while start < len(order):
            stop = len(self) if start == 0 and len(self) else min(start + size, len(order))
            stages.append(order[start:stop])
            start, size = stop, size * 2
        return stages
