"""What terms are over, and the one walk by which every domain gives them values.

A *domain* is a table: what each core function and each kind of reduction does to its values. Exact numbers, residues modulo a
prime, scalar terms, cvc5's terms and tensors are domains, and so is the number of axes over which a term varies. Whatever else a
term is made of (define-funs, operators with a body, shared sub-terms) means the same in all of them, and is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..core import is_core
from ..errors import SygusError
from ..terms import REAL, Binder, Function, Literal, Sort, Term, Variable, brief, fold, subterms
from ..theory import CORE, Operator, Theory

Value = TypeVar("Value")


@dataclass(frozen=True)
class Input:
    """What is known of a variable: its sort, its level, and whether it is the size of an axis."""

    name: str
    sort: Sort
    level: int = 0
    size_of: int | None = None


@dataclass(frozen=True)
class Context:
    """A theory with the inputs of a problem and what is assumed of them.

    Attributes:
        theory: the theory.
        inputs: by name. A variable that is not listed has level 0.
        nonneg, positive: names of inputs that are ≥ 0, > 0 everywhere.
        uniform: names of inputs that are constant over the innermost axis; one that varies over it loses a level.
    """

    theory: Theory = CORE
    inputs: Mapping[str, Input] = field(default_factory=dict)
    nonneg: frozenset[str] = frozenset()
    positive: frozenset[str] = frozenset()
    uniform: frozenset[str] = frozenset()

    def input(self, variable: Variable) -> Input:
        """What is known of `variable`, assumptions applied."""
        found = self.inputs.get(variable.name) or Input(variable.name, variable.sort)
        if variable.name in self.uniform and found.level == len(self.theory.axes):
            return Input(found.name, found.sort, found.level - 1, found.size_of)
        return found

    def size(self, axis: int) -> Term:
        """The number of entries along `axis`, as a variable that is known to be positive."""
        for known in self.inputs.values():
            if known.size_of == axis:
                return Term(Variable(known.name, known.sort))
        return Term(Variable(f"|{self.theory.axes[axis]}s|", REAL))

    def operator(self, term: Term) -> Operator | None:
        """The theory's operator at the head of `term`, or None for core functions and leaves."""
        if not isinstance(term.symbol, Function):
            return None
        operator = self.theory.operators.get(term.symbol.name)
        return operator if operator is not None and operator.function == term.symbol else None

    def check(self, *roots: Term) -> None:
        """Refuses what cannot be compared: quantifiers, and sorts beyond Real, Int, Bool and declared ones.

        Raises:
            SygusError: naming the first such term.
        """
        for term in subterms(*roots):
            if isinstance(term.symbol, Binder):
                raise SygusError(f"terms with quantifiers are not compared: {brief(term)}")
            if term.sort.arguments or term.sort.indices or term.sort.name in ("String", "RegLan"):
                raise SygusError(
                    f"terms are compared over Real, Int, Bool and declared sorts; {brief(term)} has the sort {term.sort}: the "
                    "learners 'cvc5' and 'uniform' take any sort"
                )
            if isinstance(term.symbol, Function) and term.symbol.recursive:
                raise SygusError(f"a recursive function has no value here: {brief(term)}")

    def level(self, root: Term, memo: dict[Term, int] | None = None) -> int:
        """Over how many axes `root` may vary."""
        return interpret(root, _Levels(self), memo)

    def level_of(self, operator: Operator, levels: Iterable[int]) -> int:
        """Over how many axes an application of `operator` may vary, where its arguments vary over `levels`."""
        if operator.body is None and operator.reduction is None:
            return self.theory.sorts.get(operator.result, len(self.theory.axes))
        highest = max(levels, default=0)
        return highest if operator.keeps_axes else min(highest, operator.axis)


class Domain(Generic[Value]):
    """Values of one kind, and what terms are among them.

    Attributes:
        core: by the name of a core function, what it does to values.
        reductions: by kind, what a reduction does. What is passed beside the value is the domain's own affair: see `reduced`.
        context: the theory, and what is known of variables.
    """

    core: Mapping[str, Callable[..., Any]] = {}
    reductions: Mapping[str, Callable[..., Any]] = {}

    def __init__(self, context: Context) -> None:
        self.context = context

    def literal(self, term: Term) -> Value:
        """The value of a literal."""
        raise NotImplementedError

    def variable(self, term: Term) -> Value:
        """The value of a variable."""
        raise NotImplementedError

    def applied(self, name: str, args: tuple[Value, ...]) -> Value:
        """The value of a core function of the table."""
        return self.core[name](*args)

    def reduced(self, operator: Operator, value: Value) -> Value:
        """The value of an operator that reduces an axis."""
        raise NotImplementedError

    def unknown(self, term: Term, args: tuple[Value, ...]) -> Value:
        """The value of a term whose symbol has no meaning here: a function that no table has, a quantifier."""
        raise NotImplementedError


def interpret(root: Term, domain: Domain[Value], memo: dict[Term, Value] | None = None) -> Value:
    """The value of `root` in `domain`, of each sub-term once.

    Args:
        root: the term.
        domain: the table.
        memo: values of sub-terms, used and added to. It may bind variables.
    """

    def visit(term: Term, args: tuple[Value, ...]) -> Value:
        symbol = term.symbol
        if isinstance(symbol, Function):
            operator = domain.context.operator(term)
            if operator is not None and operator.reduction is not None:
                return domain.reduced(operator, args[0])
            owner: Function | Operator = operator or symbol
            if owner.body is not None:
                return interpret(owner.body, domain, {Term(v): arg for v, arg in zip(owner.variables, args, strict=True)})
            if symbol.name in domain.core and is_core(symbol):
                return domain.applied(symbol.name, args)
        elif isinstance(symbol, Variable):
            return domain.variable(term)
        elif isinstance(symbol, Literal):
            return domain.literal(term)
        return domain.unknown(term, args)

    return fold(root, visit, {} if memo is None else memo)


class _Levels(Domain[int]):
    """Over how many axes terms may vary."""

    def literal(self, term: Term) -> int:
        return 0

    def variable(self, term: Term) -> int:
        assert isinstance(term.symbol, Variable)
        return self.context.input(term.symbol).level

    def reduced(self, operator: Operator, value: int) -> int:
        return self.context.level_of(operator, [value])

    def unknown(self, term: Term, args: tuple[int, ...]) -> int:
        operator = self.context.operator(term)
        return max(args, default=0) if operator is None else self.context.level_of(operator, args)


def assumptions(terms: Iterable[Term], context: Context) -> Context:
    """`context` with the assumptions `(nonneg v)`, `(positive v)`, `(uniform v)` of a file taken in.

    Raises:
        SygusError: for an assumption of another form, naming it.
    """
    known: dict[str, set[str]] = {"nonneg": set(), "positive": set(), "uniform": set()}
    for term in terms:
        if term.name not in known or len(term.args) != 1 or not term.args[0].is_variable:
            raise SygusError(
                f"cannot use the assumption {term}: accepted are (nonneg v), (positive v) and (uniform v) for a variable v"
            )
        known[term.name].add(term.args[0].name)
    return Context(
        context.theory, context.inputs,
        context.nonneg | known["nonneg"], context.positive | known["positive"], context.uniform | known["uniform"],
    )  # fmt: skip
