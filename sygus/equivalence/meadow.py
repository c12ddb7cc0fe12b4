"""Sums of products over a field with total division (a *meadow*: x / 0 = 0), as a normal form.

A monomial is a product of atoms with integer exponents. Since 0⁻¹ = 0, inverses distribute over products and
x·x·x⁻¹ = x, but x·x⁻¹ is not 1: it is the exponent 0, kept in the monomial, which stands for 1 where x ≠ 0 and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from ..core import apply, divide
from ..terms import Function, Literal, Term, fold, real

Monomial = tuple[tuple[Term, int], ...]
Polynomial = dict[Monomial, Fraction]
LIMIT = 64


class TooLarge(Exception):
    """The sum has more than `LIMIT` monomials: not worth expanding."""


def polynomial(root: Term, nonzero: Callable[[Term], bool]) -> Polynomial:
    """`root`, a core term, as a sum of monomials; what is not + − × ÷ is an atom.

    Args:
        root: the term.
        nonzero: tells of an atom whether it is never 0, so that x·x⁻¹ = 1.

    Raises:
        TooLarge: if the expansion is.

    >>> from sygus.terms import REAL, variable
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> square = apply("*", apply("+", x, y), apply("+", x, y))
    >>> {tuple(f"{a}^{e}" for a, e in m): int(c) for m, c in polynomial(square, lambda _: False).items()}
    {('x^2',): 1, ('x^1', 'y^1'): 2, ('y^2',): 1}
    """

    def times(a: Polynomial, b: Polynomial) -> Polynomial:
        total: Polynomial = {}
        for left, p in a.items():
            for right, q in b.items():
                exponents = dict(left)
                for atom, exponent in right:
                    exponents[atom] = exponents.get(atom, 0) + exponent
                kept = [(t, e) for t, e in exponents.items() if e or not nonzero(t)]
                _add(total, tuple(sorted(kept, key=lambda item: item[0].serial)), p * q)
        return _bounded(total)

    def visit(term: Term, args: tuple[Polynomial, ...]) -> Polynomial:
        if isinstance(term.symbol, Literal):
            return {(): Fraction(term.value)} if term.value else {}
        if not isinstance(term.symbol, Function) or term.name not in ("+", "-", "*", "/"):
            return {((term, 1),): Fraction(1)}
        first, *rest = args
        if term.name == "-" and not rest:
            return {m: -c for m, c in first.items()}
        for position, other in enumerate(rest, start=1):
            if term.name == "*":
                first = times(first, other)
            elif term.name == "/":
                first = times(first, inverse(other, term.args[position]))
            else:
                total = dict(first)
                for monomial, coefficient in other.items():
                    _add(total, monomial, coefficient if term.name == "+" else -coefficient)
                first = _bounded(total)
        return first

    def inverse(p: Polynomial, term: Term) -> Polynomial:
        if not p:
            return {}
        if len(p) == 1:
            ((monomial, coefficient),) = p.items()
            return {tuple((atom, -e) for atom, e in monomial): 1 / coefficient}
        return {((to_term(p), -1),): Fraction(1)}

    return fold(root, visit, {})


def _add(total: Polynomial, monomial: Monomial, coefficient: Fraction) -> None:
    value = total.get(monomial, Fraction(0)) + coefficient
    if value:
        total[monomial] = value
    else:
        total.pop(monomial, None)


def _bounded(p: Polynomial) -> Polynomial:
    if len(p) > LIMIT:
        raise TooLarge
    return p


def monomial_term(monomial: Monomial) -> Term:
    """A monomial as a core term."""
    above: list[Term] = []
    below: list[Term] = []
    for atom, exponent in monomial:
        if exponent == 0:
            above.append(apply("ite", apply("=", atom, real(0)), real(0), real(1)))
        (above if exponent > 0 else below).extend([atom] * abs(exponent))
    top = product(above)
    return divide(top, product(below)) if below else top


def product(factors: list[Term]) -> Term:
    """The product of terms; 1.0 of none."""
    return apply("*", *factors) if len(factors) > 1 else factors[0] if factors else real(1)


def total(summands: list[Term]) -> Term:
    """The sum of terms; 0.0 of none."""
    return apply("+", *summands) if len(summands) > 1 else summands[0] if summands else real(0)


def to_term(p: Polynomial) -> Term:
    """A polynomial as a core term, monomials in a fixed order."""
    ordered = sorted(p.items(), key=lambda item: tuple((atom.serial, e) for atom, e in item[0]))
    return total([scaled(c, monomial_term(m)) for m, c in ordered])


def scaled(coefficient: Fraction, term: Term) -> Term:
    """`coefficient * term`."""
    if coefficient == 1:
        return term
    return real(coefficient) if term is real(1) else apply("*", real(coefficient), term)
