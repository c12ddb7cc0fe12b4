"""From text to the parse tree: lark's LALR(1) parser over `syntax.lark`, with a lexer of one regular expression.

lark's own lexer and tree builder take six times as long. A word is a keyword only where the grammar can go on with it, so that a
function may be called `constraint`. Nothing recurses: nesting costs memory, never the stack.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from lark import Lark, Transformer
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from ..errors import Place, SygusError, shown
from . import syntax
from .syntax import Token

LONGEST = 8 * 2**20
"""How many characters a file may have. To read a megabyte takes about three seconds and 150 MB."""
_TAIL = {"sort_application": 2, "sort_indexed": 2, "indexed": 2, "application": 2, "annotated": 2, "constructor": 2,
         "sexpr_list": 1, "other_command": 2}  # fmt: skip
"""Rules whose last field holds all children from that index on."""
_LISTS = frozenset({
    "script", "symbols", "sort_arities", "datatypes", "constructors", "function_decs", "goals", "attributes", "nonterminals",
    "grouped_rules", "productions", "sorts", "sorted_vars", "terms", "bindings", "match_cases",
})  # fmt: skip


class _Unexpected(Exception):
    """A character that begins no token."""


class _Lexer(Lexer):
    """Tokens by one regular expression made from the terminals of the grammar."""

    __future_interface__ = 1  # lark then shows the state of the parser, which says what keywords may come

    def __init__(self, lexer_conf: Any) -> None:
        words = [t for t in lexer_conf.terminals if type(t.pattern).__name__ == "PatternStr"]
        self.keywords = {t.pattern.value: t.name for t in words if len(t.pattern.value) > 1 or t.pattern.value in "!_"}
        kinds = sorted((t for t in lexer_conf.terminals if t.pattern.value not in self.keywords), key=lambda t: -t.priority)
        skipped = [t.pattern.to_regexp() for t in kinds if t.name in lexer_conf.ignore]
        kept = [f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in kinds if t.name not in lexer_conf.ignore]
        self.tokens = re.compile(f"(?:{'|'.join(skipped)})*(?:{'|'.join(kept)}|(?P<unexpected>.)|\\Z)", re.DOTALL)

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:  # type: ignore[override]  # a token of our own
        text = getattr(lexer_state.text, "text", lexer_state.text)
        states, stack, keywords = parser_state.parse_conf.states, parser_state.state_stack, self.keywords
        for match in self.tokens.finditer(text):
            kind = match.lastgroup
            if kind is None:  # the end
                return
            token = Token(match[kind])
            token.at = match.start(kind)
            if kind == "unexpected":
                raise _Unexpected(token)
            token.type = kind
            if kind == "SYMBOL" and (keyword := keywords.get(token)) and keyword in states[stack[-1]]:
                token.type = keyword
            yield token


def _builder(rule: str) -> Any:
    """What makes the node of `rule` from its children."""
    if rule in _LISTS:
        return list
    name = "".join(word.title() for word in rule.split("_"))
    node = getattr(syntax, name)
    if rule not in _TAIL:
        return lambda children: node(*children)
    fixed = _TAIL[rule]
    return lambda children: node(*children[:fixed], children[fixed:])


class _Builders(Transformer):
    """A method for each rule, found by its name."""

    def __getattr__(self, rule: str) -> Any:
        if rule.startswith("_") or not rule.islower():
            raise AttributeError(rule)
        return _builder(rule)


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = resources.files(__package__).joinpath("syntax.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer=_Lexer, transformer=_Builders(), start=["script", "term"], maybe_placeholders=True)


class Source:
    """A text with its name, which finds lines and columns.

    >>> Source("(a)\\n (b)", "my.sy").place(5)
    Place(file='my.sy', line=2, column=2)
    """

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self._lines: list[int] = []

    def place(self, at: int) -> Place:
        """Line and column of the character `at`."""
        if not self._lines:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, at)
        return Place(self.file, line, at - self._lines[line - 1] + 1)

    def error(self, message: str, at: int) -> SygusError:
        """An error at the character `at`, with its line."""
        return SygusError(message, self.place(at), self.text)


def parse(text: str, file: str = "<text>", start: str = "script") -> Any:
    """The parse tree of `text`: a list of commands, or a term where `start` is "term".

    Raises:
        SygusError: with file, line, column, what was found and what was expected; for more than `LONGEST` characters.

    >>> parse("(set-logic ALL)")[0].logic
    'ALL'
    >>> parse("(set-logic ALL")
    Traceback (most recent call last):
    sygus.errors.SygusError: <text>:1:15: the file ends where ')' is expected; the parenthesis at 1:1 is never closed
        (set-logic ALL
                      ^
    """
    if len(text) > LONGEST:
        raise SygusError(f"{file} has {len(text):,} characters: at most {LONGEST:,} are read")
    source = Source(text, file)
    try:
        return _lark().parse(text, start=start)
    except _Unexpected as error:
        raise _character_error(error.args[0], source) from None
    except UnexpectedToken as error:
        raise _syntax_error(error, source) from None


_SHOWN = {
    "LPAR": "'('", "RPAR": "')'", "SYMBOL": "a symbol", "NUMERAL": "a numeral", "DECIMAL": "a decimal", "STRING": "a string",
    "KEYWORD": "a :keyword", "HEXADECIMAL": "a hexadecimal", "BINARY": "a binary", "$END": "the end of the file",
}  # fmt: skip


def _character_error(token: Token, source: Source) -> SygusError:
    unclosed = {
        '"': "a string begins here and never ends",
        "|": "a quoted symbol begins here and never ends, or holds a backslash",
    }
    return source.error(unclosed.get(token, f"unexpected character {str(token)!r}"), token.at)


def _syntax_error(error: UnexpectedToken, source: Source) -> SygusError:
    token, kinds = error.token, _accepted(error)
    if token.type == "SYMBOL" and kinds and not kinds & {"SYMBOL"}:  # a word where only other words can stand
        kinds = {kind for kind in kinds if kind not in _SHOWN} or kinds
    patterns = {t.name: repr(t.pattern.value) for t in _lark().terminals if t.name not in _SHOWN}
    names = sorted({**_SHOWN, **patterns}.get(kind, kind) for kind in kinds)
    expected = " or ".join(names) if len(names) < 8 else "a term" if "LPAR" in kinds else ", ".join(names[:7])
    if token.type == "$END":
        opened = _unclosed(source, len(source.text))
        hint = f"; the parenthesis at {opened.line}:{opened.column} is never closed" if opened else ""
        return source.error(f"the file ends where {expected} is expected{hint}", len(source.text.rstrip()))
    opened = _unclosed(source, token.at) if token.type == "LPAR" and "RPAR" in kinds else None
    hint = f"; the command that begins at {opened.line}:{opened.column} is not closed yet" if opened else ""
    return source.error(f"found {shown(token)} where {expected} is expected{hint}", token.at)


def _accepted(error: UnexpectedToken) -> set[str]:
    """The kinds of token that could stand where `error.token` stands: a try of each on the stack of states alone."""
    states, stack = error.state.parse_conf.states, error.state.state_stack[-64:]
    return {kind for kind in error.expected if _goes_on(list(stack), kind, states)}


def _goes_on(stack: list[Any], kind: str, states: Any) -> bool:
    """Whether a token of `kind` is shifted in the end, after all that it reduces."""
    while kind in states[stack[-1]]:
        _, rule = states[stack[-1]][kind]
        if not hasattr(rule, "expansion") or len(rule.expansion) >= len(stack):  # a shift, or more than the part of the stack
            return True
        if rule.expansion:
            del stack[-len(rule.expansion) :]
        stack.append(states[stack[-1]][rule.origin.name][1])
    return False


_PARENTHESES = re.compile(r';[^\n]*|"[^"]*"?|\|[^|]*\|?|(?P<open>\()|(?P<close>\))')


def _unclosed(source: Source, end: int) -> Place | None:
    """The outermost parenthesis before `end` that is never closed."""
    opened: list[int] = []
    for match in _PARENTHESES.finditer(source.text, 0, end):
        if match["open"]:
            opened.append(match.start())
        elif match["close"] and opened:
            opened.pop()
    return source.place(opened[0]) if opened else None
