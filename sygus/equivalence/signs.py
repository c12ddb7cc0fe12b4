"""What is known of the signs of scalar terms, and the one place that decides whether one is never negative.

Three answers, each dearer than the last: by the form of the term, by its values at a few points (which can only say no), by cvc5.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..constants import real
from ..core import FUNCTIONS, Sign, apply
from ..semantics.exact import Inexact, Number, Samples
from ..semantics.interpret import Context
from ..semantics.scalars import zero
from ..solver.process import Claim, Solver
from ..terms import BOOL, Literal, Term, subterms

SAMPLES = 12
HYPOTHETICAL, TRIES = 6, 200
"""How many points satisfy hypotheses, and how many are tried to find them."""


class Signs:
    """Signs of scalar terms of one context.

    Args:
        context: the assumptions.
        solver: where cvc5 runs; without one, only forms are looked at.

    Attributes:
        never_negative_atoms: variables that stand for something that is at least 0 everywhere.
        hypotheses: scalar terms of sort Bool that hold besides.

    >>> from sygus.terms import REAL, variable
    >>> x = variable("x", REAL)
    >>> signs = Signs(Context(nonneg=frozenset({"x"})))
    >>> signs.by_form(apply("+", x, real(1))), signs.by_form(apply("-", x, real(1)))
    (True, False)
    """

    def __init__(self, context: Context, solver: Solver | None = None) -> None:
        self.context, self.solver = context, solver
        self.never_negative_atoms: set[Term] = set()
        self.hypotheses: tuple[Term, ...] = ()
        self.samples = list(range(SAMPLES))
        self._points = Samples(self.by_form)
        self._decided: dict[Term, bool] = {}

    def assume(self, hypotheses: Iterable[Term]) -> None:
        """Takes further facts in. The sample points are then those at which they hold."""
        self.hypotheses = tuple(hypotheses)
        satisfied = (i for i in range(TRIES) if all(self._points.value(h, i) for h in self.hypotheses))
        self.samples = [i for i, _ in zip(satisfied, range(HYPOTHETICAL), strict=False)]

    def is_positive(self, atom: Term) -> bool:
        """Whether an atom is assumed to be above 0."""
        return atom.is_variable and (atom.name in self.context.positive or self._is_size(atom))

    def _is_size(self, atom: Term) -> bool:
        return any(atom is self.context.size(axis) for axis in range(len(self.context.theory.axes)))

    def by_form(self, term: Term) -> bool:
        """Whether the form of a scalar term alone shows that it is at least 0."""
        if term.is_variable:
            return term in self.never_negative_atoms or term.name in self.context.nonneg or self.is_positive(term)
        if isinstance(term.symbol, Literal):
            return term.value >= 0
        if term.name == "ite":
            condition, then, other = term.args
            rectified = condition.name == ">" and condition.args == (then, real(0))
            return self.by_form(other) and (rectified or self.by_form(then))
        sign = FUNCTIONS[term.name].sign
        return sign is Sign.NEVER_NEGATIVE or (sign is Sign.KEPT and all(self.by_form(arg) for arg in term.args))

    def values(self, term: Term) -> tuple[Number, ...]:
        """The value of a scalar term at each sample point."""
        return tuple(self._points.value(term, sample) for sample in self.samples)

    def may_be_nonneg(self, term: Term) -> bool:
        """Whether a scalar term is negative at no sample point; True where that is not known."""
        try:
            return all(self._points.value(term, sample) >= 0 for sample in self.samples)
        except Inexact:
            return True

    def never_negative(self, term: Term) -> bool:
        """Whether a scalar term is known to be at least 0 everywhere: by its form, or because cvc5 proves it."""
        if term not in self._decided:
            negative = apply("ite", apply("<", term, zero(term)), real(1), real(0))
            self._decided[term] = self.by_form(term) or self.equal(negative, real(0))
        return self._decided[term]

    def always_positive(self, term: Term) -> bool:
        """Whether cvc5 proves that a scalar term is above 0 everywhere."""
        return self.equal(apply("ite", apply(">", term, zero(term)), real(0), real(1)), real(0))

    def equal(self, left: Term, right: Term) -> bool:
        """Whether cvc5 proves two scalar terms equal, with what is known of their variables."""
        if left is right or self.solver is None:
            return left is right
        return self.solver.equal([Claim(left, right, tuple(self.facts(left, right)))]) == ["equal"]

    def facts(self, *roots: Term) -> list[Term]:
        """What is known of the variables of scalar terms: the assumptions, the signs of atoms, the hypotheses."""
        found: list[Term] = []
        for term in subterms(*roots, *self.hypotheses):
            if not term.is_variable or term.sort == BOOL:
                continue
            if self.is_positive(term):
                found.append(apply(">", term, zero(term)))
            elif self.by_form(term):
                found.append(apply(">=", term, zero(term)))
        return [*found, *self.hypotheses]
