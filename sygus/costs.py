"""What derivations cost at least, and whether there are finitely many terms of each cost.

The cost of a derivation is the sum of the weights of its productions, the cost of a term that of its cheapest derivation. A
production may cost nothing. What a search in order of cost cannot bear is a derivation of W from W that adds to a term and costs
nothing: then infinitely many terms have one cost, and no search comes to the next. Every learner refuses such a grammar.
"""

from __future__ import annotations

from heapq import heappop, heappush

from .errors import SygusError
from .grammar import Grammar, Production
from .terms import Term


def cheapest(grammar: Grammar) -> dict[str, tuple[int, Term]]:
    """For each nonterminal the least cost of its terms and one term of that cost; those that derive no term are left out.

    Weights below zero are no matter for this function: see `check_costs`.

    >>> from . import read
    >>> text = "(synth-fun f ((x Real)) Real ((R Real) (S Real)) ((R Real ((+ S S))) (S Real (x (- R)))))(check-synth)"
    >>> {name: (cost, str(term)) for name, (cost, term) in cheapest(read(text).target().grammar).items()}
    {'S': (1, 'x'), 'R': (3, '(+ x x)')}
    """
    above: dict[str, list[int]] = {name: [] for name in grammar.nonterminals}
    rules: list[Production] = [p for productions in grammar.productions.values() for p in productions]
    holes = [grammar.holes(p.body) for p in rules]
    missing = [set(names) for names in holes]
    heap: list[tuple[int, int]] = []
    found: dict[str, tuple[int, Term]] = {}
    for index, names in enumerate(missing):
        for name in names:
            above[name].append(index)
        if not names:
            heappush(heap, (grammar.weight(rules[index]), index))
    while heap:
        cost, index = heappop(heap)
        rule = rules[index]
        if rule.nonterminal in found:
            continue
        body = grammar.bodies(rule, grammar.weight(rule))[0]
        found[rule.nonterminal] = cost, grammar.template(body).fill(tuple(found[name][1] for name in holes[index]))
        for user in above[rule.nonterminal]:
            missing[user].discard(rule.nonterminal)
            if not missing[user]:
                heappush(heap, (grammar.weight(rules[user]) + sum(found[name][0] for name in holes[user]), user))
    return found


def zero_cycles(grammar: Grammar) -> list[Production]:
    """The productions by which a nonterminal derives itself inside a larger term at no cost. Empty where each cost has
    finitely many terms.

    >>> from dataclasses import replace
    >>> from . import read
    >>> text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (- R) (+ R R)))))(check-synth)"
    >>> grammar = read(text).target().grammar
    >>> zero_cycles(grammar)
    []
    >>> free = {"R": [replace(p, weight=0 if p.body.name in ("x", "-") else 2) for p in grammar.productions["R"]]}
    >>> [str(p) for p in zero_cycles(replace(grammar, productions=free))]
    ['R -> (- R)']
    """
    least = cheapest(grammar)
    free = {name for name, (cost, _) in least.items() if cost == 0}
    steps: dict[str, dict[str, None]] = {name: {} for name in grammar.nonterminals}
    growing: list[tuple[Production, str]] = []
    for name, rules in grammar.productions.items():
        for production in rules:
            if grammar.weight(production) != 0:
                continue
            holes = grammar.holes(production.body)
            costly = [hole for hole in holes if hole not in free]
            for hole in dict.fromkeys(holes):
                if hole in least and costly in ([], [hole]):
                    steps[name][hole] = None
                    if not grammar.is_hole(production.body):
                        growing.append((production, hole))
    reached: dict[str, set[str]] = {}
    found: dict[int, Production] = {}
    for production, hole in growing:
        if hole not in reached:
            reached[hole] = _reach(steps, hole)
        if production.nonterminal in reached[hole]:
            found[id(production)] = production
    return list(found.values())


def _reach(steps: dict[str, dict[str, None]], name: str) -> set[str]:
    found, stack = {name}, [name]
    while stack:
        further = steps[stack.pop()].keys() - found
        found |= further
        stack.extend(further)
    return found


def check_costs(grammar: Grammar) -> None:
    """Refuses a grammar that no learner can go through in order of cost.

    Raises:
        SygusError: naming a production that costs less than nothing, or productions that grow a term at no cost.
    """
    for rules in grammar.productions.values():
        for production in rules:
            if production.weight is not None and production.weight < 0:
                raise SygusError(f"the production {production} costs {production.weight}: a cost is at least 0")
    cycles = zero_cycles(grammar)
    if cycles:
        shown = ", ".join(map(str, cycles[:3])) + (", ..." if len(cycles) > 3 else "")
        raise SygusError(
            f"infinitely many terms of one cost: {shown} can be applied again and again at no cost; give one production of each "
            "such cycle a weight of at least 1, or the weight a default"
        )
