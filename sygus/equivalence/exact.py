"""Slow and exact: one term at one valuation, in rational numbers. What a refutation must survive before it is believed."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import floor
from typing import Union

from ..core import is_core
from ..terms import Function, Literal, Term, Variable, fold
from ..theory import Context

Number = Union[Fraction, bool]
Index = tuple[int, ...]
Tensor = dict[Index, Number]
"""A value of level ℓ: one number for each index over the first ℓ axes."""


class Inexact(Exception):
    """The term leaves the rational numbers (`exp`, `sqrt`, an opaque operator)."""


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

    def visit(term: Term, args: tuple[Tensor, ...]) -> Tensor:
        if isinstance(term.symbol, Literal):
            value = term.symbol.value
            return {(): value if isinstance(value, bool) else Fraction(value)}
        if isinstance(term.symbol, Variable):
            known = context.input(term.symbol)
            if known.size_of is not None:
                return {(): Fraction(sizes[known.size_of])}
            return valuation[term.name]
        assert isinstance(term.symbol, Function), "Context.check refuses quantifiers"
        body, variables = term.symbol.body, term.symbol.variables
        operator = context.operator(term)
        if operator is not None:
            body, variables = operator.body, operator.variables
            if operator.reduction is not None:
                return _reduce(operator.reduction, operator.axis, args[0], sizes)
        if body is not None:
            binding: dict[Term, Tensor] = {Term(v): arg for v, arg in zip(variables, args, strict=True)}
            return fold(body, visit, binding)
        if not is_core(term.symbol):
            raise Inexact(term.name)
        level = max((len(next(iter(arg))) for arg in args), default=0)
        return {
            index: core_number(term.symbol, [arg[index[: len(next(iter(arg)))]] for arg in args])
            for index in itertools.product(*(range(size) for size in sizes[:level]))
        }

    return fold(root, visit, {} if memo is None else memo)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two values agree, the one of lower level being constant over the axes it lacks."""
    wide, narrow = (a, b) if len(next(iter(a))) >= len(next(iter(b))) else (b, a)
    level = len(next(iter(narrow)))
    return all(value == narrow[index[:level]] for index, value in wide.items())


def _reduce(kind: str, axis: int, value: Tensor, sizes: tuple[int, ...]) -> Tensor:
    level = len(next(iter(value)))
    if kind in ("softmax", "std") and level > axis:
        raise Inexact(kind)
    if level <= axis:  # constant along the axis
        if kind == "softmax":
            return {(): Fraction(1, sizes[axis])}
        factor = {"sum": sizes[axis], "std": 0}.get(kind, 1)
        return {i: Fraction(v) * factor for i, v in value.items()}
    result: Tensor = {}
    for outer in itertools.product(*(range(size) for size in sizes[:axis])):
        entries = [Fraction(v) for i, v in value.items() if i[:axis] == outer]
        total = sum(entries, Fraction(0))
        result[outer] = {"max": max(entries), "min": min(entries), "sum": total, "mean": total / len(entries)}[kind]
    return result


def core_number(function: Function, args: list[Number]) -> Number:
    """A core function on rational numbers, division total."""
    name, numbers = function.name, [Fraction(arg) for arg in args]
    neighbours = list(zip(numbers, numbers[1:], strict=False))
    if name == "+":
        return sum(numbers, Fraction(0))
    if name == "-":
        return -numbers[0] if len(numbers) == 1 else numbers[0] - sum(numbers[1:])
    if name == "*":
        product = Fraction(1)
        for number in numbers:
            product *= number
        return product
    if name == "/":
        quotient = numbers[0]
        for number in numbers[1:]:
            quotient = quotient / number if number else Fraction(0)
        return quotient
    if name == "ite":
        return args[1] if args[0] else args[2]
    if name == "abs":
        return abs(numbers[0])
    if name == "to_real":
        return numbers[0]
    if name in ("<", "<=", ">", ">=", "="):
        order = {
            "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
            "=": lambda a, b: a == b,
        }[name]  # fmt: skip
        return all(order(a, b) for a, b in neighbours)
    if name == "distinct":
        return len(set(numbers)) == len(numbers)
    if name == "not":
        return not args[0]
    if name in ("and", "or"):
        return all(args) if name == "and" else any(args)
    if name == "xor":
        return sum(map(bool, args)) % 2 == 1
    if name == "=>":
        return not all(args[:-1]) or bool(args[-1])
    if name in ("div", "mod") and len(numbers) == 2:
        quotient = _euclidean(*numbers)
        return quotient if name == "div" else numbers[0] - numbers[1] * quotient
    if name == "to_int":
        return Fraction(floor(numbers[0]))
    if name == "is_int":
        return numbers[0].denominator == 1
    if name == "exp" and numbers[0] == 0:
        return Fraction(1)
    if name == "sqrt" and numbers[0] <= 0:
        return Fraction(0)
    raise Inexact(name)


def _euclidean(numerator: Fraction, denominator: Fraction) -> Fraction:
    """SMT-LIB's div, whose remainder is never negative; total, x div 0 = 0."""
    if not denominator:
        return Fraction(0)
    quotient = Fraction(floor(numerator / abs(denominator)))
    return quotient if denominator > 0 else -quotient
