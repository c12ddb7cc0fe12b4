"""Values of level ℓ as one number, or one term, for each index over the first ℓ axes: what the exact domains share."""

from __future__ import annotations

from itertools import product
from typing import TypeVar

from ..terms import Term, Variable
from ..theory import Operator
from .interpret import Context, Domain

Index = tuple[int, ...]
Entry = TypeVar("Entry")


class Inexact(Exception):
    """The term leaves the numbers that a domain has (`exp`, `sqrt`, an opaque operator)."""


def level_of(value: dict[Index, Entry]) -> int:
    """Over how many axes a value is written out."""
    return len(next(iter(value)))


class Entries(Domain[dict[Index, Entry]]):
    """Tensors entry by entry. `core` has functions of single entries; `reductions` those of (entries along the axis, size of the
    axis), a value that is constant along it having one entry. What is in neither raises `Inexact`.

    Args:
        context: theory, inputs and assumptions.
        sizes: entries along each axis.
    """

    def __init__(self, context: Context, sizes: tuple[int, ...]) -> None:
        super().__init__(context)
        self.sizes = sizes

    def indices(self, level: int) -> list[Index]:
        """The indices over the first `level` axes."""
        return list(product(*map(range, self.sizes[:level])))

    def number(self, value: int) -> Entry:
        """An entry that is a whole number."""
        raise NotImplementedError

    def given(self, term: Term) -> dict[Index, Entry]:
        """The value of an input."""
        raise NotImplementedError

    def variable(self, term: Term) -> dict[Index, Entry]:
        assert isinstance(term.symbol, Variable)
        known = self.context.input(term.symbol)
        return self.given(term) if known.size_of is None else {(): self.number(self.sizes[known.size_of])}

    def applied(self, name: str, args: tuple[dict[Index, Entry], ...]) -> dict[Index, Entry]:
        function, levels = self.core[name], [level_of(arg) for arg in args]
        return {
            index: function(*[arg[index[:level]] for arg, level in zip(args, levels, strict=True)])
            for index in self.indices(max(levels))
        }

    def reduced(self, operator: Operator, value: dict[Index, Entry]) -> dict[Index, Entry]:
        axis, function = operator.axis, self.reductions.get(operator.reduction or "")
        if function is None:
            raise Inexact(operator.reduction)
        return {
            outer: function([entry for index, entry in value.items() if index[:axis] == outer], self.sizes[axis])
            for outer in self.indices(min(axis, level_of(value)))
        }

    def unknown(self, term: Term, args: tuple[dict[Index, Entry], ...]) -> dict[Index, Entry]:
        raise Inexact(term.name)
