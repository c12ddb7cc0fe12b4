"""Terms as plain lists for another process: a shared node table, arguments by index. JSON, never pickle."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ..core import apply
from ..terms import Literal, Sort, Term, subterms, variable


def encode(roots: list[Term]) -> dict[str, Any]:
    """Core terms as `{"nodes": [...], "roots": [...]}`.

    >>> from sygus.terms import REAL, real
    >>> x = variable("x", REAL)
    >>> decode(encode([apply("+", x, real(0.5))])) == [apply("+", x, real(0.5))]
    True
    """
    index: dict[Term, int] = {}
    nodes: list[list[Any]] = []
    for term in subterms(*roots):
        index[term] = len(nodes)
        if isinstance(term.symbol, Literal):
            nodes.append(["#", str(term.symbol.value), term.sort.name])
        elif term.is_variable:
            nodes.append(["?", term.name, term.sort.name])
        else:
            nodes.append([term.name, *(index[arg] for arg in term.args)])
    return {"nodes": nodes, "roots": [index[root] for root in roots]}


def decode(message: dict[str, Any]) -> list[Term]:
    """The terms that `encode` wrote."""
    terms: list[Term] = []
    for kind, *rest in message["nodes"]:
        if kind == "?":
            terms.append(variable(rest[0], Sort(rest[1])))
        elif kind == "#":
            value = {"True": True, "False": False}[rest[0]] if rest[1] == "Bool" else Fraction(rest[0])
            terms.append(Term(Literal(int(value) if rest[1] == "Int" else value, Sort(rest[1]))))
        else:
            terms.append(apply(kind, *(terms[i] for i in rest)))
    return [terms[i] for i in message["roots"]]
