"""From terms over tensors to scalar terms that a solver can decide, without claiming more than is true.

One symbolic channel and pixel stand for all: an input becomes a scalar, a pointwise operator its body. A reduction becomes a
fresh constant *keyed by its normalised argument*. It must not become an uninterpreted function of its argument at that pixel: a
solver would then conclude relu(a)·S(relu a) = relu(a)·S(a) by congruence inside the branch a > 0, which no tensor obeys.

What is used of reductions: they are linear over what is constant along their axis, sum = size · mean, the mean of what is nowhere
negative is not negative, and sizes are positive. It follows that the mean is monotone, and that a mean of what is nowhere
negative is 0 only where that is 0 everywhere, which `order` and `extents` say of the terms at hand. Nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from ..core import apply, is_core
from ..terms import BOOL, INT, REAL, Function, Literal, Sort, Term, Variable, fold, real, subterms, variable
from ..theory import Context, Operator
from .meadow import TooLarge, monomial_term, polynomial, product, scaled, to_term, total
from .rectified import pulled
from .samples import Samples

LIMIT = 200_000
"""Scalar forms that are kept; the memory is emptied when there are more."""

SCALAR = frozenset({"+", "-", "*", "/", "abs", "<", "<=", ">", ">=", "=", "distinct", "ite", "and", "or", "xor", "=>", "not",
                       "to_real"})  # fmt: skip
"""Core functions that the solver knows; all others are atoms to it."""


class Abstraction:
    """The scalar view of terms of one context. Keep one for all terms that are to be compared: it names their atoms.

    Args:
        context: theory, inputs and assumptions.
        proves_nonneg: asked once for each scalar term whose mean is taken: whether it is never negative.

    >>> from sygus.theory import Context
    >>> x = variable("x", REAL)
    >>> print(Abstraction(Context()).scalar(apply("+", x, x)))
    (+ x x)
    """

    def __init__(self, context: Context, proves_nonneg: Callable[[Term], bool] = lambda _: False) -> None:
        self.context = context
        self._proves_nonneg = proves_nonneg
        self._scalar: dict[Term, Term] = {}
        self._levels: dict[Term, int] = {}
        self._nonneg: set[Term] = set()
        self._sign: dict[Term, bool] = {}
        self._extent: dict[Term, Term] = {}
        self._averaged: dict[Term, tuple[int, Term]] = {}
        self._points = Samples(self.is_nonneg)

    def scalar(self, root: Term) -> Term:
        """`root` at one symbolic channel and pixel: a core term over inputs and atoms."""
        if len(self._scalar) > LIMIT:
            self._scalar.clear()
        return fold(root, self._visit, self._scalar)

    def _visit(self, term: Term, args: tuple[Term, ...]) -> Term:
        if not isinstance(term.symbol, Function):
            if isinstance(term.symbol, Variable):
                if term.sort not in (REAL, BOOL) and term.sort.name != "Int":
                    term, original = variable(term.name, REAL), term
                    self._levels[term] = self.context.input(original.symbol).level  # type: ignore[arg-type]
                else:
                    self._levels[term] = self.context.input(term.symbol).level  # type: ignore[arg-type]
            return term
        if term.symbol.body is not None:
            return self._apply(term.symbol, args)
        operator = self.context.operator(term)
        if operator is None:
            return self._core(term.symbol, args)
        if operator.body is not None:
            return self._apply(operator, args)
        if operator.reduction in ("mean", "sum"):
            return self._linear(operator, args[0])
        level = self.context.level_of(operator, map(self._level, args))  # of `term` nothing is known: it may be a define-fun's
        nonneg = operator.reduction in ("std", "softmax")
        if operator.reduction in ("max", "min"):
            if all(self._level(arg) <= operator.axis for arg in args):
                return args[0]
            nonneg = self._never_negative(args[0])
        atom = self._atom(operator.name, args, level, nonneg, term.sort)
        if nonneg and operator.reduction == "max":
            self._extent[atom] = args[0]
        return atom

    def _apply(self, owner: Function | Operator, args: tuple[Term, ...]) -> Term:
        """The body of a pointwise operator or a define-fun at scalar arguments."""
        assert owner.body is not None
        binding: dict[Term, Term] = {Term(v): arg for v, arg in zip(owner.variables, args, strict=True)}
        return fold(owner.body, self._visit, binding)

    def _core(self, function: Function, args: tuple[Term, ...]) -> Term:
        known = is_core(function)
        if known and function.name in ("exp", "sqrt"):
            return self._atom(function.name, args, max(self._level(a) for a in args), nonneg=True)
        if not known or function.name not in SCALAR:
            level = max((self._level(a) for a in args), default=0)
            return self._atom(function.name, args, level, sort=function.result)
        return apply(function.name, *args)

    def _atom(self, name: str, args: tuple[Term, ...], level: int, nonneg: bool = False, sort: Sort = REAL) -> Term:
        """A fresh constant for an application of which nothing is known but its arguments, sums and products in one order. The
        bar, which no name of a file can hold, keeps it apart from a variable that is called alike."""
        key = ", ".join(map(str, (self._ordered(arg) for arg in args)))
        atom = variable(f"|{name}[{key}]", sort if sort in (INT, BOOL) else REAL)
        self._levels[atom] = level
        if nonneg:
            self._nonneg.add(atom)
        return atom

    def _ordered(self, argument: Term) -> Term:
        if argument.sort != REAL or not argument.args:
            return argument
        try:
            return to_term(polynomial(argument, self._is_positive))
        except TooLarge:
            return argument

    def _linear(self, operator: Operator, argument: Term) -> Term:
        """A mean or a sum: what is constant along the axis comes out, each product that is left is an atom."""
        axis = operator.axis
        size = [self.context.size(axis)] if operator.reduction == "sum" else []
        for term in size:
            self._levels[term] = 0
        argument = pulled(argument, self.is_nonneg, self._is_positive)
        try:
            terms = polynomial(argument, self._is_positive)
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
        nonneg = self._never_negative(argument)
        atom = self._atom(f"mean-{self.context.theory.axes[axis]}", (argument,), axis, nonneg)
        self._averaged[atom] = (axis, argument)
        if nonneg:
            self._extent[atom] = argument
        return atom

    def _never_negative(self, argument: Term) -> bool:
        if argument not in self._sign:
            self._sign[argument] = self.is_nonneg(argument) or self._proves_nonneg(argument)
        return self._sign[argument]

    def _level(self, root: Term) -> int:
        return max((self._levels.get(t, 0) for t in subterms(root) if t.is_variable), default=0)

    def _is_positive(self, term: Term) -> bool:
        return term.is_variable and (term.name in self.context.positive or self._is_size(term))

    def _is_size(self, term: Term) -> bool:
        return any(term is self.context.size(axis) for axis in range(len(self.context.theory.axes)))

    def is_nonneg(self, term: Term) -> bool:
        """Whether the form of a scalar term alone shows that it is at least 0."""
        if term.is_variable:
            return term in self._nonneg or term.name in self.context.nonneg or self._is_positive(term)
        if isinstance(term.symbol, Literal):
            return term.value >= 0
        if term.name == "abs":
            return True
        if term.name == "ite":
            condition, then, other = term.args
            relu = condition.name == ">" and condition.args == (then, real(0))
            return self.is_nonneg(other) and (relu or self.is_nonneg(then))
        return term.name in ("+", "*", "/") and all(self.is_nonneg(arg) for arg in term.args)

    def facts(self, *roots: Term) -> list[Term]:
        """What is known of the variables of scalar terms: the assumptions, and the signs of atoms."""
        found: list[Term] = []
        for term in subterms(*roots):
            if not term.is_variable or term.sort == BOOL:
                continue
            if self._is_positive(term):
                found.append(apply(">", term, zero(term)))
            elif self.is_nonneg(term):
                found.append(apply(">=", term, zero(term)))
        return found

    def order(self, *roots: Term) -> list[Term]:
        """Which means in `roots` are at least which others, by linearity and sign: mean(a) − mean(b) = mean(a − b), which is not
        negative where a − b is nowhere."""
        means = [term for term in subterms(*roots) if term in self._averaged]
        found = []
        for upper, lower in permutations(means, 2):
            (axis, above), (other, below) = self._averaged[upper], self._averaged[lower]
            difference = apply("-", above, below)
            if axis == other and self._may_be_nonneg(difference) and self._never_negative(difference):
                found.append(apply(">=", upper, lower))
        return found

    def _may_be_nonneg(self, term: Term) -> bool:
        return self._points.never_negative(term)

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


def zero(term: Term) -> Term:
    """0 of the sort of `term`."""
    return real(0) if term.sort == REAL else Term(Literal(0, term.sort))
