"""What arithmetic has beside the core functions of `sygus.core`: transcendental functions, and cvc5's on integers."""

from __future__ import annotations

from collections.abc import Sequence

from ...terms import BOOL, INT, Sort
from .signature import Indexed, table


def _divisible(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return BOOL if len(indices) == 1 and indices[0] and tuple(sorts) == (INT,) else None


def _bitwise_and(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return INT if len(indices) == 1 and indices[0] and tuple(sorts) == (INT, INT) else None


_INDEXED: dict[str, Indexed] = {"divisible": _divisible, "iand": _bitwise_and}
INTEGERS = table("integers", {}, "div_total mod_total: Int Int -> Int", _INDEXED)
POWERS = table(
    "powers",
    {},
    """
    ^: Int Int -> Int
    ^: Real Real -> Real
    int.pow2 int.log2: Int -> Int
    """,
)
TRANSCENDENTALS = table(
    "transcendental functions",
    {},
    """
    sin cos tan csc sec cot arcsin arccos arctan arccsc arcsec arccot: Real -> Real
    real.pi: -> Real
    """,
)
