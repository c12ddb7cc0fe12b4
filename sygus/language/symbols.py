"""What the names of a file mean: its sorts, functions, datatypes and weights, and those of its logic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import FUNCTIONS, core_function
from ..errors import Place, SygusError, cut, nearest, shown
from ..terms import BOOL, LARGEST_SORT, RESERVED, Function, Sort, Term, Variable, arrow, bit_vector
from ..theory import CORE, Theory
from .logics import Logic, logic
from .parser import Source
from .problem import Datatype, Problem
from .signature import Signature
from .syntax import SortApplication, SortedVar, SortIndexed, SortSyntax, Token

_LONGEST_MESSAGE = 1_000
DIGITS = 4_000
"""How many digits a number may have: beyond, Python's own conversion refuses or takes quadratic time."""


def symbol(token: str) -> str:
    """The name that a token writes, without its bars."""
    return token[1:-1] if token.startswith("|") and token.endswith("|") and len(token) > 1 else str(token)


class Symbols:
    """The names of one file, filled in as its commands are read.

    Attributes:
        logic: what the theories offer.
        features: those that are on.
        aliases: terms with a `:named`.
        targets: the functions to synthesise, as symbols of terms.
    """

    def __init__(self, source: Source, theory: Theory) -> None:
        self.source, self.theory = source, theory
        self.problem = Problem(source.file, source.text)
        everything = logic("ALL")
        assert everything is not None
        self.logic: Logic = everything
        self.features = {":grammars"}
        self.aliases: dict[str, Term] = {}
        self.targets: dict[str, Function] = {}
        self.abbreviations: dict[str, tuple[tuple[str, ...], Sort]] = {}
        self.constructors: dict[str, tuple[Datatype, Signature]] = {}
        self.selectors: dict[str, Signature] = {}
        self._taken = self.logic.taken()

    def use_logic(self, chosen: Logic) -> None:
        """Takes `chosen` for the logic of the file."""
        self.logic, self._taken = chosen, chosen.taken()

    # Messages -----------------------------------------------------------------------------------------------------------

    def place(self, node: Any) -> Place:
        """Where `node` begins."""
        return self.source.place(node.at if isinstance(node, Token) else node.open.at)

    def error(self, message: str, node: Any) -> SygusError:
        """An error at the place of `node`."""
        return SygusError(cut(message, _LONGEST_MESSAGE), self.place(node), self.source.text)

    # Names --------------------------------------------------------------------------------------------------------------

    def name(self, token: Token) -> str:
        """A symbol that is given a meaning: no reserved word and no number, unless between bars."""
        if token in RESERVED:
            raise self.error(f"{shown(token)} is a reserved word: write |{token}|, or rename it", token)
        if re.match(r"-[0-9]", token):
            raise self.error(f"{shown(token)} is a number, not a name", token)
        return symbol(token)

    def builtin(self, name: str) -> bool:
        """Whether the logic has a function `name`."""
        return name in self._taken

    def may_declare(self, name: str, token: Token) -> None:
        """Refuses a name that the logic has."""
        if name in self._taken and name in FUNCTIONS:
            raise self.error(f"{shown(name)} is a core function and cannot be declared again", token)
        if name in self._taken:
            raise self.error(f"{shown(name)} belongs to another theory of SMT-LIB and cannot be declared: rename it", token)
        if name.startswith((".", "@")):
            raise self.error(f"{shown(name)}: names that start with {name[0]} are reserved", token)

    def new_name(self, token: Token) -> str:
        """A name that is not in use yet."""
        name = self.name(token)
        self.may_declare(name, token)
        if name in self.targets:
            raise self.error(f"{shown(name)} is already a function to synthesise", token)
        if self.has(name):
            raise self.error(f"{shown(name)} is declared twice", token)
        return name

    def has(self, name: str) -> bool:
        """Whether the file has given `name` a meaning, sorts apart."""
        problem = self.problem
        return (
            name in problem.functions or name in problem.variables or name in self.targets or name in self.constructors
            or name in self.selectors or name in self.aliases
        )  # fmt: skip

    def needs(self, feature: str, node: Any) -> None:
        """Refuses `node` where the file has not set the feature that it belongs to."""
        if feature not in self.features:
            raise self.error(f"this command needs (set-feature {feature} true) before it", node)

    def number(self, token: Token, least: int = 0) -> int:
        """The number that a numeral writes."""
        if token.type != "NUMERAL":
            raise self.error(f"found {shown(token)} where a numeral is expected", token)
        if len(token) > DIGITS:
            raise self.error(f"a number of {len(token):,} digits: at most {DIGITS:,} are read", token)
        if int(token) < least:
            raise self.error(f"found {token} where a number of at least {least} is expected", token)
        return int(token)

    # Sorts --------------------------------------------------------------------------------------------------------------

    def sort(self, node: SortSyntax, parameters: Mapping[str, Sort] | None = None, depth: int = 0) -> Sort:
        """The sort that `node` writes; `parameters` are the names of sorts that a definition is over."""
        if depth > LARGEST_SORT:
            raise self.error(f"a sort nested more than {LARGEST_SORT} deep", node)
        if isinstance(node, SortIndexed):
            return self._indexed_sort(node)
        token = node.name if isinstance(node, SortApplication) else node
        name, known = symbol(token), parameters or {}
        inner = node.arguments if isinstance(node, SortApplication) else []
        if name in known and not inner:
            return known[name]
        if name == "->" and inner:
            return self._arrow(node, [self.sort(child, parameters, depth + 1) for child in inner])
        arguments = tuple(self.sort(child, parameters, depth + 1) for child in inner)
        if name in self.abbreviations:
            names, body = self.abbreviations[name]
            self._check_arity(name, len(names), len(arguments), node)
            return _replace(body, dict(zip(names, arguments, strict=True)))
        arity, indices = self._arity(name, token, known)
        if indices:
            raise self.error(f"the sort {name} is written with an index, (_ {name} 8)", node)
        self._check_arity(name, arity, len(arguments), node)
        return Sort(name, arguments)

    def _arity(self, name: str, token: Token, parameters: Mapping[str, Sort]) -> tuple[int, int]:
        if name in self.problem.sorts:
            return self.problem.sorts[name], 0
        if name in self.logic.sorts:
            return self.logic.sorts[name]
        known = [*parameters, *self.abbreviations, *self.problem.sorts, *self.logic.sorts]
        everything = logic("ALL")
        if everything is not None and name in everything.sorts:
            raise self.error(f"the logic {self.logic.name} has no sort {name!r}; it has {', '.join(self.logic.sorts)}", token)
        raise self.error(f"unknown sort {shown(name)}{nearest(name, known)}", token)

    def _check_arity(self, name: str, wanted: int, found: int, node: Any) -> None:
        if wanted != found:
            raise self.error(f"the sort {shown(name)} takes {wanted} arguments, found {found}", node)

    def _indexed_sort(self, node: SortIndexed) -> Sort:
        name = symbol(node.name)
        if name != "BitVec" or len(node.indices) != 1:
            raise self.error(f"unknown sort (_ {shown(name)} ...): the sort with an index is (_ BitVec 8)", node)
        return bit_vector(self.number(node.indices[0], least=1))

    def _arrow(self, node: Any, sorts: Sequence[Sort]) -> Sort:
        if not self.functions_are_values:
            raise self.error("functions as values need HO_ in the logic, or (set-feature :oracles true)", node)
        if len(sorts) < 2:
            raise self.error("(-> ...) takes the sorts of the arguments and of the result", node)
        return arrow(sorts[:-1], sorts[-1])

    @property
    def functions_are_values(self) -> bool:
        """Whether the file may use functions as arguments."""
        return self.logic.higher_order or ":oracles" in self.features

    def sorted_vars(self, nodes: Sequence[SortedVar]) -> tuple[Variable, ...]:
        """Arguments or bound variables, each name once."""
        variables: dict[str, Variable] = {}
        for item in nodes:
            name = self.name(item.name)
            if name in variables:
                raise self.error(f"argument {shown(name)} appears twice", item)
            variables[name] = Variable(name, self.sort(item.sort))
        return tuple(variables.values())

    # Functions ----------------------------------------------------------------------------------------------------------

    def function(self, name: str, sorts: Sequence[Sort], wanted: Sort | None = None) -> Function | None:
        """The function `name` at argument sorts `sorts`, or None where there is none; `wanted` is the sort of an `as`."""
        if name in self.logic.core:
            return core_function(name, sorts)
        for table in self.logic.tables:
            if name in table.functions or name in table.computed:
                return table.function(name, sorts, wanted)
        declared = self.targets.get(name) or self.problem.functions.get(name)
        if declared is not None:
            return declared if declared.parameters == tuple(sorts) else None
        return self._of_datatype(name, sorts, wanted)

    def _of_datatype(self, name: str, sorts: Sequence[Sort], wanted: Sort | None) -> Function | None:
        if name in self.constructors:
            datatype, signature = self.constructors[name]
            result = signature.result_for(sorts, wanted)
            if result is None:
                return None
            return Function(name, tuple(sorts), result, qualified=bool(datatype.parameters) and wanted is not None)
        if name in self.selectors:
            result = self.selectors[name].result_for(sorts)
            return None if result is None else Function(name, tuple(sorts), result)
        if name.startswith("is-") and name[3:] in self.constructors:
            return self.tester(name[3:], sorts)
        return None

    def tester(self, constructor: str, sorts: Sequence[Sort]) -> Function | None:
        """`(_ is constructor)` at argument sorts `sorts`."""
        datatype, _ = self.constructors[constructor]
        fits = len(sorts) == 1 and sorts[0].name == datatype.name
        return Function("is", tuple(sorts), BOOL, indices=(constructor,)) if fits else None

    def wanted_by(self, name: str) -> str | None:
        """The arguments that `name` takes, for a message; None where no function is called that."""
        for table in self.logic.tables:
            if name in table.functions:
                return " or ".join(map(str, table.functions[name]))
        declared = self.targets.get(name) or self.problem.functions.get(name)
        if declared is not None:
            return f"({' '.join(map(str, declared.parameters))})"
        if name in self.constructors:
            return str(self.constructors[name][1])
        return str(self.selectors[name]) if name in self.selectors else None

    def function_names(self) -> list[str]:
        """Every name that may stand before arguments."""
        tables = [name for table in self.logic.tables for name in (*table.functions, *table.computed, *table.indexed)]
        return [*self.logic.core, *tables, *self.problem.functions, *self.targets, *self.constructors, *self.selectors]

    def undeclared(self, name: str) -> str:
        """How to declare `name` where the theory of the run has it; empty where it has not."""
        if self.theory is CORE or name not in self.theory.operators:
            return ""
        operator = self.theory.operators[name]
        return f": declare it first with (declare-fun {name} ({' '.join(map(str, operator.parameters))}) {operator.result})"


def _replace(sort: Sort, arguments: Mapping[str, Sort]) -> Sort:
    """`sort` with the parameters of an abbreviation replaced."""
    if sort.name.startswith("\\"):
        return arguments[sort.name[1:]]
    return Sort(sort.name, tuple(_replace(child, arguments) for child in sort.arguments), sort.indices)
