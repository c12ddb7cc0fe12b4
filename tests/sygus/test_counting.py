"""Counts are those of brute force, on random grammars and on the shipped ones."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, reject, settings
from setting import grammar
from small_grammars import all_terms, grammars

import sygus.counting
from sygus import REAL, Grammar, Production, SygusError, read
from sygus.constants import real
from sygus.core import apply
from sygus.costs import Automaton, zero_cycles
from sygus.counting import Counts, count
from sygus.terms import variable

X, Y, R, S = (variable(name, REAL) for name in "xyRS")


def rules(**productions) -> Grammar:
    """`R=[(body, weight), ...]`: a grammar over reals."""
    return Grammar(
        dict.fromkeys(productions, REAL),
        {name: [Production(name, body, weight) for body, weight in bodies] for name, bodies in productions.items()},
    )


def check(grammar: Grammar, limit: int) -> None:
    terms = all_terms(grammar, limit)
    if terms is None:
        reject()
    counts, automaton = Counts(grammar, limit), Automaton.of(grammar)
    for name, found in terms.items():
        by_cost = Counter(found.values())
        assert counts.of(name) == [by_cost[cost] for cost in range(limit + 1)], f"{name} of\n{grammar}"
        memo = {}
        assert all(automaton.cost(term, name, memo) == cost for term, cost in found.items())


@given(grammars())
@settings(max_examples=150, deadline=None)
def test_counts_by_size_are_those_of_brute_force(grammar):
    check(grammar, 6)


@given(grammars(weighted=True))
@settings(max_examples=250, deadline=None)
def test_counts_by_weight_are_those_of_brute_force(grammar):
    assume(not zero_cycles(grammar))
    check(grammar, 4)


def test_a_literal_that_costs_nothing_and_is_a_constant_elsewhere():
    """(- 3.0) is taken away as an application and counted as a constant, at the same cost as what is made of it."""
    rules = {
        "R": [("x", 1), ("(+ (- R) (ite p x x))", 1), ("(+ (- R T) (+ 1.0 R))", 3), ("(Constant Real)", 1)],
        "S": [("1.0", 1), ("(ite (< T y) (- T) (- T T))", 1), ("R", 1), ("y", 1), ("(Constant Real)", 1)],
        "T": [("1.0", 1), ("(+ R S)", 2), ("(- 3.0)", 0), ("(Constant Real)", 3)],
    }
    heads = " ".join(f"({name} Real)" for name in rules)
    bodies = " ".join(f"({name} Real ({' '.join(body for body, _ in found)}))" for name, found in rules.items())
    text = f"(set-logic ALL)(synth-fun f ((x Real) (y Real) (p Bool)) Real ({heads}) ({bodies}))(check-synth)"
    made = read(text).target().grammar
    weighted = {n: [replace(p, weight=w) for p, (_, w) in zip(made.productions[n], rules[n], strict=True)] for n in rules}
    check(replace(made, productions=weighted), 4)


@pytest.mark.parametrize(("name", "limit"), [("gradient", 6), ("pixelwise", 6), ("perturbation", 5)])
def test_counts_of_the_shipped_grammars(name, limit):
    check(grammar(name)[0].grammar, limit)


def test_by_hand():
    """Terms over x with one + are the binary trees: Catalan's numbers."""
    assert count(rules(R=[(X, None), (apply("+", R, R), None)]), 11)[1::2] == [1, 1, 2, 5, 14, 42]
    assert count(rules(R=[(X, 2), (apply("-", R), 3)]), 12) == [0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]


def test_a_term_with_many_derivations_is_one_term_and_costs_the_cheapest():
    ambiguous = rules(R=[(X, 5), (S, 1), (apply("-", R), 2), (apply("-", S), 1)], S=[(X, 1), (X, 3), (apply("-", S), 4)])
    assert Counts(ambiguous, 6).of("S") == [0, 1, 0, 0, 0, 1, 0]
    assert Counts(ambiguous, 6).of("R") == [0, 0, 2, 0, 1, 0, 1], "x and (- x); (- (- x)); (- (- (- x)))"
    assert Automaton.of(ambiguous).cost(apply("-", apply("-", apply("-", X)))) == 6


def test_costs_that_drift_apart_are_exact():
    """One nonterminal pays 1, the other 3 for each minus: the difference has no bound."""
    minus_r, minus_s = apply("-", R), apply("-", S)
    drifting = Grammar(
        {"Q": REAL, "R": REAL, "S": REAL},
        {"Q": [Production("Q", R, 20), Production("Q", S, 0)],
         "R": [Production("R", X, 1), Production("R", minus_r, 1)], "S": [Production("S", X, 1), Production("S", minus_s, 3)]},
    )  # fmt: skip
    counts = Counts(drifting, 40).of()
    expected = Counter(min(20 + 1 + n, 1 + 3 * n) for n in range(50))
    assert counts == [expected[cost] for cost in range(41)]


def test_a_constant_is_counted_once_though_it_is_a_negation_or_a_quotient_too():
    text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 0.5 (- 1.0) (- R) (/ R R) (Constant Real)))))(check-synth)"
    grammar = read(text).target().grammar
    check(grammar, 5)


def test_no_costs_below_zero_and_no_growth_for_nothing():
    free = rules(R=[(X, 1), (apply("+", R, S), 0)], S=[(Y, 0)])
    with pytest.raises(SygusError, match=r"infinitely many terms of one cost: R -> \(\+ R S\) can be applied again"):
        count(free, 3)
    with pytest.raises(SygusError, match=r"the production R -> x costs -1: a cost is at least 0"):
        count(rules(R=[(X, -1)]), 3)
    assert count(replace(free, productions={**free.productions, "S": [Production("S", Y, 1)]}), 4) == [0, 1, 1, 1, 1]
    assert count(rules(R=[(X, 0), (S, 0)], S=[(R, 0), (Y, 1)]), 2) == [1, 1, 0], "chains in a circle add nothing to a term"


def test_free_productions_are_counted_at_the_cost_of_their_parts():
    grammar = rules(R=[(S, 0), (apply("+", R, R), 1)], S=[(X, 0), (apply("-", X), 0), (apply("*", X, apply("-", X)), 0)])
    check(grammar, 3)
    assert count(grammar, 1) == [3, 9]


def test_large_sizes_are_fast_and_exact():
    """The numbers of terms of gradient.sy by size satisfy the equations of its generating functions."""
    counts = Counts(grammar("gradient")[0].grammar, 300)
    w, m = counts.of("W"), counts.of("M")
    squares = [[sum(a[i] * a[n - 1 - i] for i in range(n)) for n in range(301)] for a in (w, m)]
    assert all(w[n] == (n == 1) + m[n - 1] + w[n - 1] + 4 * squares[0][n] for n in range(1, 301))
    assert all(m[n] == 2 * (n == 1) + m[n - 1] + squares[1][n] for n in range(1, 301))


def test_too_ambiguous_a_grammar_is_refused(monkeypatch):
    monkeypatch.setattr(sygus.counting, "MOST_CLASSES", 1)
    with pytest.raises(SygusError, match="so ambiguous that they fall into more than 1 classes"):
        count(rules(R=[(X, None), (Y, None), (apply("+", X, R), None)]), 9)
    monkeypatch.undo()
    monkeypatch.setattr(sygus.counting, "MOST_COMBINATIONS", 1)
    with pytest.raises(SygusError, match="more than 1 combinations"):
        count(rules(R=[(X, None), (apply("+", R, R), None), (apply("*", R, R), None)]), 9)
    monkeypatch.undo()
    with pytest.raises(SygusError, match="a symbol has 101 arguments, more than 100"):
        count(rules(R=[(X, None), (apply("+", *[R] * 101), None)]), 3)


def test_a_let_that_stands_for_very_many_nodes_is_counted():
    body = X
    for _ in range(200):
        body = apply("+", body, body)
    assert count(rules(R=[(X, None), (apply("-", R), None), (body, 4)]), 6) == [0, 1, 1, 1, 2, 2, 2]
    assert count(rules(R=[(X, None), (body, None)]), 20) == [0, 1] + [0] * 19


def test_real_three_and_its_height():
    grammar = read("(synth-fun f () Real ((R Real)) ((R Real ((Constant Real)))))(check-synth)").target().grammar
    assert count(grammar, 4) == [0, 3, 4, 8, 8]
    assert Automaton.of(grammar).cost(real(3)) == 3
