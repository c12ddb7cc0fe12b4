"""What a SyGuS-IF file states: the functions to synthesise, and what is known of their world."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import syntax
from .errors import Place, SygusError
from .grammar import Grammar
from .terms import Function, Sort, Term, Variable


@dataclass
class Target:
    """A function to synthesise: name, arguments, result and grammar."""

    name: str
    variables: tuple[Variable, ...]
    result: Sort
    grammar: Grammar
    place: Place


@dataclass
class Problem:
    """A SyGuS-IF file, read.

    Attributes:
        file: where it came from, for messages.
        commands: the parse tree, in order.
        variables: `declare-var`, by name.
        functions: `define-fun` and `declare-fun`, by name.
        assumptions, constraints: Bool terms.
        targets: the functions to synthesise.
        not_acted_on: commands that were read but that nothing here obeys, with their places.
    """

    file: str
    logic: str | None = None
    commands: list[syntax.Command] = field(default_factory=list)
    sorts: dict[str, Sort] = field(default_factory=dict)
    variables: dict[str, Term] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    assumptions: list[tuple[Term, Place]] = field(default_factory=list)
    constraints: list[tuple[Term, Place]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    not_acted_on: list[tuple[str, Place]] = field(default_factory=list)
    checked: bool = False

    def target(self) -> Target:
        """The one function to synthesise, where every command of the file can be obeyed.

        Raises:
            SygusError: naming a command that would be ignored, or where there is not exactly one target.
        """
        if self.not_acted_on:
            command, place = self.not_acted_on[0]
            raise SygusError(f"{command} is not supported yet, and a file is obeyed whole or not at all: take it out", place)
        if len(self.targets) != 1:
            raise SygusError(f"{self.file}: expected one synth-fun, found {len(self.targets)}")
        if not self.checked:
            raise SygusError(f"{self.file}: no (check-synth): nothing is asked for; add it as the last command")
        return self.targets[0]
