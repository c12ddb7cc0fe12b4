"""What SMT-LIB's theories offer, as tables of signatures, and which of them a logic has.

The name of a logic says it: `QF_UFLIA` has uninterpreted functions and linear integer arithmetic. Names are taken apart as cvc5
does it: theories in any order, `QF_` and `HO_` before them. `CHC_` is the standard's, for clauses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..core import FUNCTIONS
from ..terms import BOOL, INT, STRING, Sort, bit_vector
from .signature import Indexed, Signatures, names_of, table

# Arithmetic, beside the core functions of `sygus.core` ------------------------------------------------------------------


def _divisible(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return BOOL if len(indices) == 1 and indices[0] and tuple(sorts) == (INT,) else None


def _bitwise_and(indices: Sequence[int], sorts: Sequence[Sort]) -> Sort | None:
    return INT if len(indices) == 1 and indices[0] and tuple(sorts) == (INT, INT) else None


_OF_INTEGERS: dict[str, Indexed] = {"divisible": _divisible, "iand": _bitwise_and}
INTEGERS = table("integers", {}, "div_total mod_total: Int Int -> Int", _OF_INTEGERS)
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


# Bit-vectors, with the overflow predicates of SMT-LIB 2.7 ---------------------------------------------------------------

_BIT_FUNCTIONS = """
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


_OF_BITS: dict[str, Indexed] = {
    "extract": _extract,
    "repeat": lambda indices, sorts: _resized(indices, sorts, by="repeat"),
    **{name: lambda indices, sorts: _resized(indices, sorts, by="extend") for name in ("zero_extend", "sign_extend")},
    **{name: lambda indices, sorts: _resized(indices, sorts, by="rotate") for name in ("rotate_left", "rotate_right")},
    "bit": _bit,
}
BIT_VECTORS = table("bit-vectors", {"BitVec": (0, 1)}, _BIT_FUNCTIONS, _OF_BITS, {"concat": concatenation})
BITS_OF_INTEGERS = table(
    "bit-vectors of integers",
    {},
    "bv2nat ubv_to_int sbv_to_int: (_ BitVec n) -> Int",
    dict.fromkeys(("int2bv", "int_to_bv"), _from_int),
)


# Unicode strings and regular expressions, with cvc5's names and its sequences -------------------------------------------

_REGLAN = Sort("RegLan")
_STRING_FUNCTIONS = """
str.++: String String+ -> String
str.len str.to_code str.to_int: String -> Int
str.at: String Int -> String
str.substr: String Int Int -> String
str.indexof: String String Int -> Int
str.indexof_re: String RegLan Int -> Int
str.contains str.prefixof str.suffixof str.< str.<=: String String -> Bool
str.is_digit: String -> Bool
str.replace str.replace_all: String String String -> String
str.replace_re str.replace_re_all: String RegLan String -> String
str.update: String Int String -> String
str.rev str.to_lower str.to_upper: String -> String
str.from_code str.from_int: Int -> String
str.in_re: String RegLan -> Bool
str.to_re: String -> RegLan
re.none re.all re.allchar: -> RegLan
re.++ re.union re.inter re.diff: RegLan RegLan+ -> RegLan
re.* re.+ re.opt re.comp: RegLan -> RegLan
re.range: String String -> RegLan
seq.++: (Seq X) (Seq X)+ -> (Seq X)
seq.len: (Seq X) -> Int
seq.unit: X -> (Seq X)
seq.nth: (Seq X) Int -> X
seq.at: (Seq X) Int -> (Seq X)
seq.extract: (Seq X) Int Int -> (Seq X)
seq.indexof: (Seq X) (Seq X) Int -> Int
seq.contains seq.prefixof seq.suffixof: (Seq X) (Seq X) -> Bool
seq.replace seq.replace_all: (Seq X) (Seq X) (Seq X) -> (Seq X)
seq.update: (Seq X) Int (Seq X) -> (Seq X)
seq.rev: (Seq X) -> (Seq X)
seq.empty: -> (Seq X)
"""


def _repeated(indices: Sequence[int], sorts: Sequence[Sort], *, counts: int) -> Sort | None:
    return _REGLAN if len(indices) == counts and tuple(sorts) == (_REGLAN,) else None


_OF_STRINGS: dict[str, Indexed] = {
    "re.^": lambda indices, sorts: _repeated(indices, sorts, counts=1),
    "re.loop": lambda indices, sorts: _repeated(indices, sorts, counts=2),
}
STRINGS = table("strings", {STRING.name: (0, 0), "RegLan": (0, 0), "Seq": (1, 0)}, _STRING_FUNCTIONS, _OF_STRINGS)


# Arrays: a constant one is written `((as const (Array Int Real)) 0.0)` --------------------------------------------------

ARRAYS = table(
    "arrays",
    {"Array": (2, 0)},
    """
    select: (Array X Y) X -> Y
    store: (Array X Y) X Y -> (Array X Y)
    const: Y -> (Array X Y)
    eqrange: (Array X Y) (Array X Y) X X -> Bool
    """,
)


# Finite sets, cvc5's ----------------------------------------------------------------------------------------------------

SETS = table(
    "sets",
    {"Set": (1, 0)},
    """
    set.empty set.universe: -> (Set X)
    set.singleton: X -> (Set X)
    set.union set.inter set.minus: (Set X) (Set X)+ -> (Set X)
    set.subset: (Set X) (Set X) -> Bool
    set.member: X (Set X) -> Bool
    set.complement: (Set X) -> (Set X)
    set.card: (Set X) -> Int
    set.choose: (Set X) -> X
    set.is_empty set.is_singleton: (Set X) -> Bool
    """,
)


# Logics -----------------------------------------------------------------------------------------------------------------

_THEORIES = "AX|UF|C|BV|FP|FF|DT|FS|S|IDL|RDL|(?:LIRA|NIRA|LIA|LRA|NIA|NRA)T?|A"
_NAME = re.compile(rf"(?P<prefix>(?:HO_|CHC_)?(?:QF_)?)(?:(?P<all>ALL)|(?:SEP_)?(?P<theories>(?:{_THEORIES})*))")
_ELSEWHERE = frozenset({
    "arccos", "bag", "fp", "piand", "pto", "roundTowardZero", "sep", "tuple", "wand", "forall", "exists", "true", "false",
})  # fmt: skip
"""Names of cvc5's under the logic ALL that nothing here reads, and words that are no functions: no file may declare them."""


@dataclass(frozen=True)
class Logic:
    """The sorts and functions of a logic.

    Attributes:
        name: as the file says it.
        sorts: number of arguments and of indices of each sort.
        core: the core functions that it has.
        tables: the theories beside the core.
        numerals: "Int", or "Real" where a numeral writes a real number.
        functions, free_sorts, higher_order: whether a file may declare functions, sorts, and use functions as values.
    """

    name: str
    sorts: dict[str, tuple[int, int]]
    core: frozenset[str]
    tables: tuple[Signatures, ...]
    numerals: str = "Int"
    functions: bool = True
    free_sorts: bool = True
    higher_order: bool = False

    @property
    def mixed(self) -> bool:
        """Whether an Int stands for a Real where a Real is due."""
        return {"Int", "Real"} <= self.sorts.keys()

    def taken(self) -> dict[str, str]:
        """Names that a file may not declare, with what they belong to."""
        return {**dict.fromkeys(self.core, "the core"), **names_of(self.tables), **dict.fromkeys(_ELSEWHERE, "another theory")}


@lru_cache(maxsize=64)
def logic(name: str) -> Logic | None:
    """The logic called `name`; None where there is none of that name.

    >>> logic("QF_LRA").sorts.keys()
    dict_keys(['Bool', 'BitVec', 'Real'])
    >>> logic("ALLL") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    everything, theories = match["all"] is not None, set(re.findall(_THEORIES, match["theories"] or ""))
    arithmetic = {theory.rstrip("T") for theory in theories if re.match("[IRLN][DIR]", theory)}
    integers = everything or any("I" in theory[:2] for theory in arithmetic)
    reals = everything or any("R" in theory for theory in arithmetic)
    transcendental = everything or any(theory[-1] == "T" and theory != "DT" for theory in theories)
    strings, higher = everything or "S" in theories, match["prefix"].startswith("HO_")
    sorts: dict[str, tuple[int, int]] = {"Bool": (0, 0), "BitVec": (0, 1)}
    tables: list[Signatures] = []
    parts = {"boolean"}
    if integers or strings:
        sorts["Int"] = (0, 0)
    if reals:
        sorts["Real"] = (0, 0)
        parts.add("real")
    if integers or reals:
        parts.add("arithmetic")
        tables.append(POWERS)
    if integers:
        parts.add("integer")
        tables.append(INTEGERS)
    if integers and reals:
        parts.add("mixed")
    if transcendental:
        parts.add("transcendental")
        tables.append(TRANSCENDENTALS)
    if everything or (integers and "BV" in theories):
        tables.append(BITS_OF_INTEGERS)
    for present, theory in (("A", ARRAYS), ("AX", ARRAYS), ("BV", BIT_VECTORS), ("S", STRINGS), ("FS", SETS)):
        if (everything or present in theories) and theory not in tables:
            tables.append(theory)
    for theory in tables:
        sorts.update(theory.sorts)
    core = frozenset(name for name, function in FUNCTIONS.items() if function.part in parts)
    free = everything or higher or "UF" in theories
    return Logic(
        name, sorts, core, tuple(tables), "Int" if "Int" in sorts else "Real",
        functions=free, free_sorts=free or bool(theories & {"A", "AX", "DT", "FS"}), higher_order=higher,
    )  # fmt: skip
