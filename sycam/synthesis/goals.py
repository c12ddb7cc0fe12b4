"""What a run searches for: the objective of the grammar file, or one metric that the user names instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Union

from sycam.errors import SycamError
from sycam.metrics.arithmetic import is_arithmetic, weighted_sum
from sycam.metrics.plugin import installed_metrics, is_oracle, load_oracle
from sycam.metrics.registry import METRICS, Metric, list_metrics
from sycam.metrics.registry import metric as metric_named
from sygus import Grammar, Problem, Term
from sygus.errors import nearest
from sygus.language.problem import Goal as FileGoal
from sygus.terms import expand, subterms

DEFAULT = "average-gain"
GLOB = "*"
"""Of a pattern of names; in a sum it multiplies."""
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


def find_metric(metric: str | Metric, *, folder: Path | None = None, timeout: float | None = None) -> Metric:
    """The metric of that name, the user's own as `load_oracle` finds it (by `file.py:Name`, as a program, or installed), or a
    weighted sum of such.

    Args:
        folder: where a relative path is looked for before the working folder.
        timeout: seconds that an oracle of the user's own may need for a query.
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise SycamError(f"a metric is a name, file.py:Name or a Metric, not {type(metric).__name__}")
    if metric in METRICS:
        return metric_named(metric)
    recipe = {"find": metric, "folder": None if folder is None else str(folder), "timeout": timeout}
    if is_oracle(metric, folder):
        return replace(load_oracle(metric, folder=folder, timeout=timeout), recipe=recipe)
    if is_arithmetic(metric):
        return replace(weighted_sum(metric, partial(find_metric, folder=folder, timeout=timeout)), recipe=recipe)
    return replace(load_oracle(metric) if ":" in metric else metric_named(metric), recipe=recipe)


def find_again(recipe: Mapping[str, Any]) -> Metric:
    """The metric that has this recipe, in another process.

    >>> find_again(find_metric("0.5*iou - 0.5*average-drop").recipe).name
    '0.5*iou-0.5*average-drop'
    """
    folder = None if recipe["folder"] is None else Path(recipe["folder"])
    own = recipe.get("own", {})
    if not own:
        return find_metric(recipe["find"], folder=folder, timeout=recipe["timeout"])
    return _sum_of_own(recipe["find"], {name: find_again(inner) for name, inner in own.items()}, recipe["timeout"])


def _sum_of_own(text: str, own: Mapping[str, Metric], timeout: float | None) -> Metric:
    """A sum in which oracles of the user's own stand by their names."""
    recipe = {"find": text, "folder": None, "timeout": timeout, "own": {name: made.recipe for name, made in own.items()}}
    return replace(weighted_sum(text, lambda name: own.get(name) or find_metric(name, timeout=timeout)), recipe=recipe)


def find_metrics(
    specs: Sequence[str], *, timeout: float | None = None, warn: Callable[[str], None] = lambda message: None
) -> list[Metric]:
    """The metrics that names, patterns (`average-[dg]*`, `all`) and sums name, each once. A sum may use the name of an oracle
    that is among them.

    Args:
        specs: as `find_metric` takes them, and patterns of the names of registered metrics and installed oracles.
        timeout: seconds that an oracle of the user's own may need for a query.
        warn: told of installed oracles that match a pattern and cannot be loaded; they are left out.

    Raises:
        SycamError: a name of none, or a pattern that none matches.

    >>> [metric.name for metric in find_metrics(["average-[dg]*", "iou", "average-drop"])]
    ['average-drop', 'average-gain', 'iou']
    """
    own = {made.name: made for made in (find_metric(spec, timeout=timeout) for spec in specs if is_oracle(spec))}

    def find(spec: str) -> list[Metric]:
        pattern = "*" if spec == "all" else spec  # a name matches itself; a sum and a file match nothing
        matched = [metric_named(name) for name in list_metrics(pattern)]
        if spec == "all" or GLOB in spec or "[" in spec:
            matched += installed_metrics(warn, pattern, timeout=timeout)
        if matched:
            return matched
        if is_arithmetic(spec) and not is_oracle(spec):
            return [_sum_of_own(spec, own, timeout)]
        return [own.get(spec) or find_metric(spec, timeout=timeout)]

    return list({made.name: made for spec in specs for made in find(spec)}.values())


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
        raise SycamError(f"{problem.file} minimises {goal}, so it is enumerated in its order; take --cost {chosen} out")
    if chosen or goal:
        return chosen or goal or SIZE
    if len(problem.weights) > 1:
        raise SycamError(f"{problem.file} declares several weights: choose one with --cost ({', '.join(known)})")
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
