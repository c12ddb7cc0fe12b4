"""A run as one HTML page that needs nothing else: pictures and plots are inside it, and no script runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sycam.errors import SycamError
from sycam.run.report.plots import incumbent_plot, whisker_plot

PNG = b"\x89PNG\r\n\x1a\n"

COUNTS = {
    "terms": "terms enumerated",
    "classes": "classes (proved distinct or kept apart)",
    "merges": "terms proved equal to an earlier one, and merged",
    "undecided": "pairs left undecided: equal?",
    "undecided_heatmaps": "pairs left undecided: same heatmap?",
    "candidates": "candidates scored",
    "same_heatmap": "candidates proved to have the same heatmap as an earlier one",
    "same_on_images": "candidates with the same heatmaps as an earlier one on these images",
    "rejected_early": "rejected before the last image",
    "unlawful": "not proved to obey the constraints, and not scored",
    "laws_undecided": "of these neither proved nor refuted",
    "law_claims": "claims about constraints put to cvc5",
    "law_counterexamples": "counterexamples that cvc5 found",
    "image_scores": "image scores asked for, known CAMs included",
    "image_scores_of_search": "of these by the search",
    "image_scores_possible": "image scores had the search asked every candidate on every image, by every metric",
    "image_scores_shared": "answered from an equal heatmap of the image",
    "similar": "candidates put last, for heatmaps like those of a scored one",
    "masked_passes": "masked forward passes",
}
"""What the counts of a run are called on the page; a count that is not here is called by its key."""


def write_report(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write the report of one run.

    Args:
        path: of the HTML file, which is overwritten.
        data: what to report. `title`, `answer`, `metric` and `rows` must be there; any other part may be left out, and
            is then not on the page. Scores are as the metric gives them, and shown times 100.

            - title, protocol, verdict, stop_reason: sentences.
            - answer: {expression, define_fun, sort, size}.
            - metric: {name, direction: "high" | "low", source}; `percent: False` to show scores as they are.
            - goals: [{name, direction, kind: "metric" | "cost", search, held_out}], where there are several.
            - network, images: {what: value} in the words of the page.
            - by_class: {min_images, classes: [{name, own, searched, expression, search, held_out}], otherwise}, the last two of a
              class {images, score, single} or None (`sycam.run.by_class`).
            - rows: [{name, expression, derived, kind: "answer" | "single" | "known" | "control", search, held_out, difference}],
              the last three {mean, lo, hi} or None; `difference` is the row's held-out score minus the answer's; `same_heatmap`:
              True where the row is proved to draw the answer's heatmap; `lawful`: False where it breaks a constraint.
            - counts: {terms, classes, ...: number} (see `COUNTS`), and `seconds`: {phase: number}.
            - incumbents: [{candidate, seconds, expression, score}] in the order of acceptance.
            - pictures: [{caption, png: bytes}].
            - manifest: {what: value}, values nested as they like.

    Raises:
        SycamError: a part that must be there is not; a row without its name or of an unknown kind; a picture that is no
            PNG; a path that cannot be written.
    """
    _check(data)
    scale = 100.0 if data["metric"].get("percent", True) else 1.0
    higher = data["metric"]["direction"] == "high"
    rows = [_scaled_row(row, scale, higher) for row in data["rows"]]
    placed = [row for row in rows if row["held_out"] is not None]
    placed.sort(key=lambda row: row["held_out"]["mean"], reverse=higher)
    rows = placed + [row for row in rows if row["held_out"] is None]
    incumbents = [{**step, "score": step["score"] * scale} for step in data.get("incumbents") or []]
    unit = ", per cent" if scale == 100 else ""
    axis = f"{data['metric']['name']}{unit}"
    toward = "higher is better →" if higher else "← lower is better"
    counts = dict(data.get("counts") or {})
    seconds = counts.pop("seconds", None) or {}
    page = _environment().get_template("template.html.jinja")
    text = page.render(
        {
            "by_class": None,
            "protocol": "",
            "verdict": "",
            "stop_reason": "",
            "goals": [],
            "network": {},
            "images": {},
            "manifest": {},
        }
        | {key: value for key, value in data.items() if value is not None},
        rows=rows,
        goals=[_scaled_goal(goal, scale) for goal in data.get("goals") or []],
        answer_row=next((row for row in rows if row["kind"] == "answer"), None),
        higher=higher,
        unit=unit,
        incumbents=incumbents,
        scale=scale,
        counts=[(COUNTS.get(key, key.replace("_", " ")), number) for key, number in counts.items()],
        phases=_shares(seconds),
        whiskers=whisker_plot(placed, f"{axis}, held-out images ({toward})"),
        stairs=incumbent_plot(incumbents, int(counts.get("candidates") or 0), axis, _best_known(rows, higher)),
        pictures=[
            {"caption": picture["caption"], "source": base64.b64encode(picture["png"]).decode()}
            for picture in data.get("pictures") or []
        ],
    )
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SycamError(f"cannot write the report {path}: {reason}; name a file in a folder that exists") from error


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = lambda value: f"{value:.2f}".replace("-", "−")
    environment.filters["signed"] = lambda value: f"{value:+.2f}".replace("-", "−")
    environment.filters["number"] = _number
    return environment


def _check(data: Mapping[str, Any]) -> None:
    for part, keys in (("title", ()), ("answer", ("expression",)), ("metric", ("name", "direction")), ("rows", ())):
        if data.get(part) is None:
            raise SycamError(f"a report needs {part!r}; its data has {', '.join(data) or 'nothing'}")
        missing = [key for key in keys if key not in data[part]]
        if missing:
            raise SycamError(f"a report's {part} needs {missing[0]!r}; it has {', '.join(data[part])}")
    if data["metric"]["direction"] not in ("high", "low"):
        raise SycamError(f"a report's metric has direction 'high' or 'low', not {data['metric']['direction']!r}")
    for row in data["rows"]:
        if "name" not in row or row.get("kind") not in ("answer", "single", "known", "control"):
            raise SycamError(f"a report's row needs a name and a kind, 'answer', 'single', 'known' or 'control'; this is {row!r}")
    for picture in data.get("pictures") or []:
        if not bytes(picture["png"][:8]) == PNG:
            raise SycamError(f"the picture {picture['caption']!r} is no PNG: give the bytes of a PNG file")


def _scaled_row(row: Mapping[str, Any], scale: float, higher: bool) -> dict[str, Any]:
    """A row with its numbers as printed, and in words whether the answer is shown to be better."""
    scaled = {"expression": None, "derived": None, "same_heatmap": False, "lawful": True} | dict(row)
    for part in ("search", "held_out", "difference"):
        numbers = row.get(part)
        scaled[part] = None if numbers is None else {end: numbers[end] * scale for end in ("mean", "lo", "hi")}
    apart = scaled["difference"]
    if row["kind"] == "answer" or apart is None:
        scaled["outcome"] = ""
    elif apart["lo"] <= 0 <= apart["hi"]:
        scaled["outcome"] = "no difference shown"
    else:
        scaled["outcome"] = "answer worse" if (apart["lo"] > 0) == higher else "answer better"
    return scaled


def _scaled_goal(goal: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A goal with its numbers as printed: a metric's scaled, a cost as it is."""
    factor = scale if goal["kind"] == "metric" else 1.0
    return {**goal, **{k: None if goal[k] is None else goal[k] * factor for k in ("search", "held_out")}}


def _best_known(rows: Sequence[Mapping[str, Any]], higher: bool) -> tuple[str, float] | None:
    """Name and search score of the known CAM that the search had to beat: the best that the grammar derives."""
    known = [row for row in rows if row["kind"] == "known" and row["derived"] and row["search"] is not None]
    if not known:
        return None
    best = (max if higher else min)(known, key=lambda row: row["search"]["mean"])
    return best["name"], best["search"]["mean"]


def _shares(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Phases with their seconds and their share of the whole, in per cent."""
    total = sum(seconds.values()) or 1.0
    return [{"name": name, "seconds": spent, "share": 100 * spent / total} for name, spent in seconds.items()]


def _number(value: Any) -> str:
    """A count with thousands apart, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
