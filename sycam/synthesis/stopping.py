"""Scoring candidates stage by stage, and the stopping rule `exact`: a candidate is rejected only when perfect scores on all
unseen images could not save it. The rule `racing` rejects earlier, see there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sycam.errors import OracleError
from sycam.metrics.registry import Metric
from sycam.oracle import Drawable, Failures, MetricOracle

from .witnesses import Witnesses

SLACK = 1e-12  # of float64 sums; candidates that tie within it are scored to the end, and further goals or the order decide


class Test(Protocol):
    """What rejects candidates between stages although they could still win."""

    def rejects(self, rows: Tensor, stage: Tensor, values: Tensor) -> Tensor:
        """Which of the candidates at `rows` [A] are rejected once their scores [A, s] on a stage [s] are known: [A] Bool. Told of
        every stage but the last."""


@dataclass(frozen=True)
class Plan:
    """How a batch of candidates is scored.

    Attributes:
        stages: the images in order, in parts that together are all.
        witnesses: those of them that come first and were not drawn at random.
        test: that is asked between stages.
    """

    stages: Sequence[Tensor]
    witnesses: Tensor
    test: Test | None = None


class StoppingRule(Protocol):
    """When a candidate is rejected. `agree`: how far heatmaps of an image may differ that share a pass, 0 for not in a bit."""

    name: str
    agree: float

    def plan(
        self, metric: Metric, witnesses: Witnesses, incumbent: Tensor | None, threshold: float | None, candidates: int
    ) -> Plan:
        """For so many candidates, against an incumbent's scores [N] and the score that must be reached; None rejects nothing."""


class Exact:
    """Rejects only what could not win any more, whatever the unseen images say: changes no result."""

    name = "exact"
    agree = 0.0

    def plan(
        self, metric: Metric, witnesses: Witnesses, incumbent: Tensor | None, threshold: float | None, candidates: int
    ) -> Plan:
        """The witnesses first, then stages that double."""
        return Plan(witnesses.stages(), witnesses.chosen())


@dataclass
class Scored:
    """What is known of one candidate after its stages.

    Attributes:
        values: [N] the metric on each image, NaN where it was not asked; [N, P] of a metric with P parts.
        seen: images asked.
        total: the score on all images, or None where the candidate was rejected before the last one.
        bound: the best score that it could still have had.
        failed: whether the oracle gave no answer about it; error: why, None where it was not asked any more.
    """

    values: Tensor
    seen: int
    total: float | None
    bound: float
    failed: bool = False
    error: OracleError | None = None


def score_in_stages(
    oracle: MetricOracle,
    maps: Tensor,
    plan: Plan,
    threshold: float | None,
    cams: Sequence[Drawable] | None = None,
    failures: Failures | None = None,
) -> list[Scored]:
    """Scores candidates stage by stage and drops each as soon as it cannot beat `threshold`, or the plan's test rejects it.

    Without a test this changes no result: whatever an exhaustive scoring would accept is scored to the end. Of a metric that is
    no mean over images each part is bounded on its own, and the aggregate, monotone in each, of these bounds is the bound.

    Args:
        oracle: the metric on N images.
        maps: [C, N, h, w], the candidates' low-resolution heatmaps.
        plan: the order of the images, and a test.
        threshold: the score to beat; None rejects nothing.
        cams: the candidates, C of them, for a metric that draws them on other images.
        failures: how failures of the oracle are taken; None raises the first.
    """
    metric, count = oracle.metric, maps.shape[1]
    perfect = metric.best_parts()
    values = torch.full((len(maps), count, *perfect.shape), torch.nan, dtype=torch.float64)
    bounds = torch.full((len(maps),), metric.perfect, dtype=torch.float64)
    alive, seen = torch.arange(len(maps)), 0
    seen_by = torch.zeros(len(maps), dtype=torch.int64)
    failed: dict[int, OracleError | None] = {}
    for stage in plan.stages:
        found, lost = _ask(oracle, maps, alive, stage, cams, failures)
        values[alive[:, None], stage] = found
        if lost:
            failed.update({int(alive[row]): error for row, error in lost.items()})
            alive = alive[[row for row in range(len(alive)) if row not in lost]]
        seen += len(stage)
        seen_by[alive] = seen
        unseen = perfect * (count - seen) if seen < count else torch.zeros_like(perfect)
        means = (values[alive].nansum(1) + unseen) / count
        bounds[alive] = means if metric.combine is None else metric.combine(means)
        if threshold is not None and seen < count:
            margin = bounds[alive] - threshold if metric.direction == "high" else threshold - bounds[alive]
            possible = margin > -2 * SLACK  # a bound and the mean that it bounds are rounded each in its own way
            if plan.test is not None:
                possible &= ~plan.test.rejects(alive, stage, values[alive[:, None], stage])
            alive = alive[possible]
        if not len(alive):
            break
    return [
        Scored(
            values[i], int(seen_by[i]), float(bounds[i]) if seen_by[i] == count else None, float(bounds[i]), i in failed,
            failed.get(i),
        )
        for i in range(len(maps))
    ]  # fmt: skip


def _ask(
    oracle: MetricOracle,
    maps: Tensor,
    alive: Tensor,
    stage: Tensor,
    cams: Sequence[Drawable] | None,
    failures: Failures | None,
) -> tuple[Tensor, dict[int, OracleError | None]]:
    """The scores of living candidates on a stage, [alive, stage] or with parts [alive, stage, P], and those of them that have
    none."""

    def ask(rows: Tensor, columns: Tensor) -> Tensor:
        chosen, living = maps[alive[rows].to(maps.device)], alive[rows].tolist()
        asked = None if cams is None else [cams[place] for place in living]
        return oracle.score(chosen[:, stage[columns].to(maps.device)], stage[columns], asked)

    if failures is None:
        return ask(torch.arange(len(alive)), torch.arange(len(stage))), {}
    return failures.attempt(ask, len(alive), len(stage), parts=len(oracle.metric.parts))


def projected(values: Tensor, known: Tensor | None, witnesses: Tensor) -> float | None:
    """What the mean of scores may come to, as far as it can be told from the images seen.

    Args:
        values: [N], NaN where not seen.
        known: [N], the scores of the incumbent, to whom the difference is projected; None where all were seen.
        witnesses: the images that were not drawn at random: their differences enter as they are, those of the others for all
            others.

    Returns:
        The mean; None where no image was drawn at random yet.

    >>> lost = torch.tensor([0.0, 0.5, torch.nan, torch.nan])
    >>> projected(lost, torch.tensor([1.0, 0.5, 0.5, 0.5]), torch.tensor([0]))
    0.375
    """
    seen = ~values.isnan()
    if bool(seen.all()):
        return float(values.mean())
    drawn = seen.clone()
    drawn[witnesses] = False
    if known is None or not bool(drawn.any()):
        return None
    difference = values - known
    others = len(values) - len(witnesses)
    return float(known.mean() + (difference[witnesses].sum() + others * difference[drawn].mean()) / len(values))
