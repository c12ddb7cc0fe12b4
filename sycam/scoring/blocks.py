"""Blocks: the parts of a set of images that are computed each on its own, so that scores do not depend on who computes them.

What a network returns for an image depends, in its last bits, on how many images go through it together. Every batch therefore
lies within one block, and a block's batches are the same whether one process holds all blocks or each of n workers holds some.
The bits also depend on the threads of the process that computes them; they are equal where every process has as many.

Each block goes to one worker, so there may be as many workers as blocks: sixteen up to 1,024 images, thirty-two up to 2,048, and
so on. More workers than that are no error; those that get no block have nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCKS = 16
"""How many blocks a small set of images has; two, four, eight and sixteen workers share them evenly."""
IMAGES = 64
"""In a block, at most."""


def block_of(count: int) -> Tensor:
    """The block of each of `count` images in order, int64 [count], ascending; blocks have one size, or one image more.

    >>> block_of(40).bincount().tolist()
    [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2]
    >>> len(block_of(1024).unique()), len(block_of(1025).unique())
    (16, 32)
    """
    blocks = BLOCKS * max(1, -(-count // (BLOCKS * IMAGES)))
    return torch.arange(count) * blocks // max(count, 1)


def within_blocks(block: Tensor, most: int) -> Iterator[Tensor]:
    """Places in `block` [n], block by block, in order within each, at most `most` at once.

    >>> [places.tolist() for places in within_blocks(torch.tensor([1, 0, 1, 0, 0]), 2)]
    [[1, 3], [4], [0, 2]]
    """
    order = block.argsort(stable=True)
    for places in order.split(torch.unique_consecutive(block[order], return_counts=True)[1].tolist()):
        yield from places.split(most)
