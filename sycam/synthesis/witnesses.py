"""Witness images: counterexamples of the metric, on which candidates are scored first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LIMIT = 16


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

    def __init__(self, images: int, seed: int = 0, limit: int = LIMIT) -> None:
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

    def others(self, first: Tensor) -> Tensor:
        """All images but `first`, in the seeded order."""
        return self._shuffled[~torch.isin(self._shuffled, first)]

    def order(self) -> Tensor:
        """All images, the witnesses first: [N]."""
        first = self.chosen()
        return torch.cat([first, self.others(first)])


def union(several: Sequence[Witnesses]) -> Tensor:
    """The witnesses of several groups of the same images, each image once, those of the first group first."""
    chosen = torch.cat([one.chosen() for one in several]).tolist()
    return torch.tensor(list(dict.fromkeys(chosen)), dtype=torch.int64)


def doubling(first: Tensor, others: Tensor) -> list[Tensor]:
    """`first` where there are any, then the others in batches that double, the first of eight images or as many as `first`."""
    stages, start, size = ([first] if len(first) else []), 0, max(8, len(first))
    while start < len(others):
        size = size * 2 if stages else size
        stages.append(others[start : start + size])
        start += size
    return stages
