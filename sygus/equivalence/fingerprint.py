"""Fingerprints: the residues of terms at random points, many terms at once.

Two terms with different fingerprints differ (up to a wrong sign under catastrophic cancellation, which can only keep two
equal terms apart); two with the same one are candidates for a proof. Nothing is merged here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..semantics.interpret import Context, interpret
from ..semantics.residues import PRIME, Group, Pair, Residues, truth
from ..terms import BOOL, INT, Symbol, Term, Variable, subterms

AT_ONCE = 1024
"""Terms of one symbol that are evaluated at once."""
_SCALE = 256  # random values are multiples of 1/256, exact in float64 and invertible modulo the prime


class Points:
    """Random valuations of the inputs of a context, seeded, that satisfy its assumptions.

    A third of them are degenerate on purpose: maps that are zero in a channel (dead channels) or everywhere, inputs that are
    zero, equal along an axis, or that sum to zero.

    Args:
        context: inputs, levels and assumptions.
        inputs: the variables to give values to.
        seed: of the random generator.
        scalars: how many points there are at least.
    """

    def __init__(self, context: Context, inputs: list[Variable], seed: int = 0, scalars: int = 64) -> None:
        self.context = context
        depth = len(context.theory.axes)
        small, large = scalars - scalars // 4, scalars // 4
        self.groups = [Group(small, (2,) * depth), Group(large, (3,) * depth)] if depth else [Group(scalars, ())]
        generator = np.random.default_rng(seed)
        self.values = [
            {Term(v): self._draw(v, position, group, generator) for position, v in enumerate(inputs)} for group in self.groups
        ]
        self.domains = [Residues(context, *known) for known in zip(self.groups, self.values, strict=True)]
        widths = [int(np.prod(g.shape(depth))) for g in self.groups]
        self._hash = generator.integers(0, 2**63, sum(widths), np.uint64) * np.uint64(2) + np.uint64(1)

    def _draw(self, variable: Variable, position: int, group: Group, generator: np.random.Generator) -> Pair:
        known = self.context.input(variable)
        if known.size_of is not None:
            size = group.sizes[known.size_of]
            return Pair(np.full(group.shape(0), size, np.int64), np.full(group.shape(0), float(size)))
        shape = group.shape(known.level)
        if variable.sort == BOOL:
            return truth(generator.integers(0, 2, shape).astype(bool))
        scale = 1 if variable.sort == INT else _SCALE
        ticks = np.rint(generator.normal(0, 2.0 * scale, shape)).astype(np.int64)
        point = np.arange(group.count)
        if known.level:  # a dead channel, equal entries, a sum of zero
            ticks[point % 12 == 1, 0] = 0
            ticks[point % 12 == 4] = ticks[point % 12 == 4][:, :1]
            last = ticks[point % 12 == 7]
            np.moveaxis(last, known.level, -1)[..., -1] -= last.sum(known.level)
            ticks[point % 12 == 7] = last
        free = (0, 2, 3, 5, 6, 8, 9, 10, 11)  # each input is zero, and one, at points of its own
        ticks[point % 12 == free[position % 9]] = 0
        ticks[point % 24 == free[(position + 1) % 9]] = scale
        if variable.name in self.context.nonneg | self.context.positive:
            ticks = np.abs(ticks)
        if variable.name in self.context.positive:
            ticks = np.where(ticks == 0, scale, ticks)
        inverse = pow(scale, -1, PRIME)
        return Pair(ticks % PRIME * inverse % PRIME, ticks / scale)

    @np.errstate(over="ignore", invalid="ignore")  # the float only tells a sign, and one that overflows tells it still
    def evaluate(self, root: Term, group: int, memo: dict[Term, Pair]) -> Pair:
        """Values of `root` at the points of one group. `memo` may bind variables to values of many terms at once: what it
        holds must end in the axes (points, axes of the theory...)."""
        result, depth = interpret(root, self.domains[group], memo), len(self.groups[group].sizes) + 1
        return result.each(lambda x: x.reshape((1,) * (depth - x.ndim) + x.shape) if x.ndim < depth else x)

    def rows(self, values: list[Pair], level: int) -> list[Pair]:
        """Values of N terms per group, each broadcast to the full shape [N, points, axes...] of `level`."""

        def full(pair: Pair, group: Group) -> Pair:
            return pair.each(lambda x: np.ascontiguousarray(group.widened(x, level)))

        return [full(pair, group) for pair, group in zip(values, self.groups, strict=True)]

    def values_of(self, roots: Iterable[Term]) -> dict[Term, list[Pair]]:
        """The values of each root and each of its subterms, per group a pair of arrays [points, axes...]. Terms of one symbol
        whose arguments are known are evaluated at once."""
        depth: dict[Term, int] = {}
        waves: dict[tuple[int, Symbol], list[Term]] = {}
        for term in subterms(*roots):
            depth[term] = 1 + max((depth[arg] for arg in term.args), default=0)
            waves.setdefault((depth[term], term.symbol), []).append(term)
        found: dict[Term, list[Pair]] = {}
        for (_, symbol), terms in sorted(waves.items(), key=lambda wave: wave[0][0]):
            for start in range(0, len(terms), AT_ONCE):
                self._evaluate_alike(symbol, terms[start : start + AT_ONCE], found)
        return found

    def _evaluate_alike(self, symbol: Symbol, terms: list[Term], found: dict[Term, list[Pair]]) -> None:
        holes = tuple(Term(Variable(f"|{position}|", arg.sort)) for position, arg in enumerate(terms[0].args))
        body, values = Term(symbol, holes), []
        for group in range(len(self.groups)):
            parts = [[found[term.args[position]][group] for term in terms] for position in range(len(holes))]
            memo = {hole: Pair(*map(np.stack, zip(*part, strict=True))) for hole, part in zip(holes, parts, strict=True)}
            value = self.evaluate(body, group, memo)
            values.append(value if holes else value.each(lambda x: x[None]))
        rows = self.rows(values, self.context.theory.sorts.get(body.sort, len(self.context.theory.axes)))
        for index, term in enumerate(terms):
            found[term] = [Pair(pair.residue[index], pair.approximate[index]) for pair in rows]

    def hashes(self, rows: list[Pair]) -> NDArray[np.uint64]:
        """One 64-bit hash a term, of its residues at all points: [N]. Deterministic for a seed."""
        total, used = np.zeros(rows[0].residue.shape[0], np.uint64), 0
        for pair in rows:
            flat = pair.residue.reshape(len(total), -1).astype(np.uint64)
            total += (flat * self._hash[used : used + flat.shape[1]]).sum(1, dtype=np.uint64)
            used += flat.shape[1]
        return total
