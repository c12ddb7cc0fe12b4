"""Queries as `.smt2` files through pysmt, for other solvers and eyes. A second encoding: division as `ite`, no fractions."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from pysmt.environment import Environment
from pysmt.logics import QF_NRA
from pysmt.smtlib.script import smtlibscript_from_formula
from pysmt.typing import BOOL as PYSMT_BOOL
from pysmt.typing import REAL as PYSMT_REAL

from ..core import apply
from ..semantics.interpret import Context, Domain, interpret
from ..terms import BOOL, Term
from .crossmultiply import binary_divisions
from .process import Claim


def _chain(compare: str) -> Callable[..., Any]:
    return lambda make, *args: make.And([getattr(make, compare)(a, b) for a, b in pairwise(args)])


def _folded(function: str) -> Callable[..., Any]:
    return lambda make, *args: reduce(getattr(make, function), args)


def _quotient(make: Any, a: Any, b: Any) -> Any:
    zero = make.Equals(b, make.Real(0))
    return make.Ite(zero, make.Real(0), make.Div(a, make.Ite(zero, make.Real(1), b)))


CORE: dict[str, Callable[..., Any]] = {
    "+": lambda make, *args: make.Plus(*args),
    "-": lambda make, *args: reduce(make.Minus, args if len(args) > 1 else (make.Real(0), *args)),
    "*": lambda make, *args: make.Times(*args),
    "/": _quotient,
    "abs": lambda make, a: make.Ite(make.LT(a, make.Real(0)), make.Minus(make.Real(0), a), a),
    "to_real": lambda make, a: a,
    "<": _chain("LT"),
    "<=": _chain("LE"),
    ">": _chain("GT"),
    ">=": _chain("GE"),
    "=": _chain("EqualsOrIff"),
    "distinct": lambda make, *args: make.And([make.Not(make.EqualsOrIff(a, b)) for a, b in combinations(args, 2)]),
    "ite": lambda make, *args: make.Ite(*args),
    "and": lambda make, *args: make.And(*args),
    "or": lambda make, *args: make.Or(*args),
    "xor": _folded("Xor"),
    "=>": lambda make, *args: make.Implies(make.And(args[:-1]), args[-1]),
    "not": lambda make, a: make.Not(a),
}


class ToPysmt(Domain[Any]):
    """Core terms as pysmt formulas of one environment; integers are taken for reals, as in `worker.py`.

    >>> from sygus.terms import REAL, variable
    >>> x = variable("x", REAL)
    >>> ToPysmt().formula(apply("<=", apply("+", x, x), x)).serialize()
    '((x + x) <= x)'
    """

    core = CORE

    def __init__(self) -> None:
        super().__init__(Context())
        self.environment = Environment()
        self._memo: dict[Term, Any] = {}
        self._names: dict[str, str] = {}

    def formula(self, root: Term) -> Any:
        """The pysmt node for `root`."""
        return interpret(binary_divisions(root), self, self._memo)

    def literal(self, term: Term) -> Any:
        make = self.environment.formula_manager
        return make.Bool(bool(term.value)) if term.sort == BOOL else make.Real(Fraction(term.value))

    def variable(self, term: Term) -> Any:
        plain = re.sub(r"[|\\]", "_", term.name)
        while self._names.setdefault(plain, term.name) != term.name:  # two names must not become one
            plain += "_"
        return self.environment.formula_manager.Symbol(plain, PYSMT_BOOL if term.sort == BOOL else PYSMT_REAL)

    def applied(self, name: str, args: tuple[Any, ...]) -> Any:
        return self.core[name](self.environment.formula_manager, *args)


def refutation(claim: Claim) -> Term:
    """The conjunction that is unsatisfiable exactly where `claim` holds."""
    different = apply("distinct", claim.left, claim.right)
    return apply("and", *claim.facts, different) if claim.facts else different


def write_smt2(claim: Claim, path: Path, comment: str = "") -> None:
    """Writes the query whose answer "unsat" would prove `claim`, as SMT-LIB 2.

    Args:
        claim: two scalar terms and facts.
        path: the file, overwritten.
        comment: what the query asks, for readers; becomes `;` lines.
    """
    encoder = ToPysmt()
    formula = encoder.formula(refutation(claim))
    script = smtlibscript_from_formula(formula, logic=QF_NRA)
    lines = "".join(f"; {line}\n" for line in comment.splitlines())
    with path.open("w", encoding="utf-8") as out:
        out.write(lines)
        script.serialize(out, daggify=True)
