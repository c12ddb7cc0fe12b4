"""Theories: what a declared function means, given once, from which fingerprints, proofs and tensors all follow.

A theory lives over *axes*, outermost first; plain SyGuS-IF has none, the CAM theory has `("channel", "pixel")`. A value of
level ℓ varies over the first ℓ axes and is constant over the others: with those axes a logit has level 0, a channel weight
1, a map 2. An operator is one of three things:

- *pointwise*: a SyGuS-IF term over its arguments, applied at every channel and pixel (`m*` is `(* x y)`);
- a *reduction* over one axis (`gap` is the mean over pixels);
- *opaque*: nothing is known but that equal arguments give equal results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from .core import Sign, described
from .errors import SygusError, nearest
from .terms import Function, Sort, Term, Variable


@dataclass(frozen=True)
class Reduction:
    """What holds of a kind of reduction in every domain.

    Attributes:
        keeps_axis: whether it has a value at each entry of its axis, where others have one for all.
        averages: n, where it is the mean times the nth power of the number of entries; None for all others.
        selects: whether its value is one of the entries.
        sign: what is known of its sign from that of the entries.
        shows_zero: whether entries of which none is negative are all 0 where it is 0.
    """

    keeps_axis: bool = False
    averages: int | None = None
    selects: bool = False
    sign: Sign = Sign.UNKNOWN
    shows_zero: bool = False


REDUCTIONS: dict[str, Reduction] = {
    "mean": Reduction(averages=0, sign=Sign.KEPT, shows_zero=True),
    "sum": Reduction(averages=1, sign=Sign.KEPT, shows_zero=True),
    "max": Reduction(selects=True, sign=Sign.KEPT, shows_zero=True),
    "min": Reduction(selects=True, sign=Sign.KEPT),
    "std": Reduction(sign=Sign.NEVER_NEGATIVE),
    "softmax": Reduction(keeps_axis=True, sign=Sign.NEVER_NEGATIVE),
}
"""The kinds of reductions. What makes a new one: an entry here, and one in the table `REDUCTIONS` of each domain that can have
its values. Of one that a domain does not list nothing is known there, but that equal arguments give equal results."""


@dataclass(frozen=True)
class Operator:
    """A declared function with its meaning.

    Attributes:
        name: the symbol in files.
        parameters, result: its signature.
        variables, body: for a pointwise operator, the scalar term it applies everywhere.
        reduction: its kind, one of `REDUCTIONS`, or None.
        axis: the index of the axis reduced.
        doc: one line for people.
    """

    name: str
    parameters: tuple[Sort, ...]
    result: Sort
    variables: tuple[Variable, ...] = ()
    body: Term | None = None
    reduction: str | None = None
    axis: int = 0
    doc: str = ""

    @property
    def commutative(self) -> bool:
        """Whether the two arguments may be swapped: the body is one commutative core function of both."""
        body = self.body
        if body is None or not isinstance(body.symbol, Function) or len(body.args) != 2:
            return False
        if len(self.parameters) != 2 or self.parameters[0] != self.parameters[1]:
            return False
        known = described(body.symbol)
        return known is not None and known.commutative and set(body.args) == {Term(v) for v in self.variables}

    @property
    def keeps_axes(self) -> bool:
        """Whether it varies over every axis over which an argument does."""
        return self.reduction is None or REDUCTIONS[self.reduction].keeps_axis

    @cached_property
    def function(self) -> Function:
        """The symbol that terms carry."""
        return Function(self.name, self.parameters, self.result)


@dataclass(eq=False)
class Theory:
    """A set of sorts and operators over axes. `sorts` gives the level of each sort: the highest that a value of it has."""

    name: str = "core"
    axes: tuple[str, ...] = ()
    sorts: dict[Sort, int] = field(default_factory=dict)
    operators: dict[str, Operator] = field(default_factory=dict)

    def add(self, operator: Operator) -> Operator:
        """Registers `operator`.

        Raises:
            SygusError: for a second one of the same name, for one whose kind of reduction is unknown, and for one that reduces an
                axis and leaves one within it: what varies over the inner axis varies over the outer one.
        """
        if operator.reduction is not None and operator.reduction not in REDUCTIONS:
            raise SygusError(f"unknown reduction {operator.reduction!r}{nearest(operator.reduction, REDUCTIONS)}")
        if operator.name in self.operators:
            raise SygusError(f"operator {operator.name!r} is registered twice in theory {self.name!r}")
        if not operator.keeps_axes:
            sort, axis = operator.parameters[0], operator.axis
            if self.sorts.get(sort, len(self.axes)) > axis + 1:
                raise SygusError(
                    f"operator {operator.name!r} takes the {operator.reduction} over each {self.axes[axis]} of a {sort}, which "
                    f"varies over each {self.axes[axis + 1]} too: reduce that first"
                )
        self.operators[operator.name] = operator
        return operator

    def bind(self, name: str, parameters: tuple[Sort, ...], result: Sort) -> Function:
        """The function that `(declare-fun name parameters result)` means here.

        Raises:
            SygusError: if the theory has no such name, or has it with another signature.
        """
        operator = self.operators.get(name)
        if operator is None:
            raise SygusError(f"theory {self.name!r} has no operator {name!r}{nearest(name, self.operators)}")
        if (operator.parameters, operator.result) != (parameters, result):
            raise SygusError(
                f"operator {name!r} is ({' '.join(map(str, operator.parameters))}) {operator.result} in theory "
                f"{self.name!r}, declared here as ({' '.join(map(str, parameters))}) {result}"
            )
        return operator.function


CORE = Theory()
