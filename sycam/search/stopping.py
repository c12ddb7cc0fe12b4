"""Scoring candidates stage by stage, and the stopping rule `exact`: a candidate is rejected only when perfect scores on all
unseen images could not save it. The rule `racing` rejects earlier, see there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sycam.errors import OracleError
from sycam.metrics.metric import Metric
from sycam.scoring import Drawable, Failures, Scorer

from .groups import Group, doubling, union

SLACK = 1e-12  # of float64 sums; candidates that tie within it are scored to the end, and further goals or the order decide


class Test(Protocol):
    """What rejects candidates between stages although they could still win."""

    def rejects(self, rows: Tensor, stage: Tensor, values: Tensor) -> Tensor:
        """Which of the candidates at `rows` [A] are rejected once their scores [A, s] on a stage [s] are known: [A] Bool. Told of
        every stage but the last."""


@dataclass(frozen=True)
class Contest:
    """What a candidate must reach on the images of a group to be accepted for them.

    Attributes:
        places: [n], the images.
        threshold: the score to reach; None rejects nothing.
        test: that is asked between stages.
    """

    places: Tensor
    threshold: float | None = None
    test: Test | None = None


@dataclass(frozen=True)
class Plan:
    """How a batch of candidates is scored.

    Attributes:
        stages: the images in order, in parts that together are all.
        witnesses: those of them that come first and were not drawn at random.
        contests: one for each group of images.
    """

    stages: Sequence[Tensor]
    witnesses: Tensor
    contests: Sequence[Contest]


class StoppingRule(Protocol):
    """When a candidate is rejected. `agree`: how far heatmaps of an image may differ that share a pass, 0 for not in a bit."""

    name: str
    agree: float

    def plan(self, metric: Metric, groups: Sequence[Group], thresholds: Sequence[float | None], candidates: int) -> Plan:
        """For so many candidates, against the incumbent of each group, the first of all images, and the score that must be
        reached there; None rejects nothing."""


class Exact:
    """Rejects only what could not win any more, whatever the unseen images say: changes no result."""

    name = "exact"
    agree = 0.0

    def plan(self, metric: Metric, groups: Sequence[Group], thresholds: Sequence[float | None], candidates: int) -> Plan:
        """The witnesses of all groups first, then stages that double."""
        first = union([group.witnesses for group in groups])
        stages = doubling(first, groups[0].witnesses.others(first))
        contests = [Contest(group.places, threshold) for group, threshold in zip(groups, thresholds, strict=True)]
        return Plan(stages, first, contests)


@dataclass
class Scored:
    """What is known of one candidate after its stages.

    Attributes:
        values: [N] the metric on each image, NaN where it was not asked; [N, P] of a metric with P parts.
        seen: images asked.
        totals: of each contest the score on all its images, or None where they were not all asked.
        bounds: of each contest the best score that it could still have had.
        first: how many images of the plan's order were asked while the first contest was not lost.
        failed: whether the oracle gave no answer about it; error: why, None where it was not asked any more.
    """

    values: Tensor
    seen: int
    first: int
    totals: list[float | None]
    bounds: list[float]
    failed: bool = False
    error: OracleError | None = None

    @property
    def total(self) -> float | None:
        """Of the first contest."""
        return self.totals[0]

    @property
    def bound(self) -> float:
        """Of the first contest."""
        return self.bounds[0]


def score_in_stages(
    oracle: Scorer,
    maps: Tensor,
    plan: Plan,
    cams: Sequence[Drawable] | None = None,
    failures: Failures | None = None,
) -> list[Scored]:
    """Scores candidates stage by stage, each image once. A contest is lost as soon as a candidate cannot reach its threshold any
    more, or its test rejects it; an image is asked while it is part of a contest that is not.

    Without tests this changes no result: whatever an exhaustive scoring would accept is scored to the end. Of a metric that is
    no mean over images each part is bounded on its own, and the aggregate, monotone in each, of these bounds is the bound.

    Args:
        oracle: the metric on N images.
        maps: [C, N, h, w], the candidates' low-resolution heatmaps.
        plan: the order of the images, and the contests.
        cams: the candidates, C of them, for a metric that draws them on other images.
        failures: how failures of the oracle are taken; None raises the first.
    """
    metric, candidates, images = oracle.metric, len(maps), maps.shape[1]
    parts = [len(metric.parts)] if metric.parts else []
    values = torch.full((candidates, images, *parts), torch.nan, dtype=torch.float64)
    inside = torch.zeros(len(plan.contests), images, dtype=torch.bool)
    for row, contest in zip(inside, plan.contests, strict=True):
        row[contest.places] = True
    live = torch.ones(len(plan.contests), candidates, dtype=torch.bool)
    bounds = torch.full((len(plan.contests), candidates), metric.perfect, dtype=torch.float64)
    seen, first = torch.zeros(2, candidates, dtype=torch.int64)
    failed: dict[int, OracleError | None] = {}
    for stage in plan.stages:
        wanted = (live[:, :, None] & inside[:, None, stage]).any(0)  # [C, s]
        first += live[0] * len(stage)
        for rows, columns in _rectangles(wanted):
            found, lost = _ask(oracle, maps, rows, stage[columns], cams, failures)
            values[rows[:, None], stage[columns]] = found
            kept = torch.tensor([place not in lost for place in range(len(rows))], dtype=torch.bool)
            seen[rows[kept]] += len(columns)
            failed.update({int(rows[place]): error for place, error in lost.items()})
        asked = wanted.any(1)
        if failed:
            live[:, list(failed)] = asked[list(failed)] = False
        for contest, alive, bound, own in zip(plan.contests, live, bounds, inside[:, stage], strict=True):
            rows = asked.nonzero()[:, 0] if bool(own.any()) else torch.empty(0, dtype=torch.int64)
            if not len(rows):
                continue
            bound[rows], unseen = _best_possible(metric, values[rows][:, contest.places])
            if contest.threshold is None:
                continue
            margin = bound[rows] - contest.threshold if metric.direction == "high" else contest.threshold - bound[rows]
            # A bound and the mean that it bounds are rounded each in its own way.
            lost_now = (margin <= -2 * SLACK) & unseen
            if contest.test is not None:
                racing = alive[rows] & unseen
                told = rows[racing]
                if len(told):
                    lost_now[racing] |= contest.test.rejects(told, stage[own], values[told[:, None], stage[own]])
            alive[rows[lost_now]] = False
        if not bool(live.any()):
            break
    unknown = values.isnan().view(candidates, images, -1).any(2)
    totals = [~unknown[:, contest.places].any(1) for contest in plan.contests]
    return [
        Scored(
            values[i], int(seen[i]), int(first[i]),
            [float(bound[i]) if bool(known[i]) else None for bound, known in zip(bounds, totals, strict=True)],
            bounds[:, i].tolist(), i in failed, failed.get(i),
        )
        for i in range(candidates)
    ]  # fmt: skip


def _rectangles(wanted: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns that are wanted together, of [C, s] Bool: each pair that is wanted is in one of these; columns that the
    same rows want are in one.

    >>> wanted = torch.tensor([[True, False, True], [True, True, True]])
    >>> [(rows.tolist(), columns.tolist()) for rows, columns in _rectangles(wanted)]
    [([0, 1], [0, 2]), ([1], [1])]
    """
    together: dict[tuple[bool, ...], list[int]] = {}
    for column, rows in enumerate(wanted.T.tolist()):
        together.setdefault(tuple(rows), []).append(column)
    pairs = ((torch.tensor(rows).nonzero()[:, 0], torch.tensor(columns)) for rows, columns in together.items())
    return [(rows, columns) for rows, columns in pairs if len(rows)]


def _best_possible(metric: Metric, values: Tensor) -> tuple[Tensor, Tensor]:
    """The best scores [A] that candidates may still have whose values on n images are [A, n] or [A, n, P], NaN where unseen; and
    whether there are unseen ones, [A] Bool."""
    perfect = metric.best_parts()
    unseen = values.isnan().sum(1)  # [A] or [A, P]
    means = (values.nansum(1) + torch.where(unseen > 0, perfect * unseen.double(), 0)) / values.shape[1]
    return (means if metric.combine is None else metric.combine(means)), unseen.view(len(values), -1).amax(1) > 0


def _ask(
    oracle: Scorer,
    maps: Tensor,
    candidates: Tensor,
    images: Tensor,
    cams: Sequence[Drawable] | None,
    failures: Failures | None,
) -> tuple[Tensor, dict[int, OracleError | None]]:
    """The scores of some candidates on some images, [candidates, images] or with parts [candidates, images, P], and those of them
    that have none, by their places."""

    def ask(rows: Tensor, columns: Tensor) -> Tensor:
        chosen, living = maps[candidates[rows].to(maps.device)], candidates[rows].tolist()
        asked = None if cams is None else [cams[place] for place in living]
        return oracle.score(chosen[:, images[columns].to(maps.device)], images[columns], asked)

    if failures is None:
        return ask(torch.arange(len(candidates)), torch.arange(len(images))), {}
    return failures.attempt(ask, len(candidates), len(images), parts=len(oracle.metric.parts))
