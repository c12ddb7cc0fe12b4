"""ROAD: remove and debias (Rong et al., ICML 2022), both orders combined, with noisy linear imputation."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.metrics.curves import register_curve
from sycam.metrics.imputation import impute
from sycam.metrics.query import Query
from sycam.metrics.registry import register_metric

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
