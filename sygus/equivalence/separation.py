"""Tensors on which two terms differ: what a refutation must come up with before it is believed.

The one search: at random points first, and then as a model of cvc5's, each believed when exact arithmetic agrees. That a
candidate breaks a law is the same question, of the law and `true`; that two terms are not proportional is put to cvc5 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..core import apply
from ..semantics import exact
from ..semantics.exact import Inexact, level_of
from ..semantics.interpret import Context, interpret
from ..semantics.scalars import Instance
from ..solver.process import Solver
from ..terms import BOOL, Term, Variable, expand, subterms
from .fingerprint import Points

SEARCHED = 2048
"""Random points at which a difference is looked for before cvc5 is asked for one: a few times faster, and it finds most."""
SHOWN = 120


@dataclass(frozen=True)
class Point:
    """A tensor that separates two terms.

    Attributes:
        values: of each input, one number for each entry of its axes.
        sizes: entries along each axis.
    """

    values: dict[str, exact.Tensor]
    sizes: tuple[int, ...]

    def value(self, term: Term, context: Context) -> exact.Tensor | None:
        """The value of a term here, computed exactly; None where it is not rational."""
        try:
            return exact.evaluate(term, self.values, self.sizes, context)
        except Inexact:
            return None

    def separates(self, left: Term, right: Term, context: Context) -> bool:
        """Whether two terms differ here; False where that is not known."""
        return differ(self.value(left, context), self.value(right, context))

    def __str__(self) -> str:
        """`A = [[0, 1/2]], k = 2`: channels, and in each its pixels."""
        if not self.values:
            return "whatever the values"
        text = ", ".join(f"{name} = {_nested(value)}" for name, value in self.values.items())
        return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _nested(value: exact.Tensor, index: exact.Index = ()) -> str:
    if index in value:
        return str(value[index])
    entries = sorted({i[: len(index) + 1] for i in value if i[: len(index)] == index})
    return f"[{', '.join(_nested(value, entry) for entry in entries)}]"


def differ(left: exact.Tensor | None, right: exact.Tensor | None) -> bool:
    """Whether two values differ; False where one is not known."""
    return left is not None and right is not None and not exact.same(left, right)


def difference(instance: Instance, left: Term, right: Term) -> Term:
    """A formula that says: at some entry the two differ."""
    values = [interpret(term, instance) for term in (left, right)]
    level = max(map(level_of, values))
    a, b = (instance.at_every_index(value, level) for value in values)
    cases = [apply("distinct", a[index], b[index]) for index in a]
    return apply("or", *cases) if len(cases) > 1 else cases[0]


class Separation:
    """Looks for tensors on which terms differ.

    Args:
        context: theory, inputs and assumptions.
        inputs: the variables that terms may have.
        solver: where cvc5 runs.
        seed: of the random points.
        points: those to take, in place of new ones.
    """

    def __init__(
        self, context: Context, inputs: list[Variable], solver: Solver, seed: int = 0, points: Points | None = None
    ) -> None:
        self.context, self.inputs, self.solver, self.seed = context, inputs, solver, seed
        if points is not None:
            self.points = points

    @cached_property
    def points(self) -> Points:
        """The random points."""
        return Points(self.context, self.inputs, self.seed + 1, SEARCHED)

    def fingerprint(self, term: Term) -> int:
        """A hash of a term's values at the random points: terms that have different ones differ."""
        groups = range(len(self.points.groups))
        values = [self.points.evaluate(term, group, {}).each(lambda x: x[None]) for group in groups]
        level = self.context.theory.sorts.get(term.sort, len(self.context.theory.axes))
        return int(self.points.hashes(self.points.rows(values, level))[0])

    def find(self, left: Term, right: Term, alike: bool = False) -> Point | None:
        """A tensor that satisfies the assumptions and on which the two differ in exact arithmetic, where one is found.

        Args:
            left: one term.
            right: the other.
            alike: whether their fingerprints are known to be the same, so that cvc5 is asked at once.
        """
        return (None if alike else self.at_points(left, right)) or self.where_different(left, right, self._sizes(left, right))

    def at_points(self, left: Term, right: Term) -> Point | None:
        """A random point at which the two differ. Where a term leaves the rationals its values there are made up, so that only
        the first place of each group is looked at."""
        for group, known in enumerate(self.points.groups):
            a, b = (self.points.evaluate(term, group, {}).residue for term in (left, right))
            for place in np.argwhere(a != b)[:1, 0].tolist():
                point = Point({v.name: self._tensor(v, group, place) for v in self.inputs}, known.sizes)
                if point.separates(left, right, self.context):
                    return point
        return None

    def _tensor(self, variable: Variable, group: int, place: int) -> exact.Tensor:
        """The values of an input at a random point. They are small multiples of a power of two: the float is the number."""
        values = self.points.values[group][Term(variable)].approximate[place]
        level = self.context.input(variable).level
        found = values[(...,) + (0,) * (values.ndim - level)] if values.ndim > level else values
        number = bool if variable.sort == BOOL else Fraction
        return {index: number(value) for index, value in np.ndenumerate(found)}

    def _sizes(self, left: Term, right: Term) -> list[tuple[int, ...]]:
        """Sizes of small tensors. An axis that neither term reduces needs one entry only."""
        reduced = {o.axis for t in subterms(expand(left), expand(right)) if (o := self.context.operator(t)) and o.reduction}
        axes = range(len(self.context.theory.axes))
        return [tuple(entries if axis in reduced else 1 for axis in axes) for entries in ((1, 2) if reduced else (1,))]

    def where_different(self, left: Term, right: Term, sizes: Iterable[tuple[int, ...]]) -> Point | None:
        """A model of cvc5's in which the two differ, at the first of `sizes` that has one."""
        return self.by_model(
            lambda instance: difference(instance, left, right), lambda point: point.separates(left, right, self.context), sizes
        )

    def by_model(
        self, formula: Callable[[Instance], Term], believed: Callable[[Point], bool], sizes: Iterable[tuple[int, ...]]
    ) -> Point | None:
        """A tensor of one of `sizes` for which `formula` has a solution that is `believed`; None where cvc5 finds none, and where
        the formula is not one of rational numbers."""
        for size in sizes:
            instance = Instance(self.context, size)
            try:
                formulas = [formula(instance), *instance.facts()]
            except Inexact:
                return None
            model = self.solver.model(formulas)
            values = None if model is None else instance.tensors(self.inputs, model)
            if values is not None and believed(point := Point(values, size)):
                return point
        return None
