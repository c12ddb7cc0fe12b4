"""The command line. Every command is one module; what they share is in `options` and `console`."""

from __future__ import annotations

import sys

import typer

from sycam.errors import SycamError
from sygus import SygusError

from . import check, explain, listing, score, synth
from .console import fail

app = typer.Typer(
    name="sycam",
    help="Synthesise class activation maps: a grammar goes in, the expression whose heatmaps score best comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug of ours shows Python's own traceback
    add_completion=False,
    rich_markup_mode="rich",
)
app.command("synth")(synth.synth)
app.command("score")(score.score)
app.command("explain")(explain.explain)
app.command("check")(check.check)
app.command("list")(listing.list_)


def main() -> None:
    """Runs the command line. Bad input: one message on stderr and exit code 2."""
    try:
        app()
    except (SycamError, SygusError) as error:
        fail(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(130)


__all__ = ["app", "main"]
