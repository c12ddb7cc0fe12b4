"""Random small grammars, ambiguous more often than not, and all their terms by brute force."""

import itertools
from collections import Counter

from hypothesis import strategies as st

from sygus import BOOL, REAL, Grammar, Production, Term
from sygus.constants import real
from sygus.core import apply
from sygus.terms import Literal, any_constant, is_any_constant, variable

X, Y, P = variable("x", REAL), variable("y", REAL), variable("p", BOOL)


@st.composite
def grammars(draw, weighted=False, constants=True, lowest=0):
    """One to three nonterminals of two sorts; bodies of up to three levels, chains among them, cycles of chains too."""
    names = {"R": REAL, **draw(st.sampled_from([{}, {"S": REAL}, {"B": BOOL}, {"S": REAL, "B": BOOL}, {"S": REAL, "T": REAL}]))}
    holes = {sort: [variable(n, s) for n, s in names.items() if s == sort] for sort in (REAL, BOOL)}
    leaves = {REAL: [X, Y, real(0), real(1), real(3)], BOOL: [P, Term(Literal(True, BOOL))]}

    def body(sort, depth):
        kind = draw(st.integers(0, 5))
        if depth == 0 or kind == 0:
            return draw(st.sampled_from(leaves[sort] + 3 * holes[sort]))
        if sort == BOOL:
            name = draw(st.sampled_from(["not", "<", "and"]))
            inner = REAL if name == "<" else BOOL
            return apply(name, *(body(inner, depth - 1) for _ in range(1 if name == "not" else 2)))
        name = draw(st.sampled_from(["+", "-", "/", "negate", "ite"]))
        if name == "ite":
            return apply("ite", body(BOOL, depth - 1), body(REAL, depth - 1), body(REAL, depth - 1))
        if name == "negate":
            return apply("-", body(REAL, depth - 1))
        return apply(name, body(REAL, depth - 1), body(REAL, depth - 1))

    def weight():
        return draw(st.integers(lowest, 3)) if weighted and draw(st.integers(0, 3)) else None if not weighted else 1

    productions = {}
    for name, sort in names.items():
        rules = [Production(name, draw(st.sampled_from(leaves[sort])), weight())]
        rules += [Production(name, body(sort, draw(st.integers(0, 2))), weight()) for _ in range(draw(st.integers(0, 3)))]
        if constants and sort == REAL and draw(st.integers(0, 3)) == 0:
            rules.append(Production(name, any_constant(sort), weight()))
        productions[name] = rules
    listed = draw(st.sampled_from([(), (real(3),), (real(7),)]))
    return Grammar(names, productions, listed)


def all_terms(grammar: Grammar, limit: int, most: int = 20_000) -> dict[str, dict[Term, int]] | None:
    """Every term of every nonterminal up to the cost `limit` with its least cost, to a fixed point; None beyond `most` terms.

    Combinations of parts go through one by one, and the whole is repeated until nothing changes: slow, and nothing to get wrong.
    """
    found: dict[str, dict[Term, int]] = {name: {} for name in grammar.nonterminals}
    changed = True
    while changed:
        changed = False
        for name, rules in grammar.productions.items():
            for production in rules:
                weight = grammar.weight(production)
                if is_any_constant(production.body):
                    new = [(t, c) for c in range(weight, limit + 1) for t in grammar.bodies(production, c)]
                else:
                    template = grammar.template(production.body)
                    choices = [list(found[hole].items()) for hole in template.holes]
                    if _count(choices, limit - weight) > 100 * most:
                        return None  # three holes of thousands of terms that cost nothing would not fit into memory
                    new = [
                        (template.fill(tuple(t for t, _ in parts)), weight + sum(c for _, c in parts))
                        for parts in _tuples(choices, limit - weight)
                    ]
                for term, cost in new:
                    if cost < found[name].get(term, limit + 1):
                        found[name][term] = cost
                        changed = True
        if sum(map(len, found.values())) > most:
            return None
    return found


def _tuples(choices, budget):
    """All tuples of one pair (term, cost) of each list whose costs sum to `budget` or less."""
    if not choices:
        return [()] if budget >= 0 else []
    first, *rest = choices
    by_cost = itertools.groupby(sorted(first, key=lambda pair: pair[1]), key=lambda pair: pair[1])
    return [(pair, *tail) for cost, pairs in by_cost if cost <= budget for tails in [_tuples(rest, budget - cost)]
            for pair in pairs for tail in tails]  # fmt: skip


def _count(choices, budget):
    """How many tuples `_tuples` gives."""
    sums = Counter({0: 1})
    for choice in choices:
        costs, reached = Counter(cost for _, cost in choice), Counter()
        for cost, count in costs.items():
            for total, ways in sums.items():
                reached[total + cost] += count * ways
        sums = reached
    return sum(ways for total, ways in sums.items() if total <= budget)
