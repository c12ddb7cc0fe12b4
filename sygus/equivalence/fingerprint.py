"""Fingerprints: the values of terms on random small tensors, many terms at once, exact modulo a prime.

A value is a pair of arrays: its residue modulo `PRIME`, which is exact, and a float64, which only tells the sign. A number is
zero where its residue is, so a comparison is decided by the residue of the difference and the sign of its float. Functions
that leave the rationals (`exp`, `sqrt`, softmax, opaque operators) become pseudo-random functions of the residues: equal
arguments give equal values and nothing else is known of them, which is also all that a proof may use.

Two terms with different fingerprints differ (up to a wrong sign under catastrophic cancellation, which can only keep two
equal terms apart); two with the same one are candidates for a proof. Nothing is merged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core import is_core
from ..terms import BOOL, INT, Function, Literal, Symbol, Term, Variable, fold, subterms
from ..theory import Context, Operator

PRIME = 2**31 - 1
AT_ONCE = 1024
"""Terms of one symbol that are evaluated at once."""
_SCALE = 256  # random values are multiples of 1/256, exact in float64 and invertible modulo the prime


class Pair(NamedTuple):
    """Values of N terms (or of all pairs of terms, with more leading axes) at the points of one group."""

    residue: NDArray[np.int64]
    approximate: NDArray[np.float64]

    def each(self, function: Callable[[Any], Any]) -> Pair:
        """`function` on both arrays."""
        return Pair(function(self.residue), function(self.approximate))


def invert(residue: NDArray[np.int64]) -> NDArray[np.int64]:
    """The inverse modulo `PRIME`, 0 for 0 (Fermat)."""
    result, power, exponent = np.ones_like(residue), residue, PRIME - 2
    while exponent:
        if exponent & 1:
            result = result * power % PRIME
        power, exponent = power * power % PRIME, exponent >> 1
    return result


def _scramble(residue: NDArray[np.int64], key: int) -> Pair:
    """A pseudo-random function of `residue`: 31 bits, and a float in (0, 1) that goes with them."""
    mixed = residue.astype(np.uint64) + np.uint64((key * 0x9E3779B97F4A7C15) & (2**64 - 1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    value = ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(PRIME - 1)).astype(np.int64) + 1
    return Pair(value, value / PRIME)


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")


def constant(value: Fraction | int | bool) -> Pair:
    """A number as a pair of 0-dimensional arrays."""
    exact = Fraction(value)
    residue = exact.numerator % PRIME * pow(exact.denominator, -1, PRIME) % PRIME
    return Pair(np.asarray(residue, np.int64), np.asarray(float(exact)))


def _minus(a: Pair, b: Pair) -> Pair:
    return Pair((a.residue - b.residue) % PRIME, a.approximate - b.approximate)


def _plus(a: Pair, b: Pair) -> Pair:
    return Pair((a.residue + b.residue) % PRIME, a.approximate + b.approximate)


def _times(a: Pair, b: Pair) -> Pair:
    return Pair(a.residue * b.residue % PRIME, a.approximate * b.approximate)


def _over(a: Pair, b: Pair) -> Pair:
    zero = b.residue == 0
    inverse = Pair(invert(b.residue), np.where(zero, 0.0, 1.0 / np.where(zero, 1.0, b.approximate)))
    return _times(a, inverse)


def _choose(condition: NDArray[np.bool_], a: Pair, b: Pair) -> Pair:
    return Pair(np.where(condition, a.residue, b.residue), np.where(condition, a.approximate, b.approximate))


def _bool(condition: NDArray[np.bool_]) -> Pair:
    return Pair(condition.astype(np.int64), condition.astype(np.float64))


def _sign(a: Pair) -> NDArray[np.int8]:
    return np.where(a.residue == 0, 0, np.sign(np.nan_to_num(a.approximate))).astype(np.int8)


_COMPARE = {
    "<": lambda s: s < 0,
    "<=": lambda s: s <= 0,
    ">": lambda s: s > 0,
    ">=": lambda s: s >= 0,
    "=": lambda s: s == 0,
}


@np.errstate(over="ignore", invalid="ignore")  # the float only tells a sign, and one that overflows tells it still
def core_value(name: str, args: list[Pair]) -> Pair:
    """The core function `name` on pairs that broadcast against each other."""
    first, rest = args[0], args[1:]
    if name == "-" and not rest:
        return _minus(constant(0), first)
    if name in ("+", "-", "*", "/"):
        step = {"+": _plus, "-": _minus, "*": _times, "/": _over}[name]
        for other in rest:
            first = step(first, other)
        return first
    if name in _COMPARE:
        return _bool(reduce(np.logical_and, [_COMPARE[name](_sign(_minus(a, b))) for a, b in zip(args, rest, strict=False)]))
    if name == "distinct":
        pairs = [(a, b) for i, a in enumerate(args) for b in args[i + 1 :]]
        return _bool(reduce(np.logical_and, [_sign(_minus(a, b)) != 0 for a, b in pairs]))
    if name == "ite":
        return _choose(first.residue == 1, *rest)
    if name == "abs":
        return _choose(_sign(first) < 0, _minus(constant(0), first), first)
    if name == "to_real":
        return first
    if name in ("div", "mod", "to_int", "is_int"):
        return _rounded(name, first, rest)
    if name == "exp":
        return _scramble(first.residue, _key("exp"))
    if name == "sqrt":
        return _choose(_sign(first) > 0, _scramble(first.residue, _key("sqrt")), constant(0))
    truth = [arg.residue == 1 for arg in args]
    if name == "not":
        return _bool(~truth[0])
    if name == "=>":
        result = truth[-1]
        for condition in reversed(truth[:-1]):
            result = ~condition | result
        return _bool(result)
    return _bool(reduce({"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[name], truth))


def _rounded(name: str, first: Pair, rest: list[Pair]) -> Pair:
    """Rounding, by the floats: exact while numbers are small, and a residue has no size to round."""
    if name in ("to_int", "is_int"):
        floor = _whole(np.floor(first.approximate))
        return floor if name == "to_int" else _bool(_sign(_minus(first, floor)) == 0)
    for other in rest:
        zero = other.residue == 0
        quotient = np.floor(first.approximate / np.where(zero, 1.0, np.abs(other.approximate)))
        whole = _whole(np.where(zero, 0.0, np.where(other.approximate < 0, -quotient, quotient)))
        first = whole if name == "div" else _minus(first, _times(other, whole))
    return first


def _whole(approximate: NDArray[np.float64]) -> Pair:
    finite = np.where(np.abs(approximate) < 2.0**62, approximate, 0.0)
    return Pair(finite.astype(np.int64) % PRIME, approximate)


@np.errstate(over="ignore", invalid="ignore")
def reduce_value(kind: str, axis: int, a: Pair, count: int) -> Pair:
    """A reduction over `axis` (negative, from the end), which has `count` entries though `a` may be constant along it."""
    shape = list(np.broadcast_shapes(a.residue.shape, (1,) * -axis))
    shape[axis] = count
    a = Pair(np.broadcast_to(a.residue, shape), np.broadcast_to(a.approximate, shape))
    if kind in ("sum", "mean", "std"):
        total = Pair(a.residue.sum(axis, keepdims=True) % PRIME, a.approximate.sum(axis, keepdims=True))
        if kind == "sum":
            return total
        mean = _times(total, constant(Fraction(1, count)))
        if kind == "mean":
            return mean
        deviation = _minus(a, mean)
        return core_value("sqrt", [reduce_value("mean", axis, _times(deviation, deviation), count)])
    if kind in ("max", "min"):
        best = np.argmax(a.approximate if kind == "max" else -a.approximate, axis, keepdims=True)
        return Pair(np.take_along_axis(a.residue, best, axis), np.take_along_axis(a.approximate, best, axis))
    assert kind == "softmax", kind
    power = _scramble(a.residue, _key("exp"))
    return _over(power, Pair(power.residue.sum(axis, keepdims=True) % PRIME, power.approximate.sum(axis, keepdims=True)))


@dataclass(frozen=True)
class Group:
    """Some points whose axes have the same sizes: `count` points, `sizes` entries along each axis."""

    count: int
    sizes: tuple[int, ...]

    def shape(self, level: int) -> tuple[int, ...]:
        """The shape of one term's values at a level: points, then each axis or 1."""
        return (self.count, *(size if axis < level else 1 for axis, size in enumerate(self.sizes)))

    def widened(self, values: NDArray[Any], level: int) -> NDArray[Any]:
        """Values that end in the axes, or a number, broadcast to the full shape of `level`. Over the axes above that level they
        are constant, even where the array is not narrow."""
        shape = self.shape(level)
        values = values.reshape((1,) * max(0, len(shape) - values.ndim) + values.shape)
        one: tuple[Any, ...] = (..., *(slice(0, size) for size in shape))
        return np.broadcast_to(values[one], (*values.shape[: values.ndim - len(shape)], *shape))


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
        widths = [int(np.prod(g.shape(depth))) for g in self.groups]
        self._hash = generator.integers(0, 2**63, sum(widths), np.uint64) * np.uint64(2) + np.uint64(1)

    def _draw(self, variable: Variable, position: int, group: Group, generator: np.random.Generator) -> Pair:
        known = self.context.input(variable)
        if known.size_of is not None:
            size = group.sizes[known.size_of]
            return Pair(np.full(group.shape(0), size, np.int64), np.full(group.shape(0), float(size)))
        shape = group.shape(known.level)
        if variable.sort == BOOL:
            return _bool(generator.integers(0, 2, shape).astype(bool))
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

    def evaluate(self, root: Term, group: int, memo: dict[Term, Pair]) -> Pair:
        """Values of `root` at the points of one group. `memo` may bind variables to values of many terms at once: what it
        holds must end in the axes (points, axes of the theory...)."""
        sizes = self.groups[group].sizes

        def visit(term: Term, args: tuple[Pair, ...]) -> Pair:
            if isinstance(term.symbol, Literal):
                return constant(term.value)
            if isinstance(term.symbol, Variable):
                return self.values[group][term]
            assert isinstance(term.symbol, Function), "Context.check refuses quantifiers"
            if term.symbol.body is not None:
                return self._apply(term.symbol, term.symbol.body, args, group)
            operator = self.context.operator(term)
            if operator is None:
                return core_value(term.name, list(args)) if is_core(term.symbol) else self._opaque(term, args, group)
            if operator.body is not None:
                return self._apply(operator, operator.body, args, group)
            if operator.reduction is not None:
                axis = operator.axis - len(sizes)
                return reduce_value(operator.reduction, axis, args[0], sizes[operator.axis])
            return self._opaque(term, args, group)

        result, depth = fold(root, visit, memo), len(sizes) + 1
        return result.each(lambda x: x.reshape((1,) * (depth - x.ndim) + x.shape) if x.ndim < depth else x)

    def _apply(self, owner: Function | Operator, body: Term, args: tuple[Pair, ...], group: int) -> Pair:
        return self.evaluate(body, group, {Term(v): arg for v, arg in zip(owner.variables, args, strict=True)})

    def _opaque(self, term: Term, args: tuple[Pair, ...], group: int) -> Pair:
        """An uninterpreted function: it may look at every entry of its arguments along every axis, and varies over those
        that values of its sort have. It sees values, not arrays: one that is constant along an axis is written out along it."""
        depth = len(self.context.theory.axes)
        level = self.context.theory.sorts.get(term.sort, depth)
        total: Any = np.asarray(0, np.int64)
        for position, (arg, part) in enumerate(zip(args, term.args, strict=True)):
            residue = self.groups[group].widened(arg.residue, self.context.theory.sorts.get(part.sort, depth))
            mixed = _scramble(residue, _key(term.name) + position).residue
            for axis in range(-depth, 0):
                order = 1 + np.arange(mixed.shape[axis]).reshape((-1,) + (1,) * (-axis - 1))
                whole = (mixed % PRIME * order % PRIME).sum(axis, keepdims=True) % PRIME
                mixed = mixed + whole if axis + depth < level else whole
            total = (total * 31 + mixed) % PRIME
        result = _scramble(total, _key(term.name))
        return _bool(result.residue % 2 == 1) if term.sort == BOOL else result

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
