"""What a run searches for: the objective of the grammar file, or one metric that the user names instead; and which of two
candidates is better, where there are several goals: the first on which they do not tie decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Union

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.scoring import Failures, Scorer
from sygus import Grammar, Problem, Term
from sygus.errors import nearest
from sygus.language.problem import Goal as FileGoal
from sygus.terms import expand, subterms

from .stopping import SLACK

DEFAULT = "average-gain"
SIZE = "size"


@dataclass(frozen=True)
class Cost:
    """The cost of a term, by which the grammar is enumerated, as a goal: a weight that the file declares, or the size."""

    name: str
    direction = "low"


Goal = Union[Metric, Cost]


@dataclass(frozen=True)
class Goals:
    """Goals in order: a later one decides among candidates that tie on all before it.

    Attributes:
        order: at least one metric, and the cost at most once.
        cost: the name of what orders the enumeration, a weight of the file or "size".
        note: what the user should be told, or "".
    """

    order: tuple[Goal, ...]
    cost: str = SIZE
    note: str = ""

    @property
    def metric(self) -> Metric:
        """The first metric: what tables show, and what candidates are rejected early by."""
        return self.metrics[0]

    @property
    def metrics(self) -> list[Metric]:
        """Every metric, in order."""
        return [goal for goal in self.order if isinstance(goal, Metric)]

    def grammar(self, problem: Problem) -> Grammar:
        """The grammar of the file with these goals' cost as its order."""
        grammar = problem.target().grammar
        return grammar if self.cost == SIZE else grammar.by_weight(self.cost, problem.weights[self.cost].default)


def find_goals(
    problem: Problem, metric: str | Metric | None = None, cost: str | None = None, *, timeout: float | None = None
) -> Goals:
    """What a run on a file searches for.

    Args:
        problem: the file.
        metric: a metric instead of the file's objective; where neither is given, it is average-gain.
        cost: a weight of the file, or "size": what orders the enumeration. By default the weight that the objective minimises,
            or the only one that the file declares, or the size.
        timeout: seconds that an oracle of the user's own may need for a query; None for what it says itself.

    Raises:
        SycamError, SygusError: an unknown metric or weight; an objective that no run can obey, with its place.

    >>> from sygus import read
    >>> grammar = "(synth-fun w ((y Real)) Real ((W Real)) ((W Real (y (+ W W)))))"
    >>> goals = find_goals(read(f'''(set-logic ALL) (set-feature :oracles true) {grammar}
    ...     (declare-oracle-fun gain ((-> Real Real)) Real average-gain)
    ...     (optimize-synth ((! (gain w) :max)) :lexico)'''))
    >>> goals.metric.name, goals.cost
    ('average-gain', 'size')
    """
    objective = problem.objective
    if metric is not None or objective is None:
        found = find_metric(DEFAULT if metric is None else metric, timeout=timeout)
        note = "" if objective is None else f"{objective.place}: {found.name} is searched for, instead of the file's objective"
        return Goals((found,), _cost(problem, cost, None), note)
    if objective.combination == "pareto":
        raise problem.error("goals combine by :lexico only; :pareto needs an archive of candidates, which sycam does not "
                            "have yet", objective.place)  # fmt: skip
    order = tuple(_goal(goal, problem, timeout) for goal in objective.goals)
    names = [goal.name for goal in order]
    for position, goal in enumerate(order):
        if goal.name in names[:position]:
            raise problem.error(f"the goal {goal.name} comes twice", objective.goals[position].place)
    costs = [position for position, goal in enumerate(order) if isinstance(goal, Cost)]
    if len(costs) > 1:
        raise problem.error("a second weight: one of them orders the enumeration, and only that one can be a goal",
                            objective.goals[costs[1]].place)  # fmt: skip
    if len(costs) == len(order):
        raise problem.error("no goal is a metric: every heatmap is as good as another then", objective.place)
    return Goals(order, _cost(problem, cost, order[costs[0]].name if costs else None))


def _goal(goal: FileGoal, problem: Problem, timeout: float | None) -> Goal:
    target, term = problem.targets[0], goal.term
    if term.name in problem.weights and not term.args:
        if goal.direction != "min":
            raise problem.error(f"the weight {term.name} is a cost: write :min", goal.place)
        return Cost(term.name)
    oracle = problem.oracles.get(term.name)
    if oracle is None or [arg.name for arg in term.args] != [target.name]:
        raise problem.error(
            f"a goal is an oracle function of {target.name} or a weight of it, ({next(iter(problem.oracles), 'adcc')} "
            f"{target.name}) or (_ {next(iter(problem.weights), 'cost')} {target.name}); found {term}", goal.place,
        )  # fmt: skip
    try:
        found = find_metric(oracle.implementation, folder=Path(problem.file).parent, timeout=timeout)
    except SycamError as error:
        raise problem.error(str(error), oracle.place) from None
    wanted = "max" if found.direction == "high" else "min"
    if goal.direction != wanted:
        better = "higher" if wanted == "max" else "lower"
        raise problem.error(f"{found.name} is better the {better} it is: write :{wanted}", goal.place)
    return found


def _cost(problem: Problem, chosen: str | None, goal: str | None) -> str:
    """What orders the enumeration."""
    known = [*problem.weights, SIZE]
    if chosen is not None and chosen not in known:
        raise SycamError(f"no weight {chosen!r} in {problem.file}{nearest(chosen, known)}")
    if goal is not None and chosen not in (None, goal):
        raise SycamError(f"{problem.file} minimises {goal}, so it is enumerated in its order; take `cost` {chosen} out")
    if chosen or goal:
        return chosen or goal or SIZE
    if len(problem.weights) > 1:
        raise SycamError(f"{problem.file} declares several weights: choose one as `cost` ({', '.join(known)})")
    return next(iter(problem.weights), SIZE)


def check_constraints(problem: Problem) -> None:
    """Refuses a constraint on the value of an oracle function: cvc5 cannot know it.

    Raises:
        SygusError: with the place.
    """
    for term, place in problem.constraints:
        name = _oracle_in(term, problem)
        if name:
            raise problem.error(
                f"the constraint speaks of {name}, which only an oracle can answer: constraints are verified by cvc5; make "
                f"({name} ...) a goal", place,
            )  # fmt: skip


def _oracle_in(term: Term, problem: Problem) -> str | None:

    return next((t.name for t in subterms(expand(term)) if t.name in problem.oracles and t.args), None)


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


class Drawn(NamedTuple):
    """A candidate that was drawn and scored: its cost, its mean by the first metric (None where it was rejected before that was
    known), and its low-resolution heatmaps on all images, [1, N, h, w]."""

    term: Term
    cost: int
    score: float | None
    maps: Tensor


@dataclass(frozen=True)
class Ranking:
    """Goals in order, with what measures them on the search images.

    Args:
        goals: at least one metric, and costs.
        scorers: of each metric among the goals, in the same order; the first is the one that the loop scores with.
    """

    goals: Sequence[Goal]
    scorers: Sequence[Scorer]

    @classmethod
    def of(cls, goals: Sequence[Goal], scorer: Scorer) -> Ranking:
        """The goals with what measures them on the images of `scorer`, the first metric's; all count their passes together."""
        others = [goal for goal in goals if isinstance(goal, Metric) and goal is not scorer.metric]
        return cls(goals, [scorer, *(scorer.of(metric) for metric in others)])

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
        return any(scorer.redraws for scorer in self.scorers)

    def compare(self, drawn: Drawn, marks: tuple[float, ...] | None, places: Tensor | None = None) -> Outcome:
        """A candidate against the marks of the best so far, None where it is the first.

        Args:
            drawn: the candidate; metrics after the first are asked about it only where all goals before tie.
            marks: see `Outcome`.
            places: the images that count; all where None.
        """
        if drawn.score is None:
            return Outcome(False)
        values: list[float] = []
        places = torch.arange(drawn.maps.shape[1]) if places is None else places
        for position, goal in enumerate(self.goals):
            values.append(self._value(goal, drawn, places))
            mark = None if marks is None else marks[position]
            if mark is None or _better(goal, values[-1], mark):
                values += [self._value(later, drawn, places) for later in self.goals[position + 1 :]]
                return Outcome(True, tuple(values), (*(marks or ())[:position], *values[position:]))
            if _better(goal, mark, values[-1]):
                return Outcome(False, tuple(values))
        return Outcome(False, tuple(values), marks or (), ties=True)

    def attempt(
        self, failures: Failures | None, drawn: Drawn, marks: tuple[float, ...] | None, places: Tensor | None = None
    ) -> tuple[Outcome | None, OracleError | None]:
        """As `compare`, or why an oracle of a further goal gave no answer; neither where it is not asked any more."""
        if failures is None or len(self.scorers) == 1:  # no oracle is asked to compare
            return self.compare(drawn, marks, places), None
        return failures.once(lambda: self.compare(drawn, marks, places))

    @property
    def scorer(self) -> Scorer:
        """That of the first metric, with which the loop scores."""
        return self.scorers[0]

    def scorer_of(self, metric: Metric) -> Scorer:
        """What measures `metric`."""
        return next(scorer for scorer in self.scorers if scorer.metric is metric)

    def _value(self, goal: Goal, drawn: Drawn, places: Tensor) -> float:
        if isinstance(goal, Cost):
            return float(drawn.cost)
        scorer = self.scorer_of(goal)
        if scorer is self.scorer:
            assert drawn.score is not None
            return drawn.score
        values = scorer.score(drawn.maps[:, places.to(drawn.maps.device)], places, [drawn.term])
        return float(goal.aggregate(values)[0])


def _better(goal: Metric | Cost, a: float, b: float) -> bool:
    """Whether `a` is better than `b` by more than the slack."""
    return a - b > SLACK if goal.direction == "high" else b - a > SLACK
