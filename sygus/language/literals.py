"""Literals: numbers, bits and strings, from what a file writes to their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from ..terms import INT, REAL, STRING, Literal, bit_vector
from .symbols import DIGITS
from .syntax_terms import Token

_ESCAPE = re.compile(r"\\u(?:\{([0-9a-fA-F]{1,5})\}|([0-9a-fA-F]{4}))")
_HIGHEST = 0x2FFFF


def literal(token: Token, numerals: str, fail: Callable[[str], Exception]) -> Literal:
    """The literal that `token` writes; `numerals` is the sort of one without a point, `fail` makes an error of a message.

    >>> from sygus.language.parser import parse
    >>> [literal(parse(text, start="term"), "Int", ValueError).value for text in ("7", "0.5", "#x0f", "#b11", '"a""b"')]
    [7, Fraction(1, 2), 15, 3, 'a"b']
    """
    if token.type == "HEXADECIMAL":
        return Literal(int(token[2:], 16), bit_vector(4 * (len(token) - 2)))
    if token.type == "BINARY":
        return Literal(int(token[2:], 2), bit_vector(len(token) - 2))
    if token.type == "STRING":
        return Literal(string_value(token[1:-1], fail), STRING)
    if len(token) > DIGITS:
        raise fail(f"a number of {len(token):,} digits: at most {DIGITS:,} are read")
    if token.type == "DECIMAL":
        return Literal(Fraction(str(token)), REAL)
    if str(int(token)) != token:
        raise fail(f"the numeral {token} has leading zeros")
    return Literal(Fraction(int(token)), REAL) if numerals == "Real" else Literal(int(token), INT)


def string_value(text: str, fail: Callable[[str], Exception]) -> str:
    r"""The string that `text` writes between its quotes: `""` is one quote, `\u{e9}` and `\u00e9` are escapes.

    >>> string_value(r'a""\u{41}', ValueError)
    'a"A'
    """
    strange = re.search("[^ -~]", text)
    if strange is not None:
        raise fail(f"the character {strange[0]!r} in a string: write it as \\u{{{ord(strange[0]):x}}}")

    def character(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(code) if code <= _HIGHEST else match[0]

    return _ESCAPE.sub(character, text.replace('""', '"'))
