"""Signatures with variables for sorts and widths, written as text: `(Array X Y) X -> Y`, `(_ BitVec n) (_ BitVec n)+ -> Bool`.

A sort that is one capital letter and a width that is one small letter stand for any; `+` lets the last argument repeat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from ..terms import Function, Sort

HOLE = "\\"
"""Begins the name of a sort that stands for any: no symbol of a file holds a backslash."""


@dataclass(frozen=True)
class Signature:
    """Parameters and result over sort variables; `repeats` lets the last parameter come more than once."""

    parameters: tuple[Sort, ...]
    result: Sort
    repeats: bool = False

    def result_for(self, sorts: Sequence[Sort], wanted: Sort | None = None) -> Sort | None:
        """The result at argument sorts `sorts`, or None where they do not fit.

        `wanted` is the result that an `(as f wanted)` names.

        >>> from sygus.terms import BOOL, INT
        >>> print(signature("(Array X Y) X -> Y").result_for([Sort("Array", (INT, BOOL)), INT]))
        Bool
        """
        parameters = self.parameters
        if self.repeats and len(sorts) > len(parameters):
            parameters = (*parameters, *[parameters[-1]] * (len(sorts) - len(parameters)))
        if len(sorts) != len(parameters):
            return None
        known: dict[str, Sort | int] = {}
        if wanted is not None and not _match(self.result, wanted, known):
            return None
        if not all(_match(p, s, known) for p, s in zip(parameters, sorts, strict=True)):
            return None
        return _fill(self.result, known)

    def __str__(self) -> str:
        repeat = "+" if self.repeats else ""
        return f"({' '.join(map(_text, self.parameters))}{repeat}) {_text(self.result)}"


def _text(sort: Sort) -> str:
    plain = str(sort).replace(f"|{HOLE}", "").replace("|", "")
    return re.sub(r"-(\d+)", lambda match: chr(int(match[1])), plain)  # the letter of a width


def _match(pattern: Sort, sort: Sort, known: dict[str, Sort | int]) -> bool:
    if pattern.name.startswith(HOLE):
        return known.setdefault(pattern.name, sort) == sort
    if pattern.name != sort.name or len(pattern.arguments) != len(sort.arguments):
        return False
    if pattern.indices and pattern.indices[0] < 0:  # a width that is a variable
        if known.setdefault(f"width {pattern.indices[0]}", sort.indices[0]) != sort.indices[0]:
            return False
    elif pattern.indices != sort.indices:
        return False
    return all(_match(p, s, known) for p, s in zip(pattern.arguments, sort.arguments, strict=True))


def _fill(pattern: Sort, known: dict[str, Sort | int]) -> Sort | None:
    if pattern.name.startswith(HOLE):
        found = known.get(pattern.name)
        return found if isinstance(found, Sort) else None
    if pattern.indices and pattern.indices[0] < 0:
        width = known.get(f"width {pattern.indices[0]}")
        return Sort(pattern.name, (), (width,)) if isinstance(width, int) else None
    arguments = [_fill(argument, known) for argument in pattern.arguments]
    filled = tuple(argument for argument in arguments if argument is not None)
    return Sort(pattern.name, filled, pattern.indices) if len(filled) == len(arguments) else None


@cache
def signature(text: str) -> Signature:
    """The signature that `text` writes.

    >>> print(signature("String String+ -> String"))
    (String String+) String
    """
    before, after = text.split("->")
    words = re.findall(r"[()]|[^\s()]+", before)
    repeats = bool(words) and words[-1].endswith("+")
    if repeats:
        words[-1] = words[-1][:-1]
        words = [word for word in words if word]
    return Signature(tuple(_sorts(words)), _sorts(re.findall(r"[()]|[^\s()]+", after))[0], repeats)


def _sorts(words: list[str]) -> list[Sort]:
    levels: list[list[Sort]] = [[]]
    for word in words:
        if word == "(":
            levels.append([])
        elif word == ")":
            head, *arguments = levels.pop()
            if head.name == "_":  # (_ BitVec n)
                width = arguments[1].name
                head, arguments = Sort(arguments[0].name, (), (int(width) if width.isdigit() else -ord(width),)), []
            levels[-1].append(Sort(head.name, tuple(arguments), head.indices))
        else:
            levels[-1].append(Sort(f"{HOLE}{word}") if re.fullmatch("[A-Z]", word) else Sort(word))
    return levels[0]


Indexed = Callable[[Sequence[int], Sequence[Sort]], "Sort | None"]
"""The result of an indexed function at its indices and argument sorts, or None where they do not fit."""
Computed = Callable[[Sequence[Sort]], "Sort | None"]


@dataclass(frozen=True)
class Signatures:
    """What one theory of SMT-LIB offers.

    Attributes:
        name: as messages say it.
        sorts: the number of arguments and of indices of each of its sorts.
        functions: the signatures of each function.
        indexed: the functions that are written with indices, `(_ extract 3 0)`. Their names stay free.
        computed: functions whose result no signature states, with what gives it from the argument sorts.
    """

    name: str
    sorts: dict[str, tuple[int, int]]
    functions: dict[str, tuple[Signature, ...]]
    indexed: dict[str, Indexed]
    computed: dict[str, Computed]

    def function(self, name: str, sorts: Sequence[Sort], wanted: Sort | None = None) -> Function | None:
        """The function `name` at argument sorts `sorts`, or None where there is none."""
        for candidate in self.functions.get(name, ()):
            result = candidate.result_for(sorts, wanted)
            if result is not None:
                return Function(name, tuple(sorts), result, qualified=wanted is not None)
        computed = self.computed[name](sorts) if name in self.computed else None
        return Function(name, tuple(sorts), computed) if computed is not None else None


def table(
    name: str,
    sorts: dict[str, tuple[int, int]],
    rows: str,
    indexed: dict[str, Indexed] | None = None,
    computed: dict[str, Computed] | None = None,
) -> Signatures:
    """Signatures from lines `names: signature`, several names apart by spaces.

    >>> table("pairs", {}, "swap twist: (Pair X Y) -> (Pair Y X)").functions.keys()
    dict_keys(['swap', 'twist'])
    """
    functions: dict[str, tuple[Signature, ...]] = {}
    for line in filter(None, map(str.strip, rows.splitlines())):
        names, text = line.split(": ", 1)
        for function in names.split():
            functions[function] = (*functions.get(function, ()), signature(text.strip()))
    return Signatures(name, sorts, functions, indexed or {}, computed or {})


def names_of(tables: Iterable[Signatures]) -> dict[str, str]:
    """Every name that `tables` take, with its theory."""
    return {name: t.name for t in tables for name in (*t.functions, *t.computed)}
