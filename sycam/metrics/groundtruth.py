"""Metrics that compare the heatmap with where the object is, U (union of the boxes, or the mask). No forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.metrics.correlation import correlation
from sycam.metrics.query import Query
from sycam.metrics.registry import register_metric


def binarised(heatmaps: Tensor, level: float | None = None) -> Tensor:
    """Where each heatmap [N, H, W] exceeds `level`, its own mean where None: boolean. A constant heatmap exceeds its mean
    nowhere."""
    if level is not None:
        return heatmaps > level
    # In float64 the mean of a constant float32 map is that constant, to the bit; in float32 it may fall below it.
    return heatmaps > heatmaps.mean((-2, -1), keepdim=True, dtype=torch.float64)


@register_metric(
    "iou",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    level=True,
    source="binarised at the mean, as in Opti-CAM",
)
def iou(query: Query, level: float | None = None) -> Tensor:
    """Intersection over union of the heatmap above its mean, S > mean(S), with U. A constant heatmap has none above: 0.

    >>> from sycam.metrics.probe import probe
    >>> iou(probe(heatmaps=[[[1.0, 0.8], [0.0, 0.0]]], masks=[[[True, False], [True, False]]]))
    tensor([0.3333])
    """
    hot, truth = binarised(query.heatmaps, level), query.masks
    both = (hot & truth).sum((-2, -1))
    either = (hot | truth).sum((-2, -1))
    return both / either.clamp(min=1)


@register_metric(
    "f1",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    level=True,
    source="Dice 1945; binarised at the mean",
)
def f1(query: Query, level: float | None = None) -> Tensor:
    """F1 (Dice) of the heatmap above its mean and U: twice their intersection over the sum of their areas; 0 where both are
    empty.

    >>> from sycam.metrics.probe import probe
    >>> f1(probe(heatmaps=[[[1.0, 0.8], [0.0, 0.0]]], masks=[[[True, False], [True, False]]]))
    tensor([0.5000])
    """
    hot, truth = binarised(query.heatmaps, level), query.masks
    both = (hot & truth).sum((-2, -1))
    return 2 * both / (hot.sum((-2, -1)) + truth.sum((-2, -1))).clamp(min=1)


@register_metric(
    "mae",
    direction="low",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="mean absolute error, as in salient object detection: Perazzi et al. 2012",
)
def mae(query: Query) -> Tensor:
    """Mean over pixels of |S − U|, U being 1 on the object and 0 elsewhere.

    >>> from sycam.metrics.probe import probe
    >>> mae(probe(heatmaps=[[[1.0, 0.5], [0.0, 0.0]]], masks=[[[True, True], [False, False]]]))
    tensor([0.1250])
    """
    return (query.heatmaps - query.masks.to(query.heatmaps.dtype)).abs().mean((-2, -1))


@register_metric(
    "pearson",
    direction="high",
    bounds=(-1.0, 1.0),
    passes=0,
    needs_masks=True,
    source="CC of saliency benchmarks: Bylinskii et al. 2019",
)
def pearson(query: Query) -> Tensor:
    """Pearson's correlation over pixels of S and U. It is undefined, and counts 0, where either is constant.

    >>> from sycam.metrics.probe import probe
    >>> S = [[[1.0, 1.0], [0.0, 0.0]]] * 2
    >>> pearson(probe(S, masks=[[[True, True], [False, False]], [[True, True], [True, True]]]))
    tensor([1., 0.])
    """
    return correlation(query.heatmaps, query.masks)


@register_metric(
    "pointing",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="Zhang et al. 2018, no tolerance",
)
def pointing(query: Query) -> Tensor:
    """Pointing game: whether the hottest pixel lies in U; of several, the first in row-major order.

    A constant (or empty) heatmap points at its first pixel, the top left corner: a hit where the object covers that.

    >>> from sycam.metrics.probe import probe
    >>> masks = [[[False, True], [False, False]]]
    >>> pointing(probe(heatmaps=[[[0.2, 1.0], [1.0, 0.0]]], masks=masks))
    tensor([1.])
    >>> pointing(probe(heatmaps=[[[0.0, 0.0], [0.0, 0.0]]], masks=masks))
    tensor([0.])
    """
    flat = query.heatmaps.flatten(1)
    hottest = flat.argmax(1, keepdim=True)  # torch promises the first of several maxima
    return query.masks.flatten(1).gather(1, hottest).squeeze(1).to(flat.dtype)


@register_metric(
    "energy-pointing",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="Score-CAM (Wang et al. 2020)",
)
def energy_pointing(query: Query) -> Tensor:
    """Share of the heatmap's sum that lies in U, Σ_U S / Σ S; an empty heatmap has 0.

    The code published with Score-CAM swaps x and y of the boxes; this follows the paper.

    >>> from sycam.metrics.probe import probe
    >>> energy_pointing(probe(heatmaps=[[[1.0, 0.5], [0.5, 0.0]]], masks=[[[True, True], [False, False]]]))
    tensor([0.7500])
    """
    heat = query.heatmaps
    inside = (heat * query.masks).sum((-2, -1))
    total = heat.sum((-2, -1))
    return torch.where(total > 0, inside / torch.where(total > 0, total, 1), 0)
