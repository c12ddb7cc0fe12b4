"""The grammar of a `synth-fun`: nonterminals, rules in their order, productions of the right sort."""

from __future__ import annotations

from typing import Any

from ..constants import SORTS as ENUMERABLE
from ..core import FUNCTIONS
from ..errors import nearest, shown
from ..grammar import Grammar, Production
from ..terms import LARGEST, Sort, Term, Variable, any_constant, brief, subterms
from .resolve import Terms, int_hint
from .symbols import Symbols, symbol
from .syntax import GrammarDef, GroupedRule
from .syntax_terms import Annotated, AnyConstant, AnyVariable, TermSyntax, Token


def read_grammar(symbols: Symbols, terms: Terms, node: GrammarDef, variables: tuple[Variable, ...], result: Sort) -> Grammar:
    """The grammar that `node` writes for a function of `variables` to `result`.

    Raises:
        SygusError: with the place of what is wrong.
    """
    nonterminals = _nonterminals(symbols, node, {v.name for v in variables})
    start, start_sort = next(iter(nonterminals.items()))
    if start_sort != result:
        raise symbols.error(f"the function returns {result}, but its first nonterminal {start!r} is {start_sort}", node)
    scope = {**{v.name: Term(v) for v in variables}, **{n: Term(Variable(n, s)) for n, s in nonterminals.items()}}
    productions: dict[str, list[Production]] = {}
    order = list(nonterminals)
    for rule in node.rules:
        name = _check_rule(symbols, rule, nonterminals, order, productions)
        found = []
        for item in rule.productions:
            weights = _weights(symbols, item) if isinstance(item, Annotated) else ()
            node_of_body = item.term if isinstance(item, Annotated) else item
            for body in _bodies(symbols, terms, node_of_body, nonterminals[name], variables, scope):
                found.append(Production(name, body, weights=weights))
        if not found:
            raise symbols.error(f"the rule of {shown(name)} is empty: give it at least one production", rule)
        productions[name] = found
    if len(productions) < len(nonterminals):
        raise symbols.error(f"nonterminal {shown(order[len(productions)])} has no rule", node)
    literals = (t for rules in productions.values() for p in rules for t in subterms(p.body) if t.is_literal)
    grammar = Grammar(nonterminals, productions, tuple(dict.fromkeys(literals)))
    for name in grammar.unproductive():
        raise symbols.error(f"nonterminal {shown(name)} derives no finite term: give it a production without nonterminals", node)
    return grammar


def _nonterminals(symbols: Symbols, node: GrammarDef, arguments: set[str]) -> dict[str, Sort]:
    declared = node.rules if node.nonterminals is None else node.nonterminals
    nonterminals: dict[str, Sort] = {}
    for item in declared:
        name = symbols.name(item.name)
        if name in nonterminals:
            raise symbols.error(f"nonterminal {shown(name)} is declared twice", item)
        if name in arguments or name in symbols.problem.functions or name in FUNCTIONS:
            raise symbols.error(f"nonterminal {shown(name)} has the name of an argument or a function: rename it", item)
        if name in symbols.problem.sorts or name in symbols.logic.sorts:
            raise symbols.error(f"nonterminal {shown(name)} has the name of a sort: rename it", item)
        nonterminals[name] = symbols.sort(item.sort)
    if not nonterminals:
        raise symbols.error("the grammar has no rule", node)
    return nonterminals


def _check_rule(
    symbols: Symbols, rule: GroupedRule, nonterminals: dict[str, Sort], order: list[str], done: dict[str, Any]
) -> str:
    """The name of `rule`, which is the next one due."""
    name = symbol(rule.name)
    if name not in nonterminals:
        raise symbols.error(f"rule for {shown(name)}, which is not a nonterminal{nearest(name, nonterminals)}", rule)
    if name in done:
        raise symbols.error(f"{shown(name)} has two rules: merge them", rule)
    if name != order[len(done)]:
        due = order[len(done)]
        raise symbols.error(f"rule for {shown(name)} where that for {shown(due)} is due: keep the order of the declaration", rule)
    if symbols.sort(rule.sort) != nonterminals[name]:
        raise symbols.error(f"{shown(name)} is declared {nonterminals[name]}, its rule says {symbols.sort(rule.sort)}", rule)
    return name


def _weights(symbols: Symbols, item: Annotated) -> tuple[tuple[str, int], ...]:
    """What `(! production :w 3)` annotates. Attributes that are no weight say nothing to us."""
    found: dict[str, int] = {}
    for attribute in item.attributes:
        name = str(attribute.open[1:])
        if name == "named":
            raise symbols.error("a production is given no name", attribute)
        if name not in symbols.problem.weights:
            raise symbols.error(f"unknown weight {shown(name)}{nearest(name, symbols.problem.weights)}", attribute)
        if name in found:
            raise symbols.error(f"the weight {shown(name)} is given twice", attribute)
        found[name] = weight_value(symbols, attribute)
    return tuple(found.items())


def weight_value(symbols: Symbols, attribute: Any) -> int:
    """The number that an attribute gives."""
    if not isinstance(attribute.value, Token) or attribute.value.type != "NUMERAL":
        raise symbols.error(f"{attribute.open} takes a numeral", attribute)
    return symbols.number(attribute.value)


def _bodies(
    symbols: Symbols, terms: Terms, node: TermSyntax, sort: Sort, variables: tuple[Variable, ...], scope: dict[str, Term]
) -> list[Term]:
    if isinstance(node, AnyConstant | AnyVariable):
        named = symbols.sort(node.sort)
        if named != sort:
            raise symbols.error(f"a rule for {sort} cannot produce a {named}", node)
        if isinstance(node, AnyVariable):
            return [Term(v) for v in variables if v.sort == sort]
        if sort not in ENUMERABLE:
            symbols.problem.not_acted_on.append((f"(Constant {sort})", symbols.place(node)))
        return [any_constant(sort)]
    body = terms.term(node, scope, in_rule=True)
    if body.sort != sort:
        raise symbols.error(f"a rule for {sort} cannot produce {brief(body)}, which is {body.sort}{int_hint(body, sort)}", node)
    if body.size >= LARGEST:
        raise symbols.error("a production that its lets write out to more than 2^62 nodes", node)
    return [body]
