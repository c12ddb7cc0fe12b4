"""Representatives that later terms are built from, with their values at the fingerprint's points.

Values are large (a kilobyte a term and more), terms are not. So a bank keeps values while a budget lasts; beyond it, it keeps how
they were made, and makes them again when they are asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...equivalence.fingerprint import Pair
from ...terms import Term

Rows = list[Pair]
"""Values of n terms: for each group of points a pair of arrays [n, points, axes...]."""


@dataclass
class Budget:
    """How many bytes of values may be kept, and how many are."""

    limit: int
    used: int = 0

    def take(self, size: int) -> bool:
        """Takes `size` bytes if they are left."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True


@dataclass
class _Chunk:
    count: int
    kept: Rows | None
    again: Callable[[], Rows]


@dataclass
class Bank:
    """The representatives of one nonterminal and cost.

    >>> bank = Bank(Budget(1000))
    >>> rows = [Pair(np.array([[1, 2]]), np.array([[1.0, 2.0]]))]
    >>> bank.add([], rows, lambda: rows), bank.add([], rows, lambda: rows)
    (None, None)
    >>> [pair.residue.tolist() for pair in bank.rows(0, 2)], bank.budget.used
    ([[[1, 2], [1, 2]]], 48)
    """

    budget: Budget
    terms: list[Term] = field(default_factory=list)
    _chunks: list[_Chunk] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _count: int = 0

    def add(self, terms: list[Term], rows: Rows | None, again: Callable[[], Rows]) -> None:
        """Adds terms with their values.

        Args:
            terms: the terms.
            rows: their values; None where nobody will ask for them.
            again: makes the values anew.
        """
        if rows is not None:
            self._starts.append(self._count)
            count = len(rows[0].residue)
            size = sum(4 * pair.residue.size + 8 * pair.approximate.size for pair in rows)
            kept = [Pair(p.residue.astype(np.uint32), p.approximate) for p in rows] if self.budget.take(size) else None
            self._chunks.append(_Chunk(count, kept, again))
            self._count += count
        self.terms.extend(terms)

    def rows(self, start: int, stop: int) -> Rows:
        """The values of the terms from `start` to `stop`, residues as int64."""
        self._join()
        parts: list[Rows] = []
        index = bisect_right(self._starts, start) - 1
        while index < len(self._chunks) and self._starts[index] < stop:
            chunk, first = self._chunks[index], self._starts[index]
            rows = chunk.again() if chunk.kept is None else chunk.kept
            cut = slice(max(start - first, 0), stop - first)
            parts.append([pair.each(lambda x, cut=cut: x[cut]) for pair in rows])  # type: ignore[misc]
            index += 1
        joined = parts[0] if len(parts) == 1 else _concatenated(parts)
        return [Pair(pair.residue.astype(np.int64), pair.approximate) for pair in joined]

    def _join(self) -> None:
        """Makes one chunk of neighbours whose values are kept."""
        runs: list[list[_Chunk]] = []
        for chunk in self._chunks:
            if runs and chunk.kept is not None and runs[-1][0].kept is not None:
                runs[-1].append(chunk)
            else:
                runs.append([chunk])
        if len(runs) == len(self._chunks):
            return
        self._chunks = [run[0] if len(run) == 1 else _one(run) for run in runs]
        self._starts = [0, *np.cumsum([c.count for c in self._chunks])[:-1].tolist()]


def _one(run: list[_Chunk]) -> _Chunk:
    return _Chunk(sum(c.count for c in run), _concatenated([c.kept for c in run if c.kept is not None]), run[0].again)


def _concatenated(parts: list[Rows]) -> Rows:
    return [Pair(*map(np.concatenate, zip(*group, strict=True))) for group in zip(*parts, strict=True)]
