"""The grammar of a `synth-fun`: the one that it writes, or, where it gives none, the terms of the logic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..constants import SORTS as ENUMERABLE
from ..core import FUNCTIONS, apply
from ..errors import nearest, shown
from ..grammar import Grammar, Production
from ..terms import BOOL, INT, LARGEST, REAL, Function, Literal, Sort, Term, Variable, any_constant, brief, subterms
from .logics import BIT_VECTORS, Logic
from .resolve import Terms, int_hint
from .symbols import Symbols, symbol
from .syntax import Annotated, AnyConstant, AnyVariable, GrammarDef, GroupedRule, TermSyntax, Token


def read_grammar(symbols: Symbols, terms: Terms, node: GrammarDef, variables: tuple[Variable, ...], result: Sort) -> Grammar:
    """The grammar that `node` writes for a function of `variables` to `result`.

    Raises:
        SygusError: with the place of what is wrong.
    """
    return _Grammars(symbols, terms, variables).grammar(node, result)


class _Grammars:
    """Reads a grammar over the arguments of one function."""

    def __init__(self, symbols: Symbols, terms: Terms, variables: tuple[Variable, ...]) -> None:
        self.symbols, self.terms, self.variables = symbols, terms, variables
        self.error = symbols.error
        self.nonterminals: dict[str, Sort] = {}
        self.productions: dict[str, list[Production]] = {}
        self.scope = {v.name: Term(v) for v in variables}

    def grammar(self, node: GrammarDef, result: Sort) -> Grammar:
        """The grammar that `node` writes, its first nonterminal of sort `result`."""
        self._declare(node)
        start, start_sort = next(iter(self.nonterminals.items()))
        if start_sort != result:
            raise self.error(f"the function returns {result}, but its first nonterminal {start!r} is {start_sort}", node)
        order = list(self.nonterminals)
        for rule in node.rules:
            name = self._rule(rule, order)
            found = [production for item in rule.productions for production in self._productions(name, item)]
            if not found:
                raise self.error(f"the rule of {shown(name)} is empty: give it at least one production", rule)
            self.productions[name] = found
        if len(self.productions) < len(order):
            raise self.error(f"nonterminal {shown(order[len(self.productions)])} has no rule", node)
        literals = (t for rules in self.productions.values() for p in rules for t in subterms(p.body) if t.is_literal)
        grammar = Grammar(self.nonterminals, self.productions, tuple(dict.fromkeys(literals)))
        for name in grammar.unproductive():
            raise self.error(f"nonterminal {shown(name)} derives no finite term: give it a production without nonterminals", node)
        return grammar

    def _declare(self, node: GrammarDef) -> None:
        """Takes in the nonterminals with their sorts."""
        problem, arguments = self.symbols.problem, {v.name for v in self.variables}
        for item in node.rules if node.nonterminals is None else node.nonterminals:
            name = self.symbols.name(item.name)
            if name in self.nonterminals:
                raise self.error(f"nonterminal {shown(name)} is declared twice", item)
            if name in arguments or name in problem.functions or name in FUNCTIONS:
                raise self.error(f"nonterminal {shown(name)} has the name of an argument or a function: rename it", item)
            if name in problem.sorts or name in self.symbols.logic.sorts:
                raise self.error(f"nonterminal {shown(name)} has the name of a sort: rename it", item)
            self.nonterminals[name] = self.symbols.sort(item.sort)
        if not self.nonterminals:
            raise self.error("the grammar has no rule", node)
        self.scope.update((name, Term(Variable(name, sort))) for name, sort in self.nonterminals.items())

    def _rule(self, rule: GroupedRule, order: list[str]) -> str:
        """The name of `rule`, which is the next one due."""
        name, done = symbol(rule.name), self.productions
        if name not in self.nonterminals:
            raise self.error(f"rule for {shown(name)}, which is not a nonterminal{nearest(name, self.nonterminals)}", rule)
        if name in done:
            raise self.error(f"{shown(name)} has two rules: merge them", rule)
        if name != (due := order[len(done)]):
            raise self.error(
                f"rule for {shown(name)} where that for {shown(due)} is due: keep the order of the declaration", rule
            )
        declared, said = self.nonterminals[name], self.symbols.sort(rule.sort)
        if said != declared:
            raise self.error(f"{shown(name)} is declared {declared}, its rule says {said}", rule)
        return name

    def _productions(self, name: str, item: TermSyntax) -> list[Production]:
        """What one right-hand side stands for, with the weights that it annotates."""
        weights = self._weights(item) if isinstance(item, Annotated) else ()
        bodies = self._bodies(item.term if isinstance(item, Annotated) else item, self.nonterminals[name])
        return [Production(name, body, weights=weights) for body in bodies]

    def _weights(self, item: Annotated) -> tuple[tuple[str, int], ...]:
        """What `(! production :w 3)` annotates. Attributes that are no weight say nothing to us."""
        found: dict[str, int] = {}
        for attribute in item.attributes:
            name, known = str(attribute.open[1:]), self.symbols.problem.weights
            if name == "named":
                raise self.error("a production is given no name", attribute)
            if name not in known:
                raise self.error(f"unknown weight {shown(name)}{nearest(name, known)}", attribute)
            if name in found:
                raise self.error(f"the weight {shown(name)} is given twice", attribute)
            found[name] = weight_value(self.symbols, attribute)
        return tuple(found.items())

    def _bodies(self, node: TermSyntax, sort: Sort) -> list[Term]:
        if isinstance(node, AnyConstant | AnyVariable):
            named = self.symbols.sort(node.sort)
            if named != sort:
                raise self.error(f"a rule for {sort} cannot produce a {named}", node)
            if isinstance(node, AnyVariable):
                return [Term(v) for v in self.variables if v.sort == sort]
            if sort not in ENUMERABLE:
                self.symbols.problem.not_acted_on.append((f"(Constant {sort})", self.symbols.place(node)))
            return [any_constant(sort)]
        body = self.terms.term(node, self.scope, in_rule=True)
        if body.sort != sort:
            raise self.error(f"a rule for {sort} cannot produce {brief(body)}, which is {body.sort}{int_hint(body, sort)}", node)
        if body.size >= LARGEST:
            raise self.error("a production that its lets write out to more than 2^62 nodes", node)
        return [body]


def weight_value(symbols: Symbols, attribute: Any) -> int:
    """The number that an attribute gives."""
    if not isinstance(attribute.value, Token) or attribute.value.type != "NUMERAL":
        raise symbols.error(f"{attribute.open} takes a numeral", attribute)
    return symbols.number(attribute.value)


# Where none is given ----------------------------------------------------------------------------------------------------

_BIT_OPERATORS = (
    "bvnot", "bvneg", "bvand", "bvor", "bvxor", "bvadd", "bvmul", "bvudiv", "bvurem", "bvshl", "bvlshr", "bvashr",
)  # fmt: skip


def default_grammar(logic: Logic, variables: Sequence[Variable], result: Sort) -> Grammar:
    """All terms of sort `result` over `variables`: arithmetic of the logic, comparisons, `ite`, and constants.

    A sort that is neither Bool, Int, Real nor a bit-vector has its variables and `ite`: it may derive nothing.

    >>> from .logics import logic
    >>> print(default_grammar(logic("LRA"), [Variable("x", REAL)], REAL))
    Real Real -> x | (Constant Real) | (+ Real Real) | (- Real Real) | (ite Bool Real Real)
    Bool Bool -> true | false | (not Bool) | (and Bool Bool) | (or Bool Bool) | (= Real Real) | (<= Real Real)
    """
    sorts = dict.fromkeys([result, BOOL, *(v.sort for v in variables)])
    taken = {v.name for v in variables}
    names: dict[Sort, str] = {}
    for sort in sorts:
        name = str(sort) if not sort.arguments and not sort.indices else f"{sort.name}{len(names)}"
        while name in taken:
            name += "'"
        names[sort] = name
        taken.add(name)
    holes = {sort: Term(Variable(name, sort)) for sort, name in names.items()}
    productions = {
        names[sort]: [
            Production(names[sort], body)
            for body in (*(Term(v) for v in variables if v.sort == sort), *_bodies_by_default(sort, holes, logic))
        ]
        for sort in sorts
    }
    return Grammar({name: sort for sort, name in names.items()}, productions)


def _bodies_by_default(sort: Sort, holes: dict[Sort, Term], logic: Logic) -> Iterator[Term]:
    hole = holes[sort]
    if sort == BOOL:
        yield from (Term(Literal(value, BOOL)) for value in (True, False))
        yield apply("not", hole)
        yield from (apply(name, hole, hole) for name in ("and", "or"))
        for other, argument in holes.items():
            if other != BOOL:
                yield apply("=", argument, argument)
            if other in (INT, REAL):
                yield apply("<=", argument, argument)
            if other.name == "BitVec":
                yield _bits("bvult", argument, argument)
        return
    if sort in (INT, REAL):
        yield any_constant(sort)
        operators = ["+", "-"] if "*" in logic.core else []
        if "N" in logic.name or "ALL" in logic.name:
            operators += ["*", "/"] if sort == REAL else ["*"]
        yield from (apply(name, hole, hole) for name in operators)
    if sort.name == "BitVec":
        yield from (Term(Literal(value, sort)) for value in (0, 1))
        if BIT_VECTORS in logic.tables:
            yield from (_bits(name, *[hole] * (1 if name in ("bvnot", "bvneg") else 2)) for name in _BIT_OPERATORS)
    yield apply("ite", holes[BOOL], hole, hole)


def _bits(name: str, *args: Term) -> Term:
    function = BIT_VECTORS.function(name, [arg.sort for arg in args])
    assert isinstance(function, Function), name
    return Term(function, args)
