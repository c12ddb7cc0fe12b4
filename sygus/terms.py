"""Sorts, symbols and hash-consed terms, the walks over them, and their text in SyGuS-IF.

A term is the one node type of the package, made in one place. Equal terms are the same object, so `is` compares them, a `dict`
keyed by terms costs a pointer hash, and a walk over a DAG visits each node once. Terms are immutable; every operation on them is
a memoised walk. Reading the text of a term gives the term again.
"""

from __future__ import annotations

import gc
import itertools
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar, Union

from .errors import SygusError, shown

Value = Union[Fraction, int, bool]
Result = TypeVar("Result")
LARGEST = 2**62
"""Where the size of a term stops growing: nested lets write trees of 2^100 nodes in a few lines."""
EXPANSION = 200_000
"""How many terms one `expand` may go through."""
LARGEST_SORT = 200
"""How many names a sort may have."""
WIDEST = 2**20
"""How many bits a bit-vector may have."""


def _remember_hash(symbol: Any, *parts: Any) -> None:
    object.__setattr__(symbol, "_hash", hash(parts))


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort: a name, with arguments and indices where the sort has them, `LARGEST_SORT` names at most.

    >>> print(Sort("Array", (INT, Sort("BitVec", (), (8,)))))
    (Array Int (_ BitVec 8))
    """

    name: str
    arguments: tuple[Sort, ...] = ()
    indices: tuple[int, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    _size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _remember_hash(self, self.name, self.arguments, self.indices)
        object.__setattr__(self, "_size", 1 + sum(argument._size for argument in self.arguments))
        if self._size > LARGEST_SORT:
            raise SygusError(f"a sort of more than {LARGEST_SORT} names")

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple:
        return Sort, (self.name, self.arguments, self.indices)

    def __str__(self) -> str:
        return sort_text(self)


BOOL, INT, REAL, STRING = Sort("Bool"), Sort("Int"), Sort("Real"), Sort("String")


def bit_vector(width: int) -> Sort:
    """The sort `(_ BitVec width)`, `WIDEST` bits at most."""
    if width > WIDEST:
        raise SygusError(f"a bit-vector of more than {WIDEST:,} bits")
    return Sort("BitVec", (), (width,))


def arrow(parameters: Sequence[Sort], result: Sort) -> Sort:
    """The sort of a function, `(-> parameters... result)`, the result last and never a function itself.

    >>> print(arrow([INT], arrow([INT], BOOL)))
    (-> Int Int Bool)
    """
    rest = result.arguments if result.name == "->" else (result,)
    return Sort("->", (*parameters, *rest)) if parameters else result


@dataclass(frozen=True, slots=True)
class Variable:
    """A named value: a declared variable, an argument of the function to synthesise, or a nonterminal in a rule."""

    name: str
    sort: Sort


@dataclass(frozen=True, slots=True)
class Literal:
    """A written constant. Numbers are never negative: -1 is the term `(- 1.0)`, as SyGuS-IF writes it.

    The value of a bit-vector is the number that its bits write, that of a string the text without escapes.
    """

    value: Value | str
    sort: Sort


@dataclass(frozen=True, slots=True)
class Function:
    """A function symbol at one signature: a core function, an operator of a theory, or a define-fun with its `body`.

    Attributes:
        variables, body: what a define-fun says.
        indices: what stands after the name in `(_ extract 3 0)`, or the function in `(_ w f)`.
        qualified: whether it is written with its sort, `(as nil (List Int))`, since its arguments do not tell the sort.
        recursive: whether it stands for a define-fun-rec, whose definition the problem keeps.
    """

    name: str
    parameters: tuple[Sort, ...]
    result: Sort
    variables: tuple[Variable, ...] = ()
    body: Term | None = None
    indices: tuple[int | str, ...] = ()
    qualified: bool = False
    recursive: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _remember_hash(self, self.name, self.parameters, self.result, self.variables, self.body, self.indices)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple:
        return Function, (self.name, self.parameters, self.result, self.variables, self.body, self.indices, self.qualified,
                          self.recursive)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Binder:
    """A quantifier with the variables that it binds; the term's one argument is the body.

    Substitution renames the variables where they would capture others; two terms that differ in bound names are two terms.
    """

    name: str
    variables: tuple[Variable, ...]

    @property
    def sort(self) -> Sort:
        """Bool."""
        return BOOL


Symbol = Union[Variable, Literal, Function, Binder]
_counter = itertools.count()
_table: weakref.WeakValueDictionary[tuple, Term] = weakref.WeakValueDictionary()


class Term:
    """One immutable node: a symbol applied to terms.

    Attributes:
        symbol: `Variable`, `Literal`, `Function` or `Binder`.
        args: the arguments, empty for a leaf.
        sort: the sort of the term.
        size: number of nodes of the tree it stands for, `LARGEST` at most.
        serial: a number that grows with creation; a total order for deterministic sorting.

    >>> x = variable("x", REAL)
    >>> x is variable("x", REAL)
    True
    """

    __slots__ = ("__weakref__", "args", "serial", "size", "sort", "symbol")

    symbol: Symbol
    args: tuple[Term, ...]
    sort: Sort
    size: int
    serial: int

    def __new__(cls, symbol: Symbol, args: tuple[Term, ...] = ()) -> Term:
        key = (symbol, args)
        found = _table.get(key)
        if found is not None:
            return found
        self = object.__new__(cls)
        self.symbol, self.args = symbol, args
        self.sort = symbol.result if isinstance(symbol, Function) else symbol.sort
        size = 1 + sum([arg.size for arg in args])
        self.size = size if size < LARGEST else LARGEST
        self.serial = next(_counter)
        _table[key] = self
        return self

    @property
    def name(self) -> str:
        """The name of the symbol; a literal's is its value."""
        return str(self.symbol.value) if isinstance(self.symbol, Literal) else self.symbol.name

    @property
    def is_literal(self) -> bool:
        """Whether the symbol is a literal."""
        return isinstance(self.symbol, Literal)

    @property
    def is_variable(self) -> bool:
        """Whether the symbol is a variable."""
        return isinstance(self.symbol, Variable)

    @property
    def value(self) -> Value:
        """The value of a literal of a number or a truth value."""
        assert isinstance(self.symbol, Literal) and not isinstance(self.symbol.value, str)
        return self.symbol.value

    def __reduce__(self) -> tuple:
        return Term, (self.symbol, self.args)

    def __str__(self) -> str:
        return to_text(self)

    def __repr__(self) -> str:
        return f"<{self.sort} {brief(self)}>"


def variable(name: str, sort: Sort) -> Term:
    """The variable `name` of `sort` as a term."""
    return Term(Variable(name, sort))


def any_constant(sort: Sort) -> Term:
    """The placeholder for `(Constant sort)` as the body of a production."""
    return Term(Variable(f"|Constant {sort}|", sort))


def is_any_constant(term: Term) -> bool:
    """Whether `term` is the placeholder of its sort."""
    return isinstance(term.symbol, Variable) and term is any_constant(term.sort)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the search for cyclic garbage, which would walk all terms again and again, half of the time, and find nothing:
    terms hold no cycles. What else makes some waits until it is on again.

    >>> with no_collection():
    ...     gc.isenabled()
    False
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# Walks -----------------------------------------------------------------------------------------------------------------


def subterms(*roots: Term) -> Iterator[Term]:
    """Every distinct subterm of `roots` once, arguments before the terms that use them. Does not recurse."""
    seen: set[Term] = set()
    for root in roots:
        stack: list[tuple[Term, bool]] = [(root, False)]
        while stack:
            term, ready = stack.pop()
            if ready:
                yield term
            elif term not in seen:
                seen.add(term)
                stack.append((term, True))
                stack.extend((arg, False) for arg in reversed(term.args))


def fold(root: Term, visit: Callable[[Term, tuple[Result, ...]], Result], memo: dict[Term, Result]) -> Result:
    """Bottom-up walk over the DAG: `visit(term, results of its arguments)`, each term once, kept in `memo`.

    Does not recurse, and goes into no term that `memo` already holds.
    """
    stack = [root]
    while stack:
        term = stack[-1]
        if term in memo:
            stack.pop()
            continue
        missing = [arg for arg in term.args if arg not in memo]
        if missing:
            stack.extend(reversed(missing))
            continue
        memo[term] = visit(term, tuple(memo[arg] for arg in term.args))
        stack.pop()
    return memo[root]


def substitute(root: Term, replacement: dict[Term, Term]) -> Term:
    """`root` with every free occurrence of a key of `replacement` replaced, all at once; nothing is captured by a quantifier."""
    binders: list[Term] = []

    def visit(term: Term, args: tuple[Term, ...]) -> Term:
        if isinstance(term.symbol, Binder):
            binders.append(term)
        return Term(term.symbol, args) if args != term.args else term

    replaced = fold(root, visit, dict(replacement))
    return _substitute_below_binders(root, replacement) if binders else replaced


_Scope = tuple[dict[Term, Term], set[Variable]]
"""What is replaced below a quantifier, and the variables that the replacements use."""


def _substitute_below_binders(root: Term, replacement: dict[Term, Term]) -> Term:
    """`substitute` where quantifiers hide some keys, or bind names that the replacements use."""
    used = {term.symbol for term in subterms(*replacement.values()) if isinstance(term.symbol, Variable)}
    scopes: list[_Scope] = [(replacement, used)]
    inner: dict[tuple[Term, int], tuple[int, tuple[Variable, ...]]] = {}  # below a quantifier: its scope and its variables
    memo: dict[tuple[Term, int], Term] = {}
    stack = [(root, 0)]
    while stack:
        term, scope = here = stack[-1]
        if here in memo or term in scopes[scope][0]:
            memo.setdefault(here, scopes[scope][0].get(term, term))
            stack.pop()
            continue
        below = scope
        if isinstance(term.symbol, Binder):
            if here not in inner:
                inner[here] = _enter(term.symbol, scope, scopes)
            below = inner[here][0]
        missing = [(arg, below) for arg in term.args if (arg, below) not in memo]
        if missing:
            stack.extend(reversed(missing))
            continue
        symbol = Binder(term.symbol.name, inner[here][1]) if isinstance(term.symbol, Binder) else term.symbol
        memo[here] = Term(symbol, tuple(memo[arg, below] for arg in term.args))
        stack.pop()
    return memo[root, 0]


def _enter(binder: Binder, scope: int, scopes: list[_Scope]) -> tuple[int, tuple[Variable, ...]]:
    """The scope below `binder`, added to `scopes` where it differs from `scope`, and the variables that it binds there."""
    outer, used = scopes[scope]
    visible = {key: value for key, value in outer.items() if key.symbol not in binder.variables}
    variables = []
    for old in binder.variables:
        numbered = (Variable(f"{old.name}!{n}", old.sort) for n in itertools.count(len(scopes)))
        variables.append(next(new for new in numbered if new not in used and new not in binder.variables) if old in used else old)
    renamed = {Term(old): Term(new) for old, new in zip(binder.variables, variables, strict=True) if old is not new}
    if not renamed and len(visible) == len(outer):
        return scope, binder.variables
    scopes.append(({**visible, **renamed}, used | set(variables)))
    return len(scopes) - 1, tuple(variables)


def expand(root: Term, memo: dict[Term, Term] | None = None) -> Term:
    """`root` with every define-fun replaced by its body.

    Raises:
        SygusError: for a recursive function, or where the expansion goes through more than `EXPANSION` terms.
    """
    memo = {} if memo is None else memo
    instances: dict[Term, Term] = {}
    stack, most = [root], len(memo) + EXPANSION
    while stack:
        term = stack[-1]
        symbol = term.symbol
        missing = [arg for arg in term.args if arg not in memo] if term not in memo else []
        if missing:
            stack.extend(reversed(missing))
            continue
        if term in memo:
            stack.pop()
            continue
        args = tuple(memo[arg] for arg in term.args)
        if isinstance(symbol, Function) and symbol.recursive:
            raise SygusError(f"{shown(symbol.name)} is recursive: it has no finite expansion")
        if isinstance(symbol, Function) and symbol.body is not None:
            if term not in instances:
                binding = {Term(v): arg for v, arg in zip(symbol.variables, args, strict=True)}
                instances[term] = substitute(symbol.body, binding)
            if instances[term] not in memo:
                stack.append(instances[term])
                continue
            memo[term] = memo[instances[term]]
        else:
            memo[term] = Term(symbol, args) if args != term.args else term
        if len(memo) > most:
            raise SygusError(f"the definitions write out to more than {EXPANSION:,} terms")
        stack.pop()
    return memo[root]


# Text ------------------------------------------------------------------------------------------------------------------

LONGEST_TEXT = 1_000_000
"""How many nodes a printed term may have: nested lets write trees that no file could hold."""
_BRIEF = 200
_SIMPLE = re.compile(r"(?!-[0-9])[A-Za-z_+\-*&!~<>=/%?.$^@][A-Za-z0-9_+\-*&!~<>=/%?.$^@]*\Z")
RESERVED = frozenset({"let", "!", "_", "as", "par", "match"})
"""Words that are no symbols unless they stand between bars."""
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
        SygusError: where the text would have more than `LONGEST_TEXT` nodes.
    """
    pieces, whole = _pieces(root, LONGEST_TEXT)
    if not whole:
        raise SygusError(f"a term of more than {LONGEST_TEXT:,} nodes is not written out: {brief(root)}")
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
