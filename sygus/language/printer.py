"""Terms, sorts and functions as SyGuS-IF text. Law: reading what is printed gives the same term."""

from __future__ import annotations

import re
from fractions import Fraction

from ..constants import is_any_constant
from ..core import RESERVED
from ..terms import BOOL, REAL, Function, Literal, Sort, Term, Variable

_SIMPLE = re.compile(r"(?!-[0-9])[A-Za-z_+\-*&!~<>=/%?.$^@][A-Za-z0-9_+\-*&!~<>=/%?.$^@]*\Z")
_QUOTED = RESERVED | {"exists", "forall", "true", "false", "Constant", "Variable"}


def symbol_text(name: str) -> str:
    """A symbol, quoted with bars where SyGuS-IF asks for it.

    >>> symbol_text("m*"), symbol_text("two words")
    ('m*', '|two words|')
    """
    return name if _SIMPLE.match(name) and name not in _QUOTED else f"|{name}|"


def sort_text(sort: Sort) -> str:
    """A sort: `Real`, `|My Map|`, `(Array Int Real)`."""
    name = symbol_text(sort.name)
    return f"({name} {' '.join(map(sort_text, sort.arguments))})" if sort.arguments else name


def literal_text(literal: Literal) -> str:
    """A literal: `1.0`, `0.125`, `3`, `true`."""
    if literal.sort == BOOL:
        return "true" if literal.value else "false"
    if literal.sort != REAL:
        return str(literal.value)
    value, places = Fraction(literal.value), 0
    while value.denominator != 1:
        value, places = value * 10, places + 1
    digits = str(value.numerator).rjust(places + 1, "0")
    return f"{digits[: len(digits) - places]}.{digits[len(digits) - places :] or '0'}"


def to_text(root: Term) -> str:
    """One line of SyGuS-IF for `root`. Does not recurse, so the depth of a term is no limit."""
    out: list[str] = []
    stack: list[Term | str] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item.symbol, Literal):
            out.append(literal_text(item.symbol))
        elif is_any_constant(item):
            out.append(f"(Constant {sort_text(item.sort)})")
        elif not item.args:
            out.append(symbol_text(item.symbol.name))
        else:
            assert isinstance(item.symbol, Function)
            out.append(f"({symbol_text(item.symbol.name)} ")
            stack.append(")")
            for index, arg in enumerate(reversed(item.args)):
                stack.append(arg)
                if index < len(item.args) - 1:
                    stack.append(" ")
    return "".join(out)


def define_fun(name: str, variables: tuple[Variable, ...], body: Term) -> str:
    """A `define-fun` command.

    >>> from sygus.terms import variable
    >>> define_fun("id", (Variable("x", REAL),), variable("x", REAL))
    '(define-fun id ((x Real)) Real x)'
    """
    arguments = " ".join(f"({symbol_text(v.name)} {sort_text(v.sort)})" for v in variables)
    return f"(define-fun {symbol_text(name)} ({arguments}) {sort_text(body.sort)} {to_text(body)})"
