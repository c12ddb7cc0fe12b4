"""Theories: what a declared function means, given once, from which fingerprints, proofs and tensors all follow.

A theory lives over *axes*, outermost first; plain SyGuS-IF has none, the CAM theory has `("channel", "pixel")`. A value of
level ℓ varies over the first ℓ axes and is constant over the others: with those axes a logit has level 0, a channel weight
1, a map 2. An operator is one of three things:

- *pointwise*: a SyGuS-IF term over its arguments, applied at every channel and pixel (`m*` is `(* x y)`);
- a *reduction* over one axis (`gap` is the mean over pixels);
- *opaque*: nothing is known but that equal arguments give equal results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .errors import SygusError, nearest
from .terms import REAL, Binder, Function, Literal, Sort, Term, Variable, fold, subterms

REDUCTIONS = ("mean", "sum", "max", "min", "std", "softmax")


@dataclass(frozen=True)
class Operator:
    """A declared function with its meaning.

    Attributes:
        name: the symbol in files.
        parameters, result: its signature.
        variables, body: for a pointwise operator, the scalar term it applies everywhere.
        reduction: one of `REDUCTIONS`, or None. `softmax` keeps its axis, the others remove it.
        axis: the index of the axis reduced.
        doc: one line for people.
    """

    name: str
    parameters: tuple[Sort, ...]
    result: Sort
    variables: tuple[Variable, ...] = ()
    body: Term | None = None
    reduction: str | None = None
    axis: int = 0
    doc: str = ""

    @property
    def commutative(self) -> bool:
        """Whether the two arguments may be swapped: the body is one commutative core function of both."""
        from .core import COMMUTATIVE

        return (
            self.body is not None
            and len(self.parameters) == len(self.body.args) == 2
            and self.parameters[0] == self.parameters[1]
            and self.body.name in COMMUTATIVE
            and set(self.body.args) == {Term(v) for v in self.variables}
        )

    @property
    def function(self) -> Function:
        """The symbol that terms carry."""
        return Function(self.name, self.parameters, self.result)


@dataclass(eq=False)
class Theory:
    """A set of sorts and operators over axes. `sorts` gives the level of each sort: the highest that a value of it has."""

    name: str = "core"
    axes: tuple[str, ...] = ()
    sorts: dict[Sort, int] = field(default_factory=dict)
    operators: dict[str, Operator] = field(default_factory=dict)

    def add(self, operator: Operator) -> Operator:
        """Registers `operator`.

        Raises:
            SygusError: for a second one of the same name, and for one that reduces an axis and leaves one within it: what varies
                over the inner axis varies over the outer one.
        """
        if operator.name in self.operators:
            raise SygusError(f"operator {operator.name!r} is registered twice in theory {self.name!r}")
        if operator.reduction not in (None, "softmax"):
            sort, axis = operator.parameters[0], operator.axis
            if self.sorts.get(sort, len(self.axes)) > axis + 1:
                raise SygusError(
                    f"operator {operator.name!r} takes the {operator.reduction} over each {self.axes[axis]} of a {sort}, which "
                    f"varies over each {self.axes[axis + 1]} too: reduce that first"
                )
        self.operators[operator.name] = operator
        return operator

    def bind(self, name: str, parameters: tuple[Sort, ...], result: Sort) -> Function:
        """The function that `(declare-fun name parameters result)` means here.

        Raises:
            SygusError: if the theory has no such name, or has it with another signature.
        """
        operator = self.operators.get(name)
        if operator is None:
            raise SygusError(f"theory {self.name!r} has no operator {name!r}{nearest(name, self.operators)}")
        if (operator.parameters, operator.result) != (parameters, result):
            raise SygusError(
                f"operator {name!r} is ({' '.join(map(str, operator.parameters))}) {operator.result} in theory "
                f"{self.name!r}, declared here as ({' '.join(map(str, parameters))}) {result}"
            )
        return operator.function


CORE = Theory()


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
        from .language.printer import brief

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

        def visit(term: Term, levels: tuple[int, ...]) -> int:
            if isinstance(term.symbol, Variable):
                return self.input(term.symbol).level
            if isinstance(term.symbol, Literal):
                return 0
            assert isinstance(term.symbol, Function), "Context.check refuses quantifiers"
            if term.symbol.body is not None:
                return self.level(term.symbol.body, dict(zip(map(Term, term.symbol.variables), levels, strict=True)))
            operator = self.operator(term)
            return max(levels, default=0) if operator is None else self.level_of(operator, levels)

        return fold(root, visit, {} if memo is None else memo)

    def level_of(self, operator: Operator, levels: Iterable[int]) -> int:
        """Over how many axes an application of `operator` may vary, where its arguments vary over `levels`."""
        if operator.body is None and operator.reduction is None:
            return self.theory.sorts.get(operator.result, len(self.theory.axes))
        highest = max(levels, default=0)
        return highest if operator.reduction in (None, "softmax") else min(highest, operator.axis)


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
