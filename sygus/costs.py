"""What terms cost, and whether there are finitely many of each cost.

The cost of a derivation is the sum of the weights of its productions, the cost of a term that of its cheapest derivation. A
production may cost nothing. What a search in order of cost cannot bear is a derivation of W from W that adds to a term and costs
nothing: then infinitely many terms have one cost, and no search comes to the next. Every learner refuses such a grammar.

What one term costs, a bottom-up tree automaton tells, which looks at each of its nodes once, however it is derived. Bodies are
flattened: every inner node of a body becomes a state of its own, so that a rule reads one symbol. Running the automaton over a
term gives at each node the *costs* of the states that derive it: the map from state to the least cost of a derivation. Two terms
with one map are derived by the same nonterminals at the same costs, which is what counting needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from .constants import height
from .errors import SygusError
from .grammar import Grammar, Production
from .terms import Symbol, Term, fold, is_any_constant


def cheapest(grammar: Grammar) -> dict[str, tuple[int, Term]]:
    """For each nonterminal the least cost of its terms and one term of that cost; those that derive no term are left out.

    Weights below zero are no matter for this function: see `check_costs`.

    >>> from . import read
    >>> text = "(synth-fun f ((x Real)) Real ((R Real) (S Real)) ((R Real ((+ S S))) (S Real (x (- R)))))(check-synth)"
    >>> {name: (cost, str(term)) for name, (cost, term) in cheapest(read(text).target().grammar).items()}
    {'S': (1, 'x'), 'R': (3, '(+ x x)')}
    """
    above: dict[str, list[int]] = {name: [] for name in grammar.nonterminals}
    rules: list[Production] = [p for productions in grammar.productions.values() for p in productions]
    holes = [grammar.holes(p.body) for p in rules]
    missing = [set(names) for names in holes]
    heap: list[tuple[int, int]] = []
    found: dict[str, tuple[int, Term]] = {}
    for index, names in enumerate(missing):
        for name in names:
            above[name].append(index)
        if not names:
            heappush(heap, (grammar.weight(rules[index]), index))
    while heap:
        cost, index = heappop(heap)
        rule = rules[index]
        if rule.nonterminal in found:
            continue
        body = grammar.bodies(rule, grammar.weight(rule))[0]
        found[rule.nonterminal] = cost, grammar.template(body).fill(tuple(found[name][1] for name in holes[index]))
        for user in above[rule.nonterminal]:
            missing[user].discard(rule.nonterminal)
            if not missing[user]:
                heappush(heap, (grammar.weight(rules[user]) + sum(found[name][0] for name in holes[user]), user))
    return found


def zero_cycles(grammar: Grammar) -> list[Production]:
    """The productions by which a nonterminal derives itself inside a larger term at no cost. Empty where each cost has
    finitely many terms.

    >>> from dataclasses import replace
    >>> from . import read
    >>> text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (- R) (+ R R)))))(check-synth)"
    >>> grammar = read(text).target().grammar
    >>> zero_cycles(grammar)
    []
    >>> free = {"R": [replace(p, weight=0 if p.body.name in ("x", "-") else 2) for p in grammar.productions["R"]]}
    >>> [str(p) for p in zero_cycles(replace(grammar, productions=free))]
    ['R -> (- R)']
    """
    least = cheapest(grammar)
    free = {name for name, (cost, _) in least.items() if cost == 0}
    steps: dict[str, dict[str, None]] = {name: {} for name in grammar.nonterminals}
    growing: list[tuple[Production, str]] = []
    for name, rules in grammar.productions.items():
        for production in rules:
            if grammar.weight(production) != 0:
                continue
            holes = grammar.holes(production.body)
            costly = [hole for hole in holes if hole not in free]
            for hole in dict.fromkeys(holes):
                if hole in least and costly in ([], [hole]):
                    steps[name][hole] = None
                    if not grammar.is_hole(production.body):
                        growing.append((production, hole))
    reached: dict[str, set[str]] = {}
    found: dict[int, Production] = {}
    for production, hole in growing:
        if hole not in reached:
            reached[hole] = _reach(steps, hole)
        if production.nonterminal in reached[hole]:
            found[id(production)] = production
    return list(found.values())


def _reach(steps: dict[str, dict[str, None]], name: str) -> set[str]:
    found, stack = {name}, [name]
    while stack:
        further = steps[stack.pop()].keys() - found
        found |= further
        stack.extend(further)
    return found


def check_costs(grammar: Grammar) -> None:
    """Refuses a grammar that no learner can go through in order of cost.

    Raises:
        SygusError: naming a production that costs less than nothing, or productions that grow a term at no cost.
    """
    for rules in grammar.productions.values():
        for production in rules:
            if production.weight is not None and production.weight < 0:
                raise SygusError(f"the production {production} costs {production.weight}: a cost is at least 0")
    cycles = zero_cycles(grammar)
    if cycles:
        shown = ", ".join(map(str, cycles[:3])) + (", ..." if len(cycles) > 3 else "")
        raise SygusError(
            f"infinitely many terms of one cost: {shown} can be applied again and again at no cost; give one production of each "
            "such cycle a weight of at least 1, or the weight a default"
        )


# The automaton ----------------------------------------------------------------------------------------------------------

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
