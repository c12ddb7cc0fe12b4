"""Terms, sorts, functions and grammars as SyGuS-IF text. Law: reading what is printed gives the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from ..constants import is_any_constant
from ..core import RESERVED
from ..errors import SygusError
from ..terms import BOOL, REAL, Binder, Function, Literal, Sort, Term, Variable

if TYPE_CHECKING:
    from ..grammar import Grammar, Production
    from .problem import Target

LONGEST = 1_000_000
"""How many nodes a printed term may have: nested lets write trees that no file could hold."""
_BRIEF = 200
_SIMPLE = re.compile(r"(?!-[0-9])[A-Za-z_+\-*&!~<>=/%?.$^@][A-Za-z0-9_+\-*&!~<>=/%?.$^@]*\Z")
_QUOTED = RESERVED | {"exists", "forall", "true", "false", "Constant", "Variable"}


def symbol_text(name: str) -> str:
    """A symbol, quoted with bars where SyGuS-IF asks for it.

    >>> symbol_text("m*"), symbol_text("two words")
    ('m*', '|two words|')
    """
    return name if _SIMPLE.match(name) and name not in _QUOTED else f"|{name}|"


def sort_text(sort: Sort) -> str:
    """A sort: `Real`, `|My Map|`, `(Array Int Real)`, `(_ BitVec 8)`."""
    name = symbol_text(sort.name)
    if sort.indices:
        return f"(_ {name} {' '.join(map(str, sort.indices))})"
    return f"({name} {' '.join(map(sort_text, sort.arguments))})" if sort.arguments else name


def literal_text(literal: Literal) -> str:
    """A literal: `1.0`, `0.125`, `3`, `true`, `#x0f`, `"text"`."""
    value = literal.value
    if isinstance(value, str):
        return f'"{"".join(map(_character_text, value))}"'
    if literal.sort == BOOL:
        return "true" if value else "false"
    if literal.sort.name == "BitVec":
        width = literal.sort.indices[0]
        return f"#x{value:0{width // 4}x}" if width % 4 == 0 else f"#b{value:0{width}b}"
    if literal.sort != REAL:
        return str(value)
    number, places = Fraction(value), 0
    while number.denominator != 1:
        number, places = number * 10, places + 1
    digits = str(number.numerator).rjust(places + 1, "0")
    return f"{digits[: len(digits) - places]}.{digits[len(digits) - places :] or '0'}"


def _character_text(character: str) -> str:
    if character == '"':
        return '""'
    return character if " " <= character <= "~" and character != "\\" else f"\\u{{{ord(character):x}}}"


def function_text(function: Function) -> str:
    """A function symbol as it stands before its arguments: `gap`, `(_ extract 3 0)`, `(as nil (List Int))`."""
    text = symbol_text(function.name)
    if function.indices:
        text = f"(_ {text} {' '.join(i if isinstance(i, str) else str(i) for i in function.indices)})"
    return f"(as {text} {sort_text(function.result)})" if function.qualified else text


def variables_text(variables: Sequence[Variable]) -> str:
    """Arguments with their sorts: `((x Real) (y Real))`."""
    return f"({' '.join(f'({symbol_text(v.name)} {sort_text(v.sort)})' for v in variables)})"


def _leaf_text(term: Term) -> str | None:
    """The text of a term without arguments, None for others."""
    symbol = term.symbol
    if isinstance(symbol, Literal):
        return literal_text(symbol)
    if is_any_constant(term):
        return f"(Constant {sort_text(term.sort)})"
    if isinstance(symbol, Variable):
        return symbol_text(symbol.name)
    return function_text(symbol) if isinstance(symbol, Function) and not term.args else None


def _pieces(root: Term, most: int) -> tuple[list[str], bool]:
    """The text of `root` in pieces, and whether it is whole: it is cut after `most` nodes."""
    out: list[str] = []
    stack: list[Term | str] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        most -= 1
        if most < 0:
            return out, False
        text = _leaf_text(item)
        if text is not None:
            out.append(text)
            continue
        args = item.args
        if isinstance(item.symbol, Binder):
            out.append(f"({item.symbol.name} {variables_text(item.symbol.variables)} ")
        elif isinstance(item.symbol, Function) and item.symbol.name == "@":  # a function that is a value, applied
            out.append("(")
        else:
            assert isinstance(item.symbol, Function)
            out.append(f"({function_text(item.symbol)} ")
        stack.append(")")
        for index, arg in enumerate(reversed(args)):
            stack.append(arg)
            if index < len(args) - 1:
                stack.append(" ")
    return out, True


def to_text(root: Term) -> str:
    """One line of SyGuS-IF for `root`. Does not recurse, so the depth of a term is no limit.

    Raises:
        SygusError: where the text would have more than `LONGEST` nodes.
    """
    pieces, whole = _pieces(root, LONGEST)
    if not whole:
        raise SygusError(f"a term of more than {LONGEST:,} nodes is not written out: {brief(root)}")
    return "".join(pieces)


def brief(root: Term) -> str:
    """`root` for a message: cut where it is long.

    >>> from sygus.core import apply
    >>> x = Term(Variable("x", REAL))
    >>> len(brief(apply("+", *[x] * 999)))
    203
    """
    pieces, whole = _pieces(root, _BRIEF // 2)
    text = "".join(pieces)
    return text if whole and len(text) <= _BRIEF else f"{text[:_BRIEF]}..."


def define_fun(name: str, variables: tuple[Variable, ...], body: Term) -> str:
    """A `define-fun` command.

    >>> from sygus.terms import variable
    >>> define_fun("id", (Variable("x", REAL),), variable("x", REAL))
    '(define-fun id ((x Real)) Real x)'
    """
    return f"(define-fun {symbol_text(name)} {variables_text(variables)} {sort_text(body.sort)} {to_text(body)})"


def production_text(production: Production) -> str:
    """The right-hand side of a production with its annotated weights: `(! (+ R R) :w 3)`."""
    weights = "".join(f" :{name} {value}" for name, value in production.weights)
    return f"(! {to_text(production.body)}{weights})" if weights else to_text(production.body)


def grammar_text(grammar: Grammar) -> str:
    """The grammar as it stands in a `synth-fun`: the nonterminals, then a line for the rule of each.

    >>> from sygus import read
    >>> print(grammar_text(read('''(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R)))))
    ...                             (check-synth)''').target().grammar))
    ((R Real))
    ((R Real (x 1.0 (+ R R))))
    """
    names = [f"{symbol_text(name)} {sort_text(sort)}" for name, sort in grammar.nonterminals.items()]
    rules = [
        f"({head} ({' '.join(map(production_text, grammar.productions[name]))}))"
        for name, head in zip(grammar.nonterminals, names, strict=True)
    ]
    return f"({' '.join(f'({name})' for name in names)})\n({f'{chr(10)} '.join(rules)})"


def synth_fun(target: Target) -> str:
    """A `synth-fun` command with its grammar."""
    head = f"(synth-fun {symbol_text(target.name)} {variables_text(target.variables)} {sort_text(target.result)}"
    return f"{head}\n{grammar_text(target.grammar)})"
