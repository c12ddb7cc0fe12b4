"""Units: the parts of a set of images that are computed each on its own, so that scores do not depend on who computes them.

What a network returns for an image depends, in its last bits, on how many images go through it together. Every batch therefore
lies within one unit, and a unit's batches are the same whether one process holds all units or each of n workers holds some. The
bits also depend on the threads of the process that computes them; they are equal where every process has as many.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

UNITS = 16
"""How many units a set of images has, and so how many workers can share it; two, four, eight and sixteen share it evenly."""


def unit_of(count: int) -> Tensor:
    """The unit of each of `count` images in order, int64 [count], ascending; units have one size, or one image more.

    >>> unit_of(40).bincount().tolist()
    [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2]
    """
    return torch.arange(count) * UNITS // max(count, 1)


def within_units(unit: Tensor, most: int) -> Iterator[Tensor]:
    """Places in `unit` [n], unit by unit, in order within each, at most `most` at once.

    >>> [places.tolist() for places in within_units(torch.tensor([1, 0, 1, 0, 0]), 2)]
    [[1, 3], [4], [0, 2]]
    """
    order = unit.argsort(stable=True)
    for places in order.split(torch.unique_consecutive(unit[order], return_counts=True)[1].tolist()):
        yield from places.split(most)
