"""Noisy linear imputation (Rong et al., ICML 2022): removed pixels become the weighted mean of their eight neighbours.

Each removed pixel x_i solves Σ_j w_ij (x_i − x_j) = 0 over its neighbours inside the image, w = 1/6 for the four nearest and 1/12
for the diagonal ones: a symmetric positive definite system where any pixel is known. All images are solved at once, on their
device, by conjugate gradients preconditioned by one multigrid cycle, from the answer on a pyramid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 2e-4
"""Of the residual's norm against the first right side's: pixels are then right to about 1e-4 of the images' range."""
ROUNDS = 200
ANCHOR = 2.0
"""How firmly a coarse cell is held by the known pixels in it, per share of them."""
RELAX = 0.8
"""Of Jacobi's rounds, the smoother."""


def impute(images: Tensor, known: Tensor) -> Tensor:
    """Images with every pixel that is not known replaced by the solution of the system.

    Args:
        images: [N, C, H, W]; the values of unknown pixels do not matter.
        known: [N, 1, H, W] boolean.

    Returns:
        [N, C, H, W]; zeros all over where nothing is known.

    A line whose ends are known becomes straight:

    >>> line = torch.tensor([0.0, 9.0, 9.0, 3.0]).expand(1, 1, 3, 4)
    >>> ends = torch.tensor([True, False, False, True]).expand(1, 1, 3, 4)
    >>> (impute(line, ends)[0, 0, 1] * 1e3).round() / 1e3
    tensor([0., 1., 2., 3.])
    """
    return _solve(images * known, known, ROUNDS)


def _solve(given: Tensor, known: Tensor, rounds: int) -> Tensor:
    """Conjugate gradients from the solution, roughly, of the grid of half the size, where a cell is known if any pixel in it
    is."""
    height, width = given.shape[-2:]
    if min(height, width) == 1:
        weight = known.to(given.dtype)
        mean = given.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1)
        return torch.where(known, given, mean)
    weight = _halved(known.to(given.dtype))
    coarse = _solve(_halved(given) / torch.where(weight > 0, weight, 1), weight > 0, 2)
    levels = _levels((~known).to(given.dtype))
    top = levels[0]
    x = _doubled(coarse, height, width).mul_(top.free)
    residual = _pull(given + x).sub_(top.inside * x).mul_(top.free)  # known neighbours' pull less A x
    goal = TOLERANCE**2 * _pull(given).mul_(top.free).square_().sum((1, 2, 3)).clamp(min=1e-30)
    direction, rho = torch.zeros_like(x), x.new_ones(len(x), 1, 1, 1)
    for done in range(rounds):
        if rounds == ROUNDS and done % 2 == 0 and bool((residual.square().sum((1, 2, 3)) <= goal).all()):
            break
        z = _cycle(levels, residual, 0)
        before, rho = rho, _dot(residual, z)
        direction = torch.addcmul(z, direction, rho / before.clamp(min=1e-30)) if done else z
        image = (top.inside * direction).sub_(_pull(direction)).mul_(top.free)
        step = rho / _dot(direction, image).clamp(min=1e-30)
        x.addcmul_(step, direction)
        residual.addcmul_(-step, image)
    return x.add_(given)


def _pull(x: Tensor) -> Tensor:
    """Σ_j w_ij x_j over the neighbours, zero outside the image: the kernel [1 2 1; 2 0 2; 1 2 1]/12, as an outer product less its
    centre."""
    padded = F.pad(x, (1, 1, 1, 1))
    rows = padded[..., :-1] + padded[..., 1:]
    rows = rows[..., :-1] + rows[..., 1:]
    both = rows[..., :-1, :] + rows[..., 1:, :]
    both = both[..., :-1, :] + both[..., 1:, :]
    return both.sub_(x, alpha=4).div_(12)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 blocks; an odd last row or column meets zeros."""
    return F.avg_pool2d(F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)), 2)


def _doubled(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


class _Level:
    """One grid: which cells are free, and the diagonal of its system."""

    def __init__(self, free: Tensor, share: Tensor | None) -> None:
        self.free = free  # [N, 1, h, w], 1 or 0
        self.inside = _pull(torch.ones_like(free[:1]))  # less than 1 where neighbours lie outside the image
        diagonal = self.inside if share is None else self.inside + ANCHOR * (1 - share)
        self.relax = RELAX * free / diagonal


def _levels(free: Tensor) -> list[_Level]:
    """Grids of halved size; a coarse cell is free where any pixel in it is, and anchored by the share that is not."""
    levels, share = [_Level(free, None)], free
    while min(share.shape[-2:]) > 2:
        share = _halved(share)
        levels.append(_Level((share > 0).to(free.dtype), share))
    return levels


def _cycle(levels: list[_Level], right: Tensor, at: int) -> Tensor:
    """One V-cycle from zero, about A⁻¹ right, for a right side that is zero where nothing is free. The diagonal times Jacobi's
    step is RELAX where free, so that no product with it is needed."""
    level = levels[at]
    x = level.relax * right
    if at + 1 == len(levels):
        for _ in range(8):
            x = torch.addcmul((1 - RELAX) * x, level.relax, right + _pull(x))
        return x
    left = _pull(x).add_(right, alpha=1 - RELAX).mul_(level.free)
    height, width = left.shape[-2:]
    found = _cycle(levels, _halved(left).mul_(4 * levels[at + 1].free), at + 1)
    x.addcmul_(_doubled(found, height, width), level.free)
    return _pull(x).add_(right).mul_(level.relax).add_(x, alpha=1 - RELAX)
