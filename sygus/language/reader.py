"""From text to a `Problem`: parsed, names resolved, sorts checked, grammars built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import SygusError
from ..terms import Function, Term, Variable, no_collection
from ..theory import CORE, Theory
from .commands import Commands
from .parser import LONGEST, Source, parse
from .problem import Problem
from .resolve import Terms
from .symbols import Symbols


def read_file(path: Path | str, theory: Theory = CORE) -> Problem:
    """The problem in the file at `path`.

    Raises:
        SygusError: if it cannot be read, is too long, cannot be decoded, parsed or resolved, with the place.
    """
    return read(text_of(path), str(path), theory)


def text_of(path: Path | str) -> str:
    """The text of the file at `path`.

    Raises:
        SygusError: if it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(4 * LONGEST + 1)  # no character takes more than four bytes
        if len(data) > 4 * LONGEST:
            raise SygusError(f"{path} has more than {LONGEST:,} characters, the most that are read")
        return data.decode("utf-8")
    except OSError as error:
        raise SygusError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SygusError(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}; save it as UTF-8"
        ) from None


def read(text: str, file: str = "<text>", theory: Theory = CORE) -> Problem:
    """The problem that `text` states, its declared functions bound to `theory`.

    >>> problem = read('''(set-logic LRA) (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R)))))
    ...                   (check-synth)''')
    >>> print(problem.target().grammar)
    R Real -> x | 1.0 | (+ R R)
    >>> read("(declare-var x Reel)")
    Traceback (most recent call last):
    sygus.errors.SygusError: <text>:1:16: unknown sort 'Reel'; did you mean 'Real'?
        (declare-var x Reel)
                       ^
    """
    symbols = Symbols(Source(text, file), theory)
    with no_collection():
        Commands(symbols).run(parse(text, file))
    return symbols.problem


def read_term(
    text: str,
    variables: Iterable[Variable],
    functions: Mapping[str, Function],
    theory: Theory = CORE,
    file: str = "<term>",
) -> Term:
    """The term that `text` writes over `variables`, `functions` and the operators of `theory`.

    >>> from sygus.terms import REAL
    >>> print(read_term("(let ((z (+ x 1.0))) (* z z))", [Variable("x", REAL)], {}))
    (* (+ x 1.0) (+ x 1.0))
    """
    symbols = Symbols(Source(text, file), theory)
    operators = {name: operator.function for name, operator in theory.operators.items()}
    symbols.problem.functions = {**operators, **functions}
    symbols.problem.sorts = {sort.name: len(sort.arguments) for sort in theory.sorts}
    return Terms(symbols).term(parse(text, file, "term"), {v.name: Term(v) for v in variables})
