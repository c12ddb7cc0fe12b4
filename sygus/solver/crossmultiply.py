"""Division and choice out of a claim: two terms as fractions, under a decision for every denominator and every condition.

cvc5 decides n₁·d₂ = n₂·d₁ ten times faster than n₁/d₁ = n₂/d₂, and several polynomial identities faster than one with `ite` in
it. Division being total, the cases in which a denominator is zero are claims of their own: a·b/b is not a.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..constants import real
from ..core import FUNCTIONS, Sign, apply, divide
from ..semantics import exact
from ..terms import BOOL, REAL, Function, Literal, Term, fold, subterms, variable

Fraction = tuple[Term, Term]
ONE, ZERO = real(1), real(0)
CHOICES = 6
"""How many conditions are decided on the way to one case; what is left of them goes to cvc5 as it stands."""


@dataclass(frozen=True)
class Case:
    """One claim without division: under `facts`, `left` equals `right`."""

    left: Term
    right: Term
    facts: tuple[Term, ...]


class _Open(NamedTuple):
    """A claim that may still hold divisions and choices, with the denominators known to be nonzero."""

    left: Term
    right: Term
    facts: tuple[Term, ...]
    nonzero: frozenset[Term]
    choices: int = 0


def cases(left: Term, right: Term, facts: tuple[Term, ...]) -> Iterator[Case]:
    """The claims that together say that `left` equals `right` under `facts`, first the one with no zero denominator.

    >>> from sygus.terms import REAL, variable
    >>> a, b = variable("a", REAL), variable("b", REAL)
    >>> for case in cases(apply("/", apply("*", a, b), b), a, ()):
    ...     print(case.left, "=", case.right, "if", *case.facts)
    (* a b) = (* a b) if (distinct b 0.0)
    0.0 = a if (= b 0.0)
    >>> for case in cases(apply("ite", apply(">", a, ZERO), a, ZERO), a, (apply(">=", a, ZERO),)):
    ...     print(case.left, "=", case.right, "if", *case.facts)
    0.0 = a if (>= a 0.0) (<= a 0.0)
    """
    stack = [_Open(left, right, facts, frozenset())]
    while stack:
        claim = stack.pop()
        if claim.left is claim.right:
            continue
        term = _undecided(claim)
        if term is None:
            (n1, d1), (n2, d2) = as_fractions(claim.left, claim.right, facts=claim.facts)
            if d1 is not d2:
                n1, n2 = _times(n1, d2), _times(n2, d1)
            yield Case(n1, n2, claim.facts)
        else:
            stack.extend(_by_condition(claim, term.args[0]) if term.name == "ite" else _by_denominator(claim, term.args[1]))


def _undecided(claim: _Open) -> Term | None:
    """An innermost division whose denominator, or choice whose condition, is not decided yet."""
    for term in subterms(claim.left, claim.right):
        if not isinstance(term.symbol, Function):
            continue
        if term.name == "/" and term.args[1] not in claim.nonzero:
            return term
        if term.name == "ite" and claim.choices < CHOICES:
            return term
    return None


def _by_condition(claim: _Open, condition: Term) -> Iterator[_Open]:
    """The claim where a condition is false, and where it is true."""
    decided = _stripped(as_fractions(condition, facts=claim.facts)[0][0], claim.facts)
    value = _truth(decided, claim.facts)
    for truth in (False, True):
        if value in (None, truth):
            chosen = {
                t: t.args[1 if truth else 2]
                for t in subterms(claim.left, claim.right)
                if _is(t, "ite") and t.args[0] is condition
            }
            fact = () if value is truth else (decided if truth else _opposite(decided),)
            nonzero = claim.nonzero
            left, right = _replace(claim.left, chosen), _replace(claim.right, chosen)
            yield _Open(left, right, (*claim.facts, *fact), nonzero, claim.choices + 1)


def _by_denominator(claim: _Open, denominator: Term) -> Iterator[_Open]:
    """The claim where a denominator is zero, and where it is not."""
    is_zero = _stripped(apply("=", as_fractions(denominator)[0][0], ZERO), claim.facts)
    is_nonzero = _opposite(is_zero)
    value = _truth(is_zero, claim.facts)
    if value is not False:
        divisions = {is_zero.args[0]: ZERO} if is_zero.args and is_zero.args[0].is_variable else {}
        divisions |= {t: ZERO for t in subterms(claim.left, claim.right) if _is(t, "/") and t.args[1] is denominator}
        left, right = _replace(claim.left, divisions), _replace(claim.right, divisions)
        yield claim._replace(left=left, right=right, facts=claim.facts if value else (*claim.facts, is_zero))
    if value is not True:
        facts = claim.facts if value is False else (*claim.facts, is_nonzero)
        yield claim._replace(facts=facts, nonzero=claim.nonzero | {denominator})


_NEGATED = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "=": "distinct", "distinct": "="}


def _opposite(condition: Term) -> Term:
    binary = len(condition.args) == 2 and condition.args[0].sort == REAL
    return apply(_NEGATED[condition.name], *condition.args) if binary and condition.name in _NEGATED else apply("not", condition)


_IMPLIED = {">": (">", ">=", "distinct"), "<": ("<", "<=", "distinct"), "=": ("=", ">=", "<=")}


def _truth(condition: Term, facts: tuple[Term, ...]) -> bool | None:
    """Whether a condition holds, where that can be told without a solver."""
    if isinstance(condition.symbol, Literal):
        return bool(condition.symbol.value)
    if condition in facts:
        return True
    opposite = _opposite(condition)
    if opposite in facts:
        return False
    if len(condition.args) == 2 and condition.args[1] is ZERO and _is_positive(condition.args[0], facts):
        return condition.name in (">", ">=", "distinct")
    for strict, implied in _IMPLIED.items():
        if len(condition.args) == 2 and condition.args[0].sort == REAL and apply(strict, *condition.args) in facts:
            return True if condition.name in implied else False if opposite.name in implied else None
    return None


def _stripped(condition: Term, facts: tuple[Term, ...]) -> Term:
    """A comparison of a product with 0, without the factors that do not matter: positive ones, and for = and distinct also
    repeated ones and those known to be nonzero."""
    if condition.name not in _NEGATED or len(condition.args) != 2 or condition.args[1] is not ZERO:
        return condition
    factors: list[Term] = []
    stack = [condition.args[0]]
    while stack:
        term = stack.pop()
        if _is(term, "*"):
            stack.extend(reversed(term.args))
        elif not _is_positive(term, facts):
            factors.append(term)
    if condition.name in ("=", "distinct"):
        factors = [f for f in dict.fromkeys(factors) if apply("distinct", f, ZERO) not in facts]
    whole = ONE
    for factor in factors:
        whole = _times(whole, factor)
    return apply(condition.name, whole, ZERO)


def _is_positive(root: Term, facts: tuple[Term, ...]) -> bool:
    """Whether a term is above 0 by its form: made of such terms by functions that keep the sign, down to the facts."""

    def visit(term: Term, args: tuple[bool, ...]) -> bool:
        if isinstance(term.symbol, Literal):
            return term.sort == REAL and term.value > 0
        if term.sort == REAL and apply(">", term, ZERO) in facts:
            return True
        return bool(args) and FUNCTIONS[term.name].sign is Sign.KEPT and all(args)

    return root.sort == REAL and fold(root, visit, {})


def _is(term: Term, name: str) -> bool:
    return isinstance(term.symbol, Function) and term.name == name


def _replace(root: Term, replacement: dict[Term, Term]) -> Term:
    """`substitute`, and what a zero makes plain at once: 0·x = 0/x = x/0 = 0, 0 + x = x, a comparison of literals."""

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        if args == term.args:
            return term
        name = term.name
        if (name == "*" and ZERO in args) or (name == "/" and ZERO in args):
            return ZERO
        if name == "+":
            rest = [arg for arg in args if arg is not ZERO]
            return apply("+", *rest) if len(rest) > 1 else rest[0] if rest else ZERO
        if name == "-" and all(arg is ZERO for arg in args[1:]):
            return args[0] if len(args) > 1 else ZERO if args[0] is ZERO else Term(term.symbol, args)
        if name == "ite" and args[1] is args[2]:
            return args[1]
        if name in _NEGATED and len(args) == 2 and all(arg.is_literal for arg in args) and term.args[0].sort == REAL:
            return Term(Literal(bool(exact.CORE[name](*[arg.value for arg in args])), BOOL))
        return Term(term.symbol, args)

    return fold(root, visit, dict(replacement)) if replacement else root


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


def as_fractions(*roots: Term, facts: tuple[Term, ...] = ()) -> list[Fraction]:
    """Each root as a fraction of terms without division, all denominators known to be nonzero."""
    memo: dict[Term, Fraction] = {}

    def visit(term: Term, args: tuple[Fraction, ...]) -> Fraction:
        return _fraction(term, args, facts)

    return [fold(root, visit, memo) for root in roots]


def _times(a: Term, b: Term) -> Term:
    return b if a is ONE else a if b is ONE else ZERO if a is ZERO or b is ZERO else apply("*", a, b)


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


def _fraction(term: Term, args: tuple[Fraction, ...], facts: tuple[Term, ...]) -> Fraction:
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
    if name in ("<", "<=", ">", ">="):  # n/d < m/d if and only if n·d < m·d, d·d being positive; and n < m, where d is
        sign = ONE if _is_positive(whole, facts) else whole
        return apply(name, *(_times(n, sign) for n in numerators)), ONE
    if name == "abs":
        (n,) = numerators
        return apply("ite", apply("<", _times(n, whole), ZERO), apply("-", n), n), whole
    if name in ("=", "distinct"):
        return apply(name, *numerators), ONE
    if FUNCTIONS[name].linear:
        return apply(name, *numerators), whole
    return apply(name, *(n if d is ONE else divide(n, d) for n, d in args)), ONE
