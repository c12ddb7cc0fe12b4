"""The core functions over Bool, Int and Real: what SyGuS-IF files may use without declaring it.

`FUNCTIONS` says of each what sorts it takes and what holds of it in every domain. What its values are is said once a domain, in
the tables `CORE` of `semantics/` (exact numbers, residues, scalar terms), of `solver/encode.py` (cvc5's terms) and, for tensors,
of `sycam.theory.evaluate`.

Division is total (x / 0 = 0, x div 0 = 0, x mod 0 = x) in every domain. `sqrt` is the root of the positive part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from .terms import BOOL, INT, REAL, Function, Sort, Term

Signature = Callable[[tuple[Sort, ...]], "Sort | None"]
"""The sort of the result at the sorts of the arguments; None where the function does not take these."""


class Sign(Enum):
    """What the form of an application tells of its sign."""

    UNKNOWN = "nothing"
    NEVER_NEGATIVE = "at least 0"
    KEPT = "at least 0 where all arguments are, above 0 where all are above 0"


@dataclass(frozen=True)
class CoreFunction:
    """What holds of a core function in every domain.

    Attributes:
        signature: the sorts that it takes.
        part: the part of a logic that has it: "boolean", "arithmetic" (Int or Real), "integer", "real", "mixed" (Int and Real) or
            "transcendental".
        commutative: whether its two arguments may be swapped.
        sign: what its form tells of its sign.
        linear: whether a common factor of the arguments is one of the value.
        overflows: whether its floating-point value may be infinite or no number where the arguments are small.
    """

    signature: Signature
    part: str
    commutative: bool = False
    sign: Sign = Sign.UNKNOWN
    linear: bool = False
    overflows: bool = False


def alike(sorts: tuple[Sort, ...] | None, least: int, most: int | None = None, result: Sort | None = None) -> Signature:
    """Takes `least` to `most` arguments of one sort among `sorts` (None: any), and gives that sort or `result`."""

    def signature(given: tuple[Sort, ...]) -> Sort | None:
        fits = least <= len(given) <= (most or len(given)) and (sorts is None or given[0] in sorts)
        return (result or given[0]) if fits and all(sort == given[0] for sort in given) else None

    return signature


def exactly(parameters: tuple[Sort, ...], result: Sort) -> Signature:
    """Takes arguments of the sorts `parameters`."""
    return lambda given: result if given == parameters else None


def _choice(given: tuple[Sort, ...]) -> Sort | None:
    return given[1] if len(given) == 3 and given[0] == BOOL and given[1] == given[2] else None


_NUMBERS = (REAL, INT)
FUNCTIONS: dict[str, CoreFunction] = {
    "+": CoreFunction(alike(_NUMBERS, 2), "arithmetic", commutative=True, sign=Sign.KEPT, linear=True),
    "-": CoreFunction(alike(_NUMBERS, 1), "arithmetic", linear=True),
    "*": CoreFunction(alike(_NUMBERS, 2), "arithmetic", commutative=True, sign=Sign.KEPT),
    "/": CoreFunction(alike((REAL,), 2), "real", sign=Sign.KEPT),
    "abs": CoreFunction(alike(_NUMBERS, 1, 1), "arithmetic", sign=Sign.NEVER_NEGATIVE),
    "div": CoreFunction(alike((INT,), 2), "integer"),
    "mod": CoreFunction(exactly((INT, INT), INT), "integer"),
    "exp": CoreFunction(exactly((REAL,), REAL), "transcendental", sign=Sign.NEVER_NEGATIVE, overflows=True),
    "sqrt": CoreFunction(exactly((REAL,), REAL), "transcendental", sign=Sign.NEVER_NEGATIVE),
    "to_real": CoreFunction(exactly((INT,), REAL), "mixed"),
    "to_int": CoreFunction(exactly((REAL,), INT), "mixed"),
    "is_int": CoreFunction(exactly((REAL,), BOOL), "mixed"),
    "<": CoreFunction(alike(_NUMBERS, 2, result=BOOL), "arithmetic"),
    "<=": CoreFunction(alike(_NUMBERS, 2, result=BOOL), "arithmetic"),
    ">": CoreFunction(alike(_NUMBERS, 2, result=BOOL), "arithmetic"),
    ">=": CoreFunction(alike(_NUMBERS, 2, result=BOOL), "arithmetic"),
    "=": CoreFunction(alike(None, 2, result=BOOL), "boolean", commutative=True),
    "distinct": CoreFunction(alike(None, 2, result=BOOL), "boolean", commutative=True),
    "ite": CoreFunction(_choice, "boolean"),
    "and": CoreFunction(alike((BOOL,), 2), "boolean", commutative=True),
    "or": CoreFunction(alike((BOOL,), 2), "boolean", commutative=True),
    "xor": CoreFunction(alike((BOOL,), 2), "boolean", commutative=True),
    "=>": CoreFunction(alike((BOOL,), 2), "boolean"),
    "not": CoreFunction(alike((BOOL,), 1, 1), "boolean"),
}
"""The core functions. What makes a new one: an entry here, and one in the table of each domain that can have its values."""


def core_function(name: str, sorts: Sequence[Sort]) -> Function | None:
    """The core function `name` at argument sorts `sorts`, or None where there is none.

    >>> core_function("+", (REAL, REAL)).result
    Sort(name='Real', arguments=(), indices=())
    >>> core_function("+", (REAL, INT)) is None
    True
    """
    return _core_function(name, tuple(sorts)) if name in FUNCTIONS and sorts else None


@lru_cache(maxsize=4096)  # one object a symbol: terms are compared by identity first
def _core_function(name: str, given: tuple[Sort, ...]) -> Function | None:
    result = FUNCTIONS[name].signature(given)
    return None if result is None else Function(name, given, result)


def is_core(function: Function) -> bool:
    """Whether `function` is a core function, and not one of a file that is called alike.

    >>> is_core(Function("+", (REAL, REAL), REAL)), is_core(Function("+", (BOOL, BOOL), BOOL))
    (True, False)
    """
    found = core_function(function.name, function.parameters)
    return found is function or found == function  # it is nearly always the one object


def described(function: Function) -> CoreFunction | None:
    """What holds of `function`, if it is a core function."""
    return FUNCTIONS[function.name] if is_core(function) else None


def apply(name: str, *args: Term) -> Term:
    """The core function `name` applied; a wrong sort is a bug of the caller.

    >>> from sygus.terms import variable
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
