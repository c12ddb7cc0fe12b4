"""The parse tree of a SyGuS-IF file: one dataclass a rule of `syntax.lark`, named alike, in the order of the standard.

lark's `ast_utils` makes the nodes. Names in it are not resolved yet: `reader.py` gives them sorts and meaning.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Union

from lark import Lark, Token, Transformer, Transformer_NonRecursive, ast_utils
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.tree import Meta

from ..errors import Place, SygusError


@dataclass(frozen=True)
class _Node(ast_utils.Ast, ast_utils.WithMeta):
    meta: Meta


@dataclass(frozen=True)
class _List(_Node, ast_utils.AsList):
    children: list[Any]


# Sorts ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SortName(_Node):
    """`Real`."""

    name: Token


class SortApplication(_List):
    """`(Array Int Real)`: the constructor and its arguments."""


class SortIndexed(_List):
    """`(_ BitVec 8)`."""


class Sorts(_List):
    """`(Map Map)`."""


@dataclass(frozen=True)
class SortedVar(_Node):
    """`(x Real)`."""

    name: Token
    sort: SortSyntax


class SortedVars(_List):
    """`((x Real) (y Real))`."""


# Terms ------------------------------------------------------------------------------------------------------------------


class IndexedSymbol(_List):
    """`(_ extract 3 0)`."""


@dataclass(frozen=True)
class Name(_Node):
    """A symbol that stands alone."""

    identifier: Token | IndexedSymbol


@dataclass(frozen=True)
class Literal(_Node):
    """`1.0`, `3`, `#x0f`, `"text"`."""

    token: Token


class Application(_List):
    """`(f x y)`: the identifier and its arguments."""


@dataclass(frozen=True)
class Binding(_Node):
    """`(x term)` of a let."""

    name: Token
    term: TermSyntax


class Bindings(_List):
    """All bindings of a let."""


@dataclass(frozen=True)
class Let(_Node):
    """`(let ((x t)) body)`: bindings in parallel."""

    bindings: Bindings
    body: TermSyntax


@dataclass(frozen=True)
class Quantified(_Node):
    """`(forall ((x Real)) body)`."""

    quantifier: Token
    variables: SortedVars
    body: TermSyntax


@dataclass(frozen=True)
class Attribute(_Node):
    """`:named x`."""

    keyword: Token
    value: Any


class Annotated(_List):
    """`(! term :weight 2)`: the term and its attributes."""


@dataclass(frozen=True)
class AnyConstant(_Node):
    """`(Constant Real)` in a grammar."""

    sort: SortSyntax


@dataclass(frozen=True)
class AnyVariable(_Node):
    """`(Variable Real)` in a grammar."""

    sort: SortSyntax


SortSyntax = Union[SortName, SortApplication, SortIndexed]
TermSyntax = Union[Name, Literal, Application, Let, Quantified, Annotated, AnyConstant, AnyVariable]


class SexprAtom(_List):
    """One token of an uninterpreted s-expression."""


class SexprList(_List):
    """A bracketed s-expression."""


# Commands ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SetLogic(_Node):
    """`(set-logic ALL)`."""

    logic: Token


@dataclass(frozen=True)
class SetOption(_Node):
    """`(set-option :key value)`."""

    keyword: Token
    value: Any


@dataclass(frozen=True)
class SetFeature(_Node):
    """`(set-feature :oracles true)`."""

    keyword: Token
    value: Token


@dataclass(frozen=True)
class SetInfo(_Node):
    """`(set-info :source "...")`."""

    keyword: Token
    value: Any


@dataclass(frozen=True)
class DeclareSort(_Node):
    """`(declare-sort Map 0)`."""

    name: Token
    arity: Token


@dataclass(frozen=True)
class DeclareFun(_Node):
    """`(declare-fun gap (Map) Real)`, cvc5's extension of the standard."""

    name: Token
    parameters: Sorts
    result: SortSyntax


@dataclass(frozen=True)
class DeclareVar(_Node):
    """`(declare-var A Map)`."""

    name: Token
    sort: SortSyntax


@dataclass(frozen=True)
class DefineFun(_Node):
    """`(define-fun relu ((x Real)) Real body)`."""

    name: Token
    variables: SortedVars
    result: SortSyntax
    body: TermSyntax


@dataclass(frozen=True)
class Assume(_Node):
    """`(assume (nonneg A))`."""

    term: TermSyntax


@dataclass(frozen=True)
class Constraint(_Node):
    """`(constraint (>= (f x) 0.0))`."""

    term: TermSyntax


class Productions(_List):
    """The right-hand sides of one nonterminal."""


@dataclass(frozen=True)
class GroupedRule(_Node):
    """`(W Real (y (+ W W)))`."""

    name: Token
    sort: SortSyntax
    productions: Productions


class GroupedRules(_List):
    """All rules of a grammar."""


class Nonterminals(_List):
    """`((W Real) (M Map))`: the declaration that comes before the rules."""


@dataclass(frozen=True)
class GrammarDef(_Node):
    """The grammar of a synth-fun; `nonterminals` is None where the old form without a declaration is used."""

    nonterminals: Nonterminals | None
    rules: GroupedRules


@dataclass(frozen=True)
class SynthFun(_Node):
    """`(synth-fun f ((x Real)) Real grammar)`; `grammar` is None where every term of the logic is allowed."""

    name: Token
    variables: SortedVars
    result: SortSyntax
    grammar: GrammarDef | None


@dataclass(frozen=True)
class CheckSynth(_Node):
    """`(check-synth)`."""


class OtherCommand(_List):
    """A command that is read but not acted on: its name and its s-expressions."""


Command = Union[
    SetLogic, SetOption, SetFeature, SetInfo, DeclareSort, DeclareFun, DeclareVar, DefineFun,
    Assume, Constraint, SynthFun, CheckSynth, OtherCommand,
]  # fmt: skip


class Script(_List):
    """A file: its commands in order."""


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = resources.files(__package__).joinpath("syntax.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["script", "term"], propagate_positions=True, maybe_placeholders=True)


@lru_cache(maxsize=1)
def _to_dataclasses() -> Transformer:
    return ast_utils.create_transformer(sys.modules[__name__], Transformer_NonRecursive())


_SHOWN = {
    "LPAR": "'('", "RPAR": "')'", "SYMBOL": "a symbol", "NUMERAL": "a numeral", "DECIMAL": "a decimal", "STRING": "a string",
    "KEYWORD": "a :keyword", "HEXADECIMAL": "a hexadecimal", "BINARY": "a binary", "$END": "the end of the file",
}  # fmt: skip


def parse(text: str, file: str = "<text>", start: str = "script") -> Any:
    """The parse tree of `text`: a `Script`, or a term where `start` is "term".

    Raises:
        SygusError: with file, line, column, what was found and what was expected.

    >>> parse("(set-logic ALL)").children[0].logic.value
    'ALL'
    >>> parse("(set-logic ALL")
    Traceback (most recent call last):
    sygus.errors.SygusError: <text>:1:15: the file ends where ')' is expected; the parenthesis at 1:1 is never closed
        (set-logic ALL
                      ^
    """
    try:
        return _to_dataclasses().transform(_lark().parse(text, start=start))
    except UnexpectedInput as error:
        raise _syntax_error(error, text, file) from None


def _syntax_error(error: UnexpectedInput, text: str, file: str) -> SygusError:
    if isinstance(error, UnexpectedCharacters):
        return SygusError(f"unexpected character {error.char!r}", Place(file, error.line, error.column), text)
    assert isinstance(error, UnexpectedToken), error
    known = _lark().terminals
    patterns = {t.name: repr(t.pattern.value) for t in known if t.name not in _SHOWN}
    names = sorted({**_SHOWN, **patterns}.get(name, name) for name in error.accepts or error.expected)
    expected = " or ".join(names) if len(names) < 8 else "a term" if "LPAR" in error.expected else ", ".join(names[:7])
    if error.token.type == "$END":
        line, column = _end(text)
        opened = _unclosed(text)
        hint = f"; the parenthesis at {opened[0]}:{opened[1]} is never closed" if opened else ""
        return SygusError(f"the file ends where {expected} is expected{hint}", Place(file, line, column), text)
    found = f"{error.token.value!r}" if len(error.token.value) < 60 else f"{error.token.value[:57]!r}..."
    opened = _unclosed(text[: error.token.start_pos]) if error.token.type == "LPAR" and "RPAR" in error.expected else None
    hint = f"; the command that begins at {opened[0]}:{opened[1]} is not closed yet" if opened else ""
    return SygusError(f"found {found} where {expected} is expected{hint}", Place(file, error.line, error.column), text)


def _end(text: str) -> tuple[int, int]:
    lines = text.rstrip().splitlines() or [""]
    return len(lines), len(lines[-1]) + 1


def _unclosed(text: str) -> tuple[int, int] | None:
    """Line and column of the outermost parenthesis that is never closed."""
    opened: list[Token] = []
    for token in _lark().lex(text, dont_ignore=False):
        if token.type == "LPAR":
            opened.append(token)
        elif token.type == "RPAR" and opened:
            opened.pop()
    return (opened[0].line or 0, opened[0].column or 0) if opened else None
