"""Exact values of scalar terms at a few fixed points: to guess what is worth a proof, never instead of one."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from ..terms import BOOL, REAL, Literal, Term, fold
from .exact import Inexact, Number, core_number


class Samples:
    """Points for the variables of scalar terms, each variable's values fixed by its name.

    Args:
        nonneg: whether a variable is at least 0.
        count: how many points.

    >>> from sygus.core import apply
    >>> from sygus.terms import variable
    >>> x = variable("x", REAL)
    >>> Samples(lambda v: True, 3).never_negative(apply("+", x, x))
    True
    """

    def __init__(self, nonneg: Callable[[Term], bool], count: int = 12) -> None:
        self.nonneg, self.count = nonneg, count

    def never_negative(self, root: Term) -> bool:
        """Whether a Real term is at least 0 at every point; True too where its value is not rational."""
        try:
            return all(self.value(root, sample) >= 0 for sample in range(self.count))
        except Inexact:
            return True

    def value(self, root: Term, sample: int) -> Number:
        """The value of a scalar term at one point."""

        def visit(term: Term, args: tuple[Number, ...]) -> Number:
            if isinstance(term.symbol, Literal):
                return bool(term.value) if term.sort == BOOL else Fraction(term.value)
            return self._drawn(term, sample) if term.is_variable else core_number(term.symbol, list(args))  # type: ignore[arg-type]

        return fold(root, visit, {})

    def _drawn(self, leaf: Term, sample: int) -> Number:
        generator = random.Random(f"{leaf.name} {sample}")
        if leaf.sort == BOOL:
            return generator.random() < 0.5
        number = Fraction(generator.randint(-40, 40), 4 if leaf.sort == REAL else 1)
        return abs(number) or Fraction(1) if self.nonneg(leaf) else number
