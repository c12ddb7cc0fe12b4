"""`Cam`: a name and the term that makes it, and how to write one."""

from __future__ import annotations

from dataclasses import dataclass

from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP
from sygus import INT, REAL, Function, Sort, Term, Variable, define_fun, expand
from sygus.terms import subterms

SORTS = {"Map": MAP, "Real": REAL, "Int": INT}


@dataclass(frozen=True)
class Cam:
    """A class activation map: a name and the term that makes it.

    Attributes:
        name: as papers write it, or the text of the term.
        term: of sort Real (channel weights) or Map (contributions), over terminals.
        origin: the file it was read from, or what made it.
        reference: paper, year, equation and remarks, on one line; "" where none is known.
        kind: "known" for a CAM of `known.sy`, "term" for any other.
    """

    name: str
    term: Term
    origin: str = ""
    reference: str = ""
    kind: str = "term"

    @property
    def terminals(self) -> list[str]:
        """The terminals that the term uses, sorted."""
        return terminals_of(self.term)

    @property
    def expression(self) -> str:
        """The term's text."""
        return str(self.term)

    @property
    def passes(self) -> str:
        """Cost per image, in words: the forward pass that gives A, and what each terminal asks beyond it.

        >>> from sycam.cams import find_cam
        >>> find_cam("(gap (m* A A))").passes
        '1 forward'
        """
        asked = {TERMINALS[name].passes.split(";")[0] for name in self.terminals if name != "A"}
        return ", ".join(["1 forward", *sorted(asked - {"none", "0"})])

    def define_fun(self) -> str:
        """The CAM as a SyGuS-IF define-fun over its terminals."""
        return define_fun(self.name, tuple(terminal_variable(name) for name in self.terminals), self.term)


def terminal_variable(name: str) -> Variable:
    """The variable that stands for a terminal in terms."""
    return Variable(name, SORTS[TERMINALS[name].sort])


def contribution(term: Term) -> Term:
    """What each channel adds to the heatmap at each pixel: a Map itself, (scale w A) for channel weights w.

    >>> from sycam.cams import known_cams
    >>> print(contribution(known_cams()["Grad-CAM"].term))
    (scale (gap G) A)
    """
    return term if term.sort == MAP else Term(CAM.operators["scale"].function, (term, Term(terminal_variable("A"))))


def terminals_of(term: Term) -> list[str]:
    """The names of the variables in `term`, define-funs expanded, sorted."""
    return sorted({t.name for t in subterms(expand(term)) if t.is_variable})


def file_text(name: str, term: Term, comment: str) -> str:
    """A `.sy` file that defines one CAM: declarations, the define-funs it uses, and itself. cvc5's parser reads it.

    Args:
        name: of the function.
        term: its body.
        comment: for readers; becomes `;` lines.
    """
    operators: dict[str, Function] = {}
    definitions: dict[str, Function] = {}
    todo = [term]
    for body in todo:
        for sub in subterms(body):
            symbol = sub.symbol
            if isinstance(symbol, Function) and symbol.body is not None and symbol.name not in definitions:
                definitions[symbol.name] = symbol
                todo.append(symbol.body)
            elif isinstance(symbol, Function) and symbol.name in CAM.operators:
                operators[symbol.name] = symbol
    lines = [*(f"; {line}" for line in comment.splitlines()), "", "(set-logic ALL)", "(declare-sort Map 0)"]
    lines += [f"(declare-fun {f.name} ({_sorts(f.parameters)}) {f.result})" for f in operators.values()]
    for function in reversed(definitions.values()):
        assert function.body is not None
        lines.append(define_fun(function.name, function.variables, function.body))
    variables = tuple(terminal_variable(v) for v in terminals_of(term))
    return "\n".join([*lines, "", define_fun(name, variables, term), ""])


def _sorts(sorts: tuple[Sort, ...]) -> str:
    return " ".join(map(str, sorts))
