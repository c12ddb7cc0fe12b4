"""Scalar terms: what a solver is asked about, in core functions that it knows.

`CORE` says how a core function of scalars is written for a solver: as it stands, where cvc5 has it, or in terms of others. One
that is not listed is an unknown constant to the solver, the same for equal arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial, reduce

from ..constants import real
from ..core import apply
from ..terms import BOOL, INT, REAL, Literal, Term, Variable, variable
from .exact import Entries, Index, Number, Tensor, level_of
from .interpret import Context

SOLVED = frozenset({"+", "-", "*", "/", "abs", "<", "<=", ">", ">=", "=", "distinct", "ite", "and", "or", "xor", "=>", "not",
                    "to_real"})  # fmt: skip
"""Core functions that cvc5 has with our meaning: `solver/encode.py` says which of its own each of them is."""


def total(summands: list[Term]) -> Term:
    """The sum of terms; 0.0 of none."""
    return apply("+", *summands) if len(summands) > 1 else summands[0] if summands else real(0)


def product(factors: list[Term]) -> Term:
    """The product of terms; 1.0 of none."""
    return apply("*", *factors) if len(factors) > 1 else factors[0] if factors else real(1)


def scaled(coefficient: Fraction, term: Term) -> Term:
    """`coefficient * term`."""
    if coefficient == 1:
        return term
    return real(coefficient) if term is real(1) else apply("*", real(coefficient), term)


def zero(term: Term) -> Term:
    """0 of the sort of `term`."""
    return real(0) if term.sort == REAL else Term(Literal(0, term.sort))


def _every(entries: list[Term], size: int) -> list[Term]:
    """As many entries as the axis has, one that is constant along it again and again."""
    return entries * (size // len(entries))


def _best(relation: str, entries: list[Term]) -> Term:
    return reduce(lambda best, entry: apply("ite", apply(relation, entry, best), entry, best), entries)


CORE: dict[str, Callable[..., Term]] = {name: partial(apply, name) for name in SOLVED}
REDUCTIONS: dict[str, Callable[[list[Term], int], Term]] = {
    "mean": lambda entries, size: scaled(Fraction(1, size), total(_every(entries, size))),
    "sum": lambda entries, size: total(_every(entries, size)),
    "max": lambda entries, size: _best(">", _every(entries, size)),
    "min": lambda entries, size: _best("<", _every(entries, size)),
}


class Instance(Entries[Term]):
    """Terms written out at axes of fixed sizes, with one scalar variable for each entry of each input: any solution of a
    formula over these is a tensor. What has no such form (`exp`, `sqrt`, opaque operators) raises `Inexact`."""

    core, reductions = CORE, REDUCTIONS

    def __init__(self, context: Context, sizes: tuple[int, ...]) -> None:
        super().__init__(context, sizes)
        self.inputs: dict[str, dict[Index, Term]] = {}

    def literal(self, term: Term) -> dict[Index, Term]:
        return {(): term}

    def number(self, value: int) -> Term:
        return real(value)

    def given(self, term: Term) -> dict[Index, Term]:
        if term.name not in self.inputs:
            assert isinstance(term.symbol, Variable)
            sort = term.sort if term.sort in (BOOL, INT) else REAL
            indices = self.indices(self.context.input(term.symbol).level)
            self.inputs[term.name] = {i: variable(f"{term.name}@{'.'.join(map(str, i))}", sort) for i in indices}
        return self.inputs[term.name]

    def facts(self) -> list[Term]:
        """The assumptions, for every entry."""
        found: list[Term] = []
        for name, entries in self.inputs.items():
            relation = ">" if name in self.context.positive else ">=" if name in self.context.nonneg else None
            if relation:
                found.extend(apply(relation, entry, zero(entry)) for entry in entries.values())
        return found

    def tensors(self, inputs: Iterable[Variable], model: Mapping[str, Number]) -> dict[str, Tensor] | None:
        """The values that a model gives to inputs; an entry that it does not mention is 1, which every assumption allows. None
        where an integer gets a value that is none."""
        values: dict[str, Tensor] = {}
        for symbol in inputs:
            entries = self.variable(Term(symbol)).items()
            values[symbol.name] = {index: model.get(entry.name, Fraction(1)) for index, entry in entries}
            if symbol.sort == INT and any(Fraction(value).denominator != 1 for value in values[symbol.name].values()):
                return None
        return values

    def at_every_index(self, value: dict[Index, Term], level: int | None = None) -> dict[Index, Term]:
        """A value at each index over the first `level` axes, all of them by default."""
        own = level_of(value)
        return {index: value[index[:own]] for index in self.indices(len(self.sizes) if level is None else level)}
