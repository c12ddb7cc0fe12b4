"""Random well-sorted terms for hypothesis: every core function, every operator of the CAM theory, define-funs, odd names."""

from fractions import Fraction

from hypothesis import strategies as st

from sycam.theory import CAM, MAP
from sygus import BOOL, INT, REAL, Function, Term, Variable, read
from sygus.core import COMMUTATIVE, apply
from sygus.terms import Literal, real

NAMES = ("x", "m*", "two words", "let", "true", "forall", "-1", "Constant", "|"[:0], "λ", "a\nb", "#", "+", "exp[x]", "1st", ";", '"')
VARIABLES = tuple(Variable(name, sort) for sort in (REAL, BOOL, INT, MAP) for name in (f"{sort.name[0]}", f"{sort.name} of two")) + tuple(
    Variable(name, REAL) for name in NAMES
)
DEFINED = read(
    """(set-logic ALL) (declare-sort Map 0) (declare-fun m* (Map Map) Map) (declare-fun gap (Map) Real)
    (define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))
    (define-fun |odd name| ((M Map) (b Bool)) Real (ite b (gap (m* M M)) (- 1.0)))
    (define-fun half () Real 0.5)""",
    theory=CAM,
).functions
OPERATORS = {name: operator.function for name, operator in CAM.operators.items()}
ARITHMETIC, COMPARISONS, CONNECTIVES = ("+", "-", "*"), ("<", "<=", ">", ">=", "=", "distinct"), ("and", "or", "xor", "=>")


def literals(sort):
    if sort == BOOL:
        return st.booleans().map(lambda value: Term(Literal(value, BOOL)))
    if sort == INT:
        return st.integers(0, 10**20).map(lambda value: Term(Literal(value, INT)))
    decimals = st.builds(lambda n, places: Fraction(n, 10**places), st.integers(0, 10**9), st.integers(0, 12))
    return st.one_of(decimals.map(lambda v: Term(Literal(v, REAL))), st.fractions(-9, 9, max_denominator=30).map(real))


def leaves(sort, variables):
    own = [Term(v) for v in variables if v.sort == sort]
    return st.one_of(*([st.sampled_from(own)] if own else []), *([literals(sort)] if sort != MAP else []))


def terms(sort, variables=VARIABLES, functions=(*OPERATORS.values(), *DEFINED.values()), depth=4):
    """Terms of `sort` over `variables`, core functions and `functions`, at most `depth` deep."""
    if depth == 0:
        return leaves(sort, variables)

    def of(*sorts):
        return st.tuples(*(terms(s, variables, functions, depth - 1) for s in sorts))

    def many(s):
        return st.integers(2, 3).flatmap(lambda n: of(*[s] * n))

    def core(names, args):
        return st.builds(lambda name, given: apply(name, *given), st.sampled_from(names), args)

    choices = [leaves(sort, variables), of(BOOL, sort, sort).map(lambda args: apply("ite", *args))]
    if sort in (REAL, INT):
        choices += [core(ARITHMETIC, many(sort)), core(("-", "abs"), of(sort))]
    if sort == REAL:
        choices += [core(("/",), many(REAL)), core(("exp", "sqrt"), of(REAL)), core(("to_real",), of(INT))]
    if sort == BOOL:
        choices += [core(CONNECTIVES, many(BOOL)), core(("not",), of(BOOL)), core(("=", "distinct"), many(BOOL))]
        choices += [core(COMPARISONS, many(s)) for s in (REAL, INT)]
    applied = [f for f in functions if f.result == sort]
    for function in applied:
        choices.append(of(*function.parameters).map(lambda args, f=function: Term(f, args)))
    return st.one_of(*choices)


__all__ = ["COMMUTATIVE", "DEFINED", "OPERATORS", "VARIABLES", "Function", "terms"]
