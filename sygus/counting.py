"""How many terms of each cost a grammar derives, counted without enumerating them.

The automaton of the grammar (`costs.py`) is made deterministic while counting: a *class* is all terms with the same costs but
for a common offset, so that a term is in exactly one class and is counted once, however many derivations it has. What matters
of an argument is only its costs at the states that stand at its place in some rule: terms alike there are a *kind*, and the
numbers of terms are convolved by kinds. Constants of `(Constant sort)` are counted one by one: `(- 1.0)` is a negation too.

Counts are exact, Python integers. Time grows with the square of the limit; the number of classes depends on how ambiguous the
grammar is and may be exponential in it, so that it is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import mul

from .costs import Automaton, Costs, Rule, check_costs, least
from .errors import SygusError
from .grammar import Grammar
from .terms import Symbol, Term, subterms

MOST_CLASSES = 20_000
MOST_COMBINATIONS = 200_000
MOST_ARGUMENTS = 100

_Key = frozenset[tuple[int, int]]


@dataclass(eq=False)
class Kind:
    """Terms that are alike as arguments of some rules.

    Attributes:
        costs: those of its terms at the states of these rules, less the smallest.
        counts: how many of its terms have each smallest cost.
        members: the classes that it joins, each with what is added to a cost of the class.
    """

    costs: dict[int, int]
    counts: list[int]
    members: list[tuple[Class, int]] = field(default_factory=list)


@dataclass(eq=False)
class Class:
    """Terms with the same costs but for an offset.

    Attributes:
        costs: those of its terms, less the smallest.
        counts: how many of its terms have each smallest cost.
        leaves: terms by smallest cost that are no application, or that are constants.
        sources: combinations that give terms of this class, with what they add to the cost.
        kinds: the kinds that it belongs to, each with what is added to a cost of the class; None before there is a term.
    """

    costs: dict[int, int]
    counts: list[int]
    leaves: dict[int, list[Term]] = field(default_factory=dict)
    sources: list[tuple[Combination, int]] = field(default_factory=list)
    kinds: list[tuple[Kind, int]] | None = None


@dataclass(eq=False)
class Combination:
    """A symbol with kinds for its first arguments, and how many such tuples have each cost in all.

    Attributes:
        symbol: what is applied.
        first: the combination of all arguments but the last; None where there is one argument.
        last: the kind of the last argument.
        counts: for each cost that is settled.
    """

    symbol: Symbol
    first: Combination | None
    last: Kind
    counts: list[int] = field(default_factory=list)

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the arguments."""
        found, combination = [self.last], self.first
        while combination is not None:
            found.append(combination.last)
            combination = combination.first
        return found[::-1]

    def count(self, cost: int, settled: int) -> int:
        """The number of tuples at `cost`, where the kinds' numbers below `settled` will not change any more."""
        if self.first is None:
            return self.last.counts[cost]
        while len(self.counts) < min(cost + 1, settled):
            self.counts.append(self._convolved(len(self.counts), settled))
        return self.counts[cost] if cost < len(self.counts) else self._convolved(cost, settled)

    def _convolved(self, cost: int, settled: int) -> int:
        assert self.first is not None
        first = (
            [self.first.count(c, settled) for c in range(cost + 1)] if self.first.first else self.first.last.counts[: cost + 1]
        )
        return sum(map(mul, first, self.last.counts[cost::-1]))


class Counts:
    """The number of distinct terms of each cost, for every nonterminal of a grammar.

    The cost of a term is the least cost of its derivations: without weights its number of nodes, where a constant that only
    `(Constant sort)` gives costs its height. Two derivations of one term are one term.

    Args:
        grammar: what to count.
        limit: the highest cost.

    Raises:
        SygusError: if infinitely many terms have one cost, a production costs less than 0, the grammar is so ambiguous that its
            automaton has more than `MOST_CLASSES` classes or `MOST_COMBINATIONS` combinations of them, or a symbol has more than
            `MOST_ARGUMENTS` arguments.

    >>> from sygus import read
    >>> grammar = read('''(synth-fun f ((x Real)) Real ((R Real) (S Real)) ((R Real (S (+ R R) (+ S R))) (S Real (x 1.0))))
    ...                   (check-synth)''').target().grammar
    >>> Counts(grammar, 7).of("R")
    [0, 2, 0, 4, 0, 16, 0, 80]
    """

    def __init__(self, grammar: Grammar, limit: int) -> None:
        check_costs(grammar)
        self.limit = max(limit, 0)
        self.automaton = Automaton.of(grammar)
        self.constants: dict[Term, None] = {}
        self._classes: dict[_Key, Class] = {}
        self._kinds: dict[frozenset[int], dict[_Key, Kind]] = {}
        self._combinations = 0
        self._corrections: dict[int, list[tuple[Class, int]]] = {}
        self._applied: list[_Applied] = []
        for symbol, rules in self.automaton.rules.items():
            arities = sorted({len(rule.arguments) for rule in rules} - {0})
            assert len(arities) <= 1, "a symbol has one signature"
            if arities and arities[0] > MOST_ARGUMENTS:
                raise SygusError(f"cannot count the terms: a symbol has {arities[0]} arguments, more than {MOST_ARGUMENTS}")
            if arities:
                places = [self._place(frozenset(rule.arguments[i] for rule in rules)) for i in range(arities[0])]
                self._applied.append(_Applied(symbol, rules, places))
        for state in self.automaton.names.values():
            self._place(frozenset({state}))
        self._leaves()
        self._constants()
        for cost in range(self.limit + 1):
            self._level(cost)

    def of(self, nonterminal: str | None = None) -> list[int]:
        """The number of terms of `nonterminal`, by default the start, at cost 0, 1, ..., limit."""
        kind = self.kind(nonterminal)
        return list(kind.counts) if kind else [0] * (self.limit + 1)

    def kind(self, nonterminal: str | None = None) -> Kind | None:
        """All terms of `nonterminal`; None where it has none."""
        state = self.automaton.names[nonterminal or self.automaton.grammar.start]
        return self._kinds[frozenset({state})].get(frozenset({(state, 0)}))

    def _place(self, states: frozenset[int]) -> dict[_Key, Kind]:
        return self._kinds.setdefault(states, {})

    def _class(self, costs: Costs) -> tuple[Class, int]:
        """The class of terms with `costs`, and the smallest of these."""
        lowest = min(costs.values())
        relative = {state: cost - lowest for state, cost in costs.items() if cost - lowest <= self.limit}
        key = frozenset(relative.items())
        found = self._classes.get(key)
        if found is None:
            if len(self._classes) >= MOST_CLASSES:
                raise SygusError(
                    f"cannot count the terms: the grammar is so ambiguous that they fall into more than {MOST_CLASSES} classes "
                    "by what derives them; let fewer nonterminals derive the same terms"
                )
            found = self._classes[key] = Class(relative, [0] * (self.limit + 1))
        return found, lowest

    def _leaves(self) -> None:
        for symbol, rules in self.automaton.rules.items():
            if any(not rule.arguments for rule in rules):
                self._leaf(Term(symbol), self.automaton.apply(rules, ()))

    def _leaf(self, term: Term, costs: Costs) -> None:
        group, lowest = self._class(costs)
        if lowest <= self.limit:
            group.leaves.setdefault(lowest, []).append(term)
            self._correct(group, lowest, 1)

    def _correct(self, group: Class, cost: int, by: int) -> None:
        self._corrections.setdefault(cost, []).append((group, by))

    def _constants(self) -> None:
        """Counts each constant by itself, and takes it away where it will be counted as an application or a leaf."""
        grammar, memo = self.automaton.grammar, dict[Term, Costs]()
        found: dict[Term, None] = {}
        for production in self.automaton.any_constant:
            for cost in range(grammar.weight(production), self.limit + 1):
                found.update(dict.fromkeys(grammar.bodies(production, cost)))
        for term in subterms(*found):
            arguments = tuple(memo[arg] for arg in term.args)
            other = self.automaton.apply(self.automaton.fitting(term.symbol, arguments), arguments)
            costs = memo[term] = least(other, self.automaton.constant(term))
            if costs == other:
                continue  # counted as what it is without `(Constant sort)`
            if other:
                group, lowest = self._class(other)
                if lowest <= self.limit:
                    self._correct(group, lowest, -1)
                    if not term.args:
                        group.leaves[lowest].remove(term)
            self.constants[term] = None
            self._leaf(term, costs)

    # One cost after the other -------------------------------------------------------------------------------------------

    def _level(self, cost: int) -> None:
        """Counts the terms at `cost`. With productions that cost nothing a term may be part of another at the same cost: then
        the numbers are found by repetition, which ends because no cycle is free."""
        touched: dict[Class, None] = {}  # a number that rested on one that has since become 0 must become 0 too
        while True:
            totals: dict[Class, int] = dict.fromkeys(touched, 0)
            for group, by in self._corrections.get(cost, ()):
                totals[group] = totals.get(group, 0) + by
            for applied in self._applied:
                for combination, group, added in applied.targets:
                    if added <= cost and (number := combination.count(cost - added, cost)):
                        totals[group] = totals.get(group, 0) + number
            changed = [group for group, number in totals.items() if group.counts[cost] != number]
            touched.update(dict.fromkeys(changed))
            for group in changed:
                self._set(group, cost, totals[group])
            self._expand()
            if not changed:
                return

    def _set(self, group: Class, cost: int, number: int) -> None:
        more = number - group.counts[cost]
        group.counts[cost] = number
        if group.kinds is None:
            group.kinds = []
            for states, kinds in self._kinds.items():
                costs = {state: group.costs[state] for state in states & group.costs.keys()}
                if costs:
                    lowest = min(costs.values())
                    costs = {state: c - lowest for state, c in costs.items()}
                    kind = kinds.setdefault(frozenset(costs.items()), Kind(costs, [0] * (self.limit + 1)))
                    kind.members.append((group, lowest))
                    group.kinds.append((kind, lowest))
        for kind, lowest in group.kinds:
            if cost + lowest <= self.limit:
                kind.counts[cost + lowest] += more

    def _expand(self) -> None:
        """Finds what the applications of each symbol to newly found kinds give."""
        for applied in self._applied:
            for combination, rules in applied.new():
                self._combinations += 1
                if self._combinations > MOST_COMBINATIONS:
                    raise SygusError(
                        f"cannot count the terms: the grammar is so ambiguous that there are more than {MOST_COMBINATIONS} "
                        "combinations of arguments by what derives them; let fewer nonterminals derive the same terms"
                    )
                costs = self.automaton.apply(rules, tuple(kind.costs for kind in combination.kinds))
                if costs:
                    group, added = self._class(costs)
                    group.sources.append((combination, added))
                    applied.targets.append((combination, group, added))


class _Applied:
    """The combinations of one symbol that is applied to arguments."""

    def __init__(self, symbol: Symbol, rules: list[Rule], places: list[dict[_Key, Kind]]) -> None:
        self.symbol, self.rules, self.places = symbol, rules, places
        self.targets: list[tuple[Combination, Class, int]] = []
        self._known = [0] * len(places)
        self._prefixes: dict[tuple[Combination | None, Kind], Combination] = {}

    def new(self) -> Iterator[tuple[Combination, list[Rule]]]:
        """Every combination of kinds that some rule takes and that was not given before, with these rules."""
        kinds = [list(place.values()) for place in self.places]
        known, self._known = self._known, [len(of_place) for of_place in kinds]
        if known == self._known:
            return
        stack: list[tuple[int, Combination | None, list[Rule], bool]] = [(0, None, self.rules, False)]
        while stack:
            place, first, rules, fresh = stack.pop()
            if place == len(kinds):
                assert first is not None
                yield first, rules
                continue
            later = any(old < now for old, now in zip(known[place + 1 :], self._known[place + 1 :], strict=True))
            for index, kind in enumerate(kinds[place]):
                if not (fresh or later or index >= known[place]):
                    continue
                fitting = [rule for rule in rules if rule.arguments[place] in kind.costs]
                if fitting:
                    combination = self._prefixes.get((first, kind))
                    if combination is None:
                        combination = self._prefixes[first, kind] = Combination(self.symbol, first, kind)
                    stack.append((place + 1, combination, fitting, fresh or index >= known[place]))


def count(grammar: Grammar, limit: int) -> list[int]:
    """The number of distinct terms of cost 0, 1, ..., `limit` that `grammar` derives from its start.

    >>> from sygus import read
    >>> grammar = read("(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R)))))(check-synth)").target().grammar
    >>> count(grammar, 9)
    [0, 2, 0, 4, 0, 16, 0, 80, 0, 448]

    Raises:
        SygusError: as `Counts`.
    """
    return Counts(grammar, limit).of()
