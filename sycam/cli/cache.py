"""`sycam cache`: what is kept on disk between runs, and how to be rid of it."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table

from sycam.errors import SycamError

from . import console, options

if TYPE_CHECKING:
    from sycam.store import TerminalStore

app = typer.Typer(name="cache", help="Show what runs keep on disk, or clear it.", invoke_without_command=True)
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.callback()
def show(context: typer.Context, cache: options.Cache = None, as_json: options.Json = False) -> None:
    """Show the terminals that runs have kept, by model, layer and terminal; `sycam cache clear` removes them."""
    if context.invoked_subcommand is not None:
        if cache is not None or as_json:
            raise typer.BadParameter(f"options of {context.invoked_subcommand} go after it")
        return
    from sycam.job.sizes import size_text

    store = _store(cache)
    entries, size = store.entries() if store else [], store.bytes if store else 0
    if as_json:
        console.print_json(
            {
                "folder": _folder(cache),
                "bytes": size,
                "limit": store.limit if store else None,
                "entries": [vars(e) for e in entries],
            }
        )
        return
    for (model, layer, device), rows in groupby(entries, lambda e: (e.model, e.layer, e.device)):
        view = Table(title=f"{model}, layer {layer}, {device}", title_justify="left", min_width=64)
        view.add_column("terminal", ratio=1, overflow="fold")
        for heading in ("values", "size", "last use"):
            view.add_column(heading, justify="right", no_wrap=True)
        for e in rows:
            view.add_row(e.terminal, f"{e.values:,}", size_text(e.bytes), f"{datetime.fromtimestamp(e.used):%Y-%m-%d %H:%M}")
        console.out.print(view)
    limit = f" of at most {size_text(store.limit)}" if store else ""
    console.out.print(f"{size_text(size)}{limit} in {_folder(cache)}", soft_wrap=True)


@app.command("clear")
def clear(
    cache: options.Cache = None,
    model: Annotated[
        Optional[str], typer.Option(help="Only what belongs to this model, named as `sycam cache` shows it.")
    ] = None,
    older_than: Annotated[Optional[str], typer.Option(help="Only what was not used for so long: 90m, 12h, 30d, 8w.")] = None,
    as_json: options.Json = False,
) -> None:
    """Remove kept terminals: all, or of one model, or those not used for long.

    Runs that use them at this moment go on undisturbed.
    """
    from sycam.job.sizes import size_text

    seconds = _seconds(older_than) if older_than is not None else None
    store = _store(cache)
    if store and model is not None and model not in (known := sorted({e.model for e in store.entries()})):
        raise SycamError(f"nothing is kept of a model {model!r}; there are {', '.join(known) or 'none'}")
    freed = store.clear(model, seconds) if store else 0
    if as_json:
        console.print_json({"folder": _folder(cache), "freed": freed, "bytes": store.bytes if store else 0})
        return
    console.out.print(
        f"{size_text(freed)} removed, {size_text(store.bytes if store else 0)} left in {_folder(cache)}", soft_wrap=True
    )


def _folder(cache: str | None) -> str:
    return str(options.cache_folder(cache))


def _store(cache: str | None) -> TerminalStore | None:
    """The store, or None where there is no such folder: showing it does not make one."""
    from sycam.store import TerminalStore

    folder = options.cache_folder(cache)
    if folder is None:
        raise SycamError("`none` is no cache folder: leave --cache out for the usual one")
    return TerminalStore(folder, warn=console.warn) if folder.is_dir() else None


def _seconds(text: str) -> float:
    """A time in seconds.

    >>> _seconds("90m"), _seconds("2d")
    (5400.0, 172800.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if match is None:
        raise SycamError(f"--older-than takes a number and m, h, d or w, such as 30d; not {text!r}")
    return float(match[1]) * UNITS[match[2]]
