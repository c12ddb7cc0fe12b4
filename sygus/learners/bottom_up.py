"""Bottom-up enumeration of a grammar in order of cost, one term for each class of proved-equal terms.

Terms are built from representatives only. All combinations of one production and one split of the cost are evaluated at once by
broadcasting the values of their parts; a term object is made for each combination, since a duplicate must be proved to be one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..constants import is_any_constant
from ..core import COMMUTATIVE
from ..equivalence.classes import Equivalence
from ..equivalence.fingerprint import Pair
from ..errors import SygusError
from ..grammar import Grammar, Production
from ..terms import Function, Term, Variable, substitute

CHUNK = 2048


class Candidate(NamedTuple):
    """A new class: its representative and its cost."""

    term: Term
    cost: int


@dataclass
class _Bank:
    """The representatives of one nonterminal and cost, with their values at the points: [N, points, axes...] a group."""

    terms: list[Term] = field(default_factory=list)
    rows: list[list[Pair]] = field(default_factory=list)

    def pairs(self, group: int) -> Pair:
        if len(self.rows) > 1:  # join the chunks once
            self.rows = [[Pair(*map(np.concatenate, zip(*parts, strict=True))) for parts in zip(*self.rows, strict=True)]]
        return self.rows[0][group]


@dataclass(frozen=True)
class _Rule:
    """A production with one variable for each hole, so that repeated nonterminals are told apart."""

    body: Term
    holes: tuple[str, ...]
    variables: tuple[Term, ...]
    weight: int
    commutative: bool

    def build(self, parts: tuple[Term, ...]) -> Term:
        """The body with `parts` in its holes."""
        if self.body.args == self.variables and parts:
            return Term(self.body.symbol, parts)
        return substitute(self.body, dict(zip(self.variables, parts, strict=True)))


class Enumerator:
    """The classes of a grammar, cheapest first. Iterating gives the candidates of the start nonterminal.

    Args:
        grammar: what to enumerate.
        equivalence: which terms are the same; it may be shared and already hold classes.
        limit: the highest cost.

    Attributes:
        built: how many terms were built so far, duplicates among them.
        cost: the cost that is being enumerated.

    >>> from sygus import Context, Solver, read
    >>> grammar = read('''(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R) (* R R)))))
    ...                   (check-synth)''').target().grammar
    >>> from sygus.terms import REAL
    >>> with Solver() as solver:
    ...     classes = Equivalence(Context(), [Variable("x", REAL), Variable("y", REAL)], solver)
    ...     [str(c.term) for c in Enumerator(grammar, classes, limit=3)]
    ['x', 'y', '(+ x x)', '(+ x y)', '(+ y y)', '(* x x)', '(* x y)', '(* y y)']
    """

    def __init__(self, grammar: Grammar, equivalence: Equivalence, limit: int) -> None:
        self.grammar, self.equivalence, self.limit = grammar, equivalence, limit
        self.built = self.cost = 0
        self._depth = len(equivalence.context.theory.axes)
        self._check_levels()
        self._bank: dict[str, dict[int, _Bank]] = {name: {} for name in grammar.nonterminals}
        self._seen: dict[str, set[Term]] = {name: set() for name in grammar.nonterminals}
        self._rules: dict[str, list[_Rule]] = {}
        self._any_constants: dict[str, list[Production]] = {}
        for name in grammar.nonterminals:
            proper = list(grammar.proper(name))
            self._any_constants[name] = [p for p in proper if is_any_constant(p.body)]
            self._rules[name] = [self._rule(p) for p in proper if not is_any_constant(p.body)]

    def reached(self, representative: Term) -> bool:
        """Whether a term of the start nonterminal was found in the class of `representative`."""
        return representative in self._seen[self.grammar.start]

    def _rules_at(self, nonterminal: str, cost: int) -> Iterator[_Rule]:
        """The rules that may give a term of `cost`."""
        yield from self._rules[nonterminal]
        for production in self._any_constants[nonterminal]:
            for body in self.grammar.bodies(production, cost):
                yield self._rule(Production(nonterminal, body, cost))

    def _rule(self, production: Production) -> _Rule:
        holes = self.grammar.holes(production.body)
        variables = tuple(Term(Variable(f"|{h}#{i}", self.grammar.nonterminals[h])) for i, h in enumerate(holes))
        fresh = iter(variables)

        def rename(term: Term) -> Term:
            if self.grammar.is_hole(term):
                return next(fresh)
            return Term(term.symbol, tuple(rename(arg) for arg in term.args))

        body = rename(production.body)
        operator = self.equivalence.context.operator(body)
        known = operator.commutative if operator else isinstance(body.symbol, Function) and body.name in COMMUTATIVE
        swaps = known and len(holes) == 2 and body.args == variables and holes[0] == holes[1]
        return _Rule(body, holes, variables, max(1, self.grammar.weight(production)), swaps)

    def _check_levels(self) -> None:
        """Refuses a production that varies over an axis over which values of its sort are constant."""
        theory, levels, before = self.equivalence.context.theory, dict.fromkeys(self.grammar.nonterminals, 0), None
        while levels != before:  # upwards until nothing changes: (ite B W W) varies as its condition does
            before = dict(levels)
            for name, sort in self.grammar.nonterminals.items():
                highest = theory.sorts.get(sort, self._depth)
                for production in self.grammar.productions[name]:
                    holes = {Term(Variable(hole, s)): levels[hole] for hole, s in self.grammar.nonterminals.items()}
                    levels[name] = max(levels[name], self.equivalence.context.level(production.body, holes))
                    if levels[name] > highest:
                        raise SygusError(
                            f"the production {production.body} of {name!r} varies over each {theory.axes[highest]}, and a "
                            f"value of sort {sort} does not: reduce it first"
                        )

    def __iter__(self) -> Iterator[Candidate]:
        for cost in range(1, self.limit + 1):
            self.cost = cost
            for nonterminal in self.grammar.nonterminals:
                bank = self._bank[nonterminal][cost] = _Bank()
                for rule in self._rules_at(nonterminal, cost):
                    for new in self._terms(rule, cost, nonterminal, bank):
                        if nonterminal == self.grammar.start:
                            yield Candidate(new, cost)

    def _terms(self, rule: _Rule, cost: int, nonterminal: str, bank: _Bank) -> Iterator[Term]:
        for split in _splits(cost - rule.weight, len(rule.holes)):
            banks = [self._bank[hole].get(part) for hole, part in zip(rule.holes, split, strict=True)]
            if any(b is None or not b.terms for b in banks) or (rule.commutative and split[0] > split[1]):
                continue
            square = rule.commutative and split[0] == split[1]
            for block in _blocks([len(b.terms) for b in banks if b]):
                yield from self._block(rule, [b for b in banks if b], block, square, nonterminal, bank)

    def _block(
        self, rule: _Rule, banks: list[_Bank], block: tuple[range, ...], square: bool, nonterminal: str, bank: _Bank
    ) -> Iterator[Term]:
        """All combinations of parts in `block`, evaluated, classified, and the new ones kept."""
        combinations = list(itertools.product(*block))
        kept = [i for i, c in enumerate(combinations) if not square or c[0] <= c[1]]
        if not kept:
            return
        points, shape = self.equivalence.points, tuple(len(r) for r in block)
        values = []
        for group in range(len(points.groups)):
            memo: dict[Term, Pair] = {}
            for hole, (part, chosen, variable) in enumerate(zip(banks, block, rule.variables, strict=True)):
                axes = (1,) * hole + (len(chosen),) + (1,) * (len(block) - hole - 1)
                memo[variable] = part.pairs(group).each(_slice(chosen, axes))
            result = points.evaluate(rule.body, group, memo)
            tail = result.residue.shape[result.residue.ndim - self._depth - 1 :]
            values.append(result.each(_flatten(shape, tail, kept)))
        rows = points.rows(values, self.equivalence.context.theory.sorts.get(rule.body.sort, self._depth))
        terms = [rule.build(tuple(b.terms[i] for b, i in zip(banks, combinations[k], strict=True))) for k in kept]
        self.built += len(terms)
        found = self.equivalence.representatives(terms, map(int, points.hashes(rows)))
        seen, new = self._seen[nonterminal], []
        for position, (term, representative) in enumerate(zip(terms, found, strict=True)):
            if representative not in seen:
                seen.add(representative)
                new.append((position, term))
        if new:
            chosen_rows = [position for position, _ in new]
            bank.terms.extend(term for _, term in new)
            bank.rows.append([pair.each(lambda x: x[chosen_rows]) for pair in rows])
            yield from (term for _, term in new)


def _slice(chosen: range, axes: tuple[int, ...]) -> Callable[[Any], Any]:
    """The rows `chosen` of an array, laid along one of several leading axes."""
    return lambda x: x[chosen.start : chosen.stop].reshape(axes + x.shape[1:])


def _flatten(shape: tuple[int, ...], tail: tuple[int, ...], kept: list[int]) -> Callable[[Any], Any]:
    """All combinations of the leading axes `shape` as rows, those that are `kept`."""
    return lambda x: np.broadcast_to(x, shape + tail).reshape((-1, *tail))[kept]


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` positive numbers.

    >>> list(_splits(4, 2))
    [(1, 3), (2, 2), (3, 1)]
    """
    if parts == 0:
        if total == 0:
            yield ()
        return
    for first in range(1, total - parts + 2):
        for rest in _splits(total - first, parts - 1):
            yield (first, *rest)


def _blocks(lengths: list[int]) -> Iterator[tuple[range, ...]]:
    """The grid of `lengths` in blocks of about `CHUNK` combinations."""
    if not lengths:
        yield ()
        return
    first, *rest = lengths
    for tail in _blocks(rest):
        width = max(1, CHUNK // max(1, int(np.prod([len(r) for r in tail]))))
        for start in range(0, first, width):
            yield (range(start, min(first, start + width)), *tail)
