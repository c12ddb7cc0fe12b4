"""What each representative was built from, and in which class each combination of parts was found: a congruence table.

Every representative of a nonterminal is a node, numbered from 0. A rule with one or two holes has a cell for each combination of
nodes that it was applied to, and the cell holds the node of the class that the result is in. All of it is numpy, so that a
question about a hundred thousand combinations is a few array operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.int32]
"""Numbers of nodes, or `NOTHING`; in a cell that is not decided yet, `pending` of a position."""

NOTHING = -1
MOST = 2**26
"""Cells, at most: a rule that would need more is not looked up."""


def pending(position: Nodes) -> Nodes:
    """What a cell holds while its combination waits, the one at `position` of its batch; its own inverse.

    >>> int(pending(pending(np.int32(7))))
    7
    """
    return -2 - position


class _Column:
    """A growing array of int32."""

    def __init__(self, fill: int = NOTHING) -> None:
        self._fill, self.count, self._data = fill, 0, np.empty(0, np.int32)

    @property
    def data(self) -> Nodes:
        """What is there. A view: it sees later changes, but not what comes to be added."""
        return self._data[: self.count]

    def grow(self, more: int) -> int:
        """Adds `more` entries, and gives where they start."""
        start, self.count = self.count, self.count + more
        if self.count > len(self._data):
            grown = np.empty(max(self.count, 2 * len(self._data), 1024), np.int32)
            grown[:start] = self._data[:start]
            self._data = grown
        self._data[start : self.count] = self._fill
        return start


class Derivations:
    """Nodes and cells of one enumeration.

    Args:
        arities: of each rule, the number of its holes; 0 for one that has no cells.
        commutative: for each rule, whether it is applied in one order of its two parts only.
        limit: the highest cost.

    >>> table = Derivations([0, 2], [False, True], limit=3)
    >>> x, y = table.add(0, [], cost=1, positions=range(2))
    >>> table.open(1, (1, 1), (2, 2))
    >>> cells = table.cells(1, [np.array([x, x, y]), np.array([x, y, y])])
    >>> table.fill(cells, table.add(1, [np.array([x, x, y]), np.array([x, y, y])], cost=3, positions=range(3)))
    >>> table.result(1, [np.array([y, y]), np.array([x, y])]).tolist()
    [3, 4]
    """

    def __init__(self, arities: Sequence[int], commutative: Sequence[bool], limit: int) -> None:
        self.arities, self.commutative = list(arities), list(commutative)
        self._rule, self._cost, self._position = _Column(), _Column(), _Column()
        self._parts = (_Column(), _Column())
        self._cell = _Column()
        self._start = [np.full((limit + 1,) * arity, NOTHING, np.int64) for arity in arities]
        self._width = [np.zeros(limit + 1, np.int64) for _ in arities]

    def __len__(self) -> int:
        return self._rule.count

    @property
    def rule(self) -> Nodes:
        """Of each node, the rule that it was built by; `NOTHING` where that has no cells."""
        return self._rule.data

    def part(self, which: int) -> Nodes:
        """Of each node, its first (0) or second (1) part."""
        return self._parts[which].data

    def add(self, rule: int, parts: Sequence[Nodes], cost: int, positions: Sequence[int] | range) -> Nodes:
        """New nodes, built by `rule` from `parts`, that stand at `positions` of their nonterminal's bank for `cost`."""
        count = len(positions)
        for column in (self._rule, self._cost, self._position, *self._parts):
            start = column.grow(count)
        self._rule.data[start:] = rule if self.arities[rule] else NOTHING
        self._cost.data[start:] = cost
        self._position.data[start:] = positions
        for column, nodes in zip(self._parts, parts, strict=False):
            column.data[start:] = nodes
        return np.arange(start, start + count, dtype=np.int32)

    def open(self, rule: int, costs: tuple[int, ...], lengths: tuple[int, ...]) -> None:
        """Makes cells for all combinations of a rule with parts of these costs, of which there are so many."""
        size = int(np.prod(lengths))
        if self.arities[rule] and self._start[rule][costs] == NOTHING and self._cell.count + size <= MOST:
            self._start[rule][costs] = self._cell.grow(size)
            self._width[rule][costs[-1]] = lengths[-1]

    def cells(self, rule: int, parts: Sequence[Nodes]) -> NDArray[np.int64]:
        """Where the results of a rule stand; `NOTHING` where it was not applied."""
        if self.commutative[rule]:
            parts = self._in_order(*parts)
        costs = tuple(self._cost.data[nodes] for nodes in parts)
        start = self._start[rule][costs]
        at = self._position.data[parts[-1]].astype(np.int64)
        if len(parts) == 2:
            at += self._position.data[parts[0]].astype(np.int64) * self._width[rule][costs[1]]
        return np.where(start == NOTHING, NOTHING, start + at)

    def _in_order(self, first: Nodes, second: Nodes) -> tuple[Nodes, Nodes]:
        cost, position = self._cost.data, self._position.data
        a, b = cost[first], cost[second]
        swap = (a > b) | ((a == b) & (position[first] > position[second]))
        return np.where(swap, second, first), np.where(swap, first, second)

    def fill(self, cells: NDArray[np.int64], nodes: Nodes) -> None:
        """Says which node each cell holds."""
        known = cells != NOTHING
        self._cell.data[cells[known]] = nodes[known]

    def result(self, rule: int, parts: Sequence[Nodes]) -> Nodes:
        """What the cells of some combinations hold. A part may be anything below 0: there is no result then."""
        valid = parts[0] >= 0
        for nodes in parts[1:]:
            valid = valid & (nodes >= 0)
        if not len(valid) or not len(self):
            return np.full(len(valid), NOTHING, np.int32)
        cells = self.cells(rule, [np.where(valid, nodes, 0) for nodes in parts])
        known = valid & (cells != NOTHING)
        return np.where(known, self._cell.data[np.where(known, cells, 0)] if self._cell.count else NOTHING, NOTHING)
