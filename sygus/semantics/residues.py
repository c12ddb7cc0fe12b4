"""Residues modulo a prime: the values of many terms on many small tensors at once.

A value is a pair of arrays: its residue modulo `PRIME`, which is exact, and a float64, which only tells the sign. A number is
zero where its residue is, so a comparison is decided by the residue of the difference and the sign of its float. Functions
that leave the rationals (`exp`, `sqrt`, softmax, opaque operators) become pseudo-random functions of the residues: equal
arguments give equal values and nothing else is known of them, which is also all that a proof may use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from hashlib import blake2b
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..terms import BOOL, Term
from ..theory import Operator
from .interpret import Context, Domain

PRIME = 2**31 - 1


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


def scramble(residue: NDArray[np.int64], key: int) -> Pair:
    """A pseudo-random function of `residue`: 31 bits, and a float in (0, 1) that goes with them."""
    mixed = residue.astype(np.uint64) + np.uint64((key * 0x9E3779B97F4A7C15) & (2**64 - 1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    value = ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(PRIME - 1)).astype(np.int64) + 1
    return Pair(value, value / PRIME)


@lru_cache(maxsize=1024)
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


def truth(condition: NDArray[np.bool_]) -> Pair:
    """Truth values as the numbers 0 and 1."""
    return Pair(condition.astype(np.int64), condition.astype(np.float64))


def _sign(a: Pair) -> NDArray[np.int8]:
    return np.where(a.residue == 0, 0, np.sign(np.nan_to_num(a.approximate))).astype(np.int8)


def _chain(relation: Callable[[NDArray[np.int8]], NDArray[np.bool_]]) -> Callable[..., Pair]:
    return lambda *args: truth(reduce(np.logical_and, [relation(_sign(_minus(a, b))) for a, b in pairwise(args)]))


def _connective(function: Callable[[Any, Any], Any]) -> Callable[..., Pair]:
    return lambda *args: truth(reduce(function, [arg.residue == 1 for arg in args]))


def _folded(step: Callable[[Pair, Pair], Pair]) -> Callable[..., Pair]:
    return lambda *args: reduce(step, args)


def _negative(a: Pair) -> Pair:
    return _minus(constant(0), a)


def _div(a: Pair, b: Pair) -> Pair:
    """Rounding goes by the floats: exact while numbers are small, and a residue has no size to round."""
    zero = b.residue == 0
    quotient = np.floor(a.approximate / np.where(zero, 1.0, np.abs(b.approximate)))
    return _whole(np.where(zero, 0.0, np.where(b.approximate < 0, -quotient, quotient)))


def _whole(approximate: NDArray[np.float64]) -> Pair:
    finite = np.where(np.abs(approximate) < 2.0**62, approximate, 0.0)
    return Pair(finite.astype(np.int64) % PRIME, approximate)


def _floor(a: Pair) -> Pair:
    return _whole(np.floor(a.approximate))


def _exp(a: Pair) -> Pair:
    return scramble(a.residue, _key("exp"))


def _sqrt(a: Pair) -> Pair:
    return _choose(_sign(a) > 0, scramble(a.residue, _key("sqrt")), constant(0))


CORE: dict[str, Callable[..., Pair]] = {
    "+": _folded(_plus),
    "-": lambda first, *rest: reduce(_minus, rest, first) if rest else _negative(first),
    "*": _folded(_times),
    "/": _folded(_over),
    "abs": lambda a: _choose(_sign(a) < 0, _negative(a), a),
    "div": _folded(_div),
    "mod": lambda a, b: _minus(a, _times(b, _div(a, b))),
    "exp": _exp,
    "sqrt": _sqrt,
    "to_real": lambda a: a,
    "to_int": _floor,
    "is_int": lambda a: truth(_sign(_minus(a, _floor(a))) == 0),
    "<": _chain(lambda sign: sign < 0),
    "<=": _chain(lambda sign: sign <= 0),
    ">": _chain(lambda sign: sign > 0),
    ">=": _chain(lambda sign: sign >= 0),
    "=": _chain(lambda sign: sign == 0),
    "distinct": lambda *args: truth(reduce(np.logical_and, [_sign(_minus(a, b)) != 0 for a, b in combinations(args, 2)])),
    "ite": lambda condition, a, b: _choose(condition.residue == 1, a, b),
    "and": _connective(np.logical_and),
    "or": _connective(np.logical_or),
    "xor": _connective(np.logical_xor),
    "=>": lambda *args: truth(reduce(lambda right, left: ~(left.residue == 1) | right, args[-2::-1], args[-1].residue == 1)),
    "not": lambda a: truth(~(a.residue == 1)),
}


def _sum(a: Pair, axis: int) -> Pair:
    return Pair(a.residue.sum(axis, keepdims=True) % PRIME, a.approximate.sum(axis, keepdims=True))


def _mean(a: Pair, axis: int) -> Pair:
    return _times(_sum(a, axis), constant(Fraction(1, a.residue.shape[axis])))


def _std(a: Pair, axis: int) -> Pair:
    deviation = _minus(a, _mean(a, axis))
    return _sqrt(_mean(_times(deviation, deviation), axis))


def _softmax(a: Pair, axis: int) -> Pair:
    power = _exp(a)
    return _over(power, _sum(power, axis))


def _entry(a: Pair, place: NDArray[np.int64], axis: int) -> Pair:
    return a.each(lambda x: np.take_along_axis(x, np.expand_dims(place, axis), axis))


REDUCTIONS: dict[str, Callable[[Pair, int], Pair]] = {
    "mean": _mean,
    "sum": _sum,
    "max": lambda a, axis: _entry(a, np.argmax(a.approximate, axis), axis),
    "min": lambda a, axis: _entry(a, np.argmax(-a.approximate, axis), axis),
    "std": _std,
    "softmax": _softmax,
}


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


class Residues(Domain[Pair]):
    """Values of terms at the points of one group: arrays that end in (points, axes of the theory...) and broadcast. `core` has
    functions of such pairs, `reductions` those of (a pair, an axis counted from the end) where no axis is left out.

    Args:
        context: theory, inputs and assumptions.
        group: the number of points and of entries along the axes.
        values: of the inputs.
    """

    core, reductions = CORE, REDUCTIONS

    def __init__(self, context: Context, group: Group, values: dict[Term, Pair]) -> None:
        super().__init__(context)
        self.group, self.values = group, values

    def literal(self, term: Term) -> Pair:
        return constant(term.value)

    def variable(self, term: Term) -> Pair:
        return self.values[term]

    def reduced(self, operator: Operator, value: Pair) -> Pair:
        assert operator.reduction is not None
        axis = operator.axis - len(self.group.sizes)
        shape = list(np.broadcast_shapes(value.residue.shape, (1,) * -axis))
        shape[axis] = self.group.sizes[operator.axis]
        return self.reductions[operator.reduction](value.each(lambda x: np.broadcast_to(x, shape)), axis)

    def unknown(self, term: Term, args: tuple[Pair, ...]) -> Pair:
        """An uninterpreted function: it may look at every entry of its arguments along every axis, and varies over those
        that values of its sort have. It sees values, not arrays: one that is constant along an axis is written out along it."""
        depth = len(self.context.theory.axes)
        level = self.context.theory.sorts.get(term.sort, depth)
        total: Any = np.asarray(0, np.int64)
        for position, (arg, part) in enumerate(zip(args, term.args, strict=True)):
            residue = self.group.widened(arg.residue, self.context.theory.sorts.get(part.sort, depth))
            mixed = scramble(residue, _key(term.name) + position).residue
            for axis in range(-depth, 0):
                order = 1 + np.arange(mixed.shape[axis]).reshape((-1,) + (1,) * (-axis - 1))
                whole = (mixed % PRIME * order % PRIME).sum(axis, keepdims=True) % PRIME
                mixed = mixed + whole if axis + depth < level else whole
            total = (total * 31 + mixed) % PRIME
        result = scramble(total, _key(term.name))
        return truth(result.residue % 2 == 1) if term.sort == BOOL else result
