"""The typer application: every command is one module, loaded when it is called; what they share is in `options` and `console`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from . import console

COMMANDS = {
    "synth": ("synth:synth", "Find the expression of GRAMMAR whose heatmaps score best."),
    "score": ("score:score", "Score CAMs side by side, by one or more metrics, with 95% intervals."),
    "compare": ("compare:compare", "Put saved scores side by side, by metric and CAM."),
    "explain": ("explain:explain", "Draw IMAGE, the heatmap of CAM and both together, with the class and its probability."),
    "check": ("check:check", "Read FILES and say whether `synth` (or, for define-funs, `score`) would take them."),
    "list": (
        "listing:list_",
        "List metrics, terminals, operators, CAMs, models, data sets, or options of a job.",
    ),
    "cache": ("cache:app", "Show what runs keep on disk, or clear it."),
}
"""Of each command the module and what it has there, and what the list of commands says of it."""
STYLE: dict[str, Any] = {
    "pretty_exceptions_enable": False,  # a bug of ours shows Python's own traceback
    "rich_markup_mode": "rich",
}


UsageError: Any = typer.BadParameter.__mro__[1]  # click's, which typer has in one module or another


class Command(TyperCommand):
    """A command that knows which options have no flag, and says how they are given."""

    taken: ClassVar[dict[str, Any]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            flag = getattr(error, "option_name", "")
            name = flag.lstrip("-").replace("-", "_")
            if name not in self.taken:
                raise
            raise UsageError(f"{flag} is no flag: give --set {name}=VALUE", ctx) from None


class Commands(TyperGroup):
    """All commands. Their modules take torch along, which loads for seconds, so the list of commands does without them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line, rich_markup_mode="rich") for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was called, with its options."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and found else None, rest


def load(name: str) -> Any:
    """A command with its options, or a group of commands."""
    module, attribute = COMMANDS[name][0].split(":")
    made = getattr(import_module(f".{module}", __package__), attribute)
    if isinstance(made, typer.Typer):
        return typer.main.get_command(made)
    one = typer.Typer(add_completion=False, **STYLE)
    one.command(name, cls=type(name, (Command,), {"taken": getattr(made, "options", {})}))(made)
    return typer.main.get_command(one)


app = typer.Typer(name="sycam", cls=Commands, no_args_is_help=True, **STYLE)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"sycam {version('sycam')}")
        raise typer.Exit


@app.callback()
def sycam(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Synthesise class activation maps: a grammar goes in, the expression whose heatmaps score best comes out."""
