"""`sycam check`: is a file right?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from sycam.errors import SycamError
from sycam.job.job import GrammarFile
from sygus.errors import SygusError

from . import console, options

if TYPE_CHECKING:
    from sycam.run.problem import CamProblem


def check(
    files: Annotated[list[Path], typer.Argument(help=".sy files: grammars, or define-funs of CAMs.")],
    as_json: options.Json = False,
) -> None:
    """Read FILES and say whether `synth` (or, for define-funs, `score`) would take them."""
    reports = [_check(path) for path in files]
    if as_json:
        console.print_json({"files": reports})
    for report in [] if as_json else reports:
        if report["ok"]:
            console.out.print(Text.assemble(("ok", "green"), f"  {report['file']}: {report['summary']}"), soft_wrap=True)
        else:
            console.fail(report["error"])
    if not all(report["ok"] for report in reports):
        raise typer.Exit(2)


def _asked(found: CamProblem) -> str:
    """Constraints, weights and objective, where the file states any."""
    from sycam.search.goals import find_goals

    laws = "".join(f"\n    constraint at line {law.place.line}: {law.term}" for law in found.laws)
    weights = f"; weights {', '.join(found.problem.weights)}" if found.problem.weights else ""
    if found.problem.objective is None:
        return weights + laws
    goals = find_goals(found.problem)
    named = ", then ".join(f"{goal.name} ({'max' if goal.direction == 'high' else 'min'})" for goal in goals.order)
    return f"{weights}; objective {named}, in order of {goals.cost}{laws}"


def _check(path: Path) -> dict[str, Any]:
    from sycam.cams import cams_in
    from sycam.run.problem import read_problem
    from sycam.theory import CAM
    from sygus import read_file

    try:
        problem = read_file(path, CAM)
        if not problem.targets:
            cams = cams_in(path)
            summary = f"{len(cams)} CAM{'s' if len(cams) > 1 else ''}: {', '.join(cam.name for cam in cams)}"
        else:
            found = read_problem(GrammarFile.read(path))
            grammar = found.target.grammar
            rules = sum(len(productions) for productions in grammar.productions.values())
            summary = (
                f"{found.target.name} returns {found.target.result}; {len(grammar.nonterminals)} nonterminals, {rules} "
                f"productions, terminals {', '.join(found.terminals)}{_asked(found)}"
            )
    except (SygusError, SycamError) as error:
        return {"file": str(path), "ok": False, "error": str(error)}
    return {"file": str(path), "ok": True, "summary": summary}
