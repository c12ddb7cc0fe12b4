"""Terms of the parse tree to typed terms: names are looked up, sorts checked, `let` and `match` written out.

One loop over an explicit stack, so that nesting is bounded by memory alone. What is to be done after the parts of a node are
resolved waits on the stack as a pair of a method and its argument; names that a `let`, a quantifier or a `match` binds stand in
one dictionary, and what they hid is put back when their scope ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from ..core import apply, negate
from ..errors import SygusError, cut, nearest, shown
from ..terms import BOOL, INT, REAL, STRING, Binder, Function, Literal, Sort, Term, Variable, arrow, bit_vector, brief
from ..theory import CORE
from .symbols import DIGITS, Symbols, symbol
from .syntax import (
    Annotated,
    AnyConstant,
    AnyVariable,
    Application,
    Attribute,
    Indexed,
    Let,
    Match,
    MatchSymbol,
    Qualified,
    Quantified,
    TermSyntax,
    Token,
)

_MIXED = frozenset({"+", "-", "*", "<", "<=", ">", ">=", "=", "distinct", "^"})
_TO_REAL = frozenset({"/", "is_int"})


class Terms:
    """Resolves the terms of one file."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.scope: dict[str, Term] = {}
        self.outer: Mapping[str, Term] = {}
        self.done: list[Term] = []
        self.stack: list[Any] = []
        self.hidden: list[dict[str, Term | None]] = []  # by the patterns around the term in hand
        self.shared: set[Variable] = set()  # variables that a let-bound term may use: a quantifier may not bind them again
        self.fresh = itertools.count(1)
        self.binding = self.bound = 0  # how many bindings and binders are around the term in hand
        self.in_rule = False

    def error(self, message: str, node: Any) -> SygusError:
        return self.symbols.error(message, node)

    def term(
        self, root: TermSyntax, scope: Mapping[str, Term], outer: Mapping[str, Term] | None = None, in_rule: bool = False
    ) -> Term:
        """The typed term that `root` writes over the names of `scope`, then those of `outer`."""
        self.scope, self.outer, self.in_rule = dict(scope), outer or {}, in_rule
        self.done, self.stack, self.shared, self.binding, self.bound = [], [root], set(), 0, 0
        self.fresh = itertools.count(1)
        done, stack, visitors = self.done, self.stack, self._VISITORS
        while stack:
            item = stack.pop()
            if type(item) is tuple:
                item[0](item[1])
            elif type(item) is Token:
                done.append(self.leaf(item))
            elif type(item) is Application:
                stack.append((self._apply, item))
                stack.extend(reversed(item.arguments))
            else:
                visitors[type(item)](self, item)
        return done[0]

    def _take(self, count: int) -> list[Term]:
        values = self.done[-count:]
        del self.done[-count:]
        return values

    # Leaves -------------------------------------------------------------------------------------------------------------

    def leaf(self, token: Token) -> Term:
        if token.type != "SYMBOL":
            return self._literal(token)
        name = symbol(token)
        found = self.scope.get(name) or self.outer.get(name)
        if found is None and self.outer is self.symbols.problem.variables:
            found = self.symbols.aliases.get(name)
        if found is not None:
            if self.binding and isinstance(found.symbol, Variable):
                self.shared.add(found.symbol)
            return found
        if name in ("true", "false"):
            return Term(Literal(name == "true", BOOL))
        return self._constant(name, token)

    def _literal(self, token: Token) -> Term:
        numerals = self.symbols.logic.numerals
        if token.type == "NUMERAL" and numerals not in self.symbols.logic.sorts:
            raise self.error(f"the logic {self.symbols.logic.name} has no numbers", token)
        return Term(literal(token, numerals, lambda message: self.error(message, token)))

    def _constant(self, name: str, token: Token) -> Term:
        """A function without arguments, or one that stands for itself as a value."""
        symbols = self.symbols
        function = symbols.function(name, ())
        if function is not None:
            return Term(function)
        declared = symbols.targets.get(name) or symbols.problem.functions.get(name)
        if declared is not None and symbols.functions_are_values:
            return Term(Variable(name, arrow(declared.parameters, declared.result)))
        if declared is not None:
            raise self.error(f"{shown(name)} takes {len(declared.parameters)} arguments: ({cut(name)} ...)", token)
        if name in symbols.constructors and not symbols.constructors[name][1].parameters:
            raise self.error(f"which sort {name!r} has does not show: write (as {cut(name)} sort)", token)
        if symbols.wanted_by(name) is not None or name in symbols.logic.core:
            raise self.error(f"{shown(name)} is a function: give it arguments, ({cut(name)} ...)", token)
        if re.fullmatch(r"-[0-9]+(\.[0-9]+)?", token):
            if symbols.theory is CORE:  # no literal of the standard, but older suites write it
                return self._negative(token)
            raise self.error(f"unknown symbol {shown(name)}; a negative number is written (- {cut(name[1:])})", token)
        known = [*self.scope, *self.outer, *symbols.problem.functions, *symbols.constructors]
        elsewhere = " (declared, but not an argument of this function)" if name in symbols.problem.variables else ""
        raise self.error(f"unknown symbol {shown(name)}{elsewhere}{nearest(name, known)}", token)

    def _negative(self, token: Token) -> Term:
        """`(- 1)` for `-1`."""
        positive = Token(token[1:])
        positive.at, positive.type = token.at, "DECIMAL" if "." in token else "NUMERAL"
        return negate(self._literal(positive))

    def _indexed(self, node: Indexed) -> None:
        """`(_ bv3 8)`, `(_ char #x41)`, `(_ w f)`."""
        name, indices, symbols = symbol(node.name), node.indices, self.symbols
        if name in symbols.problem.weights and len(indices) == 1 and symbol(indices[0]) in symbols.targets:
            self.done.append(Term(Function(name, (), INT, indices=(symbol(indices[0]),))))
        elif re.fullmatch("bv[0-9]+", name) and len(indices) == 1:
            width = symbols.number(indices[0], least=1)
            if len(name) > 4_000 or int(name[2:]) >> width:
                raise self.error(f"{shown(name[2:])} does not fit in {width} bits", node)
            self.done.append(Term(Literal(int(name[2:]), bit_vector(width))))
        elif name == "char" and len(indices) == 1 and indices[0].type == "HEXADECIMAL":
            value = string_value(f"\\u{{{indices[0][2:]}}}", lambda message: self.error(message, node))
            if len(value) != 1:
                raise self.error(f"{shown(indices[0])} is no character", node)
            self.done.append(Term(Literal(value, STRING)))
        else:
            weights = symbols.problem.weights
            hint = nearest(name, weights) if weights else ""
            raise self.error(f"unknown indexed identifier (_ {shown(name)} ...){hint}", node)

    def _qualified(self, node: Qualified) -> None:
        """`(as nil (List Int))`: the name is a value without arguments."""
        wanted = self.symbols.sort(node.sort)
        if isinstance(node.name, Indexed):
            raise self.error("(as ...) takes a name without indices", node)
        name = symbol(node.name)
        if name not in self.scope and name not in self.outer:
            function = self.symbols.function(name, (), wanted)
            if function is not None and function.result == wanted:
                self.done.append(Term(function))
                return
        term = self.leaf(node.name)
        if term.sort != wanted:
            raise self.error(f"{shown(name)} is {term.sort}, not {wanted}", node)
        self.done.append(term)

    # Applications -------------------------------------------------------------------------------------------------------

    def _apply(self, node: Application) -> None:
        self.done.append(self.application(node, tuple(self._take(len(node.arguments)))))

    def application(self, node: Application, args: tuple[Term, ...]) -> Term:
        head, symbols = node.head, self.symbols
        sorts = [arg.sort for arg in args]
        wanted = None
        if isinstance(head, Qualified):
            wanted, head = symbols.sort(head.sort), head.name
        if isinstance(head, Indexed):
            return self._indexed_application(node, head, args)
        name = symbol(head)
        value = self.scope.get(name) or self.outer.get(name)
        if value is not None and not symbols.builtin(name):
            return self._value_application(node, name, value, args)
        function = symbols.function(name, sorts, wanted)
        if function is None and symbols.theory.name == CORE.name and symbols.logic.mixed:
            mixed = self._mixed(name, args)
            if mixed is not None:
                return mixed
        if function is None or (wanted is not None and function.result != wanted):
            raise self.error(self._no_function(name, sorts, args), node)
        return Term(function, args)

    def _mixed(self, name: str, args: tuple[Term, ...]) -> Term | None:
        """An application to Ints where Reals are due, as the logics of both allow it: the Ints are turned into Reals."""
        sorts = {arg.sort for arg in args}
        if len(args) == 1 and (name, args[0].sort) in (("to_real", REAL), ("to_int", INT)):
            return args[0]
        if not sorts <= {INT, REAL} or not (name in _TO_REAL or (name in _MIXED and len(sorts) == 2)):
            return None
        reals = tuple(_as_real(arg) for arg in args)
        function = self.symbols.function(name, [REAL] * len(reals))
        return None if function is None else Term(function, reals)

    def _no_function(self, name: str, sorts: Sequence[Sort], args: Sequence[Term]) -> str:
        """Why `name` does not apply to arguments of `sorts`."""
        symbols = self.symbols
        given = f"({' '.join(map(str, sorts))})"
        hint = next((h for arg in args if (h := int_hint(arg, REAL))), "") if REAL in sorts else ""
        if name in symbols.logic.core:
            return f"{name!r} does not apply to arguments of sorts {given}{hint}"
        wanted = symbols.wanted_by(name)
        if wanted is not None:
            return f"{shown(name)} takes arguments of sorts {wanted}, found {given}{hint}"
        declare = symbols.undeclared(name)
        return f"unknown function {shown(name)}{declare or nearest(name, symbols.function_names())}"

    def _value_application(self, node: Application, name: str, value: Term, args: tuple[Term, ...]) -> Term:
        if value.sort.name != "->":
            raise self.error(f"{shown(name)} is a variable here, not a function", node)
        *parameters, result = value.sort.arguments
        if [arg.sort for arg in args] != parameters:
            given = " ".join(str(arg.sort) for arg in args)
            raise self.error(f"{shown(name)} takes arguments of sorts ({' '.join(map(str, parameters))}), found ({given})", node)
        return Term(Function("@", (value.sort, *parameters), result), (value, *args))

    def _indexed_application(self, node: Application, head: Indexed, args: tuple[Term, ...]) -> Term:
        name, symbols, sorts = symbol(head.name), self.symbols, [arg.sort for arg in args]
        if name in ("is", "update") and len(head.indices) == 1 and head.indices[0].type == "SYMBOL":
            return self._of_datatype(node, name, symbol(head.indices[0]), args)
        for table in symbols.logic.tables:
            if name in table.indexed:
                indices = tuple(symbols.number(index) for index in head.indices)
                result = table.indexed[name](indices, sorts)
                if result is not None:
                    return Term(Function(name, tuple(sorts), result, indices=indices), args)
                given = cut(" ".join(head.indices))
                raise self.error(f"(_ {name} {given}) does not apply to ({' '.join(map(str, sorts))})", node)
        known = [known for table in symbols.logic.tables for known in table.indexed]
        raise self.error(f"unknown indexed identifier (_ {shown(name)} ...){nearest(name, known)}", node)

    def _of_datatype(self, node: Application, name: str, part: str, args: tuple[Term, ...]) -> Term:
        """`((_ is cons) x)` and `((_ update head) x value)`."""
        symbols, sorts = self.symbols, [arg.sort for arg in args]
        if name == "is" and part in symbols.constructors:
            function = symbols.tester(part, sorts)
            if function is not None:
                return Term(function, args)
        fits = name == "update" and part in symbols.selectors and len(args) == 2
        if fits and symbols.selectors[part].result_for(sorts[:1]) == sorts[1]:
            return Term(Function("update", tuple(sorts), sorts[0], indices=(part,)), args)
        known = symbols.constructors if name == "is" else symbols.selectors
        hint = "" if part in known else nearest(part, known)
        raise self.error(f"(_ {name} {shown(part)}) does not apply to ({' '.join(map(str, sorts))}){hint}", node)

    # Scopes -------------------------------------------------------------------------------------------------------------

    def _enter(self, names: Mapping[str, Term]) -> dict[str, Term | None]:
        """Puts `names` in scope; gives what they hide."""
        hidden = {name: self.scope.get(name) for name in names}
        self.scope.update(names)
        return hidden

    def _leave(self, hidden: dict[str, Term | None]) -> None:
        for name, term in hidden.items():
            if term is None:
                del self.scope[name]
            else:
                self.scope[name] = term

    def _let(self, node: Let) -> None:
        self.binding += 1
        self.stack.append((self._bind, node))
        self.stack.extend(binding.term for binding in reversed(node.bindings))

    def _bind(self, node: Let) -> None:
        self.binding -= 1
        names = [self.symbols.name(binding.name) for binding in node.bindings]
        hidden = self._enter(dict(zip(names, self._take(len(names)), strict=True)))
        self.bound += 1
        self.stack.extend(((self._unbind, hidden), node.body))

    def _unbind(self, hidden: dict[str, Term | None]) -> None:
        self.bound -= 1
        self._leave(hidden)

    def _quantified(self, node: Quantified) -> None:
        if self.in_rule:
            raise self.error("a grammar has no quantifiers", node)
        named = self.symbols.sorted_vars(node.variables)
        if not named:
            raise self.error(f"{node.quantifier} binds no variable", node)
        variables = tuple(self._unshared(variable) for variable in named)
        hidden = self._enter({old.name: Term(new) for old, new in zip(named, variables, strict=True)})
        self.bound += 1
        self.stack.extend(((self._close, (node, variables)), (self._unbind, hidden), node.body))

    def _unshared(self, variable: Variable) -> Variable:
        """`variable`, renamed where a let-bound term in scope may use it: that one would be captured."""
        if variable not in self.shared:
            return variable
        new = next(v for n in self.fresh if (v := Variable(f"{variable.name}!{n}", variable.sort)) not in self.shared)
        self.shared.add(new)
        return new

    def _close(self, made: tuple[Quantified, tuple[Variable, ...]]) -> None:
        node, variables = made
        (body,) = self._take(1)
        if body.sort != BOOL:
            raise self.error(f"{node.quantifier} is over a Bool, found {brief(body)}, which is {body.sort}", node)
        self.done.append(Term(Binder(str(node.quantifier), variables), (body,)))

    # Annotations --------------------------------------------------------------------------------------------------------

    def _annotated(self, node: Annotated) -> None:
        self.stack.extend(((self._annotate, node), node.term))

    def _annotate(self, node: Annotated) -> None:
        for attribute in node.attributes:
            if attribute.open == ":named":
                self._name(attribute)
            elif self.in_rule and attribute.open[1:] in self.symbols.problem.weights:
                raise self.error("a weight belongs to a whole rule: write (! rule :weight 3)", attribute)

    def _name(self, attribute: Attribute) -> None:
        value = attribute.value
        if not isinstance(value, Token) or value.type != "SYMBOL":
            raise self.error(":named takes a symbol", attribute)
        if self.bound or self.binding or self.outer is not self.symbols.problem.variables:
            raise self.error("a term is given a name only where no arguments and no bound variables are in scope", attribute)
        self.symbols.aliases[self.symbols.new_name(value)] = self.done[-1]

    # Match --------------------------------------------------------------------------------------------------------------

    def _match(self, node: Match) -> None:
        self.binding += 1
        self.stack.extend(((self._matched, node), node.term))

    def _matched(self, node: Match) -> None:
        self.binding -= 1
        (value,) = self._take(1)
        cases = cases_of(self.symbols, node, value)
        self.bound += len(cases)
        self.stack.append((self._decide, (node, value, [case.constructor for case in cases])))
        for case in reversed(cases):
            self.stack.extend(((self._end, None), case.body, (self._case, case.names)))

    def _case(self, names: Mapping[str, Term]) -> None:
        self.hidden.append(self._enter(names))

    def _end(self, _: None) -> None:
        self._unbind(self.hidden.pop())

    def _decide(self, made: tuple[Match, Term, list[str | None]]) -> None:
        node, value, constructors = made
        bodies = self._take(len(constructors))
        if len({body.sort for body in bodies}) > 1:
            raise self.error(f"the cases have different sorts: {' '.join(str(body.sort) for body in bodies)}", node)
        self.done.append(decide(value, constructors, bodies))

    def _alone(self, node: AnyConstant | AnyVariable) -> None:
        raise self.error("(Constant sort) and (Variable sort) stand alone in a rule, not inside a term", node)

    _VISITORS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        Let: _let, Quantified: _quantified, Annotated: _annotated, Indexed: _indexed, Qualified: _qualified, Match: _match,
        AnyConstant: _alone, AnyVariable: _alone,
    }  # fmt: skip


def _as_real(term: Term) -> Term:
    if term.sort == REAL:
        return term
    return Term(Literal(term.value, REAL)) if isinstance(term.symbol, Literal) else apply("to_real", term)


def int_hint(term: Term, wanted: Sort) -> str:
    """How to write the Int literal `term` where a Real is wanted; empty where that is not what is wrong."""
    if wanted == REAL and term.sort == INT and isinstance(term.symbol, Literal):
        return f"; write {brief(term)}.0 for the real number"
    return ""


# Match ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One case: its constructor, None where it takes whatever is left, what its names stand for, and its body."""

    constructor: str | None
    names: Mapping[str, Term]
    body: Any


def cases_of(symbols: Symbols, node: Match, value: Term) -> list[Case]:
    """The cases of a match on `value`, checked: known constructors with all their parts, none left out.

    Raises:
        SygusError: with the place of what does not fit.
    """
    datatype = symbols.problem.datatypes.get(value.sort.name)
    if datatype is None:
        raise symbols.error(f"match is on a datatype, found {value.sort}", node)
    cases: list[Case] = []
    left = dict.fromkeys(datatype.constructors)
    for case in node.cases:
        name = symbol(case.name if isinstance(case, MatchSymbol) else case.constructor)
        if isinstance(case, MatchSymbol) and name not in datatype.constructors:
            cases.append(Case(None, {symbols.name(case.name): value}, case.body))
            left.clear()
            continue
        if name not in datatype.constructors:
            raise symbols.error(f"{datatype.name} has no constructor {shown(name)}{nearest(name, datatype.constructors)}", case)
        parts = [] if isinstance(case, MatchSymbol) else [symbols.name(part) for part in case.parts]
        selectors = datatype.constructors[name]
        if len(parts) != len(selectors):
            raise symbols.error(f"{shown(name)} has {len(selectors)} parts, found {len(parts)} names", case)
        if len(set(parts)) < len(parts):
            raise symbols.error(f"a pattern names two parts {shown(max(parts, key=parts.count))}", case)
        names = {}
        for part, selector in zip(parts, selectors, strict=True):
            function = symbols.function(selector.name, [value.sort])
            assert function is not None
            names[part] = Term(function, (value,))
        cases.append(Case(name, names, case.body))
        left.pop(name, None)
    if left:
        raise symbols.error(f"match leaves out {', '.join(map(shown, left))}", node)
    return cases


def decide(value: Term, constructors: Sequence[str | None], bodies: Sequence[Term]) -> Term:
    """The body of the first case that fits `value`, as a chain of `ite`; the last case needs no test."""
    last = constructors.index(None) if None in constructors else len(bodies) - 1
    result = bodies[last]
    for constructor, body in zip(reversed(constructors[:last]), reversed(bodies[:last]), strict=True):
        assert constructor is not None
        test = Term(Function("is", (value.sort,), BOOL, indices=(constructor,)), (value,))
        result = apply("ite", test, body, result)
    return result


# Literals ---------------------------------------------------------------------------------------------------------------

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
