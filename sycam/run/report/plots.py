"""The two plots of a report, as SVG in the page's own colours, so that one plot serves light, dark and paper."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# Matplotlib writes these colours into the SVG, and they are exchanged for the page's CSS variables afterwards.
INK, QUIET, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", QUIET: "--quiet", LINE: "--line", ACCENT: "--accent", PAPER: "--paper"}


def whisker_plot(rows: Sequence[Mapping[str, Any]], axis: str) -> str:
    """Held-out means with their intervals, one line for each CAM, in the order given; the answer in the accent colour.

    Args:
        rows: each with `name`, `kind` ("answer", "single", "known" or "control") and `held_out` {mean, lo, hi}, as printed;
            `search` {mean, ...} or None is a small upright tick.
        axis: what the numbers are.

    Returns:
        An `<svg>` element, "" where there are no rows.
    """
    if not rows:
        return ""
    figure = Figure(figsize=(8.6, 0.9 + 0.34 * len(rows)), facecolor="none")
    axes = _axes(figure)
    answer = next((row for row in rows if row["kind"] == "answer"), None)
    if answer is not None:
        axes.axvline(answer["held_out"]["mean"], color=ACCENT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for line, row in enumerate(rows):
        score = row["held_out"]
        colour = {"answer": ACCENT, "control": QUIET}.get(row["kind"], INK)
        axes.plot([score["lo"], score["hi"]], [line, line], color=colour, linewidth=1.8, solid_capstyle="round")
        face = PAPER if row["kind"] == "control" else colour
        size = 8 if row["kind"] == "answer" else 6.5
        axes.plot(score["mean"], line, "o", color=colour, markersize=size, markerfacecolor=face, markeredgewidth=1.6)
        if row.get("search") is not None:
            axes.plot(row["search"]["mean"], line, "|", color=colour, markersize=11, markeredgewidth=1.2, alpha=0.75)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_parse_math(False)
        label.set_color({"answer": ACCENT, "control": QUIET}.get(row["kind"], INK))
        label.set_fontweight("bold" if row["kind"] == "answer" else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.set_xlabel(axis, color=QUIET)
    return _svg(figure, "whiskers", "Held-out score of each CAM with its 95% interval")


def incumbent_plot(
    history: Sequence[Mapping[str, Any]], candidates: int, axis: str, known: tuple[str, float] | None = None
) -> str:
    """The incumbent's score over the candidates tried, a stair; candidates on a logarithmic axis that begins at 0.

    Args:
        history: each with `candidate` (its number) and `score`, as printed, in the order of acceptance.
        candidates: how many were tried in all, where the stair ends.
        axis: what the score is.
        known: name and score of the CAM to beat, a dashed line; None for none.

    Returns:
        An `<svg>` element, "" where there is no history.
    """
    if not history:
        return ""
    figure = Figure(figsize=(8.6, 2.9), facecolor="none")
    axes = _axes(figure)
    numbers = [max(0, int(step["candidate"])) for step in history]
    scores = [float(step["score"]) for step in history]
    end = max(candidates, numbers[-1], 1)
    # log1p: most incumbents fall early, and the first may be number 0, a known CAM scored before the search.
    axes.set_xscale("function", functions=(_log1p, _expm1))
    if known is not None:
        name, score = known
        axes.axhline(score, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            name,
            (end, score),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=QUIET,
            fontsize=9,
            parse_math=False,
        )
    axes.step([*numbers, end], [*scores, scores[-1]], where="post", color=ACCENT, linewidth=2)
    axes.plot(numbers, scores, "o", color=ACCENT, markersize=5.5, clip_on=False)
    axes.set_xlim(0, end)
    decades = [10**power for power in range(int(math.log10(end)) + 1)]
    axes.set_xticks([0, *decades], ["0", *(f"{decade:,}" for decade in decades)])
    axes.minorticks_off()
    axes.grid(color=LINE, linewidth=0.7)
    axes.margins(y=0.12)
    axes.set_xlabel("candidates tried", color=QUIET)
    axes.set_ylabel(axis, color=QUIET)
    return _svg(figure, "incumbents", "Score of the incumbent over the candidates tried")


def _log1p(value: ArrayLike) -> NDArray[np.float64]:
    return np.log1p(np.maximum(value, 0))


def _expm1(value: ArrayLike) -> NDArray[np.float64]:
    return np.expm1(value)


def _axes(figure: Figure) -> Any:
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(facecolor="none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.set_axisbelow(True)
    axes.tick_params(color=LINE, labelcolor=INK, labelsize=10)
    return axes


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element in the page's colours and font, with text as text."""
    page = io.StringIO()
    # hashsalt: ids that are the same in every run, and not the same in two plots of one page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(page, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})
    text = page.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # Unique ids: matplotlib calls the parts of every figure figure_1, axes_1, ...
    text = re.sub(r'id="((?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick)_\d+)"', rf'id="{name}-\1"', text)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
