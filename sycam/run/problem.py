"""A grammar file as the loop needs it: terminals bound, assumptions verified, laws stated, nothing ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sycam.cams import Cam, contribution, terminal_variable
from sycam.job.job import GrammarFile
from sycam.scoring import Terminals
from sycam.search.goals import check_constraints
from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP
from sygus import REAL, Context, Input, Place, Problem, SygusError, Target, Term, Variable, assumptions, read
from sygus.constraints import Law, check_laws, laws
from sygus.errors import nearest

_LEVELS = {"scalar": 0, "channel": 1, "pixel": 2}
_SIZES = {"K": 0, "Z": 1}


@dataclass
class CamProblem:
    """A file's function to synthesise, over terminals.

    Attributes:
        problem, target: as read.
        terminals: the names that the grammar uses, and those that a law speaks of and an assumption is about.
        laws: the file's constraints.
    """

    problem: Problem
    target: Target
    terminals: list[str]
    laws: list[Law] = field(default_factory=list)

    def inputs(self) -> list[Variable]:
        """The terminals as variables, and A, which every heatmap is made of."""
        return [terminal_variable(name) for name in dict.fromkeys([*self.terminals, "A"])]

    def verified(self, caches: Sequence[Terminals]) -> tuple[Context, list[str]]:
        """The context with those assumptions that hold on every image, and a warning for each that does not."""
        held: list[Term] = []
        warnings: list[str] = []
        for term, place in self.problem.assumptions:
            name = term.args[0].name
            if name not in (*self.terminals, "A"):
                continue  # says nothing about a term of this grammar or its heatmap
            found = ((cache, cache.failing(term)) for cache in caches)
            failed = next((cache.images.names[place] for cache, place in found if place is not None), None)
            if failed is None:
                held.append(term)
            else:
                warnings.append(f"{place}: the assumption {term} does not hold on {failed}; the search goes on without it")
        return assumptions(held, self.context()), warnings

    def context(self) -> Context:
        """The theory with terminals and the variables of laws, and nothing assumed. A law's variable that is no terminal is a
        Map, or one number for the whole image."""
        variables = {v.name: v for law in self.laws for v in law.inputs()}
        inputs = {name: Input(name, v.sort, 2 if v.sort == MAP else 0) for name, v in variables.items()}
        for name in ["A", *self.terminals, *(n for n in variables if n in TERMINALS), *(v.name for v in self.target.variables)]:
            known = TERMINALS[name]
            inputs[name] = Input(name, terminal_variable(name).sort, _LEVELS[known.level], _SIZES.get(name))
        return Context(CAM, inputs)

    def form(self, cam: Cam) -> Term | None:
        """The term of this function's sort that has the CAM's heatmaps: channel weights w are contributions (scale w A), and
        contributions are in general no weights (None)."""
        if cam.term.sort == self.target.result:
            return cam.term
        return contribution(cam.term) if self.target.result == MAP else None

    def derives(self, cam: Cam) -> bool:
        """Whether the grammar derives the CAM to the letter, in the form of this function's sort."""
        form = self.form(cam)
        return form is not None and self.target.grammar.derives(form)


def read_problem(grammar: GrammarFile | str | Path) -> CamProblem:
    """The CAM problem in a grammar file, or at a path, or of a grammar that comes with sycam.

    Raises:
        SygusError: it cannot be read; it has a command that a run would not obey; its function does not return Real or Map; or
            an argument is no terminal, or has another sort than its terminal.
    """
    grammar = grammar if isinstance(grammar, GrammarFile) else GrammarFile.read(grammar)
    problem = read(grammar.text, grammar.file, CAM)
    target = problem.target()
    if target.result not in (REAL, MAP):
        raise problem.error(
            f"the function {target.name!r} returns {target.result}; a CAM returns Real (channel weights) or Map (contributions)",
            target.place,
        )
    for variable in target.variables:
        check_terminal(variable, target.places[variable.name], problem)
    for assumed, place in problem.assumptions:
        try:
            assumptions([assumed], Context(CAM))
        except SygusError as error:
            raise problem.error(error.message, place) from None
        check_terminal(assumed.args[0].symbol, place, problem)  # type: ignore[arg-type]
    check_constraints(problem)
    found = CamProblem(problem, target, target.grammar.terminals(), laws(problem))
    for law in found.laws:
        for variable in law.inputs():
            if variable.name in TERMINALS:
                check_terminal(variable, law.place, problem)
    check_laws(found.laws, found.context(), problem)
    spoken_of = {v.name for law in found.laws for v in law.inputs()}
    assumed_of = dict.fromkeys(term.args[0].name for term, _ in problem.assumptions)
    found.terminals += [name for name in assumed_of if name in spoken_of and name not in found.terminals]
    return found


def check_terminal(variable: Variable, place: Place, problem: Problem) -> None:
    """A variable of a file must be a terminal, of that terminal's sort."""
    if variable.name not in TERMINALS:
        raise problem.error(
            f"unknown terminal {variable.name!r}{nearest(variable.name, TERMINALS)}; `sycam list terminals` shows all", place
        )
    known = terminal_variable(variable.name)
    if known.sort != variable.sort:
        raise problem.error(
            f"terminal {variable.name!r} has sort {known.sort}, not {variable.sort}: write ({variable.name} {known.sort})", place
        )
