"""Which of two candidates is better, where there are several goals: the first on which they do not tie decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sycam.errors import OracleError
from sycam.metrics.registry import Metric
from sycam.oracle import Failures, MetricOracle
from sygus import Term

from .goals import Cost, Goal
from .stopping import SLACK


class Outcome(NamedTuple):
    """A candidate against the best so far.

    Attributes:
        wins: whether it is better.
        values: of the goals that had to be known, in their order; of all of them where it wins.
        marks: what later candidates are compared with: the value of each goal. On a tie the mark stays, so that no number
            of ties within the slack adds up to more.
        ties: whether it is as good on every goal: then the first in the learner's order is better.
    """

    wins: bool
    values: tuple[float, ...] = ()
    marks: tuple[float, ...] = ()
    ties: bool = False


@dataclass(frozen=True)
class Ranking:
    """Goals in order, with what measures them on the search images.

    Args:
        goals: at least one metric, and costs.
        oracles: of each metric among the goals, in the same order; the first is the one that the loop scores with.
    """

    goals: Sequence[Goal]
    oracles: Sequence[MetricOracle]

    @property
    def cost_first(self) -> bool:
        """Whether the cost of a term goes before every metric."""
        return isinstance(self.goals[0], Cost)

    def threshold(self, marks: tuple[float, ...] | None, costs: Sequence[int]) -> float | None:
        """The mean of the first metric that a candidate with one of these costs must reach, at least to tie; None where any may
        do."""
        if marks is None or (self.cost_first and min(costs, default=0) < marks[0]):
            return None
        return marks[1 if self.cost_first else 0]

    @property
    def redraws(self) -> bool:
        """Whether a goal looks at candidates on other images, so that equal heatmaps on these do not make equal scores."""
        return any(oracle.redraws for oracle in self.oracles)

    def compare(
        self, cost: int, score: float | None, maps: Tensor, marks: tuple[float, ...] | None, term: Term | None = None
    ) -> Outcome:
        """A candidate against the marks of the best so far, None where it is the first.

        Args:
            cost: of the term.
            score: its mean by the first metric; None where it was rejected before that was known.
            maps: [1, N, h, w], its low-resolution heatmaps; the other metrics are asked only where all goals before tie.
            marks: see `Outcome`.
            term: the candidate; needed where `redraws`.
        """
        if score is None:
            return Outcome(False)
        values: list[float] = []
        for position, goal in enumerate(self.goals):
            values.append(self._value(goal, cost, score, maps, term))
            mark = None if marks is None else marks[position]
            if mark is None or _better(goal, values[-1], mark):
                values += [self._value(later, cost, score, maps, term) for later in self.goals[position + 1 :]]
                return Outcome(True, tuple(values), (*(marks or ())[:position], *values[position:]))
            if _better(goal, mark, values[-1]):
                return Outcome(False, tuple(values))
        return Outcome(False, tuple(values), marks or (), ties=True)

    def attempt(
        self,
        failures: Failures | None,
        cost: int,
        score: float | None,
        maps: Tensor,
        marks: tuple[float, ...] | None,
        term: Term | None = None,
    ) -> tuple[Outcome | None, OracleError | None]:
        """As `compare`, or why an oracle of a further goal gave no answer; neither where it is not asked any more."""
        if failures is None or len(self.oracles) == 1:  # no oracle is asked to compare
            return self.compare(cost, score, maps, marks, term), None
        return failures.once(lambda: self.compare(cost, score, maps, marks, term))

    def oracle(self, metric: Metric) -> MetricOracle:
        """What measures `metric`."""
        return next(oracle for oracle in self.oracles if oracle.metric is metric)

    def _value(self, goal: Goal, cost: int, score: float, maps: Tensor, term: Term | None) -> float:
        if isinstance(goal, Cost):
            return float(cost)
        oracle = self.oracle(goal)
        if oracle is self.oracles[0]:
            return score
        values = oracle.score(maps, torch.arange(maps.shape[1]), None if term is None else [term])
        return float(goal.aggregate(values)[0])


def _better(goal: Metric | Cost, a: float, b: float) -> bool:
    """Whether `a` is better than `b` by more than the slack."""
    return a - b > SLACK if goal.direction == "high" else b - a > SLACK
