"""The commands of a file, one method each, in the order of the standard: what each adds to the `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..core import apply, is_core
from ..errors import Place, SygusError, cut, nearest, shown
from ..grammar import Grammar
from ..terms import BOOL, INT, REAL, Function, Sort, Term, Variable, brief
from ..theory import CORE
from . import syntax
from .grammars import default_grammar, read_grammar, weight_value
from .logics import logic
from .problem import Datatype, Goal, Objective, OracleFunction, Target, Weight
from .resolve import Terms, int_hint
from .signature import HOLE, Signature
from .symbols import Symbols, symbol
from .syntax import Annotated, SortApplication, SortSyntax, TermSyntax, Token

FEATURES = (":grammars", ":fwd-decls", ":recursion", ":oracles", ":weights")
_BEFORE_LOGIC = (syntax.SetOption, syntax.SetInfo, syntax.SetFeature)
_SMT_LIB = frozenset({
    "assert", "check-sat", "check-sat-assuming", "check-synth-next", "declare-codatatype", "declare-codatatypes", "echo", "exit",
    "find-synth", "find-synth-next", "get-assertions", "get-assignment", "get-info", "get-model", "get-option", "get-proof",
    "get-unsat-assumptions", "get-unsat-core", "get-value", "pop", "push", "reset", "reset-assertions", "simplify",
})  # fmt: skip
"""Commands of SMT-LIB and of cvc5 that are no part of SyGuS-IF: read, and never acted on."""


class Commands:
    """Acts on the commands of one file."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols, self.problem = symbols, symbols.problem
        self.terms = Terms(symbols)

    def run(self, commands: Sequence[syntax.Command]) -> None:
        """Takes in every command.

        Raises:
            SygusError: with the place of the first that is wrong.
        """
        self.problem.commands = list(commands)
        for command in commands:
            if self.problem.checked:
                raise self.error("a command after (check-synth) is never reached: move it before", command)
            try:
                self._HANDLERS[type(command)](self, command)
            except SygusError as error:
                raise error if error.place else self.error(error.message, command) from None

    def error(self, message: str, node: Any) -> SygusError:
        return self.symbols.error(message, node)

    def place(self, node: Any) -> Place:
        return self.symbols.place(node)

    def not_acted_on(self, what: str, node: Any) -> None:
        self.problem.not_acted_on.append((what, self.place(node)))

    # Settings -----------------------------------------------------------------------------------------------------------

    def _set_logic(self, command: syntax.SetLogic) -> None:
        before = next(i for i, c in enumerate(self.problem.commands) if c is command)
        if any(not isinstance(c, _BEFORE_LOGIC) for c in self.problem.commands[:before]):
            raise self.error("set-logic comes once, before all that declares or asserts", command)
        chosen = logic(command.logic)
        if chosen is None:
            raise self.error(f"unknown logic {cut(command.logic)}: write ALL, or a name of SMT-LIB's such as NRA", command.logic)
        self.symbols.use_logic(chosen)
        self.problem.logic = str(command.logic)

    def _set_option(self, command: syntax.SetOption) -> None:
        self.not_acted_on(f"the option {command.keyword}", command)

    def _set_info(self, command: syntax.SetInfo) -> None:
        """Says nothing to us."""

    def _set_feature(self, command: syntax.SetFeature) -> None:
        keyword, value = str(command.keyword), str(command.value)
        if keyword not in FEATURES:
            raise self.error(f"unknown feature {cut(keyword)}{nearest(keyword, FEATURES)}", command)
        if value not in ("true", "false"):
            raise self.error(f"a feature is true or false, not {shown(value)}", command)
        self.symbols.features.discard(keyword)
        if value == "true":
            self.symbols.features.add(keyword)
        if keyword not in (":oracles", ":weights") and (value == "true") != (keyword == ":grammars"):
            self.not_acted_on(f"the feature {keyword} {value}", command)

    # Sorts --------------------------------------------------------------------------------------------------------------

    def _new_sort(self, token: Token) -> str:
        name, symbols = self.symbols.name(token), self.symbols
        symbols.may_declare(name, token)
        if name in symbols.problem.sorts or name in symbols.abbreviations or name in symbols.logic.sorts:
            raise self.error(f"sort {shown(name)} is declared twice", token)
        return name

    def _declare_sort(self, command: syntax.DeclareSort) -> None:
        name, arity, theory = self._new_sort(command.name), self.symbols.number(command.arity), self.symbols.theory
        if not self.symbols.logic.free_sorts:
            raise self.error(f"the logic {self.symbols.logic.name} has no sorts of a file's own: add UF to it", command)
        if theory.sorts and Sort(name) not in theory.sorts:
            known = [sort.name for sort in theory.sorts]
            raise self.error(f"theory {theory.name!r} has no sort {shown(name)}{nearest(name, known)}", command.name)
        if theory.sorts and arity:
            raise self.error(f"sort {name!r} of theory {theory.name!r} takes no arguments", command)
        self.problem.sorts[name] = arity

    def _define_sort(self, command: syntax.DefineSort) -> None:
        name = self._new_sort(command.name)
        if command.sort is None:
            parameters: list[str] = []
            body = command.first
        else:
            parameters, body = self._sort_parameters(command.first), command.sort
        if isinstance(body, list):
            raise self.error("define-sort takes a sort after its parameters", command)
        holes = {parameter: Sort(f"\\{parameter}") for parameter in parameters}
        self.symbols.abbreviations[name] = (tuple(parameters), self.symbols.sort(body, holes))

    def _sort_parameters(self, node: Any) -> list[str]:
        """`(X Y)` was read as a sort: its words are names."""
        tokens: list[Any] = [node.name, *node.arguments] if isinstance(node, SortApplication) else node
        if not isinstance(tokens, list) or not all(isinstance(token, Token) for token in tokens):
            raise self.error("the parameters of define-sort are symbols in parentheses", node)
        return [self.symbols.name(token) for token in tokens]

    def _declare_datatype(self, command: syntax.DeclareDatatype) -> None:
        datatype = command.datatype
        arity = len(datatype.parameters) if isinstance(datatype, syntax.Datatype) else 0
        declare_datatypes(self.symbols, [(self._new_sort(command.name), arity, datatype)], command)

    def _declare_datatypes(self, command: syntax.DeclareDatatypes) -> None:
        if len(command.sorts) != len(command.datatypes):
            raise self.error(f"{len(command.sorts)} sorts, but {len(command.datatypes)} datatypes", command)
        heads = [(self._new_sort(sort.name), self.symbols.number(sort.arity)) for sort in command.sorts]
        if len({name for name, _ in heads}) < len(heads):
            raise self.error("two datatypes have one name", command)
        parts = zip(heads, command.datatypes, strict=True)
        declare_datatypes(self.symbols, [(name, arity, datatype) for (name, arity), datatype in parts], command)

    # Declarations and definitions ---------------------------------------------------------------------------------------

    def _declare_var(self, command: syntax.DeclareVar) -> None:
        name = self.symbols.new_name(command.name)
        self.problem.variables[name] = Term(Variable(name, self.symbols.sort(command.sort)))

    def _declare_fun(self, command: syntax.DeclareFun) -> None:
        self._declare(command, command.name, tuple(self.symbols.sort(sort) for sort in command.parameters), command.result)

    def _declare_const(self, command: syntax.DeclareConst) -> None:
        self._declare(command, command.name, (), command.sort)

    def _declare(self, command: Any, token: Token, parameters: tuple[Sort, ...], result_node: SortSyntax) -> None:
        name, result, theory = self.symbols.new_name(token), self.symbols.sort(result_node), self.symbols.theory
        if parameters and not self.symbols.logic.functions:
            raise self.error(f"the logic {self.symbols.logic.name} has no functions of a file's own: add UF to it", command)
        function = Function(name, parameters, result)
        if theory is not CORE:
            try:
                function = theory.bind(name, parameters, result)
            except SygusError as error:
                raise self.error(error.message, token) from None
        elif is_core(function):
            self.not_acted_on(f"a function of one's own with the name and the sorts of the core's {name}", command)
        self.problem.functions[name] = function

    def _define_fun(self, command: syntax.DefineFun) -> None:
        head = command.head
        self._define(self.symbols.new_name(head.name), self.symbols.sorted_vars(head.variables), head.result, command.body)

    def _define_const(self, command: syntax.DefineConst) -> None:
        self._define(self.symbols.new_name(command.name), (), command.sort, command.body)

    def _define(self, name: str, variables: tuple[Variable, ...], sort: SortSyntax, node: TermSyntax) -> None:
        result = self.symbols.sort(sort)
        body = self._body(name, variables, result, node)
        self.problem.functions[name] = Function(name, tuple(v.sort for v in variables), result, variables, body)

    def _body(self, name: str, variables: tuple[Variable, ...], result: Sort, node: TermSyntax) -> Term:
        body = self.terms.term(node, {v.name: Term(v) for v in variables})
        if body.sort != result:
            raise self.error(f"{shown(name)} is declared {result}, but its body is {body.sort}{int_hint(body, result)}", node)
        return body

    def _define_fun_rec(self, command: syntax.DefineFunRec) -> None:
        self._define_recursive([command.head], [command.body], command)

    def _define_funs_rec(self, command: syntax.DefineFunsRec) -> None:
        if len(command.heads) != len(command.bodies):
            raise self.error(f"{len(command.heads)} functions, but {len(command.bodies)} bodies", command)
        self._define_recursive(command.heads, command.bodies, command)

    def _define_recursive(self, heads: Sequence[Any], bodies: Sequence[TermSyntax], command: Any) -> None:
        if not self.symbols.logic.functions:
            raise self.error(f"the logic {self.symbols.logic.name} has no functions of a file's own: add UF to it", command)
        found = []
        for head in heads:
            name, variables = self.symbols.new_name(head.name), self.symbols.sorted_vars(head.variables)
            result = self.symbols.sort(head.result)
            self.problem.functions[name] = Function(name, tuple(v.sort for v in variables), result, recursive=True)
            found.append((name, variables, result))
        for (name, variables, result), body in zip(found, bodies, strict=True):
            self.problem.recursive[name] = (variables, self._body(name, variables, result, body))
        self.not_acted_on(f"the recursive function {shown(found[0][0])}", command)

    # What is known and asked --------------------------------------------------------------------------------------------

    def _bool_term(self, node: TermSyntax, local: dict[str, Term] | None = None) -> Term:
        term = self.terms.term(node, local or {}, self.problem.variables)
        if term.sort != BOOL:
            raise self.error(f"expected a Bool, found {brief(term)}, which is {term.sort}", node)
        return term

    def _assume(self, command: syntax.Assume) -> None:
        self.problem.assumptions.append((self._bool_term(command.term), self.place(command)))

    def _constraint(self, command: syntax.Constraint) -> None:
        self.problem.constraints.append((self._bool_term(command.term), self.place(command)))

    def _inv_constraint(self, command: syntax.InvConstraint) -> None:
        """`pre` implies the invariant, `trans` keeps it, and it implies `post`."""
        invariant, pre, trans, post = (
            self._predicate(token) for token in (command.invariant, command.pre, command.trans, command.post)
        )
        sorts = invariant.parameters
        for function, wanted, token in (
            (pre, sorts, command.pre), (trans, (*sorts, *sorts), command.trans), (post, sorts, command.post),
        ):  # fmt: skip
            if function.parameters != wanted:
                given, due = (" ".join(map(str, s)) for s in (function.parameters, wanted))
                raise self.error(f"{shown(function.name)} takes ({given}), but the invariant asks for ({due})", token)
        now = tuple(Term(Variable(f"{invariant.name}.{i}", sort)) for i, sort in enumerate(sorts, 1))
        after = tuple(Term(Variable(f"{invariant.name}.{i}'", sort)) for i, sort in enumerate(sorts, 1))
        before_step = apply("and", Term(invariant, now), Term(trans, (*now, *after)))
        holds = Term(invariant, now)
        for left, right in ((Term(pre, now), holds), (before_step, Term(invariant, after)), (holds, Term(post, now))):
            self.problem.constraints.append((apply("=>", left, right), self.place(command)))

    def _predicate(self, token: Token) -> Function:
        """A function to Bool, by name."""
        name = symbol(token)
        function = self.symbols.targets.get(name) or self.problem.functions.get(name)
        if function is None:
            known = [*self.symbols.targets, *self.problem.functions]
            raise self.error(f"unknown function {shown(name)}{nearest(name, known)}", token)
        if function.result != BOOL:
            raise self.error(f"{shown(name)} returns {function.result}, a predicate returns Bool", token)
        return function

    def _chc_constraint(self, command: syntax.ChcConstraint) -> None:
        variables = {v.name: Term(v) for v in self.symbols.sorted_vars(command.variables)}
        body, head = (self._bool_term(node, variables) for node in (command.body, command.head))
        self.problem.constraints.append((apply("=>", body, head), self.place(command)))

    def _check_synth(self, command: syntax.CheckSynth) -> None:
        self.problem.checked = True

    # Functions to synthesise --------------------------------------------------------------------------------------------

    def _synth_fun(self, command: syntax.SynthFun) -> None:
        self._synthesise(command, self.symbols.sort(command.result))

    def _synth_inv(self, command: syntax.SynthInv) -> None:
        self._synthesise(command, BOOL)

    def _synthesise(self, command: syntax.SynthFun | syntax.SynthInv, result: Sort) -> None:
        symbols = self.symbols
        name, variables = symbols.new_name(command.name), symbols.sorted_vars(command.variables)
        if command.grammar is None:
            grammar = self._default(name, variables, result, command)
        else:
            grammar = read_grammar(symbols, self.terms, command.grammar, variables, result)
        places = {symbol(item.name): self.place(item) for item in command.variables}
        given = command.grammar is not None
        self.problem.targets.append(Target(name, variables, result, grammar, self.place(command), places=places, given=given))
        symbols.targets[name] = Function(name, tuple(v.sort for v in variables), result)

    def _default(self, name: str, variables: tuple[Variable, ...], result: Sort, command: Any) -> Grammar:
        if self.symbols.theory is not CORE:
            raise self.error(f"synth-fun {shown(name)} has no grammar: give one, ((W {result})) ((W {result} (...)))", command)
        grammar = default_grammar(self.symbols.logic, variables, result)
        if grammar.unproductive():
            self.not_acted_on(f"a synth-fun of {shown(name)} without a grammar", command)
        return grammar

    def _declare_weight(self, command: syntax.DeclareWeight) -> None:
        self.symbols.needs(":weights", command)
        name = self.symbols.name(command.name)
        if name in self.problem.weights:
            raise self.error(f"the weight {shown(name)} is declared twice", command.name)
        default = 0
        for attribute in command.attributes:
            if attribute.open != ":default":
                raise self.error(f"a weight has the attribute :default, not {cut(attribute.open)}", attribute)
            default = weight_value(self.symbols, attribute)
        self.problem.weights[name] = Weight(name, default, self.place(command))

    def _optimize_synth(self, command: syntax.OptimizeSynth) -> None:
        combinations = [str(attribute.open) for attribute in command.attributes]
        if len(combinations) > 1 or not {*combinations} <= {":lexico", ":pareto"}:
            raise self.error("goals combine by one of :lexico and :pareto", command)
        if not command.goals:
            raise self.error("no goal: write (optimize-synth ((! term :max)))", command)
        goals = tuple(self._goal(node) for node in command.goals)
        self.problem.objective = Objective(goals, [*combinations, ":lexico"][0][1:], self.place(command))
        self.problem.checked = True

    def _goal(self, node: TermSyntax) -> Goal:
        """One goal, `(! term :max)` or `(! term :min)`."""
        directions = [str(attribute.open) for attribute in node.attributes] if isinstance(node, Annotated) else []
        if not isinstance(node, Annotated) or directions not in ([":max"], [":min"]):
            raise self.error("a goal says its direction: (! term :max) or (! term :min)", node)
        term = self.terms.term(node.term, {})
        if term.sort not in (REAL, INT):
            raise self.error(f"a goal is a number, found {brief(term)}, which is {term.sort}", node)
        return Goal(term, directions[0][1:], self.place(node))

    # Oracles ------------------------------------------------------------------------------------------------------------

    def _declare_oracle_fun(self, command: syntax.DeclareOracleFun) -> None:
        self.symbols.needs(":oracles", command)
        name = self.symbols.new_name(command.name)
        parameters = tuple(self.symbols.sort(sort) for sort in command.parameters)
        result = self.symbols.sort(command.result)
        implementation = self.symbols.name(command.implementation)
        self.problem.oracles[name] = OracleFunction(name, parameters, result, implementation, self.place(command.implementation))
        self.problem.functions[name] = Function(name, parameters, result)

    def _oracle_constraint(self, command: syntax.OracleConstraint) -> None:
        self.symbols.needs(":oracles", command)
        variables = self.symbols.sorted_vars([*command.inputs, *command.outputs])
        self._bool_term(command.term, {v.name: Term(v) for v in variables})
        self.symbols.name(command.implementation)
        self.not_acted_on(f"the command ({command.command} ...)", command)

    def _oracle_sugar(self, command: syntax.OracleSugar) -> None:
        self.symbols.needs(":oracles", command)
        name = symbol(command.function)
        if name not in self.symbols.targets:
            near = nearest(name, self.symbols.targets)
            message = f"{command.command} is about a function to synthesise, {shown(name)} is none{near}"
            raise self.error(message, command.function)
        self.symbols.name(command.implementation)
        self.not_acted_on(f"the command ({command.command} ...)", command)

    def _other(self, command: syntax.OtherCommand) -> None:
        if command.name not in _SMT_LIB:
            known = [*_SMT_LIB, *COMMANDS]
            raise self.error(f"unknown command {shown(command.name)}{nearest(command.name, known)}", command)
        self.not_acted_on(f"the command ({command.name} ...)", command)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        syntax.SetLogic: _set_logic, syntax.SetOption: _set_option, syntax.SetInfo: _set_info, syntax.SetFeature: _set_feature,
        syntax.DeclareSort: _declare_sort, syntax.DefineSort: _define_sort, syntax.DeclareDatatype: _declare_datatype,
        syntax.DeclareDatatypes: _declare_datatypes, syntax.DeclareVar: _declare_var, syntax.DeclareFun: _declare_fun,
        syntax.DeclareConst: _declare_const, syntax.DefineFun: _define_fun, syntax.DefineConst: _define_const,
        syntax.DefineFunRec: _define_fun_rec, syntax.DefineFunsRec: _define_funs_rec, syntax.Assume: _assume,
        syntax.Constraint: _constraint, syntax.InvConstraint: _inv_constraint, syntax.ChcConstraint: _chc_constraint,
        syntax.SynthFun: _synth_fun, syntax.SynthInv: _synth_inv, syntax.CheckSynth: _check_synth,
        syntax.OptimizeSynth: _optimize_synth, syntax.DeclareWeight: _declare_weight,
        syntax.DeclareOracleFun: _declare_oracle_fun, syntax.OracleConstraint: _oracle_constraint,
        syntax.OracleSugar: _oracle_sugar, syntax.OtherCommand: _other,
    }  # fmt: skip


COMMANDS = (
    "assume", "chc-constraint", "check-synth", "constraint", "declare-const", "declare-correctness-cex-oracle",
    "declare-correctness-oracle", "declare-datatype", "declare-datatypes", "declare-fun", "declare-oracle-fun", "declare-sort",
    "declare-var", "declare-weight", "define-const", "define-fun", "define-fun-rec", "define-funs-rec", "define-sort",
    "inv-constraint", "optimize-synth", "oracle-assume", "oracle-constraint", "oracle-constraint-cex", "oracle-constraint-io",
    "oracle-constraint-membership", "oracle-constraint-negwitness", "oracle-constraint-poswitness", "set-feature", "set-info",
    "set-logic", "set-option", "synth-fun", "synth-inv",
)  # fmt: skip
"""Every command that is read with its meaning."""


# Datatypes --------------------------------------------------------------------------------------------------------------

Declared = tuple[str, int, syntax.Datatype | syntax.PlainDatatype]


def declare_datatypes(symbols: Symbols, declared: Sequence[Declared], command: Any) -> None:
    """Declares datatypes (name, arity, parse tree) that may use one another.

    Raises:
        SygusError: for a name that is taken, a number of parameters that is not the arity, or a datatype without finite values.
    """
    for name, arity, _ in declared:
        symbols.problem.sorts[name] = arity
    for name, arity, node in declared:
        parameters = [symbols.name(token) for token in node.parameters] if isinstance(node, syntax.Datatype) else []
        if len(parameters) != arity:
            raise symbols.error(f"the datatype {shown(name)} has {len(parameters)} parameters, declared with {arity}", node)
        holes = {parameter: Sort(f"{HOLE}{parameter}") for parameter in parameters}
        whole = Sort(name, tuple(holes.values()))
        constructors: dict[str, tuple[Variable, ...]] = {}
        datatype = Datatype(name, tuple(parameters), constructors, symbols.place(command))
        symbols.problem.datatypes[name] = datatype
        for constructor in node.constructors:
            label = symbols.new_name(constructor.name)
            parts: list[Variable] = []
            for selector in constructor.selectors:
                part = Variable(_new_part(symbols, selector.name, constructor.name, parts), symbols.sort(selector.sort, holes))
                parts.append(part)
                symbols.selectors[part.name] = Signature((whole,), part.sort)
            constructors[label] = tuple(parts)
            symbols.constructors[label] = (datatype, Signature(tuple(part.sort for part in parts), whole))
    _check_finite(symbols, [name for name, _, _ in declared], command)


def _new_part(symbols: Symbols, token: Any, constructor: Any, parts: Sequence[Variable]) -> str:
    name = symbols.new_name(token)
    if name == symbols.name(constructor) or name in {part.name for part in parts}:
        raise symbols.error(f"{shown(name)} is declared twice", token)
    return name


def _check_finite(symbols: Symbols, names: Sequence[str], command: Any) -> None:
    """Refuses a datatype all of whose constructors need a value of a datatype that has none.

    Each constructor waits for the datatypes of its parts; a datatype is finite as soon as one of its constructors waits no more.
    """
    waiting: dict[str, list[tuple[str, set[str]]]] = {name: [] for name in names}
    finite: list[str] = []
    for name in names:
        for parts in symbols.problem.datatypes[name].constructors.values():
            needed = {part.sort.name for part in parts} & waiting.keys()
            for other in needed:
                waiting[other].append((name, needed))
            if not needed:
                finite.append(name)
    known = dict.fromkeys(finite)
    for found in finite:  # grows as we go
        for name, needed in waiting[found]:
            needed.discard(found)
            if not needed and name not in known:
                known[name] = None
                finite.append(name)
    for name in names:
        if name not in known:
            raise symbols.error(f"the datatype {shown(name)} has no finite value: give it a constructor that ends", command)
