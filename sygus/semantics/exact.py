"""Exact numbers: one term at one valuation, entry by entry. What a refutation must survive before it is believed.

`Samples` has the same numbers for scalar terms at fixed points, to guess what is worth a proof.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import pairwise, product
from math import floor, prod
from typing import Any, TypeVar, Union

from ..terms import BOOL, REAL, Term, Variable
from ..theory import Operator
from .interpret import Context, Domain, interpret

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


Number = Union[Fraction, bool]
Tensor = dict[Index, Number]
"""A value of level ℓ: one number for each index over the first ℓ axes."""


def _chain(relation: Callable[[Number, Number], bool]) -> Callable[..., bool]:
    return lambda *args: all(relation(a, b) for a, b in pairwise(args))


def _divided(a: Fraction, b: Fraction) -> Fraction:
    return a / b if b else Fraction(0)


def _div(a: Fraction, b: Fraction) -> Fraction:
    """SMT-LIB's div, whose remainder is never negative; total, x div 0 = 0."""
    if not b:
        return Fraction(0)
    quotient = Fraction(floor(a / abs(b)))
    return quotient if b > 0 else -quotient


def _rational(where: bool, value: int, name: str) -> Fraction:
    """The value of a function that is rational at one place only."""
    if not where:
        raise Inexact(name)
    return Fraction(value)


CORE: dict[str, Callable[..., Number]] = {
    "+": lambda *args: sum(args, Fraction(0)),
    "-": lambda first, *rest: first - sum(rest) if rest else -first,
    "*": lambda *args: prod(args, start=Fraction(1)),
    "/": lambda *args: reduce(_divided, args),
    "abs": abs,
    "div": lambda *args: reduce(_div, args),
    "mod": lambda a, b: a - b * _div(a, b),
    "exp": lambda x: _rational(x == 0, 1, "exp"),
    "sqrt": lambda x: _rational(x <= 0, 0, "sqrt"),
    "to_real": lambda x: x,
    "to_int": lambda x: Fraction(floor(x)),
    "is_int": lambda x: x.denominator == 1,
    "<": _chain(lambda a, b: a < b),
    "<=": _chain(lambda a, b: a <= b),
    ">": _chain(lambda a, b: a > b),
    ">=": _chain(lambda a, b: a >= b),
    "=": _chain(lambda a, b: a == b),
    "distinct": lambda *args: len(set(args)) == len(args),
    "ite": lambda condition, a, b: a if condition else b,
    "and": lambda *args: all(args),
    "or": lambda *args: any(args),
    "xor": lambda *args: sum(args) % 2 == 1,
    "=>": lambda *args: not all(args[:-1]) or bool(args[-1]),
    "not": lambda a: not a,
}
REDUCTIONS: dict[str, Callable[[list[Any], int], Number]] = {
    "mean": lambda entries, size: sum(entries, Fraction(0)) / len(entries),
    "sum": lambda entries, size: sum(entries, Fraction(0)) * size / len(entries),
    "max": lambda entries, size: max(entries),
    "min": lambda entries, size: min(entries),
    "std": lambda entries, size: _rational(len(entries) == 1, 0, "std"),
    "softmax": lambda entries, size: _rational(len(entries) == 1, 1, "softmax") / size,
}


class Exact(Entries[Number]):
    """Rational numbers and truth values at one valuation.

    Args:
        context: theory, inputs and assumptions.
        sizes: of the axes.
        valuation: by the name of the input.
    """

    core, reductions = CORE, REDUCTIONS

    def __init__(self, context: Context, sizes: tuple[int, ...], valuation: dict[str, Tensor]) -> None:
        super().__init__(context, sizes)
        self.valuation = valuation

    def literal(self, term: Term) -> Tensor:
        return {(): exact_literal(term)}

    def number(self, value: int) -> Number:
        return Fraction(value)

    def given(self, term: Term) -> Tensor:
        return self.valuation[term.name]


def exact_literal(term: Term) -> Number:
    """The value of a literal."""
    return bool(term.value) if term.sort == BOOL else Fraction(term.value)


def evaluate(
    root: Term, valuation: dict[str, Tensor], sizes: tuple[int, ...], context: Context, memo: dict[Term, Tensor] | None = None
) -> Tensor:
    """The value of `root` where the inputs have the values of `valuation` and the axes have `sizes` entries.

    Args:
        root: the term.
        valuation: by the name of the input.
        sizes: of the axes.
        context: the theory.
        memo: values of subterms at this valuation, added to.

    Raises:
        Inexact: where the value is not rational or not known.

    >>> from sygus.terms import REAL, variable
    >>> from sygus.core import divide
    >>> x = variable("x", REAL)
    >>> evaluate(divide(x, x), {"x": {(): Fraction(0)}}, (), Context())
    {(): Fraction(0, 1)}
    """
    return interpret(root, Exact(context, sizes, valuation), memo)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two values agree, the one of lower level being constant over the axes it lacks."""
    wide, narrow = (a, b) if level_of(a) >= level_of(b) else (b, a)
    level = level_of(narrow)
    return all(value == narrow[index[:level]] for index, value in wide.items())


class _Sample(Domain[Number]):
    """One number for each scalar term; that of a variable is drawn, the same for all terms."""

    core = CORE

    def __init__(self, number: int, nonneg: Callable[[Term], bool]) -> None:
        super().__init__(Context())
        self.index, self.nonneg = number, nonneg

    def literal(self, term: Term) -> Number:
        return exact_literal(term)

    def variable(self, term: Term) -> Number:
        generator = random.Random(f"{term.name} {self.index}")
        if term.sort == BOOL:
            return generator.random() < 0.5
        number = Fraction(generator.randint(-40, 40), 4 if term.sort == REAL else 1)
        return abs(number) or Fraction(1) if self.nonneg(term) else number

    def unknown(self, term: Term, args: tuple[Number, ...]) -> Number:
        raise Inexact(term.name)


class Samples:
    """Exact values of scalar terms at a few fixed points: to guess what is worth a proof, never instead of one.

    Args:
        nonneg: whether a variable is at least 0.

    >>> from sygus.core import apply
    >>> from sygus.terms import variable
    >>> x = variable("x", REAL)
    >>> [str(Samples(lambda v: True).value(apply("+", x, x), sample)) for sample in range(3)]
    ['20', '15', '19']
    """

    def __init__(self, nonneg: Callable[[Term], bool]) -> None:
        self._nonneg = nonneg

    def value(self, root: Term, sample: int) -> Number:
        """The value of a scalar term at one point.

        Raises:
            Inexact: where it is not rational.
        """
        return interpret(root, _Sample(sample, self._nonneg))
