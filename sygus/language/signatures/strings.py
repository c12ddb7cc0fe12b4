"""The theory of Unicode strings and regular expressions, with cvc5's names and its sequences."""

from __future__ import annotations

from collections.abc import Sequence

from ...terms import STRING, Sort
from .signature import Indexed, table

_REGLAN = Sort("RegLan")
_ROWS = """
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


_INDEXED: dict[str, Indexed] = {
    "re.^": lambda indices, sorts: _repeated(indices, sorts, counts=1),
    "re.loop": lambda indices, sorts: _repeated(indices, sorts, counts=2),
}
STRINGS = table("strings", {STRING.name: (0, 0), "RegLan": (0, 0), "Seq": (1, 0)}, _ROWS, _INDEXED)
