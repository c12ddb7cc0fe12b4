"""Weighted sums of metrics: `0.5*average-gain - 0.5*average-drop` is a metric, computed per image. Parsed, never `eval`ed.

Oracles of the user's own are named in them as elsewhere: `average-gain - 0.5*mine.py:calm`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from lark import Lark, Transformer, v_args
from lark.exceptions import UnexpectedInput, VisitError
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.metric import Direction, Metric
from sycam.metrics.query import Query

Sum = dict[str, float]
"""Weight of each metric; of the constant under ""."""


def is_arithmetic(text: str) -> bool:
    """Whether the text is more than a name: what to ask before `weighted_sum`.

    >>> is_arithmetic("average-gain"), is_arithmetic("iou@0.5"), is_arithmetic("2*iou"), is_arithmetic("iou - average-drop")
    (False, False, True, True)
    >>> is_arithmetic("examples/mine.py:calm"), is_arithmetic("0.5*examples/mine.py:calm")
    (False, True)
    """
    return not is_own(text) and (any(mark in text for mark in "*/+()") or " - " in text or text.strip().startswith("-"))


def is_own(text: str) -> bool:
    """Whether the text has the form of an oracle of the user's own: `file.py:Name`, `package.module:Name`, `./program`."""
    return re.fullmatch(_parser().get_terminal("OWN").pattern.to_regexp(), text.strip()) is not None


def weighted_sum(text: str, find: Callable[[str], Metric]) -> Metric:
    """The metric that a weighted sum of metrics is.

    Higher is better where every metric that is better high has a positive weight and every one that is better low a negative one;
    lower, where all are the other way round. The bounds are those of the sum, and the passes the sum of the metrics', which share
    what they can.

    Args:
        text: names, `file.py:Name`, numbers, + - * / and parentheses.
        find: a metric by its name.

    Raises:
        SycamError: no such sum, with a caret; an unknown metric; one that is not a mean over images; weights that pull against
            one another's directions; a product of metrics.

    >>> from sycam.metrics.own.find import find_metric
    >>> both = weighted_sum("0.5*average-gain - 0.5*average-drop", find_metric)
    >>> both.name, both.direction, both.bounds, both.passes
    ('0.5*average-gain-0.5*average-drop', 'high', (-0.5, 0.5), 2)
    >>> from sycam.metrics.query import probe
    >>> both(probe(p=[0.5, 0.5], o=[0.75, 0.25]))
    tensor([ 0.2500, -0.2500])
    >>> weighted_sum("average-gain + average-drop", find_metric)
    Traceback (most recent call last):
    sycam.errors.SycamError: average-gain + average-drop: a higher average-gain is better, and so is a lower average-drop, ...
    """
    weights = {name: weight for name, weight in _parse(text).items() if name == "" or weight != 0}
    constant = weights.pop("", 0.0)
    if not weights:
        raise SycamError(f"{text}: a sum of metrics needs at least one with a weight that is not 0")
    metrics = {name: find(name) for name in weights}
    for found in metrics.values():
        if not found.is_mean:
            raise SycamError(f"{text}: {found.name} is not a mean over images, so it has no value per image to add up")
    lows, highs = zip(*(_scaled(metrics[name].bounds, weight) for name, weight in weights.items()), strict=True)

    def compute(query: Query) -> Tensor:
        # Metrics that redraw go first: their masked pass answers the others.
        order = sorted(metrics, key=lambda name: not metrics[name].redraws)
        total = sum(weights[name] * metrics[name](query).double() for name in order) + constant
        assert isinstance(total, Tensor)
        return total.to(query.p)

    return Metric(
        name=_text({metrics[name].name: weight for name, weight in weights.items()}, constant),
        compute=compute,
        direction=_direction(text, weights, metrics),
        bounds=(sum(lows) + constant, sum(highs) + constant),
        passes=sum(found.passes for found in metrics.values()),
        needs_masks=any(found.needs_masks for found in metrics.values()),
        source="; ".join(f"{found.name}: {found.source}" for found in metrics.values()),
        doc=f"The weighted sum {text.strip()}, per image.",
        redraws=any(found.redraws for found in metrics.values()),
        curves=tuple(dict.fromkeys(curve for found in metrics.values() for curve in found.curves)),
        percent=all(found.percent for found in metrics.values()),
    )


def _scaled(bounds: tuple[float, float], weight: float) -> tuple[float, float]:
    ends = sorted(bound * weight for bound in bounds)
    return ends[0], ends[1]


def _direction(text: str, weights: Sum, metrics: Mapping[str, Metric]) -> Direction:
    pulls = {name: (weight > 0) == (metrics[name].direction == "high") for name, weight in weights.items()}
    if len(set(pulls.values())) == 1:
        return "high" if next(iter(pulls.values())) else "low"
    up, down = (next(name for name, pull in pulls.items() if pull is wanted) for wanted in (True, False))

    def better(name: str) -> str:
        return "higher" if metrics[name].direction == "high" else "lower"

    raise SycamError(
        f"{text.strip()}: a {better(up)} {up} is better, and so is a {better(down)} {down}, but they move this sum in opposite "
        f"directions: change the sign of one"
    )


def _text(weights: Sum, constant: float) -> str:
    """The sum without spaces, as a metric's name must be."""
    parts = []
    for name, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):g}*"
        parts.append(f"{'-' if weight < 0 else '+'}{size}{name}")
    return "".join([*parts, f"{constant:+g}" if constant else ""]).removeprefix("+")


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = Path(__file__).with_name("sums.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=None)


def _parse(text: str) -> Sum:
    try:
        return _Weights().transform(_parser().parse(text))
    except UnexpectedInput as error:
        column = error.column if error.column > 0 else len(text) + 1
        raise SycamError(
            f"no weighted sum of metrics, such as '0.5*iou - 0.5*average-drop':\n  {text}\n  {' ' * (column - 1)}^"
        ) from None
    except VisitError as error:
        raise SycamError(f"{text}: {error.orig_exc}") from None


@v_args(inline=True)
class _Weights(Transformer):
    """The weights of a sum, from the leaves up."""

    def number(self, token: str) -> Sum:
        if not math.isfinite(float(token)):
            raise ValueError(f"{token} is not finite")
        return {"": float(token)}

    def metric(self, token: str) -> Sum:
        return {str(token): 1.0}

    def add(self, a: Sum, b: Sum) -> Sum:
        return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in (*a, *(name for name in b if name not in a))}

    def subtract(self, a: Sum, b: Sum) -> Sum:
        return self.add(a, self.negate(b))

    def negate(self, a: Sum) -> Sum:
        return {name: -weight for name, weight in a.items()}

    def multiply(self, a: Sum, b: Sum) -> Sum:
        if set(b) <= {""}:
            return {name: weight * b.get("", 0.0) for name, weight in a.items()}
        if set(a) <= {""}:
            return {name: weight * a.get("", 0.0) for name, weight in b.items()}
        raise ValueError("metrics are added with weights, not multiplied with one another")

    def divide(self, a: Sum, b: Sum) -> Sum:
        if not set(b) <= {""}:
            raise ValueError("a metric is no divisor: metrics are added with weights")
        if not b.get("", 0.0):
            raise ValueError("a weight is divided by 0")
        return {name: weight / b[""] for name, weight in a.items()}
