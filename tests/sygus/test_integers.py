"""Integers: rounding has values, terms that mix it with sums have a form, and what is unproved is counted, never silent."""

import pytest

from sygus import BOOL, INT, REAL, Context, Equivalence, Operator, Solver, SygusError, Theory, Variable, read, read_term
from sygus.constraints import ConstraintOracle, laws

N, J, X, B = Variable("i", INT), Variable("j", INT), Variable("x", REAL), Variable("b", BOOL)


@pytest.mark.parametrize(
    ("left", "right"),
    [("(div 0 2)", "0"), ("(div 6 2)", "3"), ("(mod 2 2)", "0"), ("(mod i 1)", "0"), ("(div i 1)", "i"), ("(div i 0)", "0"), ("(mod i 0)", "i"),
     ("(to_int (to_real i))", "i"), ("(+ (div i 2) (div i 2))", "(* 2 (div i 2))"), ("(+ i (mod j 3))", "(+ (mod j 3) i)"),
     ("(div (- 7) 2)", "(- 4)"), ("(is_int (to_real i))", "true")],
)  # fmt: skip
def test_equal_integers_are_merged_or_counted(left, right, solver):
    classes = Equivalence(Context(), [N, J, X, B], solver)
    a, b = (read_term(text, [N, J, X, B], {}) for text in (left, right))
    first, second = classes.representatives([a, b])
    assert first is second or classes.counts.undecided == 1


@pytest.mark.parametrize(("left", "right"), [("(div i 2)", "i"), ("(mod i 2)", "(mod j 2)"), ("(to_int x)", "(div i 2)")])
def test_different_integers_are_told_apart(left, right, solver):
    classes = Equivalence(Context(), [N, J, X, B], solver)
    a, b = (read_term(text, [N, J, X, B], {}) for text in (left, right))
    assert classes.representatives([a, b]) == [a, b] and classes.counts.undecided == 0


def test_opaque_functions_of_equal_sums_are_equal(solver):
    theory = Theory("hulls")
    theory.add(Operator("oracle", (REAL,), REAL))
    functions = {"oracle": theory.operators["oracle"].function}
    y = Variable("y", REAL)
    classes = Equivalence(Context(theory), [X, y], solver)
    pairs = [("(oracle (+ x y))", "(oracle (+ y x))"), ("(- (oracle x) (oracle (+ x 0.0)))", "0.0")]
    for left, right in pairs:
        a, b = (read_term(text, [X, y], functions, theory) for text in (left, right))
        first, second = classes.representatives([a, b])
        assert first is second


def test_laws_over_sorts_that_are_not_compared_are_refused():
    text = """(set-logic BV)(synth-fun f ((a (_ BitVec 4))) (_ BitVec 4) ((S (_ BitVec 4))) ((S (_ BitVec 4) (a (bvadd S S)))))
    (declare-var r (_ BitVec 4))(constraint (= (f r) (bvadd r r)))(check-synth)"""
    problem = read(text)
    with Solver() as solver, pytest.raises(SygusError, match="has the sort \\(_ BitVec 4\\)"):
        ConstraintOracle(laws(problem), Context(), solver)
