"""Queries as `.smt2` files through pysmt, for other solvers and eyes. A second encoding: division as `ite`, no fractions."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from pysmt.environment import Environment
from pysmt.logics import QF_NRA
from pysmt.smtlib.script import smtlibscript_from_formula
from pysmt.typing import BOOL as PYSMT_BOOL
from pysmt.typing import REAL as PYSMT_REAL

from ..core import apply
from ..terms import BOOL, Literal, Term, fold
from .crossmultiply import binary_divisions
from .process import Claim


class ToPysmt:
    """Core terms as pysmt formulas of one environment; integers are taken for reals, as in `worker.py`.

    >>> from sygus.terms import REAL, variable
    >>> x = variable("x", REAL)
    >>> ToPysmt().formula(apply("<=", apply("+", x, x), x)).serialize()
    '((x + x) <= x)'
    """

    def __init__(self) -> None:
        self.environment = Environment()
        self._memo: dict[Term, Any] = {}
        self._names: dict[str, str] = {}

    def formula(self, root: Term) -> Any:
        """The pysmt node for `root`."""
        return fold(binary_divisions(root), self._visit, self._memo)

    def _visit(self, term: Term, args: tuple[Any, ...]) -> Any:
        make = self.environment.formula_manager
        if isinstance(term.symbol, Literal):
            value = term.symbol.value
            return make.Bool(bool(value)) if term.sort == BOOL else make.Real(Fraction(value))
        if term.is_variable:
            plain = re.sub(r"[|\\]", "_", term.name)
            while self._names.setdefault(plain, term.name) != term.name:  # two names must not become one
                plain += "_"
            return make.Symbol(plain, PYSMT_BOOL if term.sort == BOOL else PYSMT_REAL)
        name, first = term.name, args[0]
        if name == "-":
            return make.Minus(make.Real(0), first) if len(args) == 1 else self._left(make.Minus, args)
        if name == "/":
            zero = make.Equals(args[1], make.Real(0))
            return make.Ite(zero, make.Real(0), make.Div(first, make.Ite(zero, make.Real(1), args[1])))
        if name == "abs":
            return make.Ite(make.LT(first, make.Real(0)), make.Minus(make.Real(0), first), first)
        if name == "to_real":
            return first
        if name in ("<", "<=", ">", ">=", "="):
            equal = make.Iff if term.args[0].sort == BOOL else make.Equals
            compare = {"<": make.LT, "<=": make.LE, ">": make.GT, ">=": make.GE, "=": equal}[name]
            return make.And([compare(a, b) for a, b in zip(args, args[1:], strict=False)])
        if name == "distinct":
            equal = make.Iff if term.args[0].sort == BOOL else make.Equals
            return make.And([make.Not(equal(a, b)) for i, a in enumerate(args) for b in args[i + 1 :]])
        if name == "=>":
            return make.Implies(make.And(args[:-1]), args[-1])
        if name == "xor":
            return self._left(make.Xor, args)
        functions = {"+": make.Plus, "*": make.Times, "and": make.And, "or": make.Or, "not": make.Not, "ite": make.Ite}
        return functions[name](*args)

    @staticmethod
    def _left(make: Any, args: tuple[Any, ...]) -> Any:
        result = args[0]
        for arg in args[1:]:
            result = make(result, arg)
        return result


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
