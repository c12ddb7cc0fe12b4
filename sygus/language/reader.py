"""From text to a `Problem`: names are resolved, sorts checked, grammars built."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..constants import SORTS as CONSTANT_SORTS
from ..constants import any_constant
from ..core import NAMES as CORE_NAMES
from ..core import RESERVED, TAKEN, core_function
from ..errors import Place, SygusError, nearest
from ..grammar import Grammar, Production
from ..terms import BOOL, INT, REAL, Function, Literal, Sort, Term, Variable, subterms
from ..theory import CORE, Theory
from . import syntax
from .problem import Problem, Target

_ACTED_ON = (syntax.SetLogic, syntax.SetInfo, syntax.DeclareSort, syntax.DeclareFun, syntax.DeclareVar, syntax.DefineFun,
             syntax.Assume, syntax.SynthFun, syntax.CheckSynth)  # fmt: skip
_BEFORE_LOGIC = (syntax.SetOption, syntax.SetInfo, syntax.SetFeature)
_LOGIC = re.compile(  # the theories in any order, as cvc5 reads them
    r"(HO_)?(QF_)?(ALL|(SEP_)?(A|AX|UF|C|BV|FP|FF|DT|S|FS|IDL|RDL|(LIA|LRA|LIRA|NIA|NRA|NIRA)T?)*)"
)


def read_file(path: Path | str, theory: Theory = CORE) -> Problem:
    """The problem in the file at `path`.

    Raises:
        SygusError: if it cannot be read, decoded, parsed or resolved, with the place.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise SygusError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SygusError(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}; save it as UTF-8"
        ) from None
    return read(text, str(path), theory)


def read(text: str, file: str = "<text>", theory: Theory = CORE) -> Problem:
    """The problem that `text` states, its declared functions bound to `theory`.

    >>> problem = read('''(set-logic LRA) (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R)))))
    ...                   (check-synth)''')
    >>> print(problem.target().grammar)
    R Real -> x | 1.0 | (+ R R)
    >>> read("(declare-var x Reel)")
    Traceback (most recent call last):
    sygus.errors.SygusError: <text>:1:16: unknown sort 'Reel'; did you mean 'Real'?
        (declare-var x Reel)
                       ^
    """
    tree: syntax.Script = syntax.parse(text, file)
    return _Resolver(text, file, theory).problem(tree)


def read_term(
    text: str,
    variables: Iterable[Variable],
    functions: Mapping[str, Function],
    theory: Theory = CORE,
    file: str = "<term>",
) -> Term:
    """The term that `text` writes over `variables`, `functions` and the operators of `theory`.

    >>> print(read_term("(let ((z (+ x 1.0))) (* z z))", [Variable("x", REAL)], {}))
    (* (+ x 1.0) (+ x 1.0))
    """
    resolver = _Resolver(text, file, theory)
    operators = {name: operator.function for name, operator in theory.operators.items()}
    resolver.result.functions = {**operators, **functions}
    resolver.result.sorts = {sort.name: sort for sort in theory.sorts}
    return resolver.term(syntax.parse(text, file, "term"), {v.name: Term(v) for v in variables})


class _Resolver:
    def __init__(self, text: str, file: str, theory: Theory) -> None:
        self.text, self.file, self.theory = text, file, theory
        self.result = Problem(file, text)

    def error(self, message: str, node: Any) -> SygusError:
        return SygusError(message, self.place(node), self.text)

    def place(self, node: Any) -> Place:
        meta = getattr(node, "meta", node)
        return Place(self.file, meta.line, meta.column)

    # Commands -----------------------------------------------------------------------------------------------------------

    def problem(self, tree: syntax.Script) -> Problem:
        problem = self.result
        problem.commands = tree.children
        for command in tree.children:
            if problem.checked:
                raise self.error("a command after (check-synth) is never reached: move it before", command)
            handler = getattr(self, f"_{type(command).__name__}", None)
            if handler is not None:
                handler(command)
            if not isinstance(command, _ACTED_ON) and not isinstance(command, (syntax.SetOption, syntax.SetFeature)):
                name = command.children[0] if isinstance(command, syntax.OtherCommand) else "constraint"
                problem.not_acted_on.append((f"the command ({name} ...)", self.place(command)))
        return problem

    def _SetLogic(self, command: syntax.SetLogic) -> None:
        if any(not isinstance(c, _BEFORE_LOGIC) for c in itertools.takewhile(lambda c: c is not command, self.result.commands)):
            raise self.error("set-logic comes once, before all that declares or asserts", command)
        if not _LOGIC.fullmatch(command.logic):
            raise self.error(f"unknown logic {command.logic}: write ALL, or a name of SMT-LIB's such as NRA", command.logic)
        self.result.logic = str(command.logic)

    def _SetOption(self, command: syntax.SetOption) -> None:
        self.result.not_acted_on.append((f"the option {command.keyword}", self.place(command)))

    def _SetFeature(self, command: syntax.SetFeature) -> None:
        features = (":grammars", ":fwd-decls", ":recursion", ":oracles", ":weights")
        if command.keyword not in features:
            raise self.error(f"unknown feature {command.keyword}{nearest(command.keyword, features)}", command)
        if command.value not in ("true", "false"):
            raise self.error(f"a feature is true or false, not {command.value}", command)
        if (command.keyword, str(command.value)) not in {(":grammars", "true"), *((f, "false") for f in features[1:])}:
            self.result.not_acted_on.append((f"the feature {command.keyword} {command.value}", self.place(command)))

    def _DeclareSort(self, command: syntax.DeclareSort) -> None:
        name = self.name(command.name)
        self._may_declare(name, command.name)
        if name in self.result.sorts or name in ("Real", "Int", "Bool"):
            raise self.error(f"sort {name!r} is declared twice", command.name)
        if int(command.arity):
            raise self.error(f"sort {name!r} takes {command.arity} arguments; only sorts without arguments are supported",
                             command)  # fmt: skip
        if self.theory.sorts and Sort(name) not in self.theory.sorts:
            known = [sort.name for sort in self.theory.sorts]
            raise self.error(f"theory {self.theory.name!r} has no sort {name!r}{nearest(name, known)}", command.name)
        self.result.sorts[name] = Sort(name)

    def name(self, token: Any) -> str:
        """A symbol that is given a meaning: no reserved word and no number, unless between bars."""
        if token in RESERVED:
            raise self.error(f"{str(token)!r} is a reserved word: write |{token}|, or rename it", token)
        if re.match(r"-[0-9]", token):
            raise self.error(f"{str(token)!r} is a number, not a name", token)
        return _symbol(token)

    def _may_declare(self, name: str, token: Any) -> None:
        if name in CORE_NAMES:
            raise self.error(f"{name!r} is a core function and cannot be declared again", token)
        if name in TAKEN:
            raise self.error(f"{name!r} belongs to another theory of SMT-LIB and cannot be declared: rename it", token)
        if name.startswith((".", "@")):
            raise self.error(f"{name!r}: names that start with {name[0]} are reserved", token)

    def _new_name(self, token: Any) -> str:
        name = self.name(token)
        self._may_declare(name, token)
        if name in self.result.functions or name in self.result.variables:
            raise self.error(f"{name!r} is declared twice", token)
        if any(name == target.name for target in self.result.targets):
            raise self.error(f"{name!r} is already a function to synthesise", token)
        return name

    def _DeclareFun(self, command: syntax.DeclareFun) -> None:
        name = self._new_name(command.name)
        parameters = tuple(self.sort(sort) for sort in command.parameters.children)
        result = self.sort(command.result)
        if self.theory is CORE:
            function = Function(name, parameters, result)
        else:
            try:
                function = self.theory.bind(name, parameters, result)
            except SygusError as error:
                raise self.error(error.message, command.name) from None
        self.result.functions[name] = function

    def _DeclareVar(self, command: syntax.DeclareVar) -> None:
        name = self._new_name(command.name)
        self.result.variables[name] = Term(Variable(name, self.sort(command.sort)))

    def _DefineFun(self, command: syntax.DefineFun) -> None:
        name = self._new_name(command.name)
        variables = self.sorted_vars(command.variables)
        result = self.sort(command.result)
        body = self.term(command.body, {v.name: Term(v) for v in variables})
        if body.sort != result:
            raise self.error(f"{name!r} is declared {result}, but its body is {body.sort}{_int_hint(body, result)}",
                             command.body)  # fmt: skip
        self.result.functions[name] = Function(name, tuple(v.sort for v in variables), result, variables, body)

    def _Assume(self, command: syntax.Assume) -> None:
        self.result.assumptions.append((self.bool_term(command.term), self.place(command)))

    def _Constraint(self, command: syntax.Constraint) -> None:
        self.result.constraints.append((self.bool_term(command.term), self.place(command)))

    def _CheckSynth(self, command: syntax.CheckSynth) -> None:
        self.result.checked = True

    def _SynthFun(self, command: syntax.SynthFun) -> None:
        name = self._new_name(command.name)
        variables = self.sorted_vars(command.variables)
        result = self.sort(command.result)
        if command.grammar is None:
            raise self.error(f"synth-fun {name!r} has no grammar: give one, ((W {result})) ((W {result} (...)))", command)
        grammar = self.grammar(command.grammar, variables, result)
        places = {_symbol(item.name): self.place(item) for item in command.variables.children}
        self.result.targets.append(Target(name, variables, result, grammar, self.place(command), places))

    # Sorts --------------------------------------------------------------------------------------------------------------

    def sort(self, node: syntax.SortSyntax) -> Sort:
        if not isinstance(node, syntax.SortName):
            raise self.error("only sorts without arguments are supported: Real, Int, Bool and declared ones", node)
        known = {"Real": REAL, "Int": INT, "Bool": BOOL, **self.result.sorts}
        name = _symbol(node.name)
        if name not in known:
            raise self.error(f"unknown sort {name!r}{nearest(name, known)}", node)
        return known[name]

    def sorted_vars(self, node: syntax.SortedVars) -> tuple[Variable, ...]:
        variables: dict[str, Variable] = {}
        for item in node.children:
            name = self.name(item.name)
            if name in variables:
                raise self.error(f"argument {name!r} appears twice", item)
            variables[name] = Variable(name, self.sort(item.sort))
        return tuple(variables.values())

    # Grammars -----------------------------------------------------------------------------------------------------------

    def grammar(self, node: syntax.GrammarDef, variables: tuple[Variable, ...], result: Sort) -> Grammar:
        names = {v.name for v in variables}
        nonterminals: dict[str, Sort] = {}
        for declared in node.nonterminals.children if node.nonterminals else node.rules.children:
            name = self.name(declared.name)
            if name in nonterminals:
                raise self.error(f"nonterminal {name!r} is declared twice", declared)
            if name in names or name in self.result.functions or name in CORE_NAMES:
                raise self.error(f"nonterminal {name!r} has the name of an argument or a function: rename it", declared)
            if name in self.result.sorts or name in ("Real", "Int", "Bool"):
                raise self.error(f"nonterminal {name!r} has the name of a sort: rename it", declared)
            nonterminals[name] = self.sort(declared.sort)
        if not nonterminals:
            raise self.error("the grammar has no rule", node)
        start, start_sort = next(iter(nonterminals.items()))
        if start_sort != result:
            raise self.error(f"the function returns {result}, but its first nonterminal {start!r} is {start_sort}", node)
        scope = {**{v.name: Term(v) for v in variables}, **{n: Term(Variable(n, s)) for n, s in nonterminals.items()}}
        productions: dict[str, list[Production]] = {}
        for rule in node.rules.children:
            name = _symbol(rule.name)
            if name not in nonterminals:
                raise self.error(f"rule for {name!r}, which is not a nonterminal{nearest(name, nonterminals)}", rule)
            if name in productions:
                raise self.error(f"{name!r} has two rules: merge them", rule)
            if name != (due := [*nonterminals][len(productions)]):
                raise self.error(f"rule for {name!r} where that for {due!r} is due: keep the order of the declaration", rule)
            if self.sort(rule.sort) != nonterminals[name]:
                raise self.error(f"{name!r} is declared {nonterminals[name]}, its rule says {self.sort(rule.sort)}", rule)
            productions[name] = [
                Production(name, body) for item in rule.productions.children
                for body in self.bodies(item, nonterminals[name], variables, scope)
            ]  # fmt: skip
            if not productions[name]:
                raise self.error(f"the rule of {name!r} is empty: give it at least one production", rule)
        for name in nonterminals:
            if name not in productions:
                raise self.error(f"nonterminal {name!r} has no rule", node)
        literals = (t for rules in productions.values() for p in rules for t in subterms(p.body) if t.is_literal)
        grammar = Grammar(nonterminals, productions, tuple(dict.fromkeys(literals)))
        for name in grammar.unproductive():
            raise self.error(f"nonterminal {name!r} derives no finite term: give it a production without nonterminals",
                             node)  # fmt: skip
        return grammar

    def bodies(self, node: Any, sort: Sort, variables: tuple[Variable, ...], scope: dict[str, Term]) -> list[Term]:
        """The right-hand sides that one production of a file stands for."""
        if isinstance(node, (syntax.AnyConstant, syntax.AnyVariable)):
            named = self.sort(node.sort)
            if named != sort:
                raise self.error(f"a rule for {sort} cannot produce a {named}", node)
            if isinstance(node, syntax.AnyVariable):
                return [Term(v) for v in variables if v.sort == sort]
            if sort not in CONSTANT_SORTS:
                raise self.error(f"(Constant {sort}) is not supported: list the constants", node)
            return [any_constant(sort)]
        body = self.term(node, scope)
        if body.sort != sort:
            raise self.error(f"a rule for {sort} cannot produce {body}, which is {body.sort}{_int_hint(body, sort)}", node)
        return [body]

    # Terms --------------------------------------------------------------------------------------------------------------

    def bool_term(self, node: syntax.TermSyntax) -> Term:
        term = self.term(node, self.result.variables)
        if term.sort != BOOL:
            raise self.error(f"expected a Bool, found {term}, which is {term.sort}", node)
        return term

    def term(self, root: syntax.TermSyntax, variables: Mapping[str, Term]) -> Term:
        """The typed term that `root` writes. An explicit stack, so that nesting is bounded by memory alone."""
        done: list[Term] = []
        stack: list[tuple[Any, Mapping[str, Term], bool]] = [(root, variables, False)]
        while stack:
            node, scope, ready = stack.pop()
            if isinstance(node, syntax.Literal):
                done.append(self.literal(node))
            elif isinstance(node, syntax.Name):
                done.append(self.leaf(node, scope))
            elif isinstance(node, syntax.Application):
                head, *args = node.children
                if ready:
                    values = tuple(done[-len(args) :])
                    del done[-len(args) :]
                    done.append(self.application(node, head, values, scope))
                else:
                    stack.append((node, scope, True))
                    stack.extend((arg, scope, False) for arg in reversed(args))
            elif isinstance(node, syntax.Let):
                bindings = node.bindings.children
                if ready:
                    values = tuple(done[-len(bindings) :])
                    del done[-len(bindings) :]
                    bound = {self.name(b.name): value for b, value in zip(bindings, values, strict=True)}
                    stack.append((node.body, {**scope, **bound}, False))
                else:
                    stack.append((node, scope, True))
                    stack.extend((b.term, scope, False) for b in reversed(bindings))
            elif isinstance(node, syntax.AnyConstant | syntax.AnyVariable):
                raise self.error("(Constant sort) and (Variable sort) stand alone in a rule, not inside a term", node)
            else:
                kind = "annotations" if isinstance(node, syntax.Annotated) else "quantifiers"
                raise self.error(f"{kind} are not supported in terms yet", node)
        return done[0]

    def literal(self, node: syntax.Literal) -> Term:
        token = node.token
        if token.type == "DECIMAL":
            return Term(Literal(Fraction(token.value), REAL))
        if token.type == "NUMERAL" and str(int(token.value)) != token.value:
            raise self.error(f"the numeral {token.value} has leading zeros", node)
        if token.type == "NUMERAL":
            return Term(Literal(int(token.value), INT))
        raise self.error(f"literals of the kind {token.value[:20]} are not supported", node)

    def leaf(self, node: syntax.Name, scope: Mapping[str, Term]) -> Term:
        if isinstance(node.identifier, syntax.IndexedSymbol):
            raise self.error("indexed identifiers are not supported yet", node)
        name = _symbol(node.identifier)
        if name in scope:
            return scope[name]
        if name in ("true", "false"):
            return Term(Literal(name == "true", BOOL))
        function = self.function(name)
        if function is not None and not function.parameters:
            return Term(function)
        if function is not None:
            raise self.error(f"{name!r} takes {len(function.parameters)} arguments: ({name} ...)", node)
        if re.fullmatch(r"-[0-9]+(\.[0-9]+)?", name):
            raise self.error(f"unknown symbol {name!r}; a negative number is written (- {name[1:]})", node)
        known = [*scope, *self.result.functions]
        elsewhere = " (declared, but not an argument of this function)" if name in self.result.variables else ""
        raise self.error(f"unknown symbol {name!r}{elsewhere}{nearest(name, known)}", node)

    def function(self, name: str) -> Function | None:
        for target in self.result.targets:
            if target.name == name:
                return Function(name, tuple(v.sort for v in target.variables), target.result)
        return self.result.functions.get(name)

    def application(self, node: syntax.Application, head: Any, args: tuple[Term, ...], scope: Mapping[str, Term]) -> Term:
        if isinstance(head, syntax.IndexedSymbol):
            raise self.error("indexed identifiers are not supported yet", node)
        name, sorts = _symbol(head), tuple(arg.sort for arg in args)
        given = f"({' '.join(map(str, sorts))})"
        hint = next((h for arg in args if (h := _int_hint(arg, REAL))), "") if REAL in sorts else ""
        if name in CORE_NAMES:
            core = core_function(name, sorts)
            if core is None:
                raise self.error(f"{name!r} does not apply to arguments of sorts {given}{hint}", node)
            return Term(core, args)
        if name in scope:
            raise self.error(f"{name!r} is a variable here, not a function", node)
        function = self.function(name)
        if function is None:
            near = nearest(name, [*self.result.functions, *CORE_NAMES])
            declare = ""
            if name in self.theory.operators:
                operator = self.theory.operators[name]
                sorts_text = " ".join(map(str, operator.parameters))
                near, declare = "", f": declare it first with (declare-fun {name} ({sorts_text}) {operator.result})"
            raise self.error(f"unknown function {name!r}{declare}{near}", node)
        if function.parameters != sorts:
            wanted = f"({' '.join(map(str, function.parameters))})"
            raise self.error(f"{name!r} takes arguments of sorts {wanted}, found {given}{hint}", node)
        return Term(function, args)


def _symbol(token: Any) -> str:
    return token[1:-1] if token.startswith("|") and token.endswith("|") and len(token) > 1 else str(token)


def _int_hint(term: Term, wanted: Sort) -> str:
    if wanted == REAL and term.sort == INT and isinstance(term.symbol, Literal):
        return f"; write {term.value}.0 for the real number"
    return ""
