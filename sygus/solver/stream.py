"""What cvc5's enumerator is told of a grammar: the productions as plain lists, in cvc5's own functions where these mean the same.

cvc5 leaves out a term when its rewriter sees that it equals an earlier one, so what it is told decides what it leaves out. A
function that it knows is named to it where the rewriter is right about ours: `/` is its total division, a define-fun is its body.
All others are unknown functions, which loses nothing but prunes less.

**Trap**: where operators reduce over axes, a value is one number for each channel or pixel, and a condition holds at some of
them. cvc5 may take (ite (= w 1.0) (cmean w) 0.0) for (ite (= w 1.0) (cmean 1.0) 0.0), which is another tensor: what is known in a
branch is put below the reduction. So in a grammar with functions that are not core, connectives are unknown functions, and so is
an `ite`, but for one whose branches are literals or stand in its condition, as that of relu does.
"""

from __future__ import annotations

from typing import Any

from ..core import is_core
from ..errors import SygusError
from ..grammar import Grammar
from ..semantics.scalars import SOLVED
from ..terms import BOOL, INT, REAL, Function, Literal, Sort, Term, Variable, expand, is_any_constant, subterms

LARGEST = 10_000
"""Nodes of a body as a tree, define-funs expanded: cvc5 writes each out as the name of a constructor."""
_NUMBERS = (REAL, INT)


def describe(grammar: Grammar) -> dict[str, Any]:
    """The grammar as a message to `stream_worker.py`: sorts, variables and functions by index, nodes in a shared table.

    The productions are those of `grammar.proper`, nonterminal by nonterminal: to cvc5 a chain would be an application.

    Raises:
        SygusError: for a production that cvc5's enumerator cannot take.
    """
    return _Describer(grammar).message()


class _Describer:
    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.nodes: list[list[Any]] = []
        self.indices: dict[Term, int] = {}
        self.variables: dict[Term, int] = {}
        self.numbers: dict[Term, int] = {}
        self.functions: dict[Function | Literal, int] = {}
        self.sorts: dict[Sort, int] = {}
        self.holes = {name: index for index, name in enumerate(grammar.nonterminals)}
        self.pointwise = True

    def message(self) -> dict[str, Any]:
        bodies: list[list[tuple[Term, tuple[str, ...]]]] = []
        for name in self.grammar.nonterminals:
            bodies.append([])
            for production in self.grammar.proper(name):
                template = self.grammar.template(production.body)
                self.numbers.update({variable: number for number, variable in enumerate(template.variables)})
                body = expand(template.body)
                if body.size > LARGEST:
                    raise SygusError(f"cvc5 cannot enumerate {production}: its body has more than {LARGEST} nodes")
                bodies[-1].append((body, template.holes))
        symbols = (t.symbol for rules in bodies for body, _ in rules for t in subterms(body))
        self.pointwise = all(is_core(s) for s in symbols if isinstance(s, Function))
        productions = [
            [index, *self._body(body), [self.holes[hole] for hole in holes]]
            for index, rules in enumerate(bodies) for body, holes in rules
        ]  # fmt: skip
        return {
            "nonterminals": [self._sort(sort) for sort in self.grammar.nonterminals.values()],
            "productions": productions,
            "nodes": self.nodes,
            "variables": [self._sort(term.sort) for term in self.variables],
            "functions": [self._signature(symbol) for symbol in self.functions],
            "sorts": [str(sort) for sort in self.sorts],
        }

    def _signature(self, symbol: Function | Literal) -> list[Any]:
        if isinstance(symbol, Literal):
            return [[], self._sort(symbol.sort)]
        return [[self._sort(sort) for sort in symbol.parameters], self._sort(symbol.result)]

    def _sort(self, sort: Sort) -> int:
        return self.sorts.setdefault(sort, len(self.sorts))

    def _body(self, body: Term) -> list[Any]:
        if is_any_constant(body):
            return ["any", None]
        for term in subterms(body):
            if term not in self.indices:
                self.indices[term] = len(self.nodes)
                self.nodes.append(self._node(term))
        return ["term", self.indices[body]]

    def _node(self, term: Term) -> list[Any]:
        symbol = term.symbol
        args = [self.indices[arg] for arg in term.args]
        if term in self.numbers:
            return ["hole", self.numbers[term]]
        if isinstance(symbol, Variable):
            return ["variable", self.variables.setdefault(term, len(self.variables))]
        if isinstance(symbol, Literal) and term.sort in (REAL, INT, BOOL):
            return ["literal", self._sort(term.sort), str(symbol.value)]
        if not isinstance(symbol, Function | Literal):
            raise SygusError(f"cvc5 cannot enumerate a grammar with the quantifier {symbol.name!r} in a production")
        if isinstance(symbol, Function) and self._native(term, symbol):
            return ["core", symbol.name, *args]
        return ["call", self.functions.setdefault(symbol, len(self.functions)), *args]

    def _native(self, term: Term, symbol: Function) -> bool:
        """Whether cvc5 may take `term` for what it understands by its symbol."""
        if not is_core(symbol) or symbol.name not in SOLVED:
            return False
        if self.pointwise or all(sort in _NUMBERS for sort in symbol.parameters):
            return True
        if symbol.name != "ite":
            return False
        condition, *branches = term.args
        inside = set(subterms(condition)) - {condition}
        return all(branch.is_literal or (branch.is_variable and branch in inside) for branch in branches)
