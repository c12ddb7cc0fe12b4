"""The grammar of a `synth-fun` that gives none: terms of the logic over the arguments, as solvers commonly take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core import apply
from ..grammar import Grammar, Production
from ..terms import BOOL, INT, REAL, Function, Literal, Sort, Term, Variable, any_constant
from .logic import Logic
from .signatures.bitvectors import BIT_VECTORS

_BIT_OPERATORS = (
    "bvnot", "bvneg", "bvand", "bvor", "bvxor", "bvadd", "bvmul", "bvudiv", "bvurem", "bvshl", "bvlshr", "bvashr",
)  # fmt: skip


def default_grammar(logic: Logic, variables: Sequence[Variable], result: Sort) -> Grammar:
    """All terms of sort `result` over `variables`: arithmetic of the logic, comparisons, `ite`, and constants.

    A sort that is neither Bool, Int, Real nor a bit-vector has its variables and `ite`: it may derive nothing.

    >>> from .logic import logic
    >>> print(default_grammar(logic("LRA"), [Variable("x", REAL)], REAL))
    Real Real -> x | (Constant Real) | (+ Real Real) | (- Real Real) | (ite Bool Real Real)
    Bool Bool -> true | false | (not Bool) | (and Bool Bool) | (or Bool Bool) | (= Real Real) | (<= Real Real)
    """
    sorts = dict.fromkeys([result, BOOL, *(v.sort for v in variables)])
    taken = {v.name for v in variables}
    names: dict[Sort, str] = {}
    for sort in sorts:
        name = str(sort) if not sort.arguments and not sort.indices else f"{sort.name}{len(names)}"
        while name in taken:
            name += "'"
        names[sort] = name
        taken.add(name)
    holes = {sort: Term(Variable(name, sort)) for sort, name in names.items()}
    productions = {
        names[sort]: [
            Production(names[sort], body)
            for body in (*(Term(v) for v in variables if v.sort == sort), *_bodies(sort, holes, logic))
        ]
        for sort in sorts
    }
    return Grammar({name: sort for sort, name in names.items()}, productions)


def _bodies(sort: Sort, holes: dict[Sort, Term], logic: Logic) -> Iterator[Term]:
    hole = holes[sort]
    if sort == BOOL:
        yield from (Term(Literal(value, BOOL)) for value in (True, False))
        yield apply("not", hole)
        yield from (apply(name, hole, hole) for name in ("and", "or"))
        for other, argument in holes.items():
            if other != BOOL:
                yield apply("=", argument, argument)
            if other in (INT, REAL):
                yield apply("<=", argument, argument)
            if other.name == "BitVec":
                yield _bits("bvult", argument, argument)
        return
    if sort in (INT, REAL):
        yield any_constant(sort)
        operators = ["+", "-"] if "*" in logic.core else []
        if "N" in logic.name or "ALL" in logic.name:
            operators += ["*", "/"] if sort == REAL else ["*"]
        yield from (apply(name, hole, hole) for name in operators)
    if sort.name == "BitVec":
        yield from (Term(Literal(value, sort)) for value in (0, 1))
        if BIT_VECTORS in logic.tables:
            yield from (_bits(name, *[hole] * (1 if name in ("bvnot", "bvneg") else 2)) for name in _BIT_OPERATORS)
    yield apply("ite", holes[BOOL], hole, hole)


def _bits(name: str, *args: Term) -> Term:
    function = BIT_VECTORS.function(name, [arg.sort for arg in args])
    assert isinstance(function, Function), name
    return Term(function, args)
