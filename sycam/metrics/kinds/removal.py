"""Metrics that take pixels away, or bring them back, in the order of the heatmap: deletion and insertion (Petsiuk et al.,
RISE, BMVC 2018), and ROAD (Rong et al., ICML 2022), whose removed pixels are imputed.

Each reads curves: the probability of the class as pixels come or go. All curves that a query's metrics read are one stream of
(job, curve, step), so that batches stay full; each heatmap is ranked once, and a step is a threshold on ranks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sycam.metrics.metric import register_metric
from sycam.metrics.query import Query, register_curve

SOURCE = "RISE: Petsiuk et al., BMVC 2018"
KERNEL, SIGMA = 11, 5.0
"""Of insertion's blur, in pixels."""


def _steps(height: int, width: int) -> int:
    """Inner points of a curve: as many pixels as the image is wide at a time, so one point less than the image is high. On
    224 x 224 these are the 224 pixels a step of RISE. The end points are shared, see `deletion` and `insertion`."""
    return height - 1


def _first(query: Query, job: Tensor, step: Tensor) -> Tensor:
    """Which pixels the first `step` + 1 steps change, [b, 1, H, W] boolean."""
    width = query.heatmaps.shape[-1]
    return (query.ranks[job] < ((step + 1) * width)[:, None, None])[:, None]


@register_curve("deletion", _steps)
def _delete(query: Query, job: Tensor, step: Tensor) -> Tensor:
    return query.images_of(job).masked_fill_(_first(query, job, step), 0)


@register_curve("insertion", _steps)
def _insert(query: Query, job: Tensor, step: Tensor) -> Tensor:
    images = query.images_of(job)
    return torch.where(_first(query, job, step), images, query.once("blurred", blur)[query.image_index[job]])


@register_metric("deletion", direction="low", bounds=(0.0, 1.0), passes=223, curves=("deletion",), source=SOURCE)
def deletion(query: Query) -> Tensor:
    """Area under the probability as pixels are deleted, hottest first, a row's worth at a time, to the mean colour: trapezoid,
    over the share of pixels.

    Deleted pixels are zero in normalised space under every protocol. Ties go in row-major order, so a constant heatmap deletes
    row by row. The end points are the plain image, and the empty one that all images share. On 224 x 224 it costs 223 passes.

    A network that believes in class 1 as much as the image is bright loses the bright half first:

    >>> images = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    >>> def ask(x):
    ...     return torch.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)
    >>> deletion(Query(images[:, 0], images, torch.tensor([1]), torch.tensor([0.5]), ask))
    tensor([0.1250])
    """
    return _area(query.p, query.curve("deletion"), query.blank)


@register_metric("insertion", direction="high", bounds=(0.0, 1.0), passes=223, curves=("insertion",), source=SOURCE)
def insertion(query: Query) -> Tensor:
    """Area under the probability as pixels are put back into the blurred image, hottest first, a row's worth at a time:
    trapezoid, over the share of pixels.

    The blur is Gaussian, 11 x 11 of σ 5 pixels, reflected at the border. The end points are the blurred image, asked once an
    image, and the plain one.
    """
    return _area(query.once_an_image(blur), query.curve("insertion"), query.p)


def _area(first: Tensor, inner: Tensor, last: Tensor) -> Tensor:
    """Trapezoid over [0, 1] of equally spaced points: [N], [N, points], [N] to [N]."""
    return ((first + last) / 2 + inner.sum(1)) / (inner.shape[1] + 1)


def blur(images: Tensor) -> Tensor:
    """Gaussian blur of images [b, 3, H, W], 11 x 11, σ 5, reflected at the border; a smaller image takes the kernel that fits it.

    >>> round(float(blur(torch.ones(1, 3, 16, 16)).mean()), 5)
    1.0
    """
    height, width = images.shape[-2:]
    for size, down in ((height, True), (width, False)):
        reach = min(KERNEL // 2, size - 1)
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
        kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if down else (1, 1, 1, -1)).expand(images.shape[1], -1, -1, -1)
        padding = (0, 0, reach, reach) if down else (reach, reach, 0, 0)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), kernel, groups=images.shape[1])
    return images


# ROAD: remove and debias, both orders combined, with noisy linear imputation

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
NOISE = 0.01
"""Standard deviation, in normalised space, of what is added to imputed pixels so that their smoothness does not give them
away."""


def removed(pixels: int, percentile: int) -> int:
    """How many of the pixels are not below the percentile, interpolated linearly: those that are removed.

    >>> removed(11, 90), removed(10, 90)
    (2, 1)
    """
    return pixels + (-(pixels - 1) * percentile // 100)  # n − ⌈(n − 1)·q/100⌉ in whole numbers


@register_curve("road-most-relevant-first", lambda height, width: len(PERCENTILES))
def _most(query: Query, job: Tensor, step: Tensor) -> Tensor:
    return _imputed(query, job, step, query.ranks[job], "most")


@register_curve("road-least-relevant-first", lambda height, width: len(PERCENTILES))
def _least(query: Query, job: Tensor, step: Tensor) -> Tensor:
    ranks = query.ranks[job]
    return _imputed(query, job, step, ranks.shape[-2] * ranks.shape[-1] - 1 - ranks, "least")


def _imputed(query: Query, job: Tensor, step: Tensor, ranks: Tensor, order: str) -> Tensor:
    """The jobs' images without the pixels of the first ranks, [b, 3, H, W]."""
    pixels = ranks.shape[-2] * ranks.shape[-1]
    counts = torch.tensor([removed(pixels, q) for q in PERCENTILES], device=ranks.device)
    known = (ranks >= counts[step][:, None, None])[:, None]
    noise = query.once(f"road noise, {order}", lambda images: _noise(images, order)[None])[0]  # [percentiles, 3, H, W]
    return torch.where(known, query.images_of(job), impute(query.images_of(job), known) + noise[step])


def _noise(images: Tensor, order: str) -> Tensor:
    """The same for every image and CAM, so that no score depends on its batch, and differences are not of noise."""
    generator = torch.Generator().manual_seed(0 if order == "most" else 1)
    return NOISE * torch.randn(len(PERCENTILES), *images.shape[1:], generator=generator).to(images)


@register_metric(
    "road",
    direction="high",
    bounds=(-0.5, 0.5),
    passes=18,
    curves=("road-most-relevant-first", "road-least-relevant-first"),
    source="ROAD combined: Rong et al., ICML 2022",
)
def road(query: Query) -> Tensor:
    """Half the difference of the mean probability after removing the least relevant pixels first and the most relevant first.

    Removed are the shares 90, 80, ... 10 per cent, each imputed linearly from what is left, with noise of 0.01. Exactly that
    share is removed, ties in the heatmap broken by row-major order (from the end, for the least relevant), so that a constant
    heatmap is compared with itself upside down.
    """
    most, least = query.curve("road-most-relevant-first"), query.curve("road-least-relevant-first")
    return (least.mean(1) - most.mean(1)) / 2


# Noisy linear imputation: removed pixels become the weighted mean of their eight neighbours. Each removed pixel x_i solves
# Σ_j w_ij (x_i − x_j) = 0 over its neighbours inside the image, w = 1/6 for the four nearest and 1/12 for the diagonal ones: a
# symmetric positive definite system where any pixel is known. All images are solved at once, on their device, by conjugate
# gradients preconditioned by one multigrid cycle, from the answer on a pyramid.

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
