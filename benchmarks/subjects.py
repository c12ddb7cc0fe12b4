"""The grammars that the benches of `sygus/` measure on: `gradient`, `pixelwise`, and `six` reals with + − × ÷ and relu.

The assumptions of the two CAM grammars count as verified.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

from sycam.run.problem import read_problem
from sygus import Context, Grammar, Solver, Term, Variable, assumptions, read_file
from sygus.constants import real
from sygus.solver.process import Claim

HERE = Path(__file__).resolve().parent
SUBJECTS = ("gradient", "pixelwise", "six")


class Subject(NamedTuple):
    """A grammar, what is known of its inputs, and these."""

    name: str
    grammar: Grammar
    context: Context
    inputs: list[Variable]


def subject(name: str) -> Subject:
    """One of `SUBJECTS`."""
    if name == "six":
        target = read_file(HERE / "six.sy").target()
        return Subject(name, target.grammar, Context(), list(target.variables))
    problem = read_problem(HERE.parent / "grammars" / f"{name}.sy")
    inputs = problem.inputs()
    known = [term for term, _ in problem.problem.assumptions if term.args[0].symbol in inputs]
    return Subject(name, problem.target.grammar, assumptions(known, problem.context()), inputs)


def every_term(grammar: Grammar, limit: int) -> dict[int, list[Term]]:
    """All terms of the grammar's nonterminals, by cost, none left out."""
    found: dict[str, dict[int, dict[Term, None]]] = {name: {} for name in grammar.nonterminals}
    for cost in range(1, limit + 1):
        for name in grammar.nonterminals:
            level = found[name][cost] = {}
            for production in grammar.proper(name):
                template = grammar.template(production.body)
                for split in _splits(cost - grammar.weight(production), len(template.holes)):
                    for parts in product(*(found[hole][part] for hole, part in zip(template.holes, split, strict=True))):
                        level[template.fill(parts)] = None
    return {cost: list(dict.fromkeys(t for levels in found.values() for t in levels[cost])) for cost in range(1, limit + 1)}


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 0:
        yield from [()] if total == 0 else []
        return
    for first in range(1, total - parts + 2):
        yield from ((first, *rest) for rest in _splits(total - first, parts - 1))


def start(solver: Solver) -> None:
    """Starts cvc5's process, with a claim that it decides at once."""
    solver.equal([Claim(real(0), real(1), ())])


def machine() -> str:
    """What a table was measured on."""
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return f"{cpu}, Python {platform.python_version()}, cvc5 {version('cvc5')}, numpy {version('numpy')}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def spread(values: list[float], form: Callable[[float], str]) -> str:
    """Median and range."""
    return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"
