"""The theory of fixed-size bit-vectors, with the overflow predicates of SMT-LIB 2.7."""

from __future__ import annotations

from collections.abc import Sequence

from ...terms import BOOL, INT, Sort, bit_vector
from .signature import Indexed, table

_ROWS = """
bvnot bvneg: (_ BitVec n) -> (_ BitVec n)
bvand bvor bvxor bvadd bvmul: (_ BitVec n) (_ BitVec n)+ -> (_ BitVec n)
bvnand bvnor bvxnor bvsub bvudiv bvurem bvshl bvlshr bvashr bvsdiv bvsrem bvsmod: (_ BitVec n) (_ BitVec n) -> (_ BitVec n)
bvcomp: (_ BitVec n) (_ BitVec n) -> (_ BitVec 1)
bvult bvule bvugt bvuge bvslt bvsle bvsgt bvsge: (_ BitVec n) (_ BitVec n) -> Bool
bvnego: (_ BitVec n) -> Bool
bvuaddo bvsaddo bvumulo bvsmulo bvusubo bvssubo bvsdivo: (_ BitVec n) (_ BitVec n) -> Bool
bvredor bvredand: (_ BitVec n) -> (_ BitVec 1)
bvite: (_ BitVec 1) (_ BitVec n) (_ BitVec n) -> (_ BitVec n)
"""


def _extract(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    if len(indices) != 2 or not _one_vector(sorts):
        return None
    high, low = indices
    return bit_vector(high - low + 1) if 0 <= low <= high < sorts[0].indices[0] else None


def _resized(indices: Sequence[int], sorts: Sequence[Sort], *, by: str) -> Sort | None:
    if len(indices) != 1 or not _one_vector(sorts):
        return None
    number, width = indices[0], sorts[0].indices[0]
    if by == "repeat":
        return bit_vector(number * width) if number else None
    return bit_vector(width + number) if by == "extend" else sorts[0]


def _from_int(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return bit_vector(indices[0]) if len(indices) == 1 and indices[0] and tuple(sorts) == (INT,) else None


def _bit(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return BOOL if len(indices) == 1 and _one_vector(sorts) and indices[0] < sorts[0].indices[0] else None


def _one_vector(sorts: Sequence[Sort]) -> bool:
    return len(sorts) == 1 and sorts[0].name == "BitVec"


def concatenation(sorts: Sequence[Sort]) -> Sort | None:
    """The sort of `(concat x y ...)`: the widths add up.

    >>> print(concatenation([bit_vector(3), bit_vector(5)]))
    (_ BitVec 8)
    """
    fits = len(sorts) >= 2 and all(sort.name == "BitVec" for sort in sorts)
    return bit_vector(sum(sort.indices[0] for sort in sorts)) if fits else None


_INDEXED: dict[str, Indexed] = {
    "extract": _extract,
    "repeat": lambda indices, sorts: _resized(indices, sorts, by="repeat"),
    **{name: lambda indices, sorts: _resized(indices, sorts, by="extend") for name in ("zero_extend", "sign_extend")},
    **{name: lambda indices, sorts: _resized(indices, sorts, by="rotate") for name in ("rotate_left", "rotate_right")},
    "bit": _bit,
}
BIT_VECTORS = table("bit-vectors", {"BitVec": (0, 1)}, _ROWS, _INDEXED, {"concat": concatenation})
BITS_OF_INTEGERS = table(
    "bit-vectors of integers",
    {},
    "bv2nat ubv_to_int sbv_to_int: (_ BitVec n) -> Int",
    dict.fromkeys(("int2bv", "int_to_bv"), _from_int),
)
