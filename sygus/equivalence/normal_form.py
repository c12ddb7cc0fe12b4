"""Normal forms of scalar terms: sums of products over a field with total division (a *meadow*: x / 0 = 0), and rectified ones.

A monomial is a product of atoms with integer exponents. Since 0⁻¹ = 0, inverses distribute over products and
x·x·x⁻¹ = x, but x·x⁻¹ is not 1: it is the exponent 0, kept in the monomial, which stands for 1 where x ≠ 0 and 0 elsewhere.

From a rectified product come the factors that are never negative, relu(c·x) = c·relu(x), so that the linearity of reductions sees
them. The factor may be a sum: relu(c·(a + b)) = (a + b)·relu(c) where neither a nor b is ever negative, whatever the sign of c.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from ..constants import real
from ..core import apply, divide
from ..semantics.scalars import product, scaled, total
from ..terms import Function, Literal, Term, fold

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


def to_term(p: Polynomial) -> Term:
    """A polynomial as a core term, monomials in a fixed order."""
    ordered = sorted(p.items(), key=lambda item: tuple((atom.serial, e) for atom, e in item[0]))
    return total([scaled(c, monomial_term(m)) for m, c in ordered])


def is_rectified(term: Term) -> bool:
    """Whether `term` is (ite (> x 0.0) x 0.0).

    >>> from sygus.terms import REAL, variable
    >>> x = variable("x", REAL)
    >>> is_rectified(apply("ite", apply(">", x, real(0)), x, real(0)))
    True
    """
    if not (isinstance(term.symbol, Function) and term.name == "ite"):
        return False
    condition, then, other = term.args
    return condition.name == ">" and condition.args == (then, real(0)) and other is real(0)


def pulled(root: Term, nonneg: Callable[[Term], bool], nonzero: Callable[[Term], bool]) -> Term:
    """`root` with what is never negative in front of each rectified sum of products.

    Args:
        root: a core term.
        nonneg: tells of an atom whether it is at least 0.
        nonzero: tells of an atom whether it is never 0.

    >>> from sygus.terms import REAL, variable
    >>> a, x = variable("a", REAL), variable("x", REAL)
    >>> two = apply("+", apply("*", a, x), apply("*", a, x))
    >>> print(pulled(apply("ite", apply(">", two, real(0)), two, real(0)), lambda t: t is a, lambda _: False))
    (* 2.0 a (ite (> x 0.0) x 0.0))
    """

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        term = Term(term.symbol, args) if args != term.args else term
        if not is_rectified(term):
            return term
        try:
            terms = polynomial(term.args[1], nonzero)
        except TooLarge:
            return term
        scale, factors, rest = _content(terms, nonneg)
        whole, rest = _of_one_sign(rest, nonneg)
        if scale == 1 and not factors and whole is None:
            return term
        outside = [real(scale)] * (scale != 1) + [monomial_term(factors)] * bool(factors)
        return product([*outside, *([] if whole is None else [to_term(whole)]), _relu(rest)])

    return fold(root, visit, {})


def _relu(terms: Polynomial) -> Term:
    if terms.keys() <= {()}:
        return real(max(terms.get((), Fraction(0)), Fraction(0)))
    inner = to_term(terms)
    return apply("ite", apply(">", inner, real(0)), inner, real(0))


def _of_one_sign(terms: Polynomial, nonneg: Callable[[Term], bool]) -> tuple[Polynomial | None, Polynomial]:
    """A sum that is never negative, and the monomial that makes `terms` of it; None and `terms` where there are none."""
    if len(terms) < 2:
        return None, terms
    scale, common, rest = _content(terms, lambda _: True)
    sign = 1 if next(iter(rest.values())) > 0 else -1
    if any(sign * c < 0 or any(e % 2 and not nonneg(atom) for atom, e in monomial) for monomial, c in rest.items()):
        return None, terms
    return {monomial: sign * scale * c for monomial, c in rest.items()}, {common: Fraction(sign)}


def _content(terms: Polynomial, nonneg: Callable[[Term], bool]) -> tuple[Fraction, Monomial, Polynomial]:
    """A positive number and a product that is never negative, which every monomial has, and what is left of each.

    An exponent that becomes 0 vanishes: x·x⁰ = x, and the x in front is 0 where x is."""
    if not terms:
        return Fraction(1), (), terms
    ordered = sorted(terms, key=lambda monomial: tuple((atom.serial, e) for atom, e in monomial))
    scale = abs(terms[ordered[0]])
    powers = [dict(monomial) for monomial in ordered]
    common: list[tuple[Term, int]] = []
    for atom in sorted(powers[0], key=lambda a: a.serial):
        exponents = [power.get(atom, 0) for power in powers]
        if all(power.get(atom) == 0 for power in powers):  # x⁰ is 0 or 1
            common.append((atom, 0))
            continue
        least = min(exponents) if min(exponents) > 0 else max(exponents) if max(exponents) < 0 else 0
        if not nonneg(atom):
            least -= least % 2  # 1/x = x/x², so that what is divided by x and what is multiplied by it meet
        if least:
            common.append((atom, least))
    out = dict(common)
    rest = {
        tuple((atom, e - out.get(atom, 0)) for atom, e in monomial if e != out.get(atom)): terms[monomial] / scale
        for monomial in ordered
    }
    return scale, tuple(common), rest
