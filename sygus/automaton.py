"""A grammar as a bottom-up tree automaton with costs: what a term costs, each term looked at once however it is derived.

Bodies are flattened: every inner node of a body becomes a state of its own, so that a rule reads one symbol. Running the
automaton over a term gives at each node the *costs* of the states that derive it: the map from state to the least cost of a
derivation. Two terms with one map are derived by the same nonterminals at the same costs, which is what counting needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .constants import height
from .grammar import Grammar, Production
from .terms import Symbol, Term, fold, is_any_constant

Costs = dict[int, int]
"""The least cost at which each state derives a term; states that do not derive it are left out."""


@dataclass(frozen=True)
class Rule:
    """`state <- symbol(arguments)` at `cost`."""

    state: int
    arguments: tuple[int, ...]
    cost: int


@dataclass(frozen=True)
class Automaton:
    """The flat rules of a grammar.

    Attributes:
        grammar: where they come from. Its first nonterminals are the first states.
        names: the state of each nonterminal.
        rules: by symbol.
        any_constant: the productions that stand for all constants.

    >>> from . import read, read_term
    >>> target = read('''(synth-fun f ((x Real)) Real ((R Real) (S Real))
    ...     ((R Real (S (+ R R) (- S))) (S Real (x (Constant Real)))))(check-synth)''').target()
    >>> automaton = Automaton.of(target.grammar)
    >>> [automaton.cost(read_term(text, target.variables, {})) for text in ("(- x)", "(- 1.0)", "(- 3.0)", "(- (- x))")]
    [2, 1, 3, None]
    """

    grammar: Grammar
    names: dict[str, int]
    rules: dict[Symbol, list[Rule]]
    any_constant: list[Production]
    _above: dict[int, list[tuple[int, int]]] = field(repr=False)
    _by_first: dict[tuple[Symbol, int | None], list[Rule]] = field(repr=False)

    @classmethod
    def of(cls, grammar: Grammar) -> Automaton:
        """The automaton of `grammar`."""
        names = {name: index for index, name in enumerate(grammar.nonterminals)}
        rules: dict[Symbol, list[Rule]] = {}
        any_constant: list[Production] = []
        inner: dict[tuple[Term, bool], int] = {}
        above: dict[int, list[tuple[int, int]]] = {index: [] for index in names.values()}
        for name, reached in grammar.chains.items():
            for lower, cost in reached.items():
                if lower != name:
                    above[names[lower]].append((names[name], cost))

        def state(body: Term, by_node: bool) -> int:
            """The state of an inner node; its rules are made when it is first asked for."""
            new: list[Term] = [body]
            while new:
                term = new.pop()
                if grammar.is_hole(term) or (term, by_node) in inner:
                    continue
                inner[term, by_node] = len(names) + len(inner)
                new.extend(term.args)
                waiting.append((inner[term, by_node], term, by_node, int(by_node)))
            return names[body.name] if grammar.is_hole(body) else inner[body, by_node]

        waiting: list[tuple[int, Term, bool, int]] = []
        for name, productions in grammar.productions.items():
            for production in productions:
                if is_any_constant(production.body):
                    any_constant.append(production)
                elif not grammar.is_hole(production.body):
                    by_node = production.weight is None  # each node costs 1, so that all derivations of a term cost the same
                    waiting.append((names[name], production.body, by_node, 1 if by_node else grammar.weight(production)))
        while waiting:
            target, body, by_node, cost = waiting.pop()
            rule = Rule(target, tuple(state(arg, by_node) for arg in body.args), cost)
            rules.setdefault(body.symbol, []).append(rule)
        by_first: dict[tuple[Symbol, int | None], list[Rule]] = {}
        for symbol, of_symbol in rules.items():
            for rule in of_symbol:
                by_first.setdefault((symbol, rule.arguments[0] if rule.arguments else None), []).append(rule)
        return cls(grammar, names, rules, any_constant, above, by_first)

    def close(self, costs: Costs) -> Costs:
        """`costs` with the states added that reach one of them by chains. Changes `costs`."""
        for state, cost in list(costs.items()):
            for upper, more in self._above.get(state, ()):
                if cost + more < costs.get(upper, cost + more + 1):
                    costs[upper] = cost + more
        return costs

    def fitting(self, symbol: Symbol, arguments: tuple[Mapping[int, int], ...]) -> Iterator[Rule]:
        """The rules of `symbol` whose first argument is derived: a deep body has many for one symbol, and few fit."""
        for state in arguments[0] if arguments else (None,):
            yield from self._by_first.get((symbol, state), ())

    def apply(self, rules: Iterable[Rule], arguments: tuple[Mapping[int, int], ...]) -> Costs:
        """The costs that `rules`, those of one symbol, give to that symbol applied to terms with the costs `arguments`."""
        found: Costs = {}
        for rule in rules:
            total = rule.cost
            for state, costs in zip(rule.arguments, arguments, strict=True):
                cost = costs.get(state)
                if cost is None:
                    break
                total += cost
            else:
                if total < found.get(rule.state, total + 1):
                    found[rule.state] = total
        return self.close(found)

    def constant(self, term: Term) -> Costs:
        """The costs at which `(Constant sort)` gives `term`; empty for a term that it does not give."""
        found: Costs = {}
        least = height(term) if self.any_constant else None
        if least is not None:
            for production in self.any_constant:
                if production.body.sort == term.sort:
                    cost = self.grammar.weight(production) + (0 if term in self.grammar.listed else least - 1)
                    state = self.names[production.nonterminal]
                    found[state] = min(cost, found.get(state, cost))
        return self.close(found)

    def costs(self, root: Term, memo: dict[Term, Costs] | None = None) -> Costs:
        """The costs of the states that derive `root`."""

        def visit(term: Term, arguments: tuple[Costs, ...]) -> Costs:
            return least(self.apply(self.fitting(term.symbol, arguments), arguments), self.constant(term))

        return fold(root, visit, {} if memo is None else memo)

    def cost(self, root: Term, nonterminal: str | None = None, memo: dict[Term, Costs] | None = None) -> int | None:
        """The cost of `root` as a term of `nonterminal`, by default the start: that of its cheapest derivation, None without one.

        Args:
            root: the term.
            nonterminal: what it is derived from.
            memo: costs of terms already seen, to be kept between calls.
        """
        return self.costs(root, memo).get(self.names[nonterminal or self.grammar.start])


def least(left: Costs, right: Costs) -> Costs:
    """The cheaper of two costs for each state.

    >>> least({0: 1, 1: 5}, {1: 2})
    {0: 1, 1: 2}
    """
    if not right:
        return left
    return {**left, **{state: min(cost, left.get(state, cost)) for state, cost in right.items()}}
