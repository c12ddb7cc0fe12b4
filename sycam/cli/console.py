"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sycam.errors import OracleError
from sycam.job.job import OPTIONS

if TYPE_CHECKING:
    from sycam.metrics.metric import Metric
    from sycam.store import Stored

out = Console(highlight=False, soft_wrap=False, emoji=False)  # file.py:tv:name is no emoji
err = Console(stderr=True, highlight=False, emoji=False)


def with_flags(text: str) -> str:
    """A text in which options stand by their names in backticks, as a reader of the command line knows them.

    >>> with_flags("give `size`, and `mean` unless it is ImageNet's; `git` is none")
    "give --size, and --set mean=... unless it is ImageNet's; `git` is none"
    """

    def flag(found: re.Match[str]) -> str:
        one = OPTIONS.get(found[1])
        return found[0] if one is None else one.flag if one.shown else f"--set {one.name}=..."

    return re.sub(r"`(\w+)`", flag, text)


def fail(message: str) -> None:
    """An error: red where it is read by a person, and never wrapped or interpreted."""
    first, *rest = with_flags(message).split("\n")
    err.print(Text.assemble(("error: ", "bold red"), first), soft_wrap=True)
    for line in rest:
        err.print(Text(line), soft_wrap=True)


_tracebacks = False


def show_tracebacks(wanted: bool) -> None:
    """Whether `fail_of_oracle` shows what the oracle's author needs."""
    global _tracebacks
    _tracebacks = wanted


def fail_of_oracle(error: OracleError) -> None:
    """An error, with the oracle's own traceback where the user asked for it."""
    if error.details and not _tracebacks:
        first, *rest = str(error).split("\n")
        fail("\n".join([f"{first} (--set traceback=true shows where)", *rest]))
        return
    fail(str(error))
    for line in error.details.splitlines():
        err.print(Text(f"  {line}"), soft_wrap=True)


def warn(message: str) -> None:
    """A warning on stderr."""
    err.print(Text.assemble(("warning: ", "bold yellow"), with_flags(message)), soft_wrap=True)


def print_json(data: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def interval_text(interval: dict[str, float] | None, between: str = " ", scale: float = 100) -> str:
    """`12.34 [11.20, 13.50]`, in per cent unless another scale is given, and on how many images where these are not all; a dash
    where there is nothing.

    >>> interval_text({"mean": 0.1234, "lo": 0.112, "hi": 0.135})
    '12.34 [11.20, 13.50]'
    >>> interval_text({"mean": 0.1234, "lo": 0.112, "hi": 0.135, "images": 7})
    '12.34 [11.20, 13.50] on 7 images'
    """
    if interval is None:
        return "–"
    part = f"{between}on {interval['images']:.0f} images" if "images" in interval else ""
    return f"{scale * interval['mean']:.2f}{between}[{scale * interval['lo']:.2f}, {scale * interval['hi']:.2f}]{part}"


def goal_text(goal: dict[str, Any]) -> str:
    """What the answer reaches of one goal.

    >>> goal_text({"name": "iou", "direction": "high", "kind": "metric", "search": 0.25, "held_out": 0.125})
    'iou 25.00 on search images, 12.50 on held-out images (higher is better)'
    """
    better = f"({'higher' if goal['direction'] == 'high' else 'lower'} is better)"
    if goal["kind"] == "cost":
        return f"{goal['name']} {goal['search']} {better}"
    held_out = "" if goal["held_out"] is None else f", {100 * goal['held_out']:.2f} on held-out images"
    return f"{goal['name']} {100 * goal['search']:.2f} on search images{held_out} {better}"


def asked_text(counts: dict[str, Any]) -> str:
    """How many image scores a run needed of all it could, and what ordered its candidates.

    >>> asked_text({"image_scores_of_search": 250, "image_scores_possible": 1000, "similar": 3})
    '250 of 1,000 image scores asked (25.0%), 3 similar ones put last'
    """
    asked, possible = counts["image_scores_of_search"], counts["image_scores_possible"]
    text = f"{asked:,} of {possible:,} image scores asked" + (f" ({100 * asked / possible:.1f}%)" if possible else "")
    return text + (f", {counts['similar']:,} similar ones put last" if counts.get("similar") else "")


def stored_text(stored: Stored) -> str:
    """One line on what a run found in the cache and put there.

    >>> from sycam.store import Stored
    >>> stored_text(Stored(8, 6, 1, 2, 5000, 1200, "/cache"))
    'Terminals of 3 images: 8 values read from the cache, 6 computed; 1.2 KB written to /cache.'
    """
    from sycam.job.sizes import size_text

    images = stored.images_read + stored.images_computed
    return (
        f"Terminals of {images:,} image{'' if images == 1 else 's'}: {stored.rows_read:,} values read from the cache, "
        f"{stored.rows_computed:,} computed; {size_text(stored.bytes_written)} written to {stored.folder}."
    )


def cam_cell(name: str, expression: str, style: str = "bold") -> Text:
    """A CAM in a table: its name, and below it the expression where that says more."""
    below = "" if expression == name else f"\n{expression}"
    return Text.assemble((name, style), (below, "dim"), overflow="fold")


def class_table(by_class: dict[str, Any], metric: Metric) -> Table:
    """Each image class with its term, its scores, and beside them those of the single term."""
    caption = (
        f"{metric.name} in per cent by the answer, and by the single term, on images of each class. Classes with fewer than "
        f"{by_class['min_images']} search images, and those on which nothing is better, have the single term."
    )
    table = Table(caption=caption, caption_justify="left")
    for heading in ("image class", "term"):
        table.add_column(heading, overflow="fold")
    for heading in ("search", "single", "held out", "single"):
        table.add_column(heading, justify="right")
    for row in by_class["classes"]:
        scores = []
        for part in (row["search"], row["held_out"] or {"images": 0}):
            of = f" ({part['images']})" if part["images"] else ""
            scores += [f"{100 * part['score']:.2f}{of}", f"{100 * part['single']:.2f}"] if part["images"] else ["–", "–"]
        term = row["expression"] if row["own"] else "the single term" if row["searched"] else "the single term: too few images"
        table.add_row(Text(row["name"]), Text(term, style="" if row["own"] else "dim"), *scores)
    return table


def result_table(rows: Sequence[dict[str, Any]], metric: Metric) -> Table:
    """The answer and the known CAMs with their scores, intervals below the means; the best held-out score in bold."""
    arrow = "higher is better" if metric.direction == "high" else "lower is better"
    caption = f"{metric.name} in per cent with 95% intervals, {arrow}. Difference: paired, minus the answer. ✓: in the grammar."
    if any(row["same_heatmap"] for row in rows):
        caption += " ≡: proved to have the answer's heatmap."
    table = Table(caption=caption, caption_justify="left", show_lines=True)
    table.add_column("CAM", ratio=1)
    for heading in ("search images", "held-out images", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    held = [row["held_out"]["mean"] for row in rows if row["held_out"]]
    best = (max if metric.direction == "high" else min)(held) if held else None
    for row in rows:
        answer = row["kind"] == "answer"
        name = row["name"] if answer or not row["derived"] else f"{row['name']} ✓"
        name += " ≡" if row["same_heatmap"] else ""
        first = row["held_out"] is not None and row["held_out"]["mean"] == best
        table.add_row(
            cam_cell(name, row["expression"], "bold green" if answer else "bold"),
            interval_text(row["search"], "\n"),
            Text(interval_text(row["held_out"], "\n"), style="bold" if first else ""),
            interval_text(row["difference"], "\n") if row["difference"] else "",
        )
    return table


def print_result(result: dict[str, Any], metric: Metric, folder: Path, kept: bool) -> None:
    """What a run found, for a person: tables, verdict, goals, counts, the answer, and where its files are."""
    from sycam.store import Stored

    out.print()
    out.print(result_table(result["table"], metric))
    out.print()
    if result["by_class"]:
        out.print(class_table(result["by_class"], metric))
        out.print()
    out.print(result["verdict"])
    if len(result["goals"]) > 1:
        out.print(f"Goals, in order: {'; '.join(map(goal_text, result['goals']))}.")
    out.print(counts_text(result["counts"], result["stopped_by"]))
    if kept:
        out.print(stored_text(Stored(**result["manifest"]["cache"])), soft_wrap=True)
    out.print(f"\n{result['answer']['define_fun']}\n", soft_wrap=True, markup=False)
    for what, name in (("report", "report.html"), ("picture", "gallery.png"), ("answer", "answer.sy"), ("job", "job.json")):
        out.print(f"{what:8} {folder / name}", soft_wrap=True)


def counts_text(counts: dict[str, Any], stopped_by: str) -> str:
    """What a run did, in two sentences."""
    laws = ""
    if "unlawful" in counts:
        laws = f"{counts['unlawful']:,} not proved to obey the constraints ({counts['laws_undecided']:,} of them undecided), "
    return (
        f"Stopped by: {stopped_by}. {counts['terms']:,} terms, {counts['classes']:,} classes, "
        f"{counts['merges']:,} proved equal, {counts['undecided']:,} pairs undecided; {counts['candidates']:,} candidates on "
        f"{counts['images_searched']:,} images, {laws}{counts['same_heatmap']:,} proved to have the heatmap of an earlier one, "
        f"{counts['same_on_images']:,} with its heatmaps on these images, "
        f"{counts['rejected_early']:,} rejected early, {asked_text(counts)}, {counts['masked_passes']:,} masked passes."
    )
