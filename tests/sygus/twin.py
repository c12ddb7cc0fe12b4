"""A second evaluator, slower and less complicated, straight from the definitions: arrays of exact rationals (gmpy2).

It knows nothing of `sygus.theory`: what each operator means is written here again. A value has three axes [points, channels,
pixels], with 1 where it is constant.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce

import gmpy2
import numpy as np
from numpy.typing import NDArray

from sygus import BOOL, Term
from sygus.terms import Literal, subterms

Array = NDArray[np.object_]
ZERO, ONE = gmpy2.mpq(0), gmpy2.mpq(1)
divide = np.frompyfunc(lambda a, b: a / b if b else ZERO, 2, 1)
CORE: dict[str, Callable[..., Array]] = {
    "+": lambda *a: reduce(np.add, a),
    "-": lambda *a: -a[0] if len(a) == 1 else reduce(np.subtract, a),
    "*": lambda *a: reduce(np.multiply, a),
    "/": lambda *a: reduce(divide, a),
    "abs": np.abs,
    "to_real": lambda a: a,
    "ite": lambda c, a, b: np.where(c.astype(bool), a, b),
    "not": lambda a: ~a.astype(bool),
    "and": lambda *a: reduce(np.logical_and, a).astype(bool),
    "or": lambda *a: reduce(np.logical_or, a).astype(bool),
    "xor": lambda *a: reduce(np.not_equal, a).astype(bool),
    "=>": lambda *a: reduce(lambda right, left: ~left.astype(bool) | right.astype(bool), reversed(a)),
    "distinct": lambda *a: reduce(np.logical_and, [x != y for i, x in enumerate(a) for y in a[i + 1 :]]).astype(bool),
}
for name, function in (("<", np.less), ("<=", np.less_equal), (">", np.greater), (">=", np.greater_equal), ("=", np.equal)):
    CORE[name] = lambda *a, f=function: reduce(np.logical_and, [f(x, y) for x, y in zip(a, a[1:], strict=False)]).astype(bool)


def along(axis: int, kind: str) -> Callable[[Array, tuple[int, int]], Array]:
    def reduced(a: Array, sizes: tuple[int, int]) -> Array:
        shape = list(a.shape)
        shape[axis] = sizes[axis - 1]
        a = np.broadcast_to(a, shape)
        if kind == "max":
            return a.max(axis, keepdims=True)
        if kind == "min":
            return a.min(axis, keepdims=True)
        total = a.sum(axis, keepdims=True)
        return total / gmpy2.mpq(shape[axis]) if kind == "mean" else total

    return reduced


OPERATORS: dict[str, Callable[..., Array]] = {
    "m+": lambda a, b: a + b, "m-": lambda a, b: a - b, "m*": lambda a, b: a * b, "m/": lambda a, b: divide(a, b),
    "mneg": lambda a: -a, "mabs": abs, "mrelu": lambda a: np.where((a > 0).astype(bool), a, ZERO),
    "scale": lambda w, a: w * a, "fill": lambda w: w, "above": lambda a, w: np.where((a > w).astype(bool), ONE, ZERO),
    "nonneg": lambda a: (a >= 0).astype(bool), "positive": lambda a: (a > 0).astype(bool),
}  # fmt: skip
REDUCTIONS = {
    "gap": along(2, "mean"), "sum": along(2, "sum"), "gmax": along(2, "max"), "gmin": along(2, "min"),
    "cmean": along(1, "mean"), "csum": along(1, "sum"), "cmax": along(1, "max"),
}  # fmt: skip


def evaluate(root: Term, values: dict[str, Array], sizes: tuple[int, int], memo: dict[Term, Array]) -> Array:
    """The value of `root`; sub-terms are looked up and kept in `memo`."""
    for term in subterms(root):
        if term in memo:
            continue
        args = [memo[arg] for arg in term.args]
        symbol = term.symbol
        if isinstance(symbol, Literal):
            number = symbol.value if term.sort == BOOL else gmpy2.mpq(Fraction(symbol.value))
            memo[term] = np.full((1, 1, 1), number, object)
        elif term.is_variable:
            memo[term] = values[term.name]
        elif symbol.body is not None:
            given = {v.name: arg for v, arg in zip(symbol.variables, args, strict=True)}
            memo[term] = evaluate(symbol.body, given, sizes, {})
        elif term.name in REDUCTIONS:
            memo[term] = REDUCTIONS[term.name](args[0], sizes)
        else:
            memo[term] = (OPERATORS.get(term.name) or CORE[term.name])(*args)
    return memo[root]


def rationals(values: NDArray[np.int64], divisors: NDArray[np.int64]) -> Array:
    """Exact quotients of integers."""
    return np.frompyfunc(lambda n, d: gmpy2.mpq(int(n), int(d)), 2, 1)(values, divisors)
