"""Grammars: typed nonterminals, productions with holes, and the question whether a term is derived.

A body is a hash-consed term, so a `let` can make it stand for 2^100 nodes: every walk here is over distinct subterms and does
not recurse. Only what is by nature a list of all holes goes through the tree, and refuses more than `MOST_HOLES` of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush

from .constants import constant_value, constants
from .errors import SygusError
from .terms import Sort, Term, Variable, fold, is_any_constant, sort_text, substitute, subterms, symbol_text, to_text

MOST_HOLES = 256
MOST_NODES = 1_000_000
"""Nodes of a body on the way to its holes, as a tree."""


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

    def __str__(self) -> str:
        """For messages: `R -> (+ R R)`, a body of more than 40 nodes cut to its first symbol."""
        return f"{self.nonterminal} -> {self.body if self.body.size <= 40 else f'({self.body.name} ...)'}"


@dataclass(frozen=True)
class Template:
    """A body with one variable for each hole, so that a nonterminal that occurs twice may become two terms.

    Attributes:
        body: the term over `variables`.
        holes: the nonterminal of each hole, from left to right.
        variables: what stands for each hole in `body`.
    """

    body: Term
    holes: tuple[str, ...]
    variables: tuple[Term, ...]

    def fill(self, parts: tuple[Term, ...]) -> Term:
        """The body with `parts` in its holes."""
        if parts and self.body.args == self.variables:
            return Term(self.body.symbol, parts)
        return substitute(self.body, dict(zip(self.variables, parts, strict=True)))


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

    # Bodies -------------------------------------------------------------------------------------------------------------

    @cached_property
    def _counts(self) -> dict[Term, tuple[int, int]]:
        """Of each body, the number of its holes and that of the nodes from the root to them, counted in its tree."""
        memo: dict[Term, tuple[int, int]] = {}
        for rules in self.productions.values():
            for production in rules:
                self._counted(production.body, memo)
        return memo

    def _counted(self, body: Term, memo: dict[Term, tuple[int, int]]) -> tuple[int, int]:
        def visit(term: Term, args: tuple[tuple[int, int], ...]) -> tuple[int, int]:
            if self.is_hole(term):
                return 1, 1
            holes = sum(arg[0] for arg in args)
            return holes, holes and 1 + sum(arg[1] for arg in args)

        return fold(body, visit, memo)

    def holes(self, body: Term) -> tuple[str, ...]:
        """The nonterminals in `body` from left to right, repeated where they occur again.

        Raises:
            SygusError: if there are more than `MOST_HOLES`, or they stand too deep in too large a tree.
        """
        return self.template(body).holes

    def template(self, body: Term) -> Template:
        """`body` with its holes told apart.

        >>> from . import read
        >>> text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (ite (> R 0.0) R (- R))))))(check-synth)"
        >>> grammar = read(text).target().grammar
        >>> template = grammar.template(grammar.productions["R"][1].body)
        >>> template.holes, [v.name for v in template.variables]
        (('R', 'R', 'R'), ['|R#0|', '|R#1|', '|R#2|'])

        Raises:
            SygusError: as `holes`.
        """
        counts = self._counts
        count, nodes = self._counted(body, counts)
        if count > MOST_HOLES or nodes > MOST_NODES:
            many = f"{count} holes" if count < 10**9 else "more than 10^9 holes"
            raise SygusError(
                f"a production ({body.name} ...) with {many}, repeated ones counted; accepted are at most {MOST_HOLES}, in a "
                f"body of at most {MOST_NODES} nodes: let a nonterminal of its own stand for the repeated part"
            )
        found: list[Term] = []
        names: list[str] = []
        done: list[Term] = []
        stack: list[tuple[Term, bool]] = [(body, False)]
        while stack:
            term, ready = stack.pop()
            if ready:
                start = len(done) - len(term.args)
                done[start:] = [Term(term.symbol, tuple(done[start:]))]
            elif self.is_hole(term):
                found.append(Term(Variable(f"|{term.name}#{len(found)}|", term.sort)))
                names.append(term.name)
                done.append(found[-1])
            elif not counts[term][0]:
                done.append(term)
            else:
                stack.append((term, True))
                stack.extend((arg, False) for arg in reversed(term.args))
        return Template(done[0], tuple(names), tuple(found))

    def weight(self, production: Production) -> int:
        """The cost that `production` adds."""
        if production.weight is not None:
            return production.weight
        return production.body.size - self._counted(production.body, self._counts)[0]

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
        listed = dict.fromkeys(t for t in self.listed if t.sort == production.body.sort)
        found = constants(production.body.sort, cost - least + 1)
        return list(dict.fromkeys([*found, *listed])) if cost == least else [t for t in found if t not in listed]

    # Chains -------------------------------------------------------------------------------------------------------------

    @cached_property
    def chains(self) -> dict[str, dict[str, int]]:
        """For each nonterminal, itself and all that it reaches by productions that are one hole, with the least cost of that.

        Nearest first; those at one cost in the order in which they are met, breadth first.
        """
        steps = {
            name: [(p.body.name, self.weight(p)) for p in rules if self.is_hole(p.body)]
            for name, rules in self.productions.items()
        }
        reached: dict[str, dict[str, int]] = {}
        for name in self.nonterminals:
            found: dict[str, int] = {}
            heap, met = [(0, 0, name)], 0
            while heap:
                cost, _, current = heappop(heap)
                if current in found:
                    continue
                found[current] = cost
                for further, weight in steps[current]:
                    if further not in found:
                        met += 1
                        heappush(heap, (cost + weight, met, further))
            reached[name] = found
        return reached

    def proper(self, nonterminal: str) -> Iterator[Production]:
        """The productions of `nonterminal` and of all it reaches by chains, those that are one hole left out.

        One that is reached by a chain that costs something has that added to its weight.
        """
        for name, extra in self.chains[nonterminal].items():
            for production in self.productions[name]:
                if not self.is_hole(production.body):
                    yield replace(production, weight=self.weight(production) + extra) if extra else production

    # Questions ----------------------------------------------------------------------------------------------------------

    def _distinct_holes(self, body: Term) -> set[str]:
        return {term.name for term in subterms(body) if self.is_hole(term)}

    def unproductive(self) -> list[str]:
        """Nonterminals that derive no finite term."""
        waiting: dict[str, list[tuple[str, set[str]]]] = {name: [] for name in self.nonterminals}
        productive: dict[str, None] = {}
        ready: list[str] = []
        for name, rules in self.productions.items():
            for production in rules:
                missing = self._distinct_holes(production.body)
                if not missing:
                    ready.append(name)
                for hole in missing:
                    waiting[hole].append((name, missing))
        while ready:
            found = ready.pop()
            if found in productive:
                continue
            productive[found] = None
            for name, missing in waiting[found]:
                missing.discard(found)
                if not missing:
                    ready.append(name)
        return [name for name in self.nonterminals if name not in productive]

    def reachable(self) -> list[str]:
        """The nonterminals that the start leads to, in order of appearance."""
        reached = [self.start]
        for name in reached:
            for production in self.productions[name]:
                holes = dict.fromkeys(term.name for term in subterms(production.body) if self.is_hole(term))
                reached += [hole for hole in holes if hole not in reached]
        return reached

    def terminals(self) -> list[str]:
        """The variables of the productions that can be reached from the start, in order of appearance."""
        bodies = (term for name in self.reachable() for p in self.productions[name] for term in subterms(p.body))
        variables = (t for t in bodies if isinstance(t.symbol, Variable) and not self.is_hole(t) and not is_any_constant(t))
        return list(dict.fromkeys(t.name for t in variables))

    def derives(self, root: Term, nonterminal: str | None = None) -> bool:
        """Whether `root` is a term of this grammar (of `nonterminal`, by default the start), to the letter.

        A define-fun counts as the symbol that it is: expand both sides first to look through it.
        """
        above: dict[str, set[str]] = {name: set() for name in self.nonterminals}
        for name, reached in self.chains.items():
            for lower in reached:
                above[lower].add(name)
        proper = [(name, p.body) for name, rules in self.productions.items() for p in rules if not self.is_hole(p.body)]
        derived: dict[Term, set[str]] = {}
        for term in subterms(root):
            found: set[str] = set()
            for name, body in proper:
                if name not in found and self._matches(body, term, derived):
                    found |= above[name]
            derived[term] = found
        return (nonterminal or self.start) in derived[root]

    def _matches(self, pattern: Term, term: Term, derived: dict[Term, set[str]]) -> bool:
        seen: set[tuple[Term, Term]] = set()
        stack = [(pattern, term)]
        while stack:
            left, right = stack.pop()
            if is_any_constant(left):
                if left.sort != right.sort or constant_value(right) is None:
                    return False
            elif self.is_hole(left):
                if left.name not in derived.get(right, ()):
                    return False
            elif not self._counted(left, self._counts)[0]:
                if left is not right:
                    return False
            elif left.symbol != right.symbol or left.size > right.size:  # a hole becomes one node or more
                return False
            elif (left, right) not in seen:
                seen.add((left, right))
                stack.extend(zip(left.args, right.args, strict=True))
        return True

    def __str__(self) -> str:
        return "\n".join(
            f"{name} {sort} -> {' | '.join(str(p.body) for p in self.productions[name])}"
            for name, sort in self.nonterminals.items()
        )


def production_text(production: Production) -> str:
    """The right-hand side of a production with its annotated weights: `(! (+ R R) :w 3)`."""
    weights = "".join(f" :{name} {value}" for name, value in production.weights)
    return f"(! {to_text(production.body)}{weights})" if weights else to_text(production.body)


def grammar_text(grammar: Grammar) -> str:
    """The grammar as it stands in a `synth-fun`: the nonterminals, then a line for the rule of each.

    >>> from sygus import read
    >>> print(grammar_text(read('''(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R)))))
    ...                             (check-synth)''').target().grammar))
    ((R Real))
    ((R Real (x 1.0 (+ R R))))
    """
    names = [f"{symbol_text(name)} {sort_text(sort)}" for name, sort in grammar.nonterminals.items()]
    rules = [
        f"({head} ({' '.join(map(production_text, grammar.productions[name]))}))"
        for name, head in zip(grammar.nonterminals, names, strict=True)
    ]
    return f"({' '.join(f'({name})' for name in names)})\n({f'{chr(10)} '.join(rules)})"
