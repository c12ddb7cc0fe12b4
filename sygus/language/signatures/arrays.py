"""The theory of arrays. A constant array is written `((as const (Array Int Real)) 0.0)`."""

from __future__ import annotations

from .signature import table

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
