"""Bootstrap intervals of a mean over images, and of the difference of two means on the same images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sycam.errors import SycamError

Combine = Callable[[Tensor], Tensor]

# Resampled indices held at once: 2^22 of 8 bytes are 32 MiB, whatever the number of images.
INDICES_AT_ONCE = 1 << 22


def bootstrap_interval(
    values: Tensor,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    combine: Combine | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [N] (Efron & Tibshirani 1993, chapter 13).

    Args:
        values: [N], one score per image, finite.
        level: share of the resampled means that lies inside the interval, in (0, 1).
        resamples: how often N images are drawn with replacement.
        seed: of the draws, which are made on the CPU: one seed and N draw the same images for every device.
        combine: of a metric that is no mean over images: `values` are [N, P], and the interval is of `combine` [..., P] -> [...]
            of the parts' means.

    Returns:
        (lo, hi), the quantiles (1 ∓ level)/2 of the resampled means.

    Raises:
        SycamError: no values, values that are not finite or not [N], a level outside (0, 1), or no resamples.

    >>> lo, hi = bootstrap_interval(torch.tensor([0.0, 1.0] * 50))
    >>> round(lo, 2), round(hi, 2)
    (0.4, 0.6)
    """
    if values.dim() != (1 if combine is None else 2) or not len(values):
        shape = "[N]" if combine is None else "[N, P]"
        raise SycamError(f"an interval needs scores of the shape {shape}, N at least 1, not {list(values.shape)}")
    if not 0 < level < 1:
        raise SycamError(f"the level of an interval must lie between 0 and 1, such as 0.95, not {level!r}")
    if resamples < 1:
        raise SycamError(f"an interval needs at least one resample, such as 2000, not {resamples!r}")
    scores = values.detach().to("cpu", torch.float64)
    if not scores.isfinite().all():
        raise SycamError(f"{int((~scores.isfinite()).sum())} of {len(scores)} scores are not finite: leave them out first")
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, INDICES_AT_ONCE // len(scores))
    means = []
    for start in range(0, resamples, rows):
        draws = torch.randint(len(scores), (min(rows, resamples - start), len(scores)), generator=generator)
        drawn = scores[draws].mean(1)
        means.append(drawn if combine is None else combine(drawn))
    tail = (1 - level) / 2
    lo, hi = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return lo, hi


def paired_difference_interval(
    a: Tensor, b: Tensor, level: float = 0.95, resamples: int = 2000, seed: int = 0, combine: Combine | None = None
) -> tuple[float, float]:
    """Bootstrap interval of mean(a − b), where a [N] and b [N] score the same images in the same order.

    Paired: an image that is hard for both does not widen the interval. The two differ at `level` where it leaves out 0.

    Raises:
        SycamError: `a` and `b` of different lengths, or as for `bootstrap_interval`.

    >>> hard_and_easy = torch.tensor([0.1, 0.9] * 50)
    >>> lo, hi = paired_difference_interval(hard_and_easy + 0.05, hard_and_easy)
    >>> round(lo, 3), round(hi, 3)
    (0.05, 0.05)
    """
    if a.shape != b.shape:
        raise SycamError(f"a paired interval needs two scores for each image, not {list(a.shape)} scores against {list(b.shape)}")
    if combine is None:
        return bootstrap_interval(a.double() - b.double(), level, resamples, seed)
    parts = a.shape[1]
    both = torch.cat([a.double(), b.double()], 1)
    return bootstrap_interval(
        both, level, resamples, seed, lambda means: combine(means[..., :parts]) - combine(means[..., parts:])
    )
