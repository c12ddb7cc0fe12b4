"""Random well-sorted terms: every core function, every operator of the CAM theory, define-funs, odd names."""

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from sycam.theory import CAM, MAP
from sygus import BOOL, INT, REAL, Function, Sort, Term, Variable, read
from sygus.constants import real
from sygus.core import apply
from sygus.terms import Literal

ODD = ("x", "m**", "two words", "let", "forall", "-1", "Constant", "", "λ", "a\nb", "#", "+", "exp[x]", "1st", ";", '"', "a@b")
VARIABLES = (
    *(Variable(name, sort) for sort in (REAL, BOOL, INT, MAP) for name in (sort.name[0], f"{sort.name} of two")),
    *(Variable(name, REAL) for name in ODD),
)
DEFINED = read(
    """(set-logic ALL) (declare-sort Map 0) (declare-fun m* (Map Map) Map) (declare-fun gap (Map) Real)
    (define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))
    (define-fun |odd name| ((M Map) (b Bool)) Real (ite b (gap (m* M M)) (- 1.0)))
    (define-fun half () Real 0.5)""",
    theory=CAM,
).functions
DEFINED = {name: function for name, function in DEFINED.items() if function.body is not None}
OPERATORS = {name: operator.function for name, operator in CAM.operators.items()}
EVERYTHING = (*OPERATORS.values(), *DEFINED.values())
NUMBERS = (
    *map(Fraction, range(4)),
    Fraction(10**20),
    Fraction(1, 8),
    Fraction(10007, 10**6),
    Fraction(1, 3),
    Fraction(-22, 7),
    Fraction(-1),
)
Pick = Callable[[Sequence[Any]], Any]
SIGNATURES = {
    REAL: [("+", (REAL,) * 2), ("+", (REAL,) * 3), ("-", (REAL,)), ("-", (REAL,) * 2), ("*", (REAL,) * 2), ("*", (REAL,) * 3),
           ("/", (REAL,) * 2), ("/", (REAL,) * 3), ("abs", (REAL,)), ("ite", (BOOL, REAL, REAL)), ("exp", (REAL,)),
           ("sqrt", (REAL,)), ("to_real", (INT,))],
    INT: [("+", (INT,) * 2), ("-", (INT,)), ("-", (INT,) * 3), ("*", (INT,) * 2), ("abs", (INT,)), ("ite", (BOOL, INT, INT))],
    BOOL: [(name, (sort,) * n) for name in ("<", "<=", ">", ">=", "=", "distinct") for sort in (REAL, INT) for n in (2, 3)]
    + [(name, (BOOL,) * n) for name in ("and", "or", "xor", "=>", "=") for n in (2, 3)]
    + [("not", (BOOL,)), ("distinct", (BOOL, BOOL)), ("ite", (BOOL, BOOL, BOOL))],
    MAP: [("ite", (BOOL, MAP, MAP))],
}  # fmt: skip


def random_term(
    pick: Pick,
    sort: Sort,
    variables: Sequence[Variable] = VARIABLES,
    functions: Sequence[Function] = EVERYTHING,
    without: Sequence[str] = (),
    numbers: Sequence[Fraction] = NUMBERS,
    depth: int = 4,
) -> Term:
    """A term of `sort` at most `depth` deep, every choice made by `pick`; `without` some core functions."""

    def leaf(sort: Sort) -> Term:
        own = [Term(v) for v in variables if v.sort == sort]
        if own and (sort == MAP or pick((True, True, False))):
            return pick(own)
        if sort == BOOL:
            return Term(Literal(pick((True, False)), BOOL))
        value = pick(numbers)
        return real(value) if sort == REAL else Term(Literal(abs(value.numerator), INT))

    def build(sort: Sort, depth: int) -> Term:
        if depth == 0 or pick(range(6)) == 0:
            return leaf(sort)
        applied = [f for f in functions if f.result == sort]
        core = [s for s in SIGNATURES[sort] if s[0] not in without]
        if applied and (not core or pick((True, False))):
            function = pick(applied)
            return Term(function, tuple(build(s, depth - 1) for s in function.parameters))
        if not core:
            return leaf(sort)
        name, sorts = pick(core)
        return apply(name, *(build(s, depth - 1) for s in sorts))

    return build(sort, depth)


@st.composite
def terms(draw, sort, variables=VARIABLES, depth=4):
    """`random_term` for hypothesis, which shrinks what fails."""
    return random_term(lambda choices: draw(st.sampled_from(choices)), sort, variables, depth=depth)


def seeded(seed: int) -> Pick:
    """`pick` from a seeded generator."""
    return random.Random(seed).choice
