"""The core functions over Bool, Int and Real: what SyGuS-IF files may use without declaring it.

Division is total (x / 0 = 0, x div 0 = 0, x mod 0 = x) here, in fingerprints, in cvc5 and on tensors. `sqrt` is the root of the
positive part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .terms import BOOL, INT, REAL, Function, Sort, Term, variable

COMMUTATIVE = frozenset({"+", "*", "=", "distinct", "and", "or", "xor"})
_ARITHMETIC = {"+": (2, None), "-": (1, None), "*": (2, None), "abs": (1, 1)}
_ORDER = ("<", "<=", ">", ">=")
_BOOLEAN = {"and": (2, None), "or": (2, None), "xor": (2, None), "=>": (2, None), "not": (1, 1)}
_FIXED = {"exp": ((REAL,), REAL), "sqrt": ((REAL,), REAL), "to_real": ((INT,), REAL), "to_int": ((REAL,), INT),
          "is_int": ((REAL,), BOOL), "mod": ((INT, INT), INT)}  # fmt: skip
NAMES = frozenset({*_ARITHMETIC, *_ORDER, *_BOOLEAN, *_FIXED, "/", "div", "=", "distinct", "ite"})
RESERVED = frozenset({"let", "!", "_", "as", "par", "match"})
"""Words that are no symbols unless they stand between bars."""


def core_function(name: str, sorts: Sequence[Sort]) -> Function | None:
    """The core function `name` at argument sorts `sorts`, or None where there is none.

    >>> core_function("+", (REAL, REAL)).result
    Sort(name='Real', arguments=(), indices=())
    >>> core_function("+", (REAL, INT)) is None
    True
    """
    return _core_function(name, tuple(sorts)) if name in NAMES and sorts else None


@lru_cache(maxsize=4096)  # one object a symbol: terms are compared by identity first
def _core_function(name: str, given: tuple[Sort, ...]) -> Function | None:
    first, sorts = given[0], given
    alike = all(sort == first for sort in sorts)
    if name in _ARITHMETIC:
        low, high = _ARITHMETIC[name]
        fits = alike and first in (INT, REAL) and low <= len(given) <= (high or len(given))
        return Function(name, given, first) if fits else None
    if name == "/":
        return Function(name, given, REAL) if alike and first == REAL and len(given) >= 2 else None
    if name == "div":
        return Function(name, given, INT) if alike and first == INT and len(given) >= 2 else None
    if name in _FIXED:
        parameters, result = _FIXED[name]
        return Function(name, given, result) if given == parameters else None
    if name in _ORDER:
        return Function(name, given, BOOL) if alike and first in (INT, REAL) and len(given) >= 2 else None
    if name in ("=", "distinct"):
        return Function(name, given, BOOL) if alike and len(given) >= 2 else None
    if name in _BOOLEAN:
        low, high = _BOOLEAN[name]
        fits = alike and first == BOOL and low <= len(given) <= (high or len(given))
        return Function(name, given, BOOL) if fits else None
    if name == "ite" and len(given) == 3 and first == BOOL and given[1] == given[2]:
        return Function(name, given, given[1])
    return None


def is_core(function: Function) -> bool:
    """Whether `function` is a core function, and not one of a file that is called alike.

    >>> is_core(Function("+", (REAL, REAL), REAL)), is_core(Function("+", (BOOL, BOOL), BOOL))
    (True, False)
    """
    return core_function(function.name, function.parameters) == function


def apply(name: str, *args: Term) -> Term:
    """The core function `name` applied; a wrong sort is a bug of the caller.

    >>> x = variable("x", REAL)
    >>> print(apply("+", x, x))
    (+ x x)
    """
    function = core_function(name, [arg.sort for arg in args])
    assert function is not None, (name, args)
    return Term(function, args)


def negate(term: Term) -> Term:
    """`(- term)`."""
    return apply("-", term)


def divide(numerator: Term, denominator: Term) -> Term:
    """`(/ numerator denominator)`, total."""
    return apply("/", numerator, denominator)


__all__ = ["COMMUTATIVE", "NAMES", "apply", "core_function", "divide", "is_core", "negate", "variable"]
