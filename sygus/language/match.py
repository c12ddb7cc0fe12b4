"""`match` on a datatype, written out: testers decide, selectors stand for the parts that a pattern names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import apply
from ..errors import nearest, shown
from ..terms import BOOL, Function, Term
from .symbols import Symbols, symbol
from .syntax_terms import Match, MatchSymbol


@dataclass(frozen=True)
class Case:
    """One case: its constructor, None where it takes whatever is left, what its names stand for, and its body."""

    constructor: str | None
    names: Mapping[str, Term]
    body: Any


def cases_of(symbols: Symbols, node: Match, value: Term) -> list[Case]:
    """The cases of a match on `value`, checked: known constructors with all their parts, none left out.

    Raises:
        SygusError: with the place of what does not fit.
    """
    datatype = symbols.problem.datatypes.get(value.sort.name)
    if datatype is None:
        raise symbols.error(f"match is on a datatype, found {value.sort}", node)
    cases: list[Case] = []
    left = dict.fromkeys(datatype.constructors)
    for case in node.cases:
        name = symbol(case.name if isinstance(case, MatchSymbol) else case.constructor)
        if isinstance(case, MatchSymbol) and name not in datatype.constructors:
            cases.append(Case(None, {symbols.name(case.name): value}, case.body))
            left.clear()
            continue
        if name not in datatype.constructors:
            raise symbols.error(f"{datatype.name} has no constructor {shown(name)}{nearest(name, datatype.constructors)}", case)
        parts = [] if isinstance(case, MatchSymbol) else [symbols.name(part) for part in case.parts]
        selectors = datatype.constructors[name]
        if len(parts) != len(selectors):
            raise symbols.error(f"{shown(name)} has {len(selectors)} parts, found {len(parts)} names", case)
        if len(set(parts)) < len(parts):
            raise symbols.error(f"a pattern names two parts {shown(max(parts, key=parts.count))}", case)
        names = {}
        for part, selector in zip(parts, selectors, strict=True):
            function = symbols.function(selector.name, [value.sort])
            assert function is not None
            names[part] = Term(function, (value,))
        cases.append(Case(name, names, case.body))
        left.pop(name, None)
    if left:
        raise symbols.error(f"match leaves out {', '.join(map(shown, left))}", node)
    return cases


def decide(value: Term, constructors: Sequence[str | None], bodies: Sequence[Term]) -> Term:
    """The body of the first case that fits `value`, as a chain of `ite`; the last case needs no test."""
    last = constructors.index(None) if None in constructors else len(bodies) - 1
    result = bodies[last]
    for constructor, body in zip(reversed(constructors[:last]), reversed(bodies[:last]), strict=True):
        assert constructor is not None
        test = Term(Function("is", (value.sort,), BOOL, indices=(constructor,)), (value,))
        result = apply("ite", test, body, result)
    return result
