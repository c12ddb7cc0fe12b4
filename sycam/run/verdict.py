"""One plain sentence on what a run found."""

from __future__ import annotations

from torch import Tensor

from sycam.metrics.metric import Metric

from .result import Interval, Row, difference

TIE = 5e-5  # half of the last digit that is shown


def verdict(rows: list[Row], metric: Metric, by_class: bool = False) -> str:
    """Whether the answer beats the known CAMs that the grammar derives, on held-out images where there are any; and which known
    CAMs are proved to draw its heatmap, if any. By class, first whether it beats the single term.

    The first row is the answer.
    """
    single = next((row for row in rows if row.kind == "single"), None)
    rows = [row for row in rows if row.kind != "single"]
    if by_class:
        return f"{_by_class(rows[0], single, metric)} {verdict(rows, metric)}"
    twins = [row.cam.name for row in rows[1:] if row.same_heatmap]
    if not twins:
        return _comparison(rows, metric)
    named = f"{', '.join(twins[:-1])} and {twins[-1]}" if len(twins) > 1 else twins[0]
    others = [row for row in rows if not row.same_heatmap]
    first = f"The answer has the heatmaps of {named}: proved for all tensors under the assumptions that hold here."
    if rows[0].cam.origin != "known.sy" and not any(row.derived for row in others[1:]):
        return f"{first} The grammar derives no other known CAM."
    return f"{first} {_comparison(others, metric)}"


def _by_class(answer: Row, single: Row | None, metric: Metric) -> str:
    """Whether a term for each image class is better than one for all."""
    if single is None:
        return "On no image class is a term better than the best single one: the answer is that one, for all classes."
    gain = _gap(answer.search, single.search, metric)
    first = f"On the images searched on, terms by image class gain {100 * gain['mean']:.2f} points over one term for all"
    if answer.held_out is None or single.held_out is None:
        return f"{first}; no image was held out to tell whether that carries over."
    kept = _gap(answer.held_out, single.held_out, metric)
    interval = f"95% interval of the paired difference {100 * kept['lo']:.2f} to {100 * kept['hi']:.2f}"
    images = f"on {len(answer.held_out)} held-out images"
    if kept["lo"] > 0:
        return f"{first}, and {images} {100 * kept['mean']:.2f} ({interval})."
    if kept["hi"] < 0:
        return f"{first}, but {images} they lose {-100 * kept['mean']:.2f} ({interval}): that gain is overfitted."
    return f"{first}; {images} no difference is shown, {100 * kept['mean']:+.2f} ({interval})."


def _gap(a: Tensor, b: Tensor, metric: Metric) -> Interval:
    """How much better `a` is than `b`."""
    return difference(a, b, metric) if metric.direction == "high" else difference(b, a, metric)


def _comparison(rows: list[Row], metric: Metric) -> str:
    """Whether the answer beats the known CAMs of `rows`, none of which is its twin."""
    answer, derived = rows[0], [row for row in rows[1:] if row.derived]
    sign = 1.0 if metric.direction == "high" else -1.0
    if answer.cam.origin == "known.sy":
        return f"No term tried beats {answer.cam.name} on the search images: the answer is {answer.cam.name} itself."
    if not derived and not all(row.lawful for row in rows):
        return "The grammar derives no known CAM that obeys its constraints, so there is none to beat."
    if not derived:
        return "The grammar derives no known CAM, so there is none to beat; the table shows those of the same terminals."
    if answer.held_out is None:
        return "No image was held out: the scores are those of the search, and flatter the answer."
    best = max(derived, key=lambda row: sign * row.total)
    assert best.held_out is not None
    gap = _gap(answer.held_out, best.held_out, metric)
    points = f"{100 * abs(gap['mean']):.2f} points"
    margin = f"{points} (95% interval of the paired difference {100 * gap['lo']:.2f} to {100 * gap['hi']:.2f})"
    images = f"{len(answer.held_out)} held-out images"
    verb = "beats" if gap["lo"] > 0 else "scores better than"
    sure = "" if gap["lo"] > 0 or gap["hi"] < 0 else ", within the noise"
    if abs(gap["mean"]) < TIE:
        return (
            f"On {images} the answer scores as {best.cam.name} does, the best known CAM that its grammar derives: what it won on "
            "the search images did not carry over."
        )
    if gap["mean"] > 0:
        return (
            f"On {images} the answer {verb} every known CAM that its grammar derives; the best of them, {best.cam.name}, "
            f"by {margin}{sure}."
        )
    return (
        f"On {images} the answer does not beat {best.cam.name}, a known CAM that its grammar derives: it is worse by "
        f"{margin}{sure}. What it won on the search images did not carry over."
    )
