"""CAMs by name, by file and by text: what `score`, `explain` and `heatmaps` may be given."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sycam.errors import SycamError
from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP
from sygus import INT, REAL, Function, Sort, SygusError, Term, Variable, define_fun, expand, read_file, read_term
from sygus.errors import nearest
from sygus.terms import subterms

SORTS = {"Map": MAP, "Real": REAL, "Int": INT}


@dataclass(frozen=True)
class Cam:
    """A class activation map: a name and the term that makes it.

    Attributes:
        name: as papers write it, or the text of the term.
        term: of sort Real (channel weights) or Map (contributions), over terminals.
        origin: the file it was read from, or what made it.
    """

    name: str
    term: Term
    origin: str = ""

    @property
    def terminals(self) -> list[str]:
        """The terminals that the term uses, sorted."""
        return terminals_of(self.term)

    def define_fun(self) -> str:
        """The CAM as a SyGuS-IF define-fun over its terminals."""
        return define_fun(self.name, tuple(terminal_variable(name) for name in self.terminals), self.term)


def terminal_variable(name: str) -> Variable:
    """The variable that stands for a terminal in terms."""
    return Variable(name, SORTS[TERMINALS[name].sort])


def contribution(term: Term) -> Term:
    """What each channel adds to the heatmap at each pixel: a Map itself, (scale w A) for channel weights w.

    >>> print(contribution(known_cams()["Grad-CAM"].term))
    (scale (gap G) A)
    """
    return term if term.sort == MAP else Term(CAM.operators["scale"].function, (term, Term(terminal_variable("A"))))


def terminals_of(term: Term) -> list[str]:
    """The names of the variables in `term`, define-funs expanded, sorted."""
    return sorted({t.name for t in subterms(expand(term)) if t.is_variable})


def grammar_folder() -> Path:
    """Where the grammars that come with sycam lie: in the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "grammars"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "grammars"


@lru_cache(maxsize=1)
def known_cams() -> dict[str, Cam]:
    """The published CAMs of `known.sy`, by name.

    >>> print(known_cams()["XGrad-CAM"].term)
    (/ (gap (m* A G)) (gap A))
    """
    return {cam.name: cam for cam in cams_in(grammar_folder() / "known.sy")}


def cams_in(path: Path) -> list[Cam]:
    """The CAMs of a `.sy` file: its define-funs whose arguments are all terminals.

    Raises:
        SygusError: the file cannot be read. SycamError: it defines no CAM.
    """
    problem = read_file(path, CAM)
    found = []
    for name, function in problem.functions.items():
        if function.body is None or function.result not in (REAL, MAP):
            continue
        if all(v.name in TERMINALS and terminal_variable(v.name) == v for v in function.variables):
            found.append(Cam(name, function.body, str(path)))
    if not found:
        raise SycamError(
            f"{path} defines no CAM: expected a define-fun whose arguments are terminals ({', '.join(TERMINALS)}) and "
            "whose result is Real or Map"
        )
    return found


def cam_from_text(text: str, functions: Iterable[Function] = ()) -> Cam:
    """The CAM that a term over terminals and operators writes.

    >>> cam_from_text("(gap G)").terminals
    ['G']
    """
    variables = [terminal_variable(name) for name in TERMINALS]
    relu = read_term("(ite (> x 0.0) x 0.0)", [Variable("x", REAL)], {})
    given = {"relu": Function("relu", (REAL,), REAL, (Variable("x", REAL),), relu), **{f.name: f for f in functions}}
    term = read_term(text, variables, given, CAM)
    if term.sort not in (REAL, MAP):
        raise SycamError(f"a CAM is a term of sort Real or Map; {text} is {term.sort}")
    return Cam(text, term, "term")


def find_cams(spec: str) -> list[Cam]:
    """The CAMs that `spec` names: `all` known ones, a known name, a `.sy` file, a run's folder, or a term.

    Args:
        spec: case, `-` and `_` do not matter in a known name; a term begins with a parenthesis or is a terminal.

    Raises:
        SycamError: nothing of that name; names the nearest.

    >>> [cam.name for cam in find_cams("gradcam")]
    ['Grad-CAM']
    """
    if spec == "all":
        return list(known_cams().values())
    path = Path(spec)
    if path.is_dir():
        answer = path / "answer.sy"
        if not answer.is_file():
            raise SycamError(f"{path} is no run: it holds no answer.sy")
        return cams_in(answer)
    if path.suffix == ".sy":
        return cams_in(path)
    by_plain_name = {_plain(name): cam for name, cam in known_cams().items()}
    if _plain(spec) in by_plain_name:
        return [by_plain_name[_plain(spec)]]
    if spec.lstrip().startswith("(") or spec in TERMINALS:
        return [cam_from_text(spec)]
    near = difflib.get_close_matches(_plain(spec), by_plain_name, n=1)
    guess = f"; did you mean {by_plain_name[near[0]].name!r}? Give" if near else ": give"
    raise SycamError(
        f"no CAM, file or run {spec!r}{guess} a name of `sycam list cams`, a .sy file, a run's folder, or a term such as "
        "'(gap G)'"
    )


def find_cam(spec: str) -> Cam:
    """The one CAM that `spec` names; see `find_cams`.

    Raises:
        SycamError: there are several.
    """
    found = find_cams(spec)
    if len(found) != 1:
        raise SycamError(f"{spec!r} names {len(found)} CAMs ({', '.join(c.name for c in found)}); one is needed here")
    return found[0]


def find_grammar(spec: str | Path) -> Path:
    """The grammar file that `spec` names: a path, or the name of a grammar that comes with sycam.

    >>> find_grammar("gradient").name
    'gradient.sy'
    """
    path = Path(spec)
    if path.exists():
        return path
    shipped = {p.stem: p for p in grammar_folder().glob("**/*.sy") if p.stem != "known"}
    if str(spec) in shipped:
        return shipped[str(spec)]
    raise SygusError(f"no grammar file {path}{nearest(str(spec), shipped)}")


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


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()
