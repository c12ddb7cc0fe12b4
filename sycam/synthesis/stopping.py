"""The stopping rule `exact`: a candidate is rejected only when perfect scores on all unseen images could not save it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sycam.oracle import MetricOracle

SLACK = 1e-12  # of float64 sums; candidates that tie within it are scored to the end, and further goals or the order decide


@dataclass
class Scored:
    """What is known of one candidate after its stages.

    Attributes:
        values: [N] the metric on each image, NaN where it was not asked.
        seen: images asked.
        total: the mean over all images, or None where the candidate was rejected before the last one.
        bound: the best mean that it could still have had.
    """

    values: Tensor
    seen: int
    total: float | None
    bound: float


def score_exactly(oracle: MetricOracle, maps: Tensor, stages: Sequence[Tensor], threshold: float | None) -> list[Scored]:
    """Scores candidates stage by stage and drops each as soon as it cannot beat `threshold`.

    Changes no result: whatever an exhaustive scoring would accept is scored to the end.

    Args:
        oracle: the metric on N images.
        maps: [C, N, h, w], the candidates' low-resolution heatmaps.
        stages: the images in order, in parts that together are all N.
        threshold: the mean to beat; None rejects nothing.
    """
    metric, count = oracle.metric, maps.shape[1]
    values = torch.full((len(maps), count), torch.nan, dtype=torch.float64)
    bounds = torch.full((len(maps),), metric.perfect, dtype=torch.float64)
    alive, seen = torch.arange(len(maps)), 0
    seen_by = torch.zeros(len(maps), dtype=torch.int64)
    for stage in stages:
        place = stage.to(maps.device)
        values[alive[:, None], stage] = oracle.score(maps[alive.to(maps.device)][:, place], stage)
        seen += len(stage)
        seen_by[alive] = seen
        unseen = metric.perfect * (count - seen) if seen < count else 0.0
        bounds[alive] = (values[alive].nansum(1) + unseen) / count
        if threshold is not None and seen < count:
            margin = bounds[alive] - threshold if metric.direction == "high" else threshold - bounds[alive]
            alive = alive[margin > -2 * SLACK]  # a bound and the mean that it bounds are rounded each in its own way
        if not len(alive):
            break
    return [
        Scored(values[i], int(seen_by[i]), float(bounds[i]) if seen_by[i] == count else None, float(bounds[i]))
        for i in range(len(maps))
    ]
