"""What laws put in the place of the function's arguments, and what may therefore still be assumed of these.

Terms are merged because they are equal for the arguments as the file assumes them: the mean of mrelu A is that of A where A is
nowhere negative. A law may apply the function to something else, `(weight (mneg A) G)`; there the two terms differ, and
one may obey the law and the other not. So an assumption about an argument is used for merging only where it holds of all
that the laws put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core import apply
from ..language.problem import Problem
from ..solver.process import Solver
from ..terms import BOOL, INT, REAL, Term, Variable, real, subterms
from ..theory import Context
from .hypotheses import UnderHypotheses
from .law import Law


def check_laws(laws: Sequence[Law], context: Context, problem: Problem) -> None:
    """Refuses laws that cannot be verified, and those that apply the function to what it cannot be given.

    Raises:
        SygusError: a sort that is neither the core's nor the theory's; an argument that varies over more axes than its variable
            (a channel's real for a number of the whole tensor), or stands for the size of an axis and is not that size.
    """
    for law in laws:
        for term in subterms(law.term):
            if term.sort not in (BOOL, INT, REAL, *context.theory.sorts):
                raise problem.error(f"constraints over {term.sort} are not verified yet: {term}", law.place)
        for args, _ in law.applications(context):
            for variable, arg in zip(law.variables, args, strict=True):
                known = context.inputs.get(variable.name)
                if known is None or arg is Term(variable):
                    continue
                if known.size_of is not None:
                    message = f"{variable.name!r} is the size of an axis and nothing else: {arg} cannot stand for it"
                    raise problem.error(message, law.place)
                if _level(law, arg, context) > known.level:
                    axis = context.theory.axes[known.level]
                    message = (
                        f"{arg} varies over each {axis}, and the argument {variable.name!r} of {law.function.name!r} does not"
                    )
                    raise problem.error(message, law.place)


def still_assumed(laws: Sequence[Law], context: Context, solver: Solver) -> tuple[Context, list[str]]:
    """`context` with those assumptions that hold of all that the laws put in the place of the function's arguments.

    Returns:
        the context, and a sentence about each assumption that is left out.
    """
    left_out: dict[tuple[str, str], str] = {}
    for law in laws:
        for args, hypotheses in law.applications(context):
            view = UnderHypotheses(context, hypotheses, solver)
            for variable, arg in zip(law.variables, args, strict=True):
                for kind in ("nonneg", "positive", "uniform"):
                    if variable.name in getattr(context, kind) and not _holds(kind, variable, arg, law, view):
                        left_out[kind, variable.name] = (
                            f"{law.place}: the constraint applies {law.function.name} to {arg}, of which ({kind} "
                            f"{variable.name}) is not known; expressions are merged without this assumption"
                        )
    names = {
        kind: getattr(context, kind) - {name for k, name in left_out if k == kind} for kind in ("nonneg", "positive", "uniform")
    }
    return replace(context, **names), list(left_out.values())


def _holds(kind: str, variable: Variable, arg: Term, law: Law, view: UnderHypotheses) -> bool:
    if arg is Term(variable):
        return True
    if kind == "uniform":
        return _level(law, arg, view.context) < len(view.context.theory.axes)
    scalar = view.scalar(arg)
    if kind == "nonneg":
        return view.nonneg(scalar)
    return view.equal(apply("ite", apply(">", scalar, real(0)), real(0), real(1)), real(0))


def _level(law: Law, arg: Term, context: Context) -> int:
    """Over how many axes `arg` may vary, an application of the function over as many as its sort allows."""
    highest = context.theory.sorts.get(law.function.result, len(context.theory.axes))
    return context.level(arg, {term: highest for term in subterms(arg) if term.symbol == law.function})
