"""Tensors on which two terms differ: what a refutation must come up with before it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..solver.process import Solver
from ..terms import BOOL, Term, Variable, expand, subterms
from ..theory import Context
from . import exact
from .fingerprint import Points
from .instance import Instance

SEARCHED = 2048
"""Random points at which a difference is looked for before cvc5 is asked for one: a few times faster, and it finds most."""


@dataclass(frozen=True)
class Point:
    """A tensor that separated two terms: values of the inputs, and the sizes of the axes."""

    values: dict[str, exact.Tensor]
    sizes: tuple[int, ...]


class Refutation:
    """Looks for tensors on which terms differ.

    Args:
        context: theory, inputs and assumptions.
        inputs: the variables that terms may have.
        solver: where cvc5 runs.
        seed: of the random points.
    """

    def __init__(self, context: Context, inputs: list[Variable], solver: Solver, seed: int = 0) -> None:
        self.context, self.inputs, self.solver, self.seed = context, inputs, solver, seed

    @cached_property
    def _points(self) -> Points:
        return Points(self.context, self.inputs, self.seed + 1, SEARCHED)

    def fingerprint(self, term: Term) -> int:
        """A hash of a term's values at the random points: terms that have different ones differ."""
        groups = range(len(self._points.groups))
        values = [self._points.evaluate(term, group, {}).each(lambda x: x[None]) for group in groups]
        level = self.context.theory.sorts.get(term.sort, len(self.context.theory.axes))
        return int(self._points.hashes(self._points.rows(values, level))[0])

    def find(self, left: Term, right: Term, alike: bool = False) -> Point | None:
        """A tensor that satisfies the assumptions and on which the two differ in exact arithmetic, where one is found.

        Args:
            left: one term.
            right: the other.
            alike: whether their fingerprints are known to be the same, so that cvc5 is asked at once.
        """
        return (None if alike else self._at_random(left, right)) or self._solved(left, right)

    def _at_random(self, left: Term, right: Term) -> Point | None:
        for group, known in enumerate(self._points.groups):
            a, b = (self._points.evaluate(term, group, {}).residue for term in (left, right))
            for place in np.argwhere(a != b)[:1, 0].tolist():
                point = Point({v.name: self._tensor(v, group, place) for v in self.inputs}, known.sizes)
                if self.separates(point, left, right):
                    return point
        return None

    def _tensor(self, variable: Variable, group: int, place: int) -> exact.Tensor:
        """The values of an input at a random point. They are small multiples of a power of two: the float is the number."""
        values = self._points.values[group][Term(variable)].approximate[place]
        level = self.context.input(variable).level
        found = values[(...,) + (0,) * (values.ndim - level)] if values.ndim > level else values
        number = bool if variable.sort == BOOL else Fraction
        return {index: number(value) for index, value in np.ndenumerate(found)}

    def _solved(self, left: Term, right: Term) -> Point | None:
        """A solution of cvc5's. An axis that neither term reduces needs one entry only."""
        reduced = {o.axis for t in subterms(expand(left), expand(right)) if (o := self.context.operator(t)) and o.reduction}
        depth = len(self.context.theory.axes)
        for entries in (1, 2) if reduced else (1,):
            sizes = tuple(entries if axis in reduced else 1 for axis in range(depth))
            instance = Instance(self.context, sizes)
            try:
                formulas = [instance.difference(left, right), *instance.facts()]
            except KeyError:  # an operator without a rational form
                return None
            model = self.solver.model(formulas)
            if model is None:
                continue
            values = instance.tensors(self.inputs, model)
            if values is not None and self.separates(point := Point(values, sizes), left, right):
                return point
        return None

    def value(self, point: Point, term: Term) -> exact.Tensor | None:
        """The value of a term on a tensor, computed exactly; None where it is not rational."""
        try:
            return exact.evaluate(term, point.values, point.sizes, self.context)
        except exact.Inexact:
            return None

    def separates(self, point: Point, left: Term, right: Term) -> bool:
        """Whether the two differ on a tensor."""
        return differ(self.value(point, left), self.value(point, right))


def differ(left: exact.Tensor | None, right: exact.Tensor | None) -> bool:
    """Whether two values differ; False where one is not known."""
    return left is not None and right is not None and not exact.same(left, right)
