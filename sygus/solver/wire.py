"""Terms as plain lists for another process: a shared node table, arguments by index. JSON, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..core import core_function
from ..errors import SygusError
from ..terms import Function, Literal, Sort, Term, subterms, variable


def encode(roots: list[Term]) -> dict[str, Any]:
    """Terms without define-funs as `{"nodes": [...], "roots": [...]}`.

    >>> from sygus.terms import REAL, real
    >>> from sygus.core import apply
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


def decode(message: Mapping[str, Any], functions: Mapping[str, Function] | None = None) -> list[Term]:
    """The terms that `encode` wrote.

    Args:
        message: from `encode`.
        functions: by name, what the terms are written in beside the core functions.

    Raises:
        SygusError: a function that is not known here.
    """
    terms: list[Term] = []
    for kind, *rest in message["nodes"]:
        if kind == "?":
            terms.append(variable(rest[0], Sort(rest[1])))
        elif kind == "#":
            value = {"True": True, "False": False}[rest[0]] if rest[1] == "Bool" else Fraction(rest[0])
            terms.append(Term(Literal(int(value) if rest[1] == "Int" else value, Sort(rest[1]))))
        else:
            args = tuple(terms[i] for i in rest)
            function = core_function(kind, [arg.sort for arg in args]) or (functions or {}).get(kind)
            if function is None:
                raise SygusError(f"no function {kind!r} is known to the process that reads this term")
            terms.append(Term(function, args))
    return [terms[i] for i in message["roots"]]
