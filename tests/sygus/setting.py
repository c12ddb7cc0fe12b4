"""What the tests of `sygus` share: the CAM context of the grammars, and terms by their text."""

from collections.abc import Sequence
from pathlib import Path

from sycam.theory import CAM, MAP
from sygus import INT, REAL, Context, Equivalence, Input, Solver, Target, Term, Variable, assumptions, read_file, read_term

GRAMMARS = Path(__file__).resolve().parents[2] / "grammars"
INPUTS = {
    name: Input(name, sort, level)
    for name, sort, level in (
        ("A", MAP, 2), ("G", MAP, 2), ("drop", REAL, 1), ("score", REAL, 1), ("fc", REAL, 1), ("y", REAL, 0), ("p", REAL, 0),
        ("c", INT, 0),
    )
}  # fmt: skip
INPUTS |= {"K": Input("K", REAL, 0, 0), "Z": Input("Z", REAL, 0, 1)}
VARIABLES = {name: Variable(name, known.sort) for name, known in INPUTS.items()}


def cam_context(nonneg: str = "A", positive: str = "", uniform: str = "") -> Context:
    """The CAM theory with every input, and what is assumed of them (names apart by spaces)."""
    return Context(CAM, INPUTS, frozenset(nonneg.split()), frozenset(positive.split()), frozenset(uniform.split()))


def cam(text: str) -> Term:
    """A term over the inputs, its operators those of the CAM theory, and `relu`."""
    return read_term(text, VARIABLES.values(), {"relu": RELU}, CAM)


def grammar(name: str, inputs: dict[str, Input] | None = None) -> tuple[Target, Context]:
    """The target of a file of `grammars/`, and its context."""
    problem = read_file(GRAMMARS / f"{name}.sy", CAM)
    target = problem.target()
    known = {v.name: (inputs or INPUTS)[v.name] for v in target.variables}
    return target, assumptions([term for term, _ in problem.assumptions], Context(CAM, known))


def one_class(left: Term, right: Term, context: Context, solver: Solver, inputs: Sequence[Variable] | None = None) -> bool:
    """Whether the two are merged, by nothing but what `Equivalence` does."""
    classes = Equivalence(context, list(inputs or VARIABLES.values()), solver)
    first, second = classes.representatives([left, right])
    return first is second


def _relu():
    problem = read_file(GRAMMARS / "gradient.sy", CAM)
    return problem.functions["relu"]


RELU = _relu()
