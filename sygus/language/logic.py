"""What the name of a logic says: `QF_UFLIA` has uninterpreted functions and linear integer arithmetic.

Names are taken apart as cvc5 does it: theories in any order, `QF_` and `HO_` before them. `CHC_` is the standard's, for clauses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ..core import FUNCTIONS
from .signatures.arithmetic import INTEGERS, POWERS, TRANSCENDENTALS
from .signatures.arrays import ARRAYS
from .signatures.bitvectors import BIT_VECTORS, BITS_OF_INTEGERS
from .signatures.sets import SETS
from .signatures.signature import Signatures, names_of
from .signatures.strings import STRINGS

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
