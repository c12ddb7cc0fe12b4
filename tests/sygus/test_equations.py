"""Equations proved on the way decide most duplicates, change no class, and are proved for all that the grammar may put in them."""

import gc

import numpy as np
import pytest
from setting import grammar
from test_enumeration import GRADIENT, PIXELWISE, SCALAR, TEMPLATE, TWO, context_of, target_of

from sygus import REAL, Context, Enumerator, Equivalence, read
from sygus.core import apply, divide
from sygus.equivalence.separation import Separation
from sygus.learners.bottom_up import derivations, equations
from sygus.learners.bottom_up.derivations import NOTHING, Derivations, pending
from sygus.terms import Variable, no_collection, variable


def enumerated(target, context, limit, solver, after, monkeypatch):
    monkeypatch.setattr(equations, "AFTER", after)
    merges = []
    classes = Equivalence(context, list(target.variables), solver, on_merge=merges.append)
    learner = Enumerator(target.grammar, classes, limit)
    return [found.term for found in learner], classes, learner, merges


CASES = {
    "gradient": (GRADIENT, 8),
    "pixelwise": (PIXELWISE, 8),
    "scalar": (SCALAR, 6),
    "template": (TEMPLATE, 6),
    "two nonterminals": (TWO, 7),
    "nothing commutes": ("(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y 0.0 1.0 (- R R) (/ R R)))))", 7),
    "two nonterminals of one sort": (
        "(synth-fun f ((x Real) (y Real)) Real ((R Real) (P Real)) ((R Real (P (+ R P) (- R))) (P Real (x y 1.0 (* P P)))))", 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equations_change_no_class(case, solver, monkeypatch):
    text, limit = CASES[case]
    target = target_of(text)
    with_equations, classes, _, merges = enumerated(target, context_of(target), limit, solver, 0, monkeypatch)
    without, plain, _, _ = enumerated(target, context_of(target), limit, solver, 10**9, monkeypatch)
    assert not plain.undecided and not classes.undecided
    assert with_equations == without
    assert plain.counts.instances == 0 < classes.counts.instances
    assert classes.counts.merges == plain.counts.merges
    assert classes.counts.claims < plain.counts.claims
    for merge in merges:
        assert plain.representatives([merge.term])[0] is plain.representatives([merge.representative])[0], merge


@pytest.mark.parametrize(("name", "limit"), [("gradient", 8), ("perturbation", 6)])
def test_many_duplicates_are_instances(name, limit, solver):
    target, context = grammar(name)
    classes = Equivalence(context, list(target.variables), solver)
    list(Enumerator(target.grammar, classes, limit))
    assert classes.counts.instances > classes.counts.merges / 3


def test_every_equation_holds_at_points_that_its_proof_did_not_see(solver, monkeypatch):
    target = target_of(GRADIENT)
    _, _, learner, _ = enumerated(target, context_of(target), 8, solver, 0, monkeypatch)
    found = list(learner._equations)
    assert len(found) > 50
    universal = learner._universal
    other = Equivalence(universal._equivalence.context, universal._equivalence.inputs, solver, seed=77)
    for left, right in map(universal.pair, found):
        assert other.fingerprints([left]) == other.fingerprints([right]), (str(left), str(right))


def test_what_is_assumed_of_an_input_is_not_assumed_of_all_terms(solver, monkeypatch):
    """relu(x) = x for the nonnegative x, and neither for y nor for x - y."""
    text = """(define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))
    (synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (relu R) (- R R) (* R R)))))(check-synth)"""
    target = read(text).target()
    context = Context(nonneg=frozenset({"x"}))
    with_equations, _, learner, _ = enumerated(target, context, 7, solver, 0, monkeypatch)
    without, _, _, _ = enumerated(target, context, 7, solver, 10**9, monkeypatch)
    assert with_equations == without
    shown = {tuple(map(str, learner._universal.pair(equation))) for equation in learner._equations}
    assert ("(relu x)", "x") in shown, "of x itself it is used"
    assert ("(relu ||R@0||)", "||R@0||") not in shown
    assert ("(relu (relu ||R@0||))", "(relu ||R@0||)") in shown
    assert {str(term) for term in with_equations} >= {"(relu y)", "(relu (- x y))"}


def test_a_variable_of_an_equation_varies_as_the_terms_of_its_nonterminal_do(solver):
    """gap(scale w m) = w · gap(m) for a weight; gap(m* m n) = gap(m) · gap(n) for no two maps, though both are constant for some."""
    target = target_of(GRADIENT)
    learner = Enumerator(target.grammar, Equivalence(context_of(target), list(target.variables), solver), 5)
    list(learner)
    rules = {rule.template.body.name: number for rule, number in learner._numbered.items() if rule.template.holes}
    assert learner._levels == {"W": 1, "M": 2}
    gap, times, plus, minus = (rules[name] for name in ("gap", "m*", "+", "-"))
    assert learner._proved([
        ((gap, (times, 0, 1)), (gap, (times, 1, 0))),
        ((plus, (gap, 0), (gap, 1)), (plus, (gap, 1), (gap, 0))),
        ((minus, (gap, (times, 0, 0)), (gap, 0)), (minus, (gap, 0), (gap, 0))),
        ((gap, (times, (times, 0, 1), 2)), (gap, (times, 0, (times, 1, 2)))),
    ]) == [True, True, False, True]  # fmt: skip


def test_more_variables_than_there_are_is_no_proof(solver):
    target = target_of(SCALAR)
    learner = Enumerator(target.grammar, Equivalence(context_of(target), list(target.variables), solver), 3)
    list(learner)
    plus = next(n for rule, n in learner._numbered.items() if rule.template.body.name == "+")
    wide = 0
    for index in range(1, 12):
        wide = (plus, wide, index)
    assert learner._proved([(wide, wide)]) == [False]
    assert learner._proved([((plus, 0, 1), (plus, 1, 0))]) == [True]


# The table --------------------------------------------------------------------------------------------------------------


def nodes(*numbers):
    return np.array(numbers, np.int32)


def test_cells_hold_what_was_written_and_nothing_else():
    table = Derivations([0, 2, 1, 2], [False, False, False, True], 4)
    a, b = table.add(0, [], 1, range(2))
    table.open(1, (1, 1), (2, 2))
    table.open(3, (1, 1), (2, 2))
    left, right = nodes(a, a, b, b), nodes(a, b, a, b)
    made = table.add(1, [left, right], 3, range(4))
    table.fill(table.cells(1, [left, right]), made)
    assert table.result(1, [right, left]).tolist() == made[[0, 2, 1, 3]].tolist()
    assert table.result(2, [nodes(a)]).tolist() == [NOTHING], "a rule that was not applied"
    assert table.result(1, [made, made]).tolist() == [NOTHING] * 4, "costs at which it was not applied"
    assert table.result(1, [nodes(a, NOTHING, pending(3)), nodes(NOTHING, a, a)]).tolist() == [NOTHING] * 3
    table.fill(table.cells(3, [left, right]), nodes(7, 8, 8, 9))
    assert table.result(3, [nodes(b), nodes(a)]).tolist() == [8], "one cell for both orders"
    assert table.rule[made].tolist() == [1] * 4 and table.rule[[a, b]].tolist() == [NOTHING] * 2
    assert table.part(0)[made].tolist() == left.tolist() and table.part(1)[made].tolist() == right.tolist()


def test_a_rule_with_too_many_combinations_gets_no_cells(monkeypatch, solver):
    monkeypatch.setattr(derivations, "MOST", 30)
    target = target_of(SCALAR)
    with_few, classes, _, _ = enumerated(target, context_of(target), 6, solver, 0, monkeypatch)
    monkeypatch.undo()
    without, _, _, _ = enumerated(target, context_of(target), 6, solver, 10**9, monkeypatch)
    assert with_few == without
    assert classes.counts.instances < classes.counts.merges / 2


# What else makes it fast ------------------------------------------------------------------------------------------------


def test_a_difference_is_found_at_random_points_and_confirmed_exactly():
    class NoSolver:
        def model(self, formulas):
            raise AssertionError("cvc5 was asked")

    x, y = (variable(name, REAL) for name in "xy")
    inputs = [Variable("x", REAL), Variable("y", REAL)]
    search = Separation(Context(positive=frozenset({"y"})), inputs, NoSolver())
    left, right = divide(x, x), divide(y, y)  # they differ where x = 0
    point = search.find(left, right)
    assert point is not None and point.values["x"] == {(): 0} and point.values["y"][()] > 0
    assert point.separates(left, right, search.context)
    close = apply("+", x, apply("*", y, apply("-", y, y)))
    with pytest.raises(AssertionError, match="cvc5 was asked"):
        search.find(close, x)


def test_the_collector_is_on_again_even_after_an_error():
    assert gc.isenabled()

    def broken():
        with no_collection():
            assert not gc.isenabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert gc.isenabled()
    with no_collection():
        with no_collection():
            pass
        assert not gc.isenabled(), "the inner one does not turn it on"


def test_the_collector_is_on_while_candidates_are_looked_at(solver):
    target = target_of(SCALAR)
    for _ in Enumerator(target.grammar, Equivalence(context_of(target), list(target.variables), solver), 4):
        assert gc.isenabled()


def test_equations_leave_no_trace_in_the_classes(solver, monkeypatch):
    """The terms of an equation are compared apart from the classes: these are as without."""
    target = target_of(SCALAR)
    classes = Equivalence(context_of(target), list(target.variables), solver)
    monkeypatch.setattr(equations, "AFTER", 0)
    first = [c.term for c in Enumerator(target.grammar, classes, 5)]
    again = [c.term for c in Enumerator(target.grammar, classes, 5)]
    assert first == again
    assert all("@" not in str(term) for terms in classes._firsts.values() for term in terms.values())
