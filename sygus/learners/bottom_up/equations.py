"""Equations that hold for all values, learnt from merges, and the combinations that are instances of them.

Most duplicates are instances of few equations: of (x + y) + z = x + (y + z), of relu(relu(x)) = relu(x). Where cvc5 has proved
one, a combination that its left side matches is known to be in the class of the right side's instance, if that was built before:
no term is made for it, no fingerprint, no query. Matching is done for thousands of combinations at once, on the nodes of
`Derivations`. What an equation does not cover goes the ordinary way; so a missing one costs time, and a class never.

This is equivalence reduction (Smith & Albarghouthi, "Program synthesis with equivalence reduction", VMCAI 2019), with equations
that are not given but found and proved on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Union

import numpy as np
from numpy.typing import NDArray

from ...equivalence.classes import Equivalence
from ...grammar import Template
from ...semantics.interpret import Input
from ...terms import Sort, Term, Variable
from .derivations import NOTHING, Derivations, Nodes, pending

Pattern = Union[int, tuple]
"""A variable, numbered from 0; a node that stands for itself, `~node`; or a rule with a pattern for each hole."""
Equation = tuple[Pattern, Pattern]

DEPTH = 4
"""Rules on one side of an equation, at most."""
LEVELS = 3
"""Levels at which two merges look alike: equations are sought from the first."""
AFTER = 128
"""Merges before equations are sought: a small grammar is done by then."""
AT_ONCE = 256
"""Merges of one batch from which equations are sought, at most."""
MOST = 2048
"""Equations that are matched, at most."""
PAYS = 2
"""Instances that an equation must give each time that it is matched, on average, to be matched further."""


@dataclass
class _Use:
    """An equation with the variables on its left side, and what it was good for."""

    left: tuple
    right: Pattern
    tried: int = 0
    found: int = 0

    @property
    def pays(self) -> bool:
        """Whether matching it is cheaper than what it saves."""
        return self.tried < 8 or self.found >= PAYS * self.tried


class Equations:
    """The equations of one enumeration.

    Args:
        derivations: the nodes to match.
        proved: for each equation, whether it holds for all values of its variables; asked once for each.
        special: nodes of which more is known than that they are some term: where nothing holds for all values in their place,
            an equation may hold for themselves.

    Attributes:
        merges: how many merges were shown to `learn`.
    """

    def __init__(
        self, derivations: Derivations, proved: Callable[[Sequence[Equation]], list[bool]], special: Container[int] = ()
    ) -> None:
        self.derivations, self._proved, self._special = derivations, proved, special
        self.merges = 0
        self._uses: dict[int, list[_Use]] = {}
        self._known: dict[Equation, bool] = {}
        self._seen: set[Equation] = set()

    def __iter__(self) -> Iterator[Equation]:
        """Those that were proved."""
        return (equation for equation, holds in self._known.items() if holds)

    # Instances ----------------------------------------------------------------------------------------------------------

    def instances(self, rule: int, parts: Sequence[Nodes], first: int) -> Nodes:
        """For combinations of a rule, the node of their class where an equation tells it.

        Args:
            rule: with as many holes as there are `parts`.
            parts: the nodes that are combined.
            first: the position of the first combination in its batch.

        Returns:
            A node; or `pending` of the position of an earlier combination that is in the same class; or `NOTHING`.
        """
        count = len(parts[0])
        found = np.full(count, NOTHING, np.int32)
        heads = [self.derivations.rule[nodes] for nodes in parts]
        positions = np.arange(first, first + count, dtype=np.int32)
        for use in self._uses.get(rule, ()):
            if not use.pays:
                continue
            chosen = self._chosen(use.left, parts, heads, found)
            if not len(chosen):
                continue
            use.tried += 1
            chosen, bound = self._match(use.left[1:], [nodes[chosen] for nodes in parts], chosen)
            value = self._value(use.right, bound, len(chosen))
            good = (value >= 0) | ((value != NOTHING) & (pending(value) < positions[chosen]))
            found[chosen[good]] = value[good]
            use.found += int(good.sum())
        return found

    @staticmethod
    def _chosen(left: tuple, parts: Sequence[Nodes], heads: Sequence[Nodes], found: Nodes) -> NDArray[np.int64]:
        """The combinations whose parts have the right heads, quickly."""
        mask = found == NOTHING
        for pattern, nodes, head in zip(left[1:], parts, heads, strict=True):
            if isinstance(pattern, tuple):
                mask &= head == pattern[0]
            elif pattern < 0:
                mask &= nodes == ~pattern
        if left[1:].count(left[1]) == 2:
            mask &= parts[0] == parts[1]
        return np.flatnonzero(mask)

    def _match(
        self, patterns: Sequence[Pattern], columns: list[Nodes], chosen: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], dict[int, Nodes]]:
        """Those of `chosen` that `patterns` match, and what each variable stands for in them."""
        todo = list(zip(patterns, columns, strict=True))
        bound: dict[int, Nodes] = {}
        while todo:
            pattern, nodes = todo.pop()
            if isinstance(pattern, tuple):
                keep = self.derivations.rule[nodes] == pattern[0]
                todo += [(inner, self.derivations.part(which)[nodes]) for which, inner in enumerate(pattern[1:])]
            elif pattern < 0:
                keep = nodes == ~pattern
            elif pattern in bound:
                keep = nodes == bound[pattern]
            else:
                bound[pattern] = nodes
                continue
            if not keep.all():
                chosen = chosen[keep]
                todo = [(inner, of[keep]) for inner, of in todo]
                bound = {variable: of[keep] for variable, of in bound.items()}
        return chosen, bound

    def _value(self, pattern: Pattern, bound: dict[int, Nodes], count: int) -> Nodes:
        """The nodes of a pattern's instances."""
        if isinstance(pattern, tuple):
            return self.derivations.result(pattern[0], [self._value(inner, bound, count) for inner in pattern[1:]])
        return bound[pattern] if pattern >= 0 else np.full(count, ~pattern, np.int32)

    # Learning -----------------------------------------------------------------------------------------------------------

    def learn(self, merges: Iterable[tuple[int, tuple[int, ...], int]]) -> None:
        """Seeks the most general equations of which merges are instances.

        Args:
            merges: a rule, the nodes that it combines, and the node in whose class the result was proved to be.
        """
        ways: list[list[Equation]] = []
        for rule, parts, node in merges:
            self.merges += 1
            if self.merges > AFTER and len(ways) < AT_ONCE and sum(map(len, self._uses.values())) < MOST:
                ways += self._ways(rule, parts, node)
        while ways:
            asked = list(dict.fromkeys(way[0] for way in ways if way[0] not in self._known))
            self._known.update(zip(asked, self._proved(asked), strict=True))
            for equation in asked:
                if self._known[equation]:
                    self._use(equation)
            ways = [way[1:] for way in ways if len(way) > 1 and not self._known[way[0]]]

    def _ways(self, rule: int, parts: tuple[int, ...], node: int) -> list[list[Equation]]:
        """The equations that would show a merge, the most general first; nothing for one that looks like an earlier one."""
        whole_pair = (rule, *(self._unfolded(part, LEVELS - 1) for part in parts)), self._unfolded(node, LEVELS)
        whole = _numbered((self._named(whole_pair[0]), self._named(whole_pair[1])))
        if whole in self._seen:
            return []
        self._seen.add(whole)
        lefts = [(1 + size, (rule, *cut)) for size, cut in self._cuts_of_all(parts, DEPTH - 1)]
        rights = self._cuts(node, DEPTH)
        pairs = sorted(((a + b, i, j) for i, (a, _) in enumerate(lefts) for j, (b, _) in enumerate(rights)))
        candidates = [(lefts[i][1], rights[j][1]) for _, i, j in pairs]
        general = [_numbered(pair) for pair in candidates if _leaves(pair[1]) <= _leaves(pair[0])]
        if any(leaf in self._special for leaf in _leaves(whole_pair)):
            named = [(self._named(left), self._named(right)) for left, right in candidates]
            general += [_numbered(pair) for pair in named if {n for n in _leaves(pair[1]) if n >= 0} <= _leaves(pair[0])]
        return [list(dict.fromkeys(general))] if general else []

    def _named(self, pattern: Pattern) -> Pattern:
        """With special nodes standing for themselves."""
        if isinstance(pattern, tuple):
            return (pattern[0], *map(self._named, pattern[1:]))
        return ~pattern if pattern in self._special else pattern

    def _unfolded(self, node: int, levels: int) -> Pattern:
        """A node as a pattern of so many levels."""
        rule = int(self.derivations.rule[node])
        if not levels or rule == NOTHING:
            return node
        parts = (int(self.derivations.part(which)[node]) for which in range(self.derivations.arities[rule]))
        return (rule, *(self._unfolded(part, levels - 1) for part in parts))

    def _cuts(self, node: int, depth: int) -> list[tuple[int, Pattern]]:
        """A node as a pattern whose leaves are nodes, cut off at every place with `depth` rules at most: their number, the
        pattern; the one that says most comes last."""
        found: list[tuple[int, Pattern]] = [(0, node)]
        rule = int(self.derivations.rule[node])
        if depth and rule != NOTHING:
            parts = tuple(int(self.derivations.part(which)[node]) for which in range(self.derivations.arities[rule]))
            found += [(1 + size, (rule, *cut)) for size, cut in self._cuts_of_all(parts, depth - 1)]
        return found

    def _cuts_of_all(self, nodes: tuple[int, ...], depth: int) -> list[tuple[int, tuple]]:
        cuts = product(*(self._cuts(node, depth) for node in nodes))
        return sorted(((sum(size for size, _ in cut), tuple(p for _, p in cut)) for cut in cuts
                       if sum(size for size, _ in cut) <= depth), key=lambda found: found[0])  # fmt: skip

    def _use(self, equation: Equation) -> None:
        """Matches an equation from now on, in every order of the parts of commutative rules."""
        for left in dict.fromkeys(self._orders(equation[0])):
            variant = _numbered((left, equation[1]))
            if variant[0] != variant[1]:
                uses = self._uses.setdefault(variant[0][0], [])  # type: ignore[index]
                if all((use.left, use.right) != variant for use in uses):
                    uses.append(_Use(*variant))  # type: ignore[arg-type]

    def _orders(self, pattern: Pattern) -> list[Pattern]:
        if not isinstance(pattern, tuple):
            return [pattern]
        orders = [(pattern[0], *parts) for parts in product(*map(self._orders, pattern[1:]))]
        if self.derivations.commutative[pattern[0]]:
            orders += [(rule, *parts[::-1]) for rule, *parts in orders]
        return orders  # type: ignore[return-value]


def _leaves(pattern: Pattern) -> set[int]:
    if not isinstance(pattern, tuple):
        return {pattern}
    return set().union(*map(_leaves, pattern[1:]))


def _numbered(equation: Equation) -> Equation:
    """With its leaves as variables, numbered as they occur; nodes that stand for themselves stay.

    >>> _numbered(((3, 17, (3, 12, 17)), (4, 12)))
    ((3, 0, (3, 1, 0)), (4, 1))
    """
    number: dict[int, int] = {}

    def visit(pattern: Pattern) -> Pattern:
        if isinstance(pattern, tuple):
            return (pattern[0], *map(visit, pattern[1:]))
        return pattern if pattern < 0 else number.setdefault(pattern, len(number))

    return visit(equation[0]), visit(equation[1])


# Proofs of equations ----------------------------------------------------------------------------------------------------

VARIABLES = 8
"""Variables of one nonterminal in an equation, at most: one that needs more is not proved."""


class Universal:
    """Whether equations hold for all values of their variables.

    A variable stands for any term of its nonterminal: it varies over all axes over which such terms do, and nothing is assumed
    of it. A node that stands for itself keeps what is assumed of the inputs in it.

    Args:
        equivalence: what compares terms; its context, assumptions and solver are used, its classes are not touched.
        nonterminals, levels: the sort of each nonterminal, and over how many axes its terms vary.
        templates: of each rule.
        nodes: the term of each node.
    """

    def __init__(
        self, equivalence: Equivalence, nonterminals: dict[str, Sort], levels: dict[str, int], templates: Sequence[Template],
        nodes: Sequence[Term],
    ) -> None:  # fmt: skip
        self.templates, self.nodes = templates, nodes
        self._pool = {
            name: [Variable(f"|{name}@{index}|", sort) for index in range(VARIABLES)] for name, sort in nonterminals.items()
        }
        inputs = {v.name: Input(v.name, v.sort, levels[name]) for name, pool in self._pool.items() for v in pool}
        context = replace(equivalence.context, inputs={**equivalence.context.inputs, **inputs})
        variables = [*equivalence.inputs, *(v for pool in self._pool.values() for v in pool)]
        self._equivalence = Equivalence(context, variables, equivalence.solver, equivalence.seed)

    def __call__(self, equations: Sequence[Equation]) -> list[bool]:
        """For each equation whether it is proved. Only those that hold at random points are sent to cvc5."""
        pairs = [self.pair(equation) for equation in equations]
        sides = list(dict.fromkeys(side for pair in pairs if pair for side in pair))
        value = dict(zip(sides, self._equivalence.fingerprints(sides), strict=True))
        likely = [pair for pair in pairs if pair and value[pair[0]] == value[pair[1]]]
        holds = dict(zip(likely, self._equivalence.proves(likely), strict=True))
        return [pair is not None and holds.get(pair, False) for pair in pairs]

    @property
    def asked(self) -> int:
        """How many claims went to cvc5."""
        return self._equivalence.lemmas.asked

    def pair(self, equation: Equation) -> tuple[Term, Term] | None:
        """Both sides as terms; None where there are too many variables."""
        taken: dict[int, Term] = {}
        used = dict.fromkeys(self._pool, 0)

        def term(pattern: Pattern, nonterminal: str | None) -> Term | None:
            if isinstance(pattern, tuple):
                template = self.templates[pattern[0]]
                parts = [term(inner, hole) for inner, hole in zip(pattern[1:], template.holes, strict=True)]
                return None if None in parts else template.fill(tuple(parts))  # type: ignore[arg-type]
            if pattern < 0:
                return self.nodes[~pattern]
            if pattern not in taken:
                assert nonterminal is not None, "each variable of an equation stands in a hole of its left side"
                if used[nonterminal] == VARIABLES:
                    return None
                taken[pattern] = Term(self._pool[nonterminal][used[nonterminal]])
                used[nonterminal] += 1
            return taken[pattern]

        left = term(equation[0], None)
        right = None if left is None else term(equation[1], None)
        return None if left is None or right is None else (left, right)
