"""cvc5's stream: nothing lost, nothing twice, whatever happens to its process. Its classes: `test_enumeration.py`."""

import os
import signal
from itertools import islice

import pytest
from hypothesis import given, reject, settings
from setting import grammar
from small_grammars import all_terms, grammars

import sygus.learners.findsynth
from sycam.theory import CAM, MAP
from sygus import BOOL, REAL, Context, Equivalence, Function, Grammar, Production, SygusError, Term, Variable, read
from sygus.constants import real
from sygus.core import apply
from sygus.costs import Automaton
from sygus.learners.findsynth import FindSynth
from sygus.solver.stream import describe
from sygus.terms import variable

X, Y, R = variable("x", REAL), variable("y", REAL), variable("R", REAL)
F, G, H = (Function(name, (REAL,) * arity, REAL) for name, arity in (("f", 1), ("g", 2), ("h", 3)))


def scalar(rules: str, arguments: str = "(x Real) (y Real)") -> Grammar:
    head = "(set-logic ALL)(define-fun relu ((z Real)) Real (ite (> z 0.0) z 0.0))"
    return read(f"{head}(synth-fun f ({arguments}) Real {rules})(check-synth)").target().grammar


def texts(learner, number=None) -> list[str]:
    return [str(term) for term, _ in islice(learner, number)]


def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_of_unknown_functions_it_is_all_terms():
    names = {"R": REAL, "S": REAL}
    s = variable("S", REAL)
    bodies = {"R": [X, Term(F, (s,)), Term(G, (R, s)), s], "S": [Y, Term(F, (R,)), Term(H, (R, Term(F, (s,)), X))]}
    unknown = Grammar(names, {name: [Production(name, body) for body in found] for name, found in bodies.items()})
    terms = all_terms(unknown, 5)["R"]
    found = dict(FindSynth(unknown, 5))
    assert found == terms and len(found) > 40


@given(grammars(constants=False))
@settings(max_examples=12, deadline=None)
def test_what_is_left_out_equals_an_earlier_term(solver, grammar):
    """On random grammars, macros and chains and conditions among them: the same classes as brute force."""
    terms = all_terms(grammar, 5, most=200)
    if terms is None:
        reject()
    applications = 2
    found = list(FindSynth(grammar, applications=applications))
    assert len({c.term for c in found}) == len(found)
    automaton = Automaton.of(grammar)
    assert all(automaton.cost(c.term) == c.cost and grammar.derives(c.term) for c in found)
    classes = Equivalence(Context(), [Variable("x", REAL), Variable("y", REAL), Variable("p", BOOL)], solver)
    theirs = set(classes.representatives([c.term for c in found]))
    ours = [t for t in terms[grammar.start] if _applications(grammar, t) <= applications]
    assert set(classes.representatives(ours)) <= theirs


def _applications(grammar: Grammar, term: Term) -> int:
    """cvc5's size: the least number of productions with holes in a derivation."""
    counted = {
        name: [Production(name, p.body, int(bool(grammar.holes(p.body)))) for p in rules]
        for name, rules in grammar.productions.items()
    }
    return Automaton.of(Grammar(grammar.nonterminals, counted)).cost(term)


@pytest.mark.parametrize("name", ["gradient", "pixelwise", "perturbation"])
def test_every_term_is_derived_at_its_cost(name):
    derived = grammar(name)[0].grammar
    found = list(islice(FindSynth(derived), 3000))
    assert len({c.term for c in found}) == 3000
    assert all(c.cost == c.term.size and derived.derives(c.term) for c in found)


@pytest.mark.parametrize("name", ["<", "<=", ">", ">=", "="])
def test_the_middle_of_a_chain_of_comparisons_is_one_term(name):
    """To cvc5 (< x R y) is (and (< x R) (< R y)), of which it would fill each R by itself."""
    derived = scalar(f"((S Real) (R Real)) ((S Real ((ite ({name} x R y) 1.0 2.0))) (R Real (x y (+ R x))))")
    found = list(FindSynth(derived, applications=4))
    assert len(found) > 1 and all(derived.derives(c.term) for c in found)


def test_the_forms_of_cvc5_are_read_back_as_productions():
    """x - y comes as x + (-1) y, a define-fun as its body, a nested body rewritten."""
    rules = """((R Real) (B Bool)) ((R Real (x y 1.0 (- 1.0) (- R) (- R R) (/ R 2.0 R) (relu R) (+ R (* 2.0 R) y)
        (ite (> R (- R 1.0)) R (abs y)) (ite B R R) (let ((z R)) (* z x))))
        (B Bool (true (not B) (=> B B B) (xor B B) (distinct R R y) (< x R y) (= R R))))"""
    derived = scalar(rules)
    found = list(islice(FindSynth(derived, applications=2), 4000))
    assert len(found) > 500 and all(derived.derives(c.term) for c in found)
    heads = {c.term.name for c in found}
    assert heads >= {"-", "/", "relu", "+", "ite", "*"}


def test_a_hole_that_cvc5_has_no_use_for_is_filled_with_the_cheapest_term():
    found = texts(FindSynth(scalar("((R Real)) ((R Real (y (* 0.0 (- R)) (+ x (* 1.0 R)))))"), applications=2))
    assert found[:2] == ["y", "(* 0.0 (- y))"] and "(+ x (* 1.0 y))" in found


def test_a_production_that_is_a_hole_to_cvc5():
    derived = scalar("((R Real) (S Real)) ((R Real (x (- R) (ite true S R) (* 1.0 R))) (S Real (y (+ S S))))")
    found = texts(FindSynth(derived, applications=2))
    assert {"x", "(- x)", "(ite true y x)", "(ite true (+ y y) x)", "(- (ite true y x))"} <= set(found)


def test_constants_and_costs_by_weight():
    derived = scalar("((R Real)) ((R Real (x (Constant Real) (/ R R))))")
    found = dict(islice(FindSynth(derived), 60))
    costs = {str(term): cost for term, cost in found.items()}
    assert costs["0.0"] == costs["(- 1.0)"] == costs["x"] == 1 and costs["0.5"] == 2 and costs["(/ 1.0 3.0)"] == 3
    weighted = {"R": [Production("R", p.body, {"x": 5, "y": 0}.get(p.body.name, 2)) for p in scalar(
        "((R Real)) ((R Real (x y (* R R))))").productions["R"]]}  # fmt: skip
    found = list(FindSynth(Grammar({"R": REAL}, weighted), 7, applications=2))
    assert {str(t): c for t, c in found} == {"x": 5, "y": 0, "(* x y)": 7, "(* y y)": 2, "(* y (* y y))": 4}


def test_integers_and_conditions():
    text = """(set-logic LIA)(synth-fun f ((n Int) (p Bool)) Int ((I Int) (B Bool))
        ((I Int (n 0 1 (Constant Int) (+ I I) (- I) (ite B I I))) (B Bool (p (Constant Bool) (and B B) (< I I)))))(check-synth)"""
    derived = read(text).target().grammar
    found = [t for t, _ in islice(FindSynth(derived), 300)]
    assert all(derived.derives(t) for t in found) and {"0", "(- 1)", "2", "(ite p n 0)"} <= set(map(str, found))


def test_a_killed_process_loses_no_term_and_repeats_none():
    derived = grammar("pixelwise")[0].grammar
    whole = list(islice(FindSynth(derived), 5000))
    stream = FindSynth(derived)
    found, iterator = [], iter(stream)
    for stop in (1, 7, 400, 401, 3000):
        found.extend(islice(iterator, stop - len(found)))
        os.kill(stream.pid, signal.SIGKILL)
    found.extend(islice(iterator, 2000))
    assert found == whole and 1 <= stream.restarts <= 5


def test_a_process_that_stands_still_is_replaced():
    derived = grammar("gradient")[0].grammar
    whole = list(islice(FindSynth(derived), 600))
    stream = FindSynth(derived, seconds=3.0)
    iterator = iter(stream)
    found = list(islice(iterator, 100))
    os.kill(stream.pid, signal.SIGSTOP)
    found.extend(islice(iterator, 500))
    assert found == whole and stream.restarts == 1


def test_a_search_without_end_is_an_error_and_what_was_found_comes_first():
    stream = FindSynth(scalar("((R Real)) ((R Real (x y (* 1.0 R))))"), seconds=2.0, attempts=2)
    iterator = iter(stream)
    assert [str(next(iterator).term) for _ in range(2)] == ["x", "y"]
    with pytest.raises(SygusError, match=r"cannot enumerate the grammar further: no further term in .* a number of applications"):
        next(iterator)
    assert gone(stream.pid)


def test_a_process_that_never_lives_is_an_error(monkeypatch):
    start = sygus.learners.findsynth.LineProcess
    monkeypatch.setattr(sygus.learners.findsynth, "LineProcess", lambda module, seconds: start("sygus.errors", seconds=seconds))
    stream = FindSynth(scalar("((R Real)) ((R Real (x)))"), attempts=3)
    with pytest.raises(SygusError, match="no term after the first 0 in 3 processes"):
        list(stream)
    assert stream.restarts == 3


def test_what_cvc5_refuses_is_an_error_in_its_words(monkeypatch):
    stream = FindSynth(scalar("((R Real)) ((R Real (x)))"))
    stream._message["nodes"][0] = ["literal", 0, "one half"]
    with pytest.raises(SygusError, match="cvc5 cannot enumerate the grammar further: .*one half"):
        list(stream)


def test_closing_ends_the_process_and_iterating_again_starts_over():
    stream = FindSynth(scalar("((R Real)) ((R Real (x y (+ R R))))"))
    iterator = iter(stream)
    first = [next(iterator) for _ in range(50)]
    pid = stream.pid
    assert not gone(pid)
    iterator.close()
    assert gone(pid)
    iterator = iter(stream)
    assert [next(iterator) for _ in range(50)] == first and stream.pid != pid
    iterator.close()
    assert texts(FindSynth(scalar("((R Real)) ((R Real (x y)))"))) == ["x", "y"], "a finite grammar ends by itself"


def test_it_works_ahead_by_one_message_only(monkeypatch):
    asked = []
    plain = sygus.learners.findsynth.LineProcess.send
    monkeypatch.setattr(
        sygus.learners.findsynth.LineProcess, "send", lambda self, m: asked.append(m.get("count")) or plain(self, m)
    )
    iterator = iter(FindSynth(grammar("pixelwise")[0].grammar))
    next(iterator)
    assert asked == [None, 8, 8]
    list(islice(iterator, 7))
    assert asked == [None, 8, 8]
    list(islice(iterator, 20_000))
    assert asked[-1] == 2048 and sorted(asked[1:]) == asked[1:]
    iterator.close()


def test_dearer_terms_are_left_out():
    derived = scalar("((R Real)) ((R Real (x (+ R R) (- R))))")
    assert all(c.cost <= 4 for c in FindSynth(derived, 4))
    assert texts(FindSynth(derived, 1)) == ["x"] and texts(FindSynth(derived, 0)) == []


TRAP = """(set-logic ALL) (declare-sort Map 0) (declare-fun cmean (Real) Real) (declare-fun gap (Map) Real)
(synth-fun f ((A Map)) Real ((W Real) (B Bool)) ((W Real ((gap A) 1.0 (cmean W) (ite B W 0.0))) (B Bool ((= W 1.0)))))(check-synth)"""


def test_what_holds_in_a_branch_does_not_hold_below_a_reduction():
    """w = gap A, one number a channel: where it is 1, its mean over channels need not be 1."""
    derived = read(TRAP, theory=CAM).target().grammar
    found = texts(FindSynth(derived, applications=4))
    assert "(ite (= (gap A) 1.0) (cmean (gap A)) 0.0)" in found and "(ite (= (gap A) 1.0) (cmean 1.0) 0.0)" in found
    kinds = {node[1] for node in describe(derived)["nodes"] if node[0] == "core"}
    assert kinds == {"="}, "the ite is an unknown function"


def test_a_conditional_of_its_condition_is_told_to_cvc5():
    nodes = describe(grammar("gradient")[0].grammar)["nodes"]
    assert {node[1] for node in nodes if node[0] == "core"} == {"+", "-", "*", "/", ">", "ite"}


def test_productions_that_it_cannot_take():
    body = X
    for _ in range(30):
        body = apply("+", body, body)
    with pytest.raises(SygusError, match=r"cvc5 cannot enumerate R -> \(\+ ...\): its body has more than 10000 nodes"):
        FindSynth(Grammar({"R": REAL}, {"R": [Production("R", body)]}))
    free = Grammar({"R": REAL}, {"R": [Production("R", X, 0), Production("R", apply("-", R), 0)]})
    with pytest.raises(SygusError, match="infinitely many terms of one cost"):
        FindSynth(free)
    holes = apply("+", *[R] * 300)
    with pytest.raises(SygusError, match="with 300 holes, repeated ones counted; accepted are at most 256"):
        FindSynth(Grammar({"R": REAL}, {"R": [Production("R", X), Production("R", holes)]}))
    assert MAP and real(1)
