"""Terms written out at axes of fixed sizes: what a solver is asked for a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product as every

from ..core import apply, is_core
from ..terms import BOOL, INT, REAL, Function, Literal, Term, Variable, fold, real, variable
from ..theory import Context, Operator
from .abstraction import SCALAR, zero
from .exact import Number
from .meadow import scaled, total


class Instance:
    """Terms written out at axes of fixed sizes, with one scalar variable for each entry of each input: any solution of a
    formula over these is a tensor. `exp`, `sqrt` and opaque operators have no such form and raise `KeyError`."""

    def __init__(self, context: Context, sizes: tuple[int, ...]) -> None:
        self.context, self.sizes = context, sizes
        self.entries: dict[str, dict[tuple[int, ...], Term]] = {}

    def difference(self, left: Term, right: Term) -> Term:
        """A formula that says: at some entry the two differ."""
        values = [fold(term, self._visit, {}) for term in (left, right)]
        level = max(len(next(iter(value))) for value in values)
        cases = [
            apply("distinct", *(value[index[: len(next(iter(value)))]] for value in values))
            for index in every(*(range(size) for size in self.sizes[:level]))
        ]
        return apply("or", *cases) if len(cases) > 1 else cases[0]

    def values(self, root: Term) -> dict[tuple[int, ...], Term]:
        """`root` at each index over all axes, as scalar terms."""
        value = fold(root, self._visit, {})
        level = len(next(iter(value)))
        return {index: value[index[:level]] for index in every(*map(range, self.sizes))}

    def tensors(self, inputs: Iterable[Variable], model: Mapping[str, Number]) -> dict[str, dict[tuple[int, ...], Number]] | None:
        """The values that a model gives to inputs; an entry that it does not mention is 1, which every assumption allows. None
        where an integer gets a value that is none."""
        values: dict[str, dict[tuple[int, ...], Number]] = {}
        for symbol in inputs:
            entries = self._input(symbol).items()
            values[symbol.name] = {index: model.get(entry.name, Fraction(1)) for index, entry in entries}
            if symbol.sort == INT and any(Fraction(value).denominator != 1 for value in values[symbol.name].values()):
                return None
        return values

    def facts(self) -> list[Term]:
        """The assumptions, for every entry."""
        found: list[Term] = []
        for name, entries in self.entries.items():
            relation = ">" if name in self.context.positive else ">=" if name in self.context.nonneg else None
            if relation:
                found.extend(apply(relation, entry, zero(entry)) for entry in entries.values())
        return found

    def _visit(self, term: Term, args: tuple[dict[tuple[int, ...], Term], ...]) -> dict[tuple[int, ...], Term]:
        if isinstance(term.symbol, Literal):
            return {(): term}
        if isinstance(term.symbol, Variable):
            return self._input(term.symbol)
        assert isinstance(term.symbol, Function), "Context.check refuses quantifiers"
        owner: Function | Operator = term.symbol
        operator = self.context.operator(term)
        if operator is not None:
            if operator.reduction is not None:
                return self._reduce(operator.reduction, operator.axis, args[0])
            owner = operator
        if owner.body is not None:
            binding = {Term(v): arg for v, arg in zip(owner.variables, args, strict=True)}
            return fold(owner.body, self._visit, binding)
        if term.name not in SCALAR or not is_core(term.symbol):
            raise KeyError(term.name)
        level = max(len(next(iter(arg))) for arg in args)
        return {
            index: apply(term.name, *(arg[index[: len(next(iter(arg)))]] for arg in args))
            for index in every(*(range(size) for size in self.sizes[:level]))
        }

    def _input(self, symbol: Variable) -> dict[tuple[int, ...], Term]:
        known = self.context.input(symbol)
        if known.size_of is not None:
            return {(): real(self.sizes[known.size_of])}
        if symbol.name not in self.entries:
            sort = symbol.sort if symbol.sort in (BOOL,) or symbol.sort.name == "Int" else REAL
            self.entries[symbol.name] = {
                index: variable(f"{symbol.name}@{'.'.join(map(str, index))}", sort)
                for index in every(*(range(size) for size in self.sizes[: known.level]))
            }
        return self.entries[symbol.name]

    def _reduce(self, kind: str, axis: int, value: dict[tuple[int, ...], Term]) -> dict[tuple[int, ...], Term]:
        if kind not in ("mean", "sum", "max", "min"):
            raise KeyError(kind)
        count, level = self.sizes[axis], len(next(iter(value)))
        result = {}
        for outer in every(*(range(size) for size in self.sizes[: min(axis, level)])):
            entries = [v for i, v in value.items() if i[:axis] == outer] * (count if level <= axis else 1)
            if kind in ("mean", "sum"):
                result[outer] = scaled(Fraction(1, count if kind == "mean" else 1), total(entries))
            else:
                best = entries[0]
                for entry in entries[1:]:
                    best = apply("ite", apply(">" if kind == "max" else "<", entry, best), entry, best)
                result[outer] = best
        return result
