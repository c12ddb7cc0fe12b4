"""Pearson's correlation of pairs of maps."""

from __future__ import annotations

import torch
from torch import Tensor


def correlation(first: Tensor, second: Tensor, undefined: float = 0.0) -> Tensor:
    """Pearson's correlation over pixels of maps [N, H, W] with others of the same shape, [N] in [-1, 1].

    Args:
        first, second: maps of any dtype; sums are float64, so that a constant map is seen to be one.
        undefined: the answer where either map is constant.

    >>> correlation(torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[[5.0, 3.0, 1.0]]]))
    tensor([-1.])
    """
    a, b = first.flatten(1).double(), second.flatten(1).double()
    constant = (a.amax(1) == a.amin(1)) | (b.amax(1) == b.amin(1)) if a.shape[1] else a.new_ones(len(a)).bool()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    below = (a.square().sum(1) * b.square().sum(1)).sqrt()
    found = (a * b).sum(1) / torch.where(constant | (below == 0), 1, below)
    found = torch.where(constant | (below == 0), undefined, found.clamp(-1, 1))
    return found.to(torch.promote_types(first.dtype, torch.float32) if first.is_floating_point() else torch.float32)
