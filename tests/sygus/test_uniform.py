"""Random terms of one cost are uniform over the distinct terms: against enumeration, with fixed seeds."""

import os
import subprocess
import sys
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, reject, settings
from setting import grammar
from small_grammars import all_terms, grammars

from sygus import REAL, Grammar, Production, SygusError, read
from sygus.core import apply
from sygus.counting import Counts
from sygus.learners.uniform import Uniform
from sygus.terms import variable

AMBIGUOUS = "((R Real) (S Real)) ((R Real (S (+ R R) (+ S R) (- S) (- R))) (S Real (x 1.0 (- S) (+ 1.0 x))))"
CONSTANTS = "((R Real)) ((R Real (x 0.5 (- R) (/ R R) (+ R R) (Constant Real))))"
CONDITIONS = "((R Real) (B Bool)) ((R Real (x y (ite B R R) (- R))) (B Bool ((> R R) (not B))))"


def target(rules: str) -> Grammar:
    return read(f"(synth-fun f ((x Real) (y Real)) Real {rules})(check-synth)").target().grammar


def drawn(learner: Uniform, number: int) -> Counter:
    return Counter(term for term, _ in islice(learner, number))


@pytest.mark.parametrize(("rules", "cost"), [(AMBIGUOUS, 5), (CONSTANTS, 3), (CONDITIONS, 7)])
def test_chi_square_against_enumeration(rules, cost):
    """Of k cells each expects n / k draws; the statistic has mean k - 1 and variance 2 (k - 1)."""
    grammar = target(rules)
    terms = {term for term, c in all_terms(grammar, cost)["R"].items() if c == cost}
    found = drawn(Uniform(grammar, cost, seed=3), 100 * len(terms))
    assert found.keys() == terms and len(terms) > 30
    statistic = sum((found[term] - 100) ** 2 / 100 for term in terms)
    freedom = len(terms) - 1
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5


@given(grammars(weighted=True, lowest=1))
@settings(max_examples=60, deadline=None)
def test_without_repetition_each_term_comes_once_and_none_is_missing(grammar):
    terms = all_terms(grammar, 4, most=400)
    if terms is None:
        reject()
    of_start = Counter(terms[grammar.start].values())
    for cost in range(5):
        if not of_start[cost]:
            with pytest.raises(SygusError, match=f"no term costs {cost}"):
                Uniform(grammar, cost)
            continue
        found = list(Uniform(grammar, cost, seed=cost, repeat=False))
        assert sorted(map(str, (c.term for c in found))) == sorted(str(t) for t, c in terms[grammar.start].items() if c == cost)
        assert all(c.cost == cost for c in found)


def test_the_sequence_is_that_of_its_seed():
    learner = Uniform(grammar("gradient")[0].grammar, 12, seed=5)
    first = list(islice(learner, 50))
    assert list(islice(learner, 50)) == first
    assert list(islice(Uniform(learner.grammar, 12, seed=6), 50)) != first


def test_the_sequence_does_not_depend_on_hash_seeds():
    script = f"""
from itertools import islice
from sygus import read
from sygus.learners.uniform import Uniform
grammar = read('''(synth-fun f ((x Real) (y Real)) Real {CONSTANTS})(check-synth)''').target().grammar
print([str(c.term) for c in islice(Uniform(grammar, 9), 40)])
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and outputs.pop().count("x") > 20


@pytest.mark.parametrize("name", ["gradient", "pixelwise", "perturbation"])
def test_terms_of_size_fifty_of_the_shipped_grammars(name):
    derived = grammar(name)[0].grammar
    terms = [c.term for c in islice(Uniform(derived, 50), 200)]
    assert len(set(terms)) == 200 and all(t.size == 50 and derived.derives(t) for t in terms)


def test_the_depth_of_a_term_is_no_limit():
    deep = Grammar({"R": REAL}, {"R": [Production("R", variable("x", REAL)), Production("R", apply("-", variable("R", REAL)))]})
    term = next(iter(Uniform(deep, 20_000))).term
    assert term.size == 20_000


def test_what_costs_have_terms_is_said():
    odd = target("((R Real)) ((R Real (x (+ R R))))")
    with pytest.raises(SygusError, match="no term costs 4: the next below costs 3"):
        Uniform(odd, 4)
    with pytest.raises(SygusError, match="no term costs -1: the cheapest costs 1"):
        Uniform(odd, -1)
    with pytest.raises(SygusError, match="no term costs 0: the cheapest costs 1"):
        Uniform(odd, 0)
    assert Uniform(odd, 9).count == Counts(odd, 9).of()[9] == 14
