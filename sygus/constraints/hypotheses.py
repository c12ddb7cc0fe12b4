"""The scalar view of terms under hypotheses, its reductions keyed by the *class* of their argument.

`Abstraction` tells two means apart unless their arguments are written alike. Here cvc5 is asked as well: two arguments that are
equal for all values under what holds at every entry (assumptions, signs of atoms, hypotheses such as k > 0) have one reduction. A
number that is the same everywhere comes out of a mean in the same way: from relu(k·g) = k·relu(g), proved of the two arguments as
they stand, and the mean's linearity follows mean(relu(k·g)) = k·mean(relu(g)). No axiom is added: what is proved is an identity
of scalars at an arbitrary entry, never in one branch of a formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..core import apply
from ..equivalence.abstraction import Abstraction
from ..equivalence.exact import Number
from ..equivalence.meadow import monomial_term, product
from ..solver.process import Claim, Solver
from ..terms import REAL, Sort, Term, real, substitute, subterms
from ..theory import Context

DEGREES = (1, 2, -1, 0, 3, -2)
SAMPLES, TRIES = 6, 200


class UnderHypotheses(Abstraction):
    """The scalar view of terms of one context where `hypotheses` hold, each of which is the same at all entries.

    Args:
        context: theory, inputs and assumptions.
        hypotheses: Bool terms of level 0.
        solver: where cvc5 runs.

    >>> from ..core import apply
    >>> from ..terms import REAL, variable
    >>> k = variable("k", REAL)
    >>> with Solver() as solver:
    ...     print(*UnderHypotheses(Context(), [apply(">", k, real(0))], solver).facts(k))
    (> k 0.0)
    """

    def __init__(self, context: Context, hypotheses: Sequence[Term], solver: Solver) -> None:
        super().__init__(context, self.nonneg)
        self.solver = solver
        self.hypotheses: tuple[Term, ...] = ()
        self._classes: dict[tuple[Number, ...], list[Term]] = {}
        self._class: dict[Term, Term] = {}
        self._taken_out: dict[Term, tuple[Term, Term]] = {}
        self._samples: list[int] = []
        scalars = [self.scalar(hypothesis) for hypothesis in hypotheses]
        self._samples = self._satisfying(scalars)
        self.hypotheses = tuple(scalars)

    def facts(self, *roots: Term) -> list[Term]:
        """What is known of the variables of scalar terms, the hypotheses among it."""
        return [*super().facts(*roots, *self.hypotheses), *self.hypotheses]

    def equal(self, left: Term, right: Term) -> bool:
        """Whether cvc5 proves two scalar terms equal at every entry."""
        claim = Claim(left, right, tuple(self.facts(left, right)))
        return left is right or self.solver.equal([claim]) == ["equal"]

    def nonneg(self, argument: Term) -> bool:
        """Whether cvc5 proves that a scalar term is nowhere negative."""
        return self.equal(apply("ite", apply("<", argument, real(0)), real(1), real(0)), real(0))

    def _atom(self, name: str, args: tuple[Term, ...], level: int, nonneg: bool = False, sort: Sort = REAL) -> Term:
        return super()._atom(name, tuple(self._representative(arg) for arg in args), level, nonneg, sort)

    def _representative(self, argument: Term) -> Term:
        """The first argument that was met of the class of this one."""
        if not self._samples:
            return argument
        if argument not in self._class:
            bucket = self._classes.setdefault(self._values(argument), [])
            for rival in bucket:
                if self._level(rival) == self._level(argument) and self.equal(argument, rival):
                    self._class[argument] = rival
                    break
            else:
                bucket.append(argument)
                self._class[argument] = argument
        return self._class[argument]

    def _mean(self, axis: int, argument: Term) -> Term:
        if self._samples and not any(self._values(argument)) and self.equal(argument, real(0)):
            return real(0)
        factor, rest = self._without_factors(argument)
        mean = super()._mean(axis, self._representative(rest))
        return product([factor, mean]) if factor is not real(1) else mean

    def _may_be_nonneg(self, term: Term) -> bool:
        return all(value >= 0 for value in self._values(term))

    def _without_factors(self, argument: Term) -> tuple[Term, Term]:
        """`argument` as a product: of powers of variables that are the same everywhere, and of a term without them."""
        if argument not in self._taken_out:
            factors, rest = [], argument
            for v in [t for t in subterms(argument) if t.is_variable and t.sort == REAL and self._level(t) == 0]:
                unit = substitute(rest, {v: real(1)})
                degree = self._degree(rest, unit, v)
                if degree is not None and self.equal(rest, product([monomial_term(((v, degree),)), unit] if degree else [unit])):
                    factors += [monomial_term(((v, degree),))] if degree else []
                    rest = unit
            self._taken_out[argument] = product(factors), rest
        return self._taken_out[argument]

    def _degree(self, term: Term, unit: Term, v: Term) -> int | None:
        """The d for which `term` = vᵈ·`unit` at the samples, or None."""
        rows = list(zip(self._values(term), self._values(unit), self._values(v), strict=True))
        if not any(whole and abs(factor) not in (0, 1) for whole, _, factor in rows):
            return None
        for degree in DEGREES:
            if all(whole == _power(factor, degree) * part for whole, part, factor in rows):
                return degree
        return None

    # Samples: exact values at a few points that satisfy the hypotheses, to guess what is worth a proof --------------------

    def _satisfying(self, hypotheses: list[Term]) -> list[int]:
        satisfied = (i for i in range(TRIES) if all(self._points.value(h, i) for h in hypotheses))
        return [i for i, _ in zip(satisfied, range(SAMPLES), strict=False)]

    def _values(self, term: Term) -> tuple[Number, ...]:
        return tuple(self._points.value(term, sample) for sample in self._samples)


def _power(base: Number, exponent: int) -> Fraction:
    """A power with 0⁻¹ = 0."""
    return Fraction(base) ** exponent if base or exponent >= 0 else Fraction(0)
