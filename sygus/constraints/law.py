"""A law: one `(constraint ...)` of a file, with the function to synthesise left open."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..core import apply
from ..errors import Place
from ..language.problem import Problem
from ..semantics.interpret import Context
from ..terms import BOOL, INT, REAL, Binder, Function, Literal, Term, Variable, expand, fold, substitute, subterms

TRUE = Term(Literal(True, BOOL))
_bound = itertools.count()


class Obligation(NamedTuple):
    """`conclusion` has to hold at every entry wherever the `hypotheses` hold, each of which is the same at all entries."""

    hypotheses: tuple[Term, ...]
    conclusion: Term


@dataclass(frozen=True)
class Law:
    """A constraint on a function.

    Attributes:
        term: of sort Bool, over declared variables; define-funs are expanded. Over tensors it has to hold at every entry.
        place: where it stands.
        function: the symbol that is left open in `term`.
        variables: the function's arguments, over which a candidate is a term.
    """

    term: Term
    place: Place
    function: Function
    variables: tuple[Variable, ...]

    def of(self, candidate: Term) -> Term:
        """The law with `candidate` for the function: each application becomes the candidate at its arguments.

        >>> from .. import read, read_term
        >>> problem = read('''(declare-var k Real) (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (+ R R)))))
        ...                   (constraint (= (f (f k)) (* 4.0 k))) (check-synth)''')
        >>> law = laws(problem)[0]
        >>> print(law.of(read_term("(+ x x)", law.variables, {})))
        (= (+ (+ k k) (+ k k)) (* 4.0 k))
        """
        return self._with(candidate, self.term)

    def _with(self, candidate: Term, root: Term) -> Term:
        def visit(term: Term, args: tuple[Term, ...]) -> Term:
            if term.symbol == self.function:  # all arguments at once, and no term binds a name: nothing is captured
                return substitute(candidate, {Term(v): arg for v, arg in zip(self.variables, args, strict=True)})
            return Term(term.symbol, args) if args != term.args else term

        return fold(root, visit, {})

    def mentions(self, root: Term) -> bool:
        """Whether the function is applied in `root`."""
        return any(term.symbol == self.function for term in subterms(root))

    def obligations(self, candidate: Term, context: Context) -> list[Obligation]:
        """What has to be proved of `candidate`: the law's conjuncts, what they presuppose of the whole tensor set apart."""
        return list(_obligations((), self.of(candidate), context))

    def applications(self, context: Context) -> list[tuple[tuple[Term, ...], tuple[Term, ...]]]:
        """Each application of the function: its arguments, and the hypotheses under which it stands."""
        found: dict[tuple[tuple[Term, ...], tuple[Term, ...]], None] = {}
        for hypotheses, conclusion in _obligations((), self.term, context):
            kept = tuple(h for h in hypotheses if not self.mentions(h))
            for term in subterms(conclusion):
                if term.symbol == self.function:
                    found[term.args, kept] = None
            for hypothesis in hypotheses:
                for term in subterms(hypothesis):
                    if term.symbol == self.function:
                        found[term.args, ()] = None
        return list(found)

    def level(self, argument: Term, context: Context) -> int:
        """Over how many axes `argument` may vary, an application of the function over as many as its sort allows."""
        highest = context.theory.sorts.get(self.function.result, len(context.theory.axes))
        return context.level(argument, {term: highest for term in subterms(argument) if term.symbol == self.function})

    def inputs(self) -> list[Variable]:
        """The declared variables that the law speaks of."""
        return [t.symbol for t in subterms(self.term) if isinstance(t.symbol, Variable)]


def laws(problem: Problem) -> list[Law]:
    """The constraints of a file with one function to synthesise. What `forall` binds becomes a variable of the law.

    Raises:
        SygusError: as `Problem.target` does; a quantifier that cannot be left out.
    """
    target = problem.target()
    function = Function(target.name, tuple(v.sort for v in target.variables), target.result)
    found = [Law(_open(expand(term), problem), place, function, target.variables) for term, place in problem.constraints]
    for law in found:
        for term in subterms(law.term):
            if isinstance(term.symbol, Binder):
                message = (
                    f"a constraint may begin with forall, or have it after => or and; ({term.name} ...) here is not supported"
                )
                raise problem.error(message, law.place)
    return found


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
                if law.level(arg, context) > known.level:
                    axis = context.theory.axes[known.level]
                    message = (
                        f"{arg} varies over each {axis}, and the argument {variable.name!r} of {law.function.name!r} does not"
                    )
                    raise problem.error(message, law.place)


def _open(term: Term, problem: Problem) -> Term:
    """`term` without the universal quantifiers that stand where they say no more than a declared variable does."""
    if isinstance(term.symbol, Binder) and term.name == "forall":
        fresh = {Term(v): Term(Variable(_fresh(v.name, problem), v.sort)) for v in term.symbol.variables}
        return _open(substitute(term.args[0], fresh), problem)
    if term.name == "and" and term.args:
        return Term(term.symbol, tuple(_open(arg, problem) for arg in term.args))
    if term.name == "=>":
        return Term(term.symbol, (*term.args[:-1], _open(term.args[-1], problem)))
    return term


def _fresh(name: str, problem: Problem) -> str:
    """A name for a bound variable that no variable of the file and no other bound one has."""
    return next(f"{name}!{number}" for number in itertools.count(next(_bound)) if f"{name}!{number}" not in problem.variables)


def _obligations(hypotheses: tuple[Term, ...], term: Term, context: Context) -> Iterator[Obligation]:
    if term.name == "and" and term.args:
        for conjunct in term.args:
            yield from _obligations(hypotheses, conjunct, context)
    elif term.name == "=>":
        flat = [part for premise in term.args[:-1] for part in _conjuncts(premise)]
        everywhere = [part for part in flat if context.level(part) == 0]
        here = [part for part in flat if context.level(part) > 0]
        if here:
            yield Obligation((*hypotheses, *everywhere), apply("=>", *here, term.args[-1]))
        else:
            yield from _obligations((*hypotheses, *everywhere), term.args[-1], context)
    else:
        yield Obligation(hypotheses, term)


def _conjuncts(term: Term) -> list[Term]:
    if term.name != "and":
        return [term]
    return [part for arg in term.args for part in _conjuncts(arg)]
