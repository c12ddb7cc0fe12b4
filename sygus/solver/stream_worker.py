"""The process in which cvc5 enumerates a grammar: `python -m sygus.solver.stream_worker`. A line of JSON in, a line of JSON out.

The first request is a grammar as `stream.describe` writes it, with the highest number of applications or null, and the seconds
that a term may take; it is answered `{}`. Each further one is `{"count": n}`, answered with the next n terms or fewer:
`{"rows": [...], "terms": [...], "done": bool}`. A row says how a term is derived: the index of a production and the rows of what
fills its holes, or the constant that it is. Rows are numbered from 0 over all answers; one is written once, so that a term costs
one row. `terms` are the rows of the terms themselves. `{"error": text}` is the last answer where cvc5 refuses.

cvc5 gives its terms in a form of its own, x + (-1)·y for x - y and the body for a define-fun. What it makes of each production is
found out beforehand, with a grammar of this production alone whose holes are variables; terms are then matched against these
forms.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import cvc5
from cvc5 import FindSynthTarget, Kind

from .encode import CHAINED, CORE
from .messages import confine

MEMORY = 4 * 2**30

_CONSTANTS = (Kind.CONST_RATIONAL, Kind.CONST_INTEGER, Kind.CONST_BOOLEAN)
_START = 60  # seconds to find out the forms
_SLICE = 0.05  # seconds after which an answer goes out with fewer terms than were asked for

Step = tuple[int, int, int]
"""A production that is one of its holes to cvc5, which hole, and how many it has."""


class Form(NamedTuple):
    """What cvc5 makes of a production: `pattern` is a tree of (kind, arguments), a hole being an int, a leaf its name or its id.

    Functions go by name, since each search of cvc5 replaces them by variables of its own.
    """

    production: int
    pattern: Any
    holes: list[int]
    skip: int | None
    """Where the pattern is one function of its holes in order: how many children stand before these. None elsewhere."""


class Enumeration:
    """cvc5's stream of the terms of one grammar, as derivations."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.manager = cvc5.TermManager()
        make = self.manager
        known = {"Real": make.getRealSort(), "Int": make.getIntegerSort(), "Bool": make.getBooleanSort()}
        self.sorts = [known.get(name) or make.mkUninterpretedSort(f"s{i}") for i, name in enumerate(message["sorts"])]
        self.variables = [make.mkVar(self.sorts[sort], f"v{i}") for i, sort in enumerate(message["variables"])]
        self.functions = [self._function(i, *signature) for i, signature in enumerate(message["functions"])]
        self.rows: list[list[Any]] = []
        self._memo: dict[tuple[int, int], int | None] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self.forms: list[dict[Any, list[Form]]] = [{} for _ in message["nonterminals"]]
        self.constants: list[int | None] = [None] * len(self.forms)
        chains: list[list[tuple[int, Step]]] = [[] for _ in self.forms]
        for index, (target, kind, root, holes) in enumerate(message["productions"]):
            if kind == "any":
                self.constants[target] = index
            else:
                form = self._form(index, target, root, holes)
                if isinstance(form, int):
                    chains[target].append((holes[form], (index, form, len(holes))))
                else:
                    self.forms[target].setdefault(form[0], []).append(Form(index, form[1], holes, _flat(form[1], len(holes))))
        self.chains = [_closure(chains, target) for target in range(len(chains))]

    def _function(self, index: int, parameters: list[int], result: int) -> Any:
        sort = self.sorts[result]
        if parameters:
            sort = self.manager.mkFunctionSort([self.sorts[p] for p in parameters], sort)
        return self.manager.mkConst(sort, f"f{index}")

    def _term(self, root: int, holes: list[Any]) -> Any:
        """The node `root` of the message as a cvc5 term with `holes` in its holes.

        Where one stands twice (in the body of a define-fun) the term is a function applied to the holes: cvc5 fills each
        occurrence of a nonterminal by itself.
        """
        make = self.manager
        if not self._repeats(root):
            return self._filled(root, holes)
        names = [make.mkVar(hole.getSort(), f"h{i}") for i, hole in enumerate(holes)]
        function = make.mkTerm(Kind.LAMBDA, make.mkTerm(Kind.VARIABLE_LIST, *names), self._filled(root, names))
        return make.mkTerm(Kind.APPLY_UF, function, *holes)

    def _repeats(self, root: int) -> bool:
        """Whether a hole stands twice below the node `root`, (< a R b) being (and (< a R) (< R b)) to cvc5."""
        nodes, stack, seen = self.message["nodes"], [root], set()
        while stack:
            kind, *rest = nodes[stack.pop()]
            if kind == "hole":
                if rest[0] in seen:
                    return True
                seen.add(rest[0])
            elif kind in ("core", "call"):
                stack.extend(rest[1:])
                if kind == "core" and rest[0] in CHAINED:
                    stack.extend(rest[2:-1])
        return False

    def _filled(self, root: int, holes: list[Any]) -> Any:
        make, nodes = self.manager, self.message["nodes"]
        done: dict[int, Any] = {}
        stack = [root]
        while stack:
            index = stack[-1]
            kind, *rest = nodes[index]
            args = rest[1:] if kind in ("core", "call") else []
            missing = [arg for arg in args if arg not in done]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            parts = [done[arg] for arg in args]
            if kind == "hole":
                done[index] = holes[rest[0]]
            elif kind == "variable":
                done[index] = self.variables[rest[0]]
            elif kind == "literal":
                done[index] = self._literal(self.message["sorts"][rest[0]], rest[1])
            elif kind == "call":
                function = self.functions[rest[0]]
                done[index] = make.mkTerm(Kind.APPLY_UF, function, *parts) if parts else function
            else:
                done[index] = CORE[rest[0]](make.mkTerm, *parts)
        return done[root]

    def _literal(self, sort: str, value: str) -> Any:
        if sort == "Bool":
            return self.manager.mkBoolean(value == "True")
        return self.manager.mkReal(value) if sort == "Real" else self.manager.mkInteger(value)

    def _solver(self) -> Any:
        solver = cvc5.Solver(self.manager)
        solver.setLogic("ALL")
        solver.setOption("sygus", "true")
        solver.setOption("incremental", "true")
        return solver

    def _form(self, index: int, target: int, root: int, holes: list[int]) -> int | tuple[Any, Any]:
        """What cvc5 gives for a production: its head and the pattern, or the number of the hole that is all of it."""
        make, nonterminals = self.manager, self.message["nonterminals"]
        solver = self._solver()
        sorts = [self.sorts[nonterminals[hole]] for hole in holes]
        names = [make.mkVar(sort, f"h{i}") for i, sort in enumerate(sorts)]
        start, *places = [make.mkVar(sort, f"N{i}") for i, sort in enumerate([self.sorts[nonterminals[target]], *sorts])]
        grammar = solver.mkGrammar([*self.variables, *names], [start, *places])
        grammar.addRule(start, self._term(root, places))
        for place, name in zip(places, names, strict=True):
            grammar.addRule(place, name)
        found = solver.findSynth(FindSynthTarget.ENUM, grammar)
        numbers = {name.getId(): i for i, name in enumerate(names)}
        if found.getId() in numbers:
            return numbers[found.getId()]
        return _head(found), _pattern(found, numbers)

    def __iter__(self) -> Iterator[int | None]:
        """The rows of the terms in cvc5's order, up to the largest number of applications; None after each number.

        cvc5 gives a term once it has the next, and of the last class it searches that for ever. So there is a second start that
        derives one more term of each size, tick(k), tick(next(k)), ...: it says that the size before it is complete.
        """
        make, nonterminals, applications = self.manager, self.message["nonterminals"], self.message["applications"]
        sorts = [self.sorts[sort] for sort in nonterminals]
        clock = make.mkUninterpretedSort("clock")
        names = [make.mkVar(sort, f"N{i}") for i, sort in enumerate(sorts)]
        start, ticks = make.mkVar(sorts[0], "start"), make.mkVar(clock, "ticks")
        tick, later = (make.mkConst(make.mkFunctionSort([clock], to), name) for to, name in ((sorts[0], "tick"), (clock, "next")))
        solver = self._solver()
        grammar = solver.mkGrammar(self.variables, [start, *names, ticks])
        grammar.addRule(start, make.mkTerm(Kind.APPLY_UF, tick, ticks))
        for target, kind, root, holes in self.message["productions"]:
            for name in (names[0], start) if target == 0 else (names[target],):
                if kind == "any":
                    grammar.addAnyConstant(name)
                else:
                    grammar.addRule(name, self._term(root, [names[hole] for hole in holes]))
        grammar.addRules(ticks, [make.mkConst(clock, "k"), make.mkTerm(Kind.APPLY_UF, later, ticks)])
        complete = -1
        term = solver.findSynth(FindSynthTarget.ENUM, grammar)
        while not term.isNull():
            if _head(term) == (Kind.APPLY_UF, "tick"):
                complete += 1
                if complete == applications:
                    return
                yield None
            else:
                row = self._row(term, 0)
                if row is None:
                    raise RuntimeError(f"cvc5 gave {term}, and no production gives that")
                yield row
            term = solver.findSynthNext()

    def _row(self, term: Any, target: int) -> int | None:
        """The number of a row that derives `term` from the nonterminal `target`; None if there is none."""
        for path, lower in self.chains[target]:
            row = self._proper(term, lower)
            if row is not None:
                for production, hole, holes in path:
                    row = self._number([production, *(row if i == hole else -1 for i in range(holes))])
                return row
        return None

    def _proper(self, term: Any, target: int) -> int | None:
        """As `_row`, where the production applied first is no chain."""
        key = (term.getId(), target)
        if key not in self._memo:
            self._memo[key] = self._derived(term, target)
        return self._memo[key]

    def _derived(self, term: Any, target: int) -> int | None:
        head = _head(term)
        for form in self.forms[target].get(head, ()):
            row = self._flat(form, term) if form.skip is not None else self._matched(form, term)
            if row is not None:
                return row
        if head in _CONSTANTS and self.constants[target] is not None:
            return self._number([self.constants[target], _value(term)])
        return None

    def _flat(self, form: Form, term: Any) -> int | None:
        """`_matched` for the plain case."""
        row = [form.production]
        children = list(term)[form.skip :]
        if len(children) != len(form.holes):
            return None
        for child, lower in zip(children, form.holes, strict=True):
            part = self._row(child, lower)
            if part is None:
                return None
            row.append(part)
        return self._number(row)

    def _matched(self, form: Form, term: Any) -> int | None:
        """The row of `term` by one production; a hole that cvc5 has no use for is -1."""
        bound: dict[int, Any] = {}
        stack = [(form.pattern, term)]
        while stack:
            pattern, found = stack.pop()
            if isinstance(pattern, int):
                if bound.setdefault(pattern, found) != found:
                    return None
            elif pattern[0] is None:
                if _leaf(found) != pattern[1]:
                    return None
            else:
                kind, arguments = pattern
                if found.getKind() != kind or found.getNumChildren() != len(arguments):
                    return None
                stack.extend(zip(arguments, found, strict=True))
        parts: list[int] = []
        for hole, lower in enumerate(form.holes):
            row = self._row(bound[hole], lower) if hole in bound else -1
            if row is None:
                return None
            parts.append(row)
        return self._number([form.production, *parts])

    def _number(self, row: list[Any]) -> int:
        key = tuple(row)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self.rows.append(row)
        return self._numbers[key]


def _closure(chains: list[list[tuple[int, Step]]], target: int) -> list[tuple[list[Step], int]]:
    """The nonterminals that `target` reaches by productions that are a hole to cvc5, as (* 1.0 W) is: each with those
    productions, innermost first."""
    found: dict[int, list[Step]] = {target: []}
    order = [target]
    for current in order:
        for lower, step in chains[current]:
            if lower not in found:
                found[lower] = [step, *found[current]]
                order.append(lower)
    return [(path, lower) for lower, path in found.items()]


def _pattern(term: Any, holes: dict[int, int]) -> Any:
    """`term` with the number of a hole for each hole; a leaf is (None, what it is)."""
    if term.getId() in holes:
        return holes[term.getId()]
    if not term.getNumChildren():
        return None, _leaf(term)
    return term.getKind(), [_pattern(arg, holes) for arg in term]


def _head(term: Any) -> Any:
    """By what the forms of a term are found: its kind, or the function that it applies."""
    kind = term.getKind()
    return (kind, _leaf(term[0])) if kind == Kind.APPLY_UF else kind


def _flat(pattern: Any, holes: int) -> int | None:
    """Where the arguments of a pattern begin, if they are all its holes in order: some may vanish, as in (ite true R R)."""
    kind, arguments = pattern
    skip = 1 if kind == Kind.APPLY_UF else 0
    return skip if kind is not None and arguments[skip:] == [*range(holes)] else None


def _leaf(term: Any) -> str | int:
    """What tells a leaf from others, whichever search it is from. The truth table that cvc5 makes of `and` is one too."""
    return term.getSymbol() if term.hasSymbol() else term.getId()


def _value(term: Any) -> str:
    if term.isBooleanValue():
        return str(term.getBooleanValue())
    return str(Fraction(term.getRealValue() if term.isRealValue() else term.getIntegerValue()))


def _answers() -> Iterator[dict[str, Any]]:
    """An answer to each request."""
    message = json.loads(sys.stdin.readline())
    limit = int(message["seconds"]) + 5
    signal.alarm(_START + limit)  # for when nobody is left to end it; cvc5 holds the interpreter, so no handler would run
    enumeration = Enumeration(message)
    stream = iter(enumeration)
    yield {}
    for line in sys.stdin:
        signal.alarm(limit)
        count, begin, done = json.loads(line)["count"], time.monotonic(), True
        terms: list[int] = []
        for row in stream:
            if row is not None:
                terms.append(row)
            passed = time.monotonic() - begin
            if len(terms) == count or (terms and passed > _SLICE):
                done = False
                break
            if passed > 0.8 * message["seconds"] and not terms:  # before whoever waits gives up
                raise RuntimeError(f"no further term in {passed:.1f} s; give it a number of applications to stop at")
        rows, enumeration.rows = enumeration.rows, []
        yield {"rows": rows, "terms": terms, "done": done}


def main() -> None:
    """Answers requests until stdin ends. A term for which cvc5 needs longer than it may ends the process."""
    confine(MEMORY)
    try:
        for answer in _answers():
            signal.alarm(0)
            print(json.dumps(answer, separators=(",", ":")), flush=True)
    except RuntimeError as error:  # what cvc5 raises
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
