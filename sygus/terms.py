"""Sorts, symbols and hash-consed terms: the one node type of the package, made in one place.

Equal terms are the same object, so `is` compares them, a `dict` keyed by terms costs a pointer hash, and a walk over a DAG
visits each node once. Terms are immutable; every operation on them is a memoised walker elsewhere.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar, Union

Value = Union[Fraction, int, bool]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort: a name, with arguments where the sort is parametric."""

    name: str
    arguments: tuple[Sort, ...] = ()

    def __str__(self) -> str:
        return f"({self.name} {' '.join(map(str, self.arguments))})" if self.arguments else self.name


BOOL, INT, REAL = Sort("Bool"), Sort("Int"), Sort("Real")


@dataclass(frozen=True, slots=True)
class Variable:
    """A named value: a declared variable, an argument of the function to synthesise, or a nonterminal in a rule."""

    name: str
    sort: Sort


@dataclass(frozen=True, slots=True)
class Literal:
    """A written constant. Numbers are never negative: -1 is the term `(- 1.0)`, as SyGuS-IF writes it."""

    value: Value
    sort: Sort


@dataclass(frozen=True, slots=True)
class Function:
    """A function symbol at one signature: a core function, an operator of a theory, or a define-fun with its `body`."""

    name: str
    parameters: tuple[Sort, ...]
    result: Sort
    variables: tuple[Variable, ...] = ()
    body: Term | None = None


Symbol = Union[Variable, Literal, Function]
_counter = itertools.count()
_table: weakref.WeakValueDictionary[tuple, Term] = weakref.WeakValueDictionary()


class Term:
    """One immutable node: a symbol applied to terms.

    Attributes:
        symbol: `Variable`, `Literal` or `Function`.
        args: the arguments, empty for a leaf.
        sort: the sort of the term.
        size: number of nodes of the tree it stands for.
        serial: a number that grows with creation; a total order for deterministic sorting.

    >>> x = variable("x", REAL)
    >>> x is variable("x", REAL)
    True
    """

    __slots__ = ("__weakref__", "args", "serial", "size", "sort", "symbol")

    symbol: Symbol
    args: tuple[Term, ...]
    sort: Sort
    size: int
    serial: int

    def __new__(cls, symbol: Symbol, args: tuple[Term, ...] = ()) -> Term:
        key = (symbol, args)
        found = _table.get(key)
        if found is not None:
            return found
        self = object.__new__(cls)
        self.symbol, self.args = symbol, args
        self.sort = symbol.result if isinstance(symbol, Function) else symbol.sort
        self.size = 1 + sum(arg.size for arg in args)
        self.serial = next(_counter)
        _table[key] = self
        return self

    @property
    def name(self) -> str:
        """The name of the symbol; a literal's is its value."""
        return str(self.symbol.value) if isinstance(self.symbol, Literal) else self.symbol.name

    @property
    def is_literal(self) -> bool:
        """Whether the symbol is a literal."""
        return isinstance(self.symbol, Literal)

    @property
    def is_variable(self) -> bool:
        """Whether the symbol is a variable."""
        return isinstance(self.symbol, Variable)

    @property
    def value(self) -> Value:
        """The value of a literal."""
        assert isinstance(self.symbol, Literal)
        return self.symbol.value

    def __reduce__(self) -> tuple:
        return Term, (self.symbol, self.args)

    def __str__(self) -> str:
        from .language.printer import to_text

        return to_text(self)

    def __repr__(self) -> str:
        return f"<{self.sort} {self}>"


def variable(name: str, sort: Sort) -> Term:
    """The variable `name` of `sort` as a term."""
    return Term(Variable(name, sort))


def real(value: Fraction | int | float) -> Term:
    """A Real constant as SyGuS-IF writes it: a decimal, or minus or a quotient of decimals.

    >>> print(real(-1), real(Fraction(1, 2)), real(Fraction(1, 3)))
    (- 1.0) 0.5 (/ 1.0 3.0)
    """
    from .core import divide, negate

    exact = Fraction(value)
    if exact < 0:
        return negate(real(-exact))
    rest = exact.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return divide(real(exact.numerator), real(exact.denominator))
    return Term(Literal(exact, REAL))


def subterms(*roots: Term) -> Iterator[Term]:
    """Every distinct subterm of `roots` once, arguments before the terms that use them. Does not recurse."""
    seen: set[Term] = set()
    for root in roots:
        stack: list[tuple[Term, bool]] = [(root, False)]
        while stack:
            term, ready = stack.pop()
            if ready:
                yield term
            elif term not in seen:
                seen.add(term)
                stack.append((term, True))
                stack.extend((arg, False) for arg in reversed(term.args))


def fold(root: Term, visit: Callable[[Term, tuple[Result, ...]], Result], memo: dict[Term, Result]) -> Result:
    """Bottom-up walk over the DAG: `visit(term, results of its arguments)`, each term once, kept in `memo`.

    Does not recurse, and goes into no term that `memo` already holds.
    """
    stack = [root]
    while stack:
        term = stack[-1]
        if term in memo:
            stack.pop()
            continue
        missing = [arg for arg in term.args if arg not in memo]
        if missing:
            stack.extend(reversed(missing))
            continue
        memo[term] = visit(term, tuple(memo[arg] for arg in term.args))
        stack.pop()
    return memo[root]


def substitute(root: Term, replacement: dict[Term, Term]) -> Term:
    """`root` with every occurrence of a key of `replacement` replaced, all at once."""

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        return Term(term.symbol, args) if args != term.args else term

    return fold(root, visit, dict(replacement))


def expand(root: Term, memo: dict[Term, Term] | None = None) -> Term:
    """`root` with every define-fun replaced by its body."""

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        if isinstance(term.symbol, Function) and term.symbol.body is not None:
            binding = {Term(v): arg for v, arg in zip(term.symbol.variables, args, strict=True)}
            return expand(substitute(term.symbol.body, binding), memo)
        return Term(term.symbol, args) if args != term.args else term

    return fold(root, visit, {} if memo is None else memo)
