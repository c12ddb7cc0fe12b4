"""What a SyGuS-IF file states: the functions to synthesise, and what is known of their world."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import Place, SygusError
from ..grammar import Grammar, grammar_text
from ..terms import Function, Sort, Term, Variable, sort_text, symbol_text, variables_text
from . import syntax


@dataclass
class Target:
    """A function to synthesise: name, arguments with their places, result and grammar."""

    name: str
    variables: tuple[Variable, ...]
    result: Sort
    grammar: Grammar
    place: Place
    places: dict[str, Place] = field(default_factory=dict)
    given: bool = True
    """Whether the file gives the grammar; else it is that of the logic."""


@dataclass(frozen=True)
class Datatype:
    """`(declare-datatype name ...)`: its constructors with the names and sorts of their parts.

    In a datatype with `parameters` the sort of a part that is a parameter has its name after a backslash.
    """

    name: str
    parameters: tuple[str, ...]
    constructors: dict[str, tuple[Variable, ...]]
    place: Place


@dataclass(frozen=True)
class OracleFunction:
    """`(declare-oracle-fun name (sorts) sort implementation)`: a function whose values an oracle gives, found by the name
    `implementation`. A parameter that is a function has a sort named `->`, its result last."""

    name: str
    parameters: tuple[Sort, ...]
    result: Sort
    implementation: str
    place: Place


@dataclass(frozen=True)
class Weight:
    """`(declare-weight name)`: a cost of productions; one that a rule does not annotate costs `default`."""

    name: str
    default: int
    place: Place


@dataclass(frozen=True)
class Goal:
    """One term of an objective, with "max" or "min"."""

    term: Term
    direction: str
    place: Place


@dataclass(frozen=True)
class Objective:
    """`(optimize-synth (goals...) :lexico)`: goals in order, and how they combine, "lexico" or "pareto"."""

    goals: tuple[Goal, ...]
    combination: str
    place: Place


@dataclass
class Problem:
    """A SyGuS-IF file, read.

    Attributes:
        file, text: where it came from, for messages.
        commands: the parse tree, in order.
        sorts: `declare-sort`, and the datatypes: the number of arguments, by name.
        datatypes: `declare-datatype`, by name.
        variables: `declare-var`, by name.
        functions: `define-fun` and `declare-fun`, by name.
        recursive: the variables and the body of each `define-fun-rec`, by name.
        assumptions, constraints: Bool terms.
        targets: the functions to synthesise.
        oracles: `declare-oracle-fun`, by name.
        weights: `declare-weight`, by name.
        objective: what `optimize-synth` asks for; None where the file ends in `check-synth`.
        not_acted_on: commands that were read but that nothing here obeys, with their places.
    """

    file: str
    text: str = ""
    logic: str | None = None
    commands: list[syntax.Command] = field(default_factory=list)
    sorts: dict[str, int] = field(default_factory=dict)
    datatypes: dict[str, Datatype] = field(default_factory=dict)
    variables: dict[str, Term] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    recursive: dict[str, tuple[tuple[Variable, ...], Term]] = field(default_factory=dict)
    assumptions: list[tuple[Term, Place]] = field(default_factory=list)
    constraints: list[tuple[Term, Place]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    oracles: dict[str, OracleFunction] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    objective: Objective | None = None
    not_acted_on: list[tuple[str, Place]] = field(default_factory=list)
    checked: bool = False

    def error(self, message: str, place: Place) -> SygusError:
        """An error at a place of this file, with its line."""
        return SygusError(message, place, self.text)

    def target(self) -> Target:
        """The one function to synthesise, where every command of the file can be obeyed.

        Raises:
            SygusError: naming a command that would be ignored, or where there is not exactly one target.
        """
        if self.not_acted_on:
            command, place = self.not_acted_on[0]
            raise self.error(f"{command} is not supported yet, and a file is obeyed whole or not at all: take it out", place)
        if not self.targets:
            raise SygusError(
                f"{self.file}: no synth-fun: a grammar file says what to synthesise, (synth-fun weight ((A Map)) Real ...); a "
                "file of define-funs goes to score and explain"
            )
        if len(self.targets) > 1:
            raise self.error("a second synth-fun: a run synthesises one function, give the other a file of its own",
                             self.targets[1].place)  # fmt: skip
        if not self.checked:
            raise SygusError(
                f"{self.file}: no (check-synth) and no (optimize-synth ...): nothing is asked for; add one as the last command"
            )
        return self.targets[0]


def synth_fun(target: Target) -> str:
    """A `synth-fun` command with its grammar."""
    head = f"(synth-fun {symbol_text(target.name)} {variables_text(target.variables)} {sort_text(target.result)}"
    return f"{head}\n{grammar_text(target.grammar)})"
