"""Metrics that ask the network about the image seen through the heatmap: drop, increase and gain share one masked pass.

p is the probability of the class on the plain image x, o on x ⊙ S, d on x ⊙ (1 − S), S the heatmap. A map that changes
nothing (Fake-CAM: ones but a corner) has a near perfect drop and increase, and a gain near 0: read drop beside gain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.metrics.query import Query
from sycam.metrics.registry import register_metric


@register_metric("average-drop", direction="low", bounds=(0.0, 1.0), passes=1, source="Grad-CAM++ (Chattopadhyay et al. 2018)")
def average_drop(query: Query) -> Tensor:
    """Share of the class's probability that is lost when the heatmap masks the image: (p − o)₊ / p; 0 where p = 0.

    >>> from sycam.metrics.probe import probe
    >>> average_drop(probe(p=[0.8, 0.5, 0.0], o=[0.2, 0.9, 0.4]))
    tensor([0.7500, 0.0000, 0.0000])
    """
    return _ratio((query.p - query.o).relu(), query.p)


@register_metric(
    "average-increase", direction="high", bounds=(0.0, 1.0), passes=1, source="Grad-CAM++ (Chattopadhyay et al. 2018)"
)
def average_increase(query: Query) -> Tensor:
    """Whether the class's probability rises when the heatmap masks the image: 1[o > p].

    >>> from sycam.metrics.probe import probe
    >>> average_increase(probe(p=[0.8, 0.5, 0.5], o=[0.2, 0.9, 0.5]))
    tensor([0., 1., 0.])
    """
    return (query.o > query.p).to(query.p.dtype)


@register_metric("average-gain", direction="high", bounds=(0.0, 1.0), passes=1, source="Opti-CAM (Zhang et al. 2024)")
def average_gain(query: Query) -> Tensor:
    """Share of the doubt that is removed when the heatmap masks the image: (o − p)₊ / (1 − p); 0 where p = 1.

    >>> from sycam.metrics.probe import probe
    >>> average_gain(probe(p=[0.8, 0.5, 1.0], o=[0.2, 0.9, 1.0]))
    tensor([0.0000, 0.8000, 0.0000])
    """
    return _ratio((query.o - query.p).relu(), 1 - query.p)


@register_metric("drop-in-deletion", direction="high", bounds=(-torch.inf, 1.0), passes=1, source="LIFT-CAM (Jung & Oh 2021)")
def drop_in_deletion(query: Query) -> Tensor:
    """Share of the class's probability lost when the heatmap is taken out: (p − d) / p, not clipped; 0 where p = 0.

    A probability that rises by any factor makes it as negative as one likes, so it is bounded above only. A p below the
    smallest normal number counts as 0, since dividing by it would overflow.

    >>> from sycam.metrics.probe import probe
    >>> drop_in_deletion(probe(p=[0.8, 0.1], d=[0.2, 0.9]))
    tensor([ 0.7500, -8.0000])
    """
    p = query.p
    return _ratio(p - query.d, torch.where(p < torch.finfo(p.dtype).tiny, 0, p))


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where below is 0; both [N]."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)
