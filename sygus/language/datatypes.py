"""`declare-datatypes`: sorts with their constructors and selectors, checked as SMT-LIB says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import shown
from ..terms import Sort, Variable
from .problem import Datatype
from .signatures.signature import HOLE, Signature
from .symbols import Symbols
from .syntax import Datatype as ParametricSyntax
from .syntax import PlainDatatype

Declared = tuple[str, int, ParametricSyntax | PlainDatatype]


def declare_datatypes(symbols: Symbols, declared: Sequence[Declared], command: Any) -> None:
    """Declares datatypes (name, arity, parse tree) that may use one another.

    Raises:
        SygusError: for a name that is taken, a number of parameters that is not the arity, or a datatype without finite values.
    """
    for name, arity, _ in declared:
        symbols.problem.sorts[name] = arity
    for name, arity, node in declared:
        parameters = [symbols.name(token) for token in node.parameters] if isinstance(node, ParametricSyntax) else []
        if len(parameters) != arity:
            raise symbols.error(f"the datatype {shown(name)} has {len(parameters)} parameters, declared with {arity}", node)
        holes = {parameter: Sort(f"{HOLE}{parameter}") for parameter in parameters}
        whole = Sort(name, tuple(holes.values()))
        constructors: dict[str, tuple[Variable, ...]] = {}
        datatype = Datatype(name, tuple(parameters), constructors, symbols.place(command))
        symbols.problem.datatypes[name] = datatype
        for constructor in node.constructors:
            label = symbols.new_name(constructor.name)
            parts: list[Variable] = []
            for selector in constructor.selectors:
                part = Variable(_new_part(symbols, selector.name, constructor.name, parts), symbols.sort(selector.sort, holes))
                parts.append(part)
                symbols.selectors[part.name] = Signature((whole,), part.sort)
            constructors[label] = tuple(parts)
            symbols.constructors[label] = (datatype, Signature(tuple(part.sort for part in parts), whole))
    _check_finite(symbols, [name for name, _, _ in declared], command)


def _new_part(symbols: Symbols, token: Any, constructor: Any, parts: Sequence[Variable]) -> str:
    name = symbols.new_name(token)
    if name == symbols.name(constructor) or name in {part.name for part in parts}:
        raise symbols.error(f"{shown(name)} is declared twice", token)
    return name


def _check_finite(symbols: Symbols, names: Sequence[str], command: Any) -> None:
    """Refuses a datatype all of whose constructors need a value of a datatype that has none.

    Each constructor waits for the datatypes of its parts; a datatype is finite as soon as one of its constructors waits no more.
    """
    waiting: dict[str, list[tuple[str, set[str]]]] = {name: [] for name in names}
    finite: list[str] = []
    for name in names:
        for parts in symbols.problem.datatypes[name].constructors.values():
            needed = {part.sort.name for part in parts} & waiting.keys()
            for other in needed:
                waiting[other].append((name, needed))
            if not needed:
                finite.append(name)
    known = dict.fromkeys(finite)
    for found in finite:  # grows as we go
        for name, needed in waiting[found]:
            needed.discard(found)
            if not needed and name not in known:
                known[name] = None
                finite.append(name)
    for name in names:
        if name not in known:
            raise symbols.error(f"the datatype {shown(name)} has no finite value: give it a constructor that ends", command)
