"""Division out of a formula: two terms as fractions, under a decision for every denominator whether it is zero.

cvc5 decides n₁·d₂ = n₂·d₁ ten times faster than n₁/d₁ = n₂/d₂. Division being total, the cases in which a denominator is zero are
claims of their own: a·b/b is not a.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core import apply
from ..terms import REAL, Function, Term, fold, real, substitute, subterms, variable

Fraction = tuple[Term, Term]
ONE, ZERO = real(1), real(0)


@dataclass(frozen=True)
class Case:
    """One claim without division: under `facts`, `left` equals `right`."""

    left: Term
    right: Term
    facts: tuple[Term, ...]


def cases(left: Term, right: Term, facts: tuple[Term, ...]) -> Iterator[Case]:
    """The claims that together say that `left` equals `right` under `facts`, first the one with no zero denominator.

    >>> from sygus.terms import REAL, variable
    >>> a, b = variable("a", REAL), variable("b", REAL)
    >>> for case in cases(apply("/", apply("*", a, b), b), a, ()):
    ...     print(case.left, "=", case.right, "if", *case.facts)
    (* a b) = (* a b) if (distinct b 0.0)
    0.0 = a if (= b 0.0)
    """
    stack: list[tuple[Term, Term, tuple[Term, ...], frozenset[Term]]] = [(left, right, facts, frozenset())]
    while stack:
        left, right, facts, nonzero = stack.pop()
        if left is right:
            continue
        open_division = _undecided(left, right, nonzero)
        if open_division is None:
            (n1, d1), (n2, d2) = as_fractions(left, right)
            if d1 is not d2:
                n1, n2 = _times(n1, d2), _times(n2, d1)
            yield Case(n1, n2, facts)
            continue
        denominator = open_division.args[1]
        numerator_of_it = as_fractions(denominator)[0][0]
        is_zero, is_nonzero = apply("=", numerator_of_it, ZERO), apply("distinct", numerator_of_it, ZERO)
        if not (denominator.is_literal and denominator.value):
            divisions = (t for t in subterms(left, right) if isinstance(t.symbol, Function) and t.name == "/")
            without = {t: ZERO for t in divisions if t.args[1] is denominator}
            stack.append((substitute(left, without), substitute(right, without), (*facts, is_zero), nonzero))
        if not denominator.is_literal:
            stack.append((left, right, (*facts, is_nonzero), nonzero | {denominator}))
        elif denominator.value:
            stack.append((left, right, facts, nonzero | {denominator}))


def _undecided(left: Term, right: Term, nonzero: frozenset[Term]) -> Term | None:
    """An innermost division whose denominator is not decided yet."""
    for term in subterms(left, right):
        if term.name == "/" and isinstance(term.symbol, Function) and term.args[1] not in nonzero:
            return term
    return None


def binary_divisions(root: Term) -> Term:
    """`root` with `(/ a b c)` written as `(/ (/ a b) c)`."""

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        if isinstance(term.symbol, Function) and term.name == "/" and len(args) > 2:
            result = args[0]
            for arg in args[1:]:
                result = apply("/", result, arg)
            return result
        return Term(term.symbol, args) if args != term.args else term

    return fold(root, visit, {})


def with_quotients(formulas: list[Term]) -> list[Term]:
    """`formulas` with each quotient a variable of its own, and what defines these: as satisfiable as before. For a model of
    divisions as they stand, cvc5 takes long and then often gives one that is none.

    >>> from sygus.terms import REAL, variable
    >>> a, b = variable("a", REAL), variable("b", REAL)
    >>> print(*with_quotients([apply("<", apply("/", a, b), a)]))
    (< ||a / b| a) (ite (= b 0.0) (= ||a / b| 0.0) (= (* ||a / b| b) a))
    """
    definitions: dict[Term, Term] = {}

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        if isinstance(term.symbol, Function) and term.name == "/":
            n, d = args
            quotient = variable(f"|{n} / {d}", REAL)
            where_zero, elsewhere = apply("=", quotient, ZERO), apply("=", apply("*", quotient, d), n)
            definitions[quotient] = apply("ite", apply("=", d, ZERO), where_zero, elsewhere)
            return quotient
        return Term(term.symbol, args) if args != term.args else term

    memo: dict[Term, Term] = {}
    rewritten = [fold(binary_divisions(formula), visit, memo) for formula in formulas]
    return [*rewritten, *definitions.values()]


def as_fractions(*roots: Term) -> list[Fraction]:
    """Each root as a fraction of terms without division, all denominators known to be nonzero."""
    memo: dict[Term, Fraction] = {}
    return [fold(root, _fraction, memo) for root in roots]


def _times(a: Term, b: Term) -> Term:
    return b if a is ONE else a if b is ONE else apply("*", a, b)


def _common(args: tuple[Fraction, ...]) -> tuple[list[Term], Term]:
    """Numerators over one denominator, and that denominator."""
    denominators = list(dict.fromkeys(d for _, d in args if d is not ONE))
    numerators = []
    for numerator, denominator in args:
        for other in denominators:
            if other is not denominator:
                numerator = _times(numerator, other)
        numerators.append(numerator)
    whole = ONE
    for denominator in denominators:
        whole = _times(whole, denominator)
    return numerators, whole


def _fraction(term: Term, args: tuple[Fraction, ...]) -> Fraction:
    if not args:
        return term, ONE
    name = term.name
    if name == "/":
        (n, d), (m, e) = args
        return _times(n, e), _times(d, m)
    if name == "*":
        n, d = args[0]
        for m, e in args[1:]:
            n, d = _times(n, m), _times(d, e)
        return n, d
    if name == "ite":
        numerators, whole = _common(args[1:])
        return apply("ite", args[0][0], *numerators), whole
    numerators, whole = _common(args)
    if whole is ONE:
        return Term(term.symbol, tuple(numerators)) if tuple(numerators) != term.args else term, ONE
    if name in ("<", "<=", ">", ">="):  # n/d < m/d if and only if n·d < m·d, d·d being positive
        return apply(name, *(_times(n, whole) for n in numerators)), ONE
    if name == "abs":
        (n,) = numerators
        return apply("ite", apply("<", _times(n, whole), ZERO), apply("-", n), n), whole
    if name in ("=", "distinct"):
        return apply(name, *numerators), ONE
    return apply(name, *numerators), whole
