"""The parse tree of sorts and terms: one dataclass a rule of `syntax.lark`, named alike.

Names in it are not resolved yet: `symbols.py` and `resolve.py` give them sorts and meaning. A rule that is only a sequence
(`terms`, `sorted_vars`, `productions`, ...) is a plain list; a leaf is a `Token`. Every other node begins with the token of its
parenthesis, which gives its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union


class Token(str):
    """A word of the file, with its kind and where it begins."""

    __slots__ = ("at", "type")

    type: str
    at: int
    line = column = end_line = end_column = start_pos = end_pos = None  # lark asks for them; `at` says it all


node = dataclass(slots=True, eq=False)


# Sorts ------------------------------------------------------------------------------------------------------------------


@node
class SortApplication:
    """`(Array Int Real)`: the constructor and its arguments."""

    open: Token
    name: Token
    arguments: list[SortSyntax]


@node
class SortIndexed:
    """`(_ BitVec 8)`."""

    open: Token
    name: Token
    indices: list[Token]


@node
class SortedVar:
    """`(x Real)`."""

    open: Token
    name: Token
    sort: SortSyntax


# Terms ------------------------------------------------------------------------------------------------------------------


@node
class Indexed:
    """`(_ extract 3 0)`."""

    open: Token
    name: Token
    indices: list[Token]


@node
class Qualified:
    """`(as nil (List Int))`."""

    open: Token
    name: Token | Indexed
    sort: SortSyntax


@node
class Application:
    """`(f x y)`: the identifier and its arguments."""

    open: Token
    head: Token | Indexed | Qualified
    arguments: list[TermSyntax]


@node
class Binding:
    """`(x term)` of a let."""

    open: Token
    name: Token
    term: TermSyntax


@node
class Let:
    """`(let ((x t)) body)`: bindings in parallel."""

    open: Token
    bindings: list[Binding]
    body: TermSyntax


@node
class Quantified:
    """`(forall ((x Real)) body)`."""

    open: Token
    quantifier: Token
    variables: list[SortedVar]
    body: TermSyntax


@node
class Attribute:
    """`:named x`."""

    open: Token
    value: Token | SexprList | None


@node
class Annotated:
    """`(! term :weight 2)`: the term and its attributes."""

    open: Token
    term: TermSyntax
    attributes: list[Attribute]


@node
class MatchCase:
    """`((cons h t) body)`: a constructor with names for its parts."""

    open: Token
    constructor: Token
    parts: list[Token]
    body: TermSyntax


@node
class MatchSymbol:
    """`(nil body)`: a constructor without parts, or a name for whatever is left."""

    open: Token
    name: Token
    body: TermSyntax


@node
class Match:
    """`(match t ((nil a) ((cons h t) b)))`."""

    open: Token
    term: TermSyntax
    cases: list[MatchCase | MatchSymbol]


@node
class AnyConstant:
    """`(Constant Real)` in a grammar."""

    open: Token
    sort: SortSyntax


@node
class AnyVariable:
    """`(Variable Real)` in a grammar."""

    open: Token
    sort: SortSyntax


@node
class SexprList:
    """A bracketed s-expression."""

    open: Token
    children: list[Any]


SortSyntax = Union[Token, SortApplication, SortIndexed]
TermSyntax = Union[Token, Indexed, Qualified, Application, Let, Quantified, Annotated, Match, AnyConstant, AnyVariable]
