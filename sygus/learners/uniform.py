"""Random terms of one cost, each as likely as any other: drawn from the exact counts, top down."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Union

from ..costs import cheapest
from ..counting import Combination, Counts, Kind
from ..equivalence.classes import Equivalence
from ..errors import SygusError
from ..grammar import Grammar
from ..terms import Symbol, Term
from .learner import Candidate, Learner, register_learner

_Choice = Union[Term, tuple[Combination, int]]


@register_learner("uniform")
class Uniform(Learner):
    """Independent random terms of the start nonterminal, uniform over the distinct terms of exactly one cost.

    A term that the grammar derives in many ways is not likelier for it. Iterating again gives the same sequence again.

    Args:
        grammar: what the terms are derived from.
        cost: their cost, as `Counts` defines it: without weights the size.
        seed: of the sequence, which is the same on every machine.
        repeat: whether a term may come again. If not, each comes once and the sequence ends; the terms are remembered.

    Raises:
        SygusError: if there is no term of that cost, or the grammar cannot be counted.

    >>> from sygus import read
    >>> text = "(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R) (- R)))))(check-synth)"
    >>> grammar = read(text).target().grammar
    >>> [str(c.term) for c in Uniform(grammar, 5, seed=1, repeat=False)][:4]
    ['(- (+ (- y) x))', '(+ (- y) (- x))', '(- (+ x (- x)))', '(+ y (+ x y))']
    >>> len(list(Uniform(grammar, 5, repeat=False))) == Counts(grammar, 5).of()[5]
    True
    >>> Uniform(grammar, 0)
    Traceback (most recent call last):
    sygus.errors.SygusError: no term costs 0: the cheapest costs 1
    """

    only_at_limit = True

    @classmethod
    def make(cls, grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
        """See `Learner`."""
        return cls(grammar, limit, seed, repeat=equivalence is None)

    def __init__(self, grammar: Grammar, cost: int, seed: int = 0, repeat: bool = True) -> None:
        self.grammar, self.cost, self.seed, self.repeat = grammar, cost, seed, repeat
        counts = Counts(grammar, cost)
        kind = counts.kind()
        if cost < 0 or kind is None or not kind.counts[cost]:
            raise SygusError(f"no term costs {cost}: {_advice(grammar, cost, counts)}")
        self.count = kind.counts[cost]
        """How many terms there are."""
        self._root: Kind = kind
        self._constants = counts.constants
        self._settled = counts.limit + 1
        self._choices: dict[tuple[Kind, int], tuple[list[int], list[_Choice]]] = {}
        self._splits: dict[tuple[Combination, int], tuple[list[int], range]] = {}

    def __iter__(self) -> Iterator[Candidate]:
        draw = random.Random(self.seed)
        if self.repeat:
            while True:
                yield Candidate(self._draw(draw), self.cost)
        seen: set[Term] = set()
        while len(seen) < self.count:
            term = self._draw(draw)
            if term not in seen:
                seen.add(term)
                yield Candidate(term, self.cost)

    def _draw(self, draw: random.Random) -> Term:
        """One term. An explicit stack: of terms to be drawn, and of symbols to be applied to the last terms that are done."""
        below = draw.randrange
        done: list[Term] = []
        stack: list[tuple[Kind, int, Symbol | None, int]] = [(self._root, self.cost, None, 0)]
        while stack:
            kind, cost, symbol, arity = stack.pop()
            if symbol is not None:
                term = Term(symbol, tuple(done[-arity:]))
                del done[-arity:]
                if term in self._constants:  # drawn as an application, but counted as a constant: not this one
                    stack.append((kind, cost, None, 0))
                else:
                    done.append(term)
                continue
            sums, choices = self._choices.get((kind, cost)) or self._prepare(kind, cost)
            choice = choices[bisect_right(sums, below(sums[-1]))]
            if isinstance(choice, Term):
                done.append(choice)
                continue
            combination, rest = choice
            position, arity = len(stack), 1
            while combination.first is not None:
                parts, costs = self._splits.get((combination, rest)) or self._split(combination, rest)
                last = costs[bisect_right(parts, below(parts[-1]))]
                stack.append((combination.last, last, None, 0))
                combination, rest, arity = combination.first, rest - last, arity + 1
            stack.append((combination.last, rest, None, 0))
            stack.insert(position, (kind, cost, combination.symbol, arity))
        return done[0]

    def _prepare(self, kind: Kind, cost: int) -> tuple[list[int], list[_Choice]]:
        """The ways to make a term of `kind` at `cost`, with the sums of how many terms each makes."""
        numbers: list[int] = []
        choices: list[_Choice] = []
        for group, more in kind.members:
            for leaf in group.leaves.get(cost - more, ()):
                numbers.append(1)
                choices.append(leaf)
            for combination, added in group.sources:
                rest = cost - more - added
                number = combination.count(rest, self._settled) if rest >= 0 else 0
                if number:
                    numbers.append(number)
                    choices.append((combination, rest))
        found = self._choices[kind, cost] = list(accumulate(numbers)), choices
        return found

    def _split(self, combination: Combination, cost: int) -> tuple[list[int], range]:
        """The costs that the last argument may have, with the sums of how many tuples each makes."""
        assert combination.first is not None
        costs = range(cost + 1)
        numbers = [combination.first.count(cost - last, self._settled) * combination.last.counts[last] for last in costs]
        found = self._splits[combination, cost] = list(accumulate(numbers)), costs
        return found


def _advice(grammar: Grammar, cost: int, counts: Counts) -> str:
    """A cost near `cost` at which there are terms."""
    below = [c for c, number in enumerate(counts.of()[: max(cost, 0)]) if number]
    return f"the next below costs {below[-1]}" if below else f"the cheapest costs {cheapest(grammar)[grammar.start][0]}"
