"""From terms over tensors to scalar terms that a solver can decide, without claiming more than is true.

One symbolic channel and pixel stand for all: an input becomes a scalar, a pointwise operator its body. A reduction becomes a
fresh constant *keyed by its normalised argument*. It must not become an uninterpreted function of its argument at that pixel: a
solver would then conclude relu(a)·S(relu a) = relu(a)·S(a) by congruence inside the branch a > 0, which no tensor obeys.

What is used of reductions: they are linear over what is constant along their axis, sum = size · mean, the mean of what is nowhere
negative is not negative, and sizes are positive. It follows that the mean is monotone, and that a mean of what is nowhere
negative is 0 only where that is 0 everywhere, which `order` and `extents` say of the terms at hand. Nothing else.
"""

from __future__ import annotations

from itertools import permutations

from ..constants import real
from ..core import Sign, apply, described
from ..semantics.interpret import Context, Domain, interpret
from ..semantics.scalars import CORE, product, scaled, total
from ..solver.process import Solver
from ..terms import BOOL, INT, REAL, Function, Sort, Term, Variable, subterms, variable
from ..theory import REDUCTIONS, Operator
from .normal_form import TooLarge, monomial_term, polynomial, pulled, to_term
from .signs import Signs

LIMIT = 200_000
"""Scalar forms that are kept; the memory is emptied when there are more."""


class Abstraction(Domain[Term]):
    """The scalar view of terms of one context. Keep one for all terms that are to be compared: it names their atoms.

    Args:
        context: theory, inputs and assumptions.
        solver: where cvc5 runs, which is asked once for each scalar term whose reduction is taken whether it is never negative.

    >>> from sygus.core import apply
    >>> x = variable("x", REAL)
    >>> print(Abstraction(Context()).scalar(apply("+", x, x)))
    (+ x x)
    """

    core = CORE

    def __init__(self, context: Context, solver: Solver | None = None) -> None:
        super().__init__(context)
        self.signs = Signs(context, solver)
        self._scalar: dict[Term, Term] = {}
        self._levels: dict[Term, int] = {}
        self._extent: dict[Term, Term] = {}
        self._averaged: dict[Term, tuple[int, Term]] = {}

    def scalar(self, root: Term) -> Term:
        """`root` at one symbolic channel and pixel: a core term over inputs and atoms."""
        if len(self._scalar) > LIMIT:
            self._scalar.clear()
        return interpret(root, self, self._scalar)

    def literal(self, term: Term) -> Term:
        return term

    def variable(self, term: Term) -> Term:
        assert isinstance(term.symbol, Variable)
        scalar = term if term.sort in (REAL, BOOL, INT) else variable(term.name, REAL)
        self._levels[scalar] = self.context.input(term.symbol).level
        return scalar

    def reduced(self, operator: Operator, value: Term) -> Term:
        assert operator.reduction is not None
        known, axis = REDUCTIONS[operator.reduction], operator.axis
        if known.averages is not None:
            return self._linear(axis, known.averages, value)
        if known.selects and self._level(value) <= axis:
            return value
        nonneg = known.sign is Sign.NEVER_NEGATIVE or (known.sign is Sign.KEPT and self.signs.never_negative(value))
        level = self.context.level_of(operator, [self._level(value)])
        atom = self._atom(operator.name, (value,), level, nonneg, operator.result)
        if nonneg and known.shows_zero:
            self._extent[atom] = value
        return atom

    def unknown(self, term: Term, args: tuple[Term, ...]) -> Term:
        assert isinstance(term.symbol, Function), "Context.check refuses quantifiers"
        operator, known, levels = self.context.operator(term), described(term.symbol), [self._level(arg) for arg in args]
        level = max(levels, default=0) if operator is None else self.context.level_of(operator, levels)
        nonneg = known is not None and known.sign is Sign.NEVER_NEGATIVE
        return self._atom(term.name, args, level, nonneg, term.sort)

    def _atom(self, name: str, args: tuple[Term, ...], level: int, nonneg: bool, sort: Sort = REAL) -> Term:
        """A fresh constant for an application of which nothing is known but its arguments, sums and products in one order. The
        bar, which no name of a file can hold, keeps it apart from a variable that is called alike."""
        key = ", ".join(map(str, (self._ordered(arg) for arg in args)))
        atom = variable(f"|{name}[{key}]", sort if sort in (INT, BOOL) else REAL)
        self._levels[atom] = level
        if nonneg:
            self.signs.never_negative_atoms.add(atom)
        return atom

    def _ordered(self, argument: Term) -> Term:
        if argument.sort != REAL or not argument.args:
            return argument
        try:
            return to_term(polynomial(argument, self.signs.is_positive))
        except TooLarge:
            return argument

    def _linear(self, axis: int, power: int, argument: Term) -> Term:
        """The mean over `axis` times a power of its size: what is constant along the axis comes out, each product that is left
        is an atom."""
        size = [self.context.size(axis)] * power
        self._levels.update(dict.fromkeys(size, 0))
        argument = pulled(argument, self.signs.by_form, self.signs.is_positive)
        try:
            terms = polynomial(argument, self.signs.is_positive)
        except TooLarge:
            return product([*size, self._mean(axis, argument)])
        summands: list[Term] = []
        for monomial, coefficient in sorted(terms.items(), key=lambda item: [(a.serial, e) for a, e in item[0]]):
            outside = tuple((a, e) for a, e in monomial if self._level(a) <= axis)
            inside = tuple((a, e) for a, e in monomial if self._level(a) > axis)
            factors = list(size)
            if outside:
                factors.append(monomial_term(outside))
            if inside:
                factors.append(self._mean(axis, monomial_term(inside)))
            summands.append(scaled(coefficient, product(factors)))
        return total(summands)

    def _mean(self, axis: int, argument: Term) -> Term:
        nonneg = self.signs.never_negative(argument)
        atom = self._atom(f"mean-{self.context.theory.axes[axis]}", (argument,), axis, nonneg)
        self._averaged[atom] = (axis, argument)
        if nonneg:
            self._extent[atom] = argument
        return atom

    def _level(self, root: Term) -> int:
        return max((self._levels.get(t, 0) for t in subterms(root) if t.is_variable), default=0)

    def order(self, *roots: Term) -> list[Term]:
        """Which means in `roots` are at least which others, by linearity and sign: mean(a) − mean(b) = mean(a − b), which is not
        negative where a − b is nowhere."""
        means = [term for term in subterms(*roots) if term in self._averaged]
        found = []
        for upper, lower in permutations(means, 2):
            (axis, above), (other, below) = self._averaged[upper], self._averaged[lower]
            difference = apply("-", above, below)
            if axis == other and self.signs.may_be_nonneg(difference) and self.signs.never_negative(difference):
                found.append(apply(">=", upper, lower))
        return found

    def extents(self, *roots: Term) -> list[Term]:
        """Which means and maxima of what is nowhere negative are 0 only where that is 0 everywhere, and so at the one symbolic
        place: the sum of all entries is this one and others, none negative. Left out where it would bring a division in."""
        found: dict[Term, Term] = {}
        todo = list(roots)
        for root in todo:
            for atom in subterms(root):
                argument = self._extent.get(atom)
                if argument is None or atom in found or any(t.name == "/" and t.args for t in subterms(argument)):
                    continue
                found[atom] = apply("=>", apply("=", atom, real(0)), apply("=", argument, real(0)))
                todo.append(argument)
        return list(found.values())

    def varies(self, leaf: Term) -> bool:
        """Whether a variable of scalar terms, an input or an atom, may differ from entry to entry of the outermost axis."""
        return self._levels[leaf] > 0
