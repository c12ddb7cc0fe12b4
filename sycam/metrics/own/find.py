"""From what a person names to metrics: registered ones, patterns, weighted sums, and oracles of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from sycam.errors import SycamError

from ..metric import METRICS, Metric
from ..sums import is_arithmetic, weighted_sum
from .plugin import installed_metrics, is_oracle, load_oracle

GLOB = "*"
"""Of a pattern of names; in a sum it multiplies."""


def find_metric(metric: str | Metric, *, folder: Path | None = None, timeout: float | None = None) -> Metric:
    """The metric of that name; `name@0.5` where it binarises heatmaps, at that level instead of their mean; the user's own as
    `load_oracle` finds it (by `file.py:Name`, as a program, or installed); or a weighted sum of such.

    Args:
        folder: where a relative path is looked for before the working folder.
        timeout: seconds that an oracle of the user's own may need for a query.

    Raises:
        SycamError: there is none; the message names the nearest. A level that is none, or for a metric without.

    >>> find_metric("average-gian")
    Traceback (most recent call last):
    sycam.errors.SycamError: no metric 'average-gian'; did you mean 'average-gain'? ...
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise SycamError(f"a metric is a name, file.py:Name or a Metric, not {type(metric).__name__}")
    if metric in METRICS:
        return METRICS[metric]
    recipe = {"find": metric, "folder": None if folder is None else str(folder), "timeout": timeout}
    if is_oracle(metric, folder):
        return replace(load_oracle(metric, folder=folder, timeout=timeout), recipe=recipe)
    if is_arithmetic(metric):
        return replace(weighted_sum(metric, partial(find_metric, folder=folder, timeout=timeout)), recipe=recipe)
    if ":" in metric:
        return replace(load_oracle(metric), recipe=recipe)
    base, at, level = metric.partition("@")
    if at and base in METRICS:
        return _at_level(METRICS[base], metric, level)
    return METRICS.find(base)


def _at_level(base: Metric, name: str, text: str) -> Metric:
    if not base.level:
        levelled = ", ".join(found.name for found in METRICS.values() if found.level)
        raise SycamError(f"{name}: {base.name} binarises no heatmap, so it takes no level; {levelled} do")
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not 0 <= level < 1:
        raise SycamError(f"{name}: a level is a number from 0, below 1, such as {base.name}@0.5")
    compute: Callable[..., Tensor] = base.compute
    doc = f"{base.doc} Heatmaps are binarised at {level:g}, S > {level:g}, instead of their mean."
    recipe = {"find": name, "folder": None, "timeout": None}
    return replace(base, name=name, compute=partial(compute, level=level), doc=doc, recipe=recipe)


def find_again(recipe: Mapping[str, Any]) -> Metric:
    """The metric that has this recipe, in another process.

    >>> find_again(find_metric("0.5*iou - 0.5*average-drop").recipe).name
    '0.5*iou-0.5*average-drop'
    """
    folder = None if recipe["folder"] is None else Path(recipe["folder"])
    own = recipe.get("own", {})
    if not own:
        return find_metric(recipe["find"], folder=folder, timeout=recipe["timeout"])
    return _sum_of_own(recipe["find"], {name: find_again(inner) for name, inner in own.items()}, recipe["timeout"])


def _sum_of_own(text: str, own: Mapping[str, Metric], timeout: float | None) -> Metric:
    """A sum in which oracles of the user's own stand by their names."""
    recipe = {"find": text, "folder": None, "timeout": timeout, "own": {name: made.recipe for name, made in own.items()}}
    return replace(weighted_sum(text, lambda name: own.get(name) or find_metric(name, timeout=timeout)), recipe=recipe)


def list_metrics(pattern: str = "*") -> list[str]:
    """Names of the registered metrics that match a glob pattern, sorted.

    >>> list_metrics("*gain*")
    ['average-gain']
    """
    return sorted(name for name in METRICS if fnmatchcase(name, pattern))


def find_metrics(
    specs: Sequence[str], *, timeout: float | None = None, warn: Callable[[str], None] = lambda message: None
) -> list[Metric]:
    """The metrics that names, patterns (`average-[dg]*`, `all`) and sums name, each once. A sum may use the name of an oracle
    that is among them.

    Args:
        specs: as `find_metric` takes them, and patterns of the names of registered metrics and installed oracles.
        timeout: seconds that an oracle of the user's own may need for a query.
        warn: told of installed oracles that match a pattern and cannot be loaded; they are left out.

    Raises:
        SycamError: a name of none, or a pattern that none matches.

    >>> [metric.name for metric in find_metrics(["average-[dg]*", "iou", "average-drop"])]
    ['average-drop', 'average-gain', 'iou']
    """
    own = {made.name: made for made in (find_metric(spec, timeout=timeout) for spec in specs if is_oracle(spec))}

    def find(spec: str) -> list[Metric]:
        pattern = "*" if spec == "all" else spec  # a name matches itself; a sum and a file match nothing
        matched = [METRICS[name] for name in list_metrics(pattern)]
        if spec == "all" or GLOB in spec or "[" in spec:
            matched += installed_metrics(warn, pattern, timeout=timeout)
        if matched:
            return matched
        if is_arithmetic(spec) and not is_oracle(spec):
            return [_sum_of_own(spec, own, timeout)]
        return [own.get(spec) or find_metric(spec, timeout=timeout)]

    return list({made.name: made for spec in specs for made in find(spec)}.values())
