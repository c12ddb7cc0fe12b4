"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sycam.metrics.registry import Metric

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def fail(message: str) -> None:
    """An error: red where it is read by a person, and never wrapped or interpreted."""
    first, *rest = message.split("\n")
    err.print(Text.assemble(("error: ", "bold red"), first), soft_wrap=True)
    for line in rest:
        err.print(Text(line), soft_wrap=True)


def warn(message: str) -> None:
    """A warning on stderr."""
    err.print(Text.assemble(("warning: ", "bold yellow"), message), soft_wrap=True)


def print_json(data: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def interval_text(interval: dict[str, float] | None) -> str:
    """`12.34 (11.20–13.50)`, in per cent; a dash where there is nothing.

    >>> interval_text({"mean": 0.1234, "lo": 0.112, "hi": 0.135})
    '12.34 (11.20–13.50)'
    """
    if interval is None:
        return "–"
    return f"{100 * interval['mean']:.2f} ({100 * interval['lo']:.2f}–{100 * interval['hi']:.2f})"


def result_table(rows: Sequence[dict[str, Any]], metric: Metric, title: str = "") -> Table:
    """The answer and the known CAMs with their scores; the best held-out score in bold."""
    arrow = "higher is better" if metric.direction == "high" else "lower is better"
    table = Table(
        title=title, title_justify="left", caption=f"{metric.name} in per cent, {arrow}; 95% intervals", caption_justify="left"
    )
    table.add_column("CAM", no_wrap=True)
    table.add_column("derived")
    table.add_column("search images", justify="right", no_wrap=True)
    table.add_column("held-out images", justify="right", no_wrap=True)
    table.add_column("against the answer", justify="right", no_wrap=True)
    table.add_column("expression", overflow="fold")
    held = [row["held_out"]["mean"] for row in rows if row["held_out"]]
    best = (max if metric.direction == "high" else min)(held) if held else None
    for row in rows:
        style = "bold" if row["held_out"] and row["held_out"]["mean"] == best else ""
        name = Text(row["name"], style="bold green" if row["kind"] == "answer" else "")
        derived = "" if row["kind"] == "answer" else "yes" if row["derived"] else "no"
        table.add_row(
            name, derived, interval_text(row["search"]), Text(interval_text(row["held_out"]), style=style),
            interval_text(row["difference"]) if row["difference"] else "", Text(row["expression"]),
        )  # fmt: skip
    return table
