"""Proofs of equations for all values of their variables, whatever the grammar may put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..equivalence.classes import Equivalence
from ..grammar import Template
from ..semantics.interpret import Input
from ..terms import Sort, Term, Variable
from .equations import Equation, Pattern

VARIABLES = 8
"""Variables of one nonterminal in an equation, at most: one that needs more is not proved."""


class Universal:
    """Whether equations hold for all values of their variables.

    A variable stands for any term of its nonterminal: it varies over all axes over which such terms do, and nothing is assumed
    of it. A node that stands for itself keeps what is assumed of the inputs in it.

    Args:
        equivalence: what compares terms; its context, assumptions and solver are used, its classes are not touched.
        nonterminals, levels: the sort of each nonterminal, and over how many axes its terms vary.
        templates: of each rule.
        nodes: the term of each node.
    """

    def __init__(
        self, equivalence: Equivalence, nonterminals: dict[str, Sort], levels: dict[str, int], templates: Sequence[Template],
        nodes: Sequence[Term],
    ) -> None:  # fmt: skip
        self.templates, self.nodes = templates, nodes
        self._pool = {
            name: [Variable(f"|{name}@{index}|", sort) for index in range(VARIABLES)] for name, sort in nonterminals.items()
        }
        inputs = {v.name: Input(v.name, v.sort, levels[name]) for name, pool in self._pool.items() for v in pool}
        context = replace(equivalence.context, inputs={**equivalence.context.inputs, **inputs})
        variables = [*equivalence.inputs, *(v for pool in self._pool.values() for v in pool)]
        self._equivalence = Equivalence(context, variables, equivalence.solver, equivalence.seed)

    def __call__(self, equations: Sequence[Equation]) -> list[bool]:
        """For each equation whether it is proved. Only those that hold at random points are sent to cvc5."""
        pairs = [self.pair(equation) for equation in equations]
        sides = list(dict.fromkeys(side for pair in pairs if pair for side in pair))
        value = dict(zip(sides, self._equivalence.fingerprints(sides), strict=True))
        likely = [pair for pair in pairs if pair and value[pair[0]] == value[pair[1]]]
        holds = dict(zip(likely, self._equivalence.proves(likely), strict=True))
        return [pair is not None and holds.get(pair, False) for pair in pairs]

    @property
    def asked(self) -> int:
        """How many claims went to cvc5."""
        return self._equivalence.lemmas.asked

    def pair(self, equation: Equation) -> tuple[Term, Term] | None:
        """Both sides as terms; None where there are too many variables."""
        taken: dict[int, Term] = {}
        used = dict.fromkeys(self._pool, 0)

        def term(pattern: Pattern, nonterminal: str | None) -> Term | None:
            if isinstance(pattern, tuple):
                template = self.templates[pattern[0]]
                parts = [term(inner, hole) for inner, hole in zip(pattern[1:], template.holes, strict=True)]
                return None if None in parts else template.fill(tuple(parts))  # type: ignore[arg-type]
            if pattern < 0:
                return self.nodes[~pattern]
            if pattern not in taken:
                assert nonterminal is not None, "each variable of an equation stands in a hole of its left side"
                if used[nonterminal] == VARIABLES:
                    return None
                taken[pattern] = Term(self._pool[nonterminal][used[nonterminal]])
                used[nonterminal] += 1
            return taken[pattern]

        left = term(equation[0], None)
        right = None if left is None else term(equation[1], None)
        return None if left is None or right is None else (left, right)
