"""Class-based decomposition: a term for each image class that has enough images, the overall best for the others.

After SyCAM, which splits the images by class and synthesises a term for each. Here one enumeration and one score of a candidate
on an image serve all classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sycam import cams as cam_names
from sycam.errors import SycamError
from sycam.metrics.metric import Metric
from sycam.search import SLACK, Goals, Group, Incumbent, Search, image_classes

from .result import Row, difference


def check_by_class(goals: Goals) -> None:
    """Refuses metrics whose score on all images does not follow from the scores on each class.

    Raises:
        SycamError: one of the goals is no mean over images.
    """
    for metric in goals.metrics:
        if not metric.is_mean:
            raise SycamError(
                f"by class: {metric.name} is no mean over images, so terms that are best on each image class need not be good on "
                "all images together; choose a metric that is a mean, or leave `by_class` out"
            )


def class_groups(classes: Tensor, least: int, seed: int) -> list[Group]:
    """The image classes that get a term of their own, from the class [N] that is explained on each search image.

    Raises:
        SycamError: no class has enough images.
    """
    groups = image_classes(classes, least, seed)
    if not groups:
        most = int(classes.unique(return_counts=True)[1].max())
        raise SycamError(
            f"by class: no image class has {least} search images, the most is {most}: give more images, lower `min_images`, or "
            "leave `by_class` out"
        )
    return groups


def decomposed(found: Search, metric: Metric, goals: int = 1) -> tuple[Incumbent, dict[int, Incumbent]]:
    """The answer by class, as an incumbent on all images, and the image classes that have a term of their own with it.

    A class on which nothing scores better than the overall best keeps that, so that the answer has no branch for nothing. Where
    there are further goals, on which the two may differ, this is not looked at.
    """
    single = found.incumbent
    assert single is not None
    own: dict[int, Incumbent] = {}
    for group in found.groups[1:]:
        best, general = group.incumbent, float(metric.aggregate(single.values[group.places]))
        if best is None or group.image_class is None or best.term is single.term:
            continue
        gain = best.score - general if metric.direction == "high" else general - best.score
        if goals > 1 or gain > SLACK:
            own[group.image_class] = best
    if not own:
        return single, own
    values = single.values.clone()
    for group in found.groups[1:]:
        if group.image_class in own:
            values[group.places] = own[group.image_class].values[group.places]
    term = cam_names.by_class({n: best.term for n, best in own.items()}, single.term)
    used = [single, *own.values()]
    answer = replace(
        single, term=term, cost=max(one.cost for one in used), values=values, score=float(metric.aggregate(values)),
        candidate=max(one.candidate for one in used), seconds=max(one.seconds for one in used), name="",
    )  # fmt: skip
    return answer, own


def described(
    found: Search, own: dict[int, Incumbent], rows: list[Row], classes: list[Tensor], names: list[str] | None, least: int
) -> dict[str, Any]:
    """What `result.json` says of a run by class.

    Args:
        found: the search. own: see `decomposed`.
        rows: the answer first, and the single term after it where the answer is another one.
        classes: of each part of the images, search and held out, the classes that are explained.
        names: of image classes.
        least: search images that a class needed.
    """
    answer, single = rows[0], next((row for row in rows if row.kind == "single"), rows[0])
    assert found.incumbent is not None

    def means(part: int, image_class: int) -> dict[str, Any]:
        inside = (classes[part] == image_class).cpu()
        pair = [(row.search, row.held_out)[part] for row in (answer, single)]
        scores = [None if values is None or not bool(inside.any()) else float(values[inside].mean()) for values in pair]
        return {"images": int(inside.sum()), "score": scores[0], "single": scores[1]}

    searched = [group.image_class for group in found.groups[1:]]
    listed = []
    for image_class in sorted({*torch.cat(classes).tolist()}):
        best = own.get(image_class, found.incumbent)
        listed.append(
            {
                "class": image_class,
                "name": names[image_class] if names else f"class {image_class}",
                "searched": image_class in searched,
                "own": image_class in own,
                "expression": str(best.term),
                "cost": best.cost,
                "search": means(0, image_class),
                "held_out": means(1, image_class) if answer.held_out is not None and len(classes) > 1 else None,
            }
        )
    return {
        "min_images": least,
        "classes": listed,
        "otherwise": str(found.incumbent.term),
        "difference": _differences(answer, single),
    }


def _differences(answer: Row, single: Row) -> dict[str, Any]:
    """The answer's score minus the single term's, paired, on each part of the images."""
    held_out = None
    if answer.held_out is not None and single.held_out is not None:
        held_out = difference(answer.held_out, single.held_out)
    return {"search": difference(answer.search, single.search), "held_out": held_out}
