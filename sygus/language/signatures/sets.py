"""cvc5's theory of finite sets."""

from __future__ import annotations

from .signature import table

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
