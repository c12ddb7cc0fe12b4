"""What `(Constant Real)` stands for: all rational numbers in one order, so that a search meets each at a finite cost.

A constant's *height* is the larger of its numerator's and denominator's absolute value, 0 counting 1. There are finitely many of
each height, and a search takes the height for the cost: 0, 1, -1 first, then 2, 1/2, -2, -1/2, then those with a 3, and so on.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd

from .core import divide, negate
from .terms import BOOL, INT, REAL, Literal, Sort, Term, Value

SORTS = (REAL, INT, BOOL)
"""Sorts whose constants a search can enumerate."""


def real(value: Fraction | int | float) -> Term:
    """A Real constant as SyGuS-IF writes it: a decimal, or minus or a quotient of decimals.

    >>> print(real(-1), real(Fraction(1, 2)), real(Fraction(1, 3)))
    (- 1.0) 0.5 (/ 1.0 3.0)
    """
    exact = Fraction(value)
    if exact < 0:
        return negate(real(-exact))
    rest = exact.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return divide(real(exact.numerator), real(exact.denominator))
    return Term(Literal(exact, REAL))


def constants(sort: Sort, height: int) -> list[Term]:
    """The constants of `sort` whose height is `height`, in order.

    >>> [str(t) for h in (1, 2) for t in constants(REAL, h)]
    ['0.0', '1.0', '(- 1.0)', '2.0', '0.5', '(- 2.0)', '(- 0.5)']
    >>> [str(t) for h in (1, 2) for t in constants(INT, h)]
    ['0', '1', '(- 1)', '2', '(- 2)']
    >>> [str(t) for h in (1, 2) for t in constants(BOOL, h)]
    ['true', 'false']
    """
    if sort == BOOL:
        return [Term(Literal(True, BOOL)), Term(Literal(False, BOOL))] if height == 1 else []
    if sort == INT:
        positive = Term(Literal(height, INT))
        return [*([Term(Literal(0, INT))] if height == 1 else []), positive, negate(positive)]
    assert sort == REAL, sort
    if height == 1:
        return [real(0), real(1), real(-1)]
    above = [Fraction(height, d) for d in range(1, height) if gcd(height, d) == 1]
    ordered = [value for big in above for value in (big, 1 / big)]
    return [real(sign * value) for sign in (1, -1) for value in ordered]


def constant(value: Value, sort: Sort) -> Term:
    """The constant of `sort` that is `value`, as `constants` writes it.

    >>> print(constant(Fraction(-1, 3), REAL), constant(-2, INT), constant(True, BOOL))
    (- (/ 1.0 3.0)) (- 2) true
    """
    if sort == REAL:
        return real(value)
    return negate(constant(-value, sort)) if sort == INT and value < 0 else Term(Literal(value, sort))


def height(term: Term) -> int | None:
    """The height at which `constants` gives `term`; None for a term that it never gives, such as `(- 0.0)` or `(/ 2.0 4.0)`.

    >>> height(real(Fraction(-2, 3))), height(real(0)), height(negate(real(0)))
    (3, 1, None)
    """
    value = constant_value(term) if term.sort in SORTS else None
    if value is None or constant(value, term.sort) is not term:
        return None
    return 1 if term.sort == BOOL or not value else max(abs(value.numerator), value.denominator)


def constant_value(term: Term) -> Value | None:
    """The value that `term` writes if it is a literal, minus a literal, or a quotient of such; None for any other term.

    >>> constant_value(real(Fraction(-1, 3)))
    Fraction(-1, 3)
    """
    if isinstance(term.symbol, Literal):
        return None if isinstance(term.symbol.value, str) else term.symbol.value
    if term.size > 4:  # (- (/ 1.0 3.0)) is the largest
        return None
    parts = [constant_value(arg) for arg in term.args]
    if term.name == "-" and len(parts) == 1 and parts[0] is not None:
        return -parts[0]
    if term.name == "/" and len(parts) == 2 and parts[0] is not None and parts[1]:
        return Fraction(parts[0]) / Fraction(parts[1])
    return None
