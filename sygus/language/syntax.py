"""The parse tree: one dataclass a rule of `syntax.lark`, named alike; sorts and terms, then the commands in the standard's order.

Names in it are not resolved yet: `symbols.py` and `resolve.py` give them sorts and meaning, and `commands.py` acts on the
commands. A rule that is only a sequence (`terms`, `sorted_vars`, `productions`, ...) is a plain list; a leaf is a `Token`. Every
other node begins with the token of its parenthesis, which gives its place.
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


# Commands ---------------------------------------------------------------------------------------------------------------


@node
class SetLogic:
    """`(set-logic ALL)`."""

    open: Token
    logic: Token


@node
class SetOption:
    """`(set-option :key value)`."""

    open: Token
    keyword: Token
    value: Any


@node
class SetFeature:
    """`(set-feature :oracles true)`."""

    open: Token
    keyword: Token
    value: Token


@node
class SetInfo:
    """`(set-info :source "...")`."""

    open: Token
    keyword: Token
    value: Any


@node
class DeclareSort:
    """`(declare-sort Map 0)`."""

    open: Token
    name: Token
    arity: Token


@node
class DefineSort:
    """`(define-sort Pair (X) (Array X X))`, or without parameters as the standard has it; `sort` is None there."""

    open: Token
    name: Token
    first: SortSyntax | list[Token]
    sort: SortSyntax | None


@node
class Constructor:
    """`(cons (head Int) (tail List))`."""

    open: Token
    name: Token
    selectors: list[SortedVar]


@node
class Datatype:
    """`(par (X) ((nil) (cons (head X))))`."""

    open: Token
    parameters: list[Token]
    constructors: list[Constructor]


@node
class PlainDatatype:
    """`((nil) (cons (head Int)))`."""

    open: Token
    constructors: list[Constructor]


@node
class DeclareDatatype:
    """`(declare-datatype List ((nil) (cons (head Int) (tail List))))`."""

    open: Token
    name: Token
    datatype: Datatype | PlainDatatype


@node
class SortArity:
    """`(List 1)`."""

    open: Token
    name: Token
    arity: Token


@node
class DeclareDatatypes:
    """`(declare-datatypes ((A 0) (B 0)) (... ...))`: datatypes that may use one another."""

    open: Token
    sorts: list[SortArity]
    datatypes: list[Datatype | PlainDatatype]


@node
class DeclareVar:
    """`(declare-var A Map)`."""

    open: Token
    name: Token
    sort: SortSyntax


@node
class DeclareFun:
    """`(declare-fun gap (Map) Real)`, cvc5's extension of the standard."""

    open: Token
    name: Token
    parameters: list[SortSyntax]
    result: SortSyntax


@node
class DeclareConst:
    """`(declare-const k Real)`: a `declare-fun` without parameters."""

    open: Token
    name: Token
    sort: SortSyntax


@node
class FunctionDecBody:
    """`relu ((x Real)) Real`: the head of a definition."""

    name: Token
    variables: list[SortedVar]
    result: SortSyntax


@node
class FunctionDec:
    """`(relu ((x Real)) Real)`: the same between parentheses."""

    open: Token
    name: Token
    variables: list[SortedVar]
    result: SortSyntax


@node
class DefineFun:
    """`(define-fun relu ((x Real)) Real body)`."""

    open: Token
    head: FunctionDecBody
    body: TermSyntax


@node
class DefineFunRec:
    """`(define-fun-rec f ((x Int)) Int body)`: the body may call `f`."""

    open: Token
    head: FunctionDecBody
    body: TermSyntax


@node
class DefineFunsRec:
    """`(define-funs-rec ((f ((x Int)) Int) ...) (body ...))`: the bodies may call all of them."""

    open: Token
    heads: list[FunctionDec]
    bodies: list[TermSyntax]


@node
class DefineConst:
    """`(define-const half Real 0.5)`: a `define-fun` without parameters."""

    open: Token
    name: Token
    sort: SortSyntax
    body: TermSyntax


@node
class Assume:
    """`(assume (nonneg A))`."""

    open: Token
    term: TermSyntax


@node
class Constraint:
    """`(constraint (>= (f x) 0.0))`."""

    open: Token
    term: TermSyntax


@node
class InvConstraint:
    """`(inv-constraint inv pre trans post)`."""

    open: Token
    invariant: Token
    pre: Token
    trans: Token
    post: Token


@node
class ChcConstraint:
    """`(chc-constraint ((x Int)) body head)`: a constrained Horn clause."""

    open: Token
    variables: list[SortedVar]
    body: TermSyntax
    head: TermSyntax


@node
class GroupedRule:
    """`(W Real (y (+ W W)))`."""

    open: Token
    name: Token
    sort: SortSyntax
    productions: list[TermSyntax]


@node
class GrammarDef:
    """The grammar of a synth-fun; `nonterminals` is None where the old form without a declaration is used."""

    nonterminals: list[SortedVar] | None
    open: Token
    rules: list[GroupedRule]


@node
class SynthFun:
    """`(synth-fun f ((x Real)) Real grammar)`; `grammar` is None where every term of the logic is allowed."""

    open: Token
    name: Token
    variables: list[SortedVar]
    result: SortSyntax
    grammar: GrammarDef | None


@node
class SynthInv:
    """`(synth-inv inv ((x Int)) grammar)`: a `synth-fun` that returns Bool; of SyGuS-IF 2.0, and still in the public suites."""

    open: Token
    name: Token
    variables: list[SortedVar]
    grammar: GrammarDef | None


@node
class CheckSynth:
    """`(check-synth)`."""

    open: Token


@node
class OptimizeSynth:
    """`(optimize-synth ((! (adcc weight) :max)) :lexico)`."""

    open: Token
    goals: list[TermSyntax]
    attributes: list[Attribute]


@node
class DeclareWeight:
    """`(declare-weight w)`."""

    open: Token
    name: Token
    attributes: list[Attribute]


@node
class DeclareOracleFun:
    """`(declare-oracle-fun adcc ((-> Map Map Real Real)) Real adcc)`: the last symbol names the implementation."""

    open: Token
    name: Token
    parameters: list[SortSyntax]
    result: SortSyntax
    implementation: Token


@node
class OracleConstraint:
    """`(oracle-constraint (inputs) (outputs) term name)`, and `oracle-assume` alike."""

    open: Token
    command: Token
    inputs: list[SortedVar]
    outputs: list[SortedVar]
    term: TermSyntax
    implementation: Token


@node
class OracleSugar:
    """`(oracle-constraint-io f name)` and the other commands that take a function and the name of an oracle."""

    open: Token
    command: Token
    function: Token
    implementation: Token


@node
class OtherCommand:
    """A command of SMT-LIB that is read but not acted on: its name and its s-expressions."""

    open: Token
    name: Token
    children: list[Any]


Command = Union[
    SetLogic, SetOption, SetFeature, SetInfo, DeclareSort, DefineSort, DeclareDatatype, DeclareDatatypes, DeclareVar, DeclareFun,
    DeclareConst, DefineFun, DefineFunRec, DefineFunsRec, DefineConst, Assume, Constraint, InvConstraint, ChcConstraint, SynthFun,
    SynthInv, CheckSynth, OptimizeSynth, DeclareWeight, DeclareOracleFun, OracleConstraint, OracleSugar, OtherCommand,
]  # fmt: skip
