"""The command line. Every command is one module; what they share is in `options` and `console`."""

from __future__ import annotations

import io
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


INTERRUPTED = 130


def main() -> None:
    """Runs the command line. Bad input: one message on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show λ shows a question mark
    try:
        app()
    except (SycamError, SygusError) as error:
        fail(str(error))
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer's own exit code for Ctrl-C; during a search the loop ends with its best instead
            fail("interrupted: there is no answer yet")
        raise


__all__ = ["app", "main"]
