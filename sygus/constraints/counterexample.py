"""Tensors that break a law: found at random points or as a model of cvc5's, believed when exact arithmetic agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..equivalence import exact
from ..equivalence.fingerprint import Points
from ..equivalence.instance import Instance
from ..solver.process import Solver
from ..terms import BOOL, Term, Variable
from ..theory import Context
from .law import TRUE, Law

SHOWN = 120


@dataclass(frozen=True)
class Counterexample:
    """A valuation of a law's variables at which a candidate breaks it.

    Attributes:
        law: what is broken.
        values: of each variable, one number for each entry of its axes.
        sizes: entries along each axis.
    """

    law: Law
    values: dict[str, exact.Tensor]
    sizes: tuple[int, ...]

    def breaks(self, candidate: Term, context: Context) -> bool:
        """Whether `candidate` breaks the law here; False where its value is not rational and so not known."""
        try:
            value = exact.evaluate(self.law.of(candidate), self.values, self.sizes, context)
        except exact.Inexact:
            return False
        return not all(value.values())

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


def at_points(law: Law, candidate: Term, points: Points) -> Iterator[Counterexample]:
    """The points at which `candidate` seems to break `law`, the first of each group. Where a term leaves the rationals, its
    values there are made up: `Counterexample.breaks` tells."""
    term = law.of(candidate)
    for number, group in enumerate(points.groups):
        holds = points.evaluate(term, number, {}).residue
        holds = holds.reshape(holds.shape[0], -1).min(1) if holds.ndim else holds
        broken = np.flatnonzero(np.broadcast_to(holds, (group.count,)) == 0)
        if len(broken):
            yield Counterexample(law, {v.name: _at(v, points, number, int(broken[0])) for v in law.inputs()}, group.sizes)


def _at(variable: Variable, points: Points, number: int, place: int) -> exact.Tensor:
    """The value of a variable at one point of a group. A drawn float is exact."""
    group, level = points.groups[number], points.context.input(variable).level
    drawn = points.values[number][Term(variable)].approximate
    entries = np.broadcast_to(drawn, group.shape(len(group.sizes)))[place]
    constant = (0,) * (len(group.sizes) - level)
    exactly = bool if variable.sort == BOOL else lambda value: Fraction(float(value))
    return {index: exactly(entries[index + constant]) for index in np.ndindex(*group.sizes[:level])}


def by_model(law: Law, candidate: Term, context: Context, solver: Solver) -> Counterexample | None:
    """A small tensor at which `candidate` breaks `law`, or None where cvc5 finds none."""
    term, depth = law.of(candidate), len(context.theory.axes)
    for sizes in [(1,) * depth, (1,) * (depth - 1) + (2,), (2,) * depth] if depth else [()]:
        instance = Instance(context, sizes)
        try:
            formulas = [instance.difference(term, TRUE), *instance.facts()]
        except KeyError:  # an operator without a rational form
            return None
        model = solver.model(formulas)
        if model is None:
            continue
        values = instance.tensors(law.inputs(), model)
        if values is not None and (found := Counterexample(law, values, sizes)).breaks(candidate, context):
            return found
    return None
