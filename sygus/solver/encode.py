"""cvc5's terms: what each core function that it knows is among its own. Imported only where cvc5 runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from cvc5 import Kind

Make = Callable[..., Any]
"""`mkTerm` of a term manager: a kind and arguments to a term."""


def _kind(kind: Kind) -> Callable[..., Any]:
    return lambda make, *args: make(kind, *args)


CORE: dict[str, Callable[..., Any]] = {
    "+": _kind(Kind.ADD),
    "-": lambda make, *args: make(Kind.NEG if len(args) == 1 else Kind.SUB, *args),
    "*": _kind(Kind.MULT),
    "/": lambda make, *args: reduce(lambda quotient, divisor: make(Kind.DIVISION_TOTAL, quotient, divisor), args),
    "abs": _kind(Kind.ABS),
    "to_real": _kind(Kind.TO_REAL),
    "<": _kind(Kind.LT),
    "<=": _kind(Kind.LEQ),
    ">": _kind(Kind.GT),
    ">=": _kind(Kind.GEQ),
    "=": _kind(Kind.EQUAL),
    "distinct": _kind(Kind.DISTINCT),
    "ite": _kind(Kind.ITE),
    "and": _kind(Kind.AND),
    "or": _kind(Kind.OR),
    "xor": _kind(Kind.XOR),
    "=>": _kind(Kind.IMPLIES),
    "not": _kind(Kind.NOT),
}
"""By the name of a core function of `semantics.scalars.SOLVED`: the term for it, from `mkTerm` and the arguments."""
CHAINED = frozenset({"<", "<=", ">", ">=", "="})
"""Those that cvc5 writes out as a conjunction where they have more than two arguments."""
