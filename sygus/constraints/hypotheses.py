"""The scalar view of terms under hypotheses, its reductions keyed by the *class* of their argument.

`Abstraction` tells two means apart unless their arguments are written alike. Here cvc5 is asked as well: two arguments that are
equal for all values under what holds at every entry (assumptions, signs of atoms, hypotheses such as k > 0) have one reduction. A
number that is the same everywhere comes out of a mean in the same way: from relu(k·g) = k·relu(g), proved of the two arguments as
they stand, and the mean's linearity follows mean(relu(k·g)) = k·mean(relu(g)). No axiom is added: what is proved is an identity
of scalars at an arbitrary entry, never in one branch of a formula.

What laws put in the place of the function's arguments is looked at in this view. Terms are merged because they are equal for
the arguments as the file assumes them: the mean of mrelu A is that of A where A is nowhere negative. A law may apply the function
to something else, `(weight (mneg A) G)`; there the two terms differ, and one may obey the law and the other not. So an assumption
about an argument is used for merging only where it holds of all that the laws put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from ..constants import real
from ..equivalence.abstraction import Abstraction
from ..equivalence.normal_form import monomial_term
from ..semantics.exact import Number
from ..semantics.interpret import Context
from ..semantics.scalars import product
from ..solver.process import Solver
from ..terms import REAL, Sort, Term, Variable, substitute, subterms
from .law import Law

DEGREES = (1, 2, -1, 0, 3, -2)


class UnderHypotheses(Abstraction):
    """The scalar view of terms of one context where `hypotheses` hold, each of which is the same at all entries.

    Args:
        context: theory, inputs and assumptions.
        hypotheses: Bool terms of level 0.
        solver: where cvc5 runs.

    >>> from ..core import apply
    >>> from ..terms import variable
    >>> k = variable("k", REAL)
    >>> with Solver() as solver:
    ...     print(*UnderHypotheses(Context(), [apply(">", k, real(0))], solver).signs.facts(k))
    (> k 0.0)
    """

    def __init__(self, context: Context, hypotheses: Sequence[Term], solver: Solver) -> None:
        super().__init__(context, solver)
        self._classes: dict[tuple[Number, ...], list[Term]] = {}
        self._class: dict[Term, Term] = {}
        self._taken_out: dict[Term, tuple[Term, Term]] = {}
        self.signs.samples = []  # hypotheses are written down as they stand
        self.signs.assume([self.scalar(hypothesis) for hypothesis in hypotheses])

    def _atom(self, name: str, args: tuple[Term, ...], level: int, nonneg: bool, sort: Sort = REAL) -> Term:
        return super()._atom(name, tuple(self._representative(arg) for arg in args), level, nonneg, sort)

    def _representative(self, argument: Term) -> Term:
        """The first argument that was met of the class of this one."""
        if not self.signs.samples:
            return argument
        if argument not in self._class:
            bucket = self._classes.setdefault(self.signs.values(argument), [])
            for rival in bucket:
                if self._level(rival) == self._level(argument) and self.signs.equal(argument, rival):
                    self._class[argument] = rival
                    break
            else:
                bucket.append(argument)
                self._class[argument] = argument
        return self._class[argument]

    def _mean(self, axis: int, argument: Term) -> Term:
        if self.signs.samples and not any(self.signs.values(argument)) and self.signs.equal(argument, real(0)):
            return real(0)
        factor, rest = self._without_factors(argument)
        mean = super()._mean(axis, self._representative(rest))
        return product([factor, mean]) if factor is not real(1) else mean

    def _without_factors(self, argument: Term) -> tuple[Term, Term]:
        """`argument` as a product: of powers of variables that are the same everywhere, and of a term without them."""
        if argument not in self._taken_out:
            factors, rest = [], argument
            for v in [t for t in subterms(argument) if t.is_variable and t.sort == REAL and self._level(t) == 0]:
                unit = substitute(rest, {v: real(1)})
                degree = self._degree(rest, unit, v)
                if degree is not None and self.signs.equal(
                    rest, product([monomial_term(((v, degree),)), unit] if degree else [unit])
                ):
                    factors += [monomial_term(((v, degree),))] if degree else []
                    rest = unit
            self._taken_out[argument] = product(factors), rest
        return self._taken_out[argument]

    def _degree(self, term: Term, unit: Term, v: Term) -> int | None:
        """The d for which `term` = vᵈ·`unit` at the samples, or None."""
        rows = list(zip(self.signs.values(term), self.signs.values(unit), self.signs.values(v), strict=True))
        if not any(whole and abs(factor) not in (0, 1) for whole, _, factor in rows):
            return None
        for degree in DEGREES:
            if all(whole == _power(factor, degree) * part for whole, part, factor in rows):
                return degree
        return None


def _power(base: Number, exponent: int) -> Fraction:
    """A power with 0⁻¹ = 0."""
    return Fraction(base) ** exponent if base or exponent >= 0 else Fraction(0)


def still_assumed(laws: Sequence[Law], context: Context, solver: Solver) -> tuple[Context, list[str]]:
    """`context` with those assumptions that hold of all that the laws put in the place of the function's arguments.

    Returns:
        the context, and a sentence about each assumption that is left out.
    """
    left_out: dict[tuple[str, str], str] = {}
    for law in laws:
        for args, hypotheses in law.applications(context):
            view = UnderHypotheses(context, hypotheses, solver)
            for variable, arg in zip(law.variables, args, strict=True):
                for kind in ("nonneg", "positive", "uniform"):
                    if variable.name in getattr(context, kind) and not _holds(kind, variable, arg, law, view):
                        left_out[kind, variable.name] = (
                            f"{law.place}: the constraint applies {law.function.name} to {arg}, of which ({kind} "
                            f"{variable.name}) is not known; expressions are merged without this assumption"
                        )
    names = {
        kind: getattr(context, kind) - {name for k, name in left_out if k == kind} for kind in ("nonneg", "positive", "uniform")
    }
    return replace(context, **names), list(left_out.values())


def _holds(kind: str, variable: Variable, arg: Term, law: Law, view: UnderHypotheses) -> bool:
    if arg is Term(variable):
        return True
    if kind == "uniform":
        return law.level(arg, view.context) < len(view.context.theory.axes)
    scalar = view.scalar(arg)
    return view.signs.never_negative(scalar) if kind == "nonneg" else view.signs.always_positive(scalar)
