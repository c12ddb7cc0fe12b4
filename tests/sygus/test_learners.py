"""Learners behind one interface: found by name, and each gives candidates with the cost that the grammar says."""

from dataclasses import replace
from itertools import islice

import pytest
from setting import grammar
from small_grammars import X, all_terms

from sygus import LEARNERS, REAL, Candidate, Context, Equivalence, Grammar, Production, SygusError, learner, read
from sygus.core import apply
from sygus.costs import Automaton, cheapest, check_costs, zero_cycles
from sygus.grammar import MOST_HOLES
from sygus.terms import Term, variable

R, S, Y = (variable(name, REAL) for name in "RSy")


def target(rules: str):
    return read(f"(synth-fun f ((x Real) (y Real)) Real {rules})(check-synth)").target()


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_each_gives_terms_of_the_grammar_with_their_cost(name, solver):
    problem, context = grammar("gradient")
    classes = Equivalence(context, list(problem.variables), solver)
    found = list(islice(learner(name, problem.grammar, 6, equivalence=classes, seed=1), 150))
    automaton = Automaton.of(problem.grammar)
    assert len(found) == 150 and all(isinstance(c, Candidate) for c in found)
    assert all(automaton.cost(c.term) == c.cost <= 6 for c in found)
    again = list(
        islice(learner(name, problem.grammar, 6, equivalence=Equivalence(context, list(problem.variables), solver), seed=1), 150)
    )
    assert [str(c.term) for c in again] == [str(c.term) for c in found]


def test_chains_that_cost_something_cost_it_in_every_learner(solver):
    """R -> S costs 2 more than nothing, and x by R -> S less than x by R itself."""
    problem = target("((R Real) (S Real)) ((R Real (S x (- R))) (S Real (x y (- S))))")
    weights = {"R": (2, 5, 1), "S": (1, 1, 4)}
    productions = {
        name: [replace(p, weight=w) for p, w in zip(rules, weights[name], strict=True)]
        for name, rules in problem.grammar.productions.items()
    }
    weighted = replace(problem.grammar, productions=productions)
    expected = {str(t): c for t, c in all_terms(weighted, 6)["R"].items()}
    assert expected == {
        "x": 3,
        "y": 3,
        "(- x)": 4,
        "(- y)": 4,
        "(- (- x))": 5,
        "(- (- y))": 5,
        "(- (- (- x)))": 6,
        "(- (- (- y)))": 6,
    }
    assert {str(t): c for t, c in islice(learner("cvc5", weighted, 6), 4)}.items() <= expected.items()
    assert {c.cost for c in islice(learner("uniform", weighted, 4), 20)} == {4}
    classes = Equivalence(Context(), list(problem.variables), solver)
    by_class = {str(t): c for t, c in learner("bottom-up", weighted, 6, equivalence=classes)}
    assert by_class == {"x": 3, "y": 3, "(- x)": 4, "(- y)": 4}


def test_what_no_learner_can_go_through_is_refused_by_all(solver):
    free = Grammar({"R": REAL}, {"R": [Production("R", X, 1), Production("R", apply("-", R), 0)]})
    classes = Equivalence(Context(), [X.symbol], solver)
    for name in LEARNERS:
        with pytest.raises(SygusError, match=r"infinitely many terms of one cost: R -> \(- R\) can be applied"):
            list(islice(learner(name, free, 3, equivalence=classes), 1))


def test_an_unknown_learner_and_one_without_an_equivalence():
    problem = target("((R Real)) ((R Real (x)))")
    with pytest.raises(SygusError, match="no learner 'cvc4'; did you mean 'cvc5'"):
        learner("cvc4", problem.grammar, 3)
    with pytest.raises(SygusError, match="'bottom-up' gives one term for each class, and needs an equivalence"):
        learner("bottom-up", problem.grammar, 3)


def test_cheapest_and_free_cycles_through_several_nonterminals():
    plus = apply("+", R, S)
    grammar = Grammar(
        {"R": REAL, "S": REAL},
        {"R": [Production("R", X, 3), Production("R", apply("-", S), 0)],
         "S": [Production("S", R, 0), Production("S", Y, 2), Production("S", plus, 0)]},
    )  # fmt: skip
    assert {n: (c, str(t)) for n, (c, t) in cheapest(grammar).items()} == {"S": (2, "y"), "R": (2, "(- y)")}
    assert [str(p) for p in zero_cycles(grammar)] == ["R -> (- S)"], "(+ R S) adds at least 2"
    cut = {**grammar.productions, "S": grammar.productions["S"][1:]}
    assert zero_cycles(replace(grammar, productions=cut)) == []


def doubled(body: Term, times: int) -> Term:
    for _ in range(times):
        body = apply("+", body, body)
    return body


def test_bodies_that_stand_for_very_large_trees_take_no_time():
    ground, holes = doubled(X, 100), doubled(R, 100)
    large = Grammar({"R": REAL}, {"R": [Production("R", X), Production("R", ground), Production("R", apply("-", ground))]})
    assert large.unproductive() == [] and large.terminals() == ["x"]
    assert large.holes(ground) == () and large.derives(apply("-", ground)) and not large.derives(doubled(X, 99))
    check_costs(large)
    many = Grammar({"R": REAL}, {"R": [Production("R", X), Production("R", holes)]})
    assert many.unproductive() == [] and many.derives(ground) and not many.derives(doubled(Y, 100))
    assert str(many.productions["R"][1]) == "R -> (+ ...)"
    with pytest.raises(SygusError, match=rf"with more than 10\^9 holes, .* at most {MOST_HOLES}"):
        many.holes(holes)
    with pytest.raises(SygusError, match="let a nonterminal of its own stand for the repeated part"):
        check_costs(many)


def test_a_body_of_great_depth_is_no_recursion():
    body = R
    for _ in range(50_000):
        body = apply("-", body)
    deep = Grammar({"R": REAL}, {"R": [Production("R", X), Production("R", body)]})
    template = deep.template(body)
    filled = template.fill((X,))
    assert template.holes == ("R",) and filled.size == 50_001 and deep.weight(deep.productions["R"][1]) == 50_000
    assert Automaton.of(deep).cost(filled) == 50_001
    check_costs(deep)


def test_ten_thousand_nonterminals():
    names = [f"N{i}" for i in range(10_000)]
    rules = {name: [Production(name, apply("-", variable(after, REAL)))] for name, after in zip(names, names[1:], strict=False)}
    rules[names[-1]] = [Production(names[-1], X)]
    long = Grammar(dict.fromkeys(names, REAL), rules)
    assert long.unproductive() == [] and cheapest(long)["N0"][0] == 10_000
    check_costs(long)
