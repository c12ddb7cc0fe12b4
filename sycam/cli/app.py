"""The typer application: every command is one module; what they share is in `options` and `console`."""

from __future__ import annotations

import typer

from . import cache, check, compare, explain, listing, score, synth

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
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("check")(check.check)
app.command("list")(listing.list_)
app.add_typer(cache.app, name="cache")
