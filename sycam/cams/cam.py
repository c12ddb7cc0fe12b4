"""`Cam`: a name and the term that makes it, how to write one, and one term with a part for each image class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP
from sygus import BOOL, INT, REAL, Function, Sort, Term, Variable, define_fun, expand
from sygus.core import core_function
from sygus.terms import Literal, fold, subterms

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


def by_class(parts: Mapping[int, Term], otherwise: Term) -> Term:
    """The term that is `parts[n]` where image class n is explained, and `otherwise` elsewhere.

    Classes with the same term share a branch, and those with the term `otherwise` need none. Where some terms are weights and
    others are contributions, weights become the contributions that draw the same heatmap.

    Args:
        parts: image class to a term of sort Real (channel weights) or Map (contributions).
        otherwise: for every other class.

    >>> from sycam.cams import find_cam
    >>> gradcam, layercam = (find_cam(name).term for name in ("Grad-CAM", "LayerCAM"))
    >>> print(by_class({3: gradcam, 5: gradcam}, find_cam("(gap A)").term))
    (ite (or (= c 3) (= c 5)) (gap G) (gap A))
    >>> print(by_class({3: layercam}, gradcam))
    (ite (= c 3) (m* A (mrelu G)) (scale (gap G) A))
    """
    terms = {*parts.values(), otherwise}
    if len({term.sort for term in terms}) > 1:
        parts, otherwise = {n: contribution(term) for n, term in parts.items()}, contribution(otherwise)
    classes: dict[Term, list[int]] = {}
    for image_class, term in sorted(parts.items()):
        classes.setdefault(term, []).append(image_class)
    answer = otherwise
    for term, several in reversed(classes.items()):
        if term is not otherwise:
            answer = _apply("ite", _one_of(several), term, answer)
    return answer


def of_class(term: Term, image_class: int) -> Term:
    """The part of a term that counts where an image class is explained: branches on c are taken, as far as they are at the top.

    >>> from sycam.cams import find_cam
    >>> print(of_class(find_cam("(ite (or (= c 3) (= c 5)) (gap G) (ite (= c 4) (gap A) (gmax G)))").term, 4))
    (gap A)
    """
    while term.name == "ite" and (holds := _value(term.args[0], image_class)) is not None:
        term = term.args[1] if holds else term.args[2]
    return term


def _one_of(classes: list[int]) -> Term:
    explained = Term(terminal_variable("c"))
    equal = [_apply("=", explained, Term(Literal(n, INT))) for n in classes]
    return equal[0] if len(equal) == 1 else _apply("or", *equal)


def _value(condition: Term, image_class: int) -> bool | None:
    """Whether a condition on c alone, of = and or, holds; None where it is another one."""
    explained = terminal_variable("c")
    if any(not (t.symbol == explained or isinstance(t.symbol, Literal) or t.name in ("=", "or")) for t in subterms(condition)):
        return None

    def visit(term: Term, args: tuple[object, ...]) -> object:
        if isinstance(term.symbol, Literal):
            return term.symbol.value
        if term.symbol == explained:
            return image_class
        return any(args) if term.name == "or" else len(set(args)) == 1

    found = fold(condition, visit, {})
    return bool(found) if condition.sort == BOOL else None


def _apply(name: str, *args: Term) -> Term:
    function = core_function(name, tuple(arg.sort for arg in args))
    assert isinstance(function, Function), f"{name} at {[str(arg.sort) for arg in args]}"
    return Term(function, args)
