"""Grammars: typed nonterminals, productions with holes, and the question whether a term is derived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from .constants import constant_value, constants, is_any_constant
from .terms import Sort, Term, Variable, subterms


@dataclass(frozen=True)
class Production:
    """`nonterminal -> body`, with its cost.

    Attributes:
        body: a term in which a variable with a nonterminal's name is a hole. `any_constant(sort)` stands for all constants.
        weight: the cost; None for the number of nodes that are not holes, so that the cost of a term is its size.
        weights: what the file annotates, by the name of the weight; `Grammar.by_weight` makes one the cost.
    """

    nonterminal: str
    body: Term
    weight: int | None = None
    weights: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Grammar:
    """Nonterminals with their sorts, the first being the start, and the productions of each.

    Raises nothing itself: `reader.read` checks what a file may get wrong.
    """

    nonterminals: dict[str, Sort]
    productions: dict[str, list[Production]]
    listed: tuple[Term, ...] = ()
    """Literals that the file lists: `(Constant sort)` gives those of its sort at cost 1, whatever their height."""

    @property
    def start(self) -> str:
        """The nonterminal that the function to synthesise is derived from."""
        return next(iter(self.nonterminals))

    def is_hole(self, term: Term) -> bool:
        """Whether `term` is a nonterminal."""
        return term.is_variable and self.nonterminals.get(term.name) == term.sort

    def holes(self, body: Term) -> tuple[str, ...]:
        """The nonterminals in `body` from left to right, repeated where they occur again."""
        found: list[str] = []
        stack = [body]
        while stack:
            term = stack.pop()
            if self.is_hole(term):
                found.append(term.name)
            stack.extend(reversed(term.args))
        return tuple(found)

    def weight(self, production: Production) -> int:
        """The cost that `production` adds."""
        return production.body.size - len(self.holes(production.body)) if production.weight is None else production.weight

    def by_weight(self, name: str, default: int = 0) -> Grammar:
        """This grammar with the annotated weight `name` as cost; a production without it costs `default`."""
        productions = {
            nonterminal: [replace(p, weight=dict(p.weights).get(name, default)) for p in rules]
            for nonterminal, rules in self.productions.items()
        }
        return replace(self, productions=productions)

    def bodies(self, production: Production, cost: int) -> list[Term]:
        """The right-hand sides for which `production` adds `cost`: its body, or the constants that it stands for.

        >>> from . import read
        >>> text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 0.3 (Constant Real)))))(check-synth)"
        >>> grammar = read(text).target().grammar
        >>> [[str(t) for t in grammar.bodies(grammar.productions["R"][2], cost)] for cost in (1, 2)]
        [['0.0', '1.0', '(- 1.0)', '0.3'], ['2.0', '0.5', '(- 2.0)', '(- 0.5)']]
        """
        least = self.weight(production)
        if not is_any_constant(production.body):
            return [production.body] if cost == least else []
        if cost < least:
            return []
        listed = [t for t in self.listed if t.sort == production.body.sort]
        found = constants(production.body.sort, cost - least + 1)
        return list(dict.fromkeys([*found, *listed])) if cost == least else [t for t in found if t not in listed]

    @cached_property
    def chains(self) -> dict[str, tuple[str, ...]]:
        """For each nonterminal, itself and all that it reaches by productions that are one hole."""
        reached: dict[str, tuple[str, ...]] = {}
        for name in self.nonterminals:
            found = [name]
            for current in found:
                for production in self.productions[current]:
                    if self.is_hole(production.body) and production.body.name not in found:
                        found.append(production.body.name)
            reached[name] = tuple(found)
        return reached

    def proper(self, nonterminal: str) -> Iterator[Production]:
        """The productions of `nonterminal` and of all it reaches by chains, those that are one hole left out."""
        for name in self.chains[nonterminal]:
            yield from (p for p in self.productions[name] if not self.is_hole(p.body))

    def unproductive(self) -> list[str]:
        """Nonterminals that derive no finite term."""
        productive: set[str] = set()
        while True:
            more = {
                name for name in self.nonterminals
                if any(set(self.holes(p.body)) <= productive for p in self.productions[name])
            }  # fmt: skip
            if more == productive:
                return [name for name in self.nonterminals if name not in productive]
            productive = more

    def terminals(self) -> list[str]:
        """The variables of the productions that can be reached from the start, in order of appearance."""
        reached: list[str] = [self.start]
        found: dict[str, None] = {}
        for name in reached:
            for production in self.productions[name]:
                for term in subterms(production.body):
                    if self.is_hole(term):
                        if term.name not in reached:
                            reached.append(term.name)
                    elif isinstance(term.symbol, Variable) and not is_any_constant(term):
                        found[term.name] = None
        return list(found)

    def derives(self, root: Term, nonterminal: str | None = None) -> bool:
        """Whether `root` is a term of this grammar (of `nonterminal`, by default the start), to the letter.

        A define-fun counts as the symbol that it is: expand both sides first to look through it.
        """
        derived: dict[Term, frozenset[str]] = {}
        for term in subterms(root):
            found: set[str] = set()
            for name, rules in self.productions.items():
                if any(not self.is_hole(p.body) and self._matches(p.body, term, derived) for p in rules):
                    found.add(name)
            derived[term] = frozenset(n for n in self.nonterminals if found & set(self.chains[n]))
        return (nonterminal or self.start) in derived[root]

    def _matches(self, pattern: Term, term: Term, derived: dict[Term, frozenset[str]]) -> bool:
        stack = [(pattern, term)]
        while stack:
            left, right = stack.pop()
            if is_any_constant(left):
                if left.sort != right.sort or constant_value(right) is None:
                    return False
            elif self.is_hole(left):
                if left.name not in derived.get(right, ()):
                    return False
            elif left.symbol != right.symbol or len(left.args) != len(right.args):
                return False
            else:
                stack.extend(zip(left.args, right.args, strict=True))
        return True

    def __str__(self) -> str:
        return "\n".join(
            f"{name} {sort} -> {' | '.join(str(p.body) for p in self.productions[name])}"
            for name, sort in self.nonterminals.items()
        )
